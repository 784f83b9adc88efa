// Readers against writers, with real threads and processes: `npm run prove:readers -- --seconds 30 --seed 1`
//
// Everybody reads in every way while others write, checkpoint, end readers that hold back more than next to nothing,
// and one process is stopped now and then for longer than it takes others to use what it was reading for something
// else. Spell by spell: everybody closes, the database is verified, and opened again, so that it comes from disk.
// Nobody may be told anything but that a reader was ended, and nothing may be wrong afterwards.
import { fork, type ChildProcess } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { mix, Random } from '../../lib/random.js'
import { open } from '../../../src/index.js'
import type { ReaderProcess, ReadReport } from './reader-process.js'
import { compiledFile } from '../../../src/package-root.js'

const USAGE = `Usage: npm run prove:readers -- [options]
  --seconds S       how long (default 30)
  --seed N          what everybody does follows from it, but not when (default: chosen and printed)
  --directory DIR   where the database is made (default: the system's temporary directory)`

const OPTIONS = {
  workers: 0,
  valueEncoding: 'binary',
  segmentBytes: 256 * 1024,
  checkpointBytes: 1024 * 1024,
  maxHeldBytes: 65_536,
} as const
const SPELL_MS = 6000

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '30' },
      seed: { type: 'string' },
      directory: { type: 'string', default: tmpdir() },
      help: { type: 'boolean', default: false },
    },
  })
  const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(values.seed)
  const seconds = Number(values.seconds)
  if (values.help || !Number.isInteger(seed) || !(seconds > 0)) {
    console.log(USAGE)
    return values.help ? 0 : 2
  }
  const directory = join(values.directory, `mmapdb-readers-${process.pid}`)
  console.log(`readers: seed ${seed}, ${seconds} seconds`)
  mkdirSync(directory)
  const counts: Record<string, number> = {}
  const end = Date.now() + seconds * 1000
  for (let spell = 1; Date.now() < end; spell++) {
    const problems = await oneSpell(
      join(directory, 'db'),
      mix(seed, spell),
      Math.min(end, Date.now() + SPELL_MS),
      counts,
    )
    if (problems.length === 0) continue
    for (const problem of problems.slice(0, 10)) console.error(`FAILED: ${problem}`)
    console.error(`What is left lies in ${directory}; seed ${seed}, spell ${spell}`)
    return 1
  }
  rmSync(directory, { recursive: true, force: true })
  for (const [what, count] of Object.entries(counts).sort()) console.log(`  ${what}: ${count}`)
  // If none is ended, or all of them are, this has shown nothing.
  const ended = Object.entries(counts)
    .filter(([what]) => what.endsWith(': ended'))
    .reduce((sum, [, count]) => sum + count, 0)
  if (ended === 0) console.log('readers: none was ended')
  console.log('readers: nothing wrong, nothing refused')
  return 0
}

/** Returns what went wrong. */
async function oneSpell(path: string, seed: number, endMs: number, counts: Record<string, number>): Promise<string[]> {
  const processes = [
    { writers: 2, readers: 2 },
    { writers: 1, readers: 2 },
  ].map((size, i): ReaderProcess => ({ path, options: OPTIONS, seed: mix(seed, i), endMs, ...size }))
  const problems: string[] = []
  try {
    // The first opener; the others find it open.
    const db = await open(path, OPTIONS)
    const children = processes.map(() => fork(compiledFile('crash-tests/soak/readers/reader-process.js')))
    const stopping = stopNowAndThen(children[1]!, new Random(seed), endMs)
    const all = await Promise.all(children.map((child, i) => reportOf(child, processes[i]!)))
    await stopping
    for (const deeds of all) {
      problems.push(...deeds.problems)
      for (const [what, count] of Object.entries(deeds.counts)) counts[what] = (counts[what] ?? 0) + count
    }
    const { failure, readers } = db.stats()
    if (failure !== undefined) problems.push(`writes are refused: ${failure}`)
    if (readers.pinned !== 0) problems.push(`${readers.pinned} readers are left of those who have closed`)
    await checked(db, problems, 'while it is open')
    await db.close()
    const again = await open(path, OPTIONS)
    await checked(again, problems, 'opened again')
    await again.close()
  } catch (error) {
    problems.push((error as Error).stack ?? String(error))
  }
  return problems
}

async function checked(db: Awaited<ReturnType<typeof open>>, problems: string[], when: string): Promise<void> {
  const { ok, damage } = await db.verify()
  if (!ok) problems.push(`${when}: ${JSON.stringify(damage.slice(0, 3))}`)
}

function reportOf(child: ChildProcess, spec: ReaderProcess): Promise<ReadReport> {
  return new Promise((resolve) => {
    child.once('message', (deeds) => resolve(deeds as ReadReport))
    child.once('exit', (code, signal) =>
      resolve({ counts: {}, problems: [`a process ended before its time (${signal ?? code})`] }),
    )
    child.send(spec)
  })
}

async function stopNowAndThen(child: ChildProcess, random: Random, endMs: number): Promise<void> {
  const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
  await sleep(1000)
  while (Date.now() < endMs - 500) {
    child.kill('SIGSTOP')
    await sleep(random.between(1, 120))
    child.kill('SIGCONT')
    await sleep(random.between(1, 60))
  }
}

process.exitCode = await main()
