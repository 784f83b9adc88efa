// Which slots may be written. The leader uses it on a private copy of the tree state: what it does
// takes effect at the moment that state is published, and has never happened if it is not.
//
// A freed slot waits in one of four rings in `control`:
//   not checkpointed: made after the newest checkpoint was started, so no checkpoint reaches it. In the
//          order in which slots were freed. Reusable once no reader reads a tree older than the one
//          that freed it.
//   checkpointed: reached by a checkpoint. In the same order. Reusable once, besides, a later checkpoint
//          is on disk.
//   pinned: reached by a reader that has been reading for long. A slot made at c and freed at f is
//          reached by a reader of a tree p only if c <= p < f. Slots that no reader reaches do not
//          wait for the oldest reader, so an old snapshot keeps the slots that it sees and no more.
//          The ring is looked through again when one of those readers has gone, a part of it in each
//          group: the next group must not wait for all of it.
//   reusable: can be used at once.
// rings.ts says how they lie there.
import { bytesBetween } from '../../wal/lsn.js'
import { STATE, type Control, type StateFields } from '../shared/control.js'
import { SLOT_BYTES, type SlotNo } from '../format/layout.js'
import type { Pins } from '../shared/pins.js'
import { Rings, RINGS, type Ring } from './rings.js'
import { mergedRuns, type Runs } from '../format/runs.js'
import type { SlotSpace } from '../format/slot-space.js'
import { slotLsn } from '../format/slot-header.js'

/** A reader whose tree is this many bytes of log behind the newest counts as one that reads for long. */
const LONG_READER_BYTES = 256 * 1024
/** Pins of owners that died are looked for once in that many groups: it costs a system call for each pin. */
const GROUPS_BETWEEN_CHECKS = 64
/** Pinned slots that are looked at again in one group: they take a fraction of a millisecond. */
const SWEPT_IN_A_GROUP = 1024
/** The same if there are no readers: then each takes less. */
const SWEPT_WITHOUT_READERS = 8192

export class Allocator {
  readonly #control: Control
  readonly #space: SlotSpace
  readonly #pins: Pins
  readonly #grow: (slots: number) => void
  readonly #maxHeldBytes: number
  readonly #rings: Rings

  #state!: StateFields
  #lsn = 0
  /** LSNs of the trees before the newest that are being read, one for each pin, ascending. */
  #readers: number[] = []
  #sorted = false
  /** Slots made and freed within this group: free at once. */
  readonly #own: number[] = []

  /**
   * `grow`: makes the data file hold at least that many slots, or throws. `maxHeldBytes`: how much readers may
   * keep from reuse before the oldest is expired.
   */
  constructor(control: Control, space: SlotSpace, pins: Pins, grow: (slots: number) => void, maxHeldBytes: number) {
    this.#maxHeldBytes = maxHeldBytes
    this.#control = control
    this.#space = space
    this.#pins = pins
    this.#grow = grow
    this.#rings = new Rings(control)
  }

