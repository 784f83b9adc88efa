// Commands that take long: how far they are.
import type { Progress } from '../../maintenance/reports.js'
import type { Steps } from '../../maintenance/steps.js'
import { doneHere, resultOf } from '../../workers/long-work.js'
import { startProgress } from '../load/progress.js'
import type { Globals } from './context.js'
import { interruptible } from './interruptible.js'

const NAMES = { copying: 'Copying', replaying: 'Replaying', verifying: 'Verifying' } as const

/**
 * Does long work on this thread, and shows how far it is. `writtenUpTo`: moves when others write to the database, who
 * are to keep most of the machine.
 */
export async function doLongWork<T>(
  steps: Steps<T>,
  { quiet, json }: Globals,
  writtenUpTo: () => number = () => 0,
): Promise<T> {
  const shown = new Shown(quiet || json)
  try {
    const result = await interruptible(async (signal) => {
      const onProgress = (progress: Progress): void => shown.show(progress)
      return resultOf(await doneHere(steps, { onProgress, signal }, writtenUpTo))
    })
    shown.stop(true)
    return result
  } finally {
    shown.stop(false)
  }
}

/** A line or a bar for each phase. */
class Shown {
  readonly #silent: boolean
  #now: Progress | undefined
  #display: ReturnType<typeof startProgress> | undefined

  constructor(silent: boolean) {
    this.#silent = silent
  }

  show(progress: Progress): void {
    const isNew = progress.phase !== this.#now?.phase
    if (isNew) this.stop(true)
    this.#now = progress
    if (!isNew) return
    const stateNow = (): { done: number; operations: number } => ({
      done: this.#now!.done,
      operations: this.#now!.done,
    })
    this.#display = startProgress(NAMES[progress.phase], progress.total, stateNow, this.#silent)
  }

  stop(isDone: boolean): void {
    this.#display?.stop(isDone)
    this.#display = undefined
  }
}
