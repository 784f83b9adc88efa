// A database as one thread has it open. Everything is synchronous, and it shares only files, locks and `control` with
// other threads. The public Database runs one engine on the calling thread for reads, and one in each worker for what
// would block the event loop.
//
// An engine holds the parts of the database and passes calls on to what works on them.
import type { LockInfo } from './locks/lock-list.js'
import type { Encoded } from '../encoding/packed-list.js'
import type { KeySpace } from '../encoding/key-space.js'
import type { Key } from '../encoding/keys.js'
import type { ValueEncoding } from '../encoding/values/codec.js'
import { FullError } from '../errors.js'
import { guarded } from '../storage/errors.js'
import type { Storage } from '../storage/storage.js'
import type { CheckpointReport } from './checkpoint/checkpointer.js'
import { emptyTrash } from './checkpoint/empty-trash.js'
import { newAppendFields } from '../wal/append-state.js'
import { FlushApart } from './commit/flush-apart.js'
import { CommitPath } from './commit-path.js'
import type { BatchOperation } from './commit/batch.js'
import { OperationWriter } from './commit/operation-writer.js'
import { TOOK_EFFECT, type WriteResult } from './commit/results.js'
import { closeParts, closePartsIfQuick } from './lifecycle/close.js'
import type { ExpectedDatabase } from './lifecycle/home-directory.js'
import { PATIENT, type Patience } from './lifecycle/not-now.js'
import type { RecordLocks } from './locks/record-locks.js'
import type { OpenRequest } from './lifecycle/open-files.js'
import { openParts } from './lifecycle/open.js'
import type { RecoveryReport } from './lifecycle/recovery.js'
import type { ResolvedOptions } from './options.js'
import type { EngineParts } from './parts.js'
import { PinnedReads } from './read/pinned-reads.js'
import { PointReads } from './read/point-reads.js'
import type { RangeIterator, Selection } from './read/range-iterator.js'
import type { EngineSnapshot, Entry, WantedOfMany } from './read/snapshot.js'
import type { LentTree } from './shared/lent-pin.js'
import { newState, STATE } from './shared/control.js'
import { Sweeper, type SweepReport } from './sweeper.js'
import { statsOf, type Stats } from './stats.js'
import { Stores } from './stores/stores.js'
import type { Lsn } from '../wal/lsn.js'
import { EngineTransaction } from './transactions/engine-transaction.js'
import type { FrameBuilder, OperationConditions } from '../wal/frame-builder.js'
import type { Bounds, Range } from './read/bounds.js'

/**
 * True if a reader that met `error` can open the database all the same, with the log replayed in memory: replaying
 * it on disk takes room that a full disk does not have.
 */
export const canDoWithout = ({ readOnly }: ResolvedOptions, error: unknown): boolean =>
  readOnly && error instanceof FullError

export class Engine {
  /** For verification and tests, which look inside. */
  readonly parts: EngineParts
  /** What recovery did, if this thread was the first opener. */
  readonly recovery: RecoveryReport | undefined
  /** The named stores. */
  readonly stores: Stores
  readonly #pinned: PinnedReads
  readonly #points: PointReads
  readonly #operations: OperationWriter
  /** How frames are committed. */
  readonly commits: CommitPath
  readonly apart: FlushApart
  readonly #sweeper: Sweeper

