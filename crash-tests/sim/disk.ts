// A disk in memory that forgets. Every file has what programs see (the page cache) and what would be
// found after a power cut: of each 512-byte sector what a completed flush covered last, or anything
// that was written since, sector by sector, independently; at some cuts a sector may even be torn, with
// one version before and another after some byte. The same holds for lengths and for entries of directories
// that were created, renamed or removed and not flushed.
//
// A flush may fail. What Linux makes of the pages concerned differs by file system: some are on the
// disk, some stay dirty, and some are given up: they count as clean, and no later flush writes them
// unless a process writes to them again. Programs go on seeing them until they are evicted; then what
// the disk has comes back.
import { mix, Random } from '../lib/random.js'
import { HEADER_SLOTS } from '../../src/engine/format/layout.js'
import { Bytes } from './bytes.js'

export const SECTOR_BYTES = 512
export const PAGE_BYTES = 4096
const SECTORS_PER_PAGE = PAGE_BYTES / SECTOR_BYTES
/** Which of the sectors not covered by a flush are found after a power cut; one of these is as likely as another. */
const CUT_ORDERS = [
  'none',
  'all',
  'ascending',
  'descending',
  ...Array.from({ length: 4 }, () => 'independent' as const),
] as const

export class SimFile {
  static #made = 0
  /** Tells it from any other that has its name. */
  readonly id = ++SimFile.#made
  readonly tracked: boolean
  /** What programs see. */
  readonly #memory: Bytes
  sizeBytes = 0
  /** Zeros after `durableSizeBytes`. */
  readonly #durable: Bytes
  durableSizeBytes = 0
  /** What write-back has brought to the disk since the last completed flush, or may have, by sector. */
  readonly written = new Map<number, { readonly at: number; readonly bytes: Uint8Array }[]>()
  /** What programs see and no flush will write: sectors given up by one that failed. */
  readonly #givenUp = new Map<number, Uint8Array>()
  #clock = 0

  /** `untracked`: the memory of a file that is never trusted after a power cut, such as `control`. */
  constructor(
    readonly name: string,
    chunkBytes: number,
    untracked?: Buffer,
  ) {
    this.tracked = untracked === undefined
    this.#memory = new Bytes(chunkBytes, untracked)
    this.#durable = new Bytes(chunkBytes)
  }

  /** Memory that never moves. */
  chunk(index: number): Buffer {
    return this.#memory.chunk(index)
  }

  /** A process's own memory with what programs see of this file. */
  copy(): SimFile {
    const { chunkBytes } = this.#memory
    const copy = new SimFile('memory', chunkBytes)
    for (let index = 0; index * chunkBytes < this.sizeBytes; index++) this.chunk(index).copy(copy.chunk(index))
    copy.sizeBytes = this.sizeBytes
    return copy
  }

  read(into: Uint8Array, offset: number, length: number, position: number): number {
    const bytes = Math.max(0, Math.min(length, this.sizeBytes - position))
    this.#memory.read(into, offset, bytes, position)
    return bytes
  }

  write(from: Uint8Array, offset: number, length: number, position: number): void {
    this.#memory.write(from, offset, length, position)
    if (this.#givenUp.size > 0) this.#touch(position, length)
    this.sizeBytes = Math.max(this.sizeBytes, position + length)
  }

  /** Writing to a page makes all of it dirty again. */
  #touch(position: number, length: number): void {
    const first = Math.floor(position / PAGE_BYTES) * SECTORS_PER_PAGE
    const end = Math.ceil((position + length) / PAGE_BYTES) * SECTORS_PER_PAGE
    for (let index = first; index < end; index++) this.#givenUp.delete(index)
  }

  truncate(sizeBytes: number): void {
    if (sizeBytes < this.sizeBytes) this.#memory.clearFrom(sizeBytes)
    this.sizeBytes = sizeBytes
  }

  grow(sizeBytes: number): void {
    this.sizeBytes = Math.max(this.sizeBytes, sizeBytes)
  }

