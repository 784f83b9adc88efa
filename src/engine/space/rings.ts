// The rings in `control` in which freed slots wait (allocator.ts says for what). An entry stands for a run of
// adjacent slots that were freed together, so the cost of a free list depends on how fragmented it is, not on how
// long it is. Taking a slot moves a head, freeing one writes after a tail; entries between the published head and
// tail are never overwritten, so a leader that dies leaves the rings as they were.
//
//   offset size (of an entry)
//        0    4  first slot
//        4    4  slots pushed before this entry, modulo 2^32
//        8    8  LSN of the group that freed it (float64)
//
// The length of an entry is the difference to the next entry, or for the last one to the number of slots
// ever pushed. So the last run grows by moving that number, and the slots up to an entry are counted with
// one subtraction.
//
// A ring doubles before it is full. Nothing depends on that: on a full disk `control` cannot grow, and then a
// slot for which its ring has no room is lost to this life of `control`. The next opener finds it (free-list.ts).
import { isFullDisk } from '../../storage/errors.js'
import { STATE, type Control, type StateFields } from '../shared/control.js'
import type { SlotNo } from '../format/layout.js'

const RING_ENTRY_BYTES = 16
/** Each ring has at least a page, so that on a full disk no ring is without any room. */
export const MIN_RING_ENTRIES = 512

export type Ring =
  | typeof STATE.RING_REUSABLE
  | typeof STATE.RING_NOT_CHECKPOINTED
  | typeof STATE.RING_CHECKPOINTED
  | typeof STATE.RING_PINNED
export const RINGS: readonly Ring[] = [
  STATE.RING_REUSABLE,
  STATE.RING_NOT_CHECKPOINTED,
  STATE.RING_CHECKPOINTED,
  STATE.RING_PINNED,
]

/** Fields of a ring in the tree state, after its first, which is the byte of `control` at which it begins. */
const CAPACITY = 1
/** Positions of entries: the first that holds a slot, and the one after the last. */
const HEAD = 2
const TAIL = 3
/** Slots ever taken and pushed. */
const TAKEN = 4
const PUSHED = 5

/** How many entries a ring for `entries` has room for: it will be at most half full. */
const capacityFor = (entries: number): number => Math.max(MIN_RING_ENTRIES, 2 ** Math.ceil(Math.log2(entries * 2 + 1)))

/** Bytes of `control` that four rings take if one of them holds `entries` runs. */
export const ringBytes = (entries: number): number => (capacityFor(entries) + 3 * MIN_RING_ENTRIES) * RING_ENTRY_BYTES

export class Rings {
  readonly #control: Control
  /** Entry n of `control` lies in window n >>> shift, as entry n & mask of it. */
  readonly #shift: number
  readonly #mask: number
  readonly #words: Int32Array[] = []
  readonly #numbers: Float64Array[] = []
  #state!: StateFields
  readonly #publishedHeads = new Map<Ring, number>()

  constructor(control: Control) {
    this.#control = control
    const perWindow = control.region.windowBytes / RING_ENTRY_BYTES
    this.#shift = Math.log2(perWindow)
    this.#mask = perWindow - 1
  }

  /** Begins a group. From here on `state` is changed. */
  begin(state: StateFields): void {
    this.#state = state
    for (const ring of RINGS) this.#publishedHeads.set(ring, state[ring + HEAD]!)
  }

  /** Slots that wait in a ring. */
  slots(ring: Ring): number {
    return this.#state[ring + PUSHED]! - this.#state[ring + TAKEN]!
  }
  /** Runs that wait in a ring. */
  runs(ring: Ring): number {
    return this.#state[ring + TAIL]! - this.#state[ring + HEAD]!
  }

  /**
   * How many entries have ever been added to the rings of `state` or taken away. Each of these makes at most one run
   * more of what waits.
   */
  static moves(state: StateFields): number {
    return RINGS.reduce((sum, ring) => sum + state[ring + HEAD]! + state[ring + TAIL]!, 0)
  }

