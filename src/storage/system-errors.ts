// Errors of failed system calls.
import { StorageError } from './storage.js'

/** A StorageError if the system refused the call, else the error itself. */
export function storageError(error: unknown, path: string): unknown {
  // Errors of Node.js about arguments have a code, too, but no errno.
  if (!(error instanceof Error) || !('errno' in error) || !('code' in error)) return error
  const syscall = 'syscall' in error ? String(error.syscall) : 'call'
  return new StorageError(syscall, String(error.code), path, { cause: error })
}

export function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
