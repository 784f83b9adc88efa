// The record locks of one thread: what it has, what it waits for, and how it hears that it got it.
//
// A lock is requested in the table that all threads share (lock-requests.ts). If it cannot be had at once, the
// request stands in the queue of its record, and this thread goes on: it has neither thread nor timer of its own
// for it. The thread that releases a lock grants it to the next in the queue, and moves a word of the seat of that
// one's thread. A watch on that word (storage.ts) brings the change to the event loop here, which takes all news of
// the seat at once.
//
// A thread that dies releases nothing. So while a thread waits, it looks at intervals which of the threads that
// have or want locks are dead (lock-seats.ts), and removes their requests; and it takes over the table from one
// that died while it changed it, since it may be that all others wait, too. It looks for its own news as well: one
// that died after it granted a lock and before it moved the word owes nobody a wake-up.
//
// Several keys are locked one after the other in the order of their bytes, the same for everybody. So of two
// callers that want the same keys one gets the first of them, and the other one waits there and has nothing that
// the first could wait for: no circle can come about. Each request is on its own in the table; if one of them
// fails, the time is over or the signal comes, this thread removes those that it has.
//
// The owner of a lock is the call that acquired it, not the thread: two calls of one thread for one key wait for
// each other as those of two threads do, since they are as independent. A key that one call names twice counts
// once.
//
// If the mutex of the table cannot be taken because its holder stands still, nobody here waits for it with the event
// loop blocked: `tryAcquire` says that the lock cannot be had now, `acquire` tries again later, and what is released
// says so in its state at once and is removed later.
import { databaseClosed, IoError, LockedError, ReadOnlyError } from '../../errors.js'
import { crashPoint } from '../../crash-points.js'
import { typedError } from '../../storage/errors.js'
import type { Watch } from '../../storage/storage.js'
import { AT, hashOf, STATE } from './lock-layout.js'
import { lookAtLockFile, openLockFile, type LockFileParts } from './lock-file.js'
import { listLocks, type LockInfo } from './lock-list.js'
import { LockMemory } from './lock-memory.js'
import { LockMutex, NOT_NOW } from './lock-mutex.js'
import { LockRequests, modeNumber } from './lock-requests.js'
import { LockSeats } from './lock-seats.js'

export type RecordLockMode = 'exclusive' | 'shared'

/** How often a thread that waits looks for news and for dead threads. */
export const LOOK_AGAIN_MS = 50
/** For how long a thread may wait for the mutex with its event loop blocked. */
const MUTEX_PATIENCE_MS = 50
/** Of a call with many keys, that many are locked without letting others change the table. */
const KEYS_AT_A_TIME = 64
/** The watch stays for this long after the last wait, since the next one may come soon. */
const WATCH_LINGERS_MS = 1000

/** What one call has: a request for each key. Most calls have one, so the first takes no array. */
export class Grant {
  isReleased = false
  count = 0
  #cell = 0
  #ticket = 0
  #more: { readonly cell: number; readonly ticket: number }[] | undefined

  add(cell: number, ticket: number): void {
    if (this.count++ > 0) (this.#more ??= []).push({ cell, ticket })
    else {
      this.#cell = cell
      this.#ticket = ticket
    }
  }
  cellAt(i: number): number {
    return i === 0 ? this.#cell : this.#more![i - 1]!.cell
  }
  ticketAt(i: number): number {
    return i === 0 ? this.#ticket : this.#more![i - 1]!.ticket
  }
}

/** A call that waits. */
interface Wait {
  readonly keys: readonly Buffer[]
  readonly mode: RecordLockMode
  readonly grant: Grant
  /** The key that comes next. */
  next: number
  /** Without a failure: it has what it wants. Users' own errors may be of any kind. */
  readonly settle: (failure?: { readonly error: unknown }) => void
}

interface AcquireOptions {
  readonly mode: RecordLockMode
  /** 0: do not wait. Infinity: no limit. */
  readonly timeoutMs: number
  readonly signal: AbortSignal | undefined
  /** Says which key it is, for messages. */
  readonly nameOf: (key: Buffer) => string
}

interface Table {
  readonly memory: LockMemory
  readonly requests: LockRequests
  readonly seats: LockSeats
  readonly mutex: LockMutex
  readonly seed: number
}

interface RecordLockParts extends LockFileParts {
  /** This user may not write `control`, or nobody else sees this database. */
  readonly isOnlooker: boolean
  readonly isPrivate: boolean
}

export class RecordLocks {
  readonly #parts: RecordLockParts
  #table: Table | undefined
  #isClosed = false
  /** Calls that wait, by the request that was not granted at once. */
  readonly #waits = new Map<number, Wait>()
  /** Calls that wait for the mutex, and requests to be removed once it can be taken. */
  #stalled: Wait[] = []
  #released: { readonly cell: number; readonly ticket: number }[] = []
  #interval: NodeJS.Timeout | undefined
  #watch: Watch | undefined
  #endOfWatch: NodeJS.Timeout | undefined

