// One thread's hold on a database: everything synchronous, nothing shared with other threads but
// files, locks and `control`. The public Database runs one of these on the calling thread for
// reads, and one in each worker for what would block the event loop.
import { join } from 'node:path'
import { crashPoint } from '../crash-points.js'
import { ClosedError, CorruptError, ExpiredError, FullError, InvalidError, IoError, LockedError, NotFoundError, OutcomeUnknownError, ReadersError, ReadOnlyError, VersionError } from '../errors.js'
import { guarded, isFullDisk, typedError } from '../storage/errors.js'
import { isSameFile, type HeldDirectory, type LockMode, type LockTable, type Region, type RegionOptions, type Storage } from '../storage/storage.js'
import { newAppendFields } from '../wal/append-state.js'
import { flushed } from '../wal/flush.js'
import { forEachOperation, FrameBuilder, frameStride, MAX_VALUE_BYTES } from '../wal/frame.js'
import { Log } from '../wal/log.js'
import { FIRST_LSN, MAX_LSN, type Lsn } from '../wal/lsn.js'
import { LogReader } from '../wal/log-reader.js'
import { segmentName } from '../wal/segment.js'
import { Allocator } from './space/allocator.js'
import { appendWrites, type Appended, type FailedWrites } from './commit/append-writes.js'
import { forEachTaken, type BatchOperation } from './commit/batch.js'
import { Checkpointer, writeHeaders, type CheckpointReport } from './checkpoint/checkpointer.js'
import { Committer } from './commit/committer.js'
import { Control, newState, STATE, type StateFields } from './shared/control.js'
import { controlGone, joinControl, newControl, privateControl, sizeOfControl } from './lifecycle/control-file.js'
import { DataFile, displaced, DisplacedError, openDataFile, refuseHardLinks } from './shared/data-file.js'
import { assertDataInPlace, isSegmentInPlace, RESTORED } from './shared/files-in-place.js'
import { checkPath, databasePaths, findHeader, isQuickToOpen, mayWriteAll, type DatabasePaths, type HeaderSearch } from './lifecycle/paths.js'
import { keepChain } from './space/free-list.js'
import { cutDataFile, growDataFile, INITIAL_SLOTS } from './space/growth.js'
import { concatenated, type Encoded } from '../encoding/packed-list.js'
import { encodeHeader, FORMAT_VERSION, headerSlots, isPartOf, NO_HEADER, type Header } from './format/header.js'
import { Glimpse, MovedOn, type Hold } from './shared/read-guard.js'
import { Holds, releaseWithout, type Share } from './shared/shared-pins.js'
import { flushHome, openHome, type ExpectedDatabase } from './lifecycle/home-directory.js'
import { decodeKey, encodeKey, KEY_BUFFER_BYTES, takenKey, writeKey, type Key } from '../encoding/keys.js'
import { HEADER_SLOTS, SLOT_BYTES } from './format/layout.js'
import { drawLife, isLive, joinLife } from './shared/life.js'
import { LOCK } from './shared/lock-bytes.js'
import { anyLockPin, LockPins, LockPinSource } from './shared/lock-pins.js'
import { NotNowError, PATIENT, type Patience } from './lifecycle/not-now.js'
import type { EngineOptions } from './options.js'
import { Pins, type Pin } from './shared/pins.js'
import { boundsOf, RangeIterator, type Bounds, type Range, type RangeSource, type Selection } from './read/range-iterator.js'
import { emptyHeader, formatControl, recover, type RecoveryReport } from './lifecycle/recovery.js'
import { appendMakingRoom, slotsForDeletesWhenClosed } from './commit/slot-budget.js'
import { underAppendLock, type SharedLockParts } from './shared/writer-locks.js'
import { SlotChecker } from './space/slot-checker.js'
import { SlotSpace } from './format/slot-space.js'
import { EngineSnapshot, type Entry } from './read/snapshot.js'
import { TreeReader } from './tree/reader.js'
import { TreeWriter } from './tree/writer.js'
import { Trimmer, usedSlots, worthTrimming } from './space/compaction.js'
import { ofEntry } from '../encoding/undecodable.js'
import { DEFAULT_ENCODING, encodingNumber, storedEncoding, valueCodec, type ValueCodec, type ValueEncoding } from '../encoding/values/codec.js'


/** Figures about a database, as of one moment. */
export interface Stats {
  readonly path: string
  readonly uuid: string
  readonly formatVersion: number
  readonly valueEncoding: ValueEncoding
  readonly entries: number
  readonly height: number
  readonly slots: {
    readonly leaf: number
    readonly branch: number
    readonly overflow: number
    readonly freeList: number
    readonly header: number
    /** Freed and waiting for readers or a checkpoint, or free to be used again. */
    readonly free: number
    /** In the file and never used. */
    readonly unused: number
    readonly total: number
  }
  readonly dataBytes: number
  readonly log: {
    readonly visibleLsn: number
    readonly durableLsn: number
    readonly tailLsn: number
    /** Bytes that recovery would replay now. */
    readonly replayBytes: number
    readonly segments: number
    readonly bytes: number
  }
  readonly checkpoint: { readonly number: number; readonly lsn: number; readonly made: number }
  /** Since the database was first opened by anybody who has it open now. */
  readonly commits: {
    readonly flushes: number
    readonly groups: number
    readonly frames: number
    readonly operations: number
  }
  readonly readers: {
    /** Reads, snapshots and iterators under way, in all threads and processes. */
    readonly pinned: number
    /** The oldest tree that one of them reads, and how much log there has been since. */
    readonly oldestLsn: number
    readonly lagBytes: number
    /** How long the oldest snapshot or iterator has been open; 0 if there is none. */
    readonly oldestMs: number
    /** What could be used again but for them, as of the last write; see `maxHeldBytes`. */
    readonly heldBytes: number
  }
  /** Why writes are refused; undefined while all is well. */
  readonly failure: string | undefined
}

