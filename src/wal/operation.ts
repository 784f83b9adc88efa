// One operation of a frame.
//
//   offset size
//        0    1  kind (1 = put, 2 = del, 3 = check, 4 = add, 5 = check range: range-check.ts, 6 = clear)
//        1    1  flags
//                  0x01  it belongs to the same write as the operation before it
//                  0x02  only if the version of the entry is the one given
//                  0x04  only if there is no entry
//                  0x08  only if there is an entry
//                  0x10  of a put or add: the entry expires (add: if there was none); of a del: see below
//                  0x20  of an add: its number is JSON, not msgpack
//        2    2  key length K
//        4    4  value length V (0 for del and check)
//        8    8  the version, only with flag 0x02
//        .    8  when it expires, milliseconds since 1970 (float64), only with flag 0x10
//        .    K  key in the tree; of a clear: the first one that is removed
//        .    V  value; of an add: what is added; of a check of a range: what the range had; of a clear: the key before
//                which it ends, nothing if it has no end
//
// An entry that has expired by the time in the frame counts as absent. A del with flag 0x10 is of the sweeper: it
// removes an entry that has expired, if that still has the version.
//
// A write is what its user made in one call: a put, or a whole batch. All of its operations take effect or none does.
// Writes that were made at the same time share a frame.
import { isTime, MAX_EXPIRING_KEY_BYTES, NEVER } from '../encoding/expiry-key.js'
import { AREA } from '../encoding/key-space.js'
import { CorruptError } from '../errors.js'
import { MAX_TREE_KEY_BYTES } from '../limits.js'
import { FRAME, FRAME_FLAGS, FRAME_TYPE_OPERATIONS, isClearing, isDeciding, readLsn } from './frame.js'
import { isRangeCheck } from './range-check.js'

export const OP = { KIND: 0, FLAGS: 1, KEY_LENGTH: 2, VALUE_LENGTH: 4, HEADER_BYTES: 8 } as const
export const OP_PUT = 1
export const OP_DEL = 2
export const OP_CHECK = 3
export const OP_ADD = 4
export const OP_CHECK_RANGE = 5
export const OP_CLEAR = 6

export const OP_FLAG = { JOINED: 1, IF_VERSION: 2, IF_ABSENT: 4, IF_PRESENT: 8, EXPIRES: 0x10, JSON: 0x20 } as const
/** The flags that make a write depend on what it finds. */
export const CONDITIONS = OP_FLAG.IF_VERSION | OP_FLAG.IF_ABSENT | OP_FLAG.IF_PRESENT
const KINDS: readonly number[] = [OP_PUT, OP_DEL, OP_CHECK, OP_ADD, OP_CHECK_RANGE, OP_CLEAR]
const KNOWN_FLAGS = CONDITIONS | OP_FLAG.JOINED
const flagsOf = (kind: number): number => {
  if (kind === OP_CLEAR) return OP_FLAG.JOINED
  const expires = kind === OP_CHECK || kind === OP_CHECK_RANGE ? 0 : OP_FLAG.EXPIRES
  return KNOWN_FLAGS | expires | (kind === OP_ADD ? OP_FLAG.JSON : 0)
}
const VERSION_BYTES = 8
export const TIME_BYTES = 8
/** Bytes of an operation with these flags before its key. */
export const headBytes = (flags: number): number =>
  OP.HEADER_BYTES +
  ((flags & OP_FLAG.IF_VERSION) === 0 ? 0 : VERSION_BYTES) +
  ((flags & OP_FLAG.EXPIRES) === 0 ? 0 : TIME_BYTES)

/** True if whether, or with which result, an operation of this kind takes effect depends on what it finds. */
export const decides = (kind: number, flags: number): boolean =>
  (kind !== OP_PUT && kind !== OP_CLEAR) || (flags & CONDITIONS) !== 0

const NO_BYTES = Buffer.alloc(0)

/**
 * Steps through the operations of a frame. Throws `CorruptError` if they do not fill the frame exactly, or are of a
 * kind that is not known: if the CRC of the frame is good, a faulty program wrote it.
 */
export class OperationCursor {
  bytes: Buffer = NO_BYTES
  kind = 0
  flags = 0
  keyAt = 0
  keyLength = 0
  valueAt = 0
  valueLength = 0
  /** Where the frame begins. */
  frameAt = 0
  #end = 0
  #mayDecide = false
  #mayClear = false
  #left = 0
  #count = 0
  #next = 0

  /** Begins before the first operation of the frame at [at, at + lengthBytes) of `bytes`. */
  begin(bytes: Buffer, at: number, lengthBytes: number): this {
    this.bytes = bytes
    this.frameAt = at
    this.#end = at + lengthBytes
    this.#count = this.#left = bytes.readUInt32LE(at + FRAME.OP_COUNT)
    this.#next = at + FRAME.HEADER_BYTES
    this.#mayDecide = isDeciding(bytes, at)
    this.#mayClear = isClearing(bytes, at)
    if (bytes[at + FRAME.TYPE] !== FRAME_TYPE_OPERATIONS || (bytes[at + FRAME.FLAGS]! & ~FRAME_FLAGS) !== 0)
      throw malformed(bytes, at, 'its frame type or flags are unknown')
    return this
  }

