// The public Database. It reads on the calling thread, straight from the map. It gathers asynchronous writes in
// frames (write-queue.ts), which worker threads commit.
import { Snapshot } from './snapshot.js'
import type { Anything, AsyncRangeIterator, AsyncRangeOptions, RangeIterator, Stored } from './types.js'
import { databaseClosed, foreseen } from '../errors.js'
import type { CheckpointReport } from '../engine/checkpoint/checkpointer.js'
import type { BatchOperation } from '../engine/commit/batch.js'
import { conditionsIn, type Conditions } from '../engine/commit/conditions.js'
import type { WriteResult } from '../engine/commit/results.js'
import type { Engine } from '../engine/engine.js'
import type { Key, KeyPart } from '../encoding/keys.js'
import type { LockInfo } from '../engine/locks/lock-list.js'
import { type ResolvedOptions } from '../engine/options.js'
import type { RangeIterator as EngineIterator } from '../engine/read/range-iterator.js'
import type { Stats } from '../engine/stats.js'
import type { RecoveryReport } from '../engine/lifecycle/recovery.js'
import type { Entry } from '../engine/read/snapshot.js'
import type { ValueEncoding } from '../encoding/values/codec.js'
import { verify, type VerifyReport } from '../maintenance/verify.js'
import { closeWhenForgotten, isBeingClosed, type Attachment, type Lanes } from '../workers/attachment.js'
import { AsyncRange, signalOf } from './async-range.js'
import { BackgroundReads } from './background-reads.js'
import { encodeKeys } from './lookup-queue.js'
import type { Lookups } from './lookups.js'
import type { CommitReport, CommitTask } from '../workers/worker.js'
import {
  keysToLock,
  lockOptions,
  modeOf,
  nameOfKey,
  RecordLock,
  type LockOptions,
  type TryLockOptions,
} from './record-lock.js'
import { WriteQueue, type Committed, type Frame } from './write-queue.js'
import type { FrameBuilder } from '../wal/frame-builder.js'
import { fromErrorMessage } from '../workers/error-transport.js'
import { boundsOf, type Range } from '../engine/read/bounds.js'

/** An open database. See `open`. `V`: the type of its values; `K`: that of its keys. */
export class Database<V = Anything, K extends Key = Key> {
  readonly #engine: Engine
  readonly #options: ResolvedOptions
  readonly #attachment: Attachment
  readonly #lanes: Lanes | undefined
  /** What opening had to repair; undefined if another process or thread had the database open already. */
  readonly recovery: RecoveryReport | undefined

  readonly #writes: WriteQueue
  readonly #tasks = new Set<Promise<unknown>>()
  readonly #reads: BackgroundReads
  readonly #lookups: Lookups
  #checkpointing: Promise<unknown> | undefined
  #closing: Promise<void> | undefined