  constructor(parts: RecordLockParts) {
    this.#parts = parts
  }

  // ---- acquiring ---------------------------------------------------------------------------------

  /**
   * Locks all of these encoded keys, which are different and in the order of their bytes, or none. Undefined if they
   * cannot be had at once. Throws `ReadOnlyError`, `FullError`, `IoError`, `ClosedError`.
   */
  tryAcquire(keys: readonly Buffer[], mode: RecordLockMode): Grant | undefined {
    const table = this.#open()
    if (table === undefined) return undefined
    const inTheWay = this.#inTheWay
    inTheWay.clear()
    const first = this.#tryOnce(table, keys, mode)
    if (first !== undefined || inTheWay.size === 0) return first
    // They may be dead, and nobody may have noticed it yet.
    const dead = [...inTheWay].filter((owner) => table.seats.isDead(owner))
    if (dead.length === 0 || !this.#removeDead(table, dead)) return undefined
    return this.#tryOnce(table, keys, mode)
  }

  /** Owners of what stood in the way of the last attempt. */
  readonly #inTheWay = new Set<number>()

  #tryOnce(table: Table, keys: readonly Buffer[], mode: RecordLockMode): Grant | undefined {
    const grant = new Grant()
    try {
      const isDone = this.#under(table, MUTEX_PATIENCE_MS, () => this.#addAll(table, keys, modeNumber(mode), grant))
      if (isDone === true) return grant
    } catch (error) {
      this.release(grant)
      throw typedError(error, 'Locking a record')
    }
    this.release(grant)
    return undefined
  }

  /** Adds requests for all keys, as long as they are granted at once. */
  #addAll(table: Table, keys: readonly Buffer[], mode: number, grant: Grant): boolean {
    const { requests, seats, seed } = table
    for (const key of keys) {
      const hash = hashOf(key, seed)
      const record = requests.find(key, hash)
      if (!requests.isFree(record, mode)) {
        for (const owner of requests.ownersOf(record)) this.#inTheWay.add(owner)
        return false
      }
      this.#add(table, grant, requests.add(key, hash, mode, seats.owner))
    }
    return true
  }

