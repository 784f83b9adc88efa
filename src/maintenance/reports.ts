// What long work tells its callers: how far it is, and what it has done.

/** How far long work is. */
export interface Progress {
  /** What is being done; some work has several phases. It is told every 100 ms or so: what takes less may not be. */
  readonly phase: 'copying' | 'replaying' | 'verifying'
  /** Of `total`: entries of a backup, bytes of everything else. */
  readonly done: number
  readonly total: number
}

/** What a backup has made. */
export interface BackupReport {
  /** The directory of the backup. */
  readonly path: string
  /** Its moment: it holds everything before this LSN of the database, and nothing else. */
  readonly lsn: number
  readonly entries: number
  /** Length of its data file. */
  readonly bytes: number
  readonly durationMs: number
}

/** What was restored. */
export interface RestoreReport {
  /** The directory of the new database. */
  readonly path: string
  /** It holds what its source held at this LSN. */
  readonly lsn: number
  /** LSN of the backup, from which on the log was replayed. */
  readonly backupLsn: number
  readonly entries: number
  readonly framesReplayed: number
  readonly durationMs: number
}

/** What compaction has done. */
export interface CompactReport {
  readonly entries: number
  /** Length of the data file. */
  readonly bytesBefore: number
  readonly bytesAfter: number
  readonly durationMs: number
}
