// A disk in memory that forgets. Every file has what programs see (the page cache) and what would be
// found after a power cut: of each 512-byte sector what a completed flush covered last, or anything
// that was written since, sector by sector, independently; at some cuts a sector may even be torn, with
// one version in front and another behind. The same holds for lengths and for entries of directories
// that were created, renamed or removed and not flushed.
//
// A flush may fail. What Linux makes of the pages concerned differs by file system: some are on the
// disk, some stay dirty, and some are given up: they count as clean, and no later flush writes them
// unless somebody writes to them again. Programs go on seeing them until they are evicted; then what
// the disk has comes back.
import { mix, Random } from '../crash-tests/random.js'
import { HEADER_SLOTS } from '../src/engine/layout.js'

export const SECTOR_BYTES = 512
export const PAGE_BYTES = 4096
const SECTORS_PER_PAGE = PAGE_BYTES / SECTOR_BYTES
/** Compared at once when looking for what is dirty; divides the length of a chunk. */
const BLOCK_BYTES = 65536

export class SimFile {
  static #made = 0
  /** Tells it from any other that has its name. */
  readonly id = ++SimFile.#made
  /** What programs see, in chunks that never move, so that they can be mapped. */
  readonly chunks: Buffer[] = []
  sizeBytes = 0
  /** Zeros behind `durableSizeBytes`. */
  durable: Buffer = Buffer.alloc(0)
  durableSizeBytes = 0
  /** What write-back has brought to the disk since the last completed flush, or may have, by sector. */
  readonly written = new Map<number, { readonly at: number; readonly bytes: Uint8Array }[]>()
  /** What programs see and no flush will write: sectors given up by one that failed. */
  readonly #givenUp = new Map<number, Uint8Array>()
  #clock = 0

  constructor(
    readonly name: string,
    readonly chunkBytes: number,
    /** `control` is never trusted after a power cut: its contents are not tracked. */
    readonly tracked: boolean,
  ) {}

  chunk(index: number): Buffer {
    while (this.chunks.length <= index) this.chunks.push(Buffer.from(new ArrayBuffer(this.chunkBytes)))
    return this.chunks[index]!
  }