  /** Sectors in which memory and disk differ, ascending. Costs a comparison of what was ever touched of the file. */
  dirtySectors(): number[] {
    const dirty: number[] = []
    const { chunkBytes } = this.#memory
    for (let chunk = 0; chunk < this.sizeBytes; chunk += chunkBytes) {
      const chunkEnd = Math.min(chunk + chunkBytes, this.sizeBytes)
      if (this.#same(chunk, chunkEnd)) continue
      for (let page = chunk; page < chunkEnd; page += PAGE_BYTES) {
        const pageEnd = Math.min(page + PAGE_BYTES, chunkEnd)
        if (this.#same(page, pageEnd)) continue
        for (let at = page; at < pageEnd; at += SECTOR_BYTES) {
          if (!this.#same(at, Math.min(at + SECTOR_BYTES, pageEnd)) && !this.#isGivenUp(at / SECTOR_BYTES))
            dirty.push(at / SECTOR_BYTES)
        }
      }
    }
    return dirty
  }

  #same(from: number, to: number): boolean {
    return this.#memory.same(this.#durable, from, to)
  }

  #isGivenUp(index: number): boolean {
    const bytes = this.#givenUp.get(index)
    return bytes !== undefined && Buffer.compare(bytes, this.sector(index)) === 0
  }

  /** What a power cut would leave for certain. */
  durableContents(position: number, length: number): Buffer {
    return this.#durable.slice(position, Math.max(0, Math.min(length, this.durableSizeBytes - position)))
  }

  #setDurable(index: number, bytes: Uint8Array, from = 0, to = SECTOR_BYTES): void {
    this.#durable.write(bytes, from, to - from, index * SECTOR_BYTES + from)
  }

  sector(index: number): Uint8Array {
    const bytes = new Uint8Array(SECTOR_BYTES)
    this.read(bytes, 0, SECTOR_BYTES, index * SECTOR_BYTES)
    return bytes
  }

