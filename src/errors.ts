// Every error that mmapdb throws on purpose. `code` is a contract. Messages say what happened, where, and what to do
// about it.
//
// One table lists them: classes, codes and exit codes follow from it. Add new ones at its end, since `control` holds
// positions in the table. What each means is said at its class.
import { isInstance, reason } from './describe.js'

type Row = readonly [className: string, exitCode: 2 | 3 | 4]

const TABLE = {
  ERR_MMAPDB_INVALID: ['InvalidError', 2],
  ERR_MMAPDB_NOT_FOUND: ['NotFoundError', 2],
  ERR_MMAPDB_NOT_A_DATABASE: ['NotADatabaseError', 2],
  ERR_MMAPDB_VERSION: ['VersionError', 2],
  ERR_MMAPDB_PERMISSION: ['PermissionError', 2],
  ERR_MMAPDB_READ_ONLY: ['ReadOnlyError', 2],
  ERR_MMAPDB_FULL: ['FullError', 2],
  ERR_MMAPDB_IO: ['IoError', 2],
  ERR_MMAPDB_UNSUPPORTED: ['UnsupportedError', 2],
  ERR_MMAPDB_CLOSED: ['ClosedError', 2],
  ERR_MMAPDB_TOO_MANY_READERS: ['TooManyReadersError', 2],
  ERR_MMAPDB_CORRUPT: ['CorruptError', 3],
  ERR_MMAPDB_LOCKED: ['LockedError', 4],
  ERR_MMAPDB_EXPIRED: ['ExpiredError', 2],
  ERR_MMAPDB_OUTCOME_UNKNOWN: ['OutcomeUnknownError', 2],
  ERR_MMAPDB_ENCODING: ['EncodingError', 2],
  ERR_MMAPDB_EXISTS: ['ExistsError', 2],
  ERR_MMAPDB_STORE_DROPPED: ['StoreDroppedError', 2],
  ERR_MMAPDB_CONFLICT: ['ConflictError', 4],
  ERR_MMAPDB_LSN_GONE: ['LsnGoneError', 2],
} as const satisfies Record<`ERR_MMAPDB_${string}`, Row>

/** The codes of `MmapdbError`. */
export type MmapdbErrorCode = keyof typeof TABLE

/** The exit code that the command line gives each code of `MmapdbError`. */
export const EXIT_CODES = Object.fromEntries(Object.entries(TABLE).map(([code, [, exitCode]]) => [code, exitCode])) as {
  readonly [Code in MmapdbErrorCode]: (typeof TABLE)[Code][1]
}

/** Base class of every error that mmapdb throws on purpose. */
export class MmapdbError extends Error {
  override readonly name: string = 'MmapdbError'
  constructor(
    readonly code: MmapdbErrorCode,
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options)
  }
}

const errorClass = (code: MmapdbErrorCode) =>
  class extends MmapdbError {
    override readonly name = TABLE[code][0]
    constructor(message: string, options?: { cause?: unknown }) {
      super(code, message, options)
    }
  }

/** An argument, option, key or value is not acceptable. */
export class InvalidError extends errorClass('ERR_MMAPDB_INVALID') {}
/** No database was found where one was expected. */
export class NotFoundError extends errorClass('ERR_MMAPDB_NOT_FOUND') {}
/** There is a database already, where a new one was to be created. */
export class ExistsError extends errorClass('ERR_MMAPDB_EXISTS') {}
/** The named store that a write was for has been dropped. Nothing was written. */
export class StoreDroppedError extends errorClass('ERR_MMAPDB_STORE_DROPPED') {}
/** There is something at the path that is not a database. */
export class NotADatabaseError extends errorClass('ERR_MMAPDB_NOT_A_DATABASE') {}
/** The files were written in a format, or with a value encoding, that this version does not read. */
export class VersionError extends errorClass('ERR_MMAPDB_VERSION') {}
/** The system denied access. */
export class PermissionError extends errorClass('ERR_MMAPDB_PERMISSION') {}
/** The database or its file system is read-only. */
export class ReadOnlyError extends errorClass('ERR_MMAPDB_READ_ONLY') {}
/** The disk, or the address range set aside, is full. Nothing was written. */
export class FullError extends errorClass('ERR_MMAPDB_FULL') {}
/** The operating system failed to read, write or flush. If it was a write, nothing was written. */
export class IoError extends errorClass('ERR_MMAPDB_IO') {}
/** A database would not be safe on this file system. */
export class UnsupportedError extends errorClass('ERR_MMAPDB_UNSUPPORTED') {}
/** The database, snapshot or iterator is closed. */
export class ClosedError extends errorClass('ERR_MMAPDB_CLOSED') {}
/** Too many snapshots and iterators are open at once. */
export class TooManyReadersError extends errorClass('ERR_MMAPDB_TOO_MANY_READERS') {}
/** Another thread or process held a lock longer than the limit. If it was a write, nothing was written. */
export class LockedError extends errorClass('ERR_MMAPDB_LOCKED') {}
/** The snapshot or iterator held back more than `maxHeldBytes`, and was ended so that writers can go on. */
export class ExpiredError extends errorClass('ERR_MMAPDB_EXPIRED') {}

/**
 * Others changed what a transaction had read, or the entry that an update was about to replace, each time that it was
 * tried. Nothing was written.
 */
export class ConflictError extends errorClass('ERR_MMAPDB_CONFLICT') {}

