// An asynchronous iterator over what is yet to come: it hands out what there is, reads on when that is used up, and
// waits when there is nothing to read. A change feed and a watch of keys are such iterators.
//
// What is there already is handed out without a wait, but the event loop gets its turn every few milliseconds, however
// much there is and however fast it is taken.
//
// Only a call that waits is known to others (the follower of the log, and with it a timer). So an iterator that nobody
// refers to any more is collected, whether it was ended or not.
import { EncodingError, foreseen } from '../errors.js'
import { nextTurn } from './turns.js'
import { OrderedIterator } from './ordered-iterator.js'

/** How long the event loop is held at a time. */
const SLICE_MS = 4

/** There may be more, but the event loop is to have its turn first. */
export const LATER = Symbol('later')

interface LiveRequest {
  readonly signal: AbortSignal | undefined
  /** Throws once the database is closed. */
  readonly assertOpen: () => void
  /** What must not be released while the iterator is in use. */
  readonly owner: unknown
}

export abstract class LiveIterator<T> extends OrderedIterator<T> {
  readonly #request: LiveRequest
  #sliceEndsMs = 0
  /** Ends the wait for news. */
  #wake: (() => void) | undefined

  constructor(request: LiveRequest) {
    super()
    this.#request = request
  }

  /** The next item if it is there; undefined if there is none, until more was read. */
  protected abstract take(untilMs: number): T | typeof LATER | undefined
  /** Reads on. False if there is nothing new. */
  protected abstract readOn(): boolean
  /** Calls `wake` once there may be something new. Returns what ends the wait. */
  protected abstract await(wake: () => void): () => void
  /** It is over. */
  protected abstract drop(): void

  protected assertOpen(): void {
    this.#request.assertOpen()
  }

  protected ready(): IteratorResult<T, undefined> | undefined {
    if (performance.now() >= this.#sliceEndsMs) return undefined
    const value = this.#taken()
    if (value === LATER) this.#sliceEndsMs = 0
    return value === undefined || value === LATER ? undefined : { done: false, value }
  }

  /** A value that cannot be decoded is told, and the next call goes on after it. Any other error is the end. */
  #taken(): T | typeof LATER | undefined {
    try {
      return this.take(this.#sliceEndsMs)
    } catch (error) {
      if (!(error instanceof EncodingError)) this.end()
      throw foreseen(error)
    }
  }

  protected async load(): Promise<void> {
    if (performance.now() >= this.#sliceEndsMs) {
      await nextTurn()
      this.#sliceEndsMs = performance.now() + SLICE_MS
    } else if (!this.readOn()) await this.#news()
  }

  async #news(): Promise<void> {
    let stop: (() => void) | undefined
    let hasWaited = false
    try {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
        stop = this.await(resolve)
        // Only if it was not woken at once has the event loop had its turn afterwards.
        this.#wake = () => {
          hasWaited = true
          resolve()
        }
      })
    } finally {
      this.#wake = undefined
      stop?.()
    }
    if (hasWaited) this.#sliceEndsMs = performance.now() + SLICE_MS
  }

  protected letGo(): void {
    this.drop()
    this.#wake?.()
  }
}
