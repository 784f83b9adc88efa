// Bringing the log to disk. One flush of the log runs at a time under the flush lock, whichever thread or process wants
// it; only those that run apart (flush-apart.ts) may overlap with it. The kernel gives up the pages that a flush could
// not write, and other flushes go well without them. So none of these may count:
//
//   flush lock acquired     nothing has failed so far, or this throws
//   fdatasync               if it fails, writes are refused from then on, in every thread and process, before the lock
//                           is released
//   looked once more        none that ran apart has failed meanwhile, or this throws
//   durable LSN stored      a crash before it costs a flush more
//   flush lock released
//
// Who needs what another has flushed meanwhile finds it durable and does not flush it again.
import { LockedError } from '../../errors.js'
import type { AppendFields } from '../../wal/append-state.js'
import type { Log } from '../../wal/log.js'
import type { Lsn } from '../../wal/lsn.js'
import { segmentGone } from '../shared/files-in-place.js'
import { Patience } from '../shared/patience.js'
import type { WordLock } from '../shared/word-lock.js'
import type { WriterLocks } from '../shared/writer-locks.js'

interface FlusherParts extends WriterLocks {
  readonly log: Log
  readonly flushLock: WordLock
}

/** The end of the log at some moment, and the segment that it was in. */
type LogEnd = Pick<AppendFields, 'tailLsn' | 'segmentStartLsn' | 'segmentSalt'>

export class LogFlusher {
  readonly #parts: FlusherParts

  constructor(parts: FlusherParts) {
    this.#parts = parts
  }

  /**
   * Returns once the log is on disk up to `tailLsn`: whatever is in segments before that one is on disk already. False
   * if it was there before. `inSpiteOfFailure`: also if writes are refused. Throws `LockedError`, `DisplacedError`, and
   * why writes are refused.
   */
  flush({ tailLsn, segmentStartLsn, segmentSalt }: LogEnd, inSpiteOfFailure = false): boolean {
    const { control, log } = this.#parts
    if (control.durableLsn >= tailLsn) return false
    this.#acquire()
    try {
      if (!inSpiteOfFailure) control.refuseIfFailed()
      if (control.durableLsn >= tailLsn) return false
      const segment = log.segment(segmentStartLsn as Lsn, segmentSalt)
      if (segment === undefined) throw segmentGone(log, segmentStartLsn as Lsn)
      control.stopOnFailedFlush(() => log.flush(segment))
      if (!inSpiteOfFailure) control.refuseIfFailed()
      control.durableLsn = tailLsn
      return true
    } finally {
      this.#parts.flushLock.release()
    }
  }

  /**
   * The log was flushed up to `tailLsn` beside other flushes, and that went well (flush-apart.ts). The caller has seen
   * since that no other flush has failed: else its pages may be missing.
   */
  note({ tailLsn }: LogEnd): void {
    const { control } = this.#parts
    if (control.durableLsn < tailLsn) control.durableLsn = tailLsn
  }

  #acquire(): void {
    const { flushLock, storage, timeoutMs } = this.#parts
    if (flushLock.take(() => new Patience(storage, timeoutMs))) return
    throw new LockedError(
      `The log could not be flushed within ${timeoutMs} ms: the thread or process that flushes it is stopped, or its disk is very slow. Try again.`,
    )
  }
}
