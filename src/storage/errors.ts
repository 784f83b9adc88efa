// Turns errors of the system into the errors that users see.
import {
  advice,
  FullError,
  InvalidError,
  IoError,
  MmapdbError,
  NotADatabaseError,
  PermissionError,
  ReadOnlyError,
} from '../errors.js'
import { StorageError } from './storage.js'

const FULL_DISK: readonly string[] = ['ENOSPC', 'EDQUOT', 'EFBIG']

/** True if a system call failed for lack of room: the disk, a quota or a limit on files (ulimit -f). */
export const isFullDisk = (error: unknown): boolean => error instanceof StorageError && FULL_DISK.includes(error.code)

/** A typed error for `cause` that says what was being done. Errors that are typed already pass through. */
export function typedError(cause: unknown, doing: string): Error {
  if (cause instanceof MmapdbError) return cause
  if (!(cause instanceof StorageError)) return cause instanceof Error ? cause : new Error(String(cause))
  const what = `${doing}: ${cause.message}`
  if (cause.code === 'EFBIG') {
    return new FullError(
      `${what}. A file may not become this long, on this file system or in this process: raise the limit (ulimit -f) and try again.`,
      { cause },
    )
  }
  if (isFullDisk(cause)) return new FullError(`${what}. Free some space on this file system and try again.`, { cause })
  switch (cause.code) {
    case 'EACCES':
    case 'EPERM':
      return new PermissionError(`${what}. Check who owns the database directory and its files. ${advice.openToRead}`, {
        cause,
      })
    case 'EROFS':
      return new ReadOnlyError(`${what}. ${advice.openToRead}`, { cause })
    case 'EMFILE':
    case 'ENFILE':
      return new IoError(`${what}. Too many files are open: close some, or raise the limit (ulimit -n).`, { cause })
    case 'ENAMETOOLONG':
      return new InvalidError(`${what}. The path is too long.`, { cause })
    case 'ELOOP':
      return new InvalidError(`${what}. The symbolic links of this path form a loop.`, { cause })
    case 'EISDIR':
    case 'ENXIO':
    case 'ENODEV':
      return new NotADatabaseError(`${what}. There is no regular file at this path, so it is no part of a database.`, {
        cause,
      })
    case 'ENOMEM':
      return new IoError(`${what}. Memory or address space is limited: raise the limit (ulimit -v).`, { cause })
    default:
      return new IoError(`${what}.`, { cause })
  }
}

/** Runs `act`. An error of the system comes out typed. */
export function guarded<T>(doing: string, act: () => T): T {
  try {
    return act()
  } catch (cause) {
    throw typedError(cause, doing)
  }
}
