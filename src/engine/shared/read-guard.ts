// Reading what may be taken away: why a reader that is ended does no harm.
//
// A snapshot or iterator can be expired at any moment (pins.ts), and the slots that it reaches be used for
// something else from then on. Whatever it loads may be of another tree, or half of one and half of another.
// Its pin tells: it still stood when it was looked at, so all that was loaded before is what it was when the
// tree was published. So such a reader has one rule:
//
//      load, find that the pin stands, and only then believe
//
// and to believe means: to follow the number of a slot, to ask the system for it, to allocate by a length, to
// hand something out, to judge it damaged, and to write anything that others see. What others see is
// nothing but the bitmap of verified slots (slot-checker.ts), whose bits are only ever cleared: should the
// reader be stopped between its last look and the store for as long as it may be, the store is still true.
//
// It follows the rule in two ways. Cursors copy each slot whole, look at the pin, and work on the copy
// (`SlotChecker.take`); a number taken from it is one that the tree held. Point lookups and counts do without
// the copy and search a slot where it is: then garbage in it can lead the loads of one search as far
// as its numbers reach, but no farther, since they are added to the start of the slot (REACH_SLOTS). All of that
// must lie in the file, since a load beyond its end is a fault that counts as a lost page: slots near the end
// are copied. Searches end, whatever they read: a loop is bounded by the count that it began with.
//
// Whoever holds no pin at all can read by the same rule (`UnpinnedRead`): what it looks at instead is that no
// other tree has been published since. The slots of the newest tree are not written before the next one is there.
import { ExpiredError } from '../../errors.js'
import { loadFence } from '../../storage/fence.js'
import { Control, STATE, type StateFields } from './control.js'
import { LEAF_CELL_HEADER, KEY_LENGTH_MASK, SLOT, SLOT_BYTES } from '../format/layout.js'

/** What a reader that can be ended looks at. */
export interface ReadGuard {
  /** Throws if what has been read up to now may not be what it was. */
  assertNotExpired(): void
}

/** The error for a snapshot or iterator that a leader has expired. */
export const expiredError = (): ExpiredError =>
  new ExpiredError(
    'This snapshot or iterator was ended: it held back more of the data file than a writer allows (maxHeldBytes). ' +
      'Take a new one, and close it sooner.',
  )

let observer: (() => void) | undefined

/** Calls `observe` at every step of a reader that can be ended, where others may act; for tests. */
export function observeReads(observe: (() => void) | undefined): void {
  observer = observe
}

/** Between two loads of such a reader. */
export function readStep(): void {
  if (observer !== undefined) observer()
}

/** How far beyond the start of a slot a search in it, and a value found there, can reach if all in it is garbage. */
const ENTRIES_REACH = SLOT.BODY + (0xffff + 1) * 12
const CELL_REACH = 0xffff + LEAF_CELL_HEADER + KEY_LENGTH_MASK + 0xffff
const REACH_SLOTS = Math.ceil(Math.max(ENTRIES_REACH, CELL_REACH) / SLOT_BYTES)

/** True if a slot lies so far before the end of the file that it can be searched where it is. */
export const isReachable = (slot: number, fileSlots: number): boolean => slot + REACH_SLOTS <= fileSlots

/** The newest tree has been replaced while it was glimpsed at: look again. */
export class TreeReplaced extends Error {}

/** Reading the newest tree without a pin, for as long as it is the newest. */
export class UnpinnedRead implements ReadGuard {
  readonly #control: Control
  #sequence = 0

  constructor(control: Control) {
    this.#control = control
  }

  /** Begins anew; writes what a reader needs to know into `into`. */
  begin(into: StateFields): void {
    const { i32, f64 } = this.#control
    do {
      this.#sequence = Atomics.load(i32, Control.SEQUENCE_WORD)
      const at = Control.STATE_INDEX + (this.#sequence & 1) * Control.STATE_STRIDE
      for (const field of [STATE.VISIBLE_LSN, STATE.ROOT, STATE.HEIGHT, STATE.ENTRIES]) into[field] = f64[at + field]!
    } while (!this.#stands())
  }

  /** Throws `TreeReplaced` if another tree has been published since `begin`. */
  assertNotExpired(): void {
    if (!this.#stands()) throw new TreeReplaced()
  }

  #stands(): boolean {
    // An atomic read-modify-write would keep loads before it as well, but this one may not write.
    loadFence()
    return Atomics.load(this.#control.i32, Control.SEQUENCE_WORD) === this.#sequence
  }
}
