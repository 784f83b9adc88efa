// Long work in steps (maintenance/steps.ts) in a worker thread, and the words that it shares with the thread that has
// asked for it: one that ends the work, and numbers that say how far it is. Between two steps the worker writes the
// numbers and looks at the word. If others have written to the database during a step, it rests for a while, so that
// they keep most of the processors and of the disk; ending the work wakes it.
import type { Progress } from '../maintenance/reports.js'
import type { Steps } from '../maintenance/steps.js'

const PHASES: readonly Progress['phase'][] = ['copying', 'replaying', 'verifying']
/** While others write, the work rests this many times as long as its step took. */
const REST = 4
/** But not longer than this at a time. */
const MAX_REST_MS = 500

const ENDED_WORD = 0
const BYTES = 32
const NUMBERS = { PHASE: 1, DONE: 2, TOTAL: 3 } as const

/** The work was ended between two steps, and what it had done was taken back. */
export const ENDED = 'ended'
export type StepOutcome<T> = { readonly result: T } | typeof ENDED

/** How long to rest after a step that took `tookMs`, if others have written meanwhile. */
export const restMs = (tookMs: number): number => Math.min(MAX_REST_MS, REST * tookMs)

/** What the two threads share. */
export class StepSignal {
  readonly #words: Int32Array
  readonly #numbers: Float64Array

  constructor(readonly shared: SharedArrayBuffer = new SharedArrayBuffer(BYTES)) {
    this.#words = new Int32Array(shared)
    this.#numbers = new Float64Array(shared)
  }

  end(): void {
    Atomics.store(this.#words, ENDED_WORD, 1)
    Atomics.notify(this.#words, ENDED_WORD)
  }
  get isEnded(): boolean {
    return Atomics.load(this.#words, ENDED_WORD) !== 0
  }
  /** Sleeps, until the work is ended at most. */
  rest(ms: number): void {
    Atomics.wait(this.#words, ENDED_WORD, 0, ms)
  }

  /** Undefined before the first step is done. */
  get progress(): Progress | undefined {
    const numbers = this.#numbers
    if (numbers[NUMBERS.TOTAL] === 0) return undefined
    return { phase: PHASES[numbers[NUMBERS.PHASE]!]!, done: numbers[NUMBERS.DONE]!, total: numbers[NUMBERS.TOTAL]! }
  }
  set progress({ phase, done, total }: Progress) {
    this.#numbers[NUMBERS.PHASE] = PHASES.indexOf(phase)
    this.#numbers[NUMBERS.DONE] = done
    this.#numbers[NUMBERS.TOTAL] = total
  }
}

/** In a worker: does all steps. `writtenUpTo`: moves when others write. */
export function doSteps<T>(steps: Steps<T>, shared: SharedArrayBuffer, writtenUpTo: () => number): StepOutcome<T> {
  const signal = new StepSignal(shared)
  for (let before = writtenUpTo(); ;) {
    const startedMs = performance.now()
    const step = steps.next()
    if (step.done) return { result: step.value }
    signal.progress = step.value
    const now = writtenUpTo()
    if (now !== before) signal.rest(restMs(performance.now() - startedMs))
    before = now
    if (!signal.isEnded) continue
    steps.return(undefined as never)
    return ENDED
  }
}
