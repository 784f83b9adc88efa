// A disk in memory that forgets. Every file has what programs see (`live`: the page cache) and what
// would be found after a power cut: of each 512-byte sector what a completed flush covered last, or
// anything that was written since, sector by sector, independently. The same holds for lengths and
// for entries of directories that were created, renamed or removed and not flushed.
import type { Random } from '../crash-tests/random.js'

export const SECTOR_BYTES = 512
const PAGE_BYTES = 4096

export class SimFile {
  /** What programs see, in chunks that never move, so that they can be mapped. */
  readonly chunks: Uint8Array[] = []
  sizeBytes = 0
  durable = new Uint8Array(0)
  durableSizeBytes = 0
  /** What write-back has brought to the disk since the last completed flush, or may have, by sector. */
  readonly written = new Map<number, { readonly at: number; readonly bytes: Uint8Array }[]>()

  constructor(
    readonly id: number,
    readonly chunkBytes: number,
    /** `control` is never trusted after a power cut: its contents are not tracked. */
    readonly tracked: boolean,
  ) {}

  chunk(index: number): Uint8Array {
    while (this.chunks.length <= index) this.chunks.push(new Uint8Array(this.chunkBytes))
    return this.chunks[index]!
  }

  #each(position: number, length: number, visit: (chunk: Uint8Array, at: number, bytes: number, done: number) => void): void {
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
    this.sizeBytes = Math.max(this.sizeBytes, position + length)
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

  /** Sectors in which memory and disk differ. */
  dirtySectors(): number[] {
    const dirty: number[] = []
    const page = new Uint8Array(PAGE_BYTES)
    for (let p = 0; p < this.sizeBytes; p += PAGE_BYTES) {
      const n = this.read(page, 0, PAGE_BYTES, p)
      for (let s = 0; s < n; s += SECTOR_BYTES) {
        const end = Math.min(s + SECTOR_BYTES, n)
        if (Buffer.compare(page.subarray(s, end), this.#durableSlice(p + s, end - s)) !== 0) dirty.push((p + s) / SECTOR_BYTES)
      }
    }
    return dirty
  }

  #durableSlice(position: number, length: number): Uint8Array {
    const found = this.durable.subarray(position, position + length)
    if (found.length === length) return found
    const padded = new Uint8Array(length)
    padded.set(found)
    return padded
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
  #clock = 0

  /** Begins a flush: what is in memory now will be on the disk when it completes. */
  beginFlush(): FlushInProgress {
    const sectors = new Map(this.dirtySectors().map((index) => [index, this.sector(index)]))
    for (const index of sectors.keys()) this.writeBack(index)
    return { sectors, sizeBytes: this.sizeBytes, order: ++this.#clock }
  }

  readonly #flushedBy = new Map<number, number>()
  #newestFlush = 0

  completeFlush(flush: FlushInProgress): void {
    this.#growDurable(flush.sizeBytes)
    for (const [index, bytes] of flush.sectors) {
      // A flush that began later may have completed before.
      if ((this.#flushedBy.get(index) ?? 0) > flush.order) continue
      this.#flushedBy.set(index, flush.order)
      this.durable.set(bytes.subarray(0, Math.min(SECTOR_BYTES, this.durable.length - index * SECTOR_BYTES)), index * SECTOR_BYTES)
    }
    // What was captured before the flush began is no longer possible.
    for (const [index, seen] of this.written) {
      const later = seen.filter(({ at }) => at > flush.order)
      if (later.length === 0) this.written.delete(index)
      else this.written.set(index, later)
    }
    if (flush.order < this.#newestFlush) return
    this.#newestFlush = flush.order
    if (flush.sizeBytes < this.durable.length) this.durable = this.durable.slice(0, flush.sizeBytes)
    this.durableSizeBytes = flush.sizeBytes
  }

  #growDurable(sizeBytes: number): void {
    if (sizeBytes <= this.durable.length) return
    const bigger = new Uint8Array(sizeBytes)
    bigger.set(this.durable)
    this.durable = bigger
  }

  /** What a power cut leaves, decided sector by sector; it becomes what programs see. */
  cut(random: Random): void {
    const dirty = new Set([...this.dirtySectors(), ...this.written.keys()])
    const sizeBytes = random.chance(0.5) ? this.durableSizeBytes : this.sizeBytes
    const everything = random.chance(0.1)
    const nothing = random.chance(0.1)
    this.#growDurable(Math.max(sizeBytes, this.durable.length))
    for (const index of dirty) {
      if (nothing) break
      const choices = [...(this.written.get(index) ?? []).map(({ bytes }) => bytes), this.sector(index)]
      const pick = everything ? choices.length : random.between(0, choices.length)
      if (pick === 0) continue
      const at = index * SECTOR_BYTES
      if (at >= this.durable.length) continue
      this.durable.set(choices[pick - 1]!.subarray(0, Math.min(SECTOR_BYTES, this.durable.length - at)), at)
    }
    this.durable = this.durable.slice(0, sizeBytes)
    this.durableSizeBytes = sizeBytes
    this.written.clear()
    for (const chunk of this.chunks) chunk.fill(0)
    this.sizeBytes = 0
    this.write(this.durable, 0, this.durable.length, 0)
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
  /** Of the changes not flushed, some have happened: any of them, in their order. */
  cut(random: Random): void {
    for (const change of this.#pending) {
      if (random.chance(0.5)) continue
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
