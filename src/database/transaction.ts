// What the function of a transaction is given. It passes calls on to the try that is under way
// (engine/transactions/engine-transaction.ts), with the keys and values of one store.
import type { KeySpace } from '../encoding/key-space.js'
import type { Key } from '../encoding/keys.js'
import { decodedValue } from '../encoding/undecodable.js'
import type { Range } from '../engine/read/bounds.js'
import type { Entry } from '../engine/read/snapshot.js'
import type { Expiry } from '../engine/commit/expiry.js'
import type { EngineTransaction } from '../engine/transactions/engine-transaction.js'
import type { MergedEntry, MergedRange } from '../engine/transactions/merged-range.js'
import { CorruptError, InvalidError, advice } from '../errors.js'
import type { Stores } from '../engine/stores/stores.js'
import { mustBeMissing } from './change-options.js'
import { valueEncodingOf, type StoreOptions } from './store-options.js'
import type { Anything, Stored } from './types.js'

/** What the ranges of a transaction return. It ends with the transaction. */
export interface TransactionIterator<T> extends IterableIterator<T>, Disposable {
  /** The next entry. Throws `EncodingError` for a value that cannot be decoded; the next call goes on after it. */
  next(): IteratorResult<T, undefined>
  /** Ends the iterator. What it has not returned by then cannot be the reason of a conflict. */
  return(): IteratorResult<T, undefined>
}

/**
 * A transaction while its function runs: `Database.transaction`. All reads are of one moment, with what the
 * transaction has written itself; they are synchronous. Writes are kept in memory until the function has returned. They
 * throw `InvalidError` for what cannot be stored, and beyond the limits of a transaction, and have no effect then.
 */
export class Transaction<V = Anything, K extends Key = Key> {
  readonly #transaction: EngineTransaction
  readonly #space: KeySpace

  readonly #stores: Stores

  private constructor(transaction: EngineTransaction, space: KeySpace, stores: Stores) {
    this.#transaction = transaction
    this.#space = space
    this.#stores = stores
  }

  /** @internal Use `Database.transaction`. */
  static of<V, K extends Key>(transaction: EngineTransaction, space: KeySpace, stores: Stores): Transaction<V, K> {
    return new Transaction(transaction, space, stores)
  }

  /**
   * The same transaction in a named store: what it reads and writes there is a part of it. The store is created at
   * once if it is not there, whatever becomes of the transaction. Throws as `Database.store` does.
   */
  store<V2 = Anything, K2 extends Key = Key>(name: string, options?: StoreOptions): Transaction<V2, K2> {
    this.#transaction.assertRunning()
    const valueEncoding = valueEncodingOf(options)
    this.#transaction.assertRunning()
    return new Transaction(this.#transaction, this.#stores.open(name, valueEncoding), this.#stores)
  }

  /** The value of `key`, or undefined if it is absent. Throws what `Database.get` throws. */
  get(key: K): Stored<V> | undefined {
    return this.#transaction.find(this.#space, key)?.value as Stored<V> | undefined
  }

  /** The value of `key` with its version, which is 0 if this transaction has written it; undefined if absent. */
  getEntry(key: K): Entry<Stored<V>> | undefined {
    return this.#transaction.find(this.#space, key) as Entry<Stored<V>> | undefined
  }

  /** True if there is an entry for `key`. Another value of it is no conflict. */
  has(key: K): boolean {
    return this.#transaction.has(this.#space, key)
  }

  /**
   * Entries in the order of their keys, as this transaction has left them by now. Entries that others put or remove
   * within what has been read of the range are a conflict.
   */
  range(range?: Range<K>): TransactionIterator<[Stored<K>, Stored<V>]> {
    const { key, value } = this.#decoders()
    return this.#iterate(range, 'entries', (entry) => [key(entry), value(entry)]) as never
  }
  /** The same without values, which are not read. */
  keys(range?: Range<K>): TransactionIterator<Stored<K>> {
    return this.#iterate(range, 'keys', this.#decoders().key) as never
  }
  /** The same without keys. */
  values(range?: Range<K>): TransactionIterator<Stored<V>> {
    return this.#iterate(range, 'entries', this.#decoders().value) as never
  }

  /** How many entries a range has. Goes through all of them. */
  count(range?: Range<K>): number {
    const keys = this.#transaction.range(this.#space, range, 'keys')
    let count = 0
    while (keys.next() !== undefined) count++
    return count
  }

  /**
   * Sets `key` to `value`, which is copied now. `ttlMs` or `expiresAt` says when the entry expires; without either it
   * stays.
   */
  put(key: K, value: V, options?: Expiry): void {
    this.#transaction.put(this.#space, key, value, options)
  }

  /** Removes `key`, if it is there. It takes no conditions: what has been read is one. */
  del(key: K, none?: undefined): void {
    mustBeMissing(none, 'del of a transaction', 'Its condition is what the transaction has read.')
    this.#transaction.del(this.#space, key)
  }

  /**
   * Adds `delta` to the number or bigint that `key` has when the transaction takes effect, where an absent key counts
   * as 0. An entry that expires keeps its time; `ttlMs` or `expiresAt` counts if there is no entry yet. It reads
   * nothing: unlike a `get` with a `put`, it conflicts with no other `add`. If the value is no number then, or not of
   * the kind of `delta`, the transaction fails with `InvalidError`, and changes nothing.
   */
  add(key: K, delta: number | bigint, options?: Expiry): void {
    this.#transaction.add(this.#space, key, delta, options)
  }

  #decoders(): { key: (entry: MergedEntry) => unknown; value: (entry: MergedEntry) => unknown } {
    const space = this.#space
    return { key: ({ key }) => userKey(space, key), value: ({ key, value }) => decodedValue(space, value!, key) }
  }

  #iterate(
    range: Range | undefined,
    selection: 'entries' | 'keys',
    decode: (entry: MergedEntry) => unknown,
  ): TransactionIterator<unknown> {
    const transaction = this.#transaction
    return new EntriesOfTransaction(transaction, transaction.range(this.#space, range, selection), decode)
  }
}

function userKey(space: KeySpace, bytes: Buffer): Key {
  try {
    return space.decode(bytes, 0, bytes.length)
  } catch (cause) {
    if (!(cause instanceof InvalidError)) throw cause
    throw new CorruptError(`A key in the data file cannot be decoded. ${advice.restoreOrSalvage}`, {}, { cause })
  }
}

class EntriesOfTransaction<T> implements TransactionIterator<T> {
  readonly #transaction: EngineTransaction
  readonly #entries: MergedRange
  readonly #decode: (entry: MergedEntry) => T

  constructor(transaction: EngineTransaction, entries: MergedRange, decode: (entry: MergedEntry) => T) {
    this.#transaction = transaction
    this.#entries = entries
    this.#decode = decode
  }

  [Symbol.iterator](): this {
    return this
  }
  next(): IteratorResult<T, undefined> {
    this.#transaction.assertRunning()
    const entry = this.#entries.next()
    return entry === undefined ? { done: true, value: undefined } : { done: false, value: this.#decode(entry) }
  }
  return(): IteratorResult<T, undefined> {
    this.#entries.close()
    return { done: true, value: undefined }
  }
  [Symbol.dispose](): void {
    this.#entries.close()
  }
}
