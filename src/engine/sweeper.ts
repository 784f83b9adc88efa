// The sweeper removes what has expired, in the background (commit/sweep.ts). One at a time, among all threads and
// processes: the others find its lock taken, and leave the work to it.
import type { CommitPath } from './commit-path.js'
import { sweepFrame } from './commit/sweep.js'
import type { EngineParts } from './parts.js'
import { LOCK } from './shared/lock-bytes.js'

/** What a sweep did. */
export interface SweepReport {
  /** Entries that it removed, those that only the index still had included. */
  readonly removed: number
  /** It stopped before all that has expired was removed: go on soon. */
  readonly isMore: boolean
}

export class Sweeper {
  readonly #parts: EngineParts
  readonly #commits: CommitPath

  constructor(parts: EngineParts, commits: CommitPath) {
    this.#parts = parts
    this.#commits = commits
  }

  /**
   * Removes what has expired, by up to `mostFrames` frames. Does nothing if another sweeper is at work. Throws as a
   * write does; what has been removed by then stays removed.
   */
  sweep(mostFrames: number): SweepReport {
    const { locks } = this.#parts
    if (!locks.tryLock(LOCK.SWEEP, 'exclusive')) return { removed: 0, isMore: false }
    try {
      let removed = 0
      for (let i = 0; i < mostFrames; i++) {
        const frame = sweepFrame(this.#parts)
        if (frame === undefined) return { removed, isMore: false }
        const { failed, results } = this.#commits.finishWrites(this.#commits.beginWrites(frame))
        if (failed[0] !== undefined) throw failed[0].error
        for (const result of results) if (result.removed) removed++
      }
      return { removed, isMore: true }
    } finally {
      locks.unlock(LOCK.SWEEP)
    }
  }
}
