// The two locks that writers meet all the time. The OFD lock is what counts: the kernel releases it
// when its holder dies. The turn words in `control` only say when to look again, so no holder owes
// a waiter a wake-up: a waiter sleeps for a limited time and then looks for itself.
import { LockedError } from '../../errors.js'
import type { LockTable, Storage } from '../../storage/storage.js'
import type { Control } from './control.js'
import { LOCK } from './lock-bytes.js'

/** How long a waiter sleeps before it looks for itself. */
export const LOOK_AGAIN_MS = 20
/** The append lock is held for microseconds: trying again at once mostly gets it. */
const IMMEDIATE_TRIES = 4

export interface SharedLockParts {
  readonly control: Control
  readonly locks: LockTable
  readonly storage: Storage
  readonly timeoutMs: number
}

/** A sleep of `LOOK_AGAIN_MS` that took longer counts for at most this much: the waiter itself was stopped. */
const MAX_SLEEP_MS = 1000

/**
 * How long a waiter has looked for what it waits for. Time in which the waiter itself was stopped, or the whole
 * machine was asleep, hardly counts: it could not have looked, and the holder may have been stopped too.
 */
export class Patience {
  readonly #storage: Storage
  #lookedMs: number
  #leftMs: number

  constructor(storage: Storage, timeoutMs: number) {
    this.#storage = storage
    this.#lookedMs = storage.monotonicMs()
    this.#leftMs = timeoutMs
  }

  /** Ask this after each look. */
  isOver(): boolean {
    const now = this.#storage.monotonicMs()
    this.#leftMs -= Math.min(now - this.#lookedMs, MAX_SLEEP_MS)
    this.#lookedMs = now
    return this.#leftMs <= 0
  }

  get leftMs(): number {
    return this.#leftMs
  }
}

/** Runs `act` under the append lock. Throws `LockedError` if it could not be acquired in time; `act` has not run. */
export function underAppendLock<T>(parts: SharedLockParts, act: () => T): T {
  takeAppendLock(parts)
  try {
    return act()
  } finally {
    parts.locks.unlock(LOCK.APPEND)
    parts.control.passAppendTurn()
  }
}

function takeAppendLock(parts: SharedLockParts): void {
  for (let i = 0; i < IMMEDIATE_TRIES; i++) if (parts.locks.tryLock(LOCK.APPEND, 'exclusive')) return
  acquire(parts, LOCK.APPEND)
}

/** Runs `act` under the leader lock. Throws `LockedError` if it could not be acquired in time; `act` has not run. */
export function underLeaderLock<T>(parts: SharedLockParts, act: () => T): T {
  acquire(parts, LOCK.LEADER)
  try {
    return act()
  } finally {
    parts.locks.unlock(LOCK.LEADER)
    parts.control.passLeaderTurn()
  }
}

/** Waits for a lock until its holder passes the turn or dies; throws `LockedError` once patience is over. */
function acquire(
  { control, locks, storage, timeoutMs }: SharedLockParts,
  lock: typeof LOCK.APPEND | typeof LOCK.LEADER,
): void {
  const isAppend = lock === LOCK.APPEND
  const patience = new Patience(storage, timeoutMs)
  for (;;) {
    // Read before the attempt: a turn that is passed after it ends the wait at once.
    const turn = isAppend ? control.appendTurn() : control.leaderTurn()
    if (locks.tryLock(lock, 'exclusive')) return
    if (patience.isOver()) {
      throw new LockedError(
        isAppend
          ? `The append lock could not be acquired within ${timeoutMs} ms: another writer is stopped or very slow. Nothing was written; try again.`
          : `The leader lock could not be acquired within ${timeoutMs} ms: the thread or process that leads is stopped or very slow. Try again.`,
      )
    }
    const sleepMs = Math.min(patience.leftMs, LOOK_AGAIN_MS)
    if (isAppend) control.awaitAppendTurn(turn, sleepMs)
    else control.awaitLeaderTurn(turn, sleepMs)
  }
}
