// Which slots may be written. Used by the leader, on a private copy of the tree state; what it does
// counts from the moment that state is published, and is as if it had never been if it is not.
//
// A freed slot waits in one of four rings in `control`:
//   loose: made after the newest checkpoint was begun, so no checkpoint reaches it. In the order in
//          which slots were freed. Reusable once nobody reads a tree older than the one that freed it.
//   bound: reached by a checkpoint. In the same order. Reusable once, besides, a later checkpoint is
//          on disk.
//   held:  some reader that has been at it for long reaches it. A slot made at c and freed at f is
//          reached by a reader of a tree p only if c <= p < f. Those that no reader reaches do not
//          wait for the oldest one, so that an old snapshot holds on to what it sees and no more.
//          Looked through again when one of those readers has gone.
//   ready: reusable at once.
// Taking moves a head, freeing writes behind a tail; entries between the published head and tail are
// never overwritten, so a leader that dies leaves the rings as they were.
//
// A ring entry: 0 4 slot   8 8 LSN of the group that freed it (float64).
import { FullError } from '../errors.js'
import { Control, STATE, type StateFields } from './control.js'
import { HEADER_SLOTS, SLOT_BYTES, type SlotNo } from './layout.js'
import type { Pins } from './pins.js'
import { madeAt } from './slot-check.js'
import type { SlotSpace } from './slot-space.js'

const ENTRY_BYTES = 16
const MIN_CAPACITY = 32
/** A reader this far behind the log, in bytes, counts as one that stays. */
const LONG_READER_BYTES = 256 * 1024
/** Pins of owners that died are looked for once in so many groups: it costs a system call for each. */
const GROUPS_BETWEEN_CHECKS = 64

type Ring = typeof STATE.READY | typeof STATE.LOOSE | typeof STATE.BOUND | typeof STATE.HELD
const RINGS: readonly Ring[] = [STATE.READY, STATE.LOOSE, STATE.BOUND, STATE.HELD]
/** Fields of a ring, behind its first. */
const CAPACITY = 1
const HEAD = 2
const TAIL = 3

export class Allocator {
  readonly #control: Control
  readonly #space: SlotSpace
  readonly #pins: Pins
  readonly #grow: (slots: number) => void
  readonly #maxHeldBytes: number
  readonly #windowBytes: number
  readonly #words: Int32Array[] = []
  readonly #numbers: Float64Array[] = []

  #state!: StateFields
  #lsn = 0
  /** Trees before the newest that somebody reads, ascending. */
  #readers: number[] = []
  readonly #publishedHeads = new Map<Ring, number>()
  #sorted = false
  /** Slots made and freed within this group: free at once. */
  readonly #own: number[] = []

  /**
   * `grow`: makes the data file hold at least so many slots, or throws. `maxHeldBytes`: what readers may
   * hold back before the oldest is expired.
   */
  constructor(control: Control, space: SlotSpace, pins: Pins, grow: (slots: number) => void, maxHeldBytes: number) {
    this.#maxHeldBytes = maxHeldBytes
    this.#control = control
    this.#space = space
    this.#pins = pins
    this.#grow = grow
    this.#windowBytes = control.region.windowBytes
  }