  /** Begins a group that will be published at `lsn`. From here on `state` is changed. */
  begin(state: StateFields, lsn: number): void {
    this.#state = state
    this.#lsn = lsn
    this.#rings.begin(state)
    this.#own.length = 0
    this.#sorted = false
    this.#readers = this.#pins.older(state[STATE.VISIBLE_LSN]!, state[STATE.GROUPS]! % GROUPS_BETWEEN_CHECKS === 0)
    this.#noteDepartures()
    this.#sweepPinned(this.#readers.length === 0 ? SWEPT_WITHOUT_READERS : SWEPT_IN_A_GROUP)
    if (!this.#isTooMuchPinned()) return
    // No reader is expired for slots that no reader reaches any more.
    this.#sweepPinned(Infinity)
    // The readers of one tree in each group: their slots are free from the next group on.
    if (this.#isTooMuchPinned()) this.#readers.some((lsn) => this.#pins.expire(lsn))
  }

  #isTooMuchPinned(): boolean {
    return this.#pinnedNow() * SLOT_BYTES > this.#maxHeldBytes
  }

  /** Reads `state`, for `waiting`; changes nothing. */
  look(state: StateFields): void {
    this.#state = state
    this.#rings.begin(state)
  }

  /** A slot whose bytes may be overwritten. */
  allocate(): SlotNo {
    const slot = this.#own.pop() ?? (this.#reuse() || this.#fresh())
    if (this.#control.isUnverified(slot)) this.#control.setVerified(slot)
    this.#control.unsealed.mark(slot)
    this.#space.readAhead.willOverwrite(slot)
    return slot as SlotNo
  }

  #reuse(): number {
    const s = this.#state
    const rings = this.#rings
    if (rings.slots(STATE.RING_REUSABLE) > 0) return rings.take(STATE.RING_REUSABLE)
    const oldest = this.#readers[0] ?? s[STATE.VISIBLE_LSN]!
    if (rings.slots(STATE.RING_NOT_CHECKPOINTED) > 0 && rings.freedAtLsn(STATE.RING_NOT_CHECKPOINTED) <= oldest)
      return rings.take(STATE.RING_NOT_CHECKPOINTED)
    const limit = Math.min(oldest, s[STATE.CHECKPOINT_DURABLE_LSN]!)
    if (rings.slots(STATE.RING_CHECKPOINTED) > 0 && rings.freedAtLsn(STATE.RING_CHECKPOINTED) <= limit)
      return rings.take(STATE.RING_CHECKPOINTED)
    while (s[STATE.PINNED_DUE]! > 0 && rings.slots(STATE.RING_REUSABLE) === 0) this.#sweepPinned(SWEPT_IN_A_GROUP)
    if (rings.slots(STATE.RING_REUSABLE) === 0 && this.#readers.length > 0 && !this.#sorted) this.#sortOut()
    return rings.slots(STATE.RING_REUSABLE) > 0 ? rings.take(STATE.RING_REUSABLE) : 0
  }

  #fresh(): number {
    const next = this.#state[STATE.NEXT_SLOT]!
    // Appenders have reserved enough, unless a reader that stalled while it pinned an old tree
    // keeps slots that counted as free.
    if (next >= this.#control.fileSlots) this.#grow(next + 1)
    this.#state[STATE.NEXT_SLOT] = next + 1
    return next
  }

  /** Frees a slot that was made at `madeAtLsn` and that the tree being built no longer reaches. */
  free(slot: SlotNo, madeAtLsn: number): void {
    if (madeAtLsn === this.#lsn) this.#own.push(slot)
    else if (madeAtLsn > this.#state[STATE.CHECKPOINT_BEGUN_LSN]!)
      this.#rings.push(STATE.RING_NOT_CHECKPOINTED, slot, this.#lsn)
    else this.#rings.push(STATE.RING_CHECKPOINTED, slot, this.#lsn)
  }

  /** Frees a slot that no reader and no checkpoint on disk reaches. */
  freeUnreachable(slot: SlotNo): void {
    this.#rings.push(STATE.RING_REUSABLE, slot, 0)
  }

  /** Frees a slot that the checkpoint on disk may reach. */
  freeCheckpointed(slot: SlotNo): void {
    this.#rings.push(STATE.RING_CHECKPOINTED, slot, this.#lsn)
  }

  /** Ends the group: puts slots back that it made and freed, and counts what can be reused. */
  finish(): void {
    for (const slot of this.#own) this.#rings.push(STATE.RING_REUSABLE, slot, 0)
    this.#own.length = 0
    const s = this.#state
    const rings = this.#rings
    if (this.#readers.length > 0) this.#sortOut()
    s[STATE.PINNED_SLOTS] = this.#pinnedNow()
    const oldest = this.#readers[0] ?? s[STATE.VISIBLE_LSN]!
    for (const ring of RINGS) if (!rings.keepRoom(ring)) this.#settle(oldest)
    s[STATE.ELIGIBLE] =
      rings.slots(STATE.RING_REUSABLE) +
      (this.#readers.length === 0 ? rings.slots(STATE.RING_PINNED) : 0) +
      rings.slotsUpTo(STATE.RING_NOT_CHECKPOINTED, oldest) +
      rings.slotsUpTo(STATE.RING_CHECKPOINTED, Math.min(oldest, s[STATE.CHECKPOINT_DURABLE_LSN]!))
  }

  /**
   * A ring fills up and `control` cannot grow, because the disk is full: moves everything that can be reused at once
   * into the ring of reusable slots, with adjacent runs merged, if that ring has room for it.
   */
  #settle(oldest: number): void {
    const rings = this.#rings
    const limits = [
      [STATE.RING_REUSABLE, 0],
      [STATE.RING_NOT_CHECKPOINTED, oldest],
      [STATE.RING_CHECKPOINTED, Math.min(oldest, this.#state[STATE.CHECKPOINT_DURABLE_LSN]!)],
    ] as const
    const runs: number[] = []
    for (const [ring, limit] of limits) rings.forEachRun(ring, limit, (first, length) => runs.push(first, length))
    const merged = mergedRuns(Float64Array.from(runs))
    if (merged.length / 2 > rings.room(STATE.RING_REUSABLE)) return
    for (const [ring, limit] of limits) rings.dropUpTo(ring, limit)
    this.#pushRuns(STATE.RING_REUSABLE, merged, 0)
  }

  #pushRuns(ring: Ring, runs: Runs, freedAtLsn: number): void {
    for (let i = 0; i < runs.length; i += 2) this.#rings.push(ring, runs[i]!, freedAtLsn, runs[i + 1]!)
  }

  /** How many freed slots only readers keep from reuse. */
  #pinnedNow(): number {
    const oldest = this.#readers[0]
    if (oldest === undefined) return 0
    const s = this.#state
    const visible = s[STATE.VISIBLE_LSN]!
    const durable = s[STATE.CHECKPOINT_DURABLE_LSN]!
    return (
      this.#rings.slots(STATE.RING_PINNED) +
      this.#rings.slotsUpTo(STATE.RING_NOT_CHECKPOINTED, visible) -
      this.#rings.slotsUpTo(STATE.RING_NOT_CHECKPOINTED, oldest) +
      this.#rings.slotsUpTo(STATE.RING_CHECKPOINTED, Math.min(visible, durable)) -
      this.#rings.slotsUpTo(STATE.RING_CHECKPOINTED, Math.min(oldest, durable))
    )
  }

  /** True if a tree before the newest is being read, as of `begin`. */
  get hasReaders(): boolean {
    return this.#readers.length > 0
  }

  /** Slots in the ring of pinned ones, as of `begin`. */
  get pinnedSlots(): number {
    return this.#rings.slots(STATE.RING_PINNED)
  }

  /** Slots that can be reused whatever is being read. */
  get reusableSlots(): number {
    return this.#rings.slots(STATE.RING_REUSABLE)
  }

  /**
   * How many runs all that waits comes to at most, with adjacent ones merged. Merging them to count them would take
   * long. The first entry of each ring may have been taken in part, which makes a run more.
   */
  mostRuns(): number {
    const s = this.#state
    const asTheyAre = RINGS.reduce((sum, ring) => sum + this.#rings.runs(ring), 0)
    return Math.min(asTheyAre, s[STATE.MERGED_RUNS]! + Rings.moves(s) - s[STATE.MERGED_AT]! + RINGS.length)
  }

  /** Notes that what waited in an earlier state came to that many runs, at most. */
  noteMerged(runs: number, earlier: StateFields): void {
    this.#state[STATE.MERGED_RUNS] = runs
    this.#state[STATE.MERGED_AT] = Rings.moves(earlier)
  }

  /** All slots that wait in a ring, ascending, with adjacent runs merged. */
  waiting(): Runs {
    return mergedRuns(this.waitingRuns())
  }

  /** The same in the order in which they lie there, not merged. */
  waitingRuns(): Runs {
    const runs = new Float64Array(2 * RINGS.reduce((sum, ring) => sum + this.#rings.runs(ring), 0))
    let n = 0
    for (const ring of RINGS) {
      this.#rings.forEachRun(ring, Infinity, (first, length) => {
        runs[n++] = first
        runs[n++] = length
      })
    }
    return runs
  }

  /**
   * The runs that were freed after the checkpoint at `durableLsn`, the newest on disk, and that its tree reaches: until
   * there is another one, nothing takes them out of their ring. In the order in which they were freed.
   */
  freedSince(durableLsn: number): Runs {
    const runs: number[] = []
    this.#rings.forEachRunAfter(STATE.RING_CHECKPOINTED, durableLsn, (first, length) => runs.push(first, length))
    return Float64Array.from(runs)
  }

  /**
   * Replaces all slots that wait by `runs`, to be used from the first on. Only while no other user has the database
   * open. `freedAtLsn`: the LSN at which they count as freed, if readers of older trees may reach them; 0 if no
   * reader may.
   */
  replaceWaiting(runs: Runs, freedAtLsn = 0): void {
    const into = freedAtLsn === 0 ? STATE.RING_REUSABLE : STATE.RING_NOT_CHECKPOINTED
    for (const ring of RINGS) this.#rings.clear(ring)
    this.#state[STATE.PINNED_DUE] = 0
    for (const ring of RINGS) this.#rings.enlargeFor(ring, ring === into ? runs.length / 2 : 0)
    this.#pushRuns(into, runs, freedAtLsn)
    this.noteMerged(runs.length / 2, this.#state)
  }

  // ---- readers in the way ----------------------------------------------------------------------

  /**
   * Looks, entry by entry, at slots that were freed before this group and are too new for the oldest reader:
   * those that no reader reaches become reusable, those that a long reader reaches go to the ring of pinned
   * ones. Slots that a reader reaches which has just started stay where they are: that reader is waited for.
   */
  #sortOut(): void {
    this.#sorted = true
    const s = this.#state
    const rings = this.#rings
    const visible = s[STATE.VISIBLE_LSN]!
    for (const ring of [STATE.RING_NOT_CHECKPOINTED, STATE.RING_CHECKPOINTED] as const) {
      const limit = ring === STATE.RING_NOT_CHECKPOINTED ? visible : Math.min(visible, s[STATE.CHECKPOINT_DURABLE_LSN]!)
      while (rings.slots(ring) > 0) {
        const freedAtLsn = rings.freedAtLsn(ring)
        if (freedAtLsn > limit) break
        const slot = rings.first(ring)
        const reader = this.#readerOf(slot, freedAtLsn)
        if (reader !== undefined && bytesBetween(reader, visible) <= LONG_READER_BYTES) break
        rings.take(ring)
        if (reader === undefined) rings.push(STATE.RING_REUSABLE, slot, 0)
        else this.#pushPinned(slot, freedAtLsn, reader)
      }
    }
  }

  #pushPinned(slot: SlotNo, freedAtLsn: number, reader: number): void {
    const s = this.#state
    this.#rings.push(STATE.RING_PINNED, slot, freedAtLsn)
    if (reader <= s[STATE.PINNED_LSN]!) return
    s[STATE.PINNED_LSN] = reader
    s[STATE.PINNED_READERS] = this.#readersBelow(reader + 1)
  }

  /**
   * If a reader has gone that may have reached pinned slots, all of these are due to be looked at again. New readers
   * can pin only the newest tree, so the readers of trees up to a given one only become fewer: their number tells.
   */
  #noteDepartures(): void {
    const s = this.#state
    const slots = this.#rings.slots(STATE.RING_PINNED)
    if (slots === 0) s[STATE.PINNED_LSN] = 0
    const readers = this.#readersBelow(s[STATE.PINNED_LSN]! + 1)
    if (readers !== s[STATE.PINNED_READERS]) s[STATE.PINNED_DUE] = slots
    s[STATE.PINNED_READERS] = readers
  }

  /**
   * Looks at up to `most` of the pinned slots that are due; those that a reader still reaches go to the end of the
   * ring.
   */
  #sweepPinned(most: number): void {
    const s = this.#state
    const rings = this.#rings
    for (let left = Math.min(most, s[STATE.PINNED_DUE]!); left > 0; left--) {
      const freedAtLsn = rings.freedAtLsn(STATE.RING_PINNED)
      const slot = rings.take(STATE.RING_PINNED)
      s[STATE.PINNED_DUE]!--
      const reader = this.#readerOf(slot, freedAtLsn)
      if (reader === undefined) rings.push(STATE.RING_REUSABLE, slot, 0)
      else this.#pushPinned(slot, freedAtLsn, reader)
    }
  }

  /** LSN of the newest tree being read that has a slot freed at `freedAtLsn`; undefined if there is no such tree. */
  #readerOf(slot: number, freedAtLsn: number): number | undefined {
    const reader = this.#readers[this.#readersBelow(freedAtLsn) - 1]
    return reader !== undefined && reader >= slotLsn(this.#space, slot) ? reader : undefined
  }

  /** How many readers read a tree older than that of `lsn`. */
  #readersBelow(lsn: number): number {
    let low = 0
    let high = this.#readers.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#readers[middle]! < lsn) low = middle + 1
      else high = middle
    }
    return low
  }
}
