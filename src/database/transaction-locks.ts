// The locks of one transaction. They only save work: what a transaction may commit is decided when it is applied, so
// nothing is wrong without them, and no transaction waits for them for ever.
//
// Before it commits, a transaction locks the keys that it has read and written, if it can at once. If another has one
// of them, that one is about to change what this one has read: so this one waits for its turn, and runs again on what
// is there then, under the lock. After a conflict all the same (with writes that take no lock, or about keys and ranges
// that were only read), it locks all keys that it has written and read.
//
// All locks of a call are acquired in one order, by a transaction that has none; one that has some only tries. So none
// waits for another in a circle.
import type { Grant } from '../engine/locks/grant.js'
import type { RecordLocks } from '../engine/locks/record-locks.js'
import { transactionLockOf } from '../engine/locks/transaction-names.js'
import { ClosedError, MmapdbError } from '../errors.js'
import { isInstance } from '../describe.js'
import type { ChangeHost } from './change-host.js'
import type { Deadline } from './change-options.js'

/** A transaction with more keys does without. */
const MAX_LOCKED_KEYS = 64
/** For how long one waits for another, which may stand still. */
const MAX_WAIT_MS = 5000

const nameOf = (): string => 'the keys of a transaction'

export class TransactionLocks {
  readonly #locks: RecordLocks
  readonly #catchUp: ChangeHost['catchUp']
  readonly #deadline: Deadline
  readonly #signal: AbortSignal | undefined
  readonly #grants: Grant[] = []
  readonly #held = new Set<string>()
  /** It could not have them in time, or at all: it goes on without. */
  #doesWithout = false

  constructor({ engine, catchUp }: ChangeHost, deadline: Deadline, signal: AbortSignal | undefined) {
    this.#locks = engine.recordLocks
    this.#catchUp = catchUp
    this.#deadline = deadline
    this.#signal = signal
  }

  get areHeld(): boolean {
    return this.#held.size > 0
  }

  /** Locks these keys, if that can be done at once. False if another has one of them, and none is held here. */
  tryAcquire(keys: Iterable<Buffer>): boolean {
    const names = this.#missing(keys)
    if (names.length === 0) return true
    try {
      const grant = this.#locks.tryAcquire(names, 'exclusive')
      if (grant === undefined) return this.areHeld
      this.#note(grant, names)
    } catch (error) {
      this.#goOnWithout(error)
    }
    return true
  }

  /** Locks these keys in place of those that are held, unless that takes too long. */
  async acquire(keys: Iterable<Buffer>): Promise<void> {
    const all = [...keys]
    if (this.#missing(all).length === 0) return
    this.release()
    const names = this.#missing(all)
    const timeoutMs = Math.min(MAX_WAIT_MS, this.#deadline.leftMs)
    try {
      const options = { mode: 'exclusive', timeoutMs, signal: this.#signal, nameOf, catchUp: this.#catchUp } as const
      this.#note(await this.#locks.acquire(names, options), names)
    } catch (error) {
      this.#goOnWithout(error)
    }
  }

  /** Rethrows what ends the transaction, too. */
  #goOnWithout(error: unknown): void {
    if (!isInstance(error, MmapdbError) || isInstance(error, ClosedError)) throw error
    this.#doesWithout = true
  }

  release(): void {
    for (const grant of this.#grants.splice(0)) this.#locks.release(grant)
    this.#held.clear()
  }

  #note(grant: Grant, names: readonly Buffer[]): void {
    this.#grants.push(grant)
    for (const name of names) this.#held.add(name.toString('latin1'))
  }

  /** The names of locks that are not held, each once, in their order; none if there are too many. */
  #missing(keys: Iterable<Buffer>): Buffer[] {
    const found = new Map<string, Buffer>()
    if (this.#doesWithout) return []
    for (const key of keys) {
      if (found.size === MAX_LOCKED_KEYS) return []
      const name = transactionLockOf(key)
      const text = name.toString('latin1')
      if (!this.#held.has(text)) found.set(text, name)
    }
    return found.size < 2 ? [...found.values()] : [...found.values()].sort((a, b) => a.compare(b))
  }
}
