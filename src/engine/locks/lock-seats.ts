// Seats: who the threads are that have and want record locks, and which of them are alive.
//
// A thread takes a seat when it first needs one: the first whose lock byte no other has. It keeps the byte until it
// closes the database, and the kernel takes it back when the thread or its process ends. So an owner
// (lock-layout.ts) is dead if nobody has the byte of its seat, or if the seat has another generation by now. It
// stays dead: the next thread with that seat begins another generation before it does anything else.
import { LockedError } from '../../errors.js'
import type { LockTable } from '../../storage/storage.js'
import { LOCK } from '../shared/lock-bytes.js'
import { AT, generationOf, MAX_SEATS, nextGeneration, ownerOf, SEAT, seatOf } from './lock-layout.js'
import type { LockMemory } from './lock-memory.js'
import type { LockRequests } from './lock-requests.js'

const SEATS_USED = AT.SEATS_USED >> 2

export class LockSeats {
  readonly #memory: LockMemory
  readonly #requests: LockRequests
  readonly #locks: LockTable
  /** The seat of this thread, and its generation. */
  readonly seat: number
  readonly owner: number

  /** Takes a seat. Throws `LockedError` if there is none left. */
  constructor(requests: LockRequests, locks: LockTable) {
    this.#memory = requests.memory
    this.#requests = requests
    this.#locks = locks
    this.seat = takeSeat(locks)
    const { i32 } = this.#memory
    const at = this.#memory.seatWord(this.seat, 0)
    const generation = nextGeneration(Atomics.load(i32, at + SEAT.GENERATION))
    i32[at + SEAT.PROCESS_ID] = process.pid
    Atomics.store(i32, at + SEAT.GENERATION, generation)
    this.owner = ownerOf(this.seat, generation)
    for (let used; (used = Atomics.load(i32, SEATS_USED)) <= this.seat;)
      Atomics.compareExchange(i32, SEATS_USED, used, this.seat + 1)
  }

  /** Byte of the word that moves when this thread has news, and the word. */
  get wakeByte(): number {
    return this.#memory.seatWord(this.seat, SEAT.WAKE) * 4
  }

  /** Wakes the threads whose seats have news. */
  wake(seats: Set<number>): void {
    const { i32, region } = this.#memory
    for (const seat of seats) {
      if (seat === this.seat) continue
      const word = this.#memory.seatWord(seat, SEAT.WAKE)
      Atomics.add(i32, word, 1)
      region.wakeAll(word * 4)
    }
    seats.clear()
  }

  #generation(seat: number): number {
    return Atomics.load(this.#memory.i32, this.#memory.seatWord(seat, SEAT.GENERATION))
  }

  isDead(owner: number): boolean {
    if (owner === this.owner) return false
    const seat = seatOf(owner)
    if (seat === this.seat || this.#generation(seat) !== generationOf(owner)) return true
    return !this.#locks.isHeldByOther(LOCK.RECORDS + seat, 'exclusive')
  }

  processOf(owner: number): number | undefined {
    const seat = seatOf(owner)
    if (this.#generation(seat) !== generationOf(owner)) return undefined
    return this.#memory.i32[this.#memory.seatWord(seat, SEAT.PROCESS_ID)]
  }

  /** Owners that have or want locks and are dead. One system call for each thread that has or wants any. */
  findDead(): number[] {
    const { i32 } = this.#memory
    const dead: number[] = []
    for (let seat = 0, used = Atomics.load(i32, SEATS_USED); seat < used; seat++) {
      if (seat === this.seat || Atomics.load(i32, this.#memory.seatWord(seat, SEAT.REQUESTS)) === 0) continue
      const owner = ownerOf(seat, this.#generation(seat))
      if (this.isDead(owner)) dead.push(owner)
    }
    return dead
  }

  /**
   * Removes the requests of an owner that is dead, and of others who sat there before. The caller holds the mutex.
   */
  removeDead(owner: number): number {
    const seat = seatOf(owner)
    // By now another thread may have taken the seat; it has removed them, and these are its own.
    const generation = this.#generation(seat)
    return this.#requests.removeOf(seat, generation === generationOf(owner) ? 0 : ownerOf(seat, generation))
  }

  /** The same for those who sat here before this thread. */
  removePredecessors(): void {
    this.#requests.removeOf(this.seat, this.owner)
  }

  /** Gives the seat up; what is left of its requests is dead from now on. */
  leave(): void {
    this.#locks.unlock(LOCK.RECORDS + this.seat)
  }
}

function takeSeat(locks: LockTable): number {
  for (let seat = 0; seat < MAX_SEATS; seat++) if (locks.tryLock(LOCK.RECORDS + seat, 'exclusive')) return seat
  throw new LockedError(
    `All ${MAX_SEATS} places for threads that use record locks are taken. Close the database in some of them, and try again.`,
  )
}
