// The record locks of one thread: what it has, what it waits for, and how it hears that it got it.
//
// A lock is requested in the table that all threads share (lock-requests.ts). If it cannot be had at once, the
// request stands in the queue of its record, and this thread goes on: it has neither thread nor timer of its own
// for it. The thread that releases a lock grants it to the next in the queue, and moves a word of the seat of that
// one's thread. A watch on that word (storage.ts) brings the change to the event loop here, which takes all news of
// the seat at once.
//
// A thread that dies releases nothing. So while threads wait, one of them looks at intervals which of the threads that
// have or want locks are dead (lock-seats.ts), and removes their requests; and each takes over the table from one that
// died while it changed it, since it may be that all others wait, too. It looks for its own news as well: one that died
// after it granted a lock and before it moved the word owes nobody a wake-up. Before a call goes on with a lock, the
// tree includes what dead holders wrote (dead-writes.ts).
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
//
// A call of users may come with hardly any stack left, or be ended in the middle. So what is to be released is noted
// before anything is done about it, and stays noted until it is done; the table is not passed on half made
// (lock-mutex.ts). Both are made good by the next call, at the next look, or by the keeper, a timer that needs no
// call of users to come about.
import { databaseClosed, foreseen } from '../../errors.js'
import { typedError } from '../../storage/errors.js'
import { Soon } from '../../soon.js'
import type { Watch } from '../../storage/storage.js'
import type { Lsn } from '../../wal/lsn.js'
import { Grant } from './grant.js'
import { lookAtLockFile, type LockFileParts } from './lock-file.js'
import { countLocks, listLocks, type LockInfo } from './lock-list.js'
import { LockMemory } from './lock-memory.js'
import { NOT_NOW } from './lock-mutex.js'
import { modeNumber } from './lock-requests.js'
import { LOOK_AGAIN_MS } from './lock-seats.js'
import { KEYS_AT_A_TIME, mayNotLock, MUTEX_PATIENCE_MS, notHad, RecordTable, STANDS_STILL } from './record-table.js'

export type RecordLockMode = 'exclusive' | 'shared'

/** The same at a look, which comes often: just long enough to find a dead holder of the mutex. */
const LOOK_PATIENCE_MS = 6
/** The watch stays for this long after the last wait, since the next one may come soon. */
const WATCH_LINGERS_MS = 1000
/** How often the keeper sees whether something was left undone. */
const KEEPER_MS = 1000
const WAITING = 'Waiting for a record lock'

/** A call that waits. */
interface Wait {
  readonly keys: readonly Buffer[]
  readonly options: AcquireOptions
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
  /** Resolves once the tree includes the log up to `end`. Default: on the calling thread. */
  readonly catchUp?: ((end: Lsn) => Promise<unknown>) | undefined
}

interface RecordLockParts extends LockFileParts {
  /** This user may not write `control`, or nobody else sees this database. */
  readonly isOnlooker: boolean
  readonly isPrivate: boolean
  /** Brings the tree to where the log ended at `end`; false if another thread is at it and has not come so far. */
  readonly tryCatchUp: (end: Lsn) => boolean
  /** The same, waiting. */
  readonly catchUp: (end: Lsn) => void
}

export class RecordLocks {
  readonly #parts: RecordLockParts
  #table: RecordTable | undefined
  #isClosed = false
  /** Calls that wait, by the request that was not granted at once. */
  readonly #waits = new Map<number, Wait>()
  /** Calls that wait for the mutex, and those that wait only for what dead holders wrote. */
  #stalled: Wait[] = []
  readonly #behind = new Set<Wait>()
  /** Grants that are to be released: the newest, which leads to the others. */
  #owed: Grant | undefined
  /** Owners in the way of calls that began to wait: they may be dead already. */
  readonly #suspects = new Set<number>()
  #interval: NodeJS.Timeout | undefined
  #keeper: NodeJS.Timeout | undefined
  #watch: Watch | undefined
  #endOfWatch: NodeJS.Timeout | undefined
  /** A change was cut short: news may have been taken and not heard. */
  #mayHaveMissed = false

  constructor(parts: RecordLockParts) {
    this.#parts = parts
  }

  // ---- acquiring ---------------------------------------------------------------------------------

