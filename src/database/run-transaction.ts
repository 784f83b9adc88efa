// `transaction`: runs a function on a snapshot, commits what it has written if all that it has read is still so
// (engine/transactions/engine-transaction.ts), and else runs it again.
//
// So that transactions on the same keys take turns, instead of making each other run in vain again and again, they use
// locks (transaction-locks.ts), which save work and decide nothing.
import { AsyncLocalStorage } from 'node:async_hooks'
import type { EngineTransaction } from '../engine/transactions/engine-transaction.js'
import { ConflictError, ExpiredError, InvalidError } from '../errors.js'
import { isInstance } from '../describe.js'
import { Deadline, transactionOptions, type TransactionOptions } from './change-options.js'
import type { ChangeHost } from './change-host.js'
import { TransactionLocks } from './transaction-locks.js'

/** After the n-th try one without locks waits for up to this times 2^n, but not for longer than the second figure. */
const BACKOFF_MS = 0.5
const MAX_BACKOFF_MS = 100

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
  readonly #locks: TransactionLocks
  #expired: ExpiredError | undefined

  constructor(host: ChangeHost, deadline: Deadline, signal: AbortSignal | undefined, retries: number) {
    this.#host = host
    this.#deadline = deadline
    this.#signal = signal
    this.#retries = retries
    this.#locks = new TransactionLocks(host, deadline, signal)
  }

  async run<T>(run: (transaction: EngineTransaction) => T | PromiseLike<T>): Promise<T> {
    this.#host.begin()
    try {
      for (let tries = 1; ; tries++) {
        const isLast = tries > this.#retries
        const transaction = this.#host.engine.beginTransaction()
        const result = await this.#try(transaction, run, isLast)
        if (result !== undefined) return result.value
        this.#signal?.throwIfAborted()
        if (isLast || this.#deadline.isOver) throw this.#expired ?? conflict(tries)
        this.#expired = undefined
        await this.#wait(tries)
        this.#signal?.throwIfAborted()
        this.#host.assertOpen()
      }
    } finally {
      this.#host.end()
      this.#locks.release()
    }
  }

  /** Undefined after a conflict. */
  async #try<T>(
    transaction: EngineTransaction,
    run: (transaction: EngineTransaction) => T | PromiseLike<T>,
    isLast: boolean,
  ): Promise<{ readonly value: T } | undefined> {
    const host = this.#host
    const mark: Running = { host, outer: running.getStore(), isOver: false }
    let value: T
    try {
      value = await host.outcomeOf(
        running.run(mark, () => run(transaction)),
        { signal: this.#signal, deadline: this.#deadline },
      )
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
    if (!this.#locks.tryAcquire(transaction.changedKeys()) && !isLast) {
      // Another is about to change what this one has read.
      await this.#locks.acquire(transaction.changedKeys())
      return undefined
    }
    if (await host.write((frame) => transaction.writeTo(frame))) return { value }
    if (!isLast) await this.#locks.acquire(transaction.keys())
    return undefined
  }

  async #wait(tries: number): Promise<void> {
    // Those that have waited for the locks need not wait besides.
    if (this.#locks.areHeld) return
    const most = Math.min(MAX_BACKOFF_MS, BACKOFF_MS * 2 ** tries, this.#deadline.leftMs)
    await pause(most * Math.random(), this.#signal)
  }
}

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
    `This transaction was tried ${times}, and others changed each time what it had read: other programs, or other calls ` +
      'of this one. Nothing was written. Try again later, read and write less in it, or allow more with retries and ' +
      'timeoutMs.',
  )
}
