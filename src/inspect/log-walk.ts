// The log as it lies on disk: its segments, its frames, and where and why it ends. Works on a log that is damaged,
// and on one that is being appended to.
import { NEVER } from '../encoding/expiry-key.js'
import { storeOf } from '../encoding/key-space.js'
import { decodeSum } from '../encoding/values/numbers.js'
import { CorruptError, logMissing } from '../errors.js'
import type { Key } from '../encoding/keys.js'
import type { ValueCodec } from '../encoding/values/codec.js'
import { SLOT_BYTES } from '../engine/format/layout.js'
import { findHeader } from '../engine/lifecycle/find-header.js'
import { posixStorage } from '../storage/posix.js'
import { FRAME, FRAME_TYPE_OPERATIONS, FRAME_TYPE_OUTCOMES, readLsn } from '../wal/frame.js'
import {
  OP_ADD,
  OP_CHECK_RANGE,
  OP_CLEAR,
  OP_FLAG,
  OP_PUT,
  operationsOf,
  type OperationCursor,
} from '../wal/operation.js'
import { rangeCheckOf } from '../wal/range-check.js'
import { forEachOutcome, isOutcomeFrame } from '../wal/outcomes.js'
import { classifyEnd } from '../wal/log-end.js'
import { LogReader } from '../wal/log-reader.js'
import { Log } from '../wal/log.js'
import { MAX_LSN, type Lsn } from '../wal/lsn.js'
import { segmentName, type SegmentHeader } from '../wal/segment.js'
import { decidedFrames, KIND_NAMES, type DecidedFrame, type OperationKind } from './decided-view.js'
import { attempt, decodedKey, type Decoded } from './decoded.js'
import { checkThere, isInUse } from './offline-files.js'

/** A log to look at: nothing in it is changed or locked. */
export interface OfflineLog {
  readonly log: Log
  /** The tree on disk includes everything before this LSN. Undefined if no header is good. */
  readonly checkpointLsn: number | undefined
  /** The database is open in some process. */
  readonly inUse: boolean
}

/** Looks at the log of the database at `db`. Throws as opening the database would if it, or its log, is missing. */
export async function withLog<T>(db: string, look: (log: OfflineLog) => Promise<T>): Promise<T> {
  const paths = checkThere(db)
  if (posixStorage.info(paths.wal).kind !== 'directory') {
    throw logMissing(paths.wal)
  }
  const checkpointLsn = checkpointOf(paths.data)
  const inUse = posixStorage.info(paths.data).kind === 'file' && isInUse(db)
  const log = new Log({
    storage: posixStorage,
    directory: paths.wal,
    uuid: Buffer.alloc(16),
    segmentBytes: 0,
    readOnly: true,
  })
  try {
    return await look({ log, checkpointLsn, inUse })
  } finally {
    log.close()
  }
}

/** The LSN that the newest checkpoint reaches, if there is a good header. */
function checkpointOf(data: string): number | undefined {
  if (posixStorage.info(data).kind !== 'file') return undefined
  const file = posixStorage.openFile(data, 'read')
  try {
    const search = findHeader((slotNo) => {
      const slot = Buffer.alloc(SLOT_BYTES)
      return slot.subarray(0, Math.max(0, file.read(slot, 0, SLOT_BYTES, slotNo * SLOT_BYTES)))
    }, data)
    return search.header?.lsn
  } catch (error) {
    // The log can be looked at even if all four headers are damaged.
    if (error instanceof CorruptError) return undefined
    throw error
  } finally {
    file.close()
  }
}

// ---- segments ----------------------------------------------------------------------------------

export interface SegmentView {
  readonly file: string
  readonly startLsn: Lsn
  readonly bytes: number
  /** Undefined if it is damaged or was never finished. */
  readonly header: SegmentHeader | undefined
  /** A recovery would read it, as far as can be told. */
  readonly isNeeded: boolean
}

export function segmentView({ log, checkpointLsn }: OfflineLog, startLsn: Lsn): SegmentView {
  const header = log.segment(startLsn)?.header
  return {
    file: segmentName(startLsn),
    startLsn,
    bytes: log.sizeBytes(startLsn),
    header,
    isNeeded: checkpointLsn === undefined || header === undefined || header.limitLsn > checkpointLsn,
  }
}

