// The mutex of the table of record locks: a word of `locks` that holds the owner (lock-layout.ts) that changes the
// table.
//
// It is taken by one atomic store, and nothing of the system is asked as long as nobody competes. A thread holds it
// for some hundred instructions, and never while code of users runs or anything is waited for. So a thread that
// competes tries again at once a few times, and then sleeps until it is woken, for a limited time: nobody owes it a
// wake-up.
//
// A thread may die while it holds the mutex. A competitor that has waited for some milliseconds asks whether the
// holder is alive, by the lock byte of its seat (lock-seats.ts), and takes over from one that is not: one atomic
// store in place of the dead owner, so of several competitors one succeeds; and the word never comes to mean that
// owner again, since the next thread with this seat has another generation. Then it rebuilds the table
// (lock-rebuild.ts), and removes the requests of the dead owner. If it dies while it does so, its own number is in
// the word, and the next does it all over.
//
// Nobody takes over from a holder that is alive, however long it stands still (SIGSTOP): it may go on at any moment
// in the middle of a change. Its competitors give up after a while; who waits for a lock tries again later, and
// whose lock is released says so in the state of its request alone (record-locks.ts).
//
// An error in the middle of a change (the stack is used up, say) leaves the table as a death would. So the thread
// rebuilds it itself, and removes the requests that the change had made. If even that fails, or is cut short (code of
// users can have this thread's JavaScript ended by `vm` with a time limit), it keeps the mutex: nobody else may see a
// table that is half made. It finds its own number in the word the next time, and makes it good then; record-locks.ts
// sees to it that there is a next time.
//
// If a page of the table was lost to this process, it keeps the mutex, too, until the database is closed here: what it
// changed there has reached nobody.
import { crashPoint } from '../../crash-points.js'
import { MmapdbError } from '../../errors.js'
import { guarded } from '../../storage/errors.js'
import type { Storage } from '../../storage/storage.js'
import { AT } from './lock-layout.js'
import type { LockMemory } from './lock-memory.js'
import { rebuild } from './lock-rebuild.js'
import type { LockRequests } from './lock-requests.js'
import type { LockSeats } from './lock-seats.js'

const MUTEX = AT.MUTEX >> 2
const WAITERS = AT.MUTEX_WAITERS >> 2
const TICKET_F64 = AT.TICKET >> 3
const CELLS_USED = AT.CELLS_USED >> 2

const IMMEDIATE_TRIES = 100
/** How long a competitor sleeps before it looks for itself, and for how long a holder may be taken for busy. */
const SLEEP_MS = 2
const BUSY_MS = 4

/** What `underMutex` returns if it could not take the mutex in time. */
export const NOT_NOW = Symbol('the mutex could not be taken in time')

export class LockMutex {
  readonly #storage: Storage
  readonly #memory: LockMemory
  readonly #requests: LockRequests
  readonly #seats: LockSeats
  /** The change under way makes requests with this ticket and later ones. Infinity: no change is under way. */
  #firstTicket = Infinity

  constructor(storage: Storage, requests: LockRequests, seats: LockSeats) {
    this.#storage = storage
    this.#memory = requests.memory
    this.#requests = requests
    this.#seats = seats
  }

  /**
   * Runs `act` under the mutex, if that can be taken within `patienceMs`. `act` runs nobody else's code. A typed error
   * that it throws means that what it did so far is whole. After any other error all requests that it made are gone.
   */
  under<T>(patienceMs: number, act: () => T): T | typeof NOT_NOW {
    if (!this.#take(patienceMs)) return NOT_NOW
    const { f64 } = this.#memory
    this.#firstTicket = f64[TICKET_F64]!
    let result: T
    try {
      crashPoint('lock-table-taken')
      this.#mapAll()
      result = act()
    } catch (error) {
      // If this fails, the mutex is not passed on.
      if (!(error instanceof MmapdbError)) this.#repair(this.#seats.owner)
      this.#end()
      throw error
    }
    this.#end()
    return result
  }

  /** True if a change of this thread was cut short and has not been made good. Ask this outside of changes. */
  get isCutShort(): boolean {
    return Atomics.load(this.#memory.i32, MUTEX) === this.#seats.owner
  }

  /** True if its holder died. A thread that waits for a lock asks: it may be that nobody else wants the mutex. */
  get isOrphaned(): boolean {
    const holder = Atomics.load(this.#memory.i32, MUTEX)
    return holder !== 0 && this.#seats.isDead(holder)
  }

  #mapAll(): void {
    const end = this.#memory.i32[CELLS_USED]!
    if (!this.#memory.isMapped(end)) guarded('Looking at the table of record locks', () => this.#memory.map(end))
  }

  #take(patienceMs: number): boolean {
    const { i32 } = this.#memory
    const { owner } = this.#seats
    for (let i = 0; i < IMMEDIATE_TRIES; i++) {
      if (Atomics.load(i32, MUTEX) === 0 && Atomics.compareExchange(i32, MUTEX, 0, owner) === 0) return true
    }
    return this.#takeFromOthers(patienceMs)
  }

  #takeFromOthers(patienceMs: number): boolean {
    const { i32, region } = this.#memory
    const { owner } = this.#seats
    const sinceMs = this.#storage.monotonicMs()
    for (;;) {
      const holder = Atomics.compareExchange(i32, MUTEX, 0, owner)
      if (holder === 0) return true
      const waitedMs = this.#storage.monotonicMs() - sinceMs
      if (holder === owner || waitedMs >= BUSY_MS) {
        if (holder !== owner && !this.#seats.isDead(holder)) {
          if (waitedMs >= patienceMs) return false
        } else {
          if (Atomics.compareExchange(i32, MUTEX, holder, owner) !== holder) continue
          this.#repair(holder)
          return true
        }
      } else if (waitedMs >= patienceMs) return false
      Atomics.add(i32, WAITERS, 1)
      region.wait(AT.MUTEX, holder, SLEEP_MS)
      Atomics.sub(i32, WAITERS, 1)
    }
  }

  /** The mutex was taken over from an owner that is dead, or from a change of this thread that was cut short. */
  #repair(from: number): void {
    const { owner, seat } = this.#seats
    if (from !== owner) this.#firstTicket = Infinity
    this.#mapAll()
    rebuild(this.#requests)
    if (from === owner) this.#requests.removeSince(seat, this.#firstTicket)
    else this.#seats.removeDead(from)
  }

  /** Lets others change the table, unless it is not whole. */
  #end(): void {
    const { i32, region } = this.#memory
    this.#memory.assertWhole()
    this.#firstTicket = Infinity
    Atomics.store(i32, MUTEX, 0)
    if (Atomics.load(i32, WAITERS) > 0) region.wakeOne(AT.MUTEX)
  }
}
