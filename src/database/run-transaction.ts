// `transaction`: runs a function on a snapshot, commits what it has written if all that it has read is still so
// (engine/transactions/engine-transaction.ts), and else runs it again.
//
// The first try takes no lock, so transactions that do not meet cost what their writes cost. After a conflict the next
// ones hold the record locks of the keys that the try before has written and read: so those that want the same keys
// take turns instead of making each other fail. These locks only save work. Nothing is wrong without them, so no try
// waits for them for long: a user's own lock, which may be held for hours, does not keep a transaction from going on.
import { AsyncLocalStorage } from 'node:async_hooks'
import type { Grant } from '../engine/locks/grant.js'
import type { EngineTransaction } from '../engine/transactions/engine-transaction.js'
import { ConflictError, ExpiredError, InvalidError, LockedError } from '../errors.js'
import { isInstance } from '../describe.js'
import { Deadline, transactionOptions, type TransactionOptions } from './change-options.js'
import type { ChangeHost } from './change-host.js'
import { nameOfKey } from './record-lock.js'

/** After the n-th conflict a try waits for up to this times 2^n, but not for longer than the second figure. */
const BACKOFF_MS = 0.5
const MAX_BACKOFF_MS = 100
/** The same for how long it waits for record locks. */
const LOCK_WAIT_MS = 50
const MAX_LOCK_WAIT_MS = 2000
/** Of a try with more keys, these are locked. */
const MAX_LOCKED_KEYS = 64

/** The transaction that the code runs in. */
interface Running {
  readonly host: object
  /** That of the code that has called it. */
  readonly outer: Running | undefined
  isOver: boolean
}
const running = new AsyncLocalStorage<Running>()

/** Throws `InvalidError` if the function of a transaction of the same database has called this. */
export function refuseInTransaction(host: object, what: string): void {
  for (let each = running.getStore(); each !== undefined; each = each.outer)
    if (each.host === host && !each.isOver)
      throw new InvalidError(
        `${what} cannot be called within a transaction of the same database: it would not be a part of that. Use what the ` +
          'function of the transaction is given.',
      )
}

/** See `Database.transaction`. `run`: runs the user's function on a try. */
export async function transact<T>(
  host: ChangeHost,
  run: (transaction: EngineTransaction) => T | PromiseLike<T>,
  options: TransactionOptions | undefined,
): Promise<T> {
  const { timeoutMs, signal, retries } = transactionOptions(options, host.timeoutMs)
  refuseInTransaction(host, 'transaction')
  host.assertOpen()
  signal?.throwIfAborted()
  return new Tries(host, new Deadline(timeoutMs), signal, retries).run(run)
}

class Tries {
  readonly #host: ChangeHost
  readonly #deadline: Deadline
  readonly #signal: AbortSignal | undefined
  readonly #retries: number
  #grant: Grant | undefined
  #expired: ExpiredError | undefined
  /** What the locks are of, as text. */
  #locked = ''

  constructor(host: ChangeHost, deadline: Deadline, signal: AbortSignal | undefined, retries: number) {
    this.#host = host
    this.#deadline = deadline
    this.#signal = signal
    this.#retries = retries
  }

  async run<T>(run: (transaction: EngineTransaction) => T | PromiseLike<T>): Promise<T> {
    this.#host.begin()
    try {
      for (let conflicts = 0; ;) {
        const transaction = this.#host.engine.beginTransaction()
        const result = await this.#try(transaction, run)
        if (result !== undefined) return result.value
        conflicts++
        this.#signal?.throwIfAborted()
        if (conflicts > this.#retries || this.#deadline.isOver) throw this.#expired ?? conflict(conflicts)
        this.#expired = undefined
        await this.#wait(conflicts)
        await this.#lock(transaction, conflicts)
        this.#signal?.throwIfAborted()
        this.#host.assertOpen()
      }
    } finally {
      this.#host.end()
      this.#unlock()
    }
  }

  /** Undefined after a conflict. */
  async #try<T>(
    transaction: EngineTransaction,
    run: (transaction: EngineTransaction) => T | PromiseLike<T>,
  ): Promise<{ readonly value: T } | undefined> {
    const host = this.#host
    const mark: Running = { host, outer: running.getStore(), isOver: false }
    let value: T
    try {
      value = await this.#inTime(running.run(mark, () => run(transaction)))
    } catch (error) {
      if (!isInstance(error, ExpiredError)) throw error
      // Its snapshot was ended, since it held back too much for too long.
      this.#expired = error
      return undefined
    } finally {
      mark.isOver = true
      transaction.end()
    }
    if (!transaction.hasWritten) return { value }
    this.#signal?.throwIfAborted()
    return (await host.write((frame) => transaction.writeTo(frame))) ? { value } : undefined
  }

