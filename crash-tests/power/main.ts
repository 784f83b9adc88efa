// Power cuts: databases on ext4 and xfs, on a disk whose unflushed writes get lost, torn and reordered.
// `npm run prove:power -- --file-system ext4 --cuts 50 --seed 1`; see README.md.
import { existsSync, mkdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { MUTANTS, runMutants } from './mutants.js'
import { endWithOutside, insideDirectory, isInside, keepDirectory, runInside } from './namespace.js'
import type { Tally } from './round.js'
import { runRounds } from './rounds.js'
import { selfTest } from './self-test.js'
import { FILE_SYSTEMS, Missing, prepareTools, type FileSystem, type Tools } from './tools.js'

const USAGE = `Usage: npm run prove:power -- --file-system ext4|xfs [options]
  --cuts N          power cuts (default 50)
  --seed S          all plans follow from it (default: chosen and printed)
  --round R         only this round of the seed
  --directory DIR   where the image lies (default: in /dev/shm, or the system's temporary directory)
  --keep            leave image and journals behind even if all is well
  --verbose         the story of every round
  --self-test       proves that the disk loses what it may lose, and nothing else
  --mutant NAME     leaves flushes out, until the cuts find it out: ${MUTANTS.map((m) => m.name).join(', ')}, or all
Needs root, and libfuse3-dev fuse3 xfsprogs e2fsprogs pkg-config gcc.`

const { values } = parseArgs({
  options: {
    'file-system': { type: 'string' },
    cuts: { type: 'string', default: '50' },
    seed: { type: 'string' },
    round: { type: 'string' },
    directory: { type: 'string', default: existsSync('/dev/shm') ? '/dev/shm' : tmpdir() },
    keep: { type: 'boolean', default: false },
    verbose: { type: 'boolean', default: false },
    'self-test': { type: 'boolean', default: false },
    mutant: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})

async function main(): Promise<number> {
  const fileSystem = FILE_SYSTEMS.find((name) => name === values['file-system'])
  const cuts = Number(values.cuts)
  const seed = values.seed === undefined ? undefined : Number(values.seed)
  if (
    values.help ||
    fileSystem === undefined ||
    !Number.isInteger(cuts) ||
    (seed !== undefined && !Number.isInteger(seed))
  ) {
    console.error(USAGE)
    return values.help ? 0 : 2
  }
  const tools = prepareTools()
  if (!isInside()) {
    const directory = join(values.directory, `mmapdb-power-${fileSystem}-${process.pid}`)
    mkdirSync(directory, { recursive: true })
    return runInside(directory, [join(directory, 'image'), join(directory, 'layer', 'disk')])
  }
  endWithOutside()
  const directory = insideDirectory()
  if (values['self-test']) return selfTest(fileSystem, directory, tools, seed ?? randomSeed())
  if (values.mutant !== undefined)
    return runMutants(values.mutant, { fileSystem, seed: seed ?? 1, cuts, directory, tools })
  return cutPower(fileSystem, cuts, seed ?? randomSeed(), directory, tools)
}

const randomSeed = (): number => Math.floor(Math.random() * 2 ** 31)

async function cutPower(
  fileSystem: FileSystem,
  cuts: number,
  seed: number,
  directory: string,
  tools: Tools,
): Promise<number> {
  const round = values.round === undefined ? undefined : Number(values.round)
  console.log(`power cuts: ${fileSystem}, seed ${seed}, ${round === undefined ? `${cuts} cuts` : `round ${round}`}`)
  const startedMs = Date.now()
  const { tally, failure } = await runRounds({
    fileSystem,
    seed,
    cuts,
    directory,
    tools,
    onlyRound: round,
    onRound: (n, story, { cuts: done }) => {
      if (values.verbose) console.log(`round ${n}:\n  ${story}`)
      else console.log(`  ${done} cuts after ${((Date.now() - startedMs) / 1000).toFixed(0)} s`)
    },
  })
  summarise(tally, Date.now() - startedMs)
  if (values.keep || failure !== undefined) {
    await keepDirectory()
    console.log(`What is left lies in ${directory}: plan.json; journals/ of the writers; image-after-cut, as the`)
    console.log('last cut left it; and image, as it is now. Look into one with: mount -o loop IMAGE DIRECTORY')
  }
  if (failure === undefined) return 0
  const { error } = failure
  console.error(`round ${failure.round}:\n  ${failure.story}`)
  console.error(
    `FAILED: ${error instanceof Error ? (error.name === 'Error' ? error.message : error.stack) : String(error)}`,
  )
  console.error(
    `Repeat the plan with: npm run prove:power -- --file-system ${fileSystem} --seed ${seed} --round ${failure.round} --verbose`,
  )
  return 1
}

const counts = (of: Map<string, number>): string =>
  [...of]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, count]) => `${name} ${count}`)
    .join(', ')

function summarise(tally: Tally, durationMs: number): void {
  console.log(
    `${tally.cuts} cuts in ${(durationMs / 1000).toFixed(0)} s (${(durationMs / 1000 / Math.max(1, tally.cuts)).toFixed(1)} s each), ${tally.rounds} databases, ${tally.lives} lives`,
  )
  console.log(`  by moment               ${counts(tally.cutsByEvent)}`)
  console.log(`  at points               ${counts(tally.cutsAtPoints)}`)
  console.log(`  what survived           ${counts(tally.cutsByMode)}`)
  console.log(`  cuts of recoveries      ${tally.cutsOfRecoveries}`)
  console.log(
    `  cuts that lost writes   ${tally.cutsWithLosses}; sectors unflushed ${tally.sectors}, lost ${tally.sectorsLost}, of an older version ${tally.sectorsOlder}`,
  )
  console.log(`  closed and reopened     ${tally.reopenings}; processes killed beforehand ${tally.kills}`)
  console.log(`  recoveries and checks   ${tally.recoveries}, ${tally.checks}`)
  console.log(`  acknowledged operations ${tally.acknowledged}`)
  console.log(
    `  file system checker     ${tally.complaints.length === 0 ? 'never complained' : `complained ${tally.complaints.length} times`}`,
  )
  for (const complaint of tally.complaints.slice(0, 3))
    console.log(`    ${complaint.split('\n').slice(0, 6).join('\n      ')}`)
}

try {
  process.exitCode = await main()
} catch (error) {
  if (!(error instanceof Missing)) throw error
  console.error(error.message)
  process.exitCode = 2
}
