// Shows that the simulation finds bugs: takes one safeguard after another out of the compiled engine
// and runs lives until one fails. A version that lives through all seeds is a safeguard that nothing
// proves.
//   node dist/sim/mutate.js [--seeds N] [--only TEXT] [--at-least M]
// Most are found within a few dozen seeds, the rarest within 1,500 (docs/durability.md). `--at-least` is
// for a short look whether the simulation still sees: fewer than M versions caught are a failure.
import { Command } from 'commander'
import Table from 'cli-table3'
import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { MUTANTS, type Mutant } from './mutants.js'

const DIST = fileURLToPath(new URL('..', import.meta.url))

const program = new Command()
  .option('--seeds <n>', 'seeds to try before a version counts as not caught', '2000')
  .option('--only <text>', 'only those whose name holds this')
  .option('--at-least <m>', 'be content if so many are caught; otherwise all must be')
  .parse()
const options = program.opts<{ seeds: string; only?: string; atLeast?: string }>()

/** Seeds it took until a life failed, with how; undefined if none did. */
function seedsUntilCaught(mutant: Mutant): { seeds: number; how: string } | undefined {
  // Beside dist, so that the packages that it imports and the addon are found.
  const directory = mkdtempSync(join(DIST, '..', 'dist-mutant-'))
  try {
    for (const part of ['src', 'sim', 'crash-tests']) cpSync(join(DIST, part), join(directory, part), { recursive: true })
    for (const { file, from, to } of mutant.changes) {
      const path = join(directory, 'src', file)
      const text = readFileSync(path, 'utf8')
      if (text.split(from).length !== 2) throw new Error(`"${mutant.name}": this is not in ${file} exactly once: ${from}`)
      writeFileSync(path, text.replace(from, () => to))
    }
    const run = spawnSync(
      process.execPath,
      [join(directory, 'sim', 'main.js'), '--seeds', options.seeds, '--lives', '4', '--shrink-seconds', '0'],
      { encoding: 'utf8', maxBuffer: 1 << 28 },
    )
    if (run.status === 0) return undefined
    const seed = /--seed (\d+)/.exec(run.stderr)?.[1]
    if (seed === undefined) throw new Error(`"${mutant.name}" could not be run: ${run.stderr.slice(-2000)}`)
    return { seeds: Number(seed), how: /^.*$/m.exec(run.stderr)![0].replace(/^FAILED: seed \d+, /, '') }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

const table = new Table({ head: ['left out', 'seeds', 'how it showed'], colWidths: [62, 8, 70], wordWrap: true, style: { head: [], border: [] } })
const mutants = MUTANTS.filter(({ name }) => name.includes(options.only ?? ''))
let caughtCount = 0
for (const mutant of mutants) {
  const caught = seedsUntilCaught(mutant)
  if (caught !== undefined) caughtCount++
  console.error(`${caught === undefined ? 'NOT CAUGHT' : `caught by seed ${caught.seeds}`}: ${mutant.name}`)
  table.push([mutant.name, caught?.seeds ?? 'NOT', caught?.how.slice(0, 130) ?? `${options.seeds} seeds went well`])
}
console.log(table.toString())
console.log(`${caughtCount} of ${mutants.length} versions without a safeguard were caught.`)
process.exit(caughtCount >= Number(options.atLeast ?? mutants.length) ? 0 : 1)
