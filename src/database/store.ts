// One store: reads and writes over a key space of its own. The Database is the default store, and can do more.
//
// It reads on the calling thread, straight from the map. Asynchronous writes are gathered in frames (write-queue.ts),
// which worker threads commit.
import type { BatchOperation } from '../engine/commit/batch.js'
import { expiryIn, conditionsIn, putOptionsIn, type Conditions, type PutOptions } from '../engine/commit/conditions.js'
import type { Expiry } from '../engine/commit/expiry.js'
import type { WriteResult } from '../engine/commit/results.js'
import type { KeySpace } from '../encoding/key-space.js'
import type { Key } from '../encoding/keys.js'
import type { ValueEncoding } from '../encoding/values/codec.js'
import type { EncodedEntry, RangeIterator as EngineIterator } from '../engine/read/range-iterator.js'
import { boundsOf, endsOf, type Bounds, type Range } from '../engine/read/bounds.js'
import type { Entry } from '../engine/read/snapshot.js'
import { mustBeMissing, type UpdateOptions } from './change-options.js'
import { update, type Updating } from './update.js'
import type { WatchOptions } from './change-feeds.js'
import { view } from './view.js'
import type { KeyWatch } from './key-watch.js'
import { asyncRange } from './async-range.js'
import { encodeKeys } from './lookup-queue.js'
import type { Lookups } from './lookups.js'
import type { AddWrite, OpenDatabase } from './open-database.js'
import {
  keysToLock,
  lockOptions,
  modeOf,
  nameOfKey,
  RecordLock,
  type LockOptions,
  type TryLockOptions,
} from './record-lock.js'
import { fairTurn } from './turns.js'
import type { Anything, AsyncRangeIterator, AsyncRangeOptions, RangeIterator, Stored } from './types.js'

/** A store of an open database. See `Database.store`. `V`: the type of its values; `K`: that of its keys. */
export class Store<V = Anything, K extends Key = Key> {
  readonly #open: OpenDatabase
  readonly #space: KeySpace
  readonly #lookups: Lookups

  /** @internal Use `Database.store`. */
  constructor(open: OpenDatabase, space: KeySpace) {
    this.#open = open
    this.#space = space
    this.#lookups = open.reads.lookups(space)
  }

  /** The name of the store; undefined for the default store, which is the Database itself. */
  get name(): string | undefined {
    return this.#space.name
  }
  /** How values are encoded: as was chosen when the store was created. */
  get valueEncoding(): ValueEncoding {
    return this.#space.values.name
  }

  // ---- reading ---------------------------------------------------------------------------------

  /**
   * The value of `key`, or undefined if it is absent. Synchronous: a few memory reads if the data
   * is in memory. Throws `InvalidError`, `CorruptError`, `EncodingError` (the value is intact, but not in this
   * database's encoding), `IoError`, `ClosedError`.
   */
  get(key: K): Stored<V> | undefined {
    return this.#open.engine.get(key, this.#space) as Stored<V> | undefined
  }

  /**
   * The value of `key` with its version, which grows with every write of it, and with the time at which it expires, if
   * it does; undefined if absent.
   */
  getEntry(key: K): Entry<Stored<V>> | undefined {
    return this.#open.engine.getEntry(key, this.#space) as Entry<Stored<V>> | undefined
  }

  /**
   * True if there is an entry for `key`. Does not read its value. Throws what `get` throws, `EncodingError` excepted.
   */
  has(key: K): boolean {
    return this.#open.engine.has(key, this.#space)
  }

