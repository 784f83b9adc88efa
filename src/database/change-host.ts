// What a Database gives to `update` and `transaction`, and how these share flushes.
//
// The writes of one tick of the event loop share a frame (write-queue.ts). Updates and transactions that run side by
// side take different numbers of steps to come to their writes: some have waited for a lock, some run again. So where
// several are under way, each waits with its write for the end of the turn of the event loop, and all that are ready by
// then go together. One that is alone does not wait.
import type { Engine } from '../engine/engine.js'
import { databaseClosed, LockedError } from '../errors.js'
import type { Lsn } from '../wal/lsn.js'
import type { FrameBuilder } from '../wal/frame-builder.js'
import type { Deadline } from './change-options.js'

interface ChangeSource {
  readonly engine: Engine
  readonly timeoutMs: number
  /** Throws if the user has closed the database. */
  readonly assertOpen: () => void
  /** Commits the write that `add` puts into a frame. Resolves to whether it took effect. */
  readonly write: (add: (frame: FrameBuilder) => void) => Promise<boolean>
  /** Brings the tree up to an LSN, off the event loop if there are workers. */
  readonly catchUp: ((end: Lsn) => Promise<void>) | undefined
}

/** What may end the wait for a function of the user. */
interface Limits {
  readonly signal: AbortSignal | undefined
  /** None: the function may take its time. */
  readonly deadline?: Deadline
}

export class ChangeHost {
  readonly engine: Engine
  readonly timeoutMs: number
  readonly assertOpen: () => void
  readonly catchUp: ChangeSource['catchUp']
  readonly #write: ChangeSource['write']
  /** How many are under way. */
  #running = 0
  #ready: (() => void)[] = []
  /** Each ends the wait for a function of the user. */
  readonly #waits = new Set<(error: Error) => void>()

  constructor({ engine, timeoutMs, assertOpen, write, catchUp }: ChangeSource) {
    this.engine = engine
    this.timeoutMs = timeoutMs
    this.assertOpen = assertOpen
    this.#write = write
    this.catchUp = catchUp
  }

  /** An update or a transaction begins. The caller must say when it ends. */
  begin(): void {
    this.#running++
  }
  end(): void {
    this.#running--
  }

  /**
   * What a function of the user has returned, or what it resolves to. Rejects when the signal comes, the time is over
   * or the database is closed, whatever becomes of the function then.
   */
  outcomeOf<T>(result: T | PromiseLike<T>, { signal, deadline }: Limits): T | PromiseLike<T> {
    if (!mayWait(result)) return result
    return new Promise<T>((resolve, reject) => {
      const timer =
        deadline === undefined || deadline.timeoutMs === Infinity
          ? undefined
          : setTimeout(() => end(() => reject(tooSlow(deadline.timeoutMs))), deadline.leftMs)
      const abort = (): void => end(() => reject(signal!.reason as Error))
      const giveUp = (error: Error): void => end(() => reject(error))
      const end = (settle: () => void): void => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', abort)
        this.#waits.delete(giveUp)
        settle()
      }
      signal?.addEventListener('abort', abort, { once: true })
      this.#waits.add(giveUp)
      Promise.resolve(result).then(
        (value) => end(() => resolve(value)),
        (error: unknown) => end(() => reject(error as Error)),
      )
      if (signal?.aborted === true) abort()
    })
  }

  /** The database is being closed: no function of the user is waited for any more. */
  stopWaiting(): void {
    for (const giveUp of [...this.#waits]) giveUp(databaseClosed())
  }

  /** Commits the write that `add` puts into a frame. Resolves to whether it took effect. */
  async write(add: (frame: FrameBuilder) => void): Promise<boolean> {
    if (this.#running > 1) await new Promise<void>((resolve) => this.#atEndOfTurn(resolve))
    return this.#write(add)
  }

  #atEndOfTurn(goOn: () => void): void {
    if (this.#ready.push(goOn) > 1) return
    setImmediate(() => {
      const ready = this.#ready
      this.#ready = []
      for (const each of ready) each()
    })
  }
}

/** It may be a promise. */
const mayWait = (result: unknown): boolean =>
  (typeof result === 'object' && result !== null) || typeof result === 'function'

const tooSlow = (timeoutMs: number): LockedError =>
  new LockedError(
    `The function of this transaction took longer than ${timeoutMs} ms. Nothing was written. Do in it only what needs to ` +
      'be done at one moment, or allow more time with timeoutMs.',
  )
