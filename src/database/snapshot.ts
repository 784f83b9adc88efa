// The public Snapshot: one moment of a database.
import type { KeySpace } from '../encoding/key-space.js'
import type { Key } from '../encoding/keys.js'
import type { Engine } from '../engine/engine.js'
import type { ValueEncoding } from '../encoding/values/codec.js'
import type { Range } from '../engine/read/bounds.js'
import type { RangeIterator as EngineIterator } from '../engine/read/range-iterator.js'
import type { EngineSnapshot, Entry } from '../engine/read/snapshot.js'
import { asyncRange, type AsyncSelection, type TimedEntry } from './async-range.js'
import type { BackgroundReads } from './background-reads.js'
import { encodeKeys, type KeyList } from './lookup-queue.js'
import type { Lookups } from './lookups.js'
import { view } from './view.js'
import type { Anything, AsyncRangeIterator, AsyncRangeOptions, RangeIterator, Stored } from './types.js'

interface SnapshotParts {
  readonly engine: Engine
  readonly reads: BackgroundReads
  /** Keeps the database from being released while the user has the snapshot. */
  readonly owner: unknown
}

/** One moment of a database, until closed. Use it with `using`, or call `close`. */
export class Snapshot<V = Anything, K extends Key = Key> {
  readonly #snapshot: EngineSnapshot
  readonly #space: KeySpace
  readonly #parts: SnapshotParts
  #lookups: Lookups | undefined

  private constructor(snapshot: EngineSnapshot, space: KeySpace, parts: SnapshotParts) {
    this.#snapshot = snapshot
    this.#space = space
    this.#parts = parts
  }

  /** @internal Use `Database.snapshot`. */
  static of<V, K extends Key>(snapshot: EngineSnapshot, space: KeySpace, parts: SnapshotParts): Snapshot<V, K> {
    return new Snapshot(snapshot, space, parts)
  }

  /** Of the named store that this is of; undefined for the default store. */
  get name(): string | undefined {
    return this.#space.name
  }

  /** The names of all stores that there were at this moment, in the order of their bytes. */
  stores(): string[] {
    this.#assertOpen()
    return this.#parts.engine.stores.list(this.#snapshot).map(({ name }) => name)
  }

  /**
   * A named store as of this moment. It ends with this snapshot, and closing it closes this. Throws `NotFoundError` if
   * there was no such store.
   */
  store<V2 = Anything, K2 extends Key = Key>(name: string): Snapshot<V2, K2> {
    this.#assertOpen()
    return new Snapshot(this.#snapshot, this.#parts.engine.stores.openIn(this.#snapshot, name), this.#parts)
  }

  /** LSN of this moment: the snapshot has every write up to it, and no write after it. */
  get lsn(): number {
    return this.#snapshot.lsn
  }
  /** How values are encoded. */
  get valueEncoding(): ValueEncoding {
    return this.#space.values.name
  }
  /** As `Database.get`, as of this moment. */
  get(key: K): Stored<V> | undefined {
    return this.#snapshot.get(key, this.#space) as Stored<V> | undefined
  }
  /** As `Database.getEntry`, as of this moment. */
  getEntry(key: K): Entry<Stored<V>> | undefined {
    return this.#snapshot.getEntry(key, this.#space) as Entry<Stored<V>> | undefined
  }
  /** As `Database.has`, as of this moment. */
  has(key: K): boolean {
    return this.#snapshot.has(key, this.#space)
  }

  /** As `Database.view`, as of this moment. */
  view<T>(key: K, use: (bytes: Buffer) => T): T | undefined {
    return view(() => this.#snapshot.read(key, 'bytes', this.#space) as Buffer | undefined, use)
  }

  /**
   * As `Database.getMany`, as of this moment. Rejects with `ClosedError` if the snapshot is closed meanwhile, and
   * with `ExpiredError` if it was ended (`maxHeldBytes`).
   */
  async getMany(keys: readonly K[]): Promise<(Stored<V> | undefined)[]> {
    return this.#listed(keys, 'getMany', (lookups, list) => lookups.getMany(list) as Promise<(Stored<V> | undefined)[]>)
  }
  /** As `Database.hasMany`, as of this moment. Rejects as `getMany` does. */
  async hasMany(keys: readonly K[]): Promise<boolean[]> {
    return this.#listed(keys, 'hasMany', (lookups, list) => lookups.hasMany(list))
  }

  async #listed<T>(
    keys: readonly Key[],
    caller: 'getMany' | 'hasMany',
    lookUp: (lookups: Lookups, list: KeyList) => Promise<T>,
  ): Promise<T> {
    this.#assertOpen()
    const list = encodeKeys(keys, caller, this.#space)
    // Reading the keys may have run the user's code, which may have closed the snapshot.
    this.#assertOpen()
    this.#lookups ??= this.#parts.reads.lookups(this.#space, this.#snapshot)
    return this.#parts.reads.track(lookUp(this.#lookups, list))
  }

  /** As `Database.range`, as of this moment. The iterator ends with the snapshot. */
  range(range?: Range<K>): RangeIterator<[Stored<K>, Stored<V>], K> {
    return this.#owned(this.#snapshot.range(range, 'entries', this.#space)) as never
  }
  /** The same without values. */
  keys(range?: Range<K>): RangeIterator<Stored<K>, K> {
    return this.#owned(this.#snapshot.range(range, 'keys', this.#space)) as never
  }
  /** The same without keys. */
  values(range?: Range<K>): RangeIterator<Stored<V>, K> {
    return this.#owned(this.#snapshot.range(range, 'values', this.#space)) as never
  }
  #owned(iterator: EngineIterator<unknown>): EngineIterator<unknown> {
    iterator.owner = this.#parts.owner
    return iterator
  }

  /** As `Database.rangeAsync`, as of this moment. The iterator ends with the snapshot. */
  rangeAsync(range?: Range<K>, options?: AsyncRangeOptions): AsyncRangeIterator<[Stored<K>, Stored<V>]> {
    return this.#async(range, options, 'entries')
  }
  /** The same without values. */
  keysAsync(range?: Range<K>, options?: AsyncRangeOptions): AsyncRangeIterator<Stored<K>> {
    return this.#async(range, options, 'keys')
  }
  /** The same without keys. */
  valuesAsync(range?: Range<K>, options?: AsyncRangeOptions): AsyncRangeIterator<Stored<V>> {
    return this.#async(range, options, 'values')
  }
  /** @internal All entries, with the times at which they expire. */
  timedEntriesAsync(options: AsyncRangeOptions): AsyncRangeIterator<TimedEntry> {
    return this.#async(undefined, options, 'timed entries')
  }
  #async<T>(
    range: Range | undefined,
    options: AsyncRangeOptions | undefined,
    selection: AsyncSelection,
  ): AsyncRangeIterator<T> {
    return asyncRange<T>(range, options, {
      reads: this.#parts.reads,
      space: this.#space,
      selection,
      owner: this,
      isLasting: true,
      assertOpen: () => this.#assertOpen(),
      snapshot: () => this.#snapshot,
    })
  }

  /** How many entries the range had at this moment. */
  count(range?: Range<K>): number {
    return this.#snapshot.range(range, 'keys', this.#space).count()
  }
  /** Releases the snapshot. Idempotent. */
  close(): void {
    this.#snapshot.close()
  }
  /** `close`, for `using`. */
  [Symbol.dispose](): void {
    this.close()
  }

  #assertOpen(): void {
    this.#parts.reads.assertOpen()
    this.#snapshot.assertOpen()
  }
}
