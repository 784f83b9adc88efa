// Frames on their way to the log, and what a database should hold at an LSN by them: every frame before it, applied in
// order, each write only if its conditions hold. The model that simulation and fault tests compare with. Values are
// JSON, as text.
import { FRAME, readLsn } from '../../src/wal/frame.js'
import { lsnAfter } from '../../src/wal/lsn.js'
import { OP_ADD, OP_CHECK, OP_CHECK_RANGE, OP_DEL, OP_FLAG, OP_PUT, operationsOf } from '../../src/wal/operation.js'
import { isOutcomeFrame } from '../../src/wal/outcomes.js'
import { rangeCheckOf } from '../../src/wal/range-check.js'

interface ModelOperation {
  readonly kind: 'put' | 'del' | 'check' | 'add' | 'check range'
  /** Encoded. */
  readonly key: string
  /** Of a put or add, as text. */
  readonly value: string
  readonly beginsWrite: boolean
  readonly condition: 'absent' | 'present' | number | undefined
  /** Infinity for an entry that stays. */
  readonly expiresAt: number
  /** Of a del: it removes what has expired. */
  readonly isSweep: boolean
  /** Of a check of a range. */
  readonly range: ModelRange | undefined
}

/** Bounds are encoded. */
interface ModelRange {
  readonly from: string
  readonly fromAfter: boolean
  readonly to: string | undefined
  readonly toInclusive: boolean
  readonly entries: number
  readonly lsn: number
}

export interface ModelFrame {
  readonly lsn: number
  readonly end: number
  /** All before this LSN had been on disk when it was appended, and the frame says so. */
  readonly watermark: number
  /** By the database's clock; what is in it is judged by that time. */
  readonly timeMs: number
  readonly bytes: Buffer
  /** Empty for a frame of outcomes. */
  readonly operations: readonly ModelOperation[]
  /** The process that wrote it. */
  readonly writer: string
}

const KINDS = {
  [OP_PUT]: 'put',
  [OP_DEL]: 'del',
  [OP_CHECK]: 'check',
  [OP_ADD]: 'add',
  [OP_CHECK_RANGE]: 'check range',
} as const

/** The frame that a write to a file is, whole; undefined if it is something else. */
export function frameOf(written: Uint8Array, writer: string): ModelFrame | undefined {
  const b = Buffer.from(written.buffer, written.byteOffset, written.length)
  if (b.length < FRAME.HEADER_BYTES || b.readUInt32LE(FRAME.LENGTH) !== b.length) return undefined
  const lsn = readLsn(b, FRAME.LSN)
  return {
    lsn,
    end: lsnAfter(lsn, b.length),
    watermark: readLsn(b, FRAME.WATERMARK),
    timeMs: b.readDoubleLE(FRAME.TIME),
    bytes: Buffer.from(b),
    operations: isOutcomeFrame(b, 0) ? [] : modelOperations(b),
    writer,
  }
}

function modelOperations(frame: Buffer): ModelOperation[] {
  const list: ModelOperation[] = []
  for (const operation = operationsOf(frame); operation.next();) {
    const { kind, flags, key, value, beginsWrite, expiresAt, isSweep } = operation
    list.push({
      kind: KINDS[kind as keyof typeof KINDS],
      key: key.toString('latin1'),
      value: value.toString('utf8'),
      beginsWrite,
      range: kind === OP_CHECK_RANGE ? modelRange(key, value) : undefined,
      expiresAt,
      isSweep,
      condition:
        (flags & OP_FLAG.IF_ABSENT) !== 0
          ? 'absent'
          : (flags & OP_FLAG.IF_VERSION) !== 0
            ? operation.ifVersion
            : (flags & OP_FLAG.IF_PRESENT) !== 0
              ? 'present'
              : undefined,
    })
  }
  return list
}

function modelRange(key: Buffer, value: Buffer): ModelRange {
  const { from, to, ...range } = rangeCheckOf(key, value)
  return { ...range, from: from.toString('latin1'), to: to?.toString('latin1') }
}

/** What `frames`, in ascending order, say at `lsn`. `nowMs`: what has expired by then is absent. */
export function stateAt(frames: readonly ModelFrame[], lsn: number, nowMs = 0): Map<string, string> {
  return new Model().applyAll(frames, lsn).values(nowMs)
}

/** What became of one write of a frame. */
export interface ModelResult {
  readonly took: boolean
  /** Of a single delete. */
  readonly removed: boolean
  /** Of a single add. */
  readonly sum: number | undefined
  /** It adds to what is no number. */
  readonly isRefused: boolean
}
const REFUSED: ModelResult = { took: false, removed: false, sum: undefined, isRefused: true }
const NO_EFFECT: ModelResult = { ...REFUSED, isRefused: false }

/** What became of the writes of the frame at `lsn`, by `frames`, in ascending order. */
export function resultsAt(frames: readonly ModelFrame[], lsn: number): ModelResult[] {
  const frame = frames.find((each) => each.lsn === lsn)
  return frame === undefined ? [] : new Model().applyAll(frames, lsn).apply(frame)
}

