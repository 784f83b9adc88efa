// The public Snapshot: one moment of a database.
import type { Key } from '../encoding/keys.js'
import type { RangeIterator } from '../engine/read/range-iterator.js'
import type { EngineSnapshot, Entry } from '../engine/read/snapshot.js'
import type { Anything, Stored } from './types.js'
import type { Range } from '../engine/read/bounds.js'

/** One moment of a database, until closed. Use it with `using`, or call `close`. */
export class Snapshot<V = Anything> {
  readonly #snapshot: EngineSnapshot
  /** Keeps the database from being released while the user has this snapshot. */
  readonly #database: unknown

  /** @internal Use `Database.snapshot`. */
  constructor(snapshot: EngineSnapshot, database: unknown) {
    this.#snapshot = snapshot
    this.#database = database
  }

  /** LSN of this moment: the snapshot has every write up to it, and no write after it. */
  get lsn(): number {
    return this.#snapshot.lsn
  }
  /** As `Database.get`, as of this moment. */
  get(key: Key): Stored<V> | undefined {
    return this.#snapshot.get(key) as Stored<V> | undefined
  }
  /** As `Database.getEntry`, as of this moment. */
  getEntry(key: Key): Entry<Stored<V>> | undefined {
    return this.#snapshot.getEntry(key) as Entry<Stored<V>> | undefined
  }
  /** As `Database.has`, as of this moment. */
  has(key: Key): boolean {
    return this.#snapshot.has(key)
  }
  /** As `Database.range`, as of this moment. The iterator ends with the snapshot. */
  range(range?: Range): IterableIterator<[Key, Stored<V>]> & Disposable {
    return this.#owned(this.#snapshot.range(range, 'entries')) as never
  }
  /** The same without values. */
  keys(range?: Range): IterableIterator<Key> & Disposable {
    return this.#owned(this.#snapshot.range(range, 'keys')) as never
  }
  /** The same without keys. */
  values(range?: Range): IterableIterator<Stored<V>> & Disposable {
    return this.#owned(this.#snapshot.range(range, 'values')) as never
  }
  #owned(iterator: RangeIterator<unknown>): RangeIterator<unknown> {
    iterator.owner = this.#database
    return iterator
  }
  /** How many entries the range had at this moment. */
  count(range?: Range): number {
    return this.#snapshot.range(range, 'keys').count()
  }
  /** Releases the snapshot. Idempotent. */
  close(): void {
    this.#snapshot.close()
  }
  /** `close`, for `using`. */
  [Symbol.dispose](): void {
    this.close()
  }
}
