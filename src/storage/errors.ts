// Turns what the system refused into the errors that users see.
import { FullError, IoError, MmapdbError, PermissionError, ReadOnlyError } from '../errors.js'
import { StorageError } from './storage.js'

/** A typed error for `cause`, saying what was being done. Errors that are typed already pass through. */
export function typedError(cause: unknown, doing: string): Error {
  if (cause instanceof MmapdbError) return cause
  if (!(cause instanceof StorageError)) return cause instanceof Error ? cause : new Error(String(cause))
  const what = `${doing}: ${cause.message}`
  switch (cause.code) {
    case 'ENOSPC':
    case 'EDQUOT':
    case 'EFBIG':
      return new FullError(`${what}. Free some space on this file system and try again.`, { cause })
    case 'EACCES':
    case 'EPERM':
      return new PermissionError(`${what}. Check who owns the database directory and its files.`, { cause })
    case 'EROFS':
      return new ReadOnlyError(`${what}. Open the database with { readOnly: true } to read it.`, { cause })
    case 'EMFILE':
    case 'ENFILE':
      return new IoError(`${what}. Too many files are open: allow more (ulimit -n), or close some.`, { cause })
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