/** Passes over the tree that a clean close makes at the most to bring it to the front of the file. */
const TRIM_PASSES = 3
/** Without a pin: how often a read begins anew, and how many reads there are from one look for a free pin to the next. */
const MAX_GLIMPSES = 10_000
const MAX_ONLOOKER_GLIMPSES = 3
const GLIMPSES_BETWEEN_TRIES = 256

/** What a database is opened for: whatever its options and this user's rights allow, or less. */
type Opening = 'as it may be' | 'reading' | 'inspecting'

/** True of what kept a reader from opening a database and need not: replaying the log on disk takes room that a full disk does not have. */
export const canDoWithout = ({ readOnly }: EngineOptions, error: unknown): boolean => readOnly && error instanceof FullError

export interface EngineParts {
  readonly space: SlotSpace
  readonly control: Control
  readonly checker: SlotChecker
  readonly log: Log
  readonly allocator: Allocator
  readonly pins: Pins
  /** Defined if this thread may not write `control`, and so pins trees by locks alone. */
  readonly lockPins: LockPins | undefined
  readonly sharedLocks: SharedLockParts
}

export class Engine {
  readonly options: EngineOptions
  readonly #storage: Storage
  readonly #locks: LockTable
  readonly #dataRegion: Region
  readonly #controlRegion: Region
  readonly #control: Control
  readonly #home: HeldDirectory
  readonly #dataFile: DataFile
  readonly #space: SlotSpace
  readonly #checker: SlotChecker
  readonly #log: Log
  readonly #pins: Pins
  readonly #committer: Committer
  readonly #checkpointer: Checkpointer
  readonly #allocator: Allocator
  readonly #reader: TreeReader
  readonly #values: ValueCodec
  /** What came of opening, if this thread was the first opener. */
  readonly recovery: RecoveryReport | undefined
  /** Everything lies in this process's own memory: see `readOnly` in the options. */
  readonly isPrivate: boolean
  /** Reads what others write, and writes nothing, not even to `control`: this user may not. */
  readonly #onlooks: boolean

  readonly #key = Buffer.alloc(KEY_BUFFER_BYTES)
  /** Frames to build in: one for each write that is being put together, since users' code may write meanwhile. */
  readonly #frames: FrameBuilder[] = []
  readonly #state = newState()
  /** For point reads; undefined as long as all are in use, and where there can be none. */
  #pin: Pin | undefined
  readonly #holds: Holds
  readonly #lockPins: LockPins
  #closed = false