  private constructor(storage: Storage, request: OpenRequest) {
    const { parts, recovery, pin } = openParts(storage, request)
    this.parts = parts
    this.recovery = recovery
    this.#pinned = new PinnedReads(parts)
    this.#points = new PointReads(parts, this.#pinned, pin)
    this.#operations = new OperationWriter(parts)
    this.stores = new Stores(parts, this.#pinned, (add) => this.write(add))
    this.commits = new CommitPath(parts, this.#points, (frame) => this.stores.renewFrame(frame))
    this.apart = new FlushApart(parts)
    this.#sweeper = new Sweeper(parts, this.commits)
  }

  /**
   * Opens a database on this thread. Throws a typed error; then nothing on disk has been changed. `expected`: the
   * database that another thread of this process has open. If that is not found, or is no longer open there, nothing
   * is opened. Throws `NotNowError` instead of doing what `patience` does not allow.
   */
  static open(
    options: ResolvedOptions,
    storage: Storage,
    expected?: ExpectedDatabase,
    patience: Patience = PATIENT,
  ): Engine {
    try {
      return new Engine(storage, { options, purpose: 'as it may be', patience, expected })
    } catch (error) {
      if (expected !== undefined || !canDoWithout(options, error)) throw error
      return Engine.openToRead(options, storage, patience)
    }
  }

  /** The same, as if this user could not write: a log that has to be replayed is replayed in memory. */
  static openToRead(options: ResolvedOptions, storage: Storage, patience: Patience): Engine {
    return new Engine(storage, { options, purpose: 'reading', patience, expected: undefined })
  }

  /** Opens a database as recovery would leave it, in this process's own memory, and changes no file. */
  static inspect(options: ResolvedOptions, storage: Storage): Engine {
    const looking = { ...options, readOnly: true, createIfMissing: false }
    return new Engine(storage, { options: looking, purpose: 'inspecting', patience: PATIENT, expected: undefined })
  }

  get options(): ResolvedOptions {
    return this.parts.options
  }
  /** Everything lies in this process's own memory: see `readOnly` in the options. */
  get isPrivate(): boolean {
    return this.parts.isPrivate
  }
  get isClosed(): boolean {
    return this.parts.openState.isClosed
  }
  /** How values are encoded: chosen when the database was created. */
  get valueEncoding(): ValueEncoding {
    return this.main.values.name
  }
  /** What identifies this database, for other threads of this process that are to open the same one. */
  get identity(): Required<ExpectedDatabase> {
    return { directory: this.parts.home.identity, data: this.parts.dataFile.identity }
  }

  /** The key space of the default store: that of all calls that name no other. */
  get main(): KeySpace {
    return this.parts.main
  }

  // ---- reading ---------------------------------------------------------------------------------

  get(key: Key, space = this.main): unknown {
    return this.#points.get(key, space)
  }
  getEntry(key: Key, space = this.main): Entry | undefined {
    return this.#points.getEntry(key, space)
  }
  getBytes(key: Key, space = this.main): Buffer | undefined {
    return this.#points.getBytes(key, space)
  }
  has(key: Key, space = this.main): boolean {
    return this.#points.has(key, space)
  }
  /** The encoded values of keys that are encoded already, or whether they are present, all as of one moment. */
  getManyEncoded(keys: Encoded, wanted: WantedOfMany): Encoded {
    return this.#points.getManyEncoded(keys, wanted)
  }

  /** The same if that waits for no disk, else undefined. It takes a system call for each key. */
  getManyInMemory(keys: Encoded, wanted: WantedOfMany): Encoded | undefined {
    return this.#points.getManyInMemory(keys, wanted)
  }
  range(range: Range | undefined, selection: Selection, space = this.main): RangeIterator<unknown> {
    return this.#pinned.range(range, selection, space)
  }
  /** The same as `range`, with bounds that are encoded already. */
  rangeWithin(bounds: Bounds, selection: Selection, space = this.main): RangeIterator<unknown> {
    return this.#pinned.rangeWithin(bounds, selection, space)
  }
  count(range: Range | undefined, space = this.main): number {
    return this.#pinned.count(range, space)
  }
  /** The same as `count`, with bounds that are encoded already. */
  countWithin(bounds: Bounds): number {
    return this.#pinned.countWithin(bounds)
  }
  snapshot(): EngineSnapshot {
    return this.#pinned.snapshot()
  }
  /** The snapshot of another thread of this process that has the database open, for as long as it is open there. */
  borrow(tree: LentTree): EngineSnapshot {
    return this.#pinned.borrow(tree)
  }

  // ---- writing ---------------------------------------------------------------------------------

  put(key: Key, value: unknown, conditions?: OperationConditions, space = this.main): boolean {
    return this.write((frame) => this.#operations.put(frame, key, value, conditions, space)).took
  }
  del(key: Key, conditions?: OperationConditions, space = this.main): boolean {
    return this.write((frame) => this.#operations.del(frame, key, conditions, space)).removed
  }
  /** The sum; undefined if the conditions did not hold. */
  add(key: Key, delta: number | bigint, conditions?: OperationConditions): number | bigint | undefined {
    return this.write((frame) => this.#operations.add(frame, key, delta, conditions)).sum
  }
  batch(operations: Iterable<BatchOperation>): boolean {
    return this.write((frame) => this.#operations.batch(frame, operations)).took
  }
  /** Commits the write that `add` puts into a frame, if it puts any there. `add` may run users' code. */
  write(add: (frame: FrameBuilder) => void): WriteResult {
    let result = TOOK_EFFECT
    this.#operations.build(add, (frame) => (result = this.commits.commit(frame)))
    return result
  }

  /** Commits a frame of one write: returns when it is on disk and visible; see commit-path.ts. */
  commit(frame: Buffer): WriteResult {
    return this.commits.commit(frame)
  }

  /** Writes puts, deletes and batches into frames that will be committed later. */
  get operations(): OperationWriter {
    return this.#operations
  }

  /** One try of a transaction: see transactions/engine-transaction.ts. The caller must end it. */
  beginTransaction(): EngineTransaction {
    return new EngineTransaction(this.snapshot(), this.parts.openState, this.parts.clock)
  }
  /** Frees what clearing ranges has cut out, for about that long. True if it is of use to go on. */
  emptyTrash(mostMs: number): boolean {
    this.parts.openState.assertWritable()
    return emptyTrash(this.parts, mostMs)
  }
  /** All record locks, with the names of the stores that their keys are of. */
  listLocks(): LockInfo[] {
    let names: Map<number, string> | undefined
    return this.parts.recordLocks.list((number) => {
      names ??= new Map(this.stores.list().map((store) => [store.number, store.name]))
      return names.get(number)
    })
  }
  /** True if there is something to be freed that clearing ranges has cut out. */
  get hasTrash(): boolean {
    return this.parts.control.readState(newState())[STATE.TRASH_HEIGHT]! > 0
  }
  /** LSN after the last frame that this thread committed; 0 if it has committed none. */
  get lastCommit(): number {
    return this.commits.lastCommit
  }

  /** Where the log ends now, whichever appender moved it last. */
  get tailLsn(): number {
    return this.parts.control.append.read(newAppendFields()).tailLsn
  }

  /** True if so much has been written since the last checkpoint that one should be made soon. */
  get checkpointWanted(): boolean {
    return this.parts.control.checkpointWanted
  }
  /**
   * Brings the tree to disk. Undefined if there was nothing new, or if another checkpoint is running and `wait` is
   * false.
   */
  checkpoint(wait: boolean): CheckpointReport | undefined {
    this.parts.openState.assertWritable()
    return guarded('Making a checkpoint', () => this.parts.checkpointer.run({ wait }))
  }

  /** Returns when the tree includes the log up to `end`. */
  catchUp(end: Lsn): void {
    this.parts.openState.assertOpen()
    guarded('Applying the log to the tree', () => this.parts.committer.catchUp(end))
  }

  /** The time of the database's clock. */
  get nowMs(): number {
    return this.parts.clock.now()
  }
  /** When the next entry expires that is still there; Infinity if none does. */
  get nextExpiryMs(): number {
    return this.parts.control.earliestExpiry()
  }
  /** Removes entries that have expired: see sweeper.ts. */
  sweep(mostFrames: number): SweepReport {
    this.parts.openState.assertWritable()
    return guarded('Removing what has expired', () => this.#sweeper.sweep(mostFrames))
  }

  /** The record locks of this thread. */
  get recordLocks(): RecordLocks {
    return this.parts.recordLocks
  }

  // ---- the rest --------------------------------------------------------------------------------

  stats(): Stats {
    this.parts.openState.assertOpen()
    return guarded('Looking at the files', () => statsOf(this.parts))
  }

  /** Closes the database here, and does what the last closer does if this is the last: see lifecycle/close.ts. */
  close(): void {
    closeParts(this.parts, true)
  }
  /** Closes the database here, and leaves the last closer's work to the thread or process that closes it last. */
  detach(): void {
    closeParts(this.parts, false)
  }
  /** Closes if that takes hardly any time; else does nothing and returns false. */
  closeIfQuick(): boolean {
    return closePartsIfQuick(this.parts)
  }
}
