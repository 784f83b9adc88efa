// Bringing the tree up to the log's end for one who cannot wait.
import { LockedError } from '../../errors.js'
import type { Lsn } from '../../wal/lsn.js'
import type { Control } from '../shared/control.js'
import type { WordLock } from '../shared/word-lock.js'
import type { Committer } from './committer.js'

interface CatchUpParts {
  readonly control: Control
  readonly leaderLock: WordLock
  readonly committer: Committer
}

/**
 * Leads if the tree does not include the log up to `end` and nobody else leads. False if somebody does, and has not
 * come so far, or if this thread may not lead. Throws why the group could not be applied.
 */
export function tryCatchUp({ control, leaderLock, committer }: CatchUpParts, end: Lsn): boolean {
  if (control.visibleLsn() >= end) return true
  if (!committer.isFit || !leaderLock.takeOver()) return false
  try {
    committer.lead()
  } catch (error) {
    if (error instanceof LockedError) return false
    throw error
  } finally {
    leaderLock.release()
    control.turns.callAll()
  }
  return control.visibleLsn() >= end
}