  private constructor(options: EngineOptions, world: Storage, how: Opening, patience: Patience, expected?: ExpectedDatabase) {
    this.options = options
    const paths = databasePaths(options.path)
    const undo: (() => void)[] = []
    try {
      const home = guarded('Opening the database', () => openHome(world, options, expected))
      undo.push(() => home.close())
      const { storage } = home
      this.#home = home
      this.#storage = storage
      const found = expected?.data !== undefined ? 'exists' : guarded('Opening the database', () => checkPath(storage, paths, options))
      const onlyReads = how !== 'as it may be' || (options.readOnly && !mayWriteAll(storage, paths))
      const region = { reserveBytes: options.reserveBytes, windowBytes: options.windowBytes, readAheadBytes: options.readAheadBytes }
      if (found === 'missing') flushHome(world, paths.directory)
      this.#dataFile = guarded('Opening the data file', () =>
        openDataFile(storage, {
          path: paths.data,
          region: { ...region, mode: 'shared', create: found === 'missing' && !onlyReads, readOnly: onlyReads },
          expected: expected?.data,
          takeTurn: (locks) => this.#lockOpen(locks, onlyReads ? 'shared' : 'exclusive', patience.forOthers ? options.timeoutMs : 0),
        }),
      )
      this.#locks = this.#dataFile.locks
      undo.push(() => this.#dataFile.close())
      const isInUse = onlyReads && this.#locks.isHeldByOther(LOCK.ATTACHED, 'exclusive')
      if (how === 'inspecting' && isInUse) throw new LockedError('The database is open elsewhere; it can be inspected once it is closed everywhere.')
      this.isPrivate = onlyReads && !isInUse
      this.#onlooks = isInUse
      const data = (this.#dataRegion = this.isPrivate ? this.#openPrivately(region) : this.#dataFile.region)
      undo.push(() => data.close())
      // Before there is a log: a log without a data file is damage, not a creation cut short.
      if (found === 'missing') guarded('Creating the data file', () => storage.flushDirectory(paths.directory))

      let first = this.isPrivate || (!this.#onlooks && this.#locks.tryLock(LOCK.ATTACHED, 'exclusive'))
      if (!first && !this.#locks.tryLock(LOCK.ATTACHED, 'shared')) {
        throw new LockedError('The database is being opened or closed by somebody who does not let go; try again.')
      }
      let search: HeaderSearch | undefined
      let control = first ? undefined : joinControl(storage, paths, this.#locks, data.sizeBytes(), this.#onlooks)
      if (control !== undefined) {
        undo.push(() => control!.close())
        // Those who had it open may have ended this moment.
        if (!this.#onlooks && !this.#isOfThisLife(control) && this.#locks.tryLock(LOCK.ATTACHED, 'exclusive')) {
          control.close()
          first = true
        }
      }
      if (first) {
        if (expected?.data !== undefined) throw new ClosedError(`The database at ${options.path} has been closed.`)
        if (!this.isPrivate) refuseHardLinks(storage, paths.data)
        if (!this.isPrivate && !patience.forRecovery && !isQuickToOpen(storage, paths)) {
          throw new NotNowError('recovery', `The database at ${options.path} may have to be recovered.`)
        }
        search = this.#headerOrNew(paths, true)
        control = this.#newControl(paths, search.header!)
        undo.push(() => control!.close())
      }
      this.#controlRegion = control!
      this.#control = new Control(control!)
      if (!first) this.#join()

      search ??= this.#headerOrNew(paths, false)
      const header = search.header!
      if (!first && !header.uuid.equals(this.#control.uuid)) throw new DisplacedError(paths.data, 'written over', RESTORED)
      this.#values = valueCodec(storedEncoding(header.encodingNo, options))
      this.#space = new SlotSpace(data)
      this.#checker = new SlotChecker(this.#space, this.#control, !this.#onlooks)
      this.#log = new Log({
        storage,
        directory: paths.wal,
        like: paths.data,
        uuid: header.uuid,
        segmentBytes: options.segmentBytes,
        readOnly: onlyReads,
      })
      undo.push(() => this.#log.close())
      this.#pins = new Pins(this.#control, this.isPrivate ? undefined : this.#locks)
      this.#lockPins = new LockPins(this.#locks)
      this.#holds = new Holds(this.#control, this.#onlooks ? new LockPinSource(this.#control, this.#lockPins) : this.#pins)
      this.#reader = new TreeReader(this.#space, this.#control, this.#checker)
      this.#allocator = new Allocator(this.#control, this.#space, this.#pins, (slots) => this.#growFor(slots), options.maxHeldBytes)
      const writer = new TreeWriter(this.#space, this.#allocator, this.#checker)
      this.#committer = new Committer({
        storage,
        control: this.#control,
        locks: this.#locks,
        log: this.#log,
        space: this.#space,
        allocator: this.#allocator,
        writer,
        checker: this.#checker,
        dataFile: this.#dataFile,
        timeoutMs: options.timeoutMs,
      })
      this.#checkpointer = new Checkpointer({
        storage,
        control: this.#control,
        locks: this.#locks,
        log: this.#log,
        space: this.#space,
        allocator: this.#allocator,
        checker: this.#checker,
        createdMs: header.createdMs,
        encodingNo: header.encodingNo,
        dataFile: this.#dataFile,
        timeoutMs: options.timeoutMs,
      })
      // From here on whoever opens it leaves alone what the header reaches (lock-pins.ts).
      if (this.isPrivate) this.#lockPins.hold(header.lsn, 'firm')
      this.recovery = first ? this.#recover(header, search) : undefined
      if (first && !this.isPrivate) {
        this.#control.identity = this.#controlRegion.identity()
        this.#control.life = drawLife(storage)
        joinLife(this.#locks, this.#control.life)
        this.#control.setReady()
        this.#locks.tryLock(LOCK.ATTACHED, 'shared')
      }
      this.#locks.unlock(LOCK.OPEN)
      if (!this.#onlooks) this.#pin = this.#pins.tryAcquire()
    } catch (error) {
      for (const step of undo.reverse()) step()
      throw typedError(error, 'Opening the database')
    }
  }

  /**
   * Opens a database on this thread. Throws what the options, the path, the files or the system
   * give reason for; nothing has been changed then. `expected`: the database that another thread of this
   * process has open; if it is not found, or no longer open there, nothing is opened. Throws `NotNowError`
   * instead of doing what `patience` rules out.
   */
  static open(options: EngineOptions, storage: Storage, expected?: ExpectedDatabase, patience: Patience = PATIENT): Engine {
    try {
      return new Engine(options, storage, 'as it may be', patience, expected)
    } catch (error) {
      if (expected !== undefined || !canDoWithout(options, error)) throw error
      return Engine.openToRead(options, storage, patience)
    }
  }

  /** The same for one who could write, as if it could not: a database that nobody has open is replayed in memory. */
  static openToRead(options: EngineOptions, storage: Storage, patience: Patience): Engine {
    return new Engine(options, storage, 'reading', patience)
  }

  /** Opens a database as recovery would leave it, in this process's own memory, changing no file. */
  static inspect(options: EngineOptions, storage: Storage): Engine {
    return new Engine({ ...options, readOnly: true, createIfMissing: false }, storage, 'inspecting', PATIENT)
  }

  #lockOpen(locks: LockTable, mode: LockMode, waitMs: number): void {
    if (locks.lock(LOCK.OPEN, mode, waitMs)) return
    const message =
      `The database at ${this.options.path} is still being opened, recovered or closed by another thread or process after ` +
      `${this.options.timeoutMs} ms. Try again later, or allow more time with timeoutMs.`
    throw waitMs === 0 ? new NotNowError('others', message) : new LockedError(message)
  }

  #newControl(paths: DatabasePaths, header: Header): Region {
    const dataBytes = this.#dataRegion.sizeBytes()
    if (this.isPrivate) return guarded('Making memory', () => privateControl(this.#storage, dataBytes))
    return newControl(this.#storage, paths, this.#locks, dataBytes, sizeOfControl(header, dataBytes))
  }

  /** The file that has been opened, in memory of this process's own once something is stored in it. */
  #openPrivately(options: Pick<RegionOptions, 'reserveBytes' | 'windowBytes' | 'readAheadBytes'>): Region {
    const { path, identity } = this.#dataFile
    return guarded('Opening the data file', () => {
      const region = this.#storage.openRegion(path, { ...options, mode: 'private' })
      if (isSameFile(region.identity(), identity)) return region
      region.close()
      throw new LockedError(`${path} is being replaced; try again later.`)
    })
  }

  /** False also of a `control` that cannot be read: the reason follows when it is joined. */
  #isOfThisLife(region: Region): boolean {
    const control = new Control(region)
    return control.isForeign || (control.ready && isLive(this.#locks, control.life))
  }

  /** Takes part in the life of the database that others have open, if this `control` is theirs. */
  #join(): void {
    const control = this.#control
    if (control.isForeign) {
      throw new LockedError('The database is open in a process that runs another version of mmapdb; use the same everywhere.')
    }
    const isTheirs = control.ready && isSameFile(control.identity, this.#controlRegion.identity()) && isLive(this.#locks, control.life)
    if (!isTheirs) throw controlGone(databasePaths(this.options.path).control)
    joinLife(this.#locks, control.life)
  }

  /** What the headers say; the first opener makes an empty database of a file without any. */
  #headerOrNew(paths: DatabasePaths, first: boolean): HeaderSearch {
    const search = this.#findHeader()
    if (search.header !== undefined) return search
    this.#refuseFrames(paths.wal)
    if (this.isPrivate || !this.options.createIfMissing || !first) {
      throw new NotFoundError(
        `There is no database at ${this.options.path} yet: its creation was cut short before it held anything. Write to it to create it.`,
      )
    }
    this.#create(paths.wal)
    return this.#findHeader()
  }

  #findHeader(): HeaderSearch {
    const region = this.#dataRegion
    const size = region.sizeBytes()
    const perWindow = region.windowBytes / SLOT_BYTES
    const read = (slotNo: number): Buffer => {
      const bytes = Math.max(0, Math.min(SLOT_BYTES, size - slotNo * SLOT_BYTES))
      return Buffer.from(region.window(Math.floor(slotNo / perWindow)), (slotNo % perWindow) * SLOT_BYTES, bytes)
    }
    try {
      return findHeader(read, databasePaths(this.options.path).data)
    } catch (error) {
      if (error instanceof VersionError || !this.#isUnborn(read)) throw error
      return { header: undefined, damage: [], blank: true }
    }
  }

  /**
   * True of a database that its maker, or the power, left in the middle of writing its first headers: all
   * else was on disk before, and nothing but parts of these has ever been written to the data file.
   */
  #isUnborn(read: (slotNo: number) => Buffer): boolean {
    const slots = this.#dataRegion.sizeBytes() / SLOT_BYTES
    if (slots > INITIAL_SLOTS) return false
    const empty = emptyHeader(Buffer.alloc(16), 0, 0)
    const [first, second] = headerSlots(empty.checkpointNumber)
    for (let slotNo = 0; slotNo < slots; slotNo++) {
      const bytes = read(slotNo)
      const fits = slotNo === first || slotNo === second ? isPartOf(empty, slotNo, bytes) : bytes.every((byte) => byte === 0)
      if (!fits) return false
    }
    const { wal } = databasePaths(this.options.path)
    const names = this.#storage.info(wal).kind === 'directory' ? this.#storage.list(wal) : []
    return names.length === 1 && names[0] === segmentName(FIRST_LSN)
  }

  /**
   * Makes an empty database: the log's directory and first segment, and then the headers, which make
   * it count: so the names of all that they stand for are flushed first. A crash before the last
   * flush leaves blank or torn headers and a log without frames: the next opener begins anew.
   */
  #create(wal: string): void {
    guarded('Creating the database', () => {
      const storage = this.#storage
      const { directory, data } = databasePaths(this.options.path)
      storage.makeDirectory(wal, directory)
      const uuid = Buffer.from(storage.randomBytes(16))
      const log = new Log({ storage, directory: wal, like: data, uuid, segmentBytes: this.options.segmentBytes, readOnly: false })
      log.createSegment(FIRST_LSN, 0)
      log.close()
      storage.flushDirectory(this.options.path)
      try {
        this.#dataRegion.grow(INITIAL_SLOTS * SLOT_BYTES)
      } catch (error) {
        // What this began it takes away: a creation that was cut short takes no room.
        if (isFullDisk(error)) {
          this.#dataRegion.truncate(0)
          storage.unlink(join(wal, segmentName(FIRST_LSN)))
        }
        throw error
      }
      writeHeaders(new SlotSpace(this.#dataRegion), emptyHeader(uuid, storage.now(), encodingNumber(this.options.valueEncoding ?? DEFAULT_ENCODING)))
    })
  }

  /** Where there is no header, frames in the log say that there was one. */
  #refuseFrames(wal: string): void {
    const storage = this.#storage
    guarded('Looking at the log', () => {
      if (storage.info(wal).kind !== 'directory') return
      const { segmentBytes } = this.options
      const log = new Log({ storage, directory: wal, uuid: Buffer.alloc(16), segmentBytes, readOnly: true })
      try {
        const reader = new LogReader(log, FIRST_LSN)
        if (log.starts().every((start) => start === FIRST_LSN) && !reader.next(MAX_LSN)) return
        throw new CorruptError('The data file is empty and its log is not. Restore the database from a backup.')
      } finally {
        log.close()
      }
    })
  }

  #recover(header: Header, search: HeaderSearch): RecoveryReport {
    return guarded('Recovering the database', () => {
      const twins = headerSlots(header.checkpointNumber)
      const freeListDamage = formatControl(this.#control, this.#space, header, () => this.#allocator, () => this.#checker)
      this.#checkLogBelongs(header)
      if (this.isPrivate && freeListDamage === undefined) keepChain(this.#space, this.#checker, header)
      if (!this.isPrivate) this.#settleHeader(header)
      const report = recover({
        control: this.#control,
        space: this.#space,
        log: this.#log,
        committer: this.#committer,
        reader: this.#reader,
        header,
        readOnly: this.options.readOnly,
        headersDamaged: search.damage.filter((d) => d.why !== NO_HEADER || twins.includes(d.slotNo)).length,
        freeListDamage,
        checkpoint: this.isPrivate ? undefined : () => this.#checkpointer.run({ wait: true }),
        monotonicMs: () => this.#storage.monotonicMs(),
      })
      if (freeListDamage !== undefined && !report.needed && !this.options.readOnly) this.#checkpointAnew()
      return report
    })
  }

  /**
   * Makes sure that the header recovery goes by is on disk, in both its slots: what the checkpoint
   * before it reached is written over from here on. Whoever wrote it may have died before flushing it;
   * or its flush failed, and the kernel shows a page that it has given up and will not write again.
   * So it is written anew, to be the same, and flushed with all else that a dead writer left dirty.
   */
  #settleHeader(header: Header): void {
    const { path, identity } = this.#dataFile
    const file = this.#storage.openFile(path, 'write')
    try {
      if (!isSameFile(file.identity(), identity)) throw displaced(path)
      for (const slot of headerSlots(header.checkpointNumber)) {
        file.write(encodeHeader(header, slot), 0, SLOT_BYTES, slot * SLOT_BYTES)
      }
      flushed('Flushing the header', () => file.flush())
    } finally {
      file.close()
    }
  }

  #checkLogBelongs(header: Header): void {
    if (this.#storage.info(this.#log.directory).kind !== 'directory') {
      throw new CorruptError(`The log, ${this.#log.directory}, is missing. Restore the database from a backup.`, {
        path: this.#log.directory,
      })
    }
    for (const start of this.#log.starts()) {
      const segment = this.#log.segment(start)
      if (segment === undefined || segment.header.uuid.equals(header.uuid)) continue
      throw new CorruptError(
        `The log does not belong to the data file: ${segment.path} is of another database. ` +
          'Put the wal directory and the data file of the same database together.',
        { path: segment.path },
      )
    }
  }

  /** For an allocator that found no slot: grows the file, waiting out appenders. */
  #growFor(slots: number): void {
    try {
      underAppendLock(this.#sharedLocks(), () => growDataFile(this.#space, this.#control, slots))
    } catch (cause) {
      if (!(cause instanceof LockedError)) throw cause
      throw new LockedError(
        `The data file could not grow within ${this.options.timeoutMs} ms: another writer that holds the append lock is stopped or very slow.`,
        { cause },
      )
    }
  }

  // ---- reading ---------------------------------------------------------------------------------

  get(key: Key): unknown {
    this.#assertOpen()
    const pin = this.#pin
    if (pin === undefined) {
      const taken = takenKey(key)
      return this.#glimpse((snapshot) => snapshot.get(taken))
    }
    const length = this.#take(key)
    const state = this.#state
    pin.take(state)
    try {
      if (!this.#find(state, length)) return undefined
      return this.#foundValue(key)
    } finally {
      pin.release()
    }
  }

  getEntry(key: Key): Entry | undefined {
    this.#assertOpen()
    const pin = this.#pin
    if (pin === undefined) {
      const taken = takenKey(key)
      return this.#glimpse((snapshot) => snapshot.getEntry(taken))
    }
    const length = this.#take(key)
    const state = this.#state
    pin.take(state)
    try {
      if (!this.#find(state, length)) return undefined
      const version = this.#reader.version
      return { value: this.#foundValue(key), version }
    } finally {
      pin.release()
    }
  }

  has(key: Key): boolean {
    this.#assertOpen()
    const pin = this.#pin
    if (pin === undefined) {
      const taken = takenKey(key)
      return this.#glimpse((snapshot) => snapshot.has(taken))
    }
    const length = this.#take(key)
    const state = this.#state
    pin.take(state)
    try {
      const found = this.#find(state, length)
      if (found) this.#checker.checkFaults()
      return found
    } finally {
      pin.release()
    }
  }

  /** Encodes a key to be looked up. Reading it may have run users' code, which may have closed the database. */
  #take(key: Key): number {
    this.#assertOpen()
    const length = encodeKey(key, this.#key)
    if (typeof key === 'object') this.#assertOpen()
    return length
  }

  /** A key may seem to be absent because a page was lost. */
  #find(state: StateFields, keyLength: number): boolean {
    if (this.#reader.find(state, this.#key, keyLength)) return true
    this.#checker.checkFaults()
    return false
  }

  #foundValue(key: Key): unknown {
    const reader = this.#reader
    try {
      if (reader.overflows) {
        const bytes = reader.overflowValue()
        return this.#values.decode(bytes, 0, bytes.length)
      }
      const value = this.#values.decode(reader.buffer, reader.valueAt, reader.valueAt + reader.valueLength)
      this.#checker.checkFaults()
      return value
    } catch (error) {
      // It may be that of a page which was lost.
      this.#checker.checkFaults()
      throw ofEntry(error, key, reader.slotNo)
    }
  }

  range(range: Range | undefined, selection: Selection): RangeIterator<unknown> {
    this.#assertOpen()
    return this.rangeWithin(boundsOf(range), selection)
  }

  /** `range`, once its bounds are encoded. */
  rangeWithin(bounds: Bounds, selection: Selection): RangeIterator<unknown> {
    this.#assertOpen()
    const share = this.#hold()
    const iterator = new RangeIterator(this.#source(share), share.state, bounds, selection)
    releaseWithout(iterator, share)
    return iterator
  }

  count(range: Range | undefined): number {
    this.#assertOpen()
    return this.countWithin(boundsOf(range))
  }

  /** `count`, once its bounds are encoded. Begins anew if its pin is ended, unless that has taken `timeoutMs`. */
  countWithin(bounds: Bounds): number {
    this.#assertOpen()
    const beganMs = this.#storage.monotonicMs()
    for (;;) {
      const share = this.#hold()
      try {
        return new RangeIterator(this.#source(share), share.state, bounds, 'keys').count()
      } catch (error) {
        if (!(error instanceof ExpiredError) || this.#storage.monotonicMs() - beganMs > this.options.timeoutMs) throw error
      }
    }
  }

  snapshot(): EngineSnapshot {
    this.#assertOpen()
    const share = this.#hold()
    const snapshot = new EngineSnapshot(this.#source(share), share.state)
    releaseWithout(snapshot, share)
    return snapshot
  }

  #hold(): Share {
    return guarded('Taking a snapshot', () => this.#holds.take(this.#storage.monotonicMs()))
  }

  #source(hold: Hold & { release?(): void }): RangeSource {
    return { reader: this.#reader, values: this.#values, hold, assertOpen: this.#assertIsOpen, release: () => hold.release?.() }
  }
  readonly #assertIsOpen = (): void => this.#assertOpen()

  /**
   * Reads the newest tree without a pin, all of them being in use: again and again until no group has been
   * published in the meantime. Throws `ReadersError` if it never comes to that. An onlooker pins it by a lock then.
   */
  #glimpse<T>(read: (snapshot: EngineSnapshot) => T): T {
    if (!this.#onlooks && this.#glimpses++ % GLIMPSES_BETWEEN_TRIES === GLIMPSES_BETWEEN_TRIES - 1) this.#pin = this.#pins.tryAcquire()
    const glimpse = new Glimpse(this.#control)
    const state = newState()
    for (let i = 0; i < (this.#onlooks ? MAX_ONLOOKER_GLIMPSES : MAX_GLIMPSES); i++) {
      glimpse.begin(state)
      try {
        return read(new EngineSnapshot(this.#source(glimpse), state))
      } catch (error) {
        if (!(error instanceof MovedOn)) throw error
      }
    }
    if (this.#onlooks) return this.#readHeld(read)
    throw new ReadersError('All readers are in use, and this read is too long to do without: close snapshots and iterators that are no longer needed.')
  }
  #glimpses = 0

  /** The same with the pin of a snapshot, as often as that is ended. */
  #readHeld<T>(read: (snapshot: EngineSnapshot) => T): T {
    for (;;) {
      const share = this.#hold()
      try {
        return read(new EngineSnapshot(this.#source(share), share.state))
      } catch (error) {
        if (!(error instanceof ExpiredError)) throw error
      } finally {
        share.release()
      }
    }
  }

  // ---- writing ---------------------------------------------------------------------------------

  put(key: Key, value: unknown): void {
    this.write((frame) => this.addPut(frame, key, value))
  }

  del(key: Key): void {
    this.write((frame) => this.addDel(frame, key))
  }

  batch(operations: Iterable<BatchOperation>): void {
    this.write((frame) => this.addBatch(frame, operations))
  }

  /** Commits what `add` puts into a frame, if it does. `add` may run users' code. */
  write(add: (frame: FrameBuilder) => void): void {
    this.#assertWritable()
    const frame = this.#frames.pop() ?? new FrameBuilder()
    try {
      add(frame)
      if (frame.opCount > 0) this.commit(frame.frame())
    } finally {
      frame.reset()
      this.#frames.push(frame)
    }
  }

  // The frames given to these are the caller's own until they return: reading arguments may run users' code,
  // which may call the database. Nothing of the engine's is half done then.

  /** Adds a put to a frame that will be committed later. Throws `InvalidError` and adds nothing. */
  addPut(frame: FrameBuilder, key: Key, value: unknown): void {
    this.#assertWritable()
    const taken = takenKey(key)
    const bytes = this.#values.encode(value)
    if (bytes.length > MAX_VALUE_BYTES) {
      throw new InvalidError(`A value may be at most ${MAX_VALUE_BYTES} bytes long when encoded; this one has ${bytes.length}.`)
    }
    frame.put(this.#key, writeKey(taken, this.#key), bytes)
  }

  addDel(frame: FrameBuilder, key: Key): void {
    this.#assertWritable()
    frame.del(this.#key, encodeKey(key, this.#key))
  }

  /** Adds a whole batch. If it throws, the frame is not to be used. */
  addBatch(frame: FrameBuilder, operations: Iterable<BatchOperation>): void {
    this.#assertWritable()
    forEachTaken(operations, (type, key, value) => {
      if (type === 'put') this.addPut(frame, key, value)
      else this.addDel(frame, key)
    })
  }

  /** The encoded values of keys that are encoded already, all as of one moment. */
  getEncoded({ bytes, lengths }: Encoded): Encoded {
    this.#assertOpen()
    let at = 0
    const keys = Array.from(lengths, (length) => bytes.subarray(at, (at += length)))
    const pin = this.#pin
    if (pin === undefined) {
      const values = this.#glimpse((snapshot) => keys.map((key) => snapshot.getEncoded(key)))
      return { bytes: concatenated(values.filter((value) => value !== undefined)), lengths: Int32Array.from(values, (value) => value?.length ?? -1) }
    }
    const parts: Uint8Array[] = []
    const found = new Int32Array(lengths.length)
    const state = this.#state
    pin.take(state)
    try {
      if (this.#space.readAhead.isUseful) this.#reader.askFor(state, keys)
      for (const [i, key] of keys.entries()) {
        if (!this.#reader.find(state, key, key.length)) {
          found[i] = -1
          continue
        }
        const { buffer, valueAt, valueLength, overflows } = this.#reader
        // Copied here and now: behind the pin it may change.
        const value = overflows ? this.#reader.overflowValue() : Uint8Array.prototype.slice.call(buffer, valueAt, valueAt + valueLength)
        parts.push(value)
        found[i] = value.length
      }
      this.#checker.checkFaults()
    } finally {
      pin.release()
    }
    return { bytes: concatenated(parts), lengths: found }
  }

  /** What the encoded value of an encoded key stands for. */
  decodeValue(bytes: Buffer, key: Buffer): unknown {
    try {
      return this.#values.decode(bytes, 0, bytes.length)
    } catch (error) {
      throw ofEntry(error, decodeKey(key, 0, key.length))
    }
  }

  /**
   * Commits a frame: returns once it is on disk and visible. Throws `OutcomeUnknownError` if it is in the log
   * and may take effect; any other error means that nothing was written.
   */
  commit(frame: Buffer): void {
    this.prepareCommit(frame)
    const end = this.beginCommit(frame)
    this.finishCommit((end - frameStride(frame.length)) as Lsn, end)
  }

  /**
   * Begins to read what a frame will change: the one thread that will apply it, with all others waiting,
   * should find it in memory.
   */
  prepareCommit(frame: Buffer): void {
    const pin = this.#pin
    if (pin === undefined || !this.#space.readAhead.isUseful) return
    this.#assertOpen()
    const state = this.#state
    pin.take(state)
    try {
      const keys: Buffer[] = []
      forEachOperation(frame, 0, frame.length, (bytes, _kind, keyAt, keyLength) => keys.push(bytes.subarray(keyAt, keyAt + keyLength)))
      this.#reader.askFor(state, keys)
    } catch (error) {
      // Whoever applies it finds the same, and knows what to do about it.
      if (!(error instanceof CorruptError || error instanceof IoError)) throw error
    } finally {
      pin.release()
    }
  }

  /** Gives a frame its place in the log, and returns the LSN after it; it counts once `finishCommit` has returned. */
  beginCommit(frame: Buffer): Lsn {
    this.#assertWritable()
    guarded('Making a checkpoint that is due', () => this.#limitLog())
    return this.#appendMakingRoom(frame)
  }

  #appendMakingRoom(frame: Buffer): Lsn {
    return appendMakingRoom({ committer: this.#committer, checkpointer: this.#checkpointer, log: this.#log }, frame)
  }

  /** Returns once the frame in [lsn, end) is on disk and visible. */
  finishCommit(lsn: Lsn, end: Lsn): void {
    this.#committer.wait(lsn, end)
    this.#lastCommit = end
    const behind = end - this.#lastCheckpointBegun()
    if (behind > this.options.checkpointBytes && !this.#control.checkpointWanted) this.#control.checkpointWanted = true
  }

  /** `beginCommit` for a frame of several writes, of which some may be refused: see append-writes.ts. */
  beginWrites(frame: Buffer, sizes: readonly number[] | undefined): Appended {
    this.#assertWritable()
    guarded('Making a checkpoint that is due', () => this.#limitLog())
    return appendWrites(frame, sizes, (part) => this.#appendMakingRoom(part))
  }

  /** Returns, once all that was appended is on disk and visible, which writes failed, and why. */
  finishWrites({ parts, refused }: Appended): FailedWrites[] {
    const last = parts.at(-1)
    if (last === undefined) return refused
    try {
      this.finishCommit(last.lsn, last.end)
      return refused
    } catch (error) {
      if (!(error instanceof OutcomeUnknownError)) throw error
      const visible = this.#control.visible()
      const unknown = parts.filter(({ end }) => end > visible).map(({ first, count, lsn }) => ({ first, count, error: error.at(lsn) }))
      return [...refused, ...unknown]
    }
  }

  /** LSN behind the last frame that this thread committed; 0 if it has not. */
  get lastCommit(): number {
    return this.#lastCommit
  }
  #lastCommit = 0

  #lastCheckpointBegun(): number {
    return this.#control.readState(this.#state)[STATE.CHECKPOINT_BEGUN]!
  }

  /** Writers wait for a checkpoint, or make it, when twice as much log as allowed is not in the tree on disk. */
  #limitLog(): void {
    const isTooLong = (): boolean => {
      const durable = this.#control.readState(this.#state)[STATE.CHECKPOINT_DURABLE]!
      return this.#control.append.read(this.#append).tail - durable >= 2 * this.options.checkpointBytes
    }
    if (isTooLong()) this.#checkpointer.run({ wait: true, onlyIf: isTooLong })
  }
  readonly #append = newAppendFields()

  /** True if enough has been written since the last checkpoint that one should be made soon. */
  get checkpointWanted(): boolean {
    return this.#control.checkpointWanted
  }

  /** Brings the tree to disk. Undefined if there was nothing new or somebody else is at it (`wait` false). */
  checkpoint(wait: boolean): CheckpointReport | undefined {
    this.#assertWritable()
    return guarded('Making a checkpoint', () => this.#checkpointer.run({ wait }))
  }

  // ---- the rest --------------------------------------------------------------------------------

  stats(): Stats {
    this.#assertOpen()
    const state = this.#control.readState(newState())
    const tail = this.#control.append.read(newAppendFields()).tail
    return guarded('Looking at the files', () => this.#statsOf(state, tail))
  }

  #statsOf(state: StateFields, tail: number): Stats {
    const visible = state[STATE.VISIBLE]!
    const oldest = this.#pins.older(visible, false)[0] ?? visible
    const total = Math.floor(this.#dataRegion.sizeBytes() / SLOT_BYTES)
    const starts = this.#log.starts()
    const nowMs = this.#storage.monotonicMs()
    return {
      path: this.options.path,
      uuid: formatUuid(this.#log.uuid),
      formatVersion: FORMAT_VERSION,
      valueEncoding: this.valueEncoding,
      entries: state[STATE.ENTRIES]!,
      height: state[STATE.HEIGHT]!,
      slots: {
        leaf: state[STATE.LEAVES]!,
        branch: state[STATE.BRANCHES]!,
        overflow: state[STATE.OVERFLOWS]!,
        freeList: state[STATE.CHAIN_SLOTS]!,
        header: HEADER_SLOTS,
        free: state[STATE.NEXT_SLOT]! - usedSlots(state),
        unused: total - state[STATE.NEXT_SLOT]!,
        total,
      },
      dataBytes: total * SLOT_BYTES,
      log: {
        visibleLsn: visible,
        durableLsn: this.#control.durable,
        tailLsn: tail,
        replayBytes: tail - state[STATE.CHECKPOINT_DURABLE]!,
        segments: starts.length,
        bytes: starts.reduce((sum, start) => sum + this.#log.sizeBytes(start), 0),
      },
      checkpoint: {
        number: state[STATE.CHECKPOINT_NUMBER]!,
        lsn: state[STATE.CHECKPOINT_DURABLE]!,
        made: state[STATE.CHECKPOINTS]!,
      },
      commits: {
        flushes: state[STATE.FLUSHES]!,
        groups: state[STATE.GROUPS]!,
        frames: state[STATE.FRAMES]!,
        operations: state[STATE.OPERATIONS]!,
      },
      readers: {
        pinned: this.#pins.inUse(),
        oldestLsn: oldest,
        lagBytes: visible - oldest,
        oldestMs: Math.max(0, nowMs - (this.#pins.oldestSinceMs() ?? nowMs)),
        heldBytes: state[STATE.HELD_BACK]! * SLOT_BYTES,
      },
      failure: this.#control.failure()?.message,
    }
  }

  /** The parts that tools which look inside need: verification, the slot map, the list of frames. */
  inside(): EngineParts {
    this.#assertOpen()
    return {
      space: this.#space,
      control: this.#control,
      checker: this.#checker,
      log: this.#log,
      allocator: this.#allocator,
      pins: this.#pins,
      lockPins: this.#onlooks ? this.#lockPins : undefined,
      sharedLocks: this.#sharedLocks(),
    }
  }

  #sharedLocks(): SharedLockParts {
    return { control: this.#control, locks: this.#locks, storage: this.#storage, timeoutMs: this.options.timeoutMs }
  }

  /** What tells this database from any other, for other threads of this process that are to open the same. */
  get identity(): Required<ExpectedDatabase> {
    return { directory: this.#home.identity, data: this.#dataFile.identity }
  }

  /** How values are encoded: as whoever created the database said. */
  get valueEncoding(): ValueEncoding {
    return this.#values.name
  }

  get isClosed(): boolean {
    return this.#closed
  }

  #assertOpen(): void {
    if (this.#closed) throw new ClosedError('The database is closed.')
  }

  #assertWritable(): void {
    this.#assertOpen()
    if (this.options.readOnly) throw new ReadOnlyError('The database was opened with { readOnly: true } and cannot be written.')
  }

  /**
   * Lets go of the database. The last to do so, of all threads and processes, makes a checkpoint
   * and cuts the data file back to what is used, so that the next opener has nothing to do.
   */
  close(): void {
    this.#close(true)
  }

  /** Lets go of the database and leaves what the last closer does to whichever thread or process closes it last. */
  detach(): void {
    this.#close(false)
  }

  /**
   * Closes if that takes next to no time: others have the database open, or nothing was written since the last
   * checkpoint. False, with nothing done, if there is more to do, or another thread or process opens or closes it now.
   */
  closeIfQuick(): boolean {
    if (!this.#closed && !this.isPrivate && !this.options.readOnly) {
      if (!this.#locks.tryLock(LOCK.OPEN, 'exclusive')) return false
      if (!this.#locks.isHeldByOther(LOCK.ATTACHED, 'exclusive') && this.#hasMuchToFinish()) {
        this.#locks.unlock(LOCK.OPEN)
        return false
      }
    }
    this.close()
    return true
  }

  #hasMuchToFinish(): boolean {
    const state = this.#control.readState(newState())
    const { tail } = this.#control.append.read(this.#append)
    return state[STATE.CHECKPOINT_DURABLE] !== tail || worthTrimming(state)
  }

  #close(finish: boolean): void {
    if (this.#closed) return
    this.#pins.close()
    this.#closed = true
    try {
      if (finish && !this.isPrivate && !this.options.readOnly) guarded('Closing the database', () => this.#finishIfLast())
    } finally {
      this.#log.close()
      this.#controlRegion.close()
      this.#dataRegion.close()
      this.#dataFile.close()
      this.#home.close()
    }
  }

  #finishIfLast(): void {
    // One closer after the other, so that the last of several at once knows that it is the last.
    if (!this.#locks.lock(LOCK.OPEN, 'exclusive', this.options.timeoutMs)) return
    if (!this.#locks.tryLock(LOCK.ATTACHED, 'exclusive')) return
    const failure = this.#control.failure()
    // Others may be at work on what has taken the files' place; and a page that was lost says nothing true.
    if (!this.#control.ready || !this.#checker.isWhole || !this.#committer.isFit || !this.#isDataInPlace()) return
    if (failure !== undefined || !isSegmentInPlace(this.#log, this.#control.append.read(this.#append))) {
      if (failure === undefined || failure.code === 'ERR_MMAPDB_CORRUPT') this.#save()
      return
    }
    try {
      this.#committer.catchUp(this.#control.append.read(this.#append).tail as Lsn)
      // Readers in their own memory may be at what would be cut off or moved (lock-pins.ts). No other comes to it now.
      const isHeld = anyLockPin(this.#locks)
      let report = this.#checkpointer.run({ wait: true, cutTail: !isHeld })
      const state = this.#control.readState(newState())
      this.#checker.assertWhole()
      // The first pass leaves its free list where the last free slots are, and that is far behind.
      for (let pass = 0; !isHeld && pass < TRIM_PASSES && worthTrimming(state, report?.nextSlot); pass++) report = this.#trim() ?? report
      this.#log.restartAt(this.#control.append.read(this.#append).tail as Lsn)
      crashPoint('before-truncate')
      this.#checker.assertWhole()
      if (!isHeld) cutDataFile(this.#space, (report?.nextSlot ?? state[STATE.NEXT_SLOT]!) + slotsForDeletesWhenClosed(state))
      // Nobody trusts it any more: the next opener makes it anew.
      if (!this.#control.isInMemory) this.#controlRegion.truncate(0)
    } catch (error) {
      // Nothing is lost without it: the next opener replays the log.
      if (!(typedError(error, '') instanceof FullError)) throw error
    }
  }

  #isDataInPlace(): boolean {
    const parts = { control: this.#control, log: this.#log, space: this.#space, dataFile: this.#dataFile }
    try {
      assertDataInPlace(parts, this.#control.readState(newState())[STATE.CHECKPOINT_NUMBER]!)
      return true
    } catch (error) {
      if (error instanceof DisplacedError) return false
      throw error
    }
  }

  /**
   * Writes were refused because the log is damaged or gone. The tree has all that was acknowledged: a
   * checkpoint saves it, and if the segment that the next opener would look for is gone, an empty one
   * takes its place. A crash before it is there leaves the damage that there was.
   */
  #save(): void {
    this.#replaceLogDirectory()
    this.#checkpointer.run({ wait: true, inSpiteOfFailure: true })
    if (isSegmentInPlace(this.#log, this.#control.append.read(this.#append))) return
    this.#log.close()
    this.#log.createSegment(this.#control.visible() as Lsn, 0)
  }

  /** Makes a directory for the log if that has been removed, too. */
  #replaceLogDirectory(): void {
    const { directory, wal } = databasePaths(this.options.path)
    if (this.#storage.info(wal).kind !== 'missing') return
    this.#storage.makeDirectory(wal, directory)
    this.#storage.flushDirectory(directory)
  }

  /** A checkpoint where nothing has been written since the last one: an empty frame gives it an LSN of its own. */
  #checkpointAnew(): void {
    this.#committer.catchUp(this.#appendMakingRoom(new FrameBuilder().frame()))
    this.#checkpointer.run({ wait: true })
  }

  /** Moves the tree to the front of the file. An empty frame gives the change an LSN of its own. */
  #trim(): CheckpointReport | undefined {
    this.#committer.catchUp(this.#appendMakingRoom(new FrameBuilder().frame()))
    const state = this.#control.readState(newState())
    const lsn = state[STATE.VISIBLE]!
    this.#allocator.begin(state, lsn)
    this.#allocator.replaceWaiting(this.#allocator.waiting())
    new Trimmer(this.#space, this.#checker, this.#allocator, state, lsn).run()
    this.#allocator.finish()
    this.#control.publishState(state)
    return this.#checkpointer.run({ wait: true, cutTail: true })
  }
}

const formatUuid = (uuid: Buffer): string =>
  uuid.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