  /** Rejects when the time is over or the signal comes, whatever becomes of the promise. */
  #inTime<T>(result: T | PromiseLike<T>): T | PromiseLike<T> {
    const { timeoutMs, leftMs } = this.#deadline
    const signal = this.#signal
    if (!mayWait(result) || (timeoutMs === Infinity && signal === undefined)) return result
    return new Promise<T>((resolve, reject) => {
      const giveUp = (): void => reject(signal!.reason as Error)
      const timer = timeoutMs === Infinity ? undefined : setTimeout(() => reject(tooSlow(timeoutMs)), leftMs)
      signal?.addEventListener('abort', giveUp, { once: true })
      const done = (): void => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', giveUp)
      }
      Promise.resolve(result).then(
        (value) => {
          done()
          resolve(value)
        },
        (error: unknown) => {
          done()
          reject(error as Error)
        },
      )
      if (signal?.aborted === true) giveUp()
    })
  }

  async #wait(conflicts: number): Promise<void> {
    // Those that wait in a queue for a lock need not wait besides.
    if (conflicts === 1) return
    const most = Math.min(MAX_BACKOFF_MS, BACKOFF_MS * 2 ** conflicts, this.#deadline.leftMs)
    await pause(most * Math.random(), this.#signal)
  }

  /** Locks what the try before has written and read, unless that takes too long. */
  async #lock(transaction: EngineTransaction, conflicts: number): Promise<void> {
    const keys = keysOf(transaction)
    const names = keys.map((key) => key.toString('latin1')).join('\0')
    if (names === this.#locked) return
    this.#unlock()
    if (keys.length === 0) return
    const timeoutMs = Math.min(MAX_LOCK_WAIT_MS, LOCK_WAIT_MS * 2 ** conflicts, this.#deadline.leftMs)
    try {
      this.#grant = await this.#host.engine.recordLocks.acquire(keys, {
        mode: 'exclusive',
        timeoutMs,
        signal: this.#signal,
        nameOf: nameOfKey,
        catchUp: this.#host.catchUp,
      })
      this.#locked = names
    } catch (error) {
      if (!isInstance(error, LockedError)) throw error
    }
  }

  #unlock(): void {
    if (this.#grant !== undefined) this.#host.engine.recordLocks.release(this.#grant)
    this.#grant = undefined
    this.#locked = ''
  }
}

/** The keys to lock, each once, in their order. */
function keysOf(transaction: EngineTransaction): Buffer[] {
  const found = new Map<string, Buffer>()
  for (const key of transaction.keys()) {
    if (found.size === MAX_LOCKED_KEYS) break
    found.set(key.toString('latin1'), key)
  }
  return [...found.values()].sort((a, b) => a.compare(b))
}

/** It may be a promise. */
const mayWait = (result: unknown): boolean =>
  (typeof result === 'object' && result !== null) || typeof result === 'function'

/** Waits, unless the signal comes. */
const pause = (ms: number, signal: AbortSignal | undefined): Promise<void> =>
  new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    signal?.addEventListener('abort', done, { once: true })
  })

function conflict(conflicts: number): ConflictError {
  const times = conflicts === 1 ? 'once' : `${conflicts} times`
  return new ConflictError(
    `This transaction was tried ${times}, and others changed each time what it had read. Nothing was written. Try again ` +
      'later, read and write less in it, or allow more with retries and timeoutMs.',
  )
}

const tooSlow = (timeoutMs: number): LockedError =>
  new LockedError(
    `The function of this transaction took longer than ${timeoutMs} ms. Nothing was written. Do in it only what needs to ` +
      'be done at one moment, or allow more time with timeoutMs.',
  )