// ---- frames ------------------------------------------------------------------------------------

/** A stretch of damage in a part of the log that the tree on disk includes. */
export interface LogGap {
  readonly from: number
  readonly to: number
}

/** Why no frame follows. */
export type LogEnding =
  | { readonly kind: 'end' }
  /** A frame was started and never acknowledged. */
  | { readonly kind: 'torn'; readonly tornBytes: number }
  /** Acknowledged frames are damaged. */
  | { readonly kind: 'rot'; readonly why: string }
  /** `hasGrown`: frames have been appended since the walk came to the end. */
  | { readonly kind: 'in use'; readonly hasGrown: boolean }

/** Walks over the frames of a log. */
export class LogWalk {
  readonly #log: Log
  readonly #reader: LogReader
  /** For frames that another one refers to. */
  #past: LogReader | undefined
  readonly #checkpointLsn: number
  readonly #inUse: boolean
  #gaps: LogGap[] = []

  constructor({ log, checkpointLsn, inUse }: OfflineLog, from: Lsn) {
    this.#log = log
    this.#reader = new LogReader(log, from)
    this.#checkpointLsn = checkpointLsn ?? 0
    this.#inUse = inUse
  }

  /** LSN after the current frame. */
  get position(): Lsn {
    return this.#reader.position
  }

  /** LSN of the current frame. */
  get lsn(): Lsn {
    return this.#reader.lsn
  }

