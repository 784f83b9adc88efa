// Salvage: copies everything that can still be read from damaged files into a new database. It reads the files
// themselves and changes none of them.
//
//   1. The tree of the newest good header is walked. Damaged slots are left out, and with them the keys between their
//      neighbours.
//   2. If a branch is among the damaged slots, or no header is good, the whole file is searched for leaves that nothing
//      leads to. The slots in the free list are old and left alone. If the free list cannot be read either, the newest
//      version of a key wins, and keys that were deleted may come back.
//   3. The log is replayed from where the tree ends, over its damaged places.
//
// All that is salvaged has a good CRC. What is missing is listed.
import { CorruptError, InvalidError, LockedError, NotFoundError } from '../errors.js'
import type { Storage } from '../storage/storage.js'
import { crc32c } from '../encoding/crc32c.js'
import { certainChangesOf, changesOf } from '../wal/changes.js'
import { FRAME, isDeciding, isFrameAt, readLsn } from '../wal/frame.js'
import { OP_CHECK_RANGE, OP_CLEAR, OP_FLAG, operationsOf } from '../wal/operation.js'
import { forEachOutcome, isOutcomeFrame } from '../wal/outcomes.js'
import { Log } from '../wal/log.js'
import { bytesBetween, lsnAfter, MAX_LSN, WORD_BYTES, type Lsn } from '../wal/lsn.js'
import { LogReader } from '../wal/log-reader.js'
import { filePosition } from '../wal/segment.js'
import { Engine } from '../engine/engine.js'
import { findHeader, type HeaderSearch } from '../engine/lifecycle/find-header.js'
import { databasePaths } from '../engine/lifecycle/paths.js'
import { readStack, slotsOfFreeList } from '../engine/space/free-list.js'
import { SlotSet } from '../engine/format/slot-set.js'
import { eachSlot, gapsBetween, type Runs } from '../engine/format/runs.js'
import {
  HEADER_SLOTS,
  LEAF_CELL_HEADER,
  SLOT,
  SLOT_BODY_BYTES,
  SLOT_BYTES,
  TYPE,
  typeAt,
  type SlotNo,
} from '../engine/format/layout.js'
import { isExpiryKey, NEVER } from '../encoding/expiry-key.js'
import { isTreeKey } from '../encoding/key-space.js'
import { LOCK } from '../engine/shared/lock-bytes.js'
import { Node } from '../engine/format/node.js'
import type { ResolvedOptions } from '../engine/options.js'
import { readVersion } from '../engine/format/leaf-cell.js'
import { overflowPointer } from '../engine/space/overflow.js'
import { SlotSpace } from '../engine/format/slot-space.js'
import { storedEncoding } from '../encoding/values/codec.js'
import { MAX_FRAME_BYTES, MAX_VALUE_BYTES } from '../limits.js'
import { FrameBuilder, UNCONDITIONAL } from '../wal/frame-builder.js'
import { classifyEnd } from '../wal/log-end.js'
import { DamageList, type Damage } from '../engine/format/damage.js'
import { damagedError, slotDamage, type TreeBounds } from '../engine/format/slot-damage.js'

/** Keys from `from` on and below `to`, encoded; undefined means no bound. */
interface LostRange {
  readonly from: Uint8Array | undefined
  readonly to: Uint8Array | undefined
}

/** A stretch of the log that could not be used. */
interface LogGap {
  readonly fromLsn: number
  /** Undefined: to its end. */
  readonly toLsn: number | undefined
  readonly why: string
}
export interface SalvageReport {
  /** Nothing is missing: neither an entry of the tree nor an acknowledged frame. */
  readonly complete: boolean
  /** False if no header was good and leaves were gathered from all over the file. */
  readonly headerFound: boolean
  /** Entries salvaged from the tree. */
  readonly entries: number
  /** How many of these are from leaves that nothing leads to any more. */
  readonly entriesFromLostLeaves: number
  /** True if keys that were deleted, and old values, may be among them. */
  readonly mayBeStale: boolean
  readonly framesReplayed: number
  readonly operationsReplayed: number
  /** The first 100 damaged slots. */
  readonly damage: readonly Damage[]
  readonly damagedSlots: number
  /** Where keys are missing. Those that were found in lost leaves or in the log have been salvaged. */
  readonly lostRanges: LostRange[]
  /** Encoded keys whose values were damaged. */
  readonly lostValues: Uint8Array[]
  /** Parts of the log that cannot be read. */
  readonly logGaps: LogGap[]
}

