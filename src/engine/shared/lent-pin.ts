// A pin that is lent: a thread reads a tree under the pin of another thread of its process, which has asked it to. So
// what is read for a snapshot by a worker is of the moment of that snapshot.
//
// The lender may release the pin at any moment, and need not wait for the borrower: a loop is left, a snapshot is
// closed. From then on the slots of the tree may be reused, and the pin may be used for another tree, which the
// borrower could not tell from its own. So each share that is lent has a word in memory that both threads see. The
// lender stores 1 there before it releases the pin. The borrower follows the rule of read-guard.ts: load, check that
// the pin stands, and only then believe. Its check looks at the pin first, and at the word after that. If the word is
// still 0 then, the pin was still the lender's when it was looked at. So what was seen there, expired or not, was
// said of this tree, and all that was loaded before is as it was published.
//
// The pin is one of `control`, or a lock (lock-pins.ts). The borrower only reads either: it may be a thread that cannot
// write `control`. The lock byte of the pin stays the lender's. If the lender's thread ends, Node.js ends the threads
// that it has started before it closes its files, so no borrower outlives the lock.
import { ClosedError } from '../../errors.js'
import { loadFence } from '../../storage/fence.js'
import type { Control, StateFields } from './control.js'
import { expiredError, LONG_FLAG, type PinPlace, type ReadGuard } from './read-guard.js'

/** A tree and the pin that holds it, in a form that can be sent to another thread. */
export interface LentPin {
  readonly state: StateFields
  readonly pin: PinPlace
  /** One word: 1 once the lender may have released the pin. */
  readonly ended: SharedArrayBuffer
}

/** The same, with the time of the moment that is read: what has expired then is absent. */
export interface LentTree extends LentPin {
  readonly momentMs: number
}

/** The word that a lender shares with its borrowers. */
export const newEnded = (): SharedArrayBuffer => new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT)

/** To be called before the pin is released. */
export const end = (ended: SharedArrayBuffer): void => void Atomics.store(new Int32Array(ended), 0, 1)

/** What a borrower checks. */
export class BorrowedPin implements ReadGuard {
  readonly #control: Control
  readonly #pin: PinPlace
  readonly #ended: Int32Array

  constructor(control: Control, { pin, ended }: LentPin) {
    this.#control = control
    this.#pin = pin
    this.#ended = new Int32Array(ended)
  }

  assertNotExpired(): void {
    // As every guard: what was loaded before is done before the look at the pin.
    loadFence()
    const stands = this.#stands()
    if (Atomics.load(this.#ended, 0) !== 0)
      throw new ClosedError(
        'The snapshot or iterator that this was read for has been closed. Read it again from the database.',
      )
    if (!stands) throw expiredError()
  }

  #stands(): boolean {
    const pin = this.#pin
    if ('lsn' in pin) return pin.lsn > this.#control.expiredUpToLsn
    return Atomics.load(this.#control.i32, pin.flagAt) === LONG_FLAG
  }
}
