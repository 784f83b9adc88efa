// The table of record locks as one thread has it open: the file, this thread's seat there, and the mutex.
import { crashPoint } from '../../crash-points.js'
import { LockedError, ReadOnlyError } from '../../errors.js'
import { typedError } from '../../storage/errors.js'
import type { Region } from '../../storage/storage.js'
import { DeadWrites } from './dead-writes.js'
import type { Grant } from './grant.js'
import { openLockFile, type LockFileParts } from './lock-file.js'
import { hashOf, STATE } from './lock-layout.js'
import { LockMemory } from './lock-memory.js'
import { LockMutex, NOT_NOW } from './lock-mutex.js'
import { LockRequests } from './lock-requests.js'
import { LockSeats } from './lock-seats.js'

/** For how long a thread may wait for the mutex with its event loop blocked. */
export const MUTEX_PATIENCE_MS = 50
/** Of a call with many keys, that many are locked or released without letting others change the table. */
export const KEYS_AT_A_TIME = 64

export class RecordTable {
  readonly memory: LockMemory
  readonly requests: LockRequests
  readonly seats: LockSeats
  readonly mutex: LockMutex
  readonly deadWrites: DeadWrites
  readonly #seed: number
  readonly #onOwnNews: () => void

  private constructor({ storage, control, seats }: LockFileParts, region: Region, onOwnNews: () => void) {
    this.memory = new LockMemory(region)
    this.requests = new LockRequests(this.memory, () => storage.now())
    this.deadWrites = new DeadWrites(this.memory, control)
    this.seats = new LockSeats(this.requests, seats, this.deadWrites)
    this.mutex = new LockMutex(storage, this.requests, this.seats)
    this.#seed = control.life
    this.#onOwnNews = onOwnNews
  }

  /**
   * Takes a seat; makes the table if there is none. Undefined if that is not possible now, because another thread
   * makes the table or stands still while it changes it. `onOwnNews` is called when a change of this thread's own
   * has granted a request of this thread.
   */
  static open(parts: LockFileParts, patienceMs: number, onOwnNews: () => void): RecordTable | undefined {
    const region = openLockFile(parts, patienceMs)
    if (region === undefined) return undefined
    try {
      const table = new RecordTable(parts, region, onOwnNews)
      const { seats } = table
      // Those who wait for what is left of predecessors take them for dead only if they see that somebody else sits
      // there, and they look at one request alone (`findDead`). So nobody makes requests before these are removed.
      if (table.under(patienceMs, () => seats.removePredecessors()) !== NOT_NOW) return table
    } catch (error) {
      region.close()
      throw typedError(error, 'Opening the table of record locks')
    }
    region.close()
    return undefined
  }

  hash(key: Uint8Array): number {
    return hashOf(key, this.#seed)
  }

  /** Changes the table, and then wakes who has news by that. Throws `IoError` if a page of it was lost. */
  under<T>(patienceMs: number, act: () => T): T | typeof NOT_NOW {
    this.memory.assertWhole()
    try {
      const result = this.mutex.under(patienceMs, act)
      // Who has the mutex may be unable to pass it on, for the same reason.
      if (result === NOT_NOW) this.memory.assertNotCut()
      return result
    } finally {
      if (this.requests.toWake.size > 0) this.#wake()
    }
  }

  #wake(): void {
    crashPoint('lock-wake-up')
    if (this.requests.toWake.has(this.seats.seat)) this.#onOwnNews()
    this.seats.wake(this.requests.toWake)
  }

  /** Removes what dead owners have and want. False if the mutex could not be taken. */
  removeDead(patienceMs: number, dead: readonly number[]): boolean {
    const isDone = this.under(patienceMs, () => {
      for (const owner of dead) this.seats.removeDead(owner)
      return true
    })
    return isDone === true
  }

  /** Removes the requests of a grant. False if the mutex could not be taken. May be repeated if it was cut short. */
  remove(patienceMs: number, grant: Grant): boolean {
    const { requests, seats } = this
    for (let from = 0; from < grant.count; from += KEYS_AT_A_TIME) {
      const to = Math.min(grant.count, from + KEYS_AT_A_TIME)
      const isDone = this.under(patienceMs, () => {
        for (let i = from; i < to; i++)
          if (requests.isStill(grant.cellAt(i), grant.ticketAt(i), seats.owner)) requests.remove(grant.cellAt(i))
        return true
      })
      if (isDone !== true) return false
    }
    return true
  }

  /** Says in the requests themselves that nobody wants them any more. */
  markReleased(grant: Grant): void {
    grant.isMarked = true
    for (let i = 0; i < grant.count; i++)
      if (this.requests.isStill(grant.cellAt(i), grant.ticketAt(i), this.seats.owner))
        this.memory.setState(grant.cellAt(i), STATE.RELEASED)
  }

  /** Of keys that a call does not have, the first that somebody has, and who: for messages. */
  inTheWayOf(keys: readonly Buffer[]): { readonly key: Buffer; readonly why: string } {
    const { requests, seats } = this
    const found = this.under(0, () => {
      for (const held of keys) {
        const holder = requests.holderOf(requests.find(held, this.hash(held)))
        if (holder !== undefined) return { held, holder }
      }
      return undefined
    })
    const key = keys[0]!
    if (found === NOT_NOW) return { key, why: STANDS_STILL }
    const processId = found === undefined ? undefined : seats.processOf(found.holder)
    if (processId === undefined) return { key, why: 'others hold it or were first' }
    const who = processId === process.pid ? 'this process' : `process ${processId}`
    return { key: found!.held, why: `${who} holds it` }
  }

  /** Gives up all that this thread has and wants. */
  close(): void {
    const { memory, requests, seats } = this
    try {
      this.under(MUTEX_PATIENCE_MS, () => requests.removeOf(seats.seat, 0))
    } catch {
      // Once this thread has closed the database, the others take it for dead, and remove them.
    }
    memory.region.close()
  }
}

export const STANDS_STILL = 'a thread or process that was changing the table of locks stands still'

export const mayNotLock = (): ReadOnlyError =>
  new ReadOnlyError(
    'This user may not write to the database, and so cannot lock its records: others would not see the locks. Open it ' +
      'as a user who may write, for example its owner.',
  )

/** `why`: what was in the way. */
export const notHad = (name: string, timeoutMs: number, why: string): LockedError =>
  new LockedError(
    `The lock on the record ${name} could not be acquired ${timeoutMs === 0 ? 'at once' : `within ${timeoutMs} ms`}: ` +
      `${why}. Try again later, or allow more time with timeoutMs.`,
  )
