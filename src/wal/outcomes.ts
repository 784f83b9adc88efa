// Outcomes: what applying a frame decided. Whether the conditions of a write held, whether a delete found anything, and
// what a counter came to follow from the log and the tree. A program that reads the log without the tree finds them in
// frames of their own, which the leader appends after it has applied a group, before it publishes it.
//
// A frame of outcomes (type 2) has, in place of operations, for each frame that had something to decide:
//
//   offset size
//        0    8  LSN of that frame
//        8    4  length of what follows
//       12       for each write, in order:
//                  1  verdict: VERDICT
//                  then, if it took effect, for each del: 1 byte, 1 if it removed an entry, else 0;
//                  for each add: 1 byte length, then the encoded sum; if the entry expires, 255 and 8 bytes (float64,
//                  milliseconds since 1970) stand before that
//
// The outcomes of a group share a frame, up to MOST_SHARED_BYTES; those of one frame are never spread over several. So
// what one frame decides must fit into another: MAX_FRAME_ADDS sees to that.
//
// A crash before such a frame is on disk loses nothing: an opener that applies the frames again decides the same.
import { NEVER } from '../encoding/expiry-key.js'
import { CorruptError } from '../errors.js'
import { FRAME, FRAME_TYPE_OUTCOMES, isDeciding, readLsn } from './frame.js'
import { newFrame } from './frame-builder.js'
import { paddedBytes } from './lsn.js'
import { OP_ADD, OP_DEL, OP_PUT, operationsOf, TIME_BYTES, type OperationCursor } from './operation.js'

export const VERDICT = {
  /** A condition did not hold. */
  REFUSED: 0,
  DONE: 1,
  /** What was to be added to is no number. */
  NO_NUMBER: 2,
  /** One is a number and the other a bigint. */
  MIXED: 3,
  /** The sum has too many digits, or is not finite. */
  TOO_LARGE: 4,
} as const
export type Verdict = (typeof VERDICT)[keyof typeof VERDICT]

const ENTRY = { LSN: 0, LENGTH: 8, HEADER_BYTES: 12 } as const
/** A sum takes at most this many bytes when encoded. */
export const MAX_SUM_BYTES = 200
/** Stands where the length of a sum would, before the time at which the entry expires. */
const EXPIRES = 255

/** Bytes of the log that the outcome of this frame takes at most, in a frame of outcomes of its own. */
export function mostOutcomeBytes(frame: Buffer): number {
  if (!isDeciding(frame, 0)) return 0
  let bytes = FRAME.HEADER_BYTES + ENTRY.HEADER_BYTES
  for (const operation = operationsOf(frame); operation.next();) {
    if (operation.beginsWrite) bytes++
    if (operation.kind === OP_DEL) bytes++
    else if (operation.kind === OP_ADD) bytes += 1 + TIME_BYTES + 1 + MAX_SUM_BYTES
  }
  return paddedBytes(bytes)
}

/** Collects the outcomes of one frame. */
export class OutcomeBuilder {
  #bytes = Buffer.alloc(64)
  #length = 0

