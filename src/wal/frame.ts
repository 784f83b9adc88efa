// The record of the log. One frame is one atomic unit: a single put or a whole batch.
//
//   offset size
//        0    4  CRC-32C of everything behind it up to `length`, seeded with the segment's salt
//        4    4  length of the frame in bytes, header included
//        8    6  LSN: the position of this frame
//       14    1  type (1 = operations)
//       15    1  flags (0)
//       16    6  durable watermark: every byte of the log before it was on disk when this was appended
//       22    2  reserved (0)
//       24    4  number of operations
//       28    4  reserved (0)
//       32    8  time of the append, milliseconds since 1970 (float64)
//       40       operations, back to back:
//                  0  1  kind (1 = put, 2 = del)
//                  1  1  flags (0); later: conditions, a store's number
//                  2  2  key length K
//                  4  4  value length V (0 for del)
//                  8  K  key, as encoded by the key codec
//                8+K  V  value
//
// The next frame begins at the next multiple of 8. All integers are little-endian.
//
// The salt differs in every segment and every life of a recycled one, so leftovers never pass for
// frames; the LSN inside tells a frame that was moved. The watermark tells a torn tail from rot:
// see `log-reader.ts`.
import { CorruptError, InvalidError, IoError } from '../errors.js'
import { crc32c } from '../encoding/crc32c.js'
import { LSN_ALIGNMENT, type Lsn } from './lsn.js'

export const FRAME = {
  CRC: 0,
  LENGTH: 4,
  LSN: 8,
  TYPE: 14,
  FLAGS: 15,
  WATERMARK: 16,
  OP_COUNT: 24,
  TIME: 32,
  HEADER_BYTES: 40,
} as const

export const FRAME_TYPE_OPERATIONS = 1
export const OP = { KIND: 0, FLAGS: 1, KEY_LENGTH: 2, VALUE_LENGTH: 4, HEADER_BYTES: 8 } as const
export const OP_PUT = 1
export const OP_DEL = 2

/** A frame, and so a batch, is at most this long. */
export const MAX_FRAME_BYTES = 1024 * 1024 * 1024
/** A value is at most this long. */
export const MAX_VALUE_BYTES = 512 * 1024 * 1024
export const MAX_KEY_BYTES = 1024

/** Bytes from the start of one frame to the start of the next. */
export const frameStride = (lengthBytes: number): number =>
  Math.ceil(lengthBytes / LSN_ALIGNMENT) * LSN_ALIGNMENT

/**
 * Collects operations into the bytes of one frame. The buffer is reused after `reset`, unless it
 * was given away with `take`.
 */
export class FrameBuilder {
  #buffer: Buffer
  #length: number = FRAME.HEADER_BYTES
  #opCount = 0
  readonly #initialBytes: number

  constructor(initialBytes = 4096) {
    this.#initialBytes = initialBytes
    this.#buffer = Buffer.allocUnsafeSlow(initialBytes)
  }

  get lengthBytes(): number {
    return this.#length
  }
  get opCount(): number {
    return this.#opCount
  }

