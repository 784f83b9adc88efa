// Seats: which threads write to the database or use its record locks, and which of them are alive. The words that
// threads take in memory that they share (word-lock.ts, locks/lock-mutex.ts) and the requests for record locks say by
// this whose they are.
//
// A thread takes a seat when it first needs one: the first whose lock byte no other has. It keeps the byte until it
// closes the database, and the kernel takes it back when the thread or its process ends. Before it does anything
// else, it moves the generation of the seat on. So an *owner*, a seat with its generation in one word, means one
// thread for ever: it is dead if nobody has the byte of its seat, or if the seat has another generation by now.
//
// A thread that is stopped (SIGSTOP) has its byte, and so is alive, however long it is stopped. The byte is gone only
// when none of its instructions will run any more. So who takes over from a dead owner need not fear that it comes
// back.
import { LockedError } from '../../errors.js'
import { guarded } from '../../storage/errors.js'
import type { LockTable } from '../../storage/storage.js'
import { MAX_SEATS, type Control } from './control.js'
import { LOCK } from './lock-bytes.js'

const SEAT_BITS = Math.log2(MAX_SEATS)
const GENERATIONS = 2 ** (31 - SEAT_BITS)

/** Never 0, since generations begin with 1, and always positive. */
export const ownerOf = (seat: number, generation: number): number => (generation << SEAT_BITS) | seat
export const seatOf = (owner: number): number => owner & (MAX_SEATS - 1)
export const generationOf = (owner: number): number => owner >>> SEAT_BITS
const nextGeneration = (generation: number): number => (generation % (GENERATIONS - 1)) + 1

/** The seat of one thread, and a look at those of others. */
export class Seats {
  readonly #control: Control
  readonly #locks: LockTable | undefined
  #owner = 0

  /** `locks`: undefined if `control` is private, and so is all that threads take. */
  constructor(control: Control, locks: LockTable | undefined) {
    this.#control = control
    this.#locks = locks
  }

  /** This thread. Takes a seat if it has none; throws `LockedError` if none is left. */
  get owner(): number {
    return this.#owner === 0 ? this.#take() : this.#owner
  }

  /** The seat of this thread. */
  get seat(): number {
    return seatOf(this.owner)
  }

  #take(): number {
    const seat = this.#locks === undefined ? 0 : freeSeat(this.#locks)
    const generation = nextGeneration(this.#control.seatGeneration(seat))
    this.#control.setSeatGeneration(seat, generation)
    return (this.#owner = ownerOf(seat, generation))
  }

  /** The generation of the thread that sits there, or sat there last. */
  generation(seat: number): number {
    return this.#control.seatGeneration(seat)
  }

  /** True if that thread has ended. Costs a system call. */
  isDead(owner: number): boolean {
    if (owner === this.#owner) return false
    const seat = seatOf(owner)
    if (this.generation(seat) !== generationOf(owner)) return true
    if (this.#owner !== 0 && seat === seatOf(this.#owner)) return true
    return this.#locks === undefined || !this.#locks.isHeldByOther(LOCK.SEATS + seat, 'exclusive')
  }
}

function freeSeat(locks: LockTable): number {
  for (let seat = 0; seat < MAX_SEATS; seat++) {
    if (guarded('Taking a place as a writer', () => locks.tryLock(LOCK.SEATS + seat, 'exclusive'))) return seat
  }
  throw new LockedError(
    `All ${MAX_SEATS} places for threads that write or use record locks are taken. Close the database in some of them, and try again.`,
  )
}
