// Proves that the power cuts find what they are there for: the same rounds with a system that leaves out
// some of the flushes which the engine asks for (lying-flush.c). Each must be found out.
import { join } from 'node:path'
import { rmSync } from 'node:fs'
import { RoundFailure } from '../kill/round.js'
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

/** So many runs of each, with seeds that follow each other. */
const RUNS = 3

/** Runs the mutants that are asked for; the exit code is 0 if each run of each was found out. */
export async function runMutants(name: string, options: RunOptions): Promise<number> {
  const mutants = MUTANTS.filter((m) => name === 'all' || m.name === name)
  if (mutants.length === 0) {
    console.error(`There is no mutant ${name}: ${MUTANTS.map((m) => m.name).join(', ')}, all`)
    return 2
  }
  let missed = 0
  for (const { name, what, harmless } of mutants) {
    const excuse = harmless?.[options.fileSystem]
    console.log(
      `${name}: ${what}${excuse === undefined ? '' : ` (nothing to find on ${options.fileSystem}: ${excuse})`}`,
    )
    const runs = excuse === undefined ? RUNS : 1
    for (let seed = options.seed; seed < options.seed + runs; seed++) {
      const state = join(options.directory, 'lie-state')
      rmSync(state, { force: true })
      const environment = { LD_PRELOAD: options.tools.lyingFlush, MMAPDB_LIE: name, MMAPDB_LIE_STATE: state }
      const { tally, failure } = await runRounds({ ...options, seed, environment })
      // What is wrong with the rig is no proof of anything.
      if (failure !== undefined && !(failure.error instanceof RoundFailure)) throw failure.error
      const found = failure === undefined ? undefined : (failure.error as Error).message.split('\n')[0]!.slice(0, 140)
      if (found === undefined && excuse === undefined) missed++
      console.log(
        `  seed ${seed}: ${found === undefined ? `NOT found in ${tally.cuts} cuts` : `found at cut ${tally.cuts}: ${found}`}`,
      )
    }
  }
  return missed === 0 ? 0 : 1
}