/** What became of the writes of all frames, in ascending order, by their LSNs. */
export function allResults(frames: readonly ModelFrame[]): Map<number, ModelResult[]> {
  const model = new Model()
  return new Map(frames.map((frame) => [frame.lsn, model.apply(frame)]))
}

/** A change that a frame made. */
export interface ModelChange {
  readonly lsn: number
  /** Which operation of the frame, from 0. */
  readonly index: number
  readonly key: string
  /** As text; undefined if the entry was removed. */
  readonly value: string | undefined
  /** Of a put: when the entry expires; Infinity if it does not. */
  readonly expiresAt: number | undefined
}

/** What `frames`, in ascending order, changed before `lsn`, one after the other. */
export function changesBefore(frames: readonly ModelFrame[], lsn: number): readonly ModelChange[] {
  return new Model().applyAll(frames, lsn).changes
}

interface ModelEntry {
  readonly value: string
  readonly expiresAt: number
}

class Model {
  readonly changes: ModelChange[] = []
  readonly #entries = new Map<string, ModelEntry & { readonly version: number }>()
  /** The time of the frame that is being applied. */
  #nowMs = 0

  applyAll(frames: readonly ModelFrame[], lsn: number): this {
    for (const frame of frames) {
      if (frame.lsn >= lsn) break
      this.apply(frame)
    }
    return this
  }

  apply({ operations, lsn, timeMs }: ModelFrame): ModelResult[] {
    this.#nowMs = timeMs
    const writes: ModelOperation[][] = []
    for (const operation of operations) {
      if (operation.beginsWrite) writes.push([])
      writes.at(-1)!.push(operation)
    }
    let first = 0
    return writes.map((write) => {
      first += write.length
      return this.#applyWrite(write, lsn, first - write.length)
    })
  }

  #applyWrite(operations: readonly ModelOperation[], version: number, first: number): ModelResult {
    if (!operations.every((operation) => this.#holds(operation))) return NO_EFFECT
    if (!operations.every(({ range }) => range === undefined || this.#isUnchanged(range))) return NO_EFFECT
    const changed = new Map<string, ModelEntry | undefined>()
    const there = (key: string): ModelEntry | undefined =>
      changed.has(key) ? changed.get(key) : this.#entries.get(key)
    const alive = (key: string): ModelEntry | undefined => {
      const entry = there(key)
      return entry !== undefined && entry.expiresAt > this.#nowMs ? entry : undefined
    }
    const changes: ModelChange[] = []
    let sum: number | undefined
    let removed = false
    for (const [i, { kind, key, value, expiresAt, isSweep }] of operations.entries()) {
      if (kind === 'add') {
        const entry = alive(key)
        const before = JSON.parse(entry?.value ?? '0') as unknown
        if (typeof before !== 'number') return REFUSED
        sum = before + (JSON.parse(value) as number)
        changed.set(key, { value: JSON.stringify(sum), expiresAt: entry?.expiresAt ?? expiresAt })
      } else if (kind === 'put') changed.set(key, { value, expiresAt })
      else if (kind === 'del') {
        removed = (isSweep ? there(key) : alive(key)) !== undefined
        // What has expired stays until it is swept.
        if (removed) changed.set(key, undefined)
      }
      if (kind === 'check' || kind === 'check range' || (kind === 'del' && !removed)) continue
      const entry = changed.get(key)
      changes.push({ lsn: version, index: first + i, key, value: entry?.value, expiresAt: entry?.expiresAt })
    }
    this.changes.push(...changes)
    for (const [key, entry] of changed) {
      if (entry === undefined) this.#entries.delete(key)
      else this.#entries.set(key, { ...entry, version })
    }
    const isSingle = operations.length === 1
    return { took: true, removed: isSingle && removed, sum: isSingle ? sum : undefined, isRefused: false }
  }

  #holds({ key, condition, isSweep }: ModelOperation): boolean {
    if (condition === undefined) return true
    const found = this.#entries.get(key)
    const entry = found !== undefined && (isSweep || found.expiresAt > this.#nowMs) ? found : undefined
    if (condition === 'absent') return entry === undefined
    return entry !== undefined && (condition === 'present' || condition === entry.version)
  }

  #isUnchanged({ from, fromAfter, to, toInclusive, entries, lsn }: ModelRange): boolean {
    const found = [...this.#entries].filter(
      ([key, { expiresAt }]) =>
        expiresAt > this.#nowMs &&
        (fromAfter ? key > from : key >= from) &&
        (to === undefined || (toInclusive ? key <= to : key < to)),
    )
    return found.length === entries && found.every(([, { version }]) => version < lsn)
  }

  values(nowMs: number): Map<string, string> {
    const alive = [...this.#entries].filter(([, { expiresAt }]) => expiresAt > nowMs)
    return new Map(alive.map(([key, { value }]) => [key, value]))
  }
}
