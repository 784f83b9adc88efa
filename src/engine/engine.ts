// One thread's hold on a database: everything synchronous, nothing shared with other threads but
// files, locks and `control`. The public Database runs one of these on the calling thread for
// reads, and one in each worker for what would block the event loop.
//
// It holds the parts of the database and hands calls on to what works on them.
import type { Encoded } from '../encoding/packed-list.js'
import type { Key } from '../encoding/keys.js'
import type { ValueEncoding } from '../encoding/values/codec.js'
import { FullError } from '../errors.js'
import { guarded } from '../storage/errors.js'
import type { Storage } from '../storage/storage.js'
import type { CheckpointReport } from './checkpoint/checkpointer.js'
import { CommitPath } from './commit-path.js'
import type { Appended, FailedWrites } from './commit/append-writes.js'
import type { BatchOperation } from './commit/batch.js'
import { OperationWriter } from './commit/operation-writer.js'
import { closeParts, closePartsIfQuick } from './lifecycle/close.js'
import type { ExpectedDatabase } from './lifecycle/home-directory.js'
import { PATIENT, type Patience } from './lifecycle/not-now.js'
import type { OpenRequest } from './lifecycle/open-files.js'
import { openParts } from './lifecycle/open.js'
import type { RecoveryReport } from './lifecycle/recovery.js'
import type { EngineOptions } from './options.js'
import type { EngineParts } from './parts.js'
import { PinnedReads } from './read/pinned-reads.js'
import { PointReads } from './read/point-reads.js'
import type { RangeIterator, Selection } from './read/range-iterator.js'
import type { EngineSnapshot, Entry } from './read/snapshot.js'
import { statsOf, type Stats } from './stats.js'
import type { FrameBuilder } from '../wal/frame-builder.js'
import type { Bounds, Range } from './read/bounds.js'

/**
 * True of what kept a reader from opening a database and need not: replaying the log on disk takes room that a full
 * disk does not have.
 */
export const canDoWithout = ({ readOnly }: EngineOptions, error: unknown): boolean =>
  readOnly && error instanceof FullError

export class Engine {
  /** For what looks inside: verification, and tests. */
  readonly parts: EngineParts
  /** What came of opening, if this thread was the first opener. */
  readonly recovery: RecoveryReport | undefined
  readonly #pinned: PinnedReads
  readonly #points: PointReads
  readonly #operations: OperationWriter
  readonly #commits: CommitPath

  private constructor(storage: Storage, request: OpenRequest) {
    const { parts, recovery, pin } = openParts(storage, request)
    this.parts = parts
    this.recovery = recovery
    this.#pinned = new PinnedReads(parts)
    this.#points = new PointReads(parts, this.#pinned, pin)
    this.#operations = new OperationWriter(parts)
    this.#commits = new CommitPath(parts, this.#points)
  }

