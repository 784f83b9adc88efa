// Restoring a backup: a new database with what the backup holds, or with what its source held at a later moment, by
// the log of the source. The backup and the source are only read; the source may be in use, damaged or gone, but for
// its log.
//
// The new database is made beside its place (unfinished.ts says what a crash leaves):
//   1. the slots of the backup are copied
//   2. the frames that are wanted are copied into a log of its own (log-copy.ts)
//   3. the headers are written, with a UUID of its own: it is a database now, as a crash would leave one
//   4. it is opened, which replays the log, and closed
//   5. it is verified, and renamed
//
// It has another UUID than the backup and the source: from its moment on it goes its own way. No segment of theirs is
// taken for one of its own.
import { CorruptError, InvalidError } from '../errors.js'
import { guarded } from '../storage/errors.js'
import type { Storage } from '../storage/storage.js'
import { newState, STATE } from '../engine/shared/control.js'
import { LogReader } from '../wal/log-reader.js'
import { Log } from '../wal/log.js'
import { NO_LIMIT, type Lsn } from '../wal/lsn.js'
import { Engine } from '../engine/engine.js'
import type { Header } from '../engine/format/header.js'
import { HEADER_SLOTS, SLOT_BYTES } from '../engine/format/layout.js'
import { databasePaths, type DatabasePaths } from '../engine/lifecycle/paths.js'
import { resolveOptions, type OpenOptions } from '../engine/options.js'
import { readRecord, type BackupRecord } from './backup-record.js'
import { headerIn } from './file-tree.js'
import { checkLineage, logToRead } from './lineage.js'
import { copyFile, copyLog, type LogLimit } from './log-copy.js'
import type { RestoreReport } from './reports.js'
import { SlotFile } from './slot-file.js'
import { guardedSteps, type Steps } from './steps.js'
import { checkTarget, makeEmptyLog, Unfinished } from './unfinished.js'
import { verifySteps } from './verify.js'

/** What is to be restored; all paths are absolute. */
export interface RestoreRequest {
  readonly backup: string
  readonly target: string
  /** Up to where the log of `source` is replayed; undefined for the moment of the backup. */
  readonly until: LogLimit | undefined
  /** The database that the backup was made of, for its log. */
  readonly source: string
  /** How the new database is opened while it is made. */
  readonly options: OpenOptions
}

/**
 * Restores. Throws `ExistsError`, `NotADatabaseError` (not a backup), `InvalidError` (the backup was written to, or
 * is of another database than the log; a moment before it, or one that the log does not reach), `LsnGoneError` (what
 * is needed of the log is gone), `CorruptError`, `FullError`, ... Nothing is left then.
 * @internal
 */
export const restore = (storage: Storage, request: RestoreRequest): Steps<RestoreReport> =>
  guardedSteps('Restoring', restoreFrom(storage, request))

function* restoreFrom(storage: Storage, request: RestoreRequest): Steps<RestoreReport> {
  const { backup, target, until, source, options } = request
  const startedMs = storage.monotonicMs()
  checkTarget(storage, target, [backup, source])
  const paths = databasePaths(backup)
  const record = readRecord(storage, backup)
  const header = guarded('Reading the backup', () => headerIn(storage, paths))
  assertUntouched(storage, paths, header, record)
  checkMoment(record, until, backup)
  const unfinished = Unfinished.claim(storage, target, paths)
  let isDone = false
  try {
    const own: Header = { ...header, uuid: Buffer.from(storage.randomBytes(16)) }
    yield* copySlots(storage, paths.data, unfinished, own)
    const lsn = until === undefined ? record.lsn : yield* copyFrames(storage, request, until, record, unfinished, own)
    if (lsn === record.lsn) makeEmptyLog(storage, unfinished.paths, own)
    new SlotFile(unfinished.file).writeHeader(own)
    yield { phase: 'replaying', done: 0, total: 1 }
    const framesReplayed = lsn === record.lsn ? 0 : replay(storage, unfinished.paths.directory, options)
    const entries = yield* checked(storage, unfinished.paths.directory, options)
    unfinished.publish()
    isDone = true
    const durationMs = storage.monotonicMs() - startedMs
    return { path: target, lsn, backupLsn: record.lsn, entries, framesReplayed, durationMs }
  } finally {
    if (!isDone) unfinished.discard()
  }
}

/** Throws if anything was written to the backup since it was made: backup-record.ts says why that matters. */
function assertUntouched(
  storage: Storage,
  { wal, directory }: DatabasePaths,
  header: Header,
  record: BackupRecord,
): void {
  const isOwn = header.uuid.toString('hex') === record.uuid
  if (isOwn && header.lsn === record.lsn && !hasFrames(storage, wal, header)) return
  throw new InvalidError(
    isOwn
      ? `${directory} was written to since it was made, so it is a database like any other, and no longer a backup. ` +
          'To copy it, make a backup of it.'
      : `${directory} is not the backup that its file "backup" describes. Put the files of one backup together.`,
  )
}

