// Proves that the power cuts find what they are there for: the same rounds with a system that leaves out
// some of the flushes which the engine asks for (lying-flush.c). Each must be detected.
import { join } from 'node:path'
import { rmSync } from 'node:fs'
import { RoundFailure } from '../kill/round.js'
import { CannotRun, type Outcome } from '../lib/harness.js'
import { runRounds, type RunOptions } from './rounds.js'
import type { FileSystem } from './tools.js'

interface Mutant {
  readonly name: string
  readonly what: string
  /** Where it does no harm, and why. */
  readonly harmless?: Partial<Record<FileSystem, string>>
}

export const MUTANTS: readonly Mutant[] = [
  { name: 'log', what: 'segments of the log are not flushed' },
  { name: 'data', what: 'the data file is not flushed' },
  { name: 'slots', what: 'the slots of a checkpoint are not flushed before its headers' },
  {
    name: 'directory',
    what: 'directories are not flushed, and no file is allocated twice',
    harmless: { xfs: 'there fdatasync of a file brings its name along' },
  },
]

/** That many runs of each, with seeds that follow each other. */
const RUNS = 3

/** Runs the mutants that are asked for: each run of each must fail. */
export async function runMutants(name: string, options: RunOptions): Promise<Outcome> {
  const mutants = MUTANTS.filter((m) => name === 'all' || m.name === name)
  if (mutants.length === 0) {
    throw new CannotRun(`There is no mutant "${name}": ${MUTANTS.map((m) => m.name).join(', ')}, all.`)
  }
  const problems: string[] = []
  const counts = { found: 0, 'not found': 0, 'nothing to find': 0, cuts: 0 }
  for (const { name, what, harmless } of mutants) {
    const excuse = harmless?.[options.fileSystem]
    console.log(
      `${name}: ${what}${excuse === undefined ? '' : ` (nothing to find on ${options.fileSystem}: ${excuse})`}`,
    )
    const runs = excuse === undefined ? RUNS : 1
    for (let seed = options.seed; seed < options.seed + runs && options.isTimeUp?.() !== true; seed++) {
      const state = join(options.directory, 'lie-state')
      rmSync(state, { force: true })
      const environment = { LD_PRELOAD: options.tools.lyingFlush, MMAPDB_LIE: name, MMAPDB_LIE_STATE: state }
      const { tally, failure } = await runRounds({ ...options, seed, environment })
      // What is wrong with the rig is no proof of anything.
      if (failure !== undefined && !(failure.error instanceof RoundFailure)) throw failure.error
      const found = failure === undefined ? undefined : (failure.error as Error).message.split('\n')[0]!.slice(0, 140)
      counts.cuts += tally.cuts
      if (found !== undefined) counts.found++
      else if (excuse !== undefined) counts['nothing to find']++
      else {
        counts['not found']++
        problems.push(`with seed ${seed} it was not detected in ${tally.cuts} cuts that ${what}`)
      }
      console.log(
        `  seed ${seed}: ${found === undefined ? `NOT found in ${tally.cuts} cuts` : `found at cut ${tally.cuts}: ${found}`}`,
      )
    }
  }
  return {
    problems,
    result: `missing flushes were detected in ${counts.found} of ${counts.found + counts['not found']} runs`,
    counts,
    fileSystem: options.fileSystem,
  }
}