  /**
   * Opens a database on this thread. Throws a typed error; nothing on disk has been changed then. `expected`: the
   * database that another thread of this process has open; if it is not found, or no longer open there, nothing is
   * opened. Throws `NotNowError` instead of doing what `patience` rules out.
   */
  static open(
    options: EngineOptions,
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

  /** The same for one who could write, as if it could not: a database that nobody has open is replayed in memory. */
  static openToRead(options: EngineOptions, storage: Storage, patience: Patience): Engine {
    return new Engine(storage, { options, purpose: 'reading', patience, expected: undefined })
  }

  /** Opens a database as recovery would leave it, in this process's own memory, changing no file. */
  static inspect(options: EngineOptions, storage: Storage): Engine {
    const looking = { ...options, readOnly: true, createIfMissing: false }
    return new Engine(storage, { options: looking, purpose: 'inspecting', patience: PATIENT, expected: undefined })
  }

  get options(): EngineOptions {
    return this.parts.options
  }
  /** Everything lies in this process's own memory: see `readOnly` in the options. */
  get isPrivate(): boolean {
    return this.parts.isPrivate
  }
  get isClosed(): boolean {
    return this.parts.openState.isClosed
  }
  /** How values are encoded: as whoever created the database said. */
  get valueEncoding(): ValueEncoding {
    return this.parts.values.name
  }
  /** What tells this database from any other, for other threads of this process that are to open the same. */
  get identity(): Required<ExpectedDatabase> {
    return { directory: this.parts.home.identity, data: this.parts.dataFile.identity }
  }

  // ---- reading ---------------------------------------------------------------------------------

  get(key: Key): unknown {
    return this.#points.get(key)
  }
  getEntry(key: Key): Entry | undefined {
    return this.#points.getEntry(key)
  }
  has(key: Key): boolean {
    return this.#points.has(key)
  }
  /** The encoded values of keys that are encoded already, all as of one moment. */
  getEncoded(keys: Encoded): Encoded {
    return this.#points.getEncoded(keys)
  }
  /** What the encoded value of an encoded key stands for. */
  decodeValue(bytes: Buffer, key: Buffer): unknown {
    return this.#points.decodeValue(bytes, key)
  }
  range(range: Range | undefined, selection: Selection): RangeIterator<unknown> {
    return this.#pinned.range(range, selection)
  }
  /** `range`, once its bounds are encoded. */
  rangeWithin(bounds: Bounds, selection: Selection): RangeIterator<unknown> {
    return this.#pinned.rangeWithin(bounds, selection)
  }
  count(range: Range | undefined): number {
    return this.#pinned.count(range)
  }
  /** `count`, once its bounds are encoded. */
  countWithin(bounds: Bounds): number {
    return this.#pinned.countWithin(bounds)
  }
  snapshot(): EngineSnapshot {
    return this.#pinned.snapshot()
  }

  // ---- writing ---------------------------------------------------------------------------------

  put(key: Key, value: unknown): void {
    this.write((frame) => this.#operations.put(frame, key, value))
  }
  del(key: Key): void {
    this.write((frame) => this.#operations.del(frame, key))
  }
  batch(operations: Iterable<BatchOperation>): void {
    this.write((frame) => this.#operations.batch(frame, operations))
  }
  /** Commits what `add` puts into a frame, if it does. `add` may run users' code. */
  write(add: (frame: FrameBuilder) => void): void {
    this.#operations.build(add, (frame) => this.#commits.commit(frame))
  }

  /** Commits a frame: returns once it is on disk and visible; see commit-path.ts. */
  commit(frame: Buffer): void {
    this.#commits.commit(frame)
  }

  /** Puts, deletes and batches, written into frames that will be committed later. */
  get operations(): OperationWriter {
    return this.#operations
  }

  /** Begins to read what a frame will change; see commit-path.ts. */
  prepareCommit(frame: Buffer): void {
    this.#commits.prepare(frame)
  }
  /** Gives a frame of writes its place in the log; `sizes`: how many operations each of them has, or 1. */
  beginWrites(frame: Buffer, sizes: readonly number[] | undefined): Appended {
    return this.#commits.beginWrites(frame, sizes)
  }
  /** Returns, once all that was appended is on disk and visible, which writes failed, and why. */
  finishWrites(appended: Appended): FailedWrites[] {
    return this.#commits.finishWrites(appended)
  }
  /** LSN behind the last frame that this thread committed; 0 if it has not. */
  get lastCommit(): number {
    return this.#commits.lastCommit
  }

  /** True if enough has been written since the last checkpoint that one should be made soon. */
  get checkpointWanted(): boolean {
    return this.parts.control.checkpointWanted
  }
  /** Brings the tree to disk. Undefined if there was nothing new or somebody else is at it (`wait` false). */
  checkpoint(wait: boolean): CheckpointReport | undefined {
    this.parts.openState.assertWritable()
    return guarded('Making a checkpoint', () => this.parts.checkpointer.run({ wait }))
  }

  // ---- the rest --------------------------------------------------------------------------------

  stats(): Stats {
    this.parts.openState.assertOpen()
    return guarded('Looking at the files', () => statsOf(this.parts))
  }

  /** Lets go of the database, and does what the last closer does if this is the last: see lifecycle/close.ts. */
  close(): void {
    closeParts(this.parts, true)
  }
  /** Lets go of the database and leaves what the last closer does to whichever thread or process closes it last. */
  detach(): void {
    closeParts(this.parts, false)
  }
  /** Closes if that takes next to no time; else does nothing and returns false. */
  closeIfQuick(): boolean {
    return closePartsIfQuick(this.parts)
  }
}