  /**
   * Calls `use` with the bytes of the value of `key`, as `valueEncoding` stores them, and returns what it returns; if
   * `key` is absent, it is not called, and the result is undefined. The bytes are there until `use` returns: then the
   * Buffer has the length 0, and so has every view of its memory. For values of a kilobyte to 4 MiB above all: their
   * memory serves the next view, and costs the garbage collector nothing. Bytes that are shorter `get` copies faster.
   *
   * `use` may call the database in any way, but must not be asynchronous, nor hand the bytes to something that goes on
   * after it has returned (`fs.write`, `zlib.gzip`): copy them for that. Throws what `use` throws, what `get` throws
   * except `EncodingError`, and `InvalidError` if `use` is no function or returns a promise.
   */
  view<T>(key: K, use: (bytes: Buffer) => T): T | undefined {
    return view(() => this.#open.engine.getBytes(key, this.#space), use)
  }

  /**
   * The values of many keys, in their order, undefined where absent; all as of one moment. A worker reads
   * them, so that waiting for a disk does not block the event loop; up to 16 that are in memory are read at once. The
   * keys are copied when this is called.
   */
  async getMany(keys: readonly K[]): Promise<(Stored<V> | undefined)[]> {
    this.#open.assertOpen()
    const list = encodeKeys(keys, 'getMany', this.#space)
    // Reading the keys may have run the user's code, and that may have closed the database.
    this.#open.assertOpen()
    return this.#open.track(this.#lookups.getMany(list) as Promise<(Stored<V> | undefined)[]>)
  }

  /** The same without values, which are not read: for each key whether there is an entry for it. */
  async hasMany(keys: readonly K[]): Promise<boolean[]> {
    this.#open.assertOpen()
    const list = encodeKeys(keys, 'hasMany', this.#space)
    this.#open.assertOpen()
    return this.#open.track(this.#lookups.hasMany(list))
  }

  /**
   * Entries in the order of their keys, as of now, whatever is written meanwhile. The iterator keeps
   * that moment until it is done, left or disposed of. `next` throws `EncodingError` for a value that
   * cannot be decoded; called again, it continues after that entry. Besides what all iterators can do, it takes
   * several entries at a time (`nextMany`), and moves to a key (`seek`).
   */
  range(range?: Range<K>): RangeIterator<[Stored<K>, Stored<V>], K> {
    return this.#owned(this.#open.engine.range(range, 'entries', this.#space)) as never
  }
  /** The same without values, which are not read. */
  keys(range?: Range<K>): RangeIterator<Stored<K>, K> {
    return this.#owned(this.#open.engine.range(range, 'keys', this.#space)) as never
  }
  /** The same without keys. */
  values(range?: Range<K>): RangeIterator<Stored<V>, K> {
    return this.#owned(this.#open.engine.range(range, 'values', this.#space)) as never
  }
  /** While the user reads with `iterator`, the database is not released. */
  #owned(iterator: EngineIterator<unknown>): EngineIterator<unknown> {
    iterator.owner = this.#open
    return iterator
  }

  /**
   * The same as `range` off the event loop: `for await (const [key, value] of db.rangeAsync(range, { signal }))`.
   * Workers read it a chunk of up to 1,024 entries or 256 KiB at a time (or a single longer value), and two chunks are
   * in memory at most; with `workers: 0` this thread reads them, and the event loop runs in between. The entries are
   * as of the moment of this call. That moment is released with the last chunk, when the loop is left, or when
   * `signal` is aborted, which makes `next` reject with the signal's reason.
   *
   * `next` rejects with `EncodingError` for a value that cannot be decoded (called again, it continues after that
   * entry), with `ClosedError` once the database is closed, `ExpiredError` if the range was ended (`maxHeldBytes`),
   * `LockedError` if no worker was free within `timeoutMs`, `CorruptError`, `IoError`. Throws `InvalidError` for a
   * range or option that is not acceptable.
   */
  rangeAsync(range?: Range<K>, options?: AsyncRangeOptions): AsyncRangeIterator<[Stored<K>, Stored<V>]> {
    return this.#async(range, options, 'entries')
  }
  /** The same without values, which are not read. */
  keysAsync(range?: Range<K>, options?: AsyncRangeOptions): AsyncRangeIterator<Stored<K>> {
    return this.#async(range, options, 'keys')
  }
  /** The same without keys. */
  valuesAsync(range?: Range<K>, options?: AsyncRangeOptions): AsyncRangeIterator<Stored<V>> {
    return this.#async(range, options, 'values')
  }
  #async<T>(
    range: Range | undefined,
    options: AsyncRangeOptions | undefined,
    selection: 'entries' | 'keys' | 'values',
  ): AsyncRangeIterator<T> {
    const { reads, engine } = this.#open
    return asyncRange<T>(range, options, {
      reads,
      space: this.#space,
      selection,
      owner: this.#open,
      isLasting: false,
      assertOpen: () => this.#open.assertOpen(),
      snapshot: () => engine.snapshot(),
    })
  }

  /** How many entries a range has. Cost: one step for each leaf of it. */
  count(range?: Range<K>): number {
    return this.#open.engine.count(range, this.#space)
  }
  /** The same on a worker thread: for ranges so large that they would block the event loop. */
  async countAsync(range?: Range<K>): Promise<number> {
    this.#open.assertOpen()
    const bounds = boundsOf(this.#space, range)
    this.#open.assertOpen()
    const { lanes, engine } = this.#open
    return lanes ? this.#open.track(lanes.long.run<number>('count', bounds)) : engine.countWithin(bounds)
  }

  // ---- writing ---------------------------------------------------------------------------------

  /**
   * Sets `key` to `value`. Resolves once the write is on disk and visible to every thread and process: to true, or
   * to false if one of the conditions did not hold; then nothing was changed. Key and value are copied when this is
   * called: the caller may change them as soon as it returns. While more than `maxInFlightBytes` are on their way,
   * the promise takes longer, and waiting writes take up memory.
   *
   * `ttlMs` or `expiresAt` says when the entry expires: from then on it is absent everywhere, and its room is used
   * again some time later. A put without either makes an entry that stays.
   *
   * Rejects with `OutcomeUnknownError` if the write may have taken effect or may still do so. Every other error
   * means that nothing was written: `InvalidError`, `FullError`, `IoError`, `LockedError`, `CorruptError`,
   * `ClosedError`, `ReadOnlyError`.
   */
  put(key: K, value: V, options?: PutOptions): Promise<boolean> {
    return this.#write(
      (operations, frame) => operations.put(frame, key, value, putOptionsIn(options, operations.clock), this.#space),
      tookOf,
    )
  }

  /**
   * Removes `key`. Resolves to whether an entry was removed: false if there was none, or if one of the conditions did
   * not hold. Otherwise as `put`.
   */
  del(key: K, conditions?: Conditions): Promise<boolean> {
    return this.#write(
      (operations, frame) => operations.del(frame, key, conditionsIn(conditions), this.#space),
      removedOf,
    )
  }

  /**
   * Adds `delta` to the number or bigint that `key` has, where an absent key counts as 0, and resolves to the sum. Many
   * threads and processes may add to one key at once: nothing is lost, and each gets its own sum. Needs `valueEncoding`
   * "msgpack" or "json". An entry that expires keeps its time; `ttlMs` or `expiresAt` gives one to an entry that is
   * made by this call, because there was none or because it had expired.
   *
   * Rejects with `InvalidError`, and changes nothing, if the value is no number, if it is a number and `delta` a
   * bigint or the other way round, or if the sum would not be finite or have more than some 180 bytes. Otherwise as
   * `put`.
   */
  add<N extends number | bigint>(key: K, delta: N, options?: Expiry): Promise<N extends bigint ? bigint : number> {
    return this.#write(
      (operations, frame) => operations.add(frame, key, delta, expiryIn(options, operations.clock), this.#space),
      sumOf<never>,
    )
  }

  /**
   * Applies all of these operations or none of them, in their order. Resolves to true, or to false if a condition of
   * one of them did not hold; conditions are judged by what there is before the batch. It takes no options: conditions
   * and times stand in the operations. Rejects as `put` and `add` do, also for a field that no operation has.
   * It passes on what the iterable's own code throws; nothing has been written then. What that code writes itself
   * comes before the batch.
   */
  batch(operations: Iterable<BatchOperation<V, K>>, none?: undefined): Promise<boolean> {
    return this.#write((writer, frame) => {
      mustBeMissing(none, 'batch', IN_OPERATIONS)
      writer.batch(frame, operations, this.#space)
    }, tookOf)
  }

  /**
   * `put` on the calling thread: returns once the write is on disk and visible, with what `put` resolves to, and throws
   * what `put` rejects with. It takes effect after the writes that were called before it, whether they are awaited or
   * not.
   */
  putSync(key: K, value: V, options?: PutOptions): boolean {
    return this.#writeSync((operations, frame) =>
      operations.put(frame, key, value, putOptionsIn(options, operations.clock), this.#space),
    ).took
  }
  /** `del` on the calling thread, as `putSync` is `put`. */
  delSync(key: K, conditions?: Conditions): boolean {
    return this.#writeSync((operations, frame) => operations.del(frame, key, conditionsIn(conditions), this.#space))
      .removed
  }
  /** `add` on the calling thread, as `putSync` is `put`. */
  addSync<N extends number | bigint>(key: K, delta: N, options?: Expiry): N extends bigint ? bigint : number {
    return this.#writeSync((operations, frame) =>
      operations.add(frame, key, delta, expiryIn(options, operations.clock), this.#space),
    ).sum as never
  }
  /** `batch` on the calling thread, as `putSync` is `put`. */
  batchSync(operations: Iterable<BatchOperation<V, K>>, none?: undefined): boolean {
    return this.#writeSync((writer, frame) => {
      mustBeMissing(none, 'batch', IN_OPERATIONS)
      writer.batch(frame, operations, this.#space)
    }).took
  }

