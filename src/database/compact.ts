// Compacting a database, from a program.
import type { CompactReport } from '../maintenance/reports.js'
import { inWorker } from './in-worker.js'
import type { LongWorkOptions } from './long-work-options.js'
import { pathOption, readOptions } from './read-options.js'

/**
 * Writes the data file of the database at `path` again, with full leaves in the order of their keys and without free
 * slots. The database must be open nowhere, not even here. Entries and versions stay; the log is not touched. The new
 * file takes the place of the old one when it has been read back and is on disk: a crash leaves one or the other. It
 * needs as much room as the new file takes. A worker does it.
 *
 * Rejects with `LockedError` while the database is open anywhere, `NotFoundError`, `CorruptError`, `FullError`, the
 * reason of `signal`, and what else `open` rejects with. The database is as it was then.
 */
export async function compact(path: string, options?: LongWorkOptions): Promise<CompactReport> {
  const { onProgress, signal } = readOptions(options, [])
  return inWorker('compact', { target: pathOption(path, 'a database') }, { onProgress, signal })
}