function hasFrames(storage: Storage, wal: string, { uuid, lsn }: Header): boolean {
  if (storage.info(wal).kind !== 'directory') return false
  const log = logToRead(storage, wal, uuid)
  try {
    return guarded('Reading the log of the backup', () => new LogReader(log, lsn).next(NO_LIMIT))
  } finally {
    log.close()
  }
}

/** Throws if the moment that is wanted lies before that of the backup. */
function checkMoment(record: BackupRecord, until: LogLimit | undefined, backup: string): void {
  const { lsn, timeMs } = until ?? {}
  if (lsn !== undefined && lsn < record.lsn) {
    throw new InvalidError(
      `LSN ${lsn} is earlier than ${backup}, whose LSN is ${record.lsn}. Use an earlier backup, or a later LSN.`,
    )
  }
  if (timeMs === undefined || timeMs >= record.timeMs) return
  throw new InvalidError(
    `${new Date(timeMs).toISOString()} is earlier than what ${backup} holds, which was written up to ` +
      `${new Date(record.timeMs).toISOString()}. Use an earlier backup, or a later time.`,
  )
}

function* copySlots(storage: Storage, data: string, { file }: Unfinished, { nextSlot }: Header): Steps<void> {
  const from = guarded('Reading the backup', () => storage.openFile(data, 'read'))
  try {
    new SlotFile(file)
    yield* copyFile(from, file, HEADER_SLOTS * SLOT_BYTES, nextSlot * SLOT_BYTES)
  } finally {
    from.close()
  }
}

/** Copies frames into the log of the new database; returns the LSN after the last one. */
function* copyFrames(
  storage: Storage,
  { backup, source }: RestoreRequest,
  until: LogLimit,
  record: BackupRecord,
  { paths }: Unfinished,
  { uuid, lsn }: Header,
): Steps<Lsn> {
  if (until.lsn === lsn) return lsn
  const from = sourceLog(storage, source, record, backup)
  try {
    guarded('Making the log', () => storage.makeDirectory(paths.wal, paths.directory))
    const to = new Log({
      storage,
      directory: paths.wal,
      like: paths.data,
      uuid,
      segmentBytes: SEGMENT_BYTES,
      readOnly: false,
    })
    return yield* copyLog(from, to, lsn, until)
  } finally {
    from.close()
  }
}

const SEGMENT_BYTES = 64 * 1024 * 1024

/** The log of the database that the backup was made of. */
function sourceLog(storage: Storage, source: string, record: BackupRecord, backup: string): Log {
  const { wal } = databasePaths(source)
  if (storage.info(wal).kind !== 'directory') {
    throw new InvalidError(
      `There is no log at ${wal}. Give the database that ${backup} was made of, whose log is to be replayed.`,
    )
  }
  const log = logToRead(storage, wal, Buffer.from(record.sourceUuid, 'hex'))
  try {
    guarded('Reading the log', () => {
      if (log.starts().length > 0 && log.starts().every((start) => log.segment(start) === undefined)) {
        throw new InvalidError(
          `The log in ${wal} is not that of the database that ${backup} was made of. Give the path of that database.`,
        )
      }
      checkLineage(log, record, backup)
    })
    return log
  } catch (error) {
    log.close()
    throw error
  }
}

/** Opens and closes the database; returns how many frames were replayed. */
function replay(storage: Storage, path: string, options: OpenOptions): number {
  const engine = Engine.open(resolveOptions(path, { ...options, workers: 0, createIfMissing: false }), storage)
  try {
    return engine.recovery!.framesReplayed
  } finally {
    engine.close()
  }
}

/** Verifies the database as it lies on disk; returns how many entries it has. */
function* checked(storage: Storage, path: string, options: OpenOptions): Steps<number> {
  const engine = Engine.inspect(resolveOptions(path, { ...options, workers: 0 }), storage)
  try {
    const total = engine.parts.control.readState(newState())[STATE.ENTRIES]!
    for (const steps = verifySteps(engine); ;) {
      const step = steps.next()
      // The last of these is the last moment at which the restore can be ended.
      yield { phase: 'verifying', done: step.done ? total : step.value, total }
      if (!step.done) continue
      const { ok, damage, entries } = step.value
      if (ok) return entries
      const [first] = damage
      throw new CorruptError(
        `What was restored is damaged in slot ${first!.slotNo}: ${first!.why}. Use another backup.`,
      )
    }
  } finally {
    engine.close()
  }
}
