// The two locks that writers meet all the time.
import { LockedError } from '../../errors.js'
import type { Storage } from '../../storage/storage.js'
import type { Control } from './control.js'
import { Patience } from './patience.js'
import type { WordLock } from './word-lock.js'

export interface WriterLocks {
  readonly control: Control
  readonly storage: Storage
  /** Held to append to the log and to grow the data file. */
  readonly appendLock: WordLock
  /** Held by the leader, which applies frames and publishes the tree. */
  readonly leaderLock: WordLock
  readonly timeoutMs: number
}

/** Runs `act` under the append lock. Throws `LockedError` if it could not be acquired in time; `act` has not run. */
export function underAppendLock<T>({ appendLock, storage, timeoutMs }: WriterLocks, act: () => T): T {
  if (!appendLock.take(() => new Patience(storage, timeoutMs))) {
    throw new LockedError(
      `The append lock could not be acquired within ${timeoutMs} ms: another writer is stopped or very slow. Nothing was written; try again.`,
    )
  }
  try {
    return act()
  } finally {
    appendLock.release()
  }
}

/** Runs `act` under the leader lock. Throws `LockedError` if it could not be acquired in time; `act` has not run. */
export function underLeaderLock<T>({ control, leaderLock, storage, timeoutMs }: WriterLocks, act: () => T): T {
  if (!leaderLock.take(() => new Patience(storage, timeoutMs))) {
    throw new LockedError(
      `The leader lock could not be acquired within ${timeoutMs} ms: the thread or process that leads is stopped or very slow. Try again.`,
    )
  }
  try {
    return act()
  } finally {
    leaderLock.release()
    control.turns.callAll()
  }
}
