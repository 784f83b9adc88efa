// Reads frames back, in order, from any LSN. One reader serves all: a leader that applies what
// was just flushed, recovery, and the tools that list the log.
//
// At each position the segment that begins there takes precedence: what an older segment still holds
// after that point was never part of the log.
//
// The log ends where no good frame follows. `classifyEnd` (log-end.ts) decides whether that is normal.
import { FRAME, isFrameAt, readLsn } from './frame.js'
import type { Log, OpenSegment } from './log.js'
import { bytesBetween, lsnAfter, type Lsn } from './lsn.js'
import { filePosition } from './segment.js'
import { MAX_FRAME_BYTES } from '../limits.js'

const MIN_READ_BYTES = 4096
const MAX_READ_BYTES = 1024 * 1024
/** Copying a longer frame costs as much as reading it. */
const MAX_OFFERED_BYTES = 4096

export class LogReader {
  readonly #log: Log
  #position: Lsn
  #segment: OpenSegment | undefined
  #starts: Lsn[] | undefined
  /** Where the segment after the current one begins; Infinity if there is no such segment. */
  #nextStart = Number.POSITIVE_INFINITY
  #buffer = Buffer.allocUnsafeSlow(64 * 1024)
  #bufferLsn = 0 as Lsn
  #bufferBytes = 0
  /** Whether this call has read from the file. */
  #hasRead = false

  /** The current frame: `bytes` from `at`, `lengthBytes` long. Valid until the next call. */
  bytes = this.#buffer
  at = 0
  lengthBytes = 0
  lsn = 0 as Lsn

  constructor(log: Log, from: Lsn) {
    this.#log = log
    this.#position = from
  }

  /** LSN of the frame that `next` will look for. */
  get position(): Lsn {
    return this.#position
  }

  get segment(): OpenSegment | undefined {
    return this.#segment
  }

  /**
   * Continues at `from`. `newestStart`: where the newest segment begins. If that is not the one being
   * read, the directory is read again. So nothing that an older segment still holds after the
   * start of a newer one is taken for part of the log.
   */
  seek(from: Lsn, newestStart: Lsn): void {
    if (from === this.#position && this.#segment?.startLsn === newestStart) return
    this.restart(from)
  }

  /** Starts again at `from` and remembers nothing. */
  restart(from: Lsn): void {
    this.#position = from
    this.#segment = undefined
    this.#starts = undefined
    this.#bufferBytes = 0
  }

  /**
   * Steps to the next frame; false where the log ends. `limit`: bytes at and beyond it are not
   * read (another appender may have written only half of them).
   */
  next(limit: Lsn): boolean {
    if (this.#position >= limit) return false
    if (this.#segment === undefined || this.#position >= this.#nextStart) {
      if (!this.#enterSegment()) return false
    }
    this.#hasRead = false
    if (this.#frameHere(limit)) return true
    // A segment may have been added since the directory was read, or restarted since it was opened.
    const before = { segment: this.#segment!, nextStart: this.#nextStart, hasRead: this.#hasRead }
    this.#log.close()
    this.#starts = undefined
    this.#segment = undefined
    if (!this.#enterSegment()) return false
    // What has just been read is not read again.
    const isSame = this.#nextStart === before.nextStart && isSameSegment(this.#segment!, before.segment)
    return !(before.hasRead && isSame) && this.#frameHere(limit)
  }

  /**
   * Takes a frame that this thread itself has appended at `lsn`. If that is the next frame to be read, it is not read
   * from the file. No appender writes there any more: the tail has moved on.
   */
  offer(lsn: Lsn, frame: Buffer): void {
    if (lsn !== this.#position || frame.length > MAX_OFFERED_BYTES) return
    frame.copy(this.#buffer)
    this.#bufferLsn = lsn
    this.#bufferBytes = frame.length
  }

  #frameHere(limit: Lsn): boolean {
    const segment = this.#segment!
    const lsn = this.#position
    const end = Math.min(limit, segment.header.limitLsn, this.#nextStart)
    if (!this.#load(segment, lsn, FRAME.HEADER_BYTES, end)) return false
    let at = bytesBetween(this.#bufferLsn, lsn)
    if (readLsn(this.#buffer, at + FRAME.LSN) !== lsn) return false
    const length = this.#buffer.readUInt32LE(at + FRAME.LENGTH)
    if (length < FRAME.HEADER_BYTES || length > MAX_FRAME_BYTES || lsnAfter(lsn, length) > end) return false
    if (!this.#load(segment, lsn, length, end)) return false
    at = bytesBetween(this.#bufferLsn, lsn)
    if (!isFrameAt(this.#buffer, at, at + length, lsn, segment.header.salt)) {
      this.#bufferBytes = 0
      return false
    }
    this.bytes = this.#buffer
    this.at = at
    this.lengthBytes = length
    this.lsn = lsn
    this.#position = lsnAfter(lsn, length)
    return true
  }

  /** Makes `length` bytes from `lsn` available in the buffer; false if the file does not hold that much. */
  #load(segment: OpenSegment, lsn: Lsn, length: number, end: number): boolean {
    if (lsnAfter(lsn, length) > end) return false
    if (lsn >= this.#bufferLsn && bytesBetween(this.#bufferLsn, lsn) + length <= this.#bufferBytes) return true
    // Asked for again: the log may have opened other segments since, and closed this one for them.
    const open = this.#log.segment(segment.startLsn)
    if (open === undefined) return false
    const at = filePosition(segment.startLsn, lsn)
    // A wrong length must not cost memory.
    if (length > MAX_READ_BYTES && at + length > open.file.sizeBytes()) return false
    const want = Math.max(length, Math.min(bytesBetween(lsn, end), length <= MIN_READ_BYTES ? MAX_READ_BYTES : length))
    if (want > this.#buffer.length) this.#buffer = Buffer.allocUnsafeSlow(Math.max(want, this.#buffer.length * 2))
    else if (this.#buffer.length > 4 * MAX_READ_BYTES && want <= MAX_READ_BYTES) {
      this.#buffer = Buffer.allocUnsafeSlow(MAX_READ_BYTES)
    }
    this.#bufferLsn = lsn
    this.#bufferBytes = 0
    this.#bufferBytes = open.file.read(this.#buffer, 0, want, at)
    this.#hasRead = true
    return this.#bufferBytes >= length
  }

  #enterSegment(): boolean {
    this.#starts ??= this.#log.starts()
    const starts = this.#starts
    // An unfinished segment counts as absent; `classifyEnd` looks at it again.
    let after = 0
    while (after < starts.length && starts[after]! <= this.#position) after++
    this.#nextStart = Number.POSITIVE_INFINITY
    for (let i = after; i < starts.length; i++) {
      if (this.#log.segment(starts[i]!) === undefined) continue
      this.#nextStart = starts[i]!
      break
    }
    let found: OpenSegment | undefined
    for (let i = after - 1; i >= 0 && found === undefined; i--) found = this.#log.segment(starts[i]!)
    this.#segment = found
    this.#bufferBytes = 0
    return found !== undefined
  }
}

/** The same segment, and not restarted meanwhile: the salt would be another. */
const isSameSegment = (a: OpenSegment, b: OpenSegment): boolean =>
  a.startLsn === b.startLsn && a.header.salt === b.header.salt