  reset(): void {
    this.#length = FRAME.HEADER_BYTES
    this.#opCount = 0
    if (this.#buffer.length > 16 * 1024 * 1024) this.#buffer = Buffer.allocUnsafeSlow(this.#initialBytes)
  }

  /** Adds all operations of another frame, behind those that are here. */
  append(other: FrameBuilder): void {
    const end = this.#length + other.#length - FRAME.HEADER_BYTES
    if (end > MAX_FRAME_BYTES) throw tooLarge()
    if (end > this.#buffer.length) this.#enlarge(end)
    other.#buffer.copy(this.#buffer, this.#length, FRAME.HEADER_BYTES, other.#length)
    this.#length = end
    this.#opCount += other.#opCount
  }

  put(key: Uint8Array, keyLength: number, value: Uint8Array): void {
    this.#add(OP_PUT, key, keyLength, value)
  }

  del(key: Uint8Array, keyLength: number): void {
    this.#add(OP_DEL, key, keyLength, EMPTY)
  }

  /** The frame as it stands, header not sealed yet. Valid until the next call. */
  frame(): Buffer {
    this.#header()
    return this.#buffer.subarray(0, this.#length)
  }

  /** The frame in memory of its own, which the caller owns; the builder starts anew. */
  take(): Buffer {
    const frame = this.frame()
    this.#buffer = Buffer.allocUnsafeSlow(this.#initialBytes)
    this.reset()
    return frame
  }

  #header(): void {
    writeHeader(this.#buffer, this.#length, this.#opCount)
  }

  #add(kind: number, key: Uint8Array, keyLength: number, value: Uint8Array): void {
    // No frame of the log may have one: whoever applies it takes it for damage.
    if (keyLength === 0 || keyLength > MAX_KEY_BYTES) throw new InvalidError(`A key must have 1 to ${MAX_KEY_BYTES} bytes when encoded.`)
    // Read once: of memory that another thread can make longer it may be another one the next time.
    const valueLength = value.length
    const at = this.#length
    const end = at + OP.HEADER_BYTES + keyLength + valueLength
    if (end > MAX_FRAME_BYTES) throw tooLarge()
    if (end > this.#buffer.length) this.#enlarge(end)
    const b = this.#buffer
    b[at + OP.KIND] = kind
    b[at + OP.FLAGS] = 0
    b[at + OP.KEY_LENGTH] = keyLength
    b[at + OP.KEY_LENGTH + 1] = keyLength >>> 8
    b[at + OP.VALUE_LENGTH] = valueLength
    b[at + OP.VALUE_LENGTH + 1] = valueLength >>> 8
    b[at + OP.VALUE_LENGTH + 2] = valueLength >>> 16
    b[at + OP.VALUE_LENGTH + 3] = valueLength >>> 24
    const k = at + OP.HEADER_BYTES
    for (let i = 0; i < keyLength; i++) b[k + i] = key[i]!
    b.set(value, k + keyLength)
    this.#length = end
    this.#opCount++
  }

  #enlarge(neededBytes: number): void {
    const bigger = setAside(Math.max(neededBytes, Math.min(this.#buffer.length * 2, MAX_FRAME_BYTES)))
    this.#buffer.copy(bigger, 0, 0, this.#length)
    this.#buffer = bigger
  }
}

function setAside(bytes: number): Buffer {
  try {
    return Buffer.allocUnsafeSlow(bytes)
  } catch (cause) {
    throw new IoError(`There is no memory for a write of ${bytes} bytes. Nothing was written.`, { cause })
  }
}

function writeHeader(into: Buffer, lengthBytes: number, opCount: number): void {
  into.fill(0, 0, FRAME.HEADER_BYTES)
  into.writeUInt32LE(lengthBytes, FRAME.LENGTH)
  into[FRAME.TYPE] = FRAME_TYPE_OPERATIONS
  into.writeUInt32LE(opCount, FRAME.OP_COUNT)
}

/** A frame of operations that are bytes already, not sealed yet. */
export function newFrame(operations: Uint8Array, opCount: number): Buffer {
  const frame = setAside(FRAME.HEADER_BYTES + operations.length)
  writeHeader(frame, frame.length, opCount)
  frame.set(operations, FRAME.HEADER_BYTES)
  return frame
}

const EMPTY = new Uint8Array(0)

const tooLarge = (): InvalidError =>
  new InvalidError(`A batch may hold at most ${MAX_FRAME_BYTES} bytes of keys and values; split it into smaller ones.`)

/** Fills in what only the append knows, and the CRC last. `frame` holds exactly one frame. */
export function sealFrame(frame: Buffer, lsn: Lsn, watermark: Lsn, timeMs: number, salt: number): void {
  frame.writeUIntLE(lsn, FRAME.LSN, 6)
  frame.writeUIntLE(watermark, FRAME.WATERMARK, 6)
  frame.writeDoubleLE(timeMs, FRAME.TIME)
  frame.writeUInt32LE(crc32c(frame.subarray(FRAME.LENGTH), salt), FRAME.CRC)
}

/**
 * True if a sealed frame with this LSN begins at `at` and lies within `end`: its length, LSN, type
 * and CRC all hold.
 */
export function isFrameAt(bytes: Buffer, at: number, end: number, lsn: Lsn, salt: number): boolean {
  if (at + FRAME.HEADER_BYTES > end) return false
  if (bytes.readUIntLE(at + FRAME.LSN, 6) !== lsn) return false
  const length = bytes.readUInt32LE(at + FRAME.LENGTH)
  if (length < FRAME.HEADER_BYTES || at + length > end) return false
  return crc32c(bytes.subarray(at + FRAME.LENGTH, at + length), salt) === bytes.readUInt32LE(at + FRAME.CRC)
}

/** One operation of a frame, as positions in the buffer that holds it. Reused; read it at once. */
export interface Operation {
  kind: number
  keyAt: number
  keyLength: number
  valueAt: number
  valueLength: number
}

/**
 * Walks the operations of the frame at [at, at + length). Calls `visit` for each; throws
 * `CorruptError` if they do not fill the frame exactly, which a frame with a good CRC only shows if
 * a program that went wrong wrote it.
 */
export function forEachOperation(
  bytes: Buffer,
  at: number,
  lengthBytes: number,
  visit: (bytes: Buffer, kind: number, keyAt: number, keyLength: number, valueAt: number, valueLength: number) => void,
): void {
  const end = at + lengthBytes
  const count = bytes.readUInt32LE(at + FRAME.OP_COUNT)
  if (bytes[at + FRAME.TYPE] !== FRAME_TYPE_OPERATIONS || bytes[at + FRAME.FLAGS] !== 0) throw malformed(bytes, at, 'it is of no kind that is known')
  let p = at + FRAME.HEADER_BYTES
  for (let i = 0; i < count; i++) {
    if (p + OP.HEADER_BYTES > end) throw malformed(bytes, at, `operation ${i} begins behind its end`)
    const kind = bytes[p + OP.KIND]!
    const keyLength = bytes[p + OP.KEY_LENGTH]! | (bytes[p + OP.KEY_LENGTH + 1]! << 8)
    const valueLength = bytes.readUInt32LE(p + OP.VALUE_LENGTH)
    const keyAt = p + OP.HEADER_BYTES
    const valueAt = keyAt + keyLength
    p = valueAt + valueLength
    if (p > end || keyLength === 0 || keyLength > MAX_KEY_BYTES || (kind !== OP_PUT && kind !== OP_DEL) || bytes[keyAt - OP.HEADER_BYTES + OP.FLAGS] !== 0) {
      throw malformed(bytes, at, `operation ${i} is none`)
    }
    visit(bytes, kind, keyAt, keyLength, valueAt, valueLength)
  }
  if (p !== end) throw malformed(bytes, at, 'it is longer than its operations')
}

function malformed(bytes: Buffer, at: number, why: string): CorruptError {
  const lsn = bytes.readUIntLE(at + FRAME.LSN, 6)
  return new CorruptError(`The frame at LSN ${lsn} is malformed: ${why}.`, { lsn })
}
