// Opening a database on one thread, step by step: its directory and data file, with the opener's turn; `control`,
// which the first opener makes and later openers join; the header, or an empty database; the parts; recovery, by the
// first opener. Then other openers may come. What a step has done is taken back if a later step fails.
import { KeySpace } from '../../encoding/key-space.js'
import { databaseHasBeenClosed, ExistsError, NotFoundError } from '../../errors.js'
import { storedEncoding, valueCodec } from '../../encoding/values/codec.js'
import { guarded, typedError } from '../../storage/errors.js'
import type { LockTable, Region, Storage } from '../../storage/storage.js'
import { Log } from '../../wal/log.js'
import { Checkpointer } from '../checkpoint/checkpointer.js'
import { Applier } from '../commit/apply.js'
import { tryCatchUp } from '../commit/catch-up.js'
import { Decider } from '../commit/decide.js'
import { RangeChecker } from '../commit/range-checker.js'
import { Committer } from '../commit/committer.js'
import { LogFlusher } from '../commit/log-flusher.js'
import { SlotSpace } from '../format/slot-space.js'
import { RecordLocks } from '../locks/record-locks.js'
import type { ResolvedOptions } from '../options.js'
import type { EngineParts } from '../parts.js'
import { DatabaseClock } from '../shared/clock.js'
import { Control } from '../shared/control.js'
import { DisplacedError } from '../shared/data-file.js'
import { RESTORED } from '../shared/files-in-place.js'
import { drawLife, joinLife } from '../shared/life.js'
import { LOCK } from '../shared/lock-bytes.js'
import { LockPins, LockPinSource } from '../shared/lock-pins.js'
import { OpenState } from '../shared/open-state.js'
import { Pins, type Pin } from '../shared/pins.js'
import { Seats } from '../shared/seats.js'
import { SharedPins } from '../shared/shared-pins.js'
import { WordLock } from '../shared/word-lock.js'
import { Allocator } from '../space/allocator.js'
import { growUnderLock } from '../space/growth.js'
import { SlotChecker } from '../space/slot-checker.js'
import { TreeReader } from '../tree/reader.js'
import { TreeWriter } from '../tree/writer.js'
import { beginControl, isFirstOpener, joinOthers } from './attach.js'
import { Cleanup } from './cleanup.js'
import { wasCopiedWhileOpen } from './copied.js'
import { createDatabase, refuseFrames } from './create.js'
import { findHeaderIn, type HeaderSearch } from './find-header.js'
import { NotNowError } from './not-now.js'
import { refuseHardLinks } from './open-data-file.js'
import { openFiles, type OpenedFiles, type OpenRequest } from './open-files.js'
import { isLogShort } from './paths.js'
import { recoverDatabase } from './recover-database.js'
import type { RecoveryReport } from './recovery.js'
import { settleNames } from './settle-names.js'

interface Opened {
  readonly parts: EngineParts
  /** What recovery did, if this was the first opener. */
  readonly recovery: RecoveryReport | undefined
  /** For point reads; undefined if no pin is free, and for onlookers, which can have none. */
  readonly pin: Pin | undefined
}

interface Attached {
  readonly isFirst: boolean
  readonly isCopy: boolean
  readonly controlRegion: Region
  readonly search: HeaderSearch
}

/** Opens a database. Throws a typed error; then nothing on disk has been changed. */
export function openParts(world: Storage, request: OpenRequest): Opened {
  const cleanup = new Cleanup()
  try {
    const files = openFiles(world, request, cleanup)
    const attached = attach(world, files, request, cleanup)
    const { isFirst, search } = attached
    const header = search.header!
    const parts = assemble(files, attached, request.options, cleanup)
    // From here on later openers leave alone what this header reaches (lock-pins.ts).
    if (files.isPrivate) parts.lockPins.pin(header.lsn, 'firm')
    const recovery = isFirst ? recoverDatabase(parts, search, attached.isCopy) : undefined
    if (isFirst && !files.isPrivate) beginLife(parts)
    files.locks.unlock(LOCK.OPEN)
    return { parts, recovery, pin: files.isOnlooker ? undefined : parts.pins.tryAcquire() }
  } catch (error) {
    cleanup.run()
    throw typedError(error, 'Opening the database')
  }
}

/**
 * Joins the `control` of the threads that have the database open, or makes one as the first opener; finds the
 * header.
 */
function attach(world: Storage, files: OpenedFiles, request: OpenRequest, cleanup: Cleanup): Attached {
  const { options } = request
  refuseExisting(files, request)
  const others = isFirstOpener(files) ? undefined : joinOthers(files, cleanup)
  if (others === undefined) {
    assertMayBegin(files, request)
    const found = findHeaderIn(files.region, files.storage, files.paths)
    assertQuick(files, request, found)
    if (!files.isPrivate) settleNames(world, files.storage, files.paths, found.header !== undefined)
    const isCopy = guarded('Opening the control file', () => wasCopiedWhileOpen(files.storage, files.paths))
    const search = found.header === undefined ? newHeader(files, options, true) : found
    const controlRegion = beginControl(files, search.header!)
    cleanup.defer(() => controlRegion.close())
    return { isFirst: true, isCopy, controlRegion, search }
  }
  const control = new Control(others)
  const found = findHeaderIn(files.region, files.storage, files.paths)
  const search = found.header === undefined ? newHeader(files, options, false) : found
  if (!search.header!.uuid.equals(control.uuid)) throw new DisplacedError(files.paths.data, 'written over', RESTORED)
  return { isFirst: false, isCopy: false, controlRegion: others, search }
}

