// Rounds of power cuts, one after another, until there have been enough cuts or something is wrong.
import { Disk } from './disk.js'
import { planRound } from './plan.js'
import { newTally, PowerRound, type Environment, type Tally } from './round.js'
import type { FileSystem, Tools } from './tools.js'

export interface RunOptions {
  readonly fileSystem: FileSystem
  readonly seed: number
  readonly cuts: number
  /** No further round is started. */
  readonly isTimeUp?: (() => boolean) | undefined
  readonly onlyRound?: number | undefined
  readonly directory: string
  readonly tools: Tools
  readonly environment?: Environment
  readonly onRound?: (round: number, story: string, tally: Tally) => void
}

interface Outcome {
  readonly tally: Tally
  /** What went wrong, and how it had come to that. */
  readonly failure: { readonly round: number; readonly story: string; readonly error: unknown } | undefined
}

export async function runRounds(options: RunOptions): Promise<Outcome> {
  const { fileSystem, seed, directory, tools, environment = {} } = options
  const tally = newTally()
  const disk = new Disk(directory, fileSystem, tools)
  for (let n = options.onlyRound ?? 0; tally.cuts < options.cuts; n++) {
    const round = new PowerRound(planRound(seed, n), { directory, disk, tools, tally, environment })
    try {
      await round.run()
    } catch (error) {
      return { tally, failure: { round: n, story: round.story, error } }
    }
    options.onRound?.(n, round.story, tally)
    if (options.onlyRound !== undefined || options.isTimeUp?.() === true) break
  }
  return { tally, failure: undefined }
}