  /** Steps to the next operation; false after the last. */
  next(): boolean {
    const { bytes } = this
    const at = this.#next
    if (this.#left === 0) {
      if (at !== this.#end) throw malformed(bytes, this.frameAt, 'it is longer than its operations')
      return false
    }
    if (at + OP.HEADER_BYTES > this.#end) throw this.#malformed('begins after the end of the frame')
    const kind = bytes[at + OP.KIND]!
    const flags = bytes[at + OP.FLAGS]!
    const keyLength = bytes[at + OP.KEY_LENGTH]! | (bytes[at + OP.KEY_LENGTH + 1]! << 8)
    const valueLength = bytes.readUInt32LE(at + OP.VALUE_LENGTH)
    const keyAt = at + headBytes(flags)
    const valueAt = keyAt + keyLength
    const end = valueAt + valueLength
    if (end > this.#end || keyLength === 0 || keyLength > MAX_TREE_KEY_BYTES) throw this.#malformed('has a bad length')
    if (this.#left === this.#count && (flags & OP_FLAG.JOINED) !== 0)
      throw this.#malformed('belongs to the write before it, and there is none')
    this.kind = kind
    this.flags = flags
    this.keyAt = keyAt
    this.keyLength = keyLength
    this.valueAt = valueAt
    this.valueLength = valueLength
    this.#next = end
    if (kind !== OP_PUT || (flags & ~OP_FLAG.JOINED) !== 0) this.#checkKind()
    this.#left--
    return true
  }

  /** Whether the current operation may be so: not asked of a put without conditions and expiry. */
  #checkKind(): void {
    const { bytes, kind, flags, keyAt, valueAt, valueLength } = this
    if (!KINDS.includes(kind) || (flags & ~flagsOf(kind)) !== 0) throw this.#malformed('has an unknown kind or flags')
    if (kind === OP_CLEAR && !this.#mayClear) throw this.#malformed('clears a range, and the frame does not say so')
    if (kind === OP_CLEAR && !isRange(bytes, keyAt, valueAt, this.end)) throw this.#malformed('clears no range')
    if ((flags & OP_FLAG.EXPIRES) !== 0) this.#checkExpiry()
    if (!this.#mayDecide && decides(kind, flags))
      throw this.#malformed('decides something, and the frame does not say so')
    if (kind === OP_CHECK_RANGE && ((flags & CONDITIONS) !== 0 || !isRangeCheck(bytes, valueAt, valueLength)))
      throw this.#malformed('checks a range that makes no sense')
  }

  /** Where the current operation begins. */
  get at(): number {
    return this.keyAt - headBytes(this.flags)
  }
  /** Where the current operation ends. */
  get end(): number {
    return this.#next
  }
  /** True if the current operation is the first of its write. */
  get beginsWrite(): boolean {
    return (this.flags & OP_FLAG.JOINED) === 0
  }
  /** The version that the entry must have, if there is that condition. */
  get ifVersion(): number {
    const at = this.at + OP.HEADER_BYTES
    return this.bytes.readUInt32LE(at) + this.bytes.readUInt32LE(at + 4) * 2 ** 32
  }
  /** When the entry expires that a put makes, or an add that finds none; `NEVER` if it does not. */
  get expiresAt(): number {
    return (this.flags & OP_FLAG.EXPIRES) === 0 ? NEVER : this.bytes.readDoubleLE(this.keyAt - TIME_BYTES)
  }
  /** True for a del of an entry that has expired. */
  get isSweep(): boolean {
    return this.kind === OP_DEL && (this.flags & OP_FLAG.EXPIRES) !== 0
  }
  /** Of an add: its number is JSON, not msgpack. */
  get isJson(): boolean {
    return (this.flags & OP_FLAG.JSON) !== 0
  }
  /** The key, where it lies. */
  get key(): Buffer {
    return this.bytes.subarray(this.keyAt, this.keyAt + this.keyLength)
  }
  /** The value, where it lies. */
  get value(): Buffer {
    return this.bytes.subarray(this.valueAt, this.valueAt + this.valueLength)
  }

  #checkExpiry(): void {
    const { kind, flags, keyAt, keyLength } = this
    if (!isTime(this.expiresAt)) throw this.#malformed('expires at a time that is not one')
    if (keyLength > MAX_EXPIRING_KEY_BYTES || this.bytes[keyAt] === AREA.INTERNAL)
      throw this.#malformed('expires, and its key is of no entry that can')
    if (kind === OP_DEL && (flags & OP_FLAG.IF_VERSION) === 0)
      throw this.#malformed('removes what has expired, whatever that is')
  }

  #malformed(why: string): CorruptError {
    return malformed(this.bytes, this.frameAt, `operation ${this.#count - this.#left} ${why}`)
  }
}

/** What a clear removes, where it lies. */
export const rangeOf = ({ key, value, valueLength }: OperationCursor): [from: Buffer, to: Buffer | undefined] => [
  key,
  valueLength === 0 ? undefined : value,
]

/** True if the key at [from, to) comes before the one at [to, end), or there is no such key. */
const isRange = (bytes: Buffer, from: number, to: number, end: number): boolean =>
  to === end || (end - to <= MAX_TREE_KEY_BYTES && bytes.compare(bytes, to, end, from, to) < 0)

/** The operations of a frame, for `while (operations.next())`. */
export const operationsOf = (bytes: Buffer, at = 0, lengthBytes = bytes.length): OperationCursor =>
  new OperationCursor().begin(bytes, at, lengthBytes)

function malformed(bytes: Buffer, at: number, why: string): CorruptError {
  const lsn = readLsn(bytes, at + FRAME.LSN)
  return new CorruptError(`The frame at LSN ${lsn} is malformed: ${why}.`, { lsn })
}
