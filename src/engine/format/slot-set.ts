// A set of slots, as bits in pages that are made when they are needed: it costs what is in it, not the size of the
// file.
import type { SlotNo } from './layout.js'

/** A page has a bit for each of 2^15 slots: 128 MiB of the data file. */
const PAGE_SHIFT = 15
const PAGE_SLOTS = 1 << PAGE_SHIFT
const WORD_SLOTS = 32

export class SlotSet {
  readonly #pages = new Map<number, Int32Array>()
  #size = 0

  get size(): number {
    return this.#size
  }

  has(slot: number): boolean {
    const page = this.#pages.get(Math.floor(slot / PAGE_SLOTS))
    return page !== undefined && (page[(slot % PAGE_SLOTS) >>> 5]! & (1 << (slot & 31))) !== 0
  }

  /** False if the slot is in the set already. */
  add(slot: number): boolean {
    const number = Math.floor(slot / PAGE_SLOTS)
    let page = this.#pages.get(number)
    if (page === undefined) this.#pages.set(number, (page = new Int32Array(PAGE_SLOTS / WORD_SLOTS)))
    const word = (slot % PAGE_SLOTS) >>> 5
    const bit = 1 << (slot & 31)
    if ((page[word]! & bit) !== 0) return false
    page[word]! |= bit
    this.#size++
    return true
  }

  /** The slots of [from, to) that are in the set, ascending. */
  *within(from: number, to: number): Generator<SlotNo> {
    for (let slot = from; slot < to;) {
      const page = this.#pages.get(Math.floor(slot / PAGE_SLOTS))
      if (page === undefined) slot = nextMultiple(slot, PAGE_SLOTS)
      else if (page[(slot % PAGE_SLOTS) >>> 5] === 0) slot = nextMultiple(slot, WORD_SLOTS)
      else {
        if (this.has(slot)) yield slot as SlotNo
        slot++
      }
    }
  }

  /** The slots of [from, to) that are not in the set, as runs: pairs of first slot and length. */
  runsOutside(from: number, to: number): Float64Array {
    const runs: number[] = []
    let first = from
    for (const slot of this.within(from, to)) {
      if (slot > first) runs.push(first, slot - first)
      first = slot + 1
    }
    if (to > first) runs.push(first, to - first)
    return Float64Array.from(runs)
  }
}

const nextMultiple = (n: number, of: number): number => (Math.floor(n / of) + 1) * of
