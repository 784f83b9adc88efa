// Where the log ends, shared by every thread and process that appends: two copies in `control` and
// a sequence word that says which one is current. An appender writes it, under the append lock: it fills
// in the spare copy and then moves the sequence word on, atomically. An appender that dies in between has
// changed nothing. Readers need no lock: they read the current copy and check that the word has not moved.
import { loadFence } from '../storage/fence.js'

/** Bytes that the state takes in `control`: the word and two copies, two cache lines each. */
export const APPEND_STATE_BYTES = 384
const SEQUENCE_WORD = 0
const COPY_AT = 128
const COPY_BYTES = 128

/** The fields of a copy, as float64 indices. */
const FIELD = {
  TAIL: 0,
  SEGMENT_START: 1,
  SEGMENT_LIMIT: 2,
  RESERVED_SLOTS: 3,
  FRAMES: 4,
  OPERATIONS: 5,
  SEGMENT_SALT: 6,
  SEGMENT_DEVICE: 7,
  SEGMENT_INODE: 8,
  OUTCOME_BYTES: 9,
  CHANGED: 10,
  EXPIRING: 11,
  STORES: 12,
} as const

export interface AppendFields {
  /** LSN after the last frame. */
  tailLsn: number
  /** The segment that holds the tail: where it begins, its salt, which file it is, and where its frames must end. */
  segmentStartLsn: number
  segmentSalt: number
  segmentDevice: number
  segmentInode: number
  segmentLimitLsn: number
  /** Slots promised to all frames that were ever appended in this life of `control`. */
  reservedSlots: number
  /** Bytes of the log set aside for the outcomes of all these frames. */
  outcomeBytes: number
  frames: number
  operations: number
  /** LSN of the newest frame that has operations; 0 if there was none. */
  changedLsn: number
  /** Frames of this life that had operations with a time at which an entry expires. */
  expiring: number
  /**
   * Which generation of the list of named stores holds at the tail: each drop moves it on (engine/stores/stores.ts).
   * Never 0.
   */
  storesGeneration: number
}

export class AppendState {
  readonly #words: Int32Array
  readonly #numbers: Float64Array

  /** `offset`: byte of `buffer` at which the state lies, a multiple of 64. */
  constructor(buffer: ArrayBuffer, offset: number) {
    this.#words = new Int32Array(buffer, offset, APPEND_STATE_BYTES / 4)
    this.#numbers = new Float64Array(buffer, offset, APPEND_STATE_BYTES / 8)
  }

  /** Writes a consistent copy into `into`. */
  read(into: AppendFields): AppendFields {
    for (;;) {
      const sequence = Atomics.load(this.#words, SEQUENCE_WORD)
      const at = (COPY_AT + (sequence & 1) * COPY_BYTES) >> 3
      const n = this.#numbers
      into.tailLsn = n[at + FIELD.TAIL]!
      into.segmentStartLsn = n[at + FIELD.SEGMENT_START]!
      into.segmentSalt = n[at + FIELD.SEGMENT_SALT]!
      into.segmentDevice = n[at + FIELD.SEGMENT_DEVICE]!
      into.segmentInode = n[at + FIELD.SEGMENT_INODE]!
      into.segmentLimitLsn = n[at + FIELD.SEGMENT_LIMIT]!
      into.reservedSlots = n[at + FIELD.RESERVED_SLOTS]!
      into.outcomeBytes = n[at + FIELD.OUTCOME_BYTES]!
      into.frames = n[at + FIELD.FRAMES]!
      into.operations = n[at + FIELD.OPERATIONS]!
      into.changedLsn = n[at + FIELD.CHANGED]!
      into.expiring = n[at + FIELD.EXPIRING]!
      into.storesGeneration = n[at + FIELD.STORES]! + 1
      loadFence()
      if (Atomics.load(this.#words, SEQUENCE_WORD) === sequence) return into
    }
  }

  /** Replaces the state. The caller must hold the append lock. */
  publish(from: AppendFields): void {
    const sequence = Atomics.load(this.#words, SEQUENCE_WORD) + 1
    const at = (COPY_AT + (sequence & 1) * COPY_BYTES) >> 3
    const n = this.#numbers
    n[at + FIELD.TAIL] = from.tailLsn
    n[at + FIELD.SEGMENT_START] = from.segmentStartLsn
    n[at + FIELD.SEGMENT_SALT] = from.segmentSalt
    n[at + FIELD.SEGMENT_DEVICE] = from.segmentDevice
    n[at + FIELD.SEGMENT_INODE] = from.segmentInode
    n[at + FIELD.SEGMENT_LIMIT] = from.segmentLimitLsn
    n[at + FIELD.RESERVED_SLOTS] = from.reservedSlots
    n[at + FIELD.OUTCOME_BYTES] = from.outcomeBytes
    n[at + FIELD.FRAMES] = from.frames
    n[at + FIELD.OPERATIONS] = from.operations
    n[at + FIELD.CHANGED] = from.changedLsn
    n[at + FIELD.EXPIRING] = from.expiring
    n[at + FIELD.STORES] = from.storesGeneration - 1
    Atomics.store(this.#words, SEQUENCE_WORD, sequence | 0)
  }
}

export const newAppendFields = (): AppendFields => ({
  tailLsn: 0,
  segmentStartLsn: 0,
  segmentSalt: 0,
  segmentDevice: 0,
  segmentInode: 0,
  segmentLimitLsn: 0,
  reservedSlots: 0,
  outcomeBytes: 0,
  frames: 0,
  operations: 0,
  changedLsn: 0,
  expiring: 0,
  storesGeneration: 1,
})
