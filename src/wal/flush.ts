// Flushing, and what it means that a flush fails: the kernel may have dropped what it could not write
// and report success the next time. So a flush is never tried again, and whoever has a database open
// takes a FlushFailure as the end of all writing (stopOnFailedFlush in control.ts). The next first
// opener goes by what it finds on the disk, and writes again what it relies on (Log.adopt, recover).
import { IoError } from '../errors.js'
import { typedError } from '../storage/errors.js'
import { StorageError } from '../storage/storage.js'

/** A flush that was begun and failed. */
export class FlushFailure extends IoError {}

/** Runs one flush. Throws `FlushFailure`, or another typed error if it could not even be begun. */
export function flushed(doing: string, flush: () => void): void {
  try {
    flush()
  } catch (cause) {
    const typed = typedError(cause, doing)
    if (!(cause instanceof StorageError) || cause.syscall === 'open') throw typed
    throw new FlushFailure(
      `Writes are refused: ${doing}: ${cause.message}. What had been acknowledged is safe; close the database everywhere, ` +
        'check the disk, and open it again.',
      { cause },
    )
  }
}