  /** Goes to the next frame; false if there is none. */
  next(): boolean {
    const reader = this.#reader
    if (reader.next(MAX_LSN)) return true
    // What the tree on disk includes may be damaged: recovery starts after it.
    if (reader.position >= this.#checkpointLsn) return false
    this.#gaps.push({ from: reader.position, to: this.#checkpointLsn })
    reader.seek(this.#checkpointLsn as Lsn, 0 as Lsn)
    return reader.next(MAX_LSN)
  }

  /** The gaps before the current frame that have not been taken yet. */
  takeGaps(): LogGap[] {
    return this.#gaps.splice(0)
  }

  frame(): FrameView {
    const { bytes, at, lengthBytes, lsn } = this.#reader
    const type = bytes[at + FRAME.TYPE]!
    return {
      lsn,
      type: TYPE_NAMES[type] ?? `type ${type}`,
      operationCount: bytes.readUInt32LE(at + FRAME.OP_COUNT),
      lengthBytes,
      timeMs: bytes.readDoubleLE(at + FRAME.TIME),
      watermarkLsn: readLsn(bytes, at + FRAME.WATERMARK),
    }
  }

  /**
   * The LSNs of the frames whose outcomes the current frame holds; empty if it is no frame of outcomes.
   * Of a malformed one, those before the place that makes no sense.
   */
  decidedLsns(): number[] {
    const { bytes, at, lengthBytes } = this.#reader
    const lsns: number[] = []
    try {
      if (isOutcomeFrame(bytes, at)) forEachOutcome(bytes, at, lengthBytes, (lsn) => lsns.push(lsn))
    } catch (error) {
      if (!(error instanceof CorruptError)) throw error
    }
    return lsns
  }

  /** What the current frame says of others; empty if it is no frame of outcomes. */
  decided(): DecidedFrame[] {
    const { bytes, at, lengthBytes, lsn } = this.#reader
    this.#past ??= new LogReader(this.#log, lsn)
    return decidedFrames(bytes, at, lengthBytes, this.#past)
  }

  /** The operations of the current frame, as far as it is well-formed. Valid until `next` is called. */
  operations(codec: ValueCodec): OperationView[] {
    const { bytes, at, lengthBytes } = this.#reader
    const list: OperationView[] = []
    try {
      if (isOutcomeFrame(bytes, at)) return list
      for (const operation = operationsOf(bytes, at, lengthBytes); operation.next();)
        list.push(operationView(operation, codec))
    } catch (error) {
      list.push({ kind: 'malformed', why: (error as Error).message })
    }
    return list
  }

  /** Why no frame follows. */
  ending(): LogEnding {
    try {
      const { tornBytes } = classifyEnd(this.#log, this.position, this.#reader.segment)
      if (this.#inUse) return { kind: 'in use', hasGrown: false }
      return tornBytes === 0 ? { kind: 'end' } : { kind: 'torn', tornBytes }
    } catch (error) {
      if (!(error instanceof CorruptError)) throw error
      // If the database is in use, frames have been appended: what was the end is no longer the end.
      return this.#inUse ? { kind: 'in use', hasGrown: true } : { kind: 'rot', why: error.message }
    }
  }
}

export interface FrameView {
  readonly lsn: number
  readonly type: string
  readonly operationCount: number
  readonly lengthBytes: number
  /** When it was appended, in milliseconds since 1970. */
  readonly timeMs: number
  /** How far the log was known to be on disk when it was appended. */
  readonly watermarkLsn: number
}

const TYPE_NAMES: Record<number, string> = { [FRAME_TYPE_OPERATIONS]: 'operations', [FRAME_TYPE_OUTCOMES]: 'outcomes' }

/** Which conditions an operation has. */
export interface ConditionsView {
  readonly ifVersion?: number
  readonly ifAbsent?: true
  readonly ifPresent?: true
}

/** What a check of a range asks, besides its lower bound. Bounds may be bytes that are not a whole key. */
export interface RangeView {
  readonly fromAfter: boolean
  /** Undefined: up to the last key. */
  readonly to: Decoded<Key> | undefined
  readonly toInclusive: boolean
  readonly entries: number
  readonly lsn: number
}

function rangeView({ key, value }: OperationCursor): RangeView {
  const { fromAfter, to, toInclusive, entries, lsn } = rangeCheckOf(key, value)
  return { fromAfter, to: to && decodedKey(to), toInclusive, entries, lsn }
}

function operationView(operation: OperationCursor, codec: ValueCodec): OperationView {
  const { bytes, kind, flags, beginsWrite, valueAt, valueLength } = operation
  const valueCodec = kind === OP_PUT && storeOf(operation.key) === 0 ? codec : undefined
  const decode = (): unknown =>
    kind === OP_ADD
      ? decodeSum(operation.value, operation.isJson)
      : valueCodec?.decode(bytes, valueAt, valueAt + valueLength)
  return {
    kind: KIND_NAMES[kind as keyof typeof KIND_NAMES],
    conditions: {
      ...((flags & OP_FLAG.IF_VERSION) !== 0 && { ifVersion: operation.ifVersion }),
      ...((flags & OP_FLAG.IF_ABSENT) !== 0 && { ifAbsent: true }),
      ...((flags & OP_FLAG.IF_PRESENT) !== 0 && { ifPresent: true }),
    },
    beginsWrite,
    expiresAt: operation.expiresAt === NEVER ? undefined : operation.expiresAt,
    key: decodedKey(operation.key),
    valueBytes: valueLength,
    ...(kind === OP_CHECK_RANGE && { range: rangeView(operation) }),
    value: kind === OP_ADD || valueCodec !== undefined ? attempt(decode) : undefined,
    to: kind === OP_CLEAR && valueLength > 0 ? decodedKey(operation.value) : undefined,
  }
}

export type OperationView =
  | {
      readonly kind: OperationKind
      readonly conditions: ConditionsView
      /** False for all operations of a write but the first. */
      readonly beginsWrite: boolean
      /** When the entry expires, milliseconds since 1970; of a delete: when it has. Undefined for one that stays. */
      readonly expiresAt: number | undefined
      readonly key: Decoded<Key>
      readonly valueBytes: number
      /** Of a check of a range, whose lower bound is the key. */
      readonly range?: RangeView
      /**
       * Of an add: what is added. Undefined for a delete, check or clear, for a value of a named store, and for one
       * that cannot be decoded.
       */
      readonly value: { readonly value: unknown } | undefined
      /** Of a clear: the key before which the range ends, if it has an end. */
      readonly to: Decoded<Key> | undefined
    }
  | { readonly kind: 'malformed'; readonly why: string }