  /** Begins a group that will be published at `lsn`. `state` is changed from here on. */
  begin(state: StateFields, lsn: number): void {
    this.#state = state
    this.#lsn = lsn
    for (const ring of RINGS) this.#publishedHeads.set(ring, state[ring + HEAD]!)
    this.#own.length = 0
    this.#sorted = false
    this.#readers = this.#pins.older(state[STATE.VISIBLE]!, state[STATE.GROUPS]! % GROUPS_BETWEEN_CHECKS === 0)
    // One tree's readers in each group: what they held is free from the next one on.
    if (this.#heldBack() * SLOT_BYTES > this.#maxHeldBytes) this.#readers.some((lsn) => this.#pins.expire(lsn))
    if (this.#length(STATE.HELD) > 0 && this.#sumUpTo(state[STATE.HELD_MAX]!) !== state[STATE.HELD_SUM]) this.#sweepHeld()
  }

  /** A slot whose bytes may be overwritten. */
  allocate(): SlotNo {
    const slot = this.#own.pop() ?? (this.#reuse() || this.#fresh())
    this.#clearUnverified(slot)
    this.#control.markUnsealed(slot)
    this.#space.readAhead.willOverwrite(slot)
    return slot as SlotNo
  }

  #reuse(): number {
    const s = this.#state
    if (this.#length(STATE.READY) > 0) return this.#take(STATE.READY)
    const oldest = this.#readers[0] ?? s[STATE.VISIBLE]!
    if (this.#length(STATE.LOOSE) > 0 && this.#freedAt(STATE.LOOSE) <= oldest) return this.#take(STATE.LOOSE)
    const limit = Math.min(oldest, s[STATE.CHECKPOINT_DURABLE]!)
    if (this.#length(STATE.BOUND) > 0 && this.#freedAt(STATE.BOUND) <= limit) return this.#take(STATE.BOUND)
    if (this.#readers.length === 0 || this.#sorted) return 0
    this.#sortOut()
    return this.#length(STATE.READY) > 0 ? this.#take(STATE.READY) : 0
  }

  #fresh(): number {
    const next = this.#state[STATE.NEXT_SLOT]!
    // Appenders have reserved enough, unless a reader that stalled while it pinned an old tree
    // holds back slots that counted as free.
    if (next >= this.#control.fileSlots) this.#grow(next + 1)
    this.#state[STATE.NEXT_SLOT] = next + 1
    return next
  }

  /** Gives up a slot that was made at `madeAt` and that the tree being built no longer reaches. */
  free(slot: SlotNo, madeAt: number): void {
    if (madeAt === this.#lsn) this.#own.push(slot)
    else if (madeAt > this.#state[STATE.CHECKPOINT_BEGUN]!) this.#push(STATE.LOOSE, slot, this.#lsn)
    else this.#push(STATE.BOUND, slot, this.#lsn)
  }

  /** Gives up a slot that no reader and no checkpoint on disk reaches. */
  freeUnreachable(slot: SlotNo): void {
    this.#push(STATE.READY, slot, 0)
  }

  /** Gives up a slot that the checkpoint on disk may reach. */
  freeBound(slot: SlotNo): void {
    this.#push(STATE.BOUND, slot, this.#lsn)
  }

  /** Ends the group: what was made and not used goes back, and what can be reused is counted. */
  finish(): void {
    for (const slot of this.#own) this.#push(STATE.READY, slot as SlotNo, 0)
    this.#own.length = 0
    const s = this.#state
    if (this.#readers.length > 0) this.#sortOut()
    s[STATE.HELD_BACK] = this.#heldBack()
    const oldest = this.#readers[0] ?? s[STATE.VISIBLE]!
    s[STATE.ELIGIBLE] =
      this.#length(STATE.READY) +
      this.#countUpTo(STATE.LOOSE, oldest) +
      this.#countUpTo(STATE.BOUND, Math.min(oldest, s[STATE.CHECKPOINT_DURABLE]!))
  }

  /** Freed slots that nobody waits for but readers. */
  #heldBack(): number {
    const oldest = this.#readers[0]
    if (oldest === undefined) return this.#length(STATE.HELD)
    const s = this.#state
    const visible = s[STATE.VISIBLE]!
    const durable = s[STATE.CHECKPOINT_DURABLE]!
    return (
      this.#length(STATE.HELD) +
      this.#countUpTo(STATE.LOOSE, visible) -
      this.#countUpTo(STATE.LOOSE, oldest) +
      this.#countUpTo(STATE.BOUND, Math.min(visible, durable)) -
      this.#countUpTo(STATE.BOUND, Math.min(oldest, durable))
    )
  }

  /** True if a tree before the newest is being read, as of `begin`. */
  get isHeldBack(): boolean {
    return this.#readers.length > 0
  }

  get waitingCount(): number {
    return RINGS.reduce((sum, ring) => sum + this.#length(ring), 0)
  }

  /** Every slot that waits in a ring, in no order. */
  waiting(): Uint32Array {
    const slots = new Uint32Array(this.waitingCount)
    let n = 0
    for (const ring of RINGS) {
      for (let p = this.#state[ring + HEAD]!; p < this.#state[ring + TAIL]!; p++) slots[n++] = this.#readSlot(this.#entry(ring, p))
    }
    return slots
  }

  /**
   * Replaces everything that waits by `slots`, to be used from the first on. For sole use only. `freedAt`: the
   * LSN that they count as freed at, where readers of older trees may reach them; 0 if there are none.
   */
  replaceWaiting(slots: Uint32Array, freedAt = 0): void {
    for (const ring of RINGS) {
      this.#state[ring + HEAD] = this.#state[ring + TAIL] = 0
      this.#publishedHeads.set(ring, 0)
    }
    const ring = freedAt === 0 ? STATE.READY : STATE.LOOSE
    for (const slot of slots) this.#push(ring, slot as SlotNo, freedAt)
  }

  // ---- readers in the way ----------------------------------------------------------------------

  /**
   * Looks, entry by entry, at what was freed before this group and is too new for the oldest reader:
   * what no reader reaches becomes ready, what a long reader reaches is held. A reader that has just
   * begun is waited for.
   */
  #sortOut(): void {
    this.#sorted = true
    const s = this.#state
    const visible = s[STATE.VISIBLE]!
    for (const ring of [STATE.LOOSE, STATE.BOUND] as const) {
      const limit = ring === STATE.LOOSE ? visible : Math.min(visible, s[STATE.CHECKPOINT_DURABLE]!)
      while (this.#length(ring) > 0 && this.#freedAt(ring) <= limit) {
        const freedAt = this.#freedAt(ring)
        const slot = this.#readSlot(this.#entry(ring, s[ring + HEAD]!))
        const reader = this.#readerOf(slot, freedAt)
        if (reader === undefined) this.#push(STATE.READY, slot as SlotNo, 0)
        else if (visible - reader > LONG_READER_BYTES) this.#hold(slot as SlotNo, freedAt, reader)
        else break
        s[ring + HEAD]!++
      }
    }
  }

  #hold(slot: SlotNo, freedAt: number, reader: number): void {
    const s = this.#state
    this.#push(STATE.HELD, slot, freedAt)
    if (reader <= s[STATE.HELD_MAX]!) return
    s[STATE.HELD_MAX] = reader
    s[STATE.HELD_SUM] = this.#sumUpTo(reader)
  }

  /** A reader has gone that slots were held for: looks at all of them again. */
  #sweepHeld(): void {
    const s = this.#state
    const end = s[STATE.HELD + TAIL]!
    s[STATE.HELD_MAX] = 0
    s[STATE.HELD_SUM] = 0
    for (let p = s[STATE.HELD + HEAD]!; p < end; p++) {
      const at = this.#entry(STATE.HELD, p)
      const slot = this.#readSlot(at) as SlotNo
      const freedAt = this.#readLsn(at)
      s[STATE.HELD + HEAD]!++
      const reader = this.#readerOf(slot, freedAt)
      if (reader === undefined) this.#push(STATE.READY, slot, 0)
      else this.#hold(slot, freedAt, reader)
    }
  }

  /** The newest reader that reaches a slot freed at `freedAt`, if there is one. */
  #readerOf(slot: number, freedAt: number): number | undefined {
    const made = madeAt(this.#space, slot)
    for (let i = this.#readers.length - 1; i >= 0; i--) {
      const reader = this.#readers[i]!
      if (reader < made) return undefined
      if (reader < freedAt) return reader
    }
    return undefined
  }

  #sumUpTo(lsn: number): number {
    let sum = 0
    for (const reader of this.#readers) if (reader <= lsn) sum += reader
    return sum
  }

  // ---- rings -----------------------------------------------------------------------------------

  #length(ring: Ring): number {
    return this.#state[ring + TAIL]! - this.#state[ring + HEAD]!
  }
  #take(ring: Ring): number {
    return this.#readSlot(this.#entry(ring, this.#state[ring + HEAD]!++))
  }
  /** When the slot at the head was freed. */
  #freedAt(ring: Ring): number {
    return this.#readLsn(this.#entry(ring, this.#state[ring + HEAD]!))
  }

  /** Entries at the head of a ring that were freed at or before `lsn`. */
  #countUpTo(ring: Ring, lsn: number): number {
    const head = this.#state[ring + HEAD]!
    let low = head
    let high = this.#state[ring + TAIL]!
    while (low < high) {
      const middle = Math.floor((low + high) / 2)
      if (this.#readLsn(this.#entry(ring, middle)) <= lsn) low = middle + 1
      else high = middle
    }
    return low - head
  }

  #push(ring: Ring, slot: SlotNo, lsn: number): void {
    const s = this.#state
    const tail = s[ring + TAIL]!
    if (tail - this.#publishedHeads.get(ring)! >= s[ring + CAPACITY]!) this.#enlarge(ring)
    this.#write(this.#entry(ring, tail), slot, lsn)
    s[ring + TAIL] = tail + 1
  }

  /** Moves a ring into a place twice as large; the old place stays as it is. */
  #enlarge(ring: Ring): void {
    const s = this.#state
    const capacity = Math.max(MIN_CAPACITY, s[ring + CAPACITY]! * 2)
    const bytes = capacity * ENTRY_BYTES
    // At a multiple of an entry, so that no entry crosses a window of `control`.
    const place = Math.ceil(s[STATE.CONTROL_END]! / ENTRY_BYTES) * ENTRY_BYTES
    if (place + bytes > this.#control.region.reserveBytes) {
      throw new FullError('Too many freed slots wait for a reader or a checkpoint: close old snapshots.')
    }
    this.#control.region.grow(place + bytes)
    const old = { at: s[ring]!, capacity: s[ring + CAPACITY]! }
    for (let p = s[ring + HEAD]!; p < s[ring + TAIL]!; p++) {
      const from = old.at + (p % old.capacity) * ENTRY_BYTES
      this.#write(place + (p % capacity) * ENTRY_BYTES, this.#readSlot(from), this.#readLsn(from))
    }
    s[ring] = place
    s[ring + CAPACITY] = capacity
    s[STATE.CONTROL_END] = place + bytes
  }

  #entry(ring: Ring, position: number): number {
    return this.#state[ring]! + (position % this.#state[ring + CAPACITY]!) * ENTRY_BYTES
  }
  #write(at: number, slot: number, lsn: number): void {
    const window = this.#window(at)
    const offset = at % this.#windowBytes
    this.#words[window]![offset >> 2] = slot
    this.#numbers[window]![(offset >> 3) + 1] = lsn
  }
  #readSlot(at: number): number {
    return this.#words[this.#window(at)]![(at % this.#windowBytes) >> 2]! >>> 0
  }
  #readLsn(at: number): number {
    return this.#numbers[this.#window(at)]![((at % this.#windowBytes) >> 3) + 1]!
  }
  #window(at: number): number {
    const i = Math.floor(at / this.#windowBytes)
    if (this.#words[i] === undefined) {
      this.#words[i] = new Int32Array(this.#control.region.window(i))
      this.#numbers[i] = new Float64Array(this.#control.region.window(i))
    }
    return i
  }

  #clearUnverified(slot: number): void {
    if (slot >= this.#control.unverifiedLimit || slot < HEADER_SLOTS) return
    if ((this.#control.i32[Control.BITMAP_WORD + (slot >>> 5)]! & (1 << (slot & 31))) !== 0) this.#control.setVerified(slot)
  }
}