  #add({ requests }: Table, grant: Grant, request: number): void {
    grant.add(request, requests.ticketOf(request))
  }

  /**
   * The same, waiting. Rejects with `LockedError` when the time is over, with the signal's reason when that comes,
   * with `ClosedError` when the database is closed; none of the keys is locked then, and no request is left.
   */
  async acquire(keys: readonly Buffer[], options: AcquireOptions): Promise<Grant> {
    const { mode, timeoutMs, signal } = options
    signal?.throwIfAborted()
    if (timeoutMs > 0) return this.#acquireInTurn(keys, options)
    const grant = this.tryAcquire(keys, mode)
    if (grant !== undefined) return grant
    throw this.#lockedError(keys, options)
  }

  #acquireInTurn(keys: readonly Buffer[], options: AcquireOptions): Promise<Grant> {
    const { mode, timeoutMs, signal } = options
    const grant = new Grant()
    return new Promise<Grant>((resolve, reject) => {
      let timer: NodeJS.Timeout | undefined
      let isSettled = false
      const onAbort = (): void => give(signal!.reason)
      const settle: Wait['settle'] = (failure) => {
        if (isSettled) return
        isSettled = true
        clearTimeout(timer)
        signal?.removeEventListener('abort', onAbort)
        if (failure === undefined) resolve(grant)
        else reject(failure.error as Error)
      }
      const wait: Wait = { keys, mode, grant, next: 0, settle }
      const give = (error: unknown): void => {
        if (isSettled) return
        this.#giveUp(wait)
        settle({ error })
      }
      if (this.#goOn(wait)) return
      if (timeoutMs !== Infinity)
        timer = setTimeout(() => give(this.#lockedError(keys.slice(wait.next), options)), timeoutMs)
      signal?.addEventListener('abort', onAbort, { once: true })
    })
  }

  /** Locks the keys that come next. True if the call has come to its end, false if it waits. */
  #goOn(wait: Wait): boolean {
    const { keys, mode, grant } = wait
    try {
      while (wait.next < keys.length) {
        const waitsFor = this.#lockNext(wait, modeNumber(mode))
        if (waitsFor === NOT_NOW) {
          this.#stalled.push(wait)
          this.#beginWaiting()
          return false
        }
        if (waitsFor !== undefined) {
          this.#waits.set(waitsFor, wait)
          this.#beginWaiting()
          return false
        }
      }
      wait.settle()
    } catch (error) {
      this.release(grant)
      wait.settle({ error: typedError(error, 'Locking a record') })
    }
    return true
  }

  /** Locks some keys. Returns the request that was not granted, if there is one. */
  #lockNext(wait: Wait, mode: number): number | undefined | typeof NOT_NOW {
    const table = this.#open()
    if (table === undefined) return NOT_NOW
    const { requests, seats, seed } = table
    const { keys, grant } = wait
    // While others wait for the mutex behind a holder that stands still, this thread has other things to do.
    const patienceMs = this.#stalled.length > 0 ? 0 : MUTEX_PATIENCE_MS
    return this.#under(table, patienceMs, () => {
      const end = Math.min(keys.length, wait.next + KEYS_AT_A_TIME)
      for (; wait.next < end; wait.next++) {
        const key = keys[wait.next]!
        const request = requests.add(key, hashOf(key, seed), mode, seats.owner)
        this.#add(table, grant, request)
        if (!requests.isGranted(request)) return request
      }
      return undefined
    })
  }

  /** Changes the table, and then wakes who has news by that. */
  #under<T>(table: Table, patienceMs: number, act: () => T): T | typeof NOT_NOW {
    const { region } = table.memory
    if (region.faultCount() > 0) throw pageLost()
    try {
      const result = table.mutex.under(patienceMs, act)
      // What was read of a page that is gone is not true.
      if (region.faultCount() > 0) throw pageLost()
      return result
    } finally {
      if (table.requests.toWake.size > 0) this.#wake(table)
    }
  }

  #wake({ requests, seats }: Table): void {
    crashPoint('lock-wake-up')
    if (requests.toWake.has(seats.seat)) this.#hearSoon()
    seats.wake(requests.toWake)
  }

  // ---- releasing ---------------------------------------------------------------------------------

  /** Releases what a call has. Idempotent; does nothing once the database is closed. Never throws. */
  release(grant: Grant): void {
    if (grant.isReleased) return
    grant.isReleased = true
    const table = this.#table
    if (table === undefined || this.#isClosed) return
    const { count } = grant
    try {
      for (let from = 0; from < count; from += KEYS_AT_A_TIME) {
        const to = Math.min(count, from + KEYS_AT_A_TIME)
        // Where one could not be removed, there is no need to find out again.
        const patienceMs = this.#released.length > 0 ? 0 : MUTEX_PATIENCE_MS
        const isDone = this.#under(table, patienceMs, () => {
          for (let i = from; i < to; i++) this.#remove(table, grant.cellAt(i), grant.ticketAt(i))
          return true
        })
        if (isDone === true) continue
        for (let i = from; i < to; i++) this.#removeLater(table, grant.cellAt(i), grant.ticketAt(i))
      }
    } catch {
      // A page of the table was lost: then there are no locks any more, and a caller who wants one hears why.
    }
  }

  #remove({ requests, seats }: Table, cell: number, ticket: number): void {
    if (requests.isStill(cell, ticket, seats.owner)) requests.remove(cell)
  }

  /** Says in the request itself that nobody wants it any more. */
  #removeLater({ memory, requests, seats }: Table, cell: number, ticket: number): void {
    if (!requests.isStill(cell, ticket, seats.owner)) return
    memory.setState(cell, STATE.RELEASED)
    this.#released.push({ cell, ticket })
    this.#beginWaiting()
  }

  #giveUp(wait: Wait): void {
    const at = this.#stalled.indexOf(wait)
    if (at >= 0) this.#stalled.splice(at, 1)
    const { grant } = wait
    const last = grant.count === 0 ? 0 : grant.cellAt(grant.count - 1)
    if (this.#waits.get(last) === wait) this.#waits.delete(last)
    this.release(grant)
    if (!this.#isWaiting) this.#endWaiting()
  }

  // ---- waiting -----------------------------------------------------------------------------------

  get #isWaiting(): boolean {
    return this.#waits.size > 0 || this.#stalled.length > 0 || this.#released.length > 0
  }

  /** As long as a call waits, it keeps the process alive, as a timer would. */
  #beginWaiting(): void {
    const table = this.#table
    try {
      if (table !== undefined) this.#watch ??= table.memory.region.watch(table.seats.wakeByte, () => this.#hear())
    } catch {
      // Without a thread for it (ulimit -u) news are heard at the next look.
    }
    if (this.#interval !== undefined) return
    clearTimeout(this.#endOfWatch)
    this.#interval = setInterval(() => this.#lookAgain(), LOOK_AGAIN_MS)
    // Those that are in the way may be dead already.
    setImmediate(() => this.#lookAgain())
  }

  #endWaiting(): void {
    if (this.#interval === undefined) return
    clearInterval(this.#interval)
    this.#interval = undefined
    clearTimeout(this.#endOfWatch)
    this.#endOfWatch = setTimeout(() => {
      this.#watch?.close()
      this.#watch = undefined
    }, WATCH_LINGERS_MS).unref()
  }

  #isHearing = false
  /** News of this thread's own making: it hears them when what it is doing is done. */
  #hearSoon(): void {
    if (this.#isHearing) return
    this.#isHearing = true
    queueMicrotask(() => {
      this.#isHearing = false
      this.#hear()
    })
  }

  /** Goes on with the calls whose requests were granted. */
  #hear(): void {
    const table = this.#table
    if (table === undefined || this.#isClosed) return
    const { requests, seats } = table
    while (requests.hasNews(seats.seat)) {
      const news = this.#under(table, MUTEX_PATIENCE_MS, () => requests.takeNews(seats.seat))
      // At the next look again.
      if (news === NOT_NOW) return
      for (const request of news) {
        const wait = this.#waits.get(request)
        if (wait === undefined) continue
        this.#waits.delete(request)
        wait.next++
        this.#goOn(wait)
      }
    }
    if (!this.#isWaiting) this.#endWaiting()
  }

  #lookAgain(): void {
    if (this.#isClosed) return
    try {
      this.#goOnWithStalled()
      const table = this.#table
      if (table !== undefined) {
        const dead = table.seats.findDead()
        if (dead.length > 0 || table.mutex.isOrphaned) this.#removeDead(table, dead)
      }
      this.#hear()
    } catch (error) {
      // A page of the table was lost, or the like: no lock can be had any more.
      this.#rejectAll(typedError(error, 'Waiting for a record lock'))
    }
    if (!this.#isWaiting) this.#endWaiting()
  }

  #goOnWithStalled(): void {
    const table = this.#table
    if (table !== undefined && this.#released.length > 0) {
      const isDone = this.#under(table, 0, () => {
        for (const { cell, ticket } of this.#released) this.#remove(table, cell, ticket)
        return true
      })
      if (isDone === true) this.#released = []
    }
    const stalled = this.#stalled
    this.#stalled = []
    for (const wait of stalled) this.#goOn(wait)
  }

  /** Removes what dead owners have and want. False if the mutex could not be taken. */
  #removeDead(table: Table, dead: readonly number[]): boolean {
    const isDone = this.#under(table, MUTEX_PATIENCE_MS, () => {
      for (const owner of dead) table.seats.removeDead(owner)
      return true
    })
    return isDone === true
  }

  // ---- the table ---------------------------------------------------------------------------------

  /** Undefined if the table cannot be had now. */
  #open(): Table | undefined {
    if (this.#isClosed) throw databaseClosed()
    return (this.#table ??= this.#openTable())
  }

  #openTable(): Table | undefined {
    const parts = this.#parts
    const { storage, control, locks } = parts
    if (parts.isOnlooker || parts.isPrivate) throw mayNotLock()
    const region = openLockFile(parts)
    if (region === undefined) return undefined
    let seats: LockSeats | undefined
    try {
      const memory = new LockMemory(region)
      const requests = new LockRequests(memory, () => storage.now())
      seats = new LockSeats(requests, locks)
      const mutex = new LockMutex(storage, requests, seats)
      const { removePredecessors } = seats
      // If the mutex cannot be taken now, others find the requests of those who sat here dead by their generation.
      mutex.under(MUTEX_PATIENCE_MS, removePredecessors.bind(seats))
      return { memory, requests, seats, mutex, seed: control.life }
    } catch (error) {
      seats?.leave()
      region.close()
      throw typedError(error, 'Opening the table of record locks')
    }
  }

  /** Who has and who waits for which lock. Needs no right to write. */
  list(): LockInfo[] {
    return this.#looking((memory) => listLocks(memory, this.#parts.locks, this.#table?.seats.seat)) ?? []
  }

  /** How many locks are held at this moment, and how many are waited for. */
  counts(): { readonly held: number; readonly waiting: number } {
    const counted = this.#looking(({ i32 }) => ({
      held: Atomics.load(i32, AT.GRANTED >> 2),
      waiting: Atomics.load(i32, AT.WAITING >> 2),
    }))
    return counted ?? { held: 0, waiting: 0 }
  }

  #looking<T>(look: (memory: LockMemory) => T): T | undefined {
    if (this.#table !== undefined) return look(this.#table.memory)
    if (this.#parts.isPrivate) return undefined
    const region = lookAtLockFile(this.#parts)
    if (region === undefined) return undefined
    try {
      return look(new LockMemory(region))
    } finally {
      region.close()
    }
  }

  /** `keys`: those that the call does not have. */
  #lockedError(keys: readonly Buffer[], { timeoutMs, nameOf }: AcquireOptions): LockedError {
    const { key, why } = this.#inTheWayOf(keys)
    const within = timeoutMs === 0 ? 'at once' : `within ${timeoutMs} ms`
    return new LockedError(
      `The lock on the record ${nameOf(key)} could not be acquired ${within}: ${why}. Try again later, or allow more ` +
        'time with timeoutMs.',
    )
  }

  /** The first of the keys that somebody has, and who. */
  #inTheWayOf(keys: readonly Buffer[]): { readonly key: Buffer; readonly why: string } {
    const key = keys[0]!
    const standsStill = { key, why: 'a thread or process that was changing the table of locks stands still' }
    const table = this.#table
    if (table === undefined) return standsStill
    const { requests, seats, seed } = table
    const found = this.#under(table, 0, () => {
      for (const held of keys) {
        const holder = requests.holderOf(requests.find(held, hashOf(held, seed)))
        if (holder !== undefined) return { held, holder }
      }
      return undefined
    })
    if (found === NOT_NOW) return standsStill
    const processId = found === undefined ? undefined : seats.processOf(found.holder)
    if (processId === undefined) return { key, why: 'others hold it or were first' }
    const who = processId === process.pid ? 'this process' : `process ${processId}`
    return { key: found!.held, why: `${who} holds it` }
  }

  #rejectAll(error: Error): void {
    const waits = [...this.#waits.values(), ...this.#stalled]
    this.#waits.clear()
    this.#stalled = []
    for (const { settle } of waits) settle({ error })
  }

  /** Rejects what waits with `ClosedError`; what is held stays so until `close`. */
  stopWaiting(): void {
    this.#rejectAll(databaseClosed())
    this.#endWaiting()
  }

  /** Releases everything, and rejects what waits with `ClosedError`. Idempotent. */
  close(): void {
    if (this.#isClosed) return
    const table = this.#table
    this.#rejectAll(databaseClosed())
    this.#endWaiting()
    clearTimeout(this.#endOfWatch)
    this.#watch?.close()
    if (table !== undefined) {
      const { memory, requests, seats } = table
      try {
        this.#under(table, MUTEX_PATIENCE_MS, () => requests.removeOf(seats.seat, 0))
      } catch {
        // Without the lock byte the others take this thread for dead, and remove them.
      }
      seats.leave()
      memory.region.close()
    }
    this.#isClosed = true
    this.#table = undefined
  }
}

const mayNotLock = (): ReadOnlyError =>
  new ReadOnlyError(
    'This user may not write to the database, and so cannot lock its records: others would not see the locks. Open it ' +
      'as a user who may write, for example its owner.',
  )

const pageLost = (): IoError =>
  new IoError(
    'A page of the table of record locks was lost: the file "locks" was cut short while the database is open, or its ' +
      'disk failed. Close the database everywhere and open it again; nothing that was written is lost.',
  )