  /**
   * Removes all entries of a range, or of the store, in one write: all at once, for every reader, however many there
   * are. It takes no longer for many than for few, unless `limit` is given; their room is freed in the background. With
   * `limit`, only the first entries are removed (in reverse, the last ones), as of now; what others write between these
   * keys until then is removed with them. Rejects as `put` does.
   */
  async clear(range?: Range<K>): Promise<void> {
    this.#open.assertOpen()
    const bounds = boundsOf(this.#space, range)
    this.#open.assertOpen()
    const ends = this.#endsOf(bounds)
    if (ends === undefined) return
    await this.#write((_, frame) => {
      frame.clear(ends.from, ends.to)
      if (this.#space.number > 0) frame.touchStores(this.#space.generation)
    }, tookOf)
    this.#open.emptyTrash()
  }

  /** The first key in the tree that a range includes, and the first after it; undefined if it includes none. */
  #endsOf(bounds: Bounds): { from: Buffer; to: Buffer | undefined } | undefined {
    if (bounds.limit === Infinity) return endsOf(bounds)
    const entries = this.#open.engine.rangeWithin(bounds, 'encoded keys', this.#space) as Iterable<EncodedEntry>
    let last: Buffer | undefined
    for (const { key } of entries) last = key
    if (last === undefined) return undefined
    const key = Buffer.from(last)
    return endsOf(
      bounds.reverse ? { ...bounds, from: key, fromAfter: false } : { ...bounds, to: key, toInclusive: true },
    )
  }

  // ---- changing what has been read -------------------------------------------------------------

  /**
   * Replaces the value of `key` by what `change` makes of it, which may be a promise; `undefined` removes the entry.
   * `change` gets the value, or undefined if there is none, and the entry. Resolves to the new value, as `change`
   * returned it, once that is on disk and visible. An entry that expires keeps its time.
   *
   * Updates of one record take turns, in all threads and processes: they hold its record lock. Those of different
   * records share flushes. If others write to the entry without it meanwhile, `change` is run again on what is there
   * then. So it may be run more than once, and should do nothing but compute the value.
   *
   * If `change` throws, nothing is changed, and the promise rejects with that. Rejects with `LockedError` if the lock
   * could not be acquired within `timeoutMs`, also if the caller has it already, in an update of the same key or by
   * `lock`; with `ConflictError` if others wrote to the entry again and again for that long; with the reason of
   * `signal`; with `InvalidError` within a transaction of the same database. Otherwise as `lock` and `put`.
   */
  update<R extends V | undefined>(
    key: K,
    change: (value: Stored<V> | undefined, entry: Entry<Stored<V>> | undefined) => R | PromiseLike<R>,
    options?: UpdateOptions,
  ): Promise<R> {
    return update(this.#open.host, this.#space, key, change as Updating, options) as Promise<R>
  }

  /**
   * The newest value of one key or several, and again whenever it changes:
   * `for await (const { key, value, version } of db.watch(keys, { signal }))`. An array is a list of keys, as for
   * `lock`. Each key comes once at the beginning, in the order given, with `value: undefined` and `version: 0` if it is
   * absent. After that a key comes when it has another version than was told last. Who is slow is told the newest
   * value, and not each that there was between, so nothing is ever missed for being slow.
   *
   * `next` rejects as that of `changes` does, but never with `LsnGoneError`. Throws `InvalidError`, `ReadOnlyError` as
   * `changes` does. However many watches there are, the log is read once for all of them.
   */
  watch(keys: Exclude<K, readonly unknown[]> | readonly K[], options?: WatchOptions): KeyWatch<V, K> {
    return this.#open.feeds.watch(this.#space, keys, options, this.#open) as never
  }

  // What is put into the frame may run the user's code.

  #write<T>(add: AddWrite, answer: (result: WriteResult) => T): Promise<T> {
    return this.#open.write(add, answer, this.#space)
  }
  #writeSync(add: AddWrite): WriteResult {
    return this.#open.writeSync(add, this.#space)
  }

  // ---- record locks ----------------------------------------------------------------------------

  /**
   * Locks a record, or several: no other call, in any thread or process, has a lock on one of them then, or none but
   * shared ones. An array is a list of keys, as for `getMany`; so the record of a key that is an array is locked by
   * `lock([['order', 17]])`. The records need not exist.
   *
   * Locks are advisory: reads and writes do not look at them. Who waits longest for a record comes next; a shared
   * request does not pass an exclusive one that waits. Several records are locked in one order, the same for all
   * callers, so that callers who name all that they need in one call do not wait for each other in a circle. It is
   * this call that has the lock: another call for the same record waits, also in the same thread. A lock ends when
   * it is released, or with its thread or process, or when the database is closed here. If its holder died, the next
   * one reads all that had got into the log.
   *
   * Rejects with `LockedError` if it took longer than `timeoutMs`, with the reason of `signal`, and with
   * `InvalidError`, `ClosedError`, `ReadOnlyError` (this user may not write to the database), `FullError` (no room for
   * the table of locks), `IoError`. Then none of the records is locked. While it waits, it keeps the process alive.
   */
  async lock(keys: Exclude<K, readonly unknown[]> | readonly K[], options?: LockOptions): Promise<RecordLock> {
    this.#open.assertOpen()
    const { timeoutMs } = this.#open.options
    const encoded = keysToLock(keys, this.#space)
    const resolved = lockOptions(options, timeoutMs)
    // Reading the arguments may have run the user's code, and that may have closed the database.
    this.#open.assertOpen()
    const { recordLocks } = this.#open.engine
    const { catchUp } = this.#open.host
    const grant = await recordLocks.acquire(encoded, { ...resolved, nameOf: nameOfKey, catchUp })
    await fairTurn()
    return new RecordLock({ locks: recordLocks, grant }, encoded, resolved.mode, this.#open)
  }

  /** The same, synchronously and without waiting: undefined if not all of the records can be locked at once. */
  tryLock(keys: Exclude<K, readonly unknown[]> | readonly K[], options?: TryLockOptions): RecordLock | undefined {
    this.#open.assertOpen()
    const encoded = keysToLock(keys, this.#space)
    const mode = modeOf(options)
    this.#open.assertOpen()
    const { recordLocks } = this.#open.engine
    const grant = recordLocks.tryAcquire(encoded, mode)
    return grant && new RecordLock({ locks: recordLocks, grant }, encoded, mode, this.#open)
  }
}

const IN_OPERATIONS = 'Conditions and times stand in its operations.'
const tookOf = ({ took }: WriteResult): boolean => took
const removedOf = ({ removed }: WriteResult): boolean => removed
const sumOf = <N>({ sum }: WriteResult): N => sum as N
