// A segment: one file of the log. It is named by the LSN at which it begins and holds a header and
// then frames, back to back, until the next segment begins.
//
//   offset size
//        0    4  CRC-32C of bytes 4 to 63
//        4    4  magic "MWAL"
//        8    4  format version
//       12    4  salt of this life of the file: the seed of every frame's CRC
//       16   16  UUID of the database
//       32    8  LSN of the first frame
//       40    8  LSN at which frames must end
//       48    8  LSN of the newest frame before it that has operations; 0 if there was none
//       56    8  reserved (0)
//       64       frames: the frame with LSN x lies at byte 64 + 8 (x - first LSN)
import { bytesBetween, FIRST_LSN, lsnToHex, MAX_LSN, type Lsn } from './lsn.js'
import type { RandomFile } from '../storage/storage.js'
import { crc32c } from '../encoding/crc32c.js'
import { FRAME, readLsn } from './frame.js'

export const SEGMENT_HEADER_BYTES = 64
export const SEGMENT_VERSION = 2
const MAGIC = 0x4c41574d
/** Most room for frames in a segment. A header that claims more is rejected, since that much would be allocated. */
const MAX_SEGMENT_BYTES = 16 * 1024 * 1024 * 1024
const SEGMENT = { CRC: 0, MAGIC: 4, VERSION: 8, SALT: 12, UUID: 16, START: 32, LIMIT: 40, CHANGED: 48 } as const

export interface SegmentHeader {
  readonly version: number
  readonly salt: number
  readonly uuid: Buffer
  readonly startLsn: Lsn
  readonly limitLsn: Lsn
  /**
   * LSN of the newest frame before this segment that has operations. A reader who has seen that one misses nothing if
   * all before the segment is gone. 0 if there was none.
   */
  readonly changedLsn: number
}

export const segmentName = (startLsn: Lsn): string => `${lsnToHex(startLsn)}.wal`

/** The LSN in a file name, or undefined if it is not a segment's name. */
export function segmentStart(name: string): Lsn | undefined {
  if (!/^[0-9a-f]{16}\.wal$/.test(name)) return undefined
  const lsn = Number.parseInt(name.slice(0, 16), 16)
  return lsn >= FIRST_LSN && lsn <= MAX_LSN ? (lsn as Lsn) : undefined
}

export function encodeSegmentHeader(header: SegmentHeader): Buffer {
  const b = Buffer.alloc(SEGMENT_HEADER_BYTES)
  b.writeUInt32LE(MAGIC, SEGMENT.MAGIC)
  b.writeUInt32LE(header.version, SEGMENT.VERSION)
  b.writeUInt32LE(header.salt, SEGMENT.SALT)
  header.uuid.copy(b, SEGMENT.UUID, 0, 16)
  b.writeBigUInt64LE(BigInt(header.startLsn), SEGMENT.START)
  b.writeBigUInt64LE(BigInt(header.limitLsn), SEGMENT.LIMIT)
  b.writeBigUInt64LE(BigInt(header.changedLsn), SEGMENT.CHANGED)
  b.writeUInt32LE(crc32c(b.subarray(SEGMENT.MAGIC)), SEGMENT.CRC)
  return b
}

/** The LSN field of the first frame in a segment's file; 0 if it is not long enough for one. */
export function firstFrameLsn(file: RandomFile): number {
  const bytes = Buffer.alloc(FRAME.HEADER_BYTES)
  return file.read(bytes, 0, bytes.length, SEGMENT_HEADER_BYTES) === bytes.length ? readLsn(bytes, FRAME.LSN) : 0
}

/** The header, or undefined if these bytes are not one (torn, stale, never written). */
export function decodeSegmentHeader(b: Buffer): SegmentHeader | undefined {
  if (b.length < SEGMENT_HEADER_BYTES) return undefined
  if (b.readUInt32LE(SEGMENT.MAGIC) !== MAGIC) return undefined
  if (crc32c(b.subarray(SEGMENT.MAGIC, SEGMENT_HEADER_BYTES)) !== b.readUInt32LE(SEGMENT.CRC)) return undefined
  const startLsn = Number(b.readBigUInt64LE(SEGMENT.START)) as Lsn
  const limitLsn = Number(b.readBigUInt64LE(SEGMENT.LIMIT)) as Lsn
  const changedLsn = Number(b.readBigUInt64LE(SEGMENT.CHANGED))
  if (
    limitLsn < startLsn ||
    changedLsn >= startLsn ||
    limitLsn > MAX_LSN ||
    bytesBetween(startLsn, limitLsn) > MAX_SEGMENT_BYTES ||
    b.readUInt32LE(SEGMENT.VERSION) === 0
  )
    return undefined
  return {
    version: b.readUInt32LE(SEGMENT.VERSION),
    salt: b.readUInt32LE(SEGMENT.SALT),
    uuid: Buffer.from(b.subarray(SEGMENT.UUID, SEGMENT.UUID + 16)),
    startLsn,
    limitLsn,
    changedLsn,
  }
}

/** True if these bytes are still those of `header`, as far as they tell segments apart. Computes no CRC. */
export const isHeaderOf = (b: Buffer, { salt, startLsn }: SegmentHeader): boolean =>
  b.readUInt32LE(SEGMENT.MAGIC) === MAGIC &&
  b.readUInt32LE(SEGMENT.SALT) === salt &&
  Number(b.readBigUInt64LE(SEGMENT.START)) === startLsn

/** Where in its segment's file the word with this LSN lies. */
export const filePosition = (startLsn: Lsn, lsn: Lsn): number => SEGMENT_HEADER_BYTES + bytesBetween(startLsn, lsn)
