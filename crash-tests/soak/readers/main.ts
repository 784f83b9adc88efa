// Readers against writers, with real threads and processes.
//
// All threads read in every way while others write, checkpoint, end readers that hold back more than next to nothing,
// and one process is stopped now and then for longer than it takes others to use what it was reading for something
// else. Spell by spell: all close, the database is verified, and opened again, so that it comes from disk.
// No thread may be told anything but that a reader was ended, and nothing may be wrong afterwards.
import { fork, type ChildProcess } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileSystemOf } from '../../lib/evidence.js'
import { announce, prove } from '../../lib/harness.js'
import { mix, Random } from '../../lib/random.js'
import { open } from '../../../src/index.js'
import type { ReaderProcess, ReadReport } from './reader-process.js'
import { compiledFile } from '../../../src/package-root.js'

const OPTIONS = {
  workers: 0,
  valueEncoding: 'binary',
  segmentBytes: 256 * 1024,
  checkpointBytes: 1024 * 1024,
  maxHeldBytes: 65_536,
} as const
const SPELL_MS = 6000

/** Returns what went wrong. */
async function oneSpell(path: string, seed: number, endMs: number, counts: Record<string, number>): Promise<string[]> {
  const processes = [
    { writers: 2, readers: 2 },
    { writers: 1, readers: 2 },
  ].map((size, i): ReaderProcess => ({
    path,
    // One process without workers, one with.
    options: { ...OPTIONS, workers: i },
    seed: mix(seed, i),
    endMs,
    ...size,
  }))
  const problems: string[] = []
  try {
    // The first opener; the others find it open.
    const db = await open(path, OPTIONS)
    const children = processes.map(() => fork(compiledFile('crash-tests/soak/readers/reader-process.js')))
    const stopping = stopNowAndThen(children[1]!, new Random(seed), endMs)
    const all = await Promise.all(children.map((child, i) => reportOf(child, processes[i]!)))
    await stopping
    for (const report of all) {
      problems.push(...report.problems)
      for (const [what, count] of Object.entries(report.counts)) counts[what] = (counts[what] ?? 0) + count
    }
    const { failure, readers } = db.stats()
    if (failure !== undefined) problems.push(`writes are refused: ${failure}`)
    if (readers.pinned !== 0) problems.push(`${readers.pinned} readers are left by threads that have closed`)
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
    child.once('message', (report) => resolve(report as ReadReport))
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

await prove({
  name: 'readers',
  proves:
    'that a reader which is ended while it reads is told so and shows nothing wrong, and does no harm to the others, ' +
    'whatever is written over what it was reading.',
  takes: 'as long as it is given; half a minute is a short look. Nothing but Node.js.',
  seed: { help: 'what threads do follows from it, but not when' },
  minutes: { help: 'how long', default: 0.5 },
  options: {
    seconds: { kind: 'number', value: 'S', help: 'how long, in seconds: instead of --minutes' },
    directory: {
      kind: 'path',
      value: 'DIR',
      help: "where the database is made (default: the system's temporary directory)",
    },
  },
  run: async (run) => {
    const parent = run.textIfGiven('directory') ?? tmpdir()
    const seconds = run.numberIfGiven('seconds')
    const endMs = seconds === undefined ? run.endMs : run.startedMs + seconds * 1000
    const directory = join(parent, `mmapdb-readers-${process.pid}`)
    announce('readers', run, `spells of at most ${SPELL_MS} ms`, seconds)
    mkdirSync(directory)
    const counts: Record<string, number> = {}
    let spell = 0
    let problems: string[] = []
    while (Date.now() < endMs && problems.length === 0) {
      spell++
      problems = await oneSpell(
        join(directory, 'db'),
        mix(run.seed, spell),
        Math.min(endMs, Date.now() + SPELL_MS),
        counts,
      )
    }
    if (problems.length === 0) rmSync(directory, { recursive: true, force: true })
    const ended = Object.entries(counts)
      .filter(([what]) => what.endsWith(': ended'))
      .reduce((sum, [, count]) => sum + count, 0)
    const result =
      problems.length > 0
        ? `spell ${spell} failed`
        : // If no reader is ended, this has shown nothing.
          `nothing was wrong, nothing was refused${ended === 0 ? '; but no reader was ended: run it for longer' : ''}`
    return {
      problems: problems.slice(0, 10),
      result,
      counts: {
        spells: spell,
        'readers ended': ended,
        'by kind': Object.fromEntries(Object.entries(counts).sort(([a], [b]) => (a < b ? -1 : 1))),
      },
      fileSystem: fileSystemOf(parent),
      leftIn: directory,
    }
  },
})
