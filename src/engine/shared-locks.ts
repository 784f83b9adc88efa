// The two locks that writers meet all the time. What holds is the OFD lock, which the kernel drops
// when its holder dies; the turn words in `control` only say when to look again, so nobody owes
// anybody a wake-up: who waits does so for a limited time and then looks for itself.
import { LockedError } from '../errors.js'
import type { LockTable, Storage } from '../storage/storage.js'
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
  const deadlineMs = storage.monotonicMs() + timeoutMs
  for (;;) {
    const seen = control.appendTurn()
    if (locks.tryLock(LOCK.APPEND, 'exclusive')) return
    const leftMs = deadlineMs - storage.monotonicMs()
    if (leftMs <= 0) {
      throw new LockedError(
        `The append lock was not had within ${timeoutMs} ms: another writer is stopped or very slow. Nothing was written; try again.`,
      )
    }
    control.awaitAppendTurn(seen, Math.min(leftMs, LOOK_AGAIN_MS))
  }
}

/** Runs `act` under the leader lock. Throws `LockedError` if it was not had in time; then nothing has run. */
export function underLeaderLock<T>({ control, locks, storage, timeoutMs }: SharedLockParts, act: () => T): T {
  const deadlineMs = storage.monotonicMs() + timeoutMs
  for (;;) {
    const seen = control.turn()
    if (locks.tryLock(LOCK.LEADER, 'exclusive')) break
    const leftMs = deadlineMs - storage.monotonicMs()
    if (leftMs <= 0) {
      throw new LockedError(`The leader lock was not had within ${timeoutMs} ms: the thread or process that leads is stopped.`)
    }
    control.awaitTurn(seen, Math.min(leftMs, LOOK_AGAIN_MS))
  }
  try {
    return act()
  } finally {
    locks.unlock(LOCK.LEADER)
    control.passTurn()
  }
}