  /**
   * Locks all of these encoded keys, which are different and in the order of their bytes, or none. Undefined if they
   * cannot be had at once. Throws `ReadOnlyError`, `FullError`, `IoError`, `ClosedError`.
   */
  tryAcquire(keys: readonly Buffer[], mode: RecordLockMode): Grant | undefined {
    const table = this.#open(MUTEX_PATIENCE_MS)
    if (table === undefined) return undefined
    const inTheWay = this.#inTheWay
    inTheWay.clear()
    const first = this.#tryOnce(table, keys, mode)
    if (first !== undefined || inTheWay.size === 0) return first
    // They may be dead, and nobody may have noticed it yet.
    const dead = [...inTheWay].filter((owner) => table.seats.isDead(owner))
    if (dead.length === 0 || !table.removeDead(MUTEX_PATIENCE_MS, dead)) return undefined
    return this.#tryOnce(table, keys, mode)
  }

  /** Owners of what stood in the way of the last attempt. */
  readonly #inTheWay = new Set<number>()

  #tryOnce(table: RecordTable, keys: readonly Buffer[], mode: RecordLockMode): Grant | undefined {
    const grant = new Grant()
    try {
      const number = modeNumber(mode)
      if (this.#under(table, MUTEX_PATIENCE_MS, () => this.#addAll(table, keys, number, grant)) === true) {
        const behindLsn = table.deadWrites.pendingLsn
        if (behindLsn === undefined || this.#parts.tryCatchUp(behindLsn)) return grant
      }
    } catch (error) {
      this.release(grant)
      throw typedError(error, 'Locking a record')
    }
    this.release(grant)
    return undefined
  }

  /** Adds requests for all keys, as long as they are granted at once. */
  #addAll(table: RecordTable, keys: readonly Buffer[], mode: number, grant: Grant): boolean {
    const { requests, seats } = table
    for (const key of keys) {
      const hash = table.hash(key)
      const record = requests.find(key, hash)
      if (!requests.isFree(record, mode)) {
        for (const owner of requests.ownersOf(record)) this.#inTheWay.add(owner)
        return false
      }
      const request = requests.add(key, hash, mode, seats.owner)
      grant.add(request, requests.ticketOf(request))
    }
    return true
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
    const { timeoutMs, signal } = options
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
      const wait: Wait = { keys, options, grant, next: 0, settle }
      const give = (error: unknown): void => {
        if (isSettled) return
        this.#giveUp(wait)
        settle({ error })
      }
      if (this.#goOn(wait)) return
      if (timeoutMs !== Infinity)
        timer = setTimeout(() => give(this.#lockedError(keys.slice(wait.next), options, keys.at(-1))), timeoutMs)
      signal?.addEventListener('abort', onAbort, { once: true })
    })
  }

