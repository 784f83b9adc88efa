// An asynchronous iterator whose calls of `next` are answered in the order in which they were made, also if several are
// made at once. What is there already is handed out without a wait. The user's code runs between any two steps, and may
// end the iterator, abort its signal, or close what it reads.
import { foreseen } from '../errors.js'

const DONE = { done: true, value: undefined } as const

export const nothing = (): void => undefined

export abstract class OrderedIterator<T> implements AsyncIterableIterator<T, undefined> {
  #isOver = false
  /** Why it is over, if that is an error and has not been told yet. */
  #failure: { readonly reason: unknown } | undefined
  /** Settled when the calls of `next` so far are; undefined if they are. */
  #busy: Promise<void> | undefined
  #unlisten: (() => void) | undefined

  /** Throws once what it reads is closed: that is its end. */
  protected abstract assertOpen(): void
  /** The next result; undefined if more must be loaded first. An error is told, and is not the end. */
  protected abstract ready(): IteratorResult<T, undefined> | undefined
  /** Loads more, or waits for it. An error is the end. */
  protected abstract load(): Promise<void>
  /** It is over: called once. */
  protected abstract letGo(): void

  protected get isOver(): boolean {
    return this.#isOver
  }

  /** Called by the constructor of a subclass, when all else is in place. */
  protected heed(signal: AbortSignal | undefined): void {
    if (signal?.aborted === true) this.#fail(signal.reason)
    else if (signal !== undefined && !this.#isOver) this.#unlisten = whenAborted(signal, new WeakRef(this))
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  next(): Promise<IteratorResult<T, undefined>> {
    if (this.#busy === undefined) {
      try {
        const known = this.#known()
        if (known !== undefined) return Promise.resolve(known)
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

  /** Ends it at once. Called by a loop that is left early. */
  return(): Promise<IteratorResult<T, undefined>> {
    this.end()
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
      const known = this.#known()
      if (known !== undefined) return known
      try {
        await this.load()
      } catch (error) {
        // If it has ended meanwhile, that says it all.
        if (!this.#isOver) this.#fail(foreseen(error))
      }
    }
  }

  #known(): IteratorResult<T, undefined> | undefined {
    if (!this.#isOver) this.#mustBeOpen()
    if (this.#failure !== undefined) {
      const { reason } = this.#failure
      this.#failure = undefined
      throw reason
    }
    return this.#isOver ? DONE : this.ready()
  }

  #mustBeOpen(): void {
    try {
      this.assertOpen()
    } catch (error) {
      this.#fail(error)
    }
  }

  #fail(reason: unknown): void {
    this.#failure = { reason }
    this.end()
  }

  protected end(): typeof DONE {
    if (this.#isOver) return DONE
    this.#isOver = true
    this.#unlisten?.()
    this.letGo()
    return DONE
  }
}

/** The signal may last longer than the iterator, and does not keep it alive. */
function whenAborted(signal: AbortSignal, iterator: WeakRef<OrderedIterator<unknown>>): () => void {
  const listener = (): void => iterator.deref()?.abort(signal.reason)
  signal.addEventListener('abort', listener, { once: true })
  return () => signal.removeEventListener('abort', listener)
}
