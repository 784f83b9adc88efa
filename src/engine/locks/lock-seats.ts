// Seats: who the threads are that have and want record locks, and which of them are alive.
//
// A thread takes a seat when it first needs one: the first whose lock byte no other has. It keeps the byte until it
// closes the database, and the kernel takes it back when the thread or its process ends. So an owner
// (lock-layout.ts) is dead if nobody has the byte of its seat, or if the seat has another generation by now. It
// stays dead: the next thread with that seat begins another generation before it does anything else.
import { LockedError } from '../../errors.js'
import type { LockTable, Storage } from '../../storage/storage.js'
import { LOCK } from '../shared/lock-bytes.js'
import { AT, generationOf, MAX_SEATS, nextGeneration, ownerOf, REQUEST, SEAT, seatOf } from './lock-layout.js'
import type { DeadWrites } from './dead-writes.js'
import type { LockMemory } from './lock-memory.js'
import type { LockRequests } from './lock-requests.js'

const SEATS_USED = AT.SEATS_USED >> 2
const LOOKED_MS = AT.LOOKED_MS >> 2
const LOOK_FROM = AT.LOOK_FROM >> 2

/** How often the threads that wait look who is dead. One looks for all: the first who comes after half of that. */
export const LOOK_AGAIN_MS = 50
/** For how long one looks; the next one goes on with the other seats. After this many it looks at the clock. */
const LOOK_FOR_MS = 2
const SEATS_AT_A_TIME = 8

export class LockSeats {
  readonly #memory: LockMemory
  readonly #requests: LockRequests
  readonly #locks: LockTable
  readonly #deadWrites: DeadWrites
  /** The seat of this thread, and its generation. */
  readonly seat: number
  readonly owner: number

  /** Takes a seat. Throws `LockedError` if there is none left. */
  constructor(requests: LockRequests, locks: LockTable, deadWrites: DeadWrites) {
    this.#memory = requests.memory
    this.#requests = requests
    this.#locks = locks
    this.#deadWrites = deadWrites
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

  /**
   * Owners that have or want locks and are dead; none if another thread has just looked. One system call for each
   * thread that has or wants any.
   */
  findDead(storage: Storage): number[] {
    const { i32 } = this.#memory
    const beganMs = storage.monotonicMs()
    const looked = Atomics.load(i32, LOOKED_MS)
    // Another process may see another clock (a container): then both look.
    const agoMs = ((beganMs | 0) - looked) | 0
    if (agoMs >= 0 && agoMs < LOOK_AGAIN_MS / 2) return []
    if (Atomics.compareExchange(i32, LOOKED_MS, looked, beganMs | 0) !== looked) return []
    const dead: number[] = []
    const used = Atomics.load(i32, SEATS_USED)
    let seat = Atomics.load(i32, LOOK_FROM)
    for (let n = 1; n <= used; n++) {
      if (!(seat >= 0 && seat < used)) seat = 0
      const suspect = this.#suspectIn(seat++)
      if (suspect !== 0 && this.isDead(suspect)) dead.push(suspect)
      if (n % SEATS_AT_A_TIME === 0 && storage.monotonicMs() - beganMs > LOOK_FOR_MS) break
    }
    Atomics.store(i32, LOOK_FROM, seat)
    return dead
  }

  /** An owner of requests of this seat, maybe not the one who sits there now; 0 if there is none. */
  #suspectIn(seat: number): number {
    const { i32 } = this.#memory
    const request = Atomics.load(i32, this.#memory.seatWord(seat, SEAT.REQUESTS))
    if (request === 0 || seat === this.seat) return 0
    // A thread that takes the seat removes what is left there before it adds requests of its own: any of them will do.
    // Without the mutex, this may be another cell by now.
    const owner = this.#memory.get(request, REQUEST.OWNER)
    return owner > 0 && seatOf(owner) === seat ? owner : ownerOf(seat, this.#generation(seat))
  }

  /**
   * Removes the requests of an owner that is dead, and of others who sat there before. The caller holds the mutex.
   */
  removeDead(owner: number): number {
    const seat = seatOf(owner)
    // By now another thread may have taken the seat; it has removed them, and these are its own.
    const generation = this.#generation(seat)
    return this.#removeOf(seat, generation === generationOf(owner) ? 0 : ownerOf(seat, generation))
  }

  /** The same for those who sat here before this thread. */
  removePredecessors(): void {
    this.#removeOf(this.seat, this.owner)
  }

  #removeOf(seat: number, except: number): number {
    if (this.#memory.i32[this.#memory.seatWord(seat, SEAT.REQUESTS)] === 0) return 0
    this.#deadWrites.note()
    return this.#requests.removeOf(seat, except)
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
