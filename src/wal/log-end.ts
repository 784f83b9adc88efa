// Decides whether the log ends as a crash leaves it (a torn tail), or because of damage (rot).
//
//   torn tail: nothing after the end proves that frames there had been on disk. Such frames were never
//     acknowledged; they are dropped.
//   rot: a later good frame carries a durable watermark beyond the end, or a later segment exists
//     (one is made only when all before it is on disk). Acknowledged data is damaged.
import { advice, CorruptError } from '../errors.js'
import { StretchCrcs } from '../encoding/stretch-crcs.js'
import { FRAME } from './frame.js'
import { possibleFrames } from './frame-search.js'
import type { Log, OpenSegment } from './log.js'
import { bytesBetween, lsnAfter, lsnToHex, NO_LIMIT, type Lsn } from './lsn.js'
import { decodeSegmentHeader, filePosition, firstFrameLsn, SEGMENT_HEADER_BYTES } from './segment.js'

/** What follows the last good frame. */
interface LogEnd {
  /** LSN just after the last good frame. */
  readonly lsn: Lsn
  /** Bytes of frames after it that were started and never acknowledged. */
  readonly tornBytes: number
}

/**
 * Looks at what follows the end of the log. Throws `CorruptError` (with the LSN) if what is missing there
 * had been on disk: that is rot, not a torn tail.
 */
export function classifyEnd(log: Log, end: Lsn, segment: OpenSegment | undefined): LogEnd {
  const rotten = (why: string): CorruptError =>
    new CorruptError(
      `The log is damaged at LSN ${end} (0x${lsnToHex(end)}): ${why}. Acknowledged writes from there on are not ` +
        `readable. ${advice.restoreOrSalvage}`,
      { lsn: end, ...(segment === undefined ? {} : { path: segment.path }) },
    )
  if (segment === undefined) throw rotten('the segment that holds it is missing or its header is damaged')
  for (const start of log.starts()) {
    if (start < end) continue
    const later = log.segment(start)
    if (later !== undefined) {
      if (start > end) throw rotten(`a later segment begins at LSN ${start}, so everything before it had been on disk`)
      continue
    }
    // Without a good header: a segment that was never finished has no frame of its own either.
    if (!isUnfinished(log, start)) {
      throw rotten(`the header of segment ${lsnToHex(start)}.wal is damaged, and frames follow it`)
    }
  }
  return scanAfter(segment, end, rotten)
}

/**
 * True if a segment was started at `start` and never finished: its file exists, its header is not whole, and no frame
 * follows. A header is on disk before the first frame is written, so frames without it are what rot has left.
 */
export const isUnfinished = (log: Log, start: Lsn): boolean =>
  log.starts().includes(start) && log.segment(start) === undefined && !hasFrames(log, start)

/** True if the file of a segment whose header does not name `start` has something that looks like a frame of it. */
function hasFrames(log: Log, start: Lsn): boolean {
  const path = log.pathOf(start)
  const { kind, sizeBytes } = log.storage.info(path)
  // A file as short as that may belong to another user (see `Log.segment`), and not be readable.
  if (kind !== 'file' || sizeBytes <= SEGMENT_HEADER_BYTES) return false
  const file = log.storage.openFile(path, 'read')
  try {
    // Where one must be, its LSN is enough: its length may be damaged, too.
    if (firstFrameLsn(file) === start) return true
    const header = Buffer.alloc(SEGMENT_HEADER_BYTES)
    file.read(header, 0, header.length, 0)
    // The whole header of a former life: this file was renamed, and is full of what was written in that life.
    if (decodeSegmentHeader(header) !== undefined) return false
    // Without the header there is no salt, and no CRC can be checked; nor is it known where frames must end.
    return possibleFrames(file, start, start, NO_LIMIT).next().done !== true
  } finally {
    file.close()
  }
}

/** Looks for good frames in the rest of the segment. */
function scanAfter(segment: OpenSegment, end: Lsn, rotten: (why: string) => CorruptError): LogEnd {
  const { file, header } = segment
  const { startLsn, limitLsn, salt } = header
  const crcs = new StretchCrcs(file, filePosition(startLsn, end), filePosition(startLsn, limitLsn))
  let furthest = end
  for (const { lsn, lengthBytes, crc, watermark } of possibleFrames(file, startLsn, end, limitLsn)) {
    const next = lsnAfter(lsn, lengthBytes)
    // Good or not, it would prove nothing, and lies within what is dropped.
    if (watermark <= end && next <= furthest) continue
    const at = filePosition(startLsn, lsn)
    if (crcs.crc(at + FRAME.LENGTH, at + lengthBytes, salt) !== crc) {
      // The torn frame itself.
      if (lsn === end) furthest = laterOf(furthest, next)
      continue
    }
    if (watermark > end)
      throw rotten(`the frame at LSN ${lsn} proves that everything before LSN ${watermark} had been on disk`)
    furthest = laterOf(furthest, next)
  }
  return { lsn: end, tornBytes: bytesBetween(end, furthest) }
}

const laterOf = (a: Lsn, b: Lsn): Lsn => (a > b ? a : b)