  /** Locks the keys that come next. True if the call has come to its end, false if it waits. */
  #goOn(wait: Wait): boolean {
    const { keys } = wait
    try {
      while (wait.next < keys.length) {
        const waitsFor = this.#lockNext(wait)
        if (waitsFor === undefined) continue
        if (waitsFor === NOT_NOW) this.#stalled.push(wait)
        else this.#waits.set(waitsFor, wait)
        this.#beginWaiting()
        return false
      }
      const behindLsn = this.#table?.deadWrites.pendingLsn
      if (behindLsn !== undefined) {
        this.#catchUp(wait, behindLsn)
        return false
      }
      wait.settle()
    } catch (error) {
      this.#reject(wait, typedError(error, 'Locking a record'))
    }
    return true
  }

  /** Locks some keys. Returns the request that was not granted, if there is one. */
  #lockNext(wait: Wait): number | undefined | typeof NOT_NOW {
    const patienceMs = this.#patienceMs
    const table = this.#open(patienceMs)
    if (table === undefined) return NOT_NOW
    const { requests, seats } = table
    const { keys, grant } = wait
    const mode = modeNumber(wait.options.mode)
    return this.#under(table, patienceMs, () => {
      const end = Math.min(keys.length, wait.next + KEYS_AT_A_TIME)
      for (; wait.next < end; wait.next++) {
        const key = keys[wait.next]!
        const request = requests.add(key, table.hash(key), mode, seats.owner)
        grant.add(request, requests.ticketOf(request))
        if (requests.isGranted(request)) continue
        if (this.#interval === undefined) for (const owner of requests.suspectsOf(request)) this.#suspects.add(owner)
        return request
      }
      return undefined
    })
  }

  /** Where one could not take the mutex, because its holder stands still, there is no need to find out again. */
  get #patienceMs(): number {
    if (this.#stalled.length > 0) return 0
    return this.#isLooking ? LOOK_PATIENCE_MS : MUTEX_PATIENCE_MS
  }

  /** The call has its locks: it gets them once the tree includes the log up to `end`. */
  #catchUp(wait: Wait, end: Lsn): void {
    this.#behind.add(wait)
    const done = (error?: unknown): void => {
      // It was given up meanwhile.
      if (!this.#behind.delete(wait)) return
      const isStillBehind = error !== undefined && this.#table?.deadWrites.pendingLsn !== undefined
      if (isStillBehind) this.#reject(wait, foreseen(error))
      else wait.settle()
    }
    const here = async (): Promise<void> => {
      await new Promise(setImmediate)
      this.#parts.catchUp(end)
    }
    ;(wait.options.catchUp?.(end) ?? here()).then(() => done(), done)
  }

  #under<T>(table: RecordTable, patienceMs: number, act: () => T): T | typeof NOT_NOW {
    try {
      return table.under(patienceMs, act)
    } catch (error) {
      if (table.mutex.isCutShort) {
        this.#mayHaveMissed = true
        this.#tryToBeginWaiting()
      }
      throw error
    }
  }

  // ---- releasing ---------------------------------------------------------------------------------

  /** Releases what a call has. Idempotent; does nothing once the database is closed. Never throws. */
  release(grant: Grant): void {
    if (grant.isReleased) return
    grant.next = this.#owed
    grant.isReleased = true
    this.#owed = grant
    try {
      this.#releaseOwed(grant.next === undefined ? MUTEX_PATIENCE_MS : 0)
    } catch {
      // It stays owed: see the head of this file.
      this.#tryToBeginWaiting()
    }
  }

  /** Releases all that is to be released. False if the mutex could not be taken. */
  #releaseOwed(patienceMs: number): boolean {
    const table = this.#table
    if (table === undefined || table.memory.isLost) {
      // There are no locks any more, and a caller who wants one hears why.
      this.#owed = undefined
      return true
    }
    for (let grant; (grant = this.#owed) !== undefined;) {
      if (!table.remove(patienceMs, grant)) {
        for (let at: Grant | undefined = grant; at?.isMarked === false; at = at.next) table.markReleased(at)
        this.#beginWaiting()
        return false
      }
      this.#owed = grant.next
      grant.next = undefined
    }
    return true
  }

  #giveUp(wait: Wait): void {
    const at = this.#stalled.indexOf(wait)
    if (at >= 0) this.#stalled.splice(at, 1)
    this.#behind.delete(wait)
    const { grant } = wait
    const last = grant.count === 0 ? 0 : grant.cellAt(grant.count - 1)
    if (this.#waits.get(last) === wait) this.#waits.delete(last)
    this.release(grant)
    if (!this.#isWaiting) this.#endWaiting()
  }

  #reject(wait: Wait, error: Error): void {
    this.release(wait.grant)
    wait.settle({ error })
  }

  // ---- waiting -----------------------------------------------------------------------------------

  /** As long as a call waits, it keeps the process alive, as a timer would. */
  get #hasCalls(): boolean {
    return this.#waits.size > 0 || this.#stalled.length > 0
  }

  /** Something was left undone, and can be done. */
  get #hasDebts(): boolean {
    const table = this.#table
    if (table === undefined || table.memory.isLost) return false
    return this.#owed !== undefined || table.mutex.isCutShort
  }

  get #isWaiting(): boolean {
    return this.#hasCalls || this.#hasDebts
  }

  #beginWaiting(): void {
    const table = this.#table
    try {
      if (table !== undefined && this.#hasCalls)
        this.#watch ??= table.memory.region.watch(table.seats.wakeByte, () => this.#hearSafely())
    } catch {
      // Without a thread for it (ulimit -u) news are heard at the next look.
    }
    if (this.#interval === undefined) {
      clearTimeout(this.#endOfWatch)
      this.#interval = setInterval(() => this.#lookAgain(), LOOK_AGAIN_MS)
      // Those that are in the way may be dead already.
      setImmediate(() => this.#lookAgain())
    }
    if (this.#hasCalls) this.#interval.ref()
    else this.#interval.unref()
  }

  #tryToBeginWaiting(): void {
    try {
      this.#beginWaiting()
    } catch {
      // The keeper comes.
    }
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

  /** News of this thread's own making: it hears them when what it is doing is done. */
  readonly #hearing = new Soon(() => this.#hearSafely())

  /** For the event loop, where nobody would catch an error. */
  #hearSafely(): void {
    try {
      this.#hear()
    } catch (error) {
      this.#rejectAll(foreseen(typedError(error, WAITING)))
      if (!this.#isWaiting) this.#endWaiting()
    }
  }

  /** Goes on with the calls whose requests were granted. False if the mutex could not be taken. */
  #hear(): boolean {
    const table = this.#table
    if (table === undefined || this.#isClosed) return true
    const { requests, seats } = table
    while (requests.hasNews(seats.seat)) {
      const news = this.#under(table, this.#patienceMs, () => requests.takeNews(seats.seat))
      // At the next look again.
      if (news === NOT_NOW) return false
      for (const request of news) this.#heard(request)
    }
    if (!this.#isWaiting) this.#endWaiting()
    return true
  }

  #heard(request: number): void {
    const wait = this.#waits.get(request)
    if (wait === undefined) return
    this.#waits.delete(request)
    wait.next++
    this.#goOn(wait)
  }

  #isLooking = false

  #lookAgain(): void {
    if (this.#isClosed) return
    this.#isLooking = true
    try {
      const table = this.#table
      if (table === undefined || this.#lookAt(table)) this.#goOnWithStalled()
    } catch (error) {
      // A page of the table was lost, or the like: no lock can be had any more.
      this.#rejectAll(foreseen(typedError(error, WAITING)))
    } finally {
      this.#isLooking = false
    }
    if (!this.#isWaiting) this.#endWaiting()
  }

  /** False if the mutex could not be taken: then there is no need to try it once more at this look. */
  #lookAt(table: RecordTable): boolean {
    const { memory, mutex, requests, seats } = table
    memory.assertWhole()
    memory.assertNotCut()
    const dead = seats.findDead(this.#parts.storage)
    for (const owner of this.#suspects) if (seats.isDead(owner)) dead.push(owner)
    this.#suspects.clear()
    const isToBeTaken = dead.length > 0 || mutex.isOrphaned || mutex.isCutShort
    if (isToBeTaken && !table.removeDead(LOOK_PATIENCE_MS, dead)) return false
    if (!this.#releaseOwed(LOOK_PATIENCE_MS)) return false
    if (this.#mayHaveMissed) {
      this.#mayHaveMissed = false
      for (const request of [...this.#waits.keys()]) if (requests.isGranted(request)) this.#heard(request)
    }
    return this.#hear()
  }

  #goOnWithStalled(): void {
    const stalled = this.#stalled
    this.#stalled = []
    for (const wait of stalled) this.#goOn(wait)
  }

  // ---- the table ---------------------------------------------------------------------------------

  /** Undefined if the table cannot be had now. */
  #open(patienceMs: number): RecordTable | undefined {
    if (this.#isClosed) throw databaseClosed()
    if (this.#table !== undefined) return this.#table
    const parts = this.#parts
    if (parts.isOnlooker || parts.isPrivate) throw mayNotLock()
    this.#keeper ??= setInterval(() => {
      if (this.#hasDebts) this.#lookAgain()
    }, KEEPER_MS).unref()
    return (this.#table = RecordTable.open(parts, patienceMs, () => this.#hearing.ask()))
  }

  /** Who has and who waits for which lock. Needs no right to write. */
  list(nameOf: (storeNumber: number) => string | undefined = () => undefined): LockInfo[] {
    return this.#looking((memory) => listLocks(memory, this.#parts.seats, nameOf)) ?? []
  }

  /** How many locks are held at this moment, and how many are waited for. One step for each of them. */
  counts(): { readonly held: number; readonly waiting: number } {
    const counted = this.#looking((memory) => countLocks(memory, this.#parts.seats))
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

  /** `keys`: those that the call does not have. If it has all, it waits for something else; `last` is one of them. */
  #lockedError(keys: readonly Buffer[], { timeoutMs, nameOf }: AcquireOptions, last?: Buffer): Error {
    try {
      if (keys.length === 0)
        return notHad(nameOf(last!), timeoutMs, 'what its last holder wrote before it died is not visible yet')
      const { key, why } = this.#table?.inTheWayOf(keys) ?? { key: keys[0]!, why: STANDS_STILL }
      return notHad(nameOf(key), timeoutMs, why)
    } catch (error) {
      return foreseen(typedError(error, WAITING))
    }
  }

  #rejectAll(error: Error): void {
    const waits = [...this.#waits.values(), ...this.#stalled, ...this.#behind]
    this.#waits.clear()
    this.#stalled = []
    this.#behind.clear()
    for (const wait of waits) this.#reject(wait, error)
  }

  /** Rejects what waits with `ClosedError`; what is held stays so until `close`. */
  stopWaiting(): void {
    this.#rejectAll(databaseClosed())
    if (!this.#isWaiting) this.#endWaiting()
  }

  /** Releases everything, and rejects what waits with `ClosedError`. Idempotent. */
  close(): void {
    if (this.#isClosed) return
    this.#rejectAll(databaseClosed())
    this.#endWaiting()
    clearInterval(this.#keeper)
    clearTimeout(this.#endOfWatch)
    this.#watch?.close()
    this.#table?.close()
    this.#isClosed = true
    this.#table = undefined
  }
}