  #each(position: number, length: number, visit: (chunk: Buffer, at: number, bytes: number, done: number) => void): void {
    for (let done = 0; done < length; ) {
      const index = Math.floor((position + done) / this.chunkBytes)
      const at = (position + done) % this.chunkBytes
      const bytes = Math.min(length - done, this.chunkBytes - at)
      visit(this.chunk(index), at, bytes, done)
      done += bytes
    }
  }

  read(into: Uint8Array, offset: number, length: number, position: number): number {
    const bytes = Math.max(0, Math.min(length, this.sizeBytes - position))
    this.#each(position, bytes, (chunk, at, n, done) => into.set(chunk.subarray(at, at + n), offset + done))
    return bytes
  }

  write(from: Uint8Array, offset: number, length: number, position: number): void {
    this.#each(position, length, (chunk, at, n, done) => chunk.set(from.subarray(offset + done, offset + done + n), at))
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
    if (sizeBytes < this.sizeBytes) {
      this.#each(sizeBytes, this.sizeBytes - sizeBytes, (chunk, at, n) => chunk.fill(0, at, at + n))
    }
    this.sizeBytes = sizeBytes
  }

  grow(sizeBytes: number): void {
    this.sizeBytes = Math.max(this.sizeBytes, sizeBytes)
  }

  /** Sectors in which memory and disk differ, ascending. Costs a comparison of the whole file. */
  dirtySectors(): number[] {
    const dirty: number[] = []
    this.#makeRoom(this.sizeBytes)
    for (let block = 0; block < this.sizeBytes; block += BLOCK_BYTES) {
      const blockEnd = Math.min(block + BLOCK_BYTES, this.sizeBytes)
      if (this.#same(block, blockEnd)) continue
      for (let page = block; page < blockEnd; page += PAGE_BYTES) {
        const pageEnd = Math.min(page + PAGE_BYTES, blockEnd)
        if (this.#same(page, pageEnd)) continue
        for (let at = page; at < pageEnd; at += SECTOR_BYTES) {
          if (!this.#same(at, Math.min(at + SECTOR_BYTES, pageEnd)) && !this.#isGivenUp(at / SECTOR_BYTES)) dirty.push(at / SECTOR_BYTES)
        }
      }
    }
    return dirty
  }

  /** Whether memory and disk agree from `from` to `to`, which lie in one block. */
  #same(from: number, to: number): boolean {
    const at = from % this.chunkBytes
    return this.chunk(Math.floor(from / this.chunkBytes)).compare(this.durable, from, to, at, at + to - from) === 0
  }

  #isGivenUp(index: number): boolean {
    const bytes = this.#givenUp.get(index)
    return bytes !== undefined && Buffer.compare(bytes, this.sector(index)) === 0
  }

  #makeRoom(sizeBytes: number): void {
    if (sizeBytes <= this.durable.length) return
    const bigger = Buffer.alloc(Math.ceil(sizeBytes / BLOCK_BYTES) * BLOCK_BYTES)
    this.durable.copy(bigger)
    this.durable = bigger
  }

  sector(index: number): Uint8Array {
    const bytes = new Uint8Array(SECTOR_BYTES)
    this.read(bytes, 0, SECTOR_BYTES, index * SECTOR_BYTES)
    return bytes
  }

  /** The kernel writes a sector back when it likes: its present contents may be on the disk. */
  writeBack(index: number): void {
    const seen = { at: ++this.#clock, bytes: this.sector(index) }
    const kept = this.written.get(index)
    if (kept === undefined) this.written.set(index, [seen])
    else if (kept.length < 4) kept.push(seen)
    else kept[3] = seen
  }

  /** Begins a flush: what is in memory now will be on the disk when it completes. */
  beginFlush(): FlushInProgress {
    const sectors = new Map(this.dirtySectors().map((index) => [index, this.sector(index)]))
    for (const index of sectors.keys()) this.writeBack(index)
    return { sectors, sizeBytes: this.sizeBytes, order: ++this.#clock }
  }

  readonly #flushedBy = new Map<number, number>()
  #newestFlush = 0

  completeFlush(flush: FlushInProgress): void {
    this.#makeRoom(flush.sizeBytes)
    for (const [index, bytes] of flush.sectors) {
      // A flush that began later may have completed before.
      if ((this.#flushedBy.get(index) ?? 0) > flush.order) continue
      this.#flushedBy.set(index, flush.order)
      this.durable.set(bytes, index * SECTOR_BYTES)
    }
    // What was captured before the flush began is no longer possible.
    for (const [index, seen] of this.written) {
      const later = seen.filter(({ at }) => at > flush.order)
      if (later.length === 0) this.written.delete(index)
      else this.written.set(index, later)
    }
    if (flush.order < this.#newestFlush) return
    this.#newestFlush = flush.order
    this.durable.fill(0, flush.sizeBytes)
    this.durableSizeBytes = flush.sizeBytes
  }

  /** What a disk that rots does: bytes change, and nobody has written them. */
  damage(position: number, bytes: Uint8Array): void {
    this.write(bytes, 0, bytes.length, position)
    this.#makeRoom(position + bytes.length)
    this.durable.set(bytes, position)
  }

  /**
   * Ends a flush with an I/O error: page by page, it is on the disk, still dirty, or given up. True if
   * programs see older contents now. A page that is given up is evicted at once, but for headers
   * and the log: a store of the same bytes into a mapped page makes it dirty again, and could not be
   * seen here.
   */
  failFlush(flush: FlushInProgress, seed: number): boolean {
    this.#makeRoom(flush.sizeBytes)
    let stale = false
    for (const [index, bytes] of flush.sectors) {
      const page = Math.floor(index / SECTORS_PER_PAGE)
      const fate = mix(seed, page) % 3
      if (fate === 0 && (this.#flushedBy.get(index) ?? 0) <= flush.order) this.durable.set(bytes, index * SECTOR_BYTES)
      if (fate !== 1) continue
      if (this.name.endsWith('.wal') || page < HEADER_SLOTS) this.#givenUp.set(index, bytes)
      else {
        this.#readAnew(index)
        stale = true
      }
    }
    return stale
  }

  /** Nobody has the file open any more: what was given up may be read from the disk anew. */
  evict(seed: number): void {
    for (const index of this.#givenUp.keys()) {
      if (mix(seed, Math.floor(index / SECTORS_PER_PAGE)) % 2 === 0) continue
      if (this.#isGivenUp(index)) this.#readAnew(index)
      this.#givenUp.delete(index)
    }
  }

  #readAnew(index: number): void {
    this.#makeRoom((index + 1) * SECTOR_BYTES)
    const at = index * SECTOR_BYTES
    this.#each(at, Math.min(SECTOR_BYTES, Math.max(0, this.sizeBytes - at)), (chunk, to, n, done) => {
      this.durable.copy(chunk, to, at + done, at + done + n)
    })
  }

  /**
   * What a power cut leaves, decided sector by sector; it becomes what programs see. `seed` decides;
   * it does so for each sector alone, whatever became of the others.
   */
  cut(seed: number): void {
    const random = new Random(seed)
    const sizeBytes = random.chance(0.5) ? this.durableSizeBytes : this.sizeBytes
    const survivors = random.next()
    const tears = random.chance(0.3)
    const dirty = new Set([...this.dirtySectors(), ...this.written.keys()])
    this.#makeRoom(sizeBytes)
    for (const index of survivors < 0.1 ? [] : dirty) {
      const choices = [...(this.written.get(index) ?? []).map(({ bytes }) => bytes), this.sector(index)]
      const pick = survivors > 0.9 ? choices.length : mix(seed, index) % (choices.length + 1)
      if (pick === 0 || (index + 1) * SECTOR_BYTES > this.durable.length) continue
      const isTorn = tears && mix(seed, index, 1) % 2 === 0
      const tearAt = mix(seed, index, 2) % SECTOR_BYTES
      const [from, to] = !isTorn ? [0, SECTOR_BYTES] : tearAt % 2 === 0 ? [0, tearAt] : [tearAt, SECTOR_BYTES]
      this.durable.set(choices[pick - 1]!.subarray(from, to), index * SECTOR_BYTES + from)
    }
    this.durable.fill(0, sizeBytes)
    this.durableSizeBytes = sizeBytes
    this.written.clear()
    this.#givenUp.clear()
    for (const chunk of this.chunks) chunk.fill(0)
    this.sizeBytes = 0
    this.write(this.durable, 0, sizeBytes, 0)
    this.sizeBytes = sizeBytes
  }
}

export interface FlushInProgress {
  readonly sectors: Map<number, Uint8Array>
  readonly sizeBytes: number
  readonly order: number
}

type Change = { readonly kind: 'link'; readonly name: string; readonly file: SimFile } | { readonly kind: 'unlink'; readonly name: string } | { readonly kind: 'rename'; readonly from: string; readonly to: string }

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
    return [...this.live.values(), ...this.durable.values(), ...this.#pending.flatMap((change) => (change.kind === 'link' ? [change.file] : []))]
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
