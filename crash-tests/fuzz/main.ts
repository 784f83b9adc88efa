// Fuzzing, guided by coverage:
//   npm run prove:fuzz -- --minutes M [--seed S] [--target T]     all targets in turn, or one
//   npm run prove:fuzz -- --target T --input FILE                 runs one input that was found
//
// Inputs run in a process of their own. If it dies, hangs or takes too much memory, the input that it
// was at is a finding, like one that threw what it must not. Findings are kept in crash-tests/fuzz/found.
import { fork } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Command } from 'commander'
import { mix, Random } from '../lib/random.js'
import { Coverage } from './coverage.js'
import { mutate } from './mutate.js'
import { TARGETS } from './targets.js'
import { inPackage } from '../../src/package-root.js'

const FOUND = inPackage('crash-tests/fuzz/found/')
/** An input takes milliseconds; one that takes this long hangs, for whoever waits for it. */
const HANG_MS = 20_000
const MAX_RSS_BYTES = 1536 * 1024 * 1024
const MAX_CORPUS = 2000
/** Cheap inputs share one look at the coverage. */
const LOOK_EVERY_MS = 15

interface Report {
  readonly executions: number
  readonly corpus: number
  readonly blocks: number
}

type Message = { alive: true } | { found: string; input: string; error: string } | { report: Record<string, Report> }

const options = new Command()
  .option('--minutes <m>', 'how long', '1')
  .option('--seed <s>', 'the seed of all chance')
  .option('--target <t>', `one of ${Object.keys(TARGETS).join(', ')}`)
  .option('--input <file>', 'run this input and nothing else')
  .parse()
  .opts<{ minutes: string; seed?: string; target?: string; input?: string }>()

const names = options.target === undefined ? Object.keys(TARGETS) : [options.target]
for (const name of names) if (TARGETS[name] === undefined) throw new Error(`There is no target ${name}`)
const seed = options.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(options.seed)
/** Targets are changed this often, each keeping its corpus. */
const turnMs = Math.min(20_000, (Number(options.minutes) * 60_000) / names.length / 2)
const endMs = Date.now() + Number(options.minutes) * 60_000

if (options.input !== undefined) {
  await TARGETS[names[0]!]!.run(readFileSync(options.input))
  console.log('Nothing was found.')
} else if (process.env['MMAPDB_FUZZ_CURRENT'] !== undefined) {
  await work(process.env['MMAPDB_FUZZ_CURRENT'])
} else {
  await supervise()
}

// ---- the process that runs inputs --------------------------------------------------------------

async function work(currentPath: string): Promise<void> {
  const random = new Random(mix(seed, Number(process.env['MMAPDB_FUZZ_LIFE'])))
  const coverage = new Coverage()
  const current = openSync(currentPath, 'r+')
  const states = new Map(names.map((name) => [name, { corpus: TARGETS[name]!.seeds(), executions: 0 }]))
  const errors = new Set<string>()
  let lastReportMs = 0
  const tell = (message: Message): void => void process.send!(message)

  const run = async (name: string, input: Buffer): Promise<void> => {
    writeSync(current, Buffer.concat([Buffer.from(name.padEnd(16)), input]), 0, 16 + input.length, 0)
    ftruncateSync(current, 16 + input.length)
    states.get(name)!.executions++
    try {
      await TARGETS[name]!.run(input)
    } catch (error) {
      const { stack = String(error) } = error as Error
      // One of each kind.
      const kind =
        stack
          .split('\n')
          .filter((line) => line.includes('    at '))
          .slice(0, 2)
          .join() + (error as Error).message.replace(/\d+/g, 'n').slice(0, 80)
      if (errors.has(kind)) return
      errors.add(kind)
      tell({ found: name, input: input.toString('base64'), error: stack })
    }
  }

  while (Date.now() < endMs) {
    for (const name of names) {
      const state = states.get(name)!
      const { corpus } = state
      if (state.executions === 0) for (const input of corpus) await run(name, input)
      coverage.take()
      for (const until = Date.now() + turnMs; Date.now() < Math.min(until, endMs);) {
        const batch: Buffer[] = []
        for (const lookMs = Date.now() + LOOK_EVERY_MS; Date.now() < lookMs && batch.length < 500;) {
          const input = mutate(random, random.pick(corpus), random.pick(corpus))
          batch.push(input)
          await run(name, input)
        }
        if (coverage.take()) {
          // Some of them did something new: each again, to see which.
          const keep: Buffer[] = batch.length <= 4 ? batch : []
          if (batch.length > 4) {
            for (const input of batch) {
              await run(name, input)
              if (keep.length < 4 && random.chance(1 / 8)) keep.push(input)
            }
          }
          corpus.push(...keep)
          while (corpus.length > MAX_CORPUS) corpus.splice(random.between(0, corpus.length - 1), 1)
        }
        if (Date.now() - lastReportMs > 500) {
          lastReportMs = Date.now()
          tell({ alive: true })
        }
      }
      tell({
        report: Object.fromEntries(
          [...states].map(([key, { corpus: kept, executions }]) => [
            key,
            { executions, corpus: kept.length, blocks: coverage.size },
          ]),
        ),
      })
    }
  }
  closeSync(current)
  process.disconnect()
}