  /** The kernel may write a sector back at any moment: its present contents may be on the disk. */
  writeBack(index: number): void {
    const seen = { at: ++this.#clock, bytes: this.sector(index) }
    const kept = this.written.get(index)
    if (kept === undefined) this.written.set(index, [seen])
    else if (kept.length < 4) kept.push(seen)
    else kept[3] = seen
  }

  /** Starts a flush: what is in memory now will be on the disk when it completes. */
  beginFlush(): FlushInProgress {
    const sectors = new Map(this.dirtySectors().map((index) => [index, this.sector(index)]))
    for (const index of sectors.keys()) this.writeBack(index)
    return { sectors, sizeBytes: this.sizeBytes, order: ++this.#clock }
  }

  readonly #flushedBy = new Map<number, number>()
  #newestFlush = 0

  completeFlush(flush: FlushInProgress): void {
    for (const [index, bytes] of flush.sectors) {
      // A flush that was started later may have completed before.
      if ((this.#flushedBy.get(index) ?? 0) > flush.order) continue
      this.#flushedBy.set(index, flush.order)
      this.#setDurable(index, bytes)
    }
    // What was captured before the flush was started is no longer possible.
    for (const [index, seen] of this.written) {
      const later = seen.filter(({ at }) => at > flush.order)
      if (later.length === 0) this.written.delete(index)
      else this.written.set(index, later)
    }
    if (flush.order < this.#newestFlush) return
    this.#newestFlush = flush.order
    this.#durable.clearFrom(flush.sizeBytes)
    this.durableSizeBytes = flush.sizeBytes
  }

  /** What a disk that rots does: bytes change that no process has written. */
  damage(position: number, bytes: Uint8Array): void {
    this.write(bytes, 0, bytes.length, position)
    this.#durable.write(bytes, 0, bytes.length, position)
  }

  /**
   * Ends a flush with an I/O error: page by page, it is on the disk, still dirty, or given up. True if
   * programs see older contents now. A page that is given up is evicted at once, but for headers
   * and the log: a store of the same bytes into a mapped page makes it dirty again, and could not be
   * seen here.
   */
  failFlush(flush: FlushInProgress, seed: number): boolean {
    let stale = false
    for (const [index, bytes] of flush.sectors) {
      const page = Math.floor(index / SECTORS_PER_PAGE)
      const outcome = mix(seed, page) % 3
      if (outcome === 0 && (this.#flushedBy.get(index) ?? 0) <= flush.order) this.#setDurable(index, bytes)
      if (outcome !== 1) continue
      if (this.name.endsWith('.wal') || page < HEADER_SLOTS) this.#givenUp.set(index, bytes)
      else {
        this.#readAgain(index)
        stale = true
      }
    }
    return stale
  }

  /** No process has the file open any more: what was given up may be read from the disk again. */
  evict(seed: number): void {
    for (const index of this.#givenUp.keys()) {
      if (mix(seed, Math.floor(index / SECTORS_PER_PAGE)) % 2 === 0) continue
      if (this.#isGivenUp(index)) this.#readAgain(index)
      this.#givenUp.delete(index)
    }
  }

  /** Programs read what the disk has. A disk that has answered does not come back with something else later. */
  #readAgain(index: number): void {
    this.written.delete(index)
    const at = index * SECTOR_BYTES
    const length = Math.min(SECTOR_BYTES, Math.max(0, this.sizeBytes - at))
    this.#memory.write(this.#durable.slice(at, length), 0, length, at)
  }

  /**
   * Which part of a sector's new contents is on the disk if it is torn: somewhere among the bytes in which old and
   * new differ.
   */
  #tear(index: number, bytes: Uint8Array, seed: number): [from: number, to: number] {
    const durable = this.#durable.slice(index * SECTOR_BYTES, SECTOR_BYTES)
    let first = 0
    let end = SECTOR_BYTES
    while (first < end && durable[first] === bytes[first]) first++
    while (end > first && durable[end - 1] === bytes[end - 1]) end--
    const tearAt = first + (seed % Math.max(1, end - first))
    return mix(seed, 1) % 2 === 0 ? [0, tearAt] : [tearAt, SECTOR_BYTES]
  }

  /**
   * What a power cut leaves; it becomes what programs see. `seed` decides: mostly for each sector alone,
   * whatever became of the others; or the disk wrote them in ascending or descending order, and got so far.
   */
  cut(seed: number): void {
    const random = new Random(seed)
    const sizeBytes = random.chance(0.5) ? this.durableSizeBytes : this.sizeBytes
    const order = random.pick(CUT_ORDERS)
    const tears = random.chance(0.5)
    const dirty = [...new Set([...this.dirtySectors(), ...this.written.keys()])].sort((a, b) => a - b)
    const reached = random.between(0, dirty.length)
    for (const [i, index] of dirty.entries()) {
      const choices = [...(this.written.get(index) ?? []).map(({ bytes }) => bytes), this.sector(index)]
      const newest = choices.length
      const picked = {
        none: 0,
        all: newest,
        ascending: i < reached ? newest : 0,
        descending: i < reached ? 0 : newest,
        independent: mix(seed, index) % (newest + 1),
      }[order]
      if (picked === 0) continue
      const isTorn = order === 'independent' && tears && mix(seed, index, 1) % 3 !== 0
      const [from, to] = isTorn ? this.#tear(index, choices[picked - 1]!, mix(seed, index, 2)) : [0, SECTOR_BYTES]
      this.#setDurable(index, choices[picked - 1]!, from, to)
    }
    this.#durable.clearFrom(sizeBytes)
    this.durableSizeBytes = sizeBytes
    this.written.clear()
    this.#givenUp.clear()
    this.#memory.copy(this.#durable)
    this.sizeBytes = sizeBytes
  }
}

interface FlushInProgress {
  readonly sectors: Map<number, Uint8Array>
  readonly sizeBytes: number
  readonly order: number
}

type Change =
  | { readonly kind: 'link'; readonly name: string; readonly file: SimFile }
  | { readonly kind: 'unlink'; readonly name: string }
  | { readonly kind: 'rename'; readonly from: string; readonly to: string }

/** One directory: names and what they stand for, in memory and on the disk. */
export class SimDirectory {
  live = new Map<string, SimFile>()
  durable = new Map<string, SimFile>()
  #pending: Change[] = []

  link(name: string, file: SimFile): void {
    this.live.set(name, file)
    this.#pending.push({ kind: 'link', name, file })
  }
  unlink(name: string): void {
    this.live.delete(name)
    this.#pending.push({ kind: 'unlink', name })
  }
  rename(from: string, to: string): void {
    this.live.set(to, this.live.get(from)!)
    this.live.delete(from)
    this.#pending.push({ kind: 'rename', from, to })
  }
  flush(): void {
    this.durable = new Map(this.live)
    this.#pending = []
  }
  /** Every file that has a name here, in memory or on the disk. */
  files(): SimFile[] {
    return [
      ...this.live.values(),
      ...this.durable.values(),
      ...this.#pending.flatMap((change) => (change.kind === 'link' ? [change.file] : [])),
    ]
  }
  /** Of the changes not flushed, some have happened: any of them, in their order. */
  cut(seed: number): void {
    for (const [i, change] of this.#pending.entries()) {
      if (mix(seed, i) % 2 === 0) continue
      if (change.kind === 'link') this.durable.set(change.name, change.file)
      else if (change.kind === 'unlink') this.durable.delete(change.name)
      else {
        const file = this.durable.get(change.from)
        if (file === undefined) continue
        this.durable.delete(change.from)
        this.durable.set(change.to, file)
      }
    }
    this.#pending = []
    this.live = new Map(this.durable)
  }
}
