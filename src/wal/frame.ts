// The record of the log. One frame is one atomic unit: a single put or a whole batch.
//
//   offset size
//        0    4  CRC-32C of everything after it up to `length`, seeded with the segment's salt
//        4    4  length of the frame in bytes, header included
//        8    7  LSN: the position of this frame
//       15    1  type (1 = operations, 2 = outcomes: outcomes.ts)
//       16    7  durable watermark: every byte of the log before it was on disk when this was appended
//       23    1  flags (1 = applying this frame decides something: it has outcomes; 2 = it clears a range;
//                4 = it drops a store; 8 = some of its operations have a time at which an entry expires)
//       24    4  number of operations, or of frames whose outcomes these are
//       28    4  which generation of the list of stores its writer knew, if it writes to named ones; else 0. Looked
//                  at when it is appended (stores.ts), and never again
//       32    8  time of the append by the database's clock, milliseconds since 1970 (float64)
//       40       operations, back to back: operation.ts
//
// The next frame begins at the next word of 8 bytes. All integers are little-endian.
//
// The salt differs in every segment, and in every life of a recycled one, so leftovers never pass for
// frames. The LSN inside detects a frame that was moved. The watermark tells a torn tail from rot:
// see `log-end.ts`.
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
  STORES: 28,
  TIME: 32,
  HEADER_BYTES: 40,
} as const

export const FRAME_TYPE_OPERATIONS = 1
export const FRAME_TYPE_OUTCOMES = 2
/** Flag: whether, or with which result, the frame's operations take effect is decided when it is applied. */
export const FRAME_FLAG_DECIDES = 1
/** Flag: the frame clears a range. */
export const FRAME_FLAG_CLEARS = 2
/** Flag: the frame drops a named store. */
export const FRAME_FLAG_DROPS = 4
/** Flag: some of its operations have a time at which an entry expires. */
export const FRAME_FLAG_EXPIRES = 8
export const FRAME_FLAGS = FRAME_FLAG_DECIDES | FRAME_FLAG_CLEARS | FRAME_FLAG_DROPS | FRAME_FLAG_EXPIRES

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

/** True if applying the frame at `at` decides something: then there are outcomes for it (outcomes.ts). */
export const isDeciding = (bytes: Buffer, at: number): boolean => (bytes[at + FRAME.FLAGS]! & FRAME_FLAG_DECIDES) !== 0

/** True if the frame at `at` clears a range. */
export const isClearing = (bytes: Buffer, at: number): boolean => (bytes[at + FRAME.FLAGS]! & FRAME_FLAG_CLEARS) !== 0

/** True if the frame at `at` drops a named store. */
export const isDropping = (bytes: Buffer, at: number): boolean => (bytes[at + FRAME.FLAGS]! & FRAME_FLAG_DROPS) !== 0

/** True if some operations of the frame at `at` have a time at which an entry expires. */
export const isExpiring = (bytes: Buffer, at: number): boolean => (bytes[at + FRAME.FLAGS]! & FRAME_FLAG_EXPIRES) !== 0

/** The time of the append of the frame at `at`: by it, its conditions are judged. */
export const timeOf = (bytes: Buffer, at: number): number => bytes.readDoubleLE(at + FRAME.TIME)