const FRAME_BYTES = 4 * 1024 * 1024
const CHUNK_BYTES = 1024 * 1024

/**
 * Salvages the database at `options.path` into a new one at `target.path`. Throws `NotFoundError`, `LockedError`
 * while the database is open anywhere, and `InvalidError` if there is something at the target. The new database has
 * the value encoding of the old one; if no header is left to say which that is, that of `target`.
 */
export function salvage(options: ResolvedOptions, target: ResolvedOptions, storage: Storage): SalvageReport {
  const paths = databasePaths(options.path)
  if (storage.info(paths.data).kind !== 'file')
    throw new NotFoundError(`There is no database at ${options.path}: it has no data file.`)
  if (storage.info(target.path).kind !== 'missing') {
    throw new InvalidError(`There is something at ${target.path} already. Give the path of a new database.`)
  }
  if (target.path.startsWith(`${options.path}/`)) {
    throw new InvalidError(
      `${target.path} lies inside the damaged database, which stays as it is. Give a path outside it.`,
    )
  }
  const locks = storage.openLocks(paths.data)
  try {
    if (locks.isHeldByOther(LOCK.ATTACHED, 'exclusive')) {
      throw new LockedError('The database is open elsewhere. Close it everywhere before you salvage it.')
    }
    const { reserveBytes, windowBytes } = options
    const region = storage.openRegion(paths.data, { mode: 'private', reserveBytes, windowBytes, create: false })
    try {
      const space = new SlotSpace(region)
      const search = headersOf(space, paths.data)
      const encodingNo = search.header?.encodingNo
      const valueEncoding =
        encodingNo === undefined ? target.valueEncoding : storedEncoding(encodingNo, { ...target, path: options.path })
      const engine = Engine.open({ ...target, valueEncoding }, storage)
      try {
        return new Salvage(space, search, engine, paths.wal, storage).run()
      } finally {
        engine.close()
      }
    } finally {
      region.close()
    }
  } finally {
    locks.close()
  }
}

const MALFORMED = 'the frame is malformed'

/** Notes the outcomes in a frame of outcomes. A malformed one says nothing. */
function collectOutcomes({ bytes, at, lengthBytes }: LogReader, outcomes: Map<number, Buffer>): void {
  if (!isOutcomeFrame(bytes, at)) return
  try {
    forEachOutcome(bytes, at, lengthBytes, (lsn, outcome) => outcomes.set(lsn, Buffer.from(outcome)))
  } catch (error) {
    if (!(error instanceof CorruptError)) throw error
  }
}

class Salvage {
  readonly #space: SlotSpace
  readonly #slots: number
  readonly #engine: Engine
  readonly #frame = new FrameBuilder(64 * 1024)
  readonly #log: Log
  readonly #search: HeaderSearch
  readonly #reached = new SlotSet()
  readonly #scratch = new Node()
  readonly #bounds: TreeBounds
  readonly #damage = new DamageList()
  readonly #lostRanges: LostRange[] = []
  readonly #lostValues: Uint8Array[] = []
  readonly #gaps: LogGap[] = []
  #damagedSlots = 0
  #branchLost = false
  #entries = 0
  #entriesFromLostLeaves = 0
  #mayBeStale = false
  #newestVersion = 0
  #frames = 0
  #operations = 0

