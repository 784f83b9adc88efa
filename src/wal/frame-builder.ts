// Operations collected into the bytes of one frame.
import { InvalidError, IoError } from '../errors.js'
import { isTime, MAX_EXPIRING_KEY_BYTES } from '../encoding/expiry-key.js'
import { MAX_FRAME_ADDS, MAX_FRAME_BYTES, MAX_KEY_BYTES, MAX_TREE_KEY_BYTES } from '../limits.js'
import {
  FRAME,
  FRAME_FLAG_CLEARS,
  FRAME_FLAG_DECIDES,
  FRAME_FLAG_DROPS,
  FRAME_FLAG_EXPIRES,
  FRAME_TYPE_OPERATIONS,
} from './frame.js'
import {
  decides,
  headBytes,
  OP,
  OP_ADD,
  OP_CHECK,
  OP_CHECK_RANGE,
  OP_CLEAR,
  OP_DEL,
  OP_FLAG,
  OP_PUT,
  TIME_BYTES,
} from './operation.js'
import { encodeRangeCheck, lowerBoundKey, type RangeCheck } from './range-check.js'

const EMPTY = new Uint8Array(0)

/** The conditions of an operation: flags of `OP_FLAG`, the version that goes with IF_VERSION, the time with EXPIRES. */
export interface OperationConditions {
  readonly flags: number
  readonly version: number
  readonly expiresAt?: number
}
export const UNCONDITIONAL: OperationConditions = { flags: 0, version: 0 }
export const IF_ABSENT: OperationConditions = { flags: OP_FLAG.IF_ABSENT, version: 0 }
export const ifVersion = (version: number): OperationConditions => ({ flags: OP_FLAG.IF_VERSION, version })

/**
 * Collects the operations of one write into the bytes of a frame; `append` adds further writes. The buffer is reused
 * after `reset`, unless it was given away with `take`.
 */
export class FrameBuilder {
  #buffer: Buffer
  #length: number = FRAME.HEADER_BYTES
  #opCount = 0
  /** Flags of the frame. */
  #flags = 0
  #storesGeneration = 0
  #addCount = 0
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
    this.#flags = 0
    this.#storesGeneration = 0
    this.#addCount = 0
    if (this.#buffer.length > 16 * 1024 * 1024) this.#buffer = Buffer.allocUnsafeSlow(this.#initialBytes)
  }

