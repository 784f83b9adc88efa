// Every error that mmapdb throws on purpose. `code` is a contract; messages say what happened,
// where, and what to do about it.

/** Codes of `MmapdbError`, with the exit code that the command line gives each. */
export const EXIT_CODES = {
  /** An argument, option, key or value is not acceptable. */
  ERR_MMAPDB_INVALID: 2,
  /** There is no database where one was expected. */
  ERR_MMAPDB_NOT_FOUND: 2,
  /** What lies at the path is not a database. */
  ERR_MMAPDB_NOT_A_DATABASE: 2,
  /** The files were written by a newer format than this version reads. */
  ERR_MMAPDB_VERSION: 2,
  /** The system denied access. */
  ERR_MMAPDB_PERMISSION: 2,
  /** The database or its file system is read-only. */
  ERR_MMAPDB_READ_ONLY: 2,
  /** The disk, or the address range set aside, is full. Nothing was written. */
  ERR_MMAPDB_FULL: 2,
  /** The operating system failed to read, write or flush. */
  ERR_MMAPDB_IO: 2,
  /** The file system is not one that keeps a database safe. */
  ERR_MMAPDB_UNSUPPORTED: 2,
  /** The database, snapshot or iterator is closed. */
  ERR_MMAPDB_CLOSED: 2,
  /** Too many snapshots and iterators are open at once. */
  ERR_MMAPDB_READERS: 2,
  /** Bytes on disk are damaged. */
  ERR_MMAPDB_CORRUPT: 3,
  /** Somebody else held a lock longer than the limit. */
  ERR_MMAPDB_LOCKED: 4,
  /** The snapshot or iterator held back more than `maxHeldBytes` and was ended in favour of writers. */
  ERR_MMAPDB_EXPIRED: 2,
} as const

export type MmapdbErrorCode = keyof typeof EXIT_CODES

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

const subclass = (name: string, code: MmapdbErrorCode) =>
  class extends MmapdbError {
    override readonly name = name
    constructor(message: string, options?: { cause?: unknown }) {
      super(code, message, options)
    }
  }

/** An argument, option, key or value is not acceptable. */
export class InvalidError extends subclass('InvalidError', 'ERR_MMAPDB_INVALID') {}
/** There is no database where one was expected. */
export class NotFoundError extends subclass('NotFoundError', 'ERR_MMAPDB_NOT_FOUND') {}
/** What lies at the path is not a database. */
export class NotADatabaseError extends subclass('NotADatabaseError', 'ERR_MMAPDB_NOT_A_DATABASE') {}
/** The files were written by a newer format than this version reads. */
export class VersionError extends subclass('VersionError', 'ERR_MMAPDB_VERSION') {}
/** The system denied access. */
export class PermissionError extends subclass('PermissionError', 'ERR_MMAPDB_PERMISSION') {}
/** The database or its file system is read-only. */
export class ReadOnlyError extends subclass('ReadOnlyError', 'ERR_MMAPDB_READ_ONLY') {}
/** The disk, or the address range set aside, is full. Nothing was written. */
export class FullError extends subclass('FullError', 'ERR_MMAPDB_FULL') {}
/** The operating system failed to read, write or flush. */
export class IoError extends subclass('IoError', 'ERR_MMAPDB_IO') {}
/** The file system is not one that keeps a database safe. */
export class UnsupportedError extends subclass('UnsupportedError', 'ERR_MMAPDB_UNSUPPORTED') {}
/** The database, snapshot or iterator is closed. */
export class ClosedError extends subclass('ClosedError', 'ERR_MMAPDB_CLOSED') {}
/** Too many snapshots and iterators are open at once. */
export class ReadersError extends subclass('ReadersError', 'ERR_MMAPDB_READERS') {}
/** Somebody else held a lock longer than the limit. */
export class LockedError extends subclass('LockedError', 'ERR_MMAPDB_LOCKED') {}
/** The snapshot or iterator held back more than `maxHeldBytes` and was ended in favour of writers. */
export class ExpiredError extends subclass('ExpiredError', 'ERR_MMAPDB_EXPIRED') {}

/** Where damage was found: a slot of the data file, or a position in the log. */
export interface DamageSite {
  readonly slotNo?: number
  readonly lsn?: number
  readonly path?: string
}

/** Bytes on disk are damaged. `site` says where. */
export class CorruptError extends MmapdbError {
  override readonly name = 'CorruptError'
  constructor(
    message: string,
    readonly site: DamageSite = {},
    options?: { cause?: unknown },
  ) {
    super('ERR_MMAPDB_CORRUPT', message, options)
  }
}

const CLASSES: Partial<Record<MmapdbErrorCode, new (message: string) => MmapdbError>> = {
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
  ERR_MMAPDB_READERS: ReadersError,
  ERR_MMAPDB_LOCKED: LockedError,
  ERR_MMAPDB_EXPIRED: ExpiredError,
  ERR_MMAPDB_CORRUPT: CorruptError,
}

/** What an error looks like on its way between threads, where classes do not survive. */
export interface ErrorMessage {
  readonly code: MmapdbErrorCode | undefined
  readonly message: string
  readonly site?: DamageSite
}

export function toErrorMessage(error: unknown): ErrorMessage {
  if (error instanceof CorruptError) return { code: error.code, message: error.message, site: error.site }
  if (error instanceof MmapdbError) return { code: error.code, message: error.message }
  return { code: undefined, message: error instanceof Error ? (error.stack ?? error.message) : String(error) }
}

export function fromErrorMessage(sent: ErrorMessage): Error {
  if (sent.code === undefined) return new Error(sent.message)
  if (sent.code === 'ERR_MMAPDB_CORRUPT') return new CorruptError(sent.message, sent.site)
  const Class = CLASSES[sent.code]
  return Class === undefined ? new MmapdbError(sent.code, sent.message) : new Class(sent.message)
}
