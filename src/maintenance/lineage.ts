// Where a backup belongs in the log of the database that it was made of: what backup-record.ts records of that, and
// whether a log goes on where a backup ends.
import { InvalidError } from '../errors.js'
import { StorageError, type Storage } from '../storage/storage.js'
import { FRAME } from '../wal/frame.js'
import { Log, type OpenSegment } from '../wal/log.js'
import { LogReader } from '../wal/log-reader.js'
import { lsnToHex, type Lsn } from '../wal/lsn.js'
import type { BackupRecord, FrameOfSource } from './backup-record.js'
import type { Steps } from './steps.js'

/** A step looks through this many frames. */
const STEP_FRAMES = 4096

type MomentOfLog = Pick<BackupRecord, 'segment' | 'lastFrame'>

/** A log that is only read. Segments of other databases count as damaged. */
export const logToRead = (storage: Storage, directory: string, uuid: Buffer): Log =>
  new Log({ storage, directory, uuid, segmentBytes: 0, readOnly: true, ownOnly: true })

/**
 * The segment that a log was in before `lsn`, and the last frame there, as far as they are still there. `log` may be
 * in use; it is opened again.
 */
export function* momentOf(storage: Storage, { directory, uuid }: Log, lsn: Lsn): Steps<MomentOfLog> {
  const log = logToRead(storage, directory, uuid)
  try {
    const segment = segmentBefore(log, lsn)
    if (segment === undefined) return { segment: undefined, lastFrame: undefined }
    const { startLsn, header } = segment
    return { segment: { startLsn, salt: header.salt }, lastFrame: yield* lastFrameBefore(log, startLsn, lsn) }
  } catch (error) {
    // A checkpoint has recycled a segment at this moment.
    if (!(error instanceof StorageError) || error.code !== 'ENOENT') throw error
    return { segment: undefined, lastFrame: undefined }
  } finally {
    log.close()
  }
}

function segmentBefore(log: Log, lsn: Lsn): OpenSegment | undefined {
  for (const start of log.starts().reverse()) {
    const segment = start < lsn ? log.segment(start) : undefined
    if (segment !== undefined) return segment
  }
  return undefined
}

/** The frame that ends at `lsn`; undefined if it cannot be read from the log any more. */
function* lastFrameBefore(log: Log, from: Lsn, lsn: Lsn): Steps<FrameOfSource | undefined> {
  const reader = new LogReader(log, from)
  let frames = 0
  while (reader.next(lsn)) {
    if (reader.position === lsn) return frameOf(reader)
    if (++frames % STEP_FRAMES === 0) yield { phase: 'copying', done: 0, total: 1 }
  }
  return undefined
}

const frameOf = ({ bytes, at, lsn }: LogReader): FrameOfSource => ({
  lsn,
  crc: bytes.readUInt32LE(at + FRAME.CRC),
  timeMs: bytes.readDoubleLE(at + FRAME.TIME),
})

/** Throws `InvalidError` if what is still there of the log before the backup is not what it was made of. */
export function checkLineage(log: Log, { segment, lastFrame }: BackupRecord, backup: string): void {
  if (segment === undefined) return
  const now = log.segment(segment.startLsn as Lsn)
  if (now === undefined) return
  const isSame = now.header.salt === segment.salt && (lastFrame === undefined || hasFrame(log, now, lastFrame))
  if (isSame) return
  throw new InvalidError(
    `The log in ${log.directory} is not the one that ${backup} was made of: segment ${lsnToHex(segment.startLsn)}.wal ` +
      'is another one. The database was restored or replaced since. Use a backup that was made after that.',
  )
}

function hasFrame(log: Log, segment: OpenSegment, { lsn, crc }: FrameOfSource): boolean {
  const reader = new LogReader(log, lsn as Lsn)
  // The frame may be gone because the segment was recycled at this moment. What follows it is missed, then.
  if (!reader.next(segment.header.limitLsn)) return log.segment(segment.startLsn) === undefined
  return reader.bytes.readUInt32LE(reader.at + FRAME.CRC) === crc
}