/**
 * Throws if there is a database where a new one was to be created. This opener has its turn: of several at once, one
 * finds none and creates it, and the others find that. A thread of the creator is given what to expect, and joins it.
 */
function refuseExisting({ storage, paths, region }: OpenedFiles, { options, expected }: OpenRequest): void {
  if (!options.errorIfExists || expected?.data !== undefined) return
  if (findHeaderIn(region, storage, paths).header === undefined) return
  throw new ExistsError(
    `There is a database at ${options.path} already. Leave errorIfExists out to open it, or give another path.`,
  )
}

/** Throws if this database may not be opened, or is not the one that was expected. */
function assertMayBegin({ storage, paths, isPrivate }: OpenedFiles, { options, expected }: OpenRequest): void {
  if (expected?.data !== undefined) throw databaseHasBeenClosed(options.path)
  if (!isPrivate) refuseHardLinks(storage, paths.data)
}

/** Throws `NotNowError` if the database may have to be recovered, and this opener is not to do that. */
function assertQuick(
  { storage, paths, isPrivate }: OpenedFiles,
  { options, patience }: OpenRequest,
  { header }: HeaderSearch,
): void {
  if (isPrivate || patience.forRecovery || storage.info(paths.data).sizeBytes === 0) return
  if (header === undefined || !isLogShort(storage, paths, header.lsn)) {
    throw new NotNowError('recovery', `The database at ${options.path} may have to be recovered.`)
  }
}

/** There is no header: the first opener creates an empty database. */
function newHeader(
  { storage, paths, region, isPrivate }: OpenedFiles,
  options: ResolvedOptions,
  isFirst: boolean,
): HeaderSearch {
  refuseFrames(storage, paths, options.segmentBytes)
  if (isPrivate || !options.createIfMissing || !isFirst) {
    throw new NotFoundError(
      `There is no database at ${options.path} yet: its creation was cut short before it held anything. Open it for writing to create it.`,
    )
  }
  createDatabase(storage, paths, region, options)
  return findHeaderIn(region, storage, paths)
}

/** Makes all that works on the files; each part is given the parts that it needs. */
function assemble(files: OpenedFiles, attached: Attached, options: ResolvedOptions, cleanup: Cleanup): EngineParts {
  const { storage, paths, locks, dataFile, region, isPrivate, isOnlooker } = files
  const { uuid, encodingNo, createdMs } = attached.search.header!
  const { segmentBytes, timeoutMs } = options
  const main = new KeySpace(valueCodec(storedEncoding(encodingNo, options)))
  const control = new Control(attached.controlRegion)
  const space = new SlotSpace(region)
  const checker = new SlotChecker(space, control, !isOnlooker)
  const log = new Log({
    storage,
    directory: paths.wal,
    like: paths.data,
    uuid,
    segmentBytes,
    readOnly: files.onlyReads,
  })
  cleanup.defer(() => log.close())
  const pins = new Pins(control, isPrivate ? undefined : locks)
  const lockPins = new LockPins(locks)
  const sharedPins = new SharedPins(control, isOnlooker ? new LockPinSource(control, lockPins) : pins)
  const reader = new TreeReader(space, control, checker)
  const shared = { storage, control, locks, timeoutMs, ...writerLocks(control, isPrivate ? undefined : locks) }
  const allocator = new Allocator(
    control,
    space,
    pins,
    (slots) => growUnderLock(shared, space, slots),
    options.maxHeldBytes,
  )
  const writer = new TreeWriter(space, allocator, checker)
  const ranges = new RangeChecker(writer, reader)
  const applier = new Applier(allocator, writer, new Decider(writer, ranges), reader)
  const clock = new DatabaseClock({ control, storage, mayWrite: !isOnlooker })
  const flusher = new LogFlusher({ ...shared, log })
  const common = { ...shared, log, flusher, space, allocator, checker, dataFile, clock }
  const committer = new Committer({ ...common, applier })
  return {
    ...common,
    options,
    openState: new OpenState(options.readOnly),
    home: files.home,
    dataRegion: region,
    controlRegion: attached.controlRegion,
    pins,
    lockPins,
    sharedPins,
    recordLocks: new RecordLocks({
      storage,
      control,
      locks,
      seats: shared.seats,
      lockFile: paths.locks,
      like: paths.data,
      isPrivate,
      isOnlooker,
      tryCatchUp: (end) => tryCatchUp({ ...shared, committer }, end),
      catchUp: (end) => committer.catchUp(end),
    }),
    reader,
    main,
    applier,
    committer,
    checkpointer: new Checkpointer({ ...common, pins, createdMs, encodingNo, options }),
    isPrivate,
    isOnlooker,
  }
}

function writerLocks(control: Control, locks: LockTable | undefined) {
  const seats = new Seats(control, locks)
  return {
    seats,
    leaderLock: new WordLock(control, seats, Control.LEADER_LOCK),
    appendLock: new WordLock(control, seats, Control.APPEND_LOCK),
    flushLock: new WordLock(control, seats, Control.FLUSH_LOCK),
  }
}

/** Lets other openers in: the database is recovered, and `control` now says so. */
function beginLife({ storage, control, controlRegion, locks }: EngineParts): void {
  control.identity = controlRegion.identity()
  control.life = drawLife(storage)
  joinLife(locks, control.life)
  control.setOpened()
  locks.tryLock(LOCK.ATTACHED, 'shared')
}