  private constructor(attachment: Attachment, options: ResolvedOptions, recovery: RecoveryReport | undefined) {
    const { engine, lanes } = attachment
    this.#attachment = attachment
    this.#engine = engine
    this.#lanes = lanes
    this.#options = options
    this.recovery = recovery
    this.#writes = new WriteQueue({
      maxInFlightBytes: options.maxInFlightBytes,
      maxFrames: Math.max(1, options.workers),
      timeoutMs: options.timeoutMs,
      order: new Int32Array(attachment.order),
      commit: async (frame) => (lanes ? committedThere(lanes, frame) : committedHere(engine, frame)),
      onCheckpointWanted: () => this.#maybeCheckpoint(true),
    })
    this.#reads = new BackgroundReads({
      engine,
      lanes,
      workers: options.workers,
      timeoutMs: options.timeoutMs,
      assertOpen: () => this.#assertOpen(),
      track: (task) => this.#track(task),
    })
    this.#lookups = this.#reads.lookups()
    closeWhenForgotten(this, attachment)
  }

  /** @internal Use `open`. */
  static of<V, K extends Key>(
    attachment: Attachment,
    options: ResolvedOptions,
    recovery: RecoveryReport | undefined,
  ): Database<V, K> {
    return new Database(attachment, options, recovery)
  }

  /** The directory of the database. */
  get path(): string {
    return this.#options.path
  }
  /** How values are encoded: as the creator of the database chose. */
  get valueEncoding(): ValueEncoding {
    return this.#engine.valueEncoding
  }
  /** False once `close` has been called. */
  get isOpen(): boolean {
    return this.#closing === undefined
  }

  // ---- reading ---------------------------------------------------------------------------------

  /**
   * The value of `key`, or undefined if it is absent. Synchronous: a few memory reads if the data
   * is in memory. Throws `InvalidError`, `CorruptError`, `EncodingError` (the value is intact, but not in this
   * database's encoding), `IoError`, `ClosedError`.
   */
  get(key: K): Stored<V> | undefined {
    return this.#engine.get(key) as Stored<V> | undefined
  }

  /** The value of `key` with its version, which grows with every write of it; undefined if absent. */
  getEntry(key: K): Entry<Stored<V>> | undefined {
    return this.#engine.getEntry(key) as Entry<Stored<V>> | undefined
  }

  /**
   * True if there is an entry for `key`. Does not read its value. Throws what `get` throws, `EncodingError` excepted.
   */
  has(key: K): boolean {
    return this.#engine.has(key)
  }

  /**
   * The values of many keys, in their order, undefined where absent; all as of one moment. A worker reads
   * them, so that waiting for a disk does not block the event loop. The keys are copied when this is called.
   */
  async getMany(keys: readonly K[]): Promise<(Stored<V> | undefined)[]> {
    this.#assertOpen()
    const list = encodeKeys(keys, 'getMany')
    // Reading the keys may have run the user's code, and that may have closed the database.
    this.#assertOpen()
    return this.#track(this.#lookups.getMany(list) as Promise<(Stored<V> | undefined)[]>)
  }

  /** The same without values, which are not read: for each key whether there is an entry for it. */
  async hasMany(keys: readonly K[]): Promise<boolean[]> {
    this.#assertOpen()
    const list = encodeKeys(keys, 'hasMany')
    this.#assertOpen()
    return this.#track(this.#lookups.hasMany(list))
  }

  /**
   * Entries in the order of their keys, as of now, whatever is written meanwhile. The iterator keeps
   * that moment until it is done, left or disposed of. `next` throws `EncodingError` for a value that
   * cannot be decoded; called again, it continues after that entry. Besides what all iterators can do, it takes
   * several entries at a time (`nextMany`), and moves to a key (`seek`).
   */
  range(range?: Range<K>): RangeIterator<[Stored<K>, Stored<V>], K> {
    return this.#owned(this.#engine.range(range, 'entries')) as never
  }
  /** The same without values, which are not read. */
  keys(range?: Range<K>): RangeIterator<Stored<K>, K> {
    return this.#owned(this.#engine.range(range, 'keys')) as never
  }
  /** The same without keys. */
  values(range?: Range<K>): RangeIterator<Stored<V>, K> {
    return this.#owned(this.#engine.range(range, 'values')) as never
  }
  /** While the user reads with `iterator`, the database is not released. */
  #owned(iterator: EngineIterator<unknown>): EngineIterator<unknown> {
    iterator.owner = this
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
    this.#assertOpen()
    const signal = signalOf(options)
    const bounds = boundsOf(range)
    // Reading these may have run the user's code, which may have closed the database.
    this.#assertOpen()
    const snapshot = this.#engine.snapshot()
    return new AsyncRange<T>({ reads: this.#reads, snapshot, isLasting: false, bounds, selection, signal, owner: this })
  }

  /** How many entries a range has. Cost: one step for each leaf of it. */
  count(range?: Range<K>): number {
    return this.#engine.count(range)
  }
  /** The same on a worker thread: for ranges so large that they would block the event loop. */
  async countAsync(range?: Range<K>): Promise<number> {
    this.#assertOpen()
    const bounds = boundsOf(range)
    this.#assertOpen()
    return this.#lanes ? this.#track(this.#lanes.long.run<number>('count', bounds)) : this.#engine.countWithin(bounds)
  }

  /** The database as it is now, until the snapshot is closed. Slots that it reaches are not reused meanwhile. */
  snapshot(): Snapshot<V, K> {
    return Snapshot.of(this.#engine.snapshot(), this.#reads, this)
  }

  // ---- writing ---------------------------------------------------------------------------------

  /**
   * Sets `key` to `value`. Resolves once the write is on disk and visible to every thread and process: to true, or
   * to false if one of the conditions did not hold; then nothing was changed. Key and value are copied when this is
   * called: the caller may change them as soon as it returns. While more than `maxInFlightBytes` are on their way,
   * the promise takes longer, and waiting writes take up memory.
   *
   * Rejects with `OutcomeUnknownError` if the write may have taken effect or may still do so. Every other error
   * means that nothing was written: `InvalidError`, `FullError`, `IoError`, `LockedError`, `CorruptError`,
   * `ClosedError`, `ReadOnlyError`.
   */
  put(key: K, value: V, conditions?: Conditions): Promise<boolean> {
    return this.#write((frame) => this.#engine.operations.put(frame, key, value, conditionsIn(conditions)), tookOf)
  }

  /**
   * Removes `key`. Resolves to whether an entry was removed: false if there was none, or if one of the conditions did
   * not hold. Otherwise as `put`.
   */
  del(key: K, conditions?: Conditions): Promise<boolean> {
    return this.#write((frame) => this.#engine.operations.del(frame, key, conditionsIn(conditions)), removedOf)
  }

  /**
   * Adds `delta` to the number or bigint that `key` has, where an absent key counts as 0, and resolves to the sum. Many
   * threads and processes may add to one key at once: nothing is lost, and each gets its own sum. Needs `valueEncoding`
   * "msgpack" or "json".
   *
   * Rejects with `InvalidError`, and changes nothing, if the value is no number, if it is a number and `delta` a
   * bigint or the other way round, or if the sum would not be finite or have more than some 180 bytes. Otherwise as
   * `put`.
   */
  add<N extends number | bigint>(key: K, delta: N): Promise<N extends bigint ? bigint : number> {
    return this.#write((frame) => this.#engine.operations.add(frame, key, delta), sumOf<never>)
  }

  /**
   * Applies all of these operations or none of them, in their order. Resolves to true, or to false if a condition of
   * one of them did not hold; conditions are judged by what there is before the batch. Rejects as `put` and `add` do.
   * It passes on what the iterable's own code throws; nothing has been written then. What that code writes itself
   * comes before the batch.
   */
  batch(operations: Iterable<BatchOperation<V, K>>): Promise<boolean> {
    return this.#write((frame) => this.#engine.operations.batch(frame, operations), tookOf)
  }

  /**
   * `put` on the calling thread: returns once the write is on disk and visible, with what `put` resolves to, and throws
   * what `put` rejects with. Does not wait for writes that have not resolved yet; it may take effect before them.
   */
  putSync(key: K, value: V, conditions?: Conditions): boolean {
    return this.#writeSync((frame) => this.#engine.operations.put(frame, key, value, conditionsIn(conditions))).took
  }
  /** `del` on the calling thread, as `putSync` is `put`. */
  delSync(key: K, conditions?: Conditions): boolean {
    return this.#writeSync((frame) => this.#engine.operations.del(frame, key, conditionsIn(conditions))).removed
  }
  /** `add` on the calling thread, as `putSync` is `put`. */
  addSync<N extends number | bigint>(key: K, delta: N): N extends bigint ? bigint : number {
    return this.#writeSync((frame) => this.#engine.operations.add(frame, key, delta)).sum as never
  }
  /** `batch` on the calling thread, as `putSync` is `put`. */
  batchSync(operations: Iterable<BatchOperation<V, K>>): boolean {
    return this.#writeSync((frame) => this.#engine.operations.batch(frame, operations)).took
  }

  // `add` may run the user's code, which may close the database.

  /** `answer`: what the user is told of the result. */
  #write<T>(add: (frame: FrameBuilder) => void, answer: (result: WriteResult) => T): Promise<T> {
    return this.#writes.add((frame) => {
      this.#assertOpen()
      add(frame)
      this.#assertOpen()
    }, answer)
  }

  #writeSync(add: (frame: FrameBuilder) => void): WriteResult {
    this.#assertOpen()
    const result = this.#engine.write((frame) => {
      add(frame)
      this.#assertOpen()
    })
    this.#maybeCheckpoint(this.#engine.checkpointWanted)
    return result
  }

  #maybeCheckpoint(wanted: boolean): void {
    if (!wanted || this.#checkpointing !== undefined || this.#closing !== undefined) return
    // If it fails, the log goes on growing and the next write meets the reason itself. What has just been
    // written is safe, so no caller gets an error for it.
    if (this.#lanes === undefined) {
      try {
        this.#engine.checkpoint(false)
      } catch {
        // As said above.
      }
      return
    }
    const done = (): void => (this.#checkpointing = undefined)
    this.#checkpointing = this.#track(this.#lanes.long.run('checkpoint', { wait: false }, [], true)).then(done, done)
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
   * it is released, or with its thread or process, or when the database is closed here.
   *
   * Rejects with `LockedError` if it took longer than `timeoutMs`, with the reason of `signal`, and with
   * `InvalidError`, `ClosedError`, `ReadOnlyError` (this user may not write to the database), `FullError` (no room for
   * the table of locks), `IoError`. Then none of the records is locked. While it waits, it keeps the process alive.
   */
  async lock(keys: KeyPart | readonly Key[], options?: LockOptions): Promise<RecordLock> {
    this.#assertOpen()
    const { timeoutMs } = this.#options
    const encoded = keysToLock(keys)
    const resolved = lockOptions(options, timeoutMs)
    // Reading the arguments may have run the user's code, and that may have closed the database.
    this.#assertOpen()
    const { recordLocks } = this.#engine
    const grant = await recordLocks.acquire(encoded, { ...resolved, nameOf: nameOfKey })
    return new RecordLock({ locks: recordLocks, grant }, encoded, resolved.mode, this)
  }

  /** The same, synchronously and without waiting: undefined if not all of the records can be locked at once. */
  tryLock(keys: KeyPart | readonly Key[], options?: TryLockOptions): RecordLock | undefined {
    this.#assertOpen()
    const encoded = keysToLock(keys)
    const mode = modeOf(options)
    this.#assertOpen()
    const { recordLocks } = this.#engine
    const grant = recordLocks.tryAcquire(encoded, mode)
    return grant && new RecordLock({ locks: recordLocks, grant }, encoded, mode, this)
  }

  /**
   * The record locks that threads and processes have and wait for, as of now, in the order of their keys; of one key
   * those that are held first, and then those that wait, in their turn. Costs one step for each of them.
   */
  locks(): LockInfo[] {
    this.#assertOpen()
    return this.#engine.recordLocks.list()
  }

  // ---- the rest --------------------------------------------------------------------------------

  /** Writes everything to the data file and flushes it, so that the log before it is no longer needed. */
  async checkpoint(): Promise<CheckpointReport | undefined> {
    this.#assertOpen()
    return this.#track(
      this.#lanes?.long.run('checkpoint', { wait: true }, [], true) ?? soon(() => this.#engine.checkpoint(true)),
    )
  }

  /** Checks every slot and value that a read could meet. Damage is reported, not thrown. */
  async verify(): Promise<VerifyReport> {
    this.#assertOpen()
    return this.#track(this.#lanes?.long.run<VerifyReport>('check') ?? soon(() => verify(this.#engine)))
  }

  /** Figures on the database, as of now. */
  stats(): Stats {
    return this.#engine.stats()
  }

  /**
   * Waits for all work under way and closes the database. The last closer of all threads and
   * processes makes a checkpoint and cuts the file back to the part that is used. Snapshots and iterators
   * end, record locks are released, and calls that wait for one reject with `ClosedError`. Idempotent.
   */
  close(): Promise<void> {
    return (this.#closing ??= this.#close())
  }

  async #close(): Promise<void> {
    isBeingClosed(this.#attachment)
    this.#engine.recordLocks.stopWaiting()
    // What was written under a lock takes effect before the next holder gets it.
    while (!this.#writes.isIdle || this.#tasks.size > 0) {
      await this.#writes.settled()
      await Promise.allSettled(this.#tasks)
    }
    this.#engine.recordLocks.close()
    await this.#attachment.close()
  }

  /** `close`, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw databaseClosed()
  }

  /** Makes `close` wait for it. */
  async #track<T>(task: Promise<T>): Promise<T> {
    this.#tasks.add(task)
    try {
      return await task
    } catch (error) {
      throw foreseen(error)
    } finally {
      this.#tasks.delete(task)
    }
  }
}

const tookOf = ({ took }: WriteResult): boolean => took
const removedOf = ({ removed }: WriteResult): boolean => removed
const sumOf = <N>({ sum }: WriteResult): N => sum as N

const soon = async <T>(act: () => T): Promise<T> => act()

async function committedHere(engine: Engine, { bytes }: Frame): Promise<Committed> {
  engine.prepareCommit(bytes)
  const finished = engine.finishWrites(engine.beginWrites(bytes))
  return { checkpointWanted: engine.checkpointWanted, ...finished }
}

async function committedThere({ writes }: Lanes, { bytes, ticket }: Frame): Promise<Committed> {
  const buffer = bytes.buffer as ArrayBuffer
  const task: CommitTask = { buffer, lengthBytes: bytes.length, ticket }
  const { checkpointWanted, failed, results } = await writes.run<CommitReport>('commit', task, [buffer])
  return {
    checkpointWanted,
    results,
    failed: failed.map(({ first, count, error }) => ({ first, count, error: fromErrorMessage(error) })),
  }
}
