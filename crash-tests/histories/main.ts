// Histories of real threads and processes, some of which are killed: is what they were told what a database could say
// that does one thing at a time? Round by round, some seconds each, with a check after each. How a history is checked
// is said in linearizability.ts, what a client does in kinds.ts, and what happens in a round in round.ts.
//
// A history that fails is kept: `history.ndjson` whole, `smallest.ndjson` the part that shows the fault. Both can be
// checked again with --input.
import { mkdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileSystemOf } from '../lib/evidence.js'
import { announce, CannotRun, prove, selfTestOutcome, type Outcome } from '../lib/harness.js'
import { mix, Random } from '../lib/random.js'
import { explain } from './explain.js'
import { someLayout } from './keys.js'
import { check } from './linearizability.js'
import type { Held, History } from './operations.js'
import { readHistory, writeHistory } from './recorder.js'
import { runRound } from './round.js'
import { selfTest } from './self-test.js'

const SHRINK_MS = 60_000

interface Judged {
  readonly problems: string[]
  readonly story?: string
  readonly objects: number
}

/** Says what is wrong with a history, and writes it down if something is. */
function judge(history: History, limitMs: number, keepIn: string | undefined): Judged {
  const found = check(history, limitMs)
  if (found.verdict === 'linearizable') return { problems: [], objects: found.objects }
  const keep = (name: string, what: History): void => {
    if (keepIn !== undefined) writeHistory(join(keepIn, name), what)
  }
  keep('history.ndjson', history)
  if (found.verdict === 'undecided') {
    const sizes = found.undecided.map(({ length }) => length).join(', ')
    return {
      problems: [`the check of parts with ${sizes} operations took too long: give it more with --check-seconds`],
      objects: 0,
    }
  }
  const { small, text } = explain(found.operations, history.initial, SHRINK_MS)
  keep('smallest.ndjson', small)
  return { problems: ['the history is not linearizable'], story: text, objects: 0 }
}

function checkAgain(file: string, limitMs: number): Outcome {
  let history: History
  try {
    history = readHistory([file]).history
  } catch (error) {
    throw new CannotRun(`${file} cannot be read: ${(error as Error).message}`)
  }
  const { problems, story, objects } = judge(history, limitMs, undefined)
  return {
    problems,
    story,
    result: problems.length === 0 ? 'the history is linearizable' : 'a history failed',
    counts: { operations: history.operations.length, objects },
    fileSystem: fileSystemOf(tmpdir()),
    repeatWith: `--input ${file}`,
  }
}

const add = (sums: Record<string, number>, more: Readonly<Record<string, number>>): void => {
  for (const [name, count] of Object.entries(more)) sums[name] = (sums[name] ?? 0) + count
}

interface Plan {
  readonly directory: string
  readonly seed: number
  readonly rounds: number
  readonly roundMs: number
  readonly checkMs: number
  readonly isTimeUp: () => boolean
}

/** Rounds on one database, until time is up or something is wrong. */
async function runRounds({
  directory,
  seed,
  rounds,
  roundMs,
  checkMs,
  isTimeUp,
}: Plan): Promise<Omit<Outcome, 'fileSystem'>> {
  const counts = { rounds: 0, operations: 0, 'unknown outcomes': 0, kills: 0, objects: 0 }
  const kinds: Record<string, number> = {}
  const refused: Record<string, number> = {}
  const unknown: Record<string, number> = {}
  const layout = someLayout(new Random(mix(seed, 0)))
  let initial: Readonly<Record<string, Held>> = {}
  let [problems, story]: [string[], string | undefined] = [[], undefined]
  while (counts.rounds < rounds && !isTimeUp() && problems.length === 0) {
    const folder = join(directory, `round-${++counts.rounds}`)
    const report = await runRound({
      path: join(directory, 'db'),
      folder,
      layout,
      seed: mix(seed, counts.rounds),
      durationMs: roundMs,
      initial,
    })
    const { operations } = report.history
    counts.operations += operations.length
    counts['unknown outcomes'] += operations.filter(({ end }) => end === Infinity).length
    counts.kills += report.kills
    for (const { name } of operations) kinds[name] = (kinds[name] ?? 0) + 1
    add(refused, report.refused)
    add(unknown, report.unknown)
    const judged = judge(report.history, checkMs, folder)
    counts.objects += judged.objects
    problems = [...report.problems, ...judged.problems].map((problem) => `round ${counts.rounds}: ${problem}`)
    story = judged.story
    initial = report.final
    if (problems.length === 0) rmSync(folder, { recursive: true, force: true })
  }
  return {
    problems,
    story,
    result:
      problems.length > 0
        ? 'a history failed'
        : `every history is linearizable${counts.kills === 0 ? '; but nobody was killed: run it for longer' : ''}`,
    counts: { ...counts, 'by kind': kinds, refused, 'unknown because of': unknown },
  }
}

await prove({
  name: 'linearizable',
  proves:
    'that whatever threads and processes were told is what a database could say that does one thing at a time: no lost ' +
    'update, no stale or half read, no version that goes back, nothing done twice, also when clients are killed.',
  takes: 'as long as it is given; half a minute is a short look. Nothing but Node.js.',
  seed: { help: 'what clients do and who is killed follows from it, but not when each gets its turn' },
  minutes: { help: 'how long', default: 0.5 },
  options: {
    rounds: { kind: 'count', value: 'N', help: 'ends after that many rounds, too' },
    'round-ms': { kind: 'count', value: 'N', help: 'how long clients work between two checks', default: '2500' },
    'check-seconds': { kind: 'number', value: 'S', help: 'how long the check of one round may take', default: '60' },
    input: { kind: 'path', value: 'FILE', help: 'checks a history that was kept, and does nothing else' },
    directory: {
      kind: 'path',
      value: 'DIR',
      help: "where the database is made (default: the system's temporary directory)",
    },
    'self-test': { kind: 'flag', help: 'prove that faults of every kind are noticed: a minute' },
  },
  run: async (run) => {
    const checkMs = run.number('check-seconds') * 1000
    const input = run.textIfGiven('input')
    if (input !== undefined) return checkAgain(input, checkMs)
    const parent = run.textIfGiven('directory') ?? tmpdir()
    const directory = join(parent, `mmapdb-histories-${process.pid}`)
    const fileSystem = fileSystemOf(parent)
    if (run.flag('self-test')) {
      announce('linearizable', run, 'self-test')
      return selfTestOutcome(await selfTest(directory, run.seed), 'faults of every kind are noticed', fileSystem)
    }
    const roundMs = run.number('round-ms')
    announce('linearizable', run, `rounds of ${roundMs} ms`)
    mkdirSync(directory)
    const outcome = await runRounds({
      directory,
      seed: run.seed,
      rounds: run.numberIfGiven('rounds') ?? Infinity,
      roundMs,
      checkMs,
      isTimeUp: () => run.isTimeUp,
    })
    if (outcome.problems.length === 0) rmSync(directory, { recursive: true, force: true })
    return { ...outcome, fileSystem, leftIn: directory }
  },
})
