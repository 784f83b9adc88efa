// Restoring a backup, from a program.
import type { RestoreReport } from '../maintenance/reports.js'
import { inWorker } from './in-worker.js'
import type { LongWorkOptions } from './long-work-options.js'
import { readOptions } from './read-options.js'
import { requestOf } from './restore-request.js'

/** Options of `restore`. Without `lsn`, `time` and `latest`, what is restored is the moment of the backup. */
export interface RestoreOptions extends LongWorkOptions {
  /**
   * The directory of the database that the backup was made of, for its log. It may be in use, or damaged elsewhere.
   */
  log?: string | undefined
  /**
   * Restores what that database held at this LSN: every frame of its log that begins before it. The version of an
   * entry is the LSN of the frame that wrote it, so `version + 1` includes that write.
   */
  lsn?: number | undefined
  /**
   * Restores what it held at this time: frames up to the first one that was appended later. Milliseconds since 1970.
   */
  time?: Date | number | undefined
  /** Restores everything that the log has. */
  latest?: boolean | undefined
}

/**
 * Makes a new database at `to` of the backup at `backup`, and replays the log of its source up to a later moment if
 * `lsn`, `time` or `latest` says so. The backup and the source are only read. Versions of entries stay; the new
 * database goes its own way from there, and nothing of the source's log is taken for its own. `to` is whole or
 * absent: it is made in `to` + ".unfinished", which the next restore to that path removes if a crash leaves it. A
 * worker does it.
 *
 * Rejects with `ExistsError` if there is something at `to`; `NotADatabaseError` if `backup` is not a backup;
 * `InvalidError` if the backup was written to since it was made, if the log is that of another database, or if the
 * moment is earlier than the backup or later than the log; `LsnGoneError` if the log no longer has what is needed;
 * the reason of `signal`; `CorruptError`, `FullError`, `LockedError` (another restore to that path),
 * `PermissionError`, `VersionError`, `IoError`. Nothing is left then.
 */
export async function restore(backup: string, to: string, options?: RestoreOptions): Promise<RestoreReport> {
  const { onProgress, signal, ...rest } = readOptions(options, ['log', 'lsn', 'time', 'latest'])
  return inWorker('restore', requestOf(backup, to, rest), { onProgress, signal })
}
