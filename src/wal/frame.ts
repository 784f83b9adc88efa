// The record of the log. One frame is one atomic unit: a single put or a whole batch.
//
//   offset size
//        0    4  CRC-32C of everything after it up to `length`, seeded with the segment's salt
//        4    4  length of the frame in bytes, header included
//        8    7  LSN: the position of this frame
//       15    1  type (1 = operations, 2 = outcomes: outcomes.ts)
//       16    7  durable watermark: every byte of the log before it was on disk when this was appended
//       23    1  flags (1 = applying this frame decides something: it has outcomes)
//       24    4  number of operations, or of frames whose outcomes these are
//       28    4  reserved (0)
//       32    8  time of the append, milliseconds since 1970 (float64)
//       40       operations, back to back: operation.ts
//
// The next frame begins at the next word of 8 bytes. All integers are little-endian.
//
// The salt differs in every segment, and in every life of a recycled one, so leftovers never pass for
// frames. The LSN inside detects a frame that was moved. The watermark tells a torn tail from rot:
// see `log-end.ts`.
import { CorruptError } from '../errors.js'
import { MAX_KEY_BYTES } from '../limits.js'
import { crc32c } from '../encoding/crc32c.js'
import type { Lsn } from './lsn.js'

export const FRAME = {
  CRC: 0,
  LENGTH: 4,
  LSN: 8,
  TYPE: 15,
  WATERMARK: 16,
  FLAGS: 23,
  OP_COUNT: 24,
  TIME: 32,
  HEADER_BYTES: 40,
} as const

export const FRAME_TYPE_OPERATIONS = 1
export const OP = { KIND: 0, FLAGS: 1, KEY_LENGTH: 2, VALUE_LENGTH: 4, HEADER_BYTES: 8 } as const
export const OP_PUT = 1
export const OP_DEL = 2

/** The LSN in the 7 bytes at `at`. */
export const readLsn = (bytes: Buffer, at: number): Lsn =>
  (bytes.readUInt32LE(at) + (bytes.readUInt32LE(at + 3) >>> 8) * 2 ** 32) as Lsn

function writeLsn(bytes: Buffer, at: number, lsn: Lsn): void {
  bytes.writeUInt32LE(lsn % 2 ** 32, at)
  bytes.writeUIntLE(Math.floor(lsn / 2 ** 32), at + 4, 3)
}

/** Fills in what only the append knows, and the CRC last. `frame` holds exactly one frame. */
export function sealFrame(frame: Buffer, lsn: Lsn, watermark: Lsn, timeMs: number, salt: number): void {
  writeLsn(frame, FRAME.LSN, lsn)
  writeLsn(frame, FRAME.WATERMARK, watermark)
  frame.writeDoubleLE(timeMs, FRAME.TIME)
  frame.writeUInt32LE(crc32c(frame.subarray(FRAME.LENGTH), salt), FRAME.CRC)
}

/**
 * True if a sealed frame with this LSN begins at `at` and ends before or at `end`: its length, LSN, type
 * and CRC are all right.
 */
export function isFrameAt(bytes: Buffer, at: number, end: number, lsn: Lsn, salt: number): boolean {
  if (at + FRAME.HEADER_BYTES > end) return false
  if (readLsn(bytes, at + FRAME.LSN) !== lsn) return false
  const length = bytes.readUInt32LE(at + FRAME.LENGTH)
  if (length < FRAME.HEADER_BYTES || at + length > end) return false
  return crc32c(bytes.subarray(at + FRAME.LENGTH, at + length), salt) === bytes.readUInt32LE(at + FRAME.CRC)
}

/**
 * Walks the operations of the frame at [at, at + length) and calls `visit` for each. Throws
 * `CorruptError` if they do not fill the frame exactly. If the CRC is good, that happens only where a
 * faulty program wrote the frame.
 */
export function forEachOperation(
  bytes: Buffer,
  at: number,
  lengthBytes: number,
  visit: (bytes: Buffer, kind: number, keyAt: number, keyLength: number, valueAt: number, valueLength: number) => void,
): void {
  const end = at + lengthBytes
  const count = bytes.readUInt32LE(at + FRAME.OP_COUNT)
  if (bytes[at + FRAME.TYPE] !== FRAME_TYPE_OPERATIONS || bytes[at + FRAME.FLAGS] !== 0)
    throw malformed(bytes, at, 'its frame type or flags are unknown')
  let p = at + FRAME.HEADER_BYTES
  for (let i = 0; i < count; i++) {
    if (p + OP.HEADER_BYTES > end) throw malformed(bytes, at, `operation ${i} begins after the end of the frame`)
    const kind = bytes[p + OP.KIND]!
    const keyLength = bytes[p + OP.KEY_LENGTH]! | (bytes[p + OP.KEY_LENGTH + 1]! << 8)
    const valueLength = bytes.readUInt32LE(p + OP.VALUE_LENGTH)
    const keyAt = p + OP.HEADER_BYTES
    const valueAt = keyAt + keyLength
    p = valueAt + valueLength
    if (
      p > end ||
      keyLength === 0 ||
      keyLength > MAX_KEY_BYTES ||
      (kind !== OP_PUT && kind !== OP_DEL) ||
      bytes[keyAt - OP.HEADER_BYTES + OP.FLAGS] !== 0
    ) {
      throw malformed(bytes, at, `operation ${i} has an unknown kind or flags, or a bad length`)
    }
    visit(bytes, kind, keyAt, keyLength, valueAt, valueLength)
  }
  if (p !== end) throw malformed(bytes, at, 'it is longer than its operations')
}

function malformed(bytes: Buffer, at: number, why: string): CorruptError {
  const lsn = readLsn(bytes, at + FRAME.LSN)
  return new CorruptError(`The frame at LSN ${lsn} is malformed: ${why}.`, { lsn })
}
