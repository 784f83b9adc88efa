// Reading slots that may be reused at any moment: why a reader that is ended does no harm.
//
// A snapshot or iterator can be expired at any moment (pins.ts), and from then on the slots that it reaches can be
// reused. What it loads may then be of another tree, or half of one tree and half of another. Its pin tells: if
// the pin still stands when the reader checks it, everything that was loaded before is as it was when the tree
// was published. So such a reader has one rule:
//
//      load, check that the pin stands, and only then believe
//
// and to believe means: to follow the number of a slot, to ask the system for it, to allocate by a length, to
// return something to the user, to call it damaged, and to write anything that others see. The only thing that
// others see is the bitmap of verified slots (slot-checker.ts), whose bits are only ever cleared: if the
// reader is stopped between its last check and the store, for however long, the store is still true.
//
// It follows the rule in two ways. Cursors copy each slot whole, check the pin, and work on the copy
// (`SlotChecker.take`); a number taken from the copy is one that the tree had. Point lookups and counts make no
// copy and search a slot where it is: then garbage in it can lead the loads of one search as far as its numbers
// reach, but no farther, since they are added to the start of the slot (REACH_SLOTS). All of that range
// must lie in the file, since a load beyond its end is a fault that counts as a lost page: so slots near the end
// are copied. Searches end, whatever they read: a loop is bounded by the count that it began with.
//
// A reader that has no pin at all can read by the same rule (`UnpinnedRead`): it checks instead that no other
// tree has been published since. The slots of the newest tree are not written before the next one is published.
import { ExpiredError } from '../../errors.js'
import { loadFence } from '../../storage/fence.js'
import { Control, STATE, type StateFields } from './control.js'
import {
  BRANCH_ENTRY_WORDS,
  EXPIRY_BYTES,
  KEY_LENGTH_MASK,
  LEAF_CELL_HEADER,
  SLOT,
  SLOT_BYTES,
} from '../format/layout.js'

/** What a reader that can be ended checks. */
export interface ReadGuard {
  /** Throws if what has been read up to now may have been overwritten. */
  assertNotExpired(): void
}

/** The flag of a pin that is in use for snapshots and iterators, and not expired (pins.ts). */
export const LONG_FLAG = 2

/** Where a pin is: its flag in `control` (pins.ts), or the lock that stands for an LSN (lock-pins.ts). */
export type PinPlace = { readonly flagAt: number } | { readonly lsn: number }

/** The error for a snapshot or iterator that a leader has expired. */
export const expiredError = (): ExpiredError =>
  new ExpiredError(
    'This snapshot or iterator was ended: it kept more of the data file from reuse than a writer allows ' +
      '(maxHeldBytes). Take a new one, and close it sooner.',
  )

let observer: (() => void) | undefined

/** Calls `observe` at every step of a reader that can be ended, so that tests can act there as another thread. */
export function observeReads(observe: (() => void) | undefined): void {
  observer = observe
}

/** Between two loads of such a reader. */
export function readStep(): void {
  if (observer !== undefined) observer()
}

/** How far beyond its start a search in a slot, and a value found there, can reach if all in it is garbage. */
const ENTRIES_REACH = SLOT.BODY + (0xffff + 1) * BRANCH_ENTRY_WORDS * 4
const CELL_REACH = 0xffff + LEAF_CELL_HEADER + KEY_LENGTH_MASK + EXPIRY_BYTES + 0xffff
const REACH_SLOTS = Math.ceil(Math.max(ENTRIES_REACH, CELL_REACH) / SLOT_BYTES)

/** True if a slot lies far enough before the end of the file to be searched where it is. */
export const isReachable = (slot: number, fileSlots: number): boolean => slot + REACH_SLOTS <= fileSlots

/** The newest tree was replaced while it was read without a pin: read again. */
export class TreeReplaced extends Error {}

/** The fields of the state that a reader needs. */
const FIELDS = [STATE.VISIBLE_LSN, STATE.ROOT, STATE.HEIGHT, STATE.ENTRIES, STATE.EARLIEST_EXPIRY]

/** A read of the newest tree without a pin, valid for as long as that tree is the newest. */
export class UnpinnedRead implements ReadGuard {
  readonly #control: Control
  #sequence = 0

  constructor(control: Control) {
    this.#control = control
  }

  /** Starts, or starts again; writes the fields that a reader needs into `into`. */
  begin(into: StateFields): void {
    const { i32, f64 } = this.#control
    do {
      this.#sequence = Atomics.load(i32, Control.SEQUENCE_WORD)
      const at = Control.STATE_INDEX + (this.#sequence & 1) * Control.STATE_STRIDE
      for (const field of FIELDS) into[field] = f64[at + field]!
    } while (!this.#stands())
  }

  /** Throws `TreeReplaced` if another tree has been published since `begin`. */
  assertNotExpired(): void {
    if (!this.#stands()) throw new TreeReplaced()
  }

  #stands(): boolean {
    // An atomic read-modify-write would order the loads as well, but this reader may not write.
    loadFence()
    return Atomics.load(this.#control.i32, Control.SEQUENCE_WORD) === this.#sequence
  }
}
