// A lock that is a word of `control`: 0, or the owner (seats.ts) that holds it. Where nobody competes, taking and
// releasing it are two atomic instructions, and no system call.
//
// A competitor sleeps until it is woken or `LOOK_AGAIN_MS` have passed, and looks for itself: nobody owes it a wake-up.
// Once it has waited for some milliseconds, it asks whether the holder is alive, and takes over from one that is not:
// one compare-and-swap with the owner that it found dead, so of several competitors one succeeds; and the word never
// comes to mean that owner again. What a dead holder leaves half done is for the next holder, exactly as if the kernel
// had released the lock.
//
// What can happen around a takeover:
//   the holder is stopped            it has its lock byte, so nobody takes over, however long it is stopped:
//                                    competitors are refused after their time limit. When it goes on, it still
//                                    holds the lock
//   it dies while one looks          the kernel takes the byte back after its last instruction: it is found dead at
//                                    the next look
//   two take over                    the second one's compare-and-swap fails
//   one takes over and dies          the word names it now: the next one takes over from it
//   a new thread gets the dead       it has another generation, so the word does not name it
//   one's seat
//   JavaScript is ended in the       the thread lives and the word names it: it finds its own number there the next
//   middle (`vm` with a time limit)  time, and holds the lock then, as it would a lock of the kernel's
import { crashPoint } from '../../crash-points.js'
import type { Control } from './control.js'
import { LOOK_AGAIN_MS, type Patience } from './patience.js'
import type { Seats } from './seats.js'

/** The first sleep of a waiter; only after it does it ask whether the holder is alive. */
const FIRST_LOOK_MS = 4
/** The append lock is held for microseconds: looking again at once mostly gets it, and costs less than sleeping. */
const IMMEDIATE_TRIES = 100

export class WordLock {
  readonly #control: Control
  readonly #seats: Seats
  readonly #word: number

  /** `offsetBytes`: of the word in `control`; the number of those who wait for it comes after it. */
  constructor(control: Control, seats: Seats, offsetBytes: number) {
    this.#control = control
    this.#seats = seats
    this.#word = offsetBytes >> 2
  }

  /** True if nobody else holds it, as far as can be seen without asking who is alive. */
  get isFree(): boolean {
    const holder = Atomics.load(this.#control.i32, this.#word)
    return holder === 0 || holder === this.#seats.owner
  }

  tryTake(): boolean {
    const { owner } = this.#seats
    crashPoint('before-lock')
    const holder = Atomics.compareExchange(this.#control.i32, this.#word, 0, owner)
    if (holder !== 0 && holder !== owner) return false
    crashPoint('after-lock')
    return true
  }

  /** The same a few times in a row. */
  takeSoon(): boolean {
    const { i32 } = this.#control
    if (this.tryTake()) return true
    for (let i = 0; i < IMMEDIATE_TRIES; i++) if (Atomics.load(i32, this.#word) === 0 && this.tryTake()) return true
    return false
  }

  /** Takes it also from a holder that is dead. */
  takeOver(): boolean {
    const { i32 } = this.#control
    const holder = Atomics.load(i32, this.#word)
    if (holder === 0 || !this.#seats.isDead(holder)) return this.tryTake()
    const { owner } = this.#seats
    crashPoint('before-lock')
    if (Atomics.compareExchange(i32, this.#word, holder, owner) !== holder) return false
    crashPoint('after-lock')
    return true
  }

  /** Lets the next one have it. Does nothing if this thread does not hold it. */
  release(): void {
    const { i32, region } = this.#control
    const { owner } = this.#seats
    if (Atomics.compareExchange(i32, this.#word, owner, 0) !== owner) return
    if (Atomics.load(i32, this.#word + 1) > 0) region.wakeOne(this.#word * 4)
  }

  /** Takes it, waiting for it as long as there is patience. */
  take(patience: () => Patience): boolean {
    const { i32, region } = this.#control
    if (this.takeSoon()) return true
    const limit = patience()
    for (let sleepMs = FIRST_LOOK_MS; !limit.isOver(); sleepMs = LOOK_AGAIN_MS) {
      const holder = Atomics.load(i32, this.#word)
      if (holder !== 0) {
        Atomics.add(i32, this.#word + 1, 1)
        region.wait(this.#word * 4, holder, Math.min(sleepMs, limit.leftMs))
        Atomics.sub(i32, this.#word + 1, 1)
      }
      if (this.takeOver()) return true
    }
    return false
  }
}
