// An asynchronous iterator over what is yet to come: it hands out what there is, reads on when that is used up, and
// waits when there is nothing to read. A change feed and a watch of keys are such iterators.
//
// Calls of `next` are answered in their order. What is there already is handed out without a wait, but the event loop
// gets its turn every few milliseconds, however much there is and however fast it is taken. The user's code runs
// between any two steps, and may end this, abort its signal, or close the database.
//
// Only a call that waits is known to others (the follower of the log, and with it a timer). So an iterator that nobody
// refers to any more is collected, whether it was ended or not.
import { EncodingError, foreseen } from '../errors.js'
import { nextTurn } from './lookups.js'

/** How long the event loop is held at a time. */
const SLICE_MS = 4

const DONE = { done: true, value: undefined } as const

/** There may be more, but the event loop is to have its turn first. */
export const LATER = Symbol('later')

const nothing = (): void => undefined

interface LiveRequest {
  readonly signal: AbortSignal | undefined
  /** Throws once the database is closed. */
  readonly assertOpen: () => void
  /** What must not be released while the iterator is in use. */
  readonly owner: unknown
}

export abstract class LiveIterator<T> implements AsyncIterableIterator<T, undefined> {
  readonly #request: LiveRequest
  #sliceEndsMs = 0
  #isOver = false
  /** Why it is over, if that is an error and has not been told yet. */
  #failure: { readonly reason: unknown } | undefined
  /** Settled when the calls of `next` so far are; undefined if they are. */
  #busy: Promise<void> | undefined
  /** Ends the wait for news. */
  #wake: (() => void) | undefined
  #unlisten: (() => void) | undefined

  constructor(request: LiveRequest) {
    this.#request = request
    const { signal } = request
    if (signal?.aborted === true) {
      this.#failure = { reason: signal.reason }
      this.#isOver = true
    } else if (signal !== undefined) this.#unlisten = whenAborted(signal, new WeakRef(this))
  }

  /** The next item if it is there; undefined if there is none, until more was read. */
  protected abstract take(untilMs: number): T | typeof LATER | undefined
  /** Reads on. False if there is nothing new. */
  protected abstract load(): boolean
  /** Calls `wake` once there may be something new. Returns what ends the wait. */
  protected abstract await(wake: () => void): () => void
  /** It is over. */
  protected letGo(): void {}

  [Symbol.asyncIterator](): this {
    return this
  }

  next(): Promise<IteratorResult<T, undefined>> {
    if (this.#busy === undefined) {
      try {
        const ready = this.#ready()
        if (ready !== undefined) return Promise.resolve(ready)
      } catch (error) {
        return Promise.reject(error as Error)
      }
    }
    const result = (this.#busy ?? Promise.resolve()).then(() => this.#step())
    const busy = result.then(nothing, nothing).then(() => {
      if (this.#busy === busy) this.#busy = undefined
    })
    this.#busy = busy
    return result
  }

  return(): Promise<IteratorResult<T, undefined>> {
    this.#end()
    this.#failure = undefined
    return Promise.resolve(DONE)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return()
  }

  /** The signal was aborted. @internal */
  abort(reason: unknown): void {
    if (!this.#isOver) this.#fail(reason)
  }

  async #step(): Promise<IteratorResult<T, undefined>> {
    for (;;) {
      const ready = this.#ready()
      if (ready !== undefined) return ready
      if (performance.now() >= this.#sliceEndsMs) {
        await nextTurn()
        this.#sliceEndsMs = performance.now() + SLICE_MS
        continue
      }
      try {
        if (!this.load()) await this.#news()
      } catch (error) {
        // If it has ended meanwhile, that says it all.
        if (!this.#isOver) this.#fail(foreseen(error))
      }
    }
  }

  /** The next result, if that is known. */
  #ready(): IteratorResult<T, undefined> | undefined {
    if (!this.#isOver) this.#mustBeOpen()
    if (this.#failure !== undefined) {
      const { reason } = this.#failure
      this.#failure = undefined
      throw reason
    }
    if (this.#isOver) return DONE
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
      if (!(error instanceof EncodingError)) this.#end()
      throw foreseen(error)
    }
  }

  #mustBeOpen(): void {
    try {
      this.#request.assertOpen()
    } catch (error) {
      this.#fail(error)
    }
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

  #fail(reason: unknown): void {
    this.#failure = { reason }
    this.#end()
  }

  #end(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.letGo()
    this.#unlisten?.()
    this.#wake?.()
  }
}

/** The signal may last longer than the iterator, and does not keep it alive. */
function whenAborted(signal: AbortSignal, iterator: WeakRef<LiveIterator<unknown>>): () => void {
  const listener = (): void => iterator.deref()?.abort(signal.reason)
  signal.addEventListener('abort', listener, { once: true })
  return () => signal.removeEventListener('abort', listener)
}