  /** Notes that the frame drops a named store. The drop is the only write of its frame. */
  dropsStore(): void {
    this.#flags |= FRAME_FLAG_DROPS
  }
  get isDropping(): boolean {
    return (this.#flags & FRAME_FLAG_DROPS) !== 0
  }

  /** Notes that the frame writes to a named store, which was there at this generation of the list of stores. */
  touchStores(generation: number): void {
    const known = this.#storesGeneration
    this.#storesGeneration = known === 0 ? generation : Math.min(known, generation)
  }

  /** Adds the write of another builder after those that are here already. */
  append(other: FrameBuilder): void {
    const end = this.#length + other.#length - FRAME.HEADER_BYTES
    if (end > MAX_FRAME_BYTES) throw tooLarge()
    if (this.#addCount + other.#addCount > MAX_FRAME_ADDS) throw tooManyAdds()
    if (end > this.#buffer.length) this.#enlarge(end)
    other.#buffer.copy(this.#buffer, this.#length, FRAME.HEADER_BYTES, other.#length)
    this.#length = end
    this.#opCount += other.#opCount
    this.#flags |= other.#flags
    if (other.#storesGeneration > 0) this.touchStores(other.#storesGeneration)
    this.#addCount += other.#addCount
  }

  put(key: Uint8Array, keyLength: number, value: Uint8Array, conditions = UNCONDITIONAL): void {
    this.#add(OP_PUT, key, keyLength, value, conditions)
  }

  del(key: Uint8Array, keyLength: number, conditions = UNCONDITIONAL): void {
    this.#add(OP_DEL, key, keyLength, EMPTY, conditions)
  }

  /** An operation that changes nothing: its write takes effect only if these conditions hold. */
  check(key: Uint8Array, keyLength: number, conditions: OperationConditions): void {
    this.#add(OP_CHECK, key, keyLength, EMPTY, conditions)
  }

  /** The same for a range, which must be as a snapshot had it. `from`: undefined is no lower bound. */
  checkRange({ from, ...range }: Omit<RangeCheck, 'from'> & { readonly from: Buffer | undefined }): void {
    const key = lowerBoundKey(from)
    this.#add(OP_CHECK_RANGE, key, key.length, encodeRangeCheck(range), UNCONDITIONAL)
  }

  /** `delta`: an encoded number or bigint, in JSON or in msgpack. */
  add(key: Uint8Array, keyLength: number, delta: Uint8Array, isJson: boolean, conditions = UNCONDITIONAL): void {
    if (this.#addCount >= MAX_FRAME_ADDS) throw tooManyAdds()
    const given = isJson ? { ...conditions, flags: conditions.flags | OP_FLAG.JSON } : conditions
    this.#add(OP_ADD, key, keyLength, delta, given)
    this.#addCount++
  }

  /** Removes all keys in the tree in [from, to); all from `from` on if there is no `to`. */
  clear(from: Uint8Array, to: Uint8Array | undefined): void {
    this.#add(OP_CLEAR, from, from.length, to ?? EMPTY, UNCONDITIONAL)
  }

  /** The frame as it stands, header not sealed yet. Valid until the next call. */
  frame(): Buffer {
    this.#header()
    return this.#buffer.subarray(0, this.#length)
  }

  /** The frame in memory of its own, which the caller owns. The builder is empty again. */
  take(): Buffer {
    const frame = this.frame()
    this.#buffer = Buffer.allocUnsafeSlow(this.#initialBytes)
    this.reset()
    return frame
  }

  #header(): void {
    writeHeader(this.#buffer, this.#length, this.#opCount, this.#flags, this.#storesGeneration)
  }

  #add(
    kind: number,
    key: Uint8Array,
    keyLength: number,
    value: Uint8Array,
    { flags, version, expiresAt }: OperationConditions,
  ): void {
    // No frame of the log may have any other key: the leader that applies it would take it for damage.
    if (keyLength === 0 || keyLength > MAX_TREE_KEY_BYTES)
      throw new InvalidError(`A key must have 1 to ${MAX_KEY_BYTES} bytes when encoded.`)
    const expires = (flags & OP_FLAG.EXPIRES) !== 0
    if (expires && (keyLength > MAX_EXPIRING_KEY_BYTES || !isTime(expiresAt!)))
      throw new InvalidError('The time at which the entry is to expire is none.')
    // Read once: another thread can make shared memory longer, and a second reading would give another length.
    const valueLength = value.length
    const at = this.#length
    const keyAt = at + headBytes(flags)
    const end = keyAt + keyLength + valueLength
    if (end > MAX_FRAME_BYTES) throw tooLarge()
    if (end > this.#buffer.length) this.#enlarge(end)
    const b = this.#buffer
    b[at + OP.KIND] = kind
    b[at + OP.FLAGS] = flags | (this.#opCount > 0 ? OP_FLAG.JOINED : 0)
    b[at + OP.KEY_LENGTH] = keyLength
    b[at + OP.KEY_LENGTH + 1] = keyLength >>> 8
    b[at + OP.VALUE_LENGTH] = valueLength
    b[at + OP.VALUE_LENGTH + 1] = valueLength >>> 8
    b[at + OP.VALUE_LENGTH + 2] = valueLength >>> 16
    b[at + OP.VALUE_LENGTH + 3] = valueLength >>> 24
    if ((flags & OP_FLAG.IF_VERSION) !== 0) b.writeBigUInt64LE(BigInt(version), at + OP.HEADER_BYTES)
    if (expires) b.writeDoubleLE(expiresAt!, keyAt - TIME_BYTES)
    for (let i = 0; i < keyLength; i++) b[keyAt + i] = key[i]!
    b.set(value, keyAt + keyLength)
    this.#length = end
    this.#opCount++
    if (decides(kind, flags)) this.#flags |= FRAME_FLAG_DECIDES
    if (kind === OP_CLEAR) this.#flags |= FRAME_FLAG_CLEARS
    if (expires) this.#flags |= FRAME_FLAG_EXPIRES
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
    throw new IoError(`Could not allocate ${bytes} bytes of memory for this write. Nothing was written.`, { cause })
  }
}

function writeHeader(into: Buffer, lengthBytes: number, opCount: number, flags: number, stores: number): void {
  into.fill(0, 0, FRAME.HEADER_BYTES)
  into.writeUInt32LE(lengthBytes, FRAME.LENGTH)
  into[FRAME.TYPE] = FRAME_TYPE_OPERATIONS
  into[FRAME.FLAGS] = flags
  into.writeUInt32LE(opCount, FRAME.OP_COUNT)
  into.writeUInt32LE(stores, FRAME.STORES)
}

/** A frame that is not sealed yet. `like`: a frame whose flags it takes over. */
export function newFrame(operations: Uint8Array, opCount: number, like?: Buffer): Buffer {
  const frame = setAside(FRAME.HEADER_BYTES + operations.length)
  writeHeader(frame, frame.length, opCount, like?.[FRAME.FLAGS] ?? 0, like?.readUInt32LE(FRAME.STORES) ?? 0)
  frame.set(operations, FRAME.HEADER_BYTES)
  return frame
}

const tooLarge = (): InvalidError =>
  new InvalidError(`A batch may hold at most ${MAX_FRAME_BYTES} bytes of keys and values; split it into smaller ones.`)

const tooManyAdds = (): InvalidError =>
  new InvalidError(`A batch may add to at most ${MAX_FRAME_ADDS} counters; split it into smaller ones.`)