  begin(): void {
    this.#length = 0
  }
  byte(n: number): void {
    this.#room(1)
    this.#bytes[this.#length++] = n
  }
  /** `expiresAt`: when the entry expires that has the sum; `NEVER` if it does not. */
  sum(encoded: Uint8Array, expiresAt: number): void {
    this.#room(1 + TIME_BYTES + 1 + encoded.length)
    if (expiresAt !== NEVER) {
      this.#bytes[this.#length++] = EXPIRES
      this.#length = this.#bytes.writeDoubleLE(expiresAt, this.#length)
    }
    this.#bytes[this.#length++] = encoded.length
    this.#bytes.set(encoded, this.#length)
    this.#length += encoded.length
  }
  /** A copy of what was collected. */
  take(): Buffer {
    return Buffer.from(this.#bytes.subarray(0, this.#length))
  }

  #room(bytes: number): void {
    if (this.#length + bytes <= this.#bytes.length) return
    const bigger = Buffer.alloc(2 * (this.#length + bytes))
    this.#bytes.copy(bigger, 0, 0, this.#length)
    this.#bytes = bigger
  }
}

/** Outcomes by the LSN of the frame that they belong to. */
type Outcomes = ReadonlyMap<number, Buffer>

/** Outcomes of several frames share a frame up to this length. */
const MOST_SHARED_BYTES = 4 * 1024 * 1024

/** Frames of outcomes, in the order in which these were decided; they are not sealed yet. */
export function outcomeFrames(outcomes: Outcomes): Buffer[] {
  const frames: Buffer[] = []
  let parts: Buffer[] = []
  let lengthBytes = 0
  const finish = (): void => {
    const frame = newFrame(Buffer.concat(parts), parts.length / 2)
    frame[FRAME.TYPE] = FRAME_TYPE_OUTCOMES
    frames.push(frame)
    parts = []
    lengthBytes = 0
  }
  for (const [lsn, bytes] of outcomes) {
    const entryBytes = ENTRY.HEADER_BYTES + bytes.length
    if (parts.length > 0 && lengthBytes + entryBytes > MOST_SHARED_BYTES) finish()
    const head = Buffer.alloc(ENTRY.HEADER_BYTES)
    head.writeBigUInt64LE(BigInt(lsn), ENTRY.LSN)
    head.writeUInt32LE(bytes.length, ENTRY.LENGTH)
    parts.push(head, bytes)
    lengthBytes += entryBytes
  }
  if (parts.length > 0) finish()
  return frames
}

export const isOutcomeFrame = (bytes: Buffer, at: number): boolean => bytes[at + FRAME.TYPE] === FRAME_TYPE_OUTCOMES

/**
 * Calls `visit` for each entry of the frame of outcomes at [at, at + lengthBytes). Throws `CorruptError` if they do not
 * fill it exactly.
 */
export function forEachOutcome(
  bytes: Buffer,
  at: number,
  lengthBytes: number,
  visit: (lsn: number, outcome: Buffer) => void,
): void {
  const end = at + lengthBytes
  let p = at + FRAME.HEADER_BYTES
  for (let n = bytes.readUInt32LE(at + FRAME.OP_COUNT); n > 0; n--) {
    if (p + ENTRY.HEADER_BYTES > end) throw malformed(bytes, at)
    const length = bytes.readUInt32LE(p + ENTRY.LENGTH)
    const from = p + ENTRY.HEADER_BYTES
    if (from + length > end) throw malformed(bytes, at)
    visit(Number(bytes.readBigUInt64LE(p + ENTRY.LSN)), bytes.subarray(from, from + length))
    p = from + length
  }
  if (p !== end) throw malformed(bytes, at)
}

/** Steps through the operations of a frame and what became of them. */
export class DecidedCursor {
  readonly operations: OperationCursor
  /** Of the write that the current operation belongs to. */
  verdict: Verdict = VERDICT.REFUSED
  /** For a del that took effect: whether it removed an entry. */
  removed = false
  /** For an add that took effect: the encoded sum, where it lies. */
  sum: Buffer | undefined
  /** When the entry expires that a put or add has made, if that took effect; `NEVER` if it does not. */
  expiresAt = NEVER
  readonly #outcome: Buffer
  #at = 0

  constructor(operations: OperationCursor, outcome: Buffer) {
    this.operations = operations
    this.#outcome = outcome
  }

  /** Steps to the next operation; false after the last. Throws `CorruptError` if the outcome does not fit. */
  next(): boolean {
    const { operations } = this
    if (!operations.next()) {
      if (this.#at !== this.#outcome.length) throw this.#malformed()
      return false
    }
    if (operations.beginsWrite) this.verdict = this.#byte() as Verdict
    const isDone = this.verdict === VERDICT.DONE
    this.removed = isDone && operations.kind === OP_DEL && this.#byte() === 1
    this.sum = undefined
    this.expiresAt = operations.kind === OP_PUT ? operations.expiresAt : NEVER
    if (!isDone || operations.kind !== OP_ADD) return true
    let length = this.#byte()
    if (length === EXPIRES) {
      this.expiresAt = this.#take(TIME_BYTES).readDoubleLE(0)
      length = this.#byte()
    }
    this.sum = this.#take(length)
    return true
  }

  #byte(): number {
    const byte = this.#outcome[this.#at++]
    if (byte === undefined) throw this.#malformed()
    return byte
  }

  #take(length: number): Buffer {
    const bytes = this.#outcome.subarray(this.#at, (this.#at += length))
    if (bytes.length !== length) throw this.#malformed()
    return bytes
  }

  #malformed(): CorruptError {
    return malformed(this.operations.bytes, this.operations.frameAt)
  }
}

const malformed = (bytes: Buffer, at: number): CorruptError => {
  const lsn = readLsn(bytes, at + FRAME.LSN)
  return new CorruptError(`The outcomes in the frame at LSN ${lsn} are malformed, or do not fit its writes.`, { lsn })
}