/** Where damage was found: a slot of the data file, or a position in the log. */
export interface DamageSite {
  readonly slotNo?: number
  readonly lsn?: number
  readonly path?: string
}

/** Bytes on disk are damaged. `site` says where. */
export class CorruptError extends errorClass('ERR_MMAPDB_CORRUPT') {
  constructor(
    message: string,
    readonly site: DamageSite = {},
    options?: { cause?: unknown },
  ) {
    super(message, options)
  }
}

/**
 * A write is in the log, or may be, and it is not known whether it takes effect: read it back, or write it again.
 * `lsn`: the version that its entries have if it does (`getEntry`); undefined if that is not known, since the worker
 * ended before it could report it.
 */
export class OutcomeUnknownError extends errorClass('ERR_MMAPDB_OUTCOME_UNKNOWN') {
  constructor(
    message: string,
    readonly lsn?: number,
    options?: { cause?: unknown },
  ) {
    super(message, options)
  }

  /** @internal The same error for another write of the same frame or group. */
  at(lsn: number): OutcomeUnknownError {
    return new OutcomeUnknownError(this.message, lsn, { cause: this.cause })
  }
}

/**
 * The log does not go back as far as a change feed is to begin, or has been recycled where a slow one would go on:
 * changes are missing. `oldestLsn`: the least `since` that can be had now.
 */
export class LsnGoneError extends errorClass('ERR_MMAPDB_LSN_GONE') {
  constructor(
    message: string,
    readonly oldestLsn: number = 0,
    options?: { cause?: unknown },
  ) {
    super(message, options)
  }
}

/** The entry whose value cannot be decoded. */
export interface ValueSite {
  readonly key?: unknown
  readonly slotNo?: number
}

/** A value is intact and cannot be decoded: it was written with another encoding. `site` says which. */
export class EncodingError extends errorClass('ERR_MMAPDB_ENCODING') {
  constructor(
    message: string,
    readonly site: ValueSite = {},
    options?: { cause?: unknown },
  ) {
    super(message, options)
  }
}

/**
 * Returns typed errors as they are. Any other is a bug in mmapdb: it is wrapped in an error that users can catch.
 * @internal
 */
export function foreseen(error: unknown): MmapdbError {
  if (isInstance(error, MmapdbError)) return error
  const what = isInstance(error, Error) ? `${error.name}: ${error.message}` : reason(error)
  return new IoError(`mmapdb met an unexpected error (${what}). Please report it.`, { cause: error })
}

// ---- said in several places ----------------------------------------------------------------------

const RESTORE = 'Restore the database from a backup'

/**
 * Advice at the end of messages.
 * @internal
 */
export const advice = {
  restore: `${RESTORE}.`,
  restoreOrSalvage: `${RESTORE}, or run "mmapdb recover --salvage OUT" to bring out what is intact.`,
  pathOfDatabase: 'Give the path of a database or, for a new one, of an empty directory or one that does not exist.',
  openToRead: 'Who may only read can open it with { readOnly: true }.',
} as const

/**
 * For a call on a database that its user has closed.
 * @internal
 */
export const databaseClosed = (): ClosedError => new ClosedError('The database is closed. Open it again.')

/**
 * For an opener that was to join another thread of its process, which has closed the database meanwhile.
 * @internal
 */
export const databaseHasBeenClosed = (path: string, cause?: unknown): ClosedError =>
  new ClosedError(
    `The database at ${path} has been closed. Open it again.`,
    cause === undefined ? undefined : { cause },
  )

/**
 * For a write to a database that was opened with `readOnly`.
 * @internal
 */
export const openedReadOnly = (): ReadOnlyError =>
  new ReadOnlyError(
    'The database was opened with { readOnly: true } and cannot be written. Open it without that to write.',
  )

/**
 * For a database whose log directory is missing.
 * @internal
 */
export const logMissing = (path: string): CorruptError =>
  new CorruptError(`The log, ${path}, is missing. ${advice.restore}`, { path })

type ErrorClass = new (message: string) => MmapdbError

/**
 * The class of each code.
 * @internal
 */
export const ERROR_CLASSES = {
  ERR_MMAPDB_INVALID: InvalidError,
  ERR_MMAPDB_NOT_FOUND: NotFoundError,
  ERR_MMAPDB_NOT_A_DATABASE: NotADatabaseError,
  ERR_MMAPDB_VERSION: VersionError,
  ERR_MMAPDB_PERMISSION: PermissionError,
  ERR_MMAPDB_READ_ONLY: ReadOnlyError,
  ERR_MMAPDB_FULL: FullError,
  ERR_MMAPDB_IO: IoError,
  ERR_MMAPDB_UNSUPPORTED: UnsupportedError,
  ERR_MMAPDB_CLOSED: ClosedError,
  ERR_MMAPDB_TOO_MANY_READERS: TooManyReadersError,
  ERR_MMAPDB_CORRUPT: CorruptError,
  ERR_MMAPDB_LOCKED: LockedError,
  ERR_MMAPDB_EXPIRED: ExpiredError,
  ERR_MMAPDB_OUTCOME_UNKNOWN: OutcomeUnknownError,
  ERR_MMAPDB_ENCODING: EncodingError,
  ERR_MMAPDB_EXISTS: ExistsError,
  ERR_MMAPDB_STORE_DROPPED: StoreDroppedError,
  ERR_MMAPDB_CONFLICT: ConflictError,
  ERR_MMAPDB_LSN_GONE: LsnGoneError,
} satisfies Record<MmapdbErrorCode, ErrorClass>