  constructor(space: SlotSpace, search: HeaderSearch, engine: Engine, wal: string, storage: Storage) {
    this.#space = space
    this.#slots = Math.floor(space.region.sizeBytes() / SLOT_BYTES)
    this.#engine = engine
    this.#search = search
    const { header } = this.#search
    this.#log = new Log({
      storage,
      directory: wal,
      uuid: header?.uuid ?? Buffer.alloc(16),
      segmentBytes: 0,
      readOnly: true,
      ownOnly: header !== undefined,
    })
    const end = Math.min(header?.nextSlot ?? this.#slots, this.#slots)
    // If the file was cut short, a slot that leads past its end may still hold other things that are good.
    this.#bounds = {
      lsn: header?.lsn ?? MAX_LSN,
      leadsTo: (slot) => slot >= HEADER_SLOTS && (slot < end || end === this.#slots),
    }
  }

  run(): SalvageReport {
    const { header } = this.#search
    try {
      if (header === undefined) {
        this.#branchLost = true
        this.#lostRanges.push({ from: undefined, to: undefined })
      } else if (header.height > 0) {
        this.#visit(header.root, header.height - 1, undefined, undefined)
      }
      if (header !== undefined && header.trashHeight > 0) this.#passOver(header.trashRoot, header.trashHeight - 1)
      if (this.#branchLost) this.#gatherLostLeaves()
      this.#commit()
      this.#replay(header?.lsn)
      this.#commit()
    } finally {
      this.#log.close()
    }
    return {
      complete:
        header !== undefined && this.#damagedSlots === 0 && this.#lostValues.length === 0 && this.#gaps.length === 0,
      headerFound: header !== undefined,
      entries: this.#entries,
      entriesFromLostLeaves: this.#entriesFromLostLeaves,
      mayBeStale: this.#mayBeStale,
      framesReplayed: this.#frames,
      operationsReplayed: this.#operations,
      damage: this.#damage.found,
      damagedSlots: this.#damagedSlots,
      lostRanges: this.#lostRanges,
      lostValues: this.#lostValues,
      logGaps: this.#gaps,
    }
  }

  #bytes(slotNo: number): Buffer {
    const base = this.#space.byteOf(slotNo)
    return this.#space.buffers[this.#space.windowOf(slotNo)]!.subarray(base, base + SLOT_BYTES)
  }

  // ---- the tree --------------------------------------------------------------------------------

  /** Why a slot is not the good slot that it should be; undefined if it is. */
  #problem(slotNo: number, type: number, level: number): string | undefined {
    if (slotNo < HEADER_SLOTS || slotNo >= this.#slots) return 'the file ends before it'
    const bytes = this.#bytes(slotNo)
    const why = slotDamage(this.#space, slotNo as SlotNo, this.#scratch, this.#bounds)
    if (why !== undefined) return why
    if (bytes[SLOT.TYPE] !== type || bytes[SLOT.LEVEL] !== level)
      return 'it is not the kind of slot that its parent refers to'
    return undefined
  }

  #require(slotNo: number, type: number, level: number): void {
    const why = this.#problem(slotNo, type, level)
    if (why !== undefined) throw damagedError(slotNo, why)
  }

  #note(slotNo: number, why: string): void {
    this.#damagedSlots++
    this.#damage.note(slotNo, why)
  }

  #visit(slotNo: number, level: number, low: Uint8Array | undefined, high: Uint8Array | undefined): void {
    const again = slotNo < this.#slots && this.#reached.has(slotNo)
    const why = again ? 'two slots lead to it' : this.#problem(slotNo, typeAt(level), level)
    if (!again && slotNo < this.#slots) this.#reached.add(slotNo)
    if (why !== undefined) {
      this.#note(slotNo, why)
      this.#lostRanges.push({ from: low, to: high })
      if (level > 0) this.#branchLost = true
      return
    }
    const node = new Node().at(this.#space, slotNo as SlotNo)
    if (level === 0) {
      // A key outside of the leaf's range does not belong there: it may be from another time.
      const misfits = Array.from({ length: node.count }, (_, i) => keyAt(node, i)).filter(
        (key) => !isWithin(key, low, high),
      ).length
      if (misfits > 0) {
        this.#note(slotNo, `${misfits} of its keys lie outside the range that its parent gives it`)
        this.#lostRanges.push({ from: low, to: high })
      }
      for (let i = 0; i < node.count; i++)
        if (misfits === 0 || isWithin(keyAt(node, i), low, high)) this.#salvageEntry(node, i)
      return
    }
    const keyOf = (i: number): Uint8Array => node.u8.slice(node.keyAt(i), node.keyAt(i) + node.keyLength(i))
    for (let i = 0; i < node.count; i++) {
      this.#visit(node.child(i), level - 1, i === 0 ? low : keyOf(i), i + 1 < node.count ? keyOf(i + 1) : high)
    }
  }

  #salvageEntry(leaf: Node, i: number): boolean {
    const at = leaf.keyAt(i)
    const key = leaf.u8.slice(at, at + leaf.keyLength(i))
    // The entries that expire bring their index with them.
    if (isExpiryKey(key)) return false
    const value = leaf.overflows(i)
      ? this.#overflow(leaf, i)
      : leaf.u8.subarray(leaf.valueAt(i), leaf.valueAt(i) + leaf.payloadBytes(i))
    if (value === undefined || !isTreeKey(key, 0, key.length)) {
      this.#lostValues.push(key)
      return false
    }
    this.#newestVersion = Math.max(this.#newestVersion, versionOf(leaf, i))
    this.#put(key, value, leaf.expires(i) ? leaf.expiresAt(i) : NEVER)
    this.#entries++
    return true
  }

  #overflow(leaf: Node, i: number): Buffer | undefined {
    const { first, lengthBytes, crc } = overflowPointer(leaf, i)
    if (lengthBytes > Math.min(MAX_VALUE_BYTES, this.#slots * SLOT_BODY_BYTES)) return undefined
    const value = Buffer.allocUnsafe(lengthBytes)
    let done = 0
    for (let slotNo: number = first; done < lengthBytes;) {
      const why = this.#problem(slotNo, TYPE.OVERFLOW, 0)
      if (why !== undefined) {
        this.#note(slotNo, why)
        return undefined
      }
      this.#reached.add(slotNo)
      const bytes = this.#bytes(slotNo)
      const used = bytes.readUInt32LE(SLOT.USED)
      if (used !== Math.min(SLOT_BODY_BYTES, lengthBytes - done)) return undefined
      bytes.copy(value, done, SLOT.BODY, SLOT.BODY + used)
      done += used
      slotNo = bytes.readUInt32LE(SLOT.NEXT)
    }
    return crc32c(value) >>> 0 === crc >>> 0 ? value : undefined
  }

  /** What was cleared is not to come back: none of these leaves counts as one that nothing leads to. */
  #passOver(slotNo: SlotNo, level: number): void {
    if (this.#problem(slotNo, typeAt(level), level) !== undefined || this.#reached.has(slotNo)) return
    this.#reached.add(slotNo)
    const node = new Node().at(this.#space, slotNo)
    if (level > 0) for (let i = 0; i < node.count; i++) this.#passOver(node.child(i), level - 1)
  }

  // ---- leaves that nothing leads to ------------------------------------------------------------

  #gatherLostLeaves(): void {
    const free = this.#freeRuns()
    this.#mayBeStale = free === undefined
    const end = Math.min(this.#slots, this.#search.header?.nextSlot ?? this.#slots)
    const treeLsn = this.#search.header?.lsn ?? MAX_LSN
    const versions = new Map<string, number>()
    for (const slotNo of eachSlot(gapsBetween(free ?? new Float64Array(0), HEADER_SLOTS, end))) {
      if (this.#reached.has(slotNo)) continue
      if (this.#problem(slotNo, TYPE.LEAF, 0) !== undefined) continue
      // If the leaf is newer than the checkpoint, the log has all of it.
      if (Number(this.#bytes(slotNo).readBigUInt64LE(SLOT.LSN)) > treeLsn) continue
      const leaf = new Node().at(this.#space, slotNo as SlotNo)
      for (let i = 0; i < leaf.count; i++) {
        const key = keyAt(leaf, i)
        if (!this.#lostRanges.some(({ from, to }) => isWithin(key, from, to))) continue
        const name = key.toString('latin1')
        const version = versionOf(leaf, i)
        if (this.#mayBeStale && (versions.get(name) ?? -1) >= version) continue
        if (!this.#salvageEntry(leaf, i)) continue
        if (versions.has(name)) this.#entries--
        else this.#entriesFromLostLeaves++
        if (this.#mayBeStale) versions.set(name, version)
      }
    }
  }

  /** What is in the free list; undefined if not all of it can be read. */
  #freeRuns(): Runs | undefined {
    const { header } = this.#search
    if (header === undefined) return undefined
    const checker = { require: (slot: number, type: number, level: number) => this.#require(slot, type, level) }
    try {
      const chain = slotsOfFreeList(this.#space, checker, header.freeListHead, header.freeListSlots)
      return readStack(this.#space, chain, header.nextSlot).free
    } catch (error) {
      if (error instanceof CorruptError) return undefined
      throw error
    }
  }

  // ---- the log ---------------------------------------------------------------------------------

  /** Replays from `treeLsn`. If that is not known, replays what is newer than all that was found in leaves. */
  #replay(treeLsn: Lsn | undefined): void {
    if (this.#log.storage.info(this.#log.directory).kind !== 'directory') {
      this.#gaps.push({ fromLsn: treeLsn ?? 0, toLsn: undefined, why: 'the directory of the log is missing' })
      return
    }
    const from = treeLsn ?? this.#log.starts()[0] ?? (0 as Lsn)
    // What became of the writes of a frame stands after it.
    const outcomes = new Map<number, Buffer>()
    this.#walk(from, (reader) => collectOutcomes(reader, outcomes))
    for (const gap of this.#walk(from, (reader) => {
      if (treeLsn === undefined && reader.lsn <= this.#newestVersion) return
      const why = this.#applyFrame(reader, outcomes.get(reader.lsn))
      if (why !== undefined) this.#gaps.push({ fromLsn: reader.lsn, toLsn: reader.position, why })
    }))
      this.#gaps.push(gap)
    this.#gaps.sort((a, b) => a.fromLsn - b.fromLsn)
  }

  /** Calls `visit` for each frame from `from` on, and returns the stretches of the log that cannot be read. */
  #walk(from: Lsn, visit: (reader: LogReader) => void): LogGap[] {
    const gaps: LogGap[] = []
    const reader = new LogReader(this.#log, from)
    for (;;) {
      while (reader.next(MAX_LSN)) visit(reader)
      const fromLsn = reader.position
      let why: string
      try {
        classifyEnd(this.#log, fromLsn, reader.segment)
        return gaps
      } catch (error) {
        if (!(error instanceof CorruptError)) throw error
        why = error.message.replace(/^[^:]*: /, '').replace(/\. Acknowledged.*$/s, '')
      }
      const toLsn = this.#nextFrame(fromLsn)
      gaps.push({ fromLsn, toLsn, why })
      if (toLsn === undefined) return gaps
      reader.seek(toLsn, 0 as Lsn)
    }
  }

  /** Why a frame cannot be applied, or not all of it; undefined if it was. */
  #applyFrame({ bytes, at, lengthBytes }: LogReader, outcome: Buffer | undefined): string | undefined {
    if (isOutcomeFrame(bytes, at)) return undefined
    let undecided = 0
    try {
      // If its CRC is good and its contents make no sense, nothing of it can be trusted.
      for (const operation = operationsOf(bytes, at, lengthBytes); operation.next();)
        if (!isBound(operation.kind) && !isTreeKey(bytes, operation.keyAt, operation.keyAt + operation.keyLength))
          return MALFORMED
      const isLost = isDeciding(bytes, at) && outcome === undefined
      const found = isLost
        ? certainChangesOf(bytes, at, lengthBytes)
        : { changes: [...changesOf(bytes, at, lengthBytes, outcome)], undecided }
      undecided = found.undecided
      for (const { type, key, value, to, expiresAt } of found.changes) {
        // The entries that expire bring their index with them.
        if (isExpiryKey(key)) continue
        if (type === 'put') this.#put(key, value!, expiresAt)
        else if (type === 'del') this.#frame.del(key, key.length)
        else this.#frame.clear(key, to)
      }
    } catch (error) {
      if (!(error instanceof CorruptError)) throw error
      return MALFORMED
    }
    this.#operations += bytes.readUInt32LE(at + FRAME.OP_COUNT)
    this.#frames++
    return undecided === 0 ? undefined : `the log does not say what became of ${undecided} of its writes`
  }

  /** LSN of the first good frame after a damaged place: in the same segment, or else in a later one. */
  #nextFrame(from: Lsn): Lsn | undefined {
    const starts = this.#log.starts().filter((start) => this.#log.segment(start) !== undefined)
    for (const [i, start] of starts.entries()) {
      const end = Math.min(starts[i + 1] ?? MAX_LSN, this.#log.segment(start)!.header.limitLsn)
      if (end <= from) continue
      const found = this.#scan(start, Math.max(start, from + 1) as Lsn, end)
      if (found !== undefined) return found
    }
    return undefined
  }

  /** The first good frame of a segment in [from, end). */
  #scan(start: Lsn, from: Lsn, end: number): Lsn | undefined {
    const { file, header } = this.#log.segment(start)!
    const chunk = Buffer.alloc(CHUNK_BYTES + FRAME.HEADER_BYTES)
    for (let lsn = from; lsn < end; lsn = lsnAfter(lsn, CHUNK_BYTES)) {
      const lengthBytes = Math.min(chunk.length, bytesBetween(lsn, end))
      const got = file.read(chunk, 0, lengthBytes, filePosition(start, lsn))
      if (got <= 0) return undefined
      for (let at = 0; at < CHUNK_BYTES && at + FRAME.HEADER_BYTES <= got; at += WORD_BYTES) {
        const candidate = (lsn + at / WORD_BYTES) as Lsn
        if (readLsn(chunk, at + FRAME.LSN) !== candidate) continue
        const length = chunk.readUInt32LE(at + FRAME.LENGTH)
        if (length < FRAME.HEADER_BYTES || length > MAX_FRAME_BYTES || lsnAfter(candidate, length) > end) continue
        const frame = Buffer.allocUnsafe(length)
        if (file.read(frame, 0, length, filePosition(start, candidate)) < length) continue
        if (isFrameAt(frame, 0, length, candidate, header.salt)) return candidate
      }
    }
    return undefined
  }

  // ---- the new database ------------------------------------------------------------------------

  #put(key: Uint8Array, value: Uint8Array, expiresAt: number): void {
    const expiry = expiresAt === NEVER ? UNCONDITIONAL : { flags: OP_FLAG.EXPIRES, version: 0, expiresAt }
    this.#frame.put(key, key.length, value, expiry)
    if (this.#frame.lengthBytes >= FRAME_BYTES) this.#commit()
  }

  #commit(): void {
    if (this.#frame.opCount === 0) return
    this.#engine.commit(this.#frame.frame())
    this.#frame.reset()
    if (this.#engine.checkpointWanted) this.#engine.checkpoint(false)
  }
}

const keyAt = (leaf: Node, i: number): Buffer =>
  Buffer.from(leaf.u8.slice(leaf.keyAt(i), leaf.keyAt(i) + leaf.keyLength(i)))

const isWithin = (key: Buffer, from: Uint8Array | undefined, to: Uint8Array | undefined): boolean =>
  (from === undefined || key.compare(from) >= 0) && (to === undefined || key.compare(to) < 0)

const versionOf = (leaf: Node, i: number): number => readVersion(leaf.u16, leaf.keyAt(i) - LEAF_CELL_HEADER)

/** Finds the header. There is none if all four are damaged: that does not prevent salvaging. */
function headersOf(space: SlotSpace, path: string): HeaderSearch {
  const slots = Math.floor(space.region.sizeBytes() / SLOT_BYTES)
  const read = (slotNo: number): Buffer => {
    if (slotNo >= slots) return Buffer.alloc(0)
    const base = space.byteOf(slotNo)
    return Buffer.from(space.buffers[space.windowOf(slotNo)]!.subarray(base, base + SLOT_BYTES))
  }
  try {
    return findHeader(read, path)
  } catch (error) {
    if (error instanceof CorruptError) return { header: undefined, damage: [], blank: false }
    throw error
  }
}

/** The key of such an operation is the bound of a range, and need not be that of an entry. */
const isBound = (kind: number): boolean => kind === OP_CLEAR || kind === OP_CHECK_RANGE
