// Looks for frames where none can be read in order: after the end of the log, and in a segment without its header. What
// begins a frame names its own position, and a length that is possible. So do few other bytes; but users may store
// such bytes, and only the CRC tells.
import type { RandomFile } from '../storage/storage.js'
import { FRAME, readLsn } from './frame.js'
import { bytesBetween, lsnAfter, WORD_BYTES, type Lsn } from './lsn.js'
import { filePosition } from './segment.js'

/** Bytes of the log looked at in one go: memory that is used again costs less than memory that is new. */
const CHUNK_BYTES = 64 * 1024

/** What may be a frame. */
interface PossibleFrame {
  readonly lsn: Lsn
  readonly lengthBytes: number
  readonly crc: number
  readonly watermark: Lsn
}

/** What looks like frames, between two LSNs of a file that begins at `startLsn`, in the order of their LSNs. */
export function* possibleFrames(file: RandomFile, startLsn: Lsn, from: Lsn, limit: Lsn): Generator<PossibleFrame> {
  const chunk = Buffer.from(new ArrayBuffer(CHUNK_BYTES))
  const halves = new Int32Array(chunk.buffer)
  const head = Buffer.alloc(FRAME.HEADER_BYTES)
  for (let lsn = from; lsn < limit; lsn = lsnAfter(lsn, CHUNK_BYTES)) {
    const lengthBytes = Math.min(CHUNK_BYTES, bytesBetween(lsn, limit))
    const got = file.read(chunk, 0, lengthBytes, filePosition(startLsn, lsn))
    // The LSN field of a frame at `candidate` is the word after its first. Its lower half, in integers: most words of
    // a log are looked at here only.
    const words = Math.floor(got / WORD_BYTES)
    const first = lsn - FRAME.LSN / WORD_BYTES
    for (let i = 0, low = first | 0; i < words; i++, low = (low + 1) | 0) {
      if (halves[2 * i] !== low) continue
      const candidate = (first + i) as Lsn
      if (candidate < from) continue
      if (file.read(head, 0, head.length, filePosition(startLsn, candidate)) < head.length) continue
      if (readLsn(head, FRAME.LSN) !== candidate) continue
      const length = head.readUInt32LE(FRAME.LENGTH)
      if (length < FRAME.HEADER_BYTES || lsnAfter(candidate, length) > limit) continue
      const crc = head.readUInt32LE(FRAME.CRC)
      yield { lsn: candidate, lengthBytes: length, crc, watermark: readLsn(head, FRAME.WATERMARK) }
    }
    if (got < lengthBytes) return
  }
}
