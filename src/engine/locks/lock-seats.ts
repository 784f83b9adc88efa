// What `locks` says of the seats of threads (../shared/seats.ts): who has and wants which locks, and which of them
// are dead.
import type { Storage } from '../../storage/storage.js'
import { generationOf, ownerOf, seatOf, type Seats } from '../shared/seats.js'
import { AT, REQUEST, SEAT } from './lock-layout.js'
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
  readonly #seats: Seats
  readonly #deadWrites: DeadWrites
  /** This thread, and its seat. */
  readonly owner: number
  readonly seat: number

  /** Takes a seat if this thread has none. Throws `LockedError` if none is left. */
  constructor(requests: LockRequests, seats: Seats, deadWrites: DeadWrites) {
    this.#memory = requests.memory
    this.#requests = requests
    this.#seats = seats
    this.#deadWrites = deadWrites
    this.owner = seats.owner
    this.seat = seats.seat
    const { i32 } = this.#memory
    i32[this.#memory.seatWord(this.seat, SEAT.PROCESS_ID)] = process.pid
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

  /** See `Seats.isDead`. */
  isDead(owner: number): boolean {
    return this.#seats.isDead(owner)
  }

  processOf(owner: number): number | undefined {
    const seat = seatOf(owner)
    if (this.#seats.generation(seat) !== generationOf(owner)) return undefined
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
    return owner > 0 && seatOf(owner) === seat ? owner : ownerOf(seat, this.#seats.generation(seat))
  }

  /**
   * Removes the requests of an owner that is dead, and of others who sat there before. The caller holds the mutex.
   */
  removeDead(owner: number): number {
    const seat = seatOf(owner)
    // By now another thread may have taken the seat; it has removed them, and these are its own.
    const generation = this.#seats.generation(seat)
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
}