// ---- the process that watches ------------------------------------------------------------------

async function supervise(): Promise<void> {
  const scratch = mkdtempSync(join(tmpdir(), 'mmapdb-fuzz-'))
  const currentPath = join(scratch, 'current')
  const totals = new Map<string, Report>()
  let findings = 0
  console.log(`seed ${seed}`)
  const keep = (name: string, input: Buffer, why: string): void => {
    findings++
    mkdirSync(FOUND, { recursive: true })
    const file = join(FOUND, `${name}-${createHash('sha1').update(input).digest('hex').slice(0, 10)}`)
    writeFileSync(file, input)
    console.log(`FOUND by ${name}: ${why}\n  Repeat with: npm run prove:fuzz -- --target ${name} --input ${file}`)
  }
  try {
    for (let life = 0; Date.now() < endMs; life++) {
      writeFileSync(currentPath, '')
      let last = new Map<string, Report>()
      await new Promise<void>((resolve) => {
        const child = fork(fileURLToPath(import.meta.url), process.argv.slice(2), {
          env: { ...process.env, MMAPDB_FUZZ_CURRENT: currentPath, MMAPDB_FUZZ_LIFE: String(life) },
          execArgv: ['--max-old-space-size=768'],
        })
        let aliveMs = Date.now()
        let verdict: string | undefined
        const watch = setInterval(() => {
          if (Date.now() - aliveMs > HANG_MS) verdict = `it hangs for more than ${HANG_MS} ms`
          else if (rssBytes(child.pid!) > MAX_RSS_BYTES) verdict = `it takes more than ${MAX_RSS_BYTES} bytes of memory`
          if (verdict !== undefined) child.kill('SIGKILL')
        }, 250)
        child.on('message', (message: Message) => {
          aliveMs = Date.now()
          if ('found' in message) keep(message.found, Buffer.from(message.input, 'base64'), message.error)
          if ('report' in message) last = new Map(Object.entries(message.report))
        })
        child.on('exit', (code, signal) => {
          clearInterval(watch)
          if (code !== 0) {
            const bytes = readFileSync(currentPath)
            keep(
              bytes.toString('latin1', 0, 16).trim() || 'none',
              bytes.subarray(16),
              verdict ?? `it ends the process with ${signal ?? code}`,
            )
          }
          resolve()
        })
      })
      for (const [name, { executions, corpus, blocks }] of last) {
        totals.set(name, {
          executions: (totals.get(name)?.executions ?? 0) + executions,
          corpus: Math.max(corpus, totals.get(name)?.corpus ?? 0),
          blocks: Math.max(blocks, totals.get(name)?.blocks ?? 0),
        })
      }
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
  for (const [name, { executions, corpus }] of totals)
    console.log(`${name.padEnd(10)} ${executions} executions, ${corpus} inputs kept`)
  const blocks = Math.max(0, ...[...totals.values()].map((report) => report.blocks))
  const executions = [...totals.values()].reduce((sum, report) => sum + report.executions, 0)
  console.log(
    `${executions} executions in ${options.minutes} minutes, ${blocks} blocks of code reached, ${findings} findings`,
  )
  if (findings > 0) process.exitCode = 1
}

function rssBytes(pid: number): number {
  try {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024
  } catch {
    // It has just ended.
    return 0
  }
}
