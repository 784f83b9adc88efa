// Shows that the simulation and the tests find bugs: takes one safeguard after another out of the compiled engine
// and runs lives until one fails, or the test that is to see it. A version that lives through all seeds, or
// passes its test, is a safeguard that nothing proves.
//   node dist/crash-tests/sim/mutate.js [--seen-by simulation|tests] [--seeds N] [--only TEXT] [--at-least M]
// The simulation finds most within a few dozen seeds, the rarest within 1,500 (docs/durability.md). `--at-least` is
// for a short look whether it still sees: fewer than M versions caught are a failure.
import { Command, Option } from 'commander'
import Table from 'cli-table3'
import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { MUTANTS, type Mutant } from './mutants.js'
import { TESTED_MUTANTS, type TestedMutant } from './tested-mutants.js'
import { inPackage } from '../../src/package-root.js'

const DIST = inPackage('dist')
const MOCHA = createRequire(import.meta.url).resolve('mocha/bin/mocha.js')
const TEST_MINUTES = 2

const program = new Command()
  .addOption(
    new Option('--seen-by <what>', 'what is to catch them').choices(['simulation', 'tests']).default('simulation'),
  )
  .option('--seeds <n>', 'seeds to try before a version counts as not caught', '2000')
  .option('--only <text>', 'only those whose name holds this')
  .option('--at-least <m>', 'be content if so many are caught; otherwise all must be')
  .parse()
const options = program.opts<{ seenBy: 'simulation' | 'tests'; seeds: string; only?: string; atLeast?: string }>()

interface Caught {
  readonly where: string
  readonly how: string
}

/**
 * Compiles in a version with these changes, beside dist, so that the packages that it imports and the addon are
 * found.
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

/** In which seed a life failed, with how; undefined if none did. */
function caughtBySimulation(mutant: Mutant): Caught | undefined {
  return withMutant(mutant, ['src', 'crash-tests'], (directory) => {
    const run = spawnSync(
      process.execPath,
      [
        join(directory, 'crash-tests', 'sim', 'main.js'),
        '--seeds',
        options.seeds,
        '--lives',
        '4',
        '--shrink-seconds',
        '0',
      ],
      { encoding: 'utf8', maxBuffer: 1 << 28 },
    )
    if (run.status === 0) return undefined
    const seed = /--seed (\d+)/.exec(run.stderr)?.[1]
    if (seed === undefined) throw new Error(`"${mutant.name}" could not be run: ${run.stderr.slice(-2000)}`)
    return { where: `seed ${seed}`, how: /^.*$/m.exec(run.stderr)![0].replace(/^FAILED: seed \d+, /, '') }
  })
}

/** How the test that it names failed; undefined if it passed. A test that never ends is ended, and counts as failed. */
function caughtByTest(mutant: TestedMutant): Caught | undefined {
  const [file, name] = mutant.test
  return withMutant(mutant, ['src', 'crash-tests', 'test'], (directory) => {
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
      { encoding: 'utf8', maxBuffer: 1 << 28, timeout: TEST_MINUTES * 60_000, killSignal: 'SIGKILL' },
    )
    if (run.status === null) return { where: file, how: `did not end within ${TEST_MINUTES} minutes` }
    const found = /^\{\n {2}"stats": [^]*/m.exec(run.stdout)
    if (found === null) return { where: file, how: `ended with ${run.status}: ${run.stderr.slice(0, 200)}` }
    const { stats, failures } = JSON.parse(found[0]) as {
      stats: { tests: number }
      failures: { err: { message: string } }[]
    }
    if (stats.tests === 0) throw new Error(`"${mutant.name}": there is no test "${name}" in ${file}`)
    return failures[0] && { where: file, how: failures[0].err.message }
  })
}

const catchers =
  options.seenBy === 'tests'
    ? TESTED_MUTANTS.map((mutant) => ({ name: mutant.name, run: () => caughtByTest(mutant) }))
    : MUTANTS.map((mutant) => ({ name: mutant.name, run: () => caughtBySimulation(mutant) }))

const table = new Table({
  head: ['left out', 'seen by', 'how it showed'],
  colWidths: [62, 22, 70],
  wordWrap: true,
  style: { head: [], border: [] },
})
const chosen = catchers.filter(({ name }) => name.includes(options.only ?? ''))
let caughtCount = 0
for (const { name, run } of chosen) {
  const caught = run()
  if (caught !== undefined) caughtCount++
  console.error(`${caught === undefined ? 'NOT CAUGHT' : `caught by ${caught.where}`}: ${name}`)
  table.push([name, caught?.where ?? 'NOTHING', caught?.how.slice(0, 130) ?? 'all went well'])
}
console.log(table.toString())
console.log(`${caughtCount} of ${chosen.length} versions without a safeguard were caught.`)
process.exit(caughtCount >= Number(options.atLeast ?? chosen.length) ? 0 : 1)
