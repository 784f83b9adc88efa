// Which slots may be written. Used by the leader, on a private copy of the tree state; what it does
// counts from the moment that state is published, and is as if it had never been if it is not.
//
// A freed slot waits in one of two rings in `control`, in the order in which slots were freed:
//   loose: made after the newest checkpoint was begun, so no checkpoint reaches it. Reusable once
//          nobody reads a tree older than the one that freed it.
//   bound: reached by a checkpoint. Reusable once, besides, a later checkpoint is on disk.
// Taking moves the head, freeing writes behind the tail; entries between the published head and
// tail are never overwritten, so a leader that dies leaves the rings as they were.
//
// A ring entry: 0 4 slot   8 8 LSN of the group that freed it (float64).
import { FullError } from '../errors.js'
import { Control, CONTROL_WINDOW_BYTES, STATE, type StateFields } from './control.js'
import { HEADER_SLOTS, type SlotNo } from './layout.js'
import type { Pins } from './pins.js'

const ENTRY_BYTES = 16
const MIN_CAPACITY = 256

export class Allocator {
  readonly #control: Control
  readonly #pins: Pins
  readonly #grow: (slots: number) => void
  readonly #words: Int32Array[] = []
  readonly #numbers: Float64Array[] = []

  #state!: StateFields
  #lsn = 0
  #oldest = 0
  #lookedForDead = false
  #publishedLooseHead = 0
  #publishedBoundHead = 0
  /** Slots made and freed within this group: free at once. */
  readonly #own: number[] = []

  /** `grow`: makes the data file hold at least so many slots, or throws. */
  constructor(control: Control, pins: Pins, grow: (slots: number) => void) {
    this.#control = control
    this.#pins = pins
    this.#grow = grow
  }

  /** Begins a group that will be published at `lsn`. `state` is changed from here on. */
  begin(state: StateFields, lsn: number): void {
    this.#state = state
    this.#lsn = lsn
    this.#publishedLooseHead = state[STATE.LOOSE_HEAD]!
    this.#publishedBoundHead = state[STATE.BOUND_HEAD]!
    this.#lookedForDead = false
    this.#oldest = this.#pins.oldest(state[STATE.VISIBLE]!, false)
    this.#own.length = 0
  }

