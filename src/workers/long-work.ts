// Long work in steps (maintenance/steps.ts), done by a worker or on this thread, for a caller who wants to know how
// far it is, and may end it.
import { setTimeout as delay } from 'node:timers/promises'
import type { Progress } from '../maintenance/reports.js'
import type { Steps } from '../maintenance/steps.js'
import type { Lane } from './lane.js'
import { ENDED, restMs, StepSignal, type StepOutcome } from './step-task.js'

/** What the caller of long work gives. */
export interface LongWork {
  readonly onProgress: ((progress: Progress) => void) | undefined
  readonly signal: AbortSignal | undefined
}

const PROGRESS_EVERY_MS = 100

/** What long work comes to: a result, or the reason of the user who ended it. */
type Done<T> = { readonly result: T } | { readonly endedBy: unknown }

/** The result. Throws the reason if there is none. */
export function resultOf<T>(done: Done<T>): T {
  if ('result' in done) return done.result
  throw done.endedBy
}

const isAborted = ({ signal }: LongWork): boolean => signal?.aborted === true

/** Has a worker do it: the task `name` gets `task` with the shared words, and returns what `doSteps` returns. */
export async function doneThere<T>(lane: Lane, name: string, task: object, work: LongWork): Promise<Done<T>> {
  if (isAborted(work)) return { endedBy: work.signal!.reason }
  const signal = new StepSignal()
  const end = (): void => signal.end()
  const teller = new Teller(work, end)
  const timer = setInterval(() => {
    const { progress } = signal
    if (progress !== undefined) teller.tell(progress)
  }, PROGRESS_EVERY_MS)
  work.signal?.addEventListener('abort', end, { once: true })
  try {
    const outcome = await lane.run<StepOutcome<T>>(name, { ...task, shared: signal.shared })
    return outcome === ENDED ? { endedBy: teller.reason } : outcome
  } finally {
    clearInterval(timer)
    work.signal?.removeEventListener('abort', end)
  }
}

/** Does it on this thread. The event loop runs between two steps. `writtenUpTo`: moves when others write. */
export async function doneHere<T>(steps: Steps<T>, work: LongWork, writtenUpTo: () => number): Promise<Done<T>> {
  if (isAborted(work)) return { endedBy: work.signal!.reason }
  let ended = false
  const teller = new Teller(work, () => (ended = true))
  let toldMs = -Infinity
  let before = writtenUpTo()
  try {
    for (;;) {
      const startedMs = performance.now()
      const step = steps.next()
      if (step.done) return { result: step.value }
      const now = writtenUpTo()
      const tookMs = performance.now() - startedMs
      await new Promise((resolve) => setImmediate(resolve))
      // Not before the caller has the promise: what is told may close the database, which waits for this.
      if (performance.now() - toldMs >= PROGRESS_EVERY_MS) {
        toldMs = performance.now()
        teller.tell(step.value)
      }
      if (now !== before) await delay(restMs(tookMs))
      before = now
      if (ended || isAborted(work)) return { endedBy: teller.reason }
    }
  } finally {
    steps.return(undefined as never)
  }
}

/** Calls the user's function. If that throws, the work ends with what it has thrown. */
class Teller {
  readonly #work: LongWork
  readonly #end: () => void
  /** What the user's function has thrown. */
  #failure: { readonly thrown: unknown } | undefined

  constructor(work: LongWork, end: () => void) {
    this.#work = work
    this.#end = end
  }

  tell(progress: Progress): void {
    if (this.#failure !== undefined) return
    try {
      this.#work.onProgress?.(progress)
    } catch (thrown) {
      this.#failure = { thrown }
      this.#end()
    }
  }

  /** Why the work was ended. */
  get reason(): unknown {
    return this.#failure === undefined ? this.#work.signal!.reason : this.#failure.thrown
  }
}
