// Decides whether the log ends as a crash leaves it (a torn tail), or because of damage (rot).
//
//   torn tail: nothing after the end proves that frames there had been on disk. Such frames were never
//     acknowledged; they are dropped.
//   rot: a later good frame carries a durable watermark beyond the end, or a later segment exists
//     (one is made only when all before it is on disk). Acknowledged data is damaged.
import { advice, CorruptError } from '../errors.js'
import { crc32c } from '../encoding/crc32c.js'
import { FRAME, readLsn } from './frame.js'
import type { Log, OpenSegment } from './log.js'
import { bytesBetween, lsnAfter, lsnToHex, WORD_BYTES, type Lsn } from './lsn.js'
import { filePosition, firstFrameLsn, SEGMENT_HEADER_BYTES } from './segment.js'

/** Bytes of the log looked at in one go: memory that is used again costs less than memory that is new. */
const CHUNK_BYTES = 64 * 1024

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
 * True if a segment was started at `start` and never finished: its file exists, its header is not
 * whole, and no frame follows.
 */
export const isUnfinished = (log: Log, start: Lsn): boolean =>
  log.starts().includes(start) && log.segment(start) === undefined && firstFrameOf(log, start) !== start

/** LSN recorded in the first frame of a segment with an unreadable header; 0 if it has no frame. */
function firstFrameOf(log: Log, start: Lsn): number {
  const path = `${log.directory}/${lsnToHex(start)}.wal`
  const { kind, sizeBytes } = log.storage.info(path)
  if (kind !== 'file' || sizeBytes <= SEGMENT_HEADER_BYTES) return 0
  const file = log.storage.openFile(path, 'read')
  try {
    return firstFrameLsn(file)
  } finally {
    file.close()
  }
}

/** Looks for good frames in the rest of the segment: at every position whose LSN field names that position. */
function scanAfter(segment: OpenSegment, end: Lsn, rotten: (why: string) => CorruptError): LogEnd {
  const { file, header } = segment
  const limit = header.limitLsn
  let furthest = end
  const chunk = Buffer.from(new ArrayBuffer(CHUNK_BYTES))
  const halves = new Int32Array(chunk.buffer)
  const head = Buffer.alloc(FRAME.HEADER_BYTES)
  for (let lsn = end; lsn < limit; lsn = lsnAfter(lsn, CHUNK_BYTES)) {
    const lengthBytes = Math.min(CHUNK_BYTES, bytesBetween(lsn, limit))
    const got = file.read(chunk, 0, lengthBytes, filePosition(header.startLsn, lsn))
    if (got <= 0) break
    // The LSN field of a frame at `candidate` is the word after its first. Its lower half, in integers: most words of
    // a log are looked at here only.
    const words = Math.floor(got / WORD_BYTES)
    const first = lsn - FRAME.LSN / WORD_BYTES
    for (let i = 0, low = first | 0; i < words; i++, low = (low + 1) | 0) {
      if (halves[2 * i] !== low) continue
      const candidate = (first + i) as Lsn
      if (candidate < end) continue
      if (file.read(head, 0, head.length, filePosition(header.startLsn, candidate)) < head.length) continue
      if (readLsn(head, FRAME.LSN) !== candidate) continue
      const length = head.readUInt32LE(FRAME.LENGTH)
      if (length < FRAME.HEADER_BYTES || lsnAfter(candidate, length) > limit) continue
      if (!isGood(segment, candidate, length)) {
        // The torn frame itself.
        if (candidate === end) furthest = laterOf(furthest, lsnAfter(candidate, length))
        continue
      }
      const watermark = readLsn(head, FRAME.WATERMARK)
      if (watermark > end)
        throw rotten(`the frame at LSN ${candidate} proves that everything before LSN ${watermark} had been on disk`)
      furthest = laterOf(furthest, lsnAfter(candidate, length))
    }
  }
  return { lsn: end, tornBytes: bytesBetween(end, furthest) }
}

const laterOf = (a: Lsn, b: Lsn): Lsn => (a > b ? a : b)

function isGood(segment: OpenSegment, lsn: Lsn, length: number): boolean {
  const frame = Buffer.allocUnsafe(length)
  if (segment.file.read(frame, 0, length, filePosition(segment.startLsn, lsn)) < length) return false
  return crc32c(frame.subarray(FRAME.LENGTH), segment.header.salt) === frame.readUInt32LE(FRAME.CRC)
}