  /** A slot whose bytes may be overwritten. */
  allocate(): SlotNo {
    const own = this.#own.pop()
    if (own !== undefined) return own as SlotNo
    const slot = this.#reuse()
    if (slot !== 0) {
      this.#clearUnverified(slot)
      return slot as SlotNo
    }
    const s = this.#state
    const next = s[STATE.NEXT_SLOT]!
    // Appenders have reserved enough, unless a reader that stalled while it pinned an old tree
    // holds back slots that counted as free.
    if (next >= this.#control.fileSlots) this.#grow(next + 1)
    s[STATE.NEXT_SLOT] = next + 1
    return next as SlotNo
  }

  #reuse(): number {
    const s = this.#state
    const looseWaiting = s[STATE.LOOSE_TAIL]! - s[STATE.LOOSE_HEAD]!
    const boundWaiting = s[STATE.BOUND_TAIL]! - s[STATE.BOUND_HEAD]!
    if (looseWaiting === 0 && boundWaiting === 0) return 0
    for (;;) {
      if (looseWaiting > 0 && this.#lsnAt(STATE.LOOSE_AT, s[STATE.LOOSE_HEAD]!) <= this.#oldest) {
        return this.#slotAt(STATE.LOOSE_AT, s[STATE.LOOSE_HEAD]!++)
      }
      const limit = Math.min(this.#oldest, s[STATE.CHECKPOINT_DURABLE]!)
      if (boundWaiting > 0 && this.#lsnAt(STATE.BOUND_AT, s[STATE.BOUND_HEAD]!) <= limit) {
        return this.#slotAt(STATE.BOUND_AT, s[STATE.BOUND_HEAD]!++)
      }
      // A pin is in the way, perhaps one whose owner died.
      if (this.#lookedForDead || this.#oldest >= s[STATE.VISIBLE]!) return 0
      this.#lookedForDead = true
      this.#oldest = this.#pins.oldest(s[STATE.VISIBLE]!, true)
    }
  }

  /** Gives up a slot that was made at `madeAt` and that the tree being built no longer reaches. */
  free(slot: SlotNo, madeAt: number): void {
    if (madeAt === this.#lsn) this.#own.push(slot)
    else if (madeAt > this.#state[STATE.CHECKPOINT_BEGUN]!) this.#push(STATE.LOOSE_AT, slot)
    else this.#push(STATE.BOUND_AT, slot)
  }

  /** Gives up a slot that no reader and no checkpoint on disk reaches. */
  freeUnreachable(slot: SlotNo): void {
    this.#push(STATE.LOOSE_AT, slot)
  }

  /** Ends the group: what was made and not used goes back, and what can be reused is counted. */
  finish(): void {
    for (const slot of this.#own) this.#push(STATE.LOOSE_AT, slot as SlotNo)
    this.#own.length = 0
    const s = this.#state
    s[STATE.ELIGIBLE] =
      this.#countUpTo(STATE.LOOSE_AT, this.#oldest) +
      this.#countUpTo(STATE.BOUND_AT, Math.min(this.#oldest, s[STATE.CHECKPOINT_DURABLE]!))
  }

  /** Entries at the head of a ring that were freed at or before `lsn`. */
  #countUpTo(ring: number, lsn: number): number {
    const head = this.#state[ring + 2]!
    let low = head
    let high = this.#state[ring + 3]!
    while (low < high) {
      const middle = Math.floor((low + high) / 2)
      if (this.#lsnAt(ring, middle) <= lsn) low = middle + 1
      else high = middle
    }
    return low - head
  }

  get waitingCount(): number {
    const s = this.#state
    return s[STATE.LOOSE_TAIL]! - s[STATE.LOOSE_HEAD]! + s[STATE.BOUND_TAIL]! - s[STATE.BOUND_HEAD]!
  }

  /** Every slot that waits in a ring, in no order. */
  waiting(): Uint32Array {
    const s = this.#state
    const loose = s[STATE.LOOSE_TAIL]! - s[STATE.LOOSE_HEAD]!
    const bound = s[STATE.BOUND_TAIL]! - s[STATE.BOUND_HEAD]!
    const slots = new Uint32Array(loose + bound)
    for (let i = 0; i < loose; i++) slots[i] = this.#slotAt(STATE.LOOSE_AT, s[STATE.LOOSE_HEAD]! + i)
    for (let i = 0; i < bound; i++) slots[loose + i] = this.#slotAt(STATE.BOUND_AT, s[STATE.BOUND_HEAD]! + i)
    return slots
  }

  /** Replaces everything that waits by `slots`, free to be used from the first on. For sole use only. */
  replaceWaiting(slots: Uint32Array): void {
    const s = this.#state
    s[STATE.LOOSE_HEAD] = s[STATE.LOOSE_TAIL] = 0
    s[STATE.BOUND_HEAD] = s[STATE.BOUND_TAIL] = 0
    this.#publishedLooseHead = this.#publishedBoundHead = 0
    for (const slot of slots) this.#push(STATE.LOOSE_AT, slot as SlotNo, 0)
  }

  // A ring is four neighbouring fields of the state: where it begins, capacity, head, tail.
  #push(ring: number, slot: SlotNo, lsn = this.#lsn): void {
    const s = this.#state
    const published = ring === STATE.LOOSE_AT ? this.#publishedLooseHead : this.#publishedBoundHead
    const tail = s[ring + 3]!
    if (tail - published >= s[ring + 1]!) this.#enlarge(ring)
    this.#write(this.#entry(ring, tail), slot, lsn)
    s[ring + 3] = tail + 1
  }

  /** Moves a ring into a place twice as large; the old place stays as it is. */
  #enlarge(ring: number): void {
    const s = this.#state
    const capacity = Math.max(MIN_CAPACITY, s[ring + 1]! * 2)
    const bytes = capacity * ENTRY_BYTES
    if (bytes > CONTROL_WINDOW_BYTES) {
      throw new FullError('More than 64 million freed slots wait for a reader or a checkpoint: close old snapshots.')
    }
    const place = Math.ceil(s[STATE.CONTROL_END]! / bytes) * bytes
    this.#control.region.grow(place + bytes)
    const old = { at: s[ring]!, capacity: s[ring + 1]! }
    for (let p = s[ring + 2]!; p < s[ring + 3]!; p++) {
      const from = old.at + (p % old.capacity) * ENTRY_BYTES
      this.#write(place + (p % capacity) * ENTRY_BYTES, this.#readSlot(from), this.#readLsn(from))
    }
    s[ring] = place
    s[ring + 1] = capacity
    s[STATE.CONTROL_END] = place + bytes
  }

  #entry(ring: number, position: number): number {
    return this.#state[ring]! + (position % this.#state[ring + 1]!) * ENTRY_BYTES
  }
  #slotAt(ring: number, position: number): number {
    return this.#readSlot(this.#entry(ring, position))
  }
  #lsnAt(ring: number, position: number): number {
    return this.#readLsn(this.#entry(ring, position))
  }

  // A ring begins at a multiple of its size, so an entry never crosses a window of `control`.
  #write(at: number, slot: number, lsn: number): void {
    const window = this.#window(at)
    const offset = at % CONTROL_WINDOW_BYTES
    this.#words[window]![offset >> 2] = slot
    this.#numbers[window]![(offset >> 3) + 1] = lsn
  }
  #readSlot(at: number): number {
    return this.#words[this.#window(at)]![(at % CONTROL_WINDOW_BYTES) >> 2]! >>> 0
  }
  #readLsn(at: number): number {
    return this.#numbers[this.#window(at)]![((at % CONTROL_WINDOW_BYTES) >> 3) + 1]!
  }
  #window(at: number): number {
    const i = Math.floor(at / CONTROL_WINDOW_BYTES)
    if (this.#words[i] === undefined) {
      this.#words[i] = new Int32Array(this.#control.region.window(i))
      this.#numbers[i] = new Float64Array(this.#control.region.window(i))
    }
    return i
  }

  #clearUnverified(slot: number): void {
    if (slot >= this.#control.unverifiedLimit || slot < HEADER_SLOTS) return
    const word = Control.BITMAP_WORD + (slot >>> 5)
    const bit = 1 << (slot & 31)
    if ((this.#control.i32[word]! & bit) !== 0) Atomics.and(this.#control.i32, word, ~bit)
  }
}
