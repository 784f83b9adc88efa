// Fuzzing, guided by coverage: all targets in turn, or one; or one input that was found.
//
// Inputs run in a process of their own (worker.ts). If it dies, hangs or takes too much memory, the input that it
// was at is a finding, like one that threw what it must not. Findings are kept in crash-tests/fuzz/found.
import { fork } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { announce, CannotRun, prove, type Outcome } from '../lib/harness.js'
import { mix } from '../lib/random.js'
import { compiledFile, inPackage } from '../../src/package-root.js'
import { NAME_BYTES, type FuzzJob, type FuzzMessage, type TargetReport } from './protocol.js'
import { TARGETS } from './targets.js'

const FOUND = inPackage('crash-tests/fuzz/found/')
/** An input takes milliseconds; one that takes this long hangs, as its caller sees it. */
const HANG_MS = 20_000
const MAX_RSS_BYTES = 1536 * 1024 * 1024
const MAX_TURN_MS = 20_000

interface Finding {
  readonly target: string
  readonly why: string
  readonly file: string
}

function keep(target: string, input: Buffer, why: string): Finding {
  mkdirSync(FOUND, { recursive: true })
  const file = join(FOUND, `${target}-${createHash('sha1').update(input).digest('hex').slice(0, 10)}`)
  writeFileSync(file, input)
  console.log(`found by ${target}: ${why}`)
  return { target, why, file }
}

/** One process, until it is done or dies. Says what it found and how far it got. */
function watch(job: FuzzJob): Promise<{ findings: Finding[]; last: Record<string, TargetReport> }> {
  writeFileSync(job.currentPath, '')
  const findings: Finding[] = []
  let last: Record<string, TargetReport> = {}
  return new Promise((resolve) => {
    const child = fork(compiledFile('crash-tests/fuzz/worker.js'), [JSON.stringify(job)], {
      execArgv: ['--max-old-space-size=768'],
    })
    let aliveMs = Date.now()
    let verdict: string | undefined
    const timer = setInterval(() => {
      if (Date.now() - aliveMs > HANG_MS) verdict = `it hangs for more than ${HANG_MS} ms`
      else if (rssBytes(child.pid!) > MAX_RSS_BYTES) verdict = `it takes more than ${MAX_RSS_BYTES} bytes of memory`
      if (verdict !== undefined) child.kill('SIGKILL')
    }, 250)
    child.on('message', (message: FuzzMessage) => {
      aliveMs = Date.now()
      if ('found' in message) findings.push(keep(message.found, Buffer.from(message.input, 'base64'), message.error))
      if ('report' in message) last = message.report
    })
    child.on('exit', (code, signal) => {
      clearInterval(timer)
      if (code !== 0) {
        const bytes = readFileSync(job.currentPath)
        const target = bytes.toString('latin1', 0, NAME_BYTES).trim() || 'unknown'
        findings.push(keep(target, bytes.subarray(NAME_BYTES), verdict ?? `it ends the process with ${signal ?? code}`))
      }
      resolve({ findings, last })
    })
  })
}

async function fuzz(targets: readonly string[], seed: number, endMs: number): Promise<Outcome> {
  const scratch = mkdtempSync(join(tmpdir(), 'mmapdb-fuzz-'))
  const findings: Finding[] = []
  const totals = new Map<string, TargetReport>()
  const turnMs = Math.min(MAX_TURN_MS, (endMs - Date.now()) / targets.length / 2)
  try {
    for (let n = 0; Date.now() < endMs; n++) {
      const job = { targets, seed: mix(seed, n), endMs, turnMs, currentPath: join(scratch, 'current') }
      const { findings: found, last } = await watch(job)
      findings.push(...found)
      for (const [name, { executions, corpus, blocks }] of Object.entries(last)) {
        const before = totals.get(name)
        totals.set(name, {
          executions: (before?.executions ?? 0) + executions,
          corpus: Math.max(corpus, before?.corpus ?? 0),
          blocks: Math.max(blocks, before?.blocks ?? 0),
        })
      }
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
  const of = (what: keyof TargetReport): Record<string, number> =>
    Object.fromEntries([...totals].map(([name, report]) => [name, report[what]]))
  const [first] = findings
  return {
    problems: findings.map(({ target, why, file }) => `${target}: ${why}\n  input: ${file}`),
    result: findings.length === 0 ? 'nothing was found' : `${findings.length} findings`,
    counts: {
      executions: Object.values(of('executions')).reduce((a, b) => a + b, 0),
      'executions by target': of('executions'),
      'inputs kept': of('corpus'),
      'blocks of code reached': Math.max(0, ...Object.values(of('blocks'))),
      findings: findings.length,
    },
    fileSystem: 'in memory',
    repeatWith: first && `--target ${first.target} --input ${first.file}`,
  }
}

function rssBytes(pid: number): number {
  try {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024
  } catch {
    // It has just ended.
    return 0
  }
}

async function runInput(target: string, file: string): Promise<Outcome> {
  const problems: string[] = []
  try {
    await TARGETS[target]!.run(readFileSync(file))
  } catch (error) {
    problems.push((error as Error).stack ?? String(error))
  }
  return {
    problems,
    result: problems.length === 0 ? 'the input does no harm' : 'the input is a finding',
    counts: { executions: 1, findings: problems.length },
    fileSystem: 'in memory',
    repeatWith: `--target ${target} --input ${file}`,
  }
}

await prove({
  name: 'fuzz',
  proves:
    'that whatever bytes are on disk or come as input, an operation gives the right answer or throws a typed error, and ' +
    'ends, without a crash, a hang or much memory.',
  takes: 'as long as it is given; a minute is a short look. Nothing but Node.js; databases are in memory.',
  seed: { help: 'what inputs are made of; which of them are tried also depends on the speed of the machine' },
  minutes: { help: 'how long', default: 1 },
  options: {
    target: { kind: 'text', value: 'T', help: `only this one: ${Object.keys(TARGETS).join(', ')}` },
    input: { kind: 'path', value: 'FILE', help: 'run this input of the target and nothing else' },
  },
  run: (run) => {
    const target = run.textIfGiven('target')
    const input = run.textIfGiven('input')
    if (target !== undefined && TARGETS[target] === undefined)
      throw new CannotRun(`There is no target "${target}": ${Object.keys(TARGETS).join(', ')}.`)
    if (input !== undefined) {
      if (target === undefined) throw new CannotRun('--input needs --target: which one is to run it?')
      return runInput(target, input)
    }
    const targets = target === undefined ? Object.keys(TARGETS) : [target]
    announce('fuzz', run, targets.length === 1 ? `target ${target}` : `${targets.length} targets in turn`)
    return fuzz(targets, run.seed, run.endMs)
  },
})