  /** The slot at the head. The ring is not empty. */
  first(ring: Ring): SlotNo {
    const at = this.#entry(ring, this.#state[ring + HEAD]!)
    return (this.#slotAt(at) + ((this.#state[ring + TAKEN]! - this.#before(at)) >>> 0)) as SlotNo
  }
  /** LSN of the group that freed the slot at the head. */
  freedAtLsn(ring: Ring): number {
    return this.#lsnAt(this.#entry(ring, this.#state[ring + HEAD]!))
  }
  /** Takes the slot at the head. */
  take(ring: Ring): SlotNo {
    const slot = this.first(ring)
    const s = this.#state
    s[ring + TAKEN]!++
    if ((this.#endOf(ring, s[ring + HEAD]!) - s[ring + TAKEN]!) >>> 0 === 0) s[ring + HEAD]!++
    return slot
  }

  /** Slots at the head of a ring that were freed at or before `lsn`. */
  slotsUpTo(ring: Ring, lsn: number): number {
    const end = this.#firstAfter(ring, lsn)
    const s = this.#state
    return end === s[ring + HEAD] ? 0 : (this.#endOf(ring, end - 1) - s[ring + TAKEN]!) >>> 0
  }

  /** Position of the first entry that was freed after `lsn`. */
  #firstAfter(ring: Ring, lsn: number): number {
    const s = this.#state
    let low = s[ring + HEAD]!
    let high = s[ring + TAIL]!
    while (low < high) {
      const middle = Math.floor((low + high) / 2)
      if (this.#lsnAt(this.#entry(ring, middle)) <= lsn) low = middle + 1
      else high = middle
    }
    return low
  }

  /** Adds a slot, or a run of `length`, at the tail; it is lost if the ring is full and cannot be enlarged. */
  push(ring: Ring, slot: number, lsn: number, length = 1): void {
    const s = this.#state
    const tail = s[ring + TAIL]!
    const pushed = s[ring + PUSHED]!
    if (tail > s[ring + HEAD]!) {
      const last = this.#entry(ring, tail - 1)
      if (this.#slotAt(last) + ((pushed - this.#before(last)) >>> 0) === slot && this.#lsnAt(last) === lsn) {
        s[ring + PUSHED] = pushed + length
        return
      }
    }
    if (tail - this.#publishedHeads.get(ring)! >= s[ring + CAPACITY]! && !this.#enlarge(ring, 0)) {
      s[STATE.LOST]! += length
      return
    }
    const at = this.#entry(ring, tail)
    this.#write(at, slot, pushed, lsn)
    s[ring + TAIL] = tail + 1
    s[ring + PUSHED] = pushed + length
  }

  /** Drops everything that waits in a ring. For sole use only. */
  clear(ring: Ring): void {
    const s = this.#state
    s[ring + HEAD] = s[ring + TAIL] = s[ring + TAKEN] = s[ring + PUSHED] = 0
    this.#publishedHeads.set(ring, 0)
  }

  /** Drops what was freed at or before `lsn`: it has been looked at with `forEachRun`. */
  dropUpTo(ring: Ring, lsn: number): void {
    const s = this.#state
    while (this.runs(ring) > 0 && this.freedAtLsn(ring) <= lsn) {
      s[ring + TAKEN]! += (this.#endOf(ring, s[ring + HEAD]!) - s[ring + TAKEN]!) >>> 0
      s[ring + HEAD]!++
    }
  }

  /** Visits the runs of a ring that were freed at or before `lsn`, from its head on. */
  forEachRun(ring: Ring, lsn: number, visit: (first: number, length: number) => void): void {
    this.#walk(ring, this.#state[ring + HEAD]!, this.#firstAfter(ring, lsn), visit)
  }

  /** Visits the runs of a ring that were freed after `lsn`; what came before costs nothing. */
  forEachRunAfter(ring: Ring, lsn: number, visit: (first: number, length: number) => void): void {
    this.#walk(ring, this.#firstAfter(ring, lsn), this.#state[ring + TAIL]!, visit)
  }

  /** Visits the runs at positions from `begin` up to `end`. Of the first run of the ring a part may have been taken. */
  #walk(ring: Ring, begin: number, end: number, visit: (first: number, length: number) => void): void {
    const s = this.#state
    for (let p = begin; p < end; p++) {
      const at = this.#entry(ring, p)
      const before = this.#before(at)
      const from = p === s[ring + HEAD] ? s[ring + TAKEN]! : before
      visit(this.#slotAt(at) + ((from - before) >>> 0), (this.#endOf(ring, p) - from) >>> 0)
    }
  }

  /** Makes sure that a ring exists and has room for `runs` more, if `control` can grow. */
  enlargeFor(ring: Ring, runs: number): void {
    if (this.room(ring) <= runs) this.#enlarge(ring, this.runs(ring) + runs)
  }

  /** Runs that can be pushed before the ring has to be enlarged. */
  room(ring: Ring): number {
    return this.#state[ring + CAPACITY]! - (this.#state[ring + TAIL]! - this.#publishedHeads.get(ring)!)
  }

  /**
   * Enlarges a ring that is more than half full, so that the next group finds room. False if that failed.
   */
  keepRoom(ring: Ring): boolean {
    return this.room(ring) * 2 >= this.#state[ring + CAPACITY]! || this.#enlarge(ring, 0)
  }

  /** Moves a ring to a larger place; the old place stays as it is. False if there is no such place. */
  #enlarge(ring: Ring, entries: number): boolean {
    const s = this.#state
    const capacity = Math.max(capacityFor(entries), s[ring + CAPACITY]! * 2)
    const bytes = capacity * RING_ENTRY_BYTES
    const place = s[STATE.CONTROL_END]!
    if (place + bytes > this.#control.region.reserveBytes) return false
    try {
      this.#control.region.grow(place + bytes)
    } catch (error) {
      if (isFullDisk(error)) return false
      throw error
    }
    const old = { at: s[ring]!, capacity: s[ring + CAPACITY]! }
    for (let p = s[ring + HEAD]!; p < s[ring + TAIL]!; p++) {
      const from = old.at / RING_ENTRY_BYTES + (p % old.capacity)
      this.#write(place / RING_ENTRY_BYTES + (p % capacity), this.#slotAt(from), this.#before(from), this.#lsnAt(from))
    }
    s[ring] = place
    s[ring + CAPACITY] = capacity
    s[STATE.CONTROL_END] = place + bytes
    return true
  }

  /** Where an entry lies: how many entries fit into `control` before it. */
  #entry(ring: Ring, position: number): number {
    return this.#state[ring]! / RING_ENTRY_BYTES + (position % this.#state[ring + CAPACITY]!)
  }
  /** Slots pushed up to the end of the entry at `position`; only right modulo 2^32. */
  #endOf(ring: Ring, position: number): number {
    return position + 1 < this.#state[ring + TAIL]!
      ? this.#before(this.#entry(ring, position + 1))
      : this.#state[ring + PUSHED]!
  }
  #write(at: number, slot: number, before: number, lsn: number): void {
    const words = this.#wordsOf(at)
    const n = at & this.#mask
    words[n << 2] = slot
    words[(n << 2) + 1] = before
    this.#numbers[at >>> this.#shift]![(n << 1) + 1] = lsn
  }
  #slotAt(at: number): number {
    return this.#wordsOf(at)[(at & this.#mask) << 2]! >>> 0
  }
  #before(at: number): number {
    return this.#wordsOf(at)[((at & this.#mask) << 2) + 1]! >>> 0
  }
  #lsnAt(at: number): number {
    this.#wordsOf(at)
    return this.#numbers[at >>> this.#shift]![((at & this.#mask) << 1) + 1]!
  }
  #wordsOf(at: number): Int32Array {
    return this.#words[at >>> this.#shift] ?? this.#open(at >>> this.#shift)
  }
  #open(window: number): Int32Array {
    const buffer = this.#control.region.window(window)
    this.#numbers[window] = new Float64Array(buffer)
    return (this.#words[window] = new Int32Array(buffer))
  }
}
