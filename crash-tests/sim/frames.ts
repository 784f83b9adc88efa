// Frames on their way to the log, and what a database should hold at an LSN by them: every frame before it, applied in
// order, each write only if its conditions hold. The model that simulation and fault tests compare with. Values are
// JSON, as text.
//
// Keys are those of the tree. So entries of named stores have the number of the store in front, and the list of stores
// is among the entries: it is read here as catalog.ts writes it.
import { isExpiryKey } from '../../src/encoding/expiry-key.js'
import { AREA, storeOf } from '../../src/encoding/key-space.js'
import { valueCodec } from '../../src/encoding/values/codec.js'
import { COUNTER_KEY, decodeStore, isDroppedKey, isStoreKey } from '../../src/engine/stores/catalog.js'
import { FRAME, readLsn } from '../../src/wal/frame.js'
import { lsnAfter } from '../../src/wal/lsn.js'
import {
  OP_ADD,
  OP_CHECK,
  OP_CHECK_RANGE,
  OP_CLEAR,
  OP_DEL,
  OP_FLAG,
  OP_PUT,
  operationsOf,
  rangeOf,
} from '../../src/wal/operation.js'
import { isOutcomeFrame } from '../../src/wal/outcomes.js'
import { rangeCheckOf } from '../../src/wal/range-check.js'

interface ModelOperation {
  readonly kind: 'put' | 'del' | 'check' | 'add' | 'check range' | 'clear'
  /** Encoded; of a clear the first one that goes. */
  readonly key: string
  /** Of a clear: the key before which it ends, if it has an end. */
  readonly to: string | undefined
  /** Of a put or add, as text; of the entry of a store, its bytes. */
  readonly value: string
  readonly beginsWrite: boolean
  readonly condition: 'absent' | 'present' | number | undefined
  /** Infinity for an entry that stays. */
  readonly expiresAt: number
  /** Of a del: it removes what has expired. */
  readonly isSweep: boolean
  /** Of a del: it removes what the index of times still has. */
  readonly isOfIndex: boolean
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
  [OP_CLEAR]: 'clear',
} as const

const COUNTER = COUNTER_KEY.toString('latin1')
const bytesOf = (text: string): Buffer => Buffer.from(text, 'latin1')

/** True for the key of an entry that the engine keeps for itself. */
const isInternal = (key: string): boolean => key.charCodeAt(0) === AREA.INTERNAL

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

const MSGPACK = valueCodec('msgpack')

