// Turns what the system refused into the errors that users see.
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

/** True of a system call that was refused for want of room: the disk, a quota or a limit on files (ulimit -f). */
export const isFullDisk = (error: unknown): boolean => error instanceof StorageError && FULL_DISK.includes(error.code)

/** A typed error for `cause`, saying what was being done. Errors that are typed already pass through. */
export function typedError(cause: unknown, doing: string): Error {
  if (cause instanceof MmapdbError) return cause
  if (!(cause instanceof StorageError)) return cause instanceof Error ? cause : new Error(String(cause))
  const what = `${doing}: ${cause.message}`
  if (cause.code === 'EFBIG') {
    return new FullError(
      `${what}. Files may not become that long, here or in this process: allow more (ulimit -f) and try again.`,
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
      return new IoError(`${what}. Too many files are open: allow more (ulimit -n), or close some.`, { cause })
    case 'ENAMETOOLONG':
      return new InvalidError(`${what}. The path is too long.`, { cause })
    case 'ELOOP':
      return new InvalidError(`${what}. The symbolic links of this path lead round in a circle.`, { cause })
    case 'EISDIR':
    case 'ENXIO':
    case 'ENODEV':
      return new NotADatabaseError(`${what}. What lies there is not a file of a database.`, { cause })
    case 'ENOMEM':
      return new IoError(`${what}. Memory or address space is limited (ulimit -v): allow more.`, { cause })
    default:
      return new IoError(`${what}.`, { cause })
  }
}

/** Runs `act`; a system failure comes out typed. */
export function guarded<T>(doing: string, act: () => T): T {
  try {
    return act()
  } catch (cause) {
    throw typedError(cause, doing)
  }
}
