// Shows that the simulation and the tests find bugs: takes one safeguard after another out of the compiled engine
// and runs lives until one fails, or the test that is to see it. A version that lives through all seeds, or
// passes its test, is a safeguard that nothing proves.
//
// The simulation finds most within a few dozen seeds, the rarest within 1,500. `--at-least` is for a short look
// whether it still sees: fewer than that many versions caught are a failure.
import Table from 'cli-table3'
import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileSystemOf } from '../lib/evidence.js'
import { announce, CannotRun, prove } from '../lib/harness.js'
import type { Mutant } from './mutant.js'
import { MUTANTS } from './mutants.js'
import { TESTED_MUTANTS } from './tested-mutants.js'
import type { TestedMutant } from './tested-mutant.js'
import { inPackage } from '../../src/package-root.js'

const DIST = inPackage('dist')
const MOCHA = createRequire(import.meta.url).resolve('mocha/bin/mocha.js')
const TEST_MINUTES = 2
const LIVES = 4

/** What came of one version: it was caught, or it was not, or there was no time left to tell. */
type Verdict = { readonly where: string; readonly how: string } | 'not caught' | 'undecided'

/**
 * Makes a version with these changes, in a directory beside dist, so that the packages that it imports and the addon
 * are found.
 */
function withMutant<T>({ name, changes }: Mutant, parts: readonly string[], use: (directory: string) => T): T {
  const directory = mkdtempSync(join(DIST, '..', 'dist-mutant-'))
  try {
    for (const part of parts) cpSync(join(DIST, part), join(directory, part), { recursive: true })
    for (const { file, from, to } of changes) {
      const path = join(directory, 'src', file)
      const text = readFileSync(path, 'utf8')
      if (text.split(from).length !== 2) throw new Error(`"${name}": this is not in ${file} exactly once: ${from}`)
      writeFileSync(
        path,
        text.replace(from, () => to),
      )
    }
    return use(directory)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/** In which seed a life failed, and how. */
function judgeBySimulation(mutant: Mutant, seed: number, seeds: number, limitMs: number): Verdict {
  return withMutant(mutant, ['src', 'crash-tests'], (directory) => {
    const options = { seed, seeds, lives: LIVES, 'shrink-seconds': 0 }
    const run = spawnSync(
      process.execPath,
      [
        join(directory, 'crash-tests', 'sim', 'main.js'),
        ...Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]),
      ],
      { encoding: 'utf8', maxBuffer: 1 << 28, killSignal: 'SIGKILL', ...limitOf(limitMs) },
    )
    if (run.status === 0) return 'not caught'
    if (run.status === null) return 'undecided'
    const failed = /--seed (\d+)/.exec(run.stderr)?.[1]
    if (failed === undefined) throw new Error(`"${mutant.name}" could not be run: ${run.stderr.slice(-2000)}`)
    return { where: `seed ${failed}`, how: /^.*$/m.exec(run.stderr)![0].replace(/^FAILED: seed \d+, /, '') }
  })
}

const limitOf = (limitMs: number): { timeout?: number } => (limitMs === Infinity ? {} : { timeout: limitMs + 1 })

/** A test that draws its input may miss a mutant now and then: it has this many tries. What it took is said. */
const TRIES = 3

/** How the test that it names failed. A test that never ends is killed, and counts as failed. */
function judgeByTest(mutant: TestedMutant, environment: NodeJS.ProcessEnv): Verdict {
  return withMutant(mutant, ['src', 'crash-tests', 'test'], (directory) => {
    for (let tries = 1; tries <= TRIES; tries++) {
      const verdict = runTest(mutant, directory, environment)
      if (typeof verdict !== 'string' && tries > 1) return { ...verdict, where: `${verdict.where}, try ${tries}` }
      if (verdict !== 'not caught') return verdict
    }
    return 'not caught'
  })
}