function modelOperations(frame: Buffer): ModelOperation[] {
  const list: ModelOperation[] = []
  for (const operation = operationsOf(frame); operation.next();) {
    const { kind, flags, key, value, beginsWrite, expiresAt, isSweep } = operation
    list.push({
      kind: KINDS[kind as keyof typeof KINDS],
      key: key.toString('latin1'),
      to: kind === OP_CLEAR ? rangeOf(operation)[1]?.toString('latin1') : undefined,
      value:
        kind === OP_ADD && !operation.isJson
          ? JSON.stringify(MSGPACK.decode(value, 0, value.length))
          : value.toString(isStoreKey(key) ? 'latin1' : 'utf8'),
      beginsWrite,
      range: kind === OP_CHECK_RANGE ? modelRange(key, value) : undefined,
      expiresAt,
      isSweep,
      isOfIndex: isExpiryKey(key),
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
  return modelAt(frames, lsn).values(nowMs)
}

/** The database as `frames`, in ascending order, make it before `lsn`. */
export const modelAt = (frames: readonly ModelFrame[], lsn: number): Model => new Model().applyAll(frames, lsn)

/** What became of one write of a frame. */
export interface ModelResult {
  readonly took: boolean
  /** Of a single delete. */
  readonly removed: boolean
  /** Of a single add. */
  readonly sum: number | undefined
  /** It adds to what is no number. */
  readonly isRefused: boolean
  /** It removes what the index of times still has, and is not modelled: nothing is known of it. */
  readonly isOfIndex?: true
}
const REFUSED: ModelResult = { took: false, removed: false, sum: undefined, isRefused: true }
const NO_EFFECT: ModelResult = { ...REFUSED, isRefused: false }
const OF_INDEX: ModelResult = { ...NO_EFFECT, isOfIndex: true }

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
  readonly type: 'put' | 'del' | 'clear' | 'drop'
  /** The number of the store; 0 for the default store. */
  readonly store: number
  /** The name of the store that was dropped. */
  readonly name?: string | undefined
  /** Of a clear: the first one that went. */
  readonly key: string
  /** Of a clear: the key before which it ended, if it had an end. */
  readonly to?: string | undefined
  /** As text; undefined if the entry was removed. */
  readonly value?: string | undefined
  /** Of a put: when the entry expires; Infinity if it does not. */
  readonly expiresAt?: number | undefined
}

interface ModelEntry {
  readonly value: string
  readonly expiresAt: number
}

/** What a write makes of entries, until all of it is done; undefined: removed. */
type Changed = Map<string, ModelEntry | undefined>

export class Model {
  /** What changed, one after the other, as far as anybody is told of it. */
  readonly changes: ModelChange[] = []
  /** The names of all named stores that there ever were, by their numbers. */
  readonly allStores = new Map<number, string>()
  /** A frame that has written to a store that was not there, and how. */
  stray: string | undefined
  readonly #entries = new Map<string, ModelEntry & { readonly version: number }>()
  readonly #stores = new Map<string, number>()
  /** The time of the frame that is being applied. */
  #nowMs = 0

  applyAll(frames: readonly ModelFrame[], lsn: number): this {
    for (const frame of frames) {
      if (frame.lsn >= lsn) break
      this.apply(frame)
    }
    return this
  }

  /** The named stores that there are: their numbers by their names. */
  get stores(): ReadonlyMap<string, number> {
    return this.#stores
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
    if (operations.some(({ isOfIndex }) => isOfIndex)) return OF_INDEX
    if (!operations.every((operation) => this.#holds(operation))) return NO_EFFECT
    if (!operations.every(({ range }) => range === undefined || this.#isUnchanged(range))) return NO_EFFECT
    const changed: Changed = new Map()
    const there = (key: string): ModelEntry | undefined =>
      changed.has(key) ? changed.get(key) : this.#entries.get(key)
    const alive = (key: string): ModelEntry | undefined => {
      const entry = there(key)
      return entry !== undefined && entry.expiresAt > this.#nowMs ? entry : undefined
    }
    const changes: ModelChange[] = []
    const dropped = new Set<number>()
    let sum: number | undefined
    let removed = false
    for (const [i, operation] of operations.entries()) {
      const { kind, key, value, expiresAt, isSweep } = operation
      if (kind === 'add') {
        const entry = alive(key)
        const before = JSON.parse(entry?.value ?? '0') as unknown
        if (typeof before !== 'number') return REFUSED
        sum = before + (JSON.parse(value) as number)
        changed.set(key, { value: JSON.stringify(sum), expiresAt: entry?.expiresAt ?? expiresAt })
      } else if (kind === 'put') changed.set(key, { value, expiresAt })
      else if (kind === 'clear') this.#clear(operation, changed)
      else if (kind === 'del') {
        removed = (isSweep ? there(key) : alive(key)) !== undefined
        // What has expired stays until it is swept.
        if (removed) changed.set(key, undefined)
      }
      if (kind === 'check' || kind === 'check range' || (kind === 'del' && !removed)) continue
      this.#noteStray(operation, version)
      const told = this.#told(operation, changed.get(key))
      if (told === undefined || dropped.has(told.store)) continue
      if (told.type === 'drop') dropped.add(told.store)
      changes.push({ lsn: version, index: first + i, ...told })
    }
    this.changes.push(...changes)
    for (const [key, entry] of changed) this.#set(key, entry, version)
    const isSingle = operations.length === 1
    return { took: true, removed: isSingle && removed, sum: isSingle ? sum : undefined, isRefused: false }
  }

  #clear({ key: from, to }: ModelOperation, changed: Changed): void {
    for (const key of [...this.#entries.keys(), ...changed.keys()])
      if (key >= from && (to === undefined || key < to)) changed.set(key, undefined)
  }

  #set(key: string, entry: ModelEntry | undefined, version: number): void {
    if (entry === undefined) this.#entries.delete(key)
    else this.#entries.set(key, { ...entry, version })
    if (!isInternal(key) || !isStoreKey(bytesOf(key))) return
    const { name, number } = decodeStore(bytesOf(key), bytesOf(entry?.value ?? NO_STORE))
    if (entry === undefined) this.#stores.delete(name)
    else {
      this.#stores.set(name, number)
      this.allStores.set(number, name)
    }
  }

  /** What is told of an operation that has changed something; undefined if nothing is. */
  #told(
    { kind, key, to }: ModelOperation,
    entry: ModelEntry | undefined,
  ): Omit<ModelChange, 'lsn' | 'index'> | undefined {
    const bytes = bytesOf(key)
    if (isStoreKey(bytes) && entry === undefined) {
      const { name } = decodeStore(bytes, bytesOf(NO_STORE))
      return { type: 'drop', store: this.#stores.get(name)!, name, key }
    }
    const store = storeOf(bytes)
    if (store === undefined) return undefined
    if (kind === 'clear') return { type: 'clear', store, key, to }
    return { type: entry === undefined ? 'del' : 'put', store, key, value: entry?.value, expiresAt: entry?.expiresAt }
  }

  #noteStray({ kind, key }: ModelOperation, lsn: number): void {
    const store = storeOf(bytesOf(key)) ?? 0
    if (store > 0 && ![...this.#stores.values()].includes(store))
      this.stray ??= `the frame at LSN ${lsn} has a ${kind} in store ${store}, which is not there`
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

  /** All entries that users can see, and those of the list of stores. */
  values(nowMs: number): Map<string, string> {
    const isSeen = (key: string): boolean => !isInternal(key) || (key !== COUNTER && !isDroppedKey(bytesOf(key)))
    const alive = [...this.#entries].filter(([key, { expiresAt }]) => expiresAt > nowMs && isSeen(key))
    return new Map(alive.map(([key, { value }]) => [key, value]))
  }
}

/** The entry of a store with the number 0. */
const NO_STORE = '\0\0\0\x01'
