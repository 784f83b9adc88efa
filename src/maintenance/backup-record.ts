// The file `backup` in the directory of a backup: which moment of which database it is. A restore needs it to find
// what belongs to it in the log of that database.
//
// A backup is a database of its own: it has another UUID than the one that it was made of. So no log of the source is
// ever taken for its own, nor the other way round, whatever files are put together by hand. Only a restore copies
// frames from the log of the source, into a log of its own with another UUID again, and it makes sure that they go on
// where the backup ends:
//
//   - The log has the UUID of the source, as it is recorded here.
//   - Nothing was written to the backup since it was made: its UUID and LSN are those that are recorded, and its own
//     log has no frame. Otherwise it has gone its own way.
//   - Segments of the log that begin before the backup's LSN have the salts that are recorded. A salt is drawn for each
//     segment: so if an older copy of the source was put in its place and went on from there, the log that it wrote
//     is not taken for the one that the backup was made of.
//   - If that copy had the same segment already, the last frame before the backup's LSN tells them apart: its LSN and
//     CRC are recorded, if the log had it.
//
// It is two lines: JSON, and the CRC-32C of the first line in hex.
import { join } from 'node:path'
import { crc32c } from '../encoding/crc32c.js'
import { CorruptError, NotADatabaseError, VersionError } from '../errors.js'
import { guarded } from '../storage/errors.js'
import type { Storage } from '../storage/storage.js'

const VERSION = 1
/** A longer file is not one. */
const MAX_BYTES = 64 * 1024

interface SegmentOfSource {
  readonly startLsn: number
  readonly salt: number
}

export interface FrameOfSource {
  readonly lsn: number
  readonly crc: number
  readonly timeMs: number
}

export interface BackupRecord {
  /** UUID of the backup, in hex. */
  readonly uuid: string
  /** Everything before this LSN of the source is in it, and nothing else. */
  readonly lsn: number
  /** What it holds was written up to this time, in milliseconds since 1970. */
  readonly timeMs: number
  readonly entries: number
  /** UUID of the database that it was made of. */
  readonly sourceUuid: string
  /** The segment that the log was in before `lsn`, if it was still there. */
  readonly segment: SegmentOfSource | undefined
  /** The last frame before `lsn`, if it was still there. */
  readonly lastFrame: FrameOfSource | undefined
}

/** Its name in the directory of the backup. */
export const BACKUP_RECORD = 'backup'
const pathOf = (directory: string): string => join(directory, BACKUP_RECORD)

/** Writes the file and flushes it. */
export function writeRecord(storage: Storage, directory: string, like: string, record: BackupRecord): void {
  guarded('Writing the backup', () => {
    const text = JSON.stringify({ mmapdb: 'backup', version: VERSION, ...record })
    const bytes = Buffer.from(`${text}\n${crcOf(text)}\n`)
    const file = storage.openFile(pathOf(directory), 'create', like)
    try {
      file.write(bytes, 0, bytes.length, 0)
      file.flush()
    } finally {
      file.close()
    }
  })
}

/** Throws `NotADatabaseError` if there is no such file, `CorruptError` if it is damaged, `VersionError`. */
export function readRecord(storage: Storage, directory: string): BackupRecord {
  const path = pathOf(directory)
  if (storage.info(path).kind !== 'file') {
    throw new NotADatabaseError(
      `${directory} is not a backup: it has no file "backup". Give the path of one that mmapdb has made (mmapdb backup).`,
    )
  }
  const [text = '', crc] = guarded('Reading the backup', () => textOf(storage, path)).split('\n')
  const damaged = new CorruptError(`${path} is damaged. Use another backup; what is in this one can still be opened.`, {
    path,
  })
  if (crc !== crcOf(text)) throw damaged
  const { version, ...record } = JSON.parse(text) as BackupRecord & { version: number }
  if (version !== VERSION)
    throw new VersionError(`${path} was written by another version of mmapdb (${version}). Use that version.`)
  return record
}

const crcOf = (text: string): string => (crc32c(Buffer.from(text)) >>> 0).toString(16).padStart(8, '0')

function textOf(storage: Storage, path: string): string {
  const file = storage.openFile(path, 'read')
  try {
    const bytes = Buffer.alloc(Math.min(file.sizeBytes(), MAX_BYTES))
    return bytes.subarray(0, file.read(bytes, 0, bytes.length, 0)).toString()
  } finally {
    file.close()
  }
}