function runTest(
  { name: mutant, test: [file, name] }: TestedMutant,
  directory: string,
  environment: NodeJS.ProcessEnv,
): Verdict {
  const run = spawnSync(
    process.execPath,
    [
      MOCHA,
      '--no-config',
      '--exit',
      '--bail',
      '--reporter',
      'json',
      '--fgrep',
      name,
      join(directory, 'test', `${file}.test.js`),
    ],
    {
      encoding: 'utf8',
      maxBuffer: 1 << 28,
      timeout: TEST_MINUTES * 60_000,
      killSignal: 'SIGKILL',
      env: environment,
    },
  )
  if (run.status === null) return { where: file, how: `did not end within ${TEST_MINUTES} minutes` }
  const found = /^\{\n {2}"stats": [^]*/m.exec(run.stdout)
  if (found === null) return { where: file, how: `ended with ${run.status}: ${run.stderr.slice(0, 200)}` }
  const { stats, failures } = JSON.parse(found[0]) as {
    stats: { tests: number }
    failures: { err: { message: string } }[]
  }
  if (stats.tests === 0) throw new Error(`"${mutant}": there is no test "${name}" in ${file}`)
  return failures[0] === undefined ? 'not caught' : { where: file, how: failures[0].err.message }
}

await prove({
  name: 'mutants',
  proves:
    'that the simulation and the tests can fail: of each safeguard of the protocols there is a version of the engine ' +
    'without it, and each of these versions must be found wrong.',
  takes:
    'by simulation minutes for --seeds 10 and an hour or more for all; by tests some minutes. Nothing but Node.js.',
  seed: { help: 'the first seed; with --seen-by tests the one that random tests get', default: 1 },
  minutes: { help: 'no further version after that time; what was not decided by then is no failure' },
  options: {
    'seen-by': {
      kind: 'text',
      value: 'WHO',
      help: 'simulation or tests: what is to catch them',
      default: 'simulation',
    },
    seeds: { kind: 'count', value: 'N', help: 'seeds to try before a version counts as not caught', default: '2000' },
    only: { kind: 'text', value: 'TEXT', help: 'only versions whose name holds this' },
    'begin-with': {
      kind: 'count',
      value: 'N',
      help: 'the version to begin with, counted round: so that, with --minutes, others have their turn',
      default: '1',
    },
    'at-least': { kind: 'count', value: 'M', help: 'it is enough if that many are caught; otherwise all must be' },
  },
  run: (run) => {
    const seenBy = run.text('seen-by')
    const seeds = run.number('seeds')
    const atLeast = run.numberIfGiven('at-least')
    const seed = run.isGiven('seed') ? { MMAPDB_TEST_SEED: String(run.seed) } : {}
    const environment = { ...process.env, MMAPDB_TEST_RUNS: '1', ...seed }
    if (seenBy !== 'simulation' && seenBy !== 'tests')
      throw new CannotRun(`--seen-by takes simulation or tests, not "${seenBy}".`)
    const all =
      seenBy === 'tests'
        ? TESTED_MUTANTS.map((mutant) => ({ name: mutant.name, judge: () => judgeByTest(mutant, environment) }))
        : MUTANTS.map((mutant) => ({
            name: mutant.name,
            judge: () => judgeBySimulation(mutant, run.seed, seeds, run.remainingMs),
          }))
    const chosen = all.filter(({ name }) => name.includes(run.textIfGiven('only') ?? ''))
    if (chosen.length === 0) throw new CannotRun(`No version's name holds "${run.text('only')}".`)
    announce('mutants', run, `${chosen.length} versions of the engine, seen by ${seenBy}`)

    const table = new Table({
      head: ['left out', 'seen by', 'how it showed'],
      colWidths: [62, 22, 70],
      wordWrap: true,
      style: { head: [], border: [] },
    })
    const counts = { caught: 0, 'not caught': 0, undecided: 0 }
    const missed: string[] = []
    const first = (run.number('begin-with') - 1) % chosen.length
    for (const { name, judge } of [...chosen.slice(first), ...chosen.slice(0, first)]) {
      const verdict = run.isTimeUp ? 'undecided' : judge()
      if (verdict === 'undecided') counts.undecided++
      else if (verdict === 'not caught') {
        counts['not caught']++
        missed.push(name)
        table.push([name, 'NOTHING', 'all went well'])
      } else {
        counts.caught++
        table.push([name, verdict.where, verdict.how.slice(0, 130)])
      }
      if (!run.isTimeUp || verdict !== 'undecided')
        console.log(`${typeof verdict === 'string' ? verdict : `caught by ${verdict.where}`}: ${name}`)
    }
    console.log(table.toString())
    const problems =
      atLeast === undefined
        ? missed.map((name) => `nothing caught the version in which ${name}`)
        : counts.caught < atLeast
          ? [`${counts.caught} versions were caught, fewer than ${atLeast}`]
          : []
    const result = `${counts.caught} of ${chosen.length} versions without a safeguard were caught`
    return Promise.resolve({
      problems,
      result: counts.undecided === 0 ? result : `${result}, for ${counts.undecided} there was no time`,
      counts: { versions: chosen.length, ...counts },
      fileSystem: seenBy === 'tests' ? fileSystemOf(tmpdir()) : 'simulated',
    })
  },
})
