// The two locks that writers meet all the time. What holds is the OFD lock, which the kernel drops
// when its holder dies; the turn words in `control` only say when to look again, so nobody owes
// anybody a wake-up: who waits does so for a limited time and then looks for itself.
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

/** A sleep of `LOOK_AGAIN_MS` that took longer counts for no more than this: the waiter itself was stopped. */
const MAX_SLEEP_MS = 1000

/**
 * How long a waiter has looked for what it waits for. Time in which it was stopped itself, or the whole
 * machine asleep, hardly counts: it could not have looked, and those it waits for may have been stopped too.
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

  /** To be asked after each look. */
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

/** Runs `act` under the append lock. Throws `LockedError` if it was not had in time; then nothing has run. */
export function underAppendLock<T>(parts: SharedLockParts, act: () => T): T {
  takeAppendLock(parts)
  try {
    return act()
  } finally {
    parts.locks.unlock(LOCK.APPEND)
    parts.control.passAppendTurn()
  }
}

function takeAppendLock({ control, locks, storage, timeoutMs }: SharedLockParts): void {
  for (let i = 0; i < IMMEDIATE_TRIES; i++) if (locks.tryLock(LOCK.APPEND, 'exclusive')) return
  const patience = new Patience(storage, timeoutMs)
  for (;;) {
    const seen = control.appendTurn()
    if (locks.tryLock(LOCK.APPEND, 'exclusive')) return
    if (patience.isOver()) {
      throw new LockedError(
        `The append lock was not had within ${timeoutMs} ms: another writer is stopped or very slow. Nothing was written; try again.`,
      )
    }
    control.awaitAppendTurn(seen, Math.min(patience.leftMs, LOOK_AGAIN_MS))
  }
}

/** Runs `act` under the leader lock. Throws `LockedError` if it was not had in time; then nothing has run. */
export function underLeaderLock<T>({ control, locks, storage, timeoutMs }: SharedLockParts, act: () => T): T {
  const patience = new Patience(storage, timeoutMs)
  for (;;) {
    const seen = control.leaderTurn()
    if (locks.tryLock(LOCK.LEADER, 'exclusive')) break
    if (patience.isOver()) {
      throw new LockedError(
        `The leader lock was not had within ${timeoutMs} ms: the thread or process that leads is stopped.`,
      )
    }
    control.awaitLeaderTurn(seen, Math.min(patience.leftMs, LOOK_AGAIN_MS))
  }
  try {
    return act()
  } finally {
    locks.unlock(LOCK.LEADER)
    control.passLeaderTurn()
  }
}
