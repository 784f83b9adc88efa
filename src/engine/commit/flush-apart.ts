// Finishing writes without waiting for them on the thread: for an event loop that must not be held up. The log is
// flushed by another thread of the process (Region.flushLater); then what was flushed is applied here, if that is done
// in a moment.
//
//   look where the log ends       frames up to there will be on disk. No lock is held from here on, in any turn of the
//                                 event loop: others append, flush and lead meanwhile
//   flush                         if it fails, the flushing thread says so in `control` before anything else, so that
//                                 others refuse writes even while this event loop is busy
//   lead                          under the leader lock, if nobody holds it: only up to where the log was flushed, and
//                                 only if no other flush has failed
//
// A crash leaves what one at the same step of any other leader leaves (committer.ts). Flushes that overlap are no
// danger as long as none fails; and if one does, none of those that were under way beside it counts, since it is
// looked at after the flush.
import { typedError } from '../../storage/errors.js'
import type { StorageError } from '../../storage/storage.js'
import { flushed } from '../../wal/flush.js'
import type { Log } from '../../wal/log.js'
import { bytesBetween, type Lsn } from '../../wal/lsn.js'
import { Control } from '../shared/control.js'
import type { Committer } from './committer.js'

/** So much of the log is applied on the thread of the event loop: it takes a fraction of a millisecond. */
const MOST_BYTES = 16 * 1024

interface ApartParts {
  readonly control: Control
  readonly log: Log
  readonly committer: Committer
}

export class FlushApart {
  readonly #parts: ApartParts
  /** Resolves to whether the group was led here. */
  #underWay: Promise<boolean> | undefined

  constructor(parts: ApartParts) {
    this.#parts = parts
  }

  /**
   * Resolves to true once the tree includes the log up to `end`. Resolves to false if it does not, and that is better
   * left to a thread that may wait: there is much to apply, another thread leads, or something failed.
   */
  async bring(end: Lsn): Promise<boolean> {
    const { control } = this.#parts
    for (;;) {
      const visible = control.visibleLsn()
      if (visible >= end) return true
      if (bytesBetween(visible, end) > MOST_BYTES) return false
      this.#underWay ??= this.#lead().finally(() => (this.#underWay = undefined))
      if (!(await this.#underWay)) return false
    }
  }

  async #lead(): Promise<boolean> {
    const { committer, control } = this.#parts
    try {
      const end = committer.logEnd()
      if (control.durableLsn < end.tailLsn) await this.#flush(end.segmentStartLsn as Lsn, end.segmentSalt)
      return committer.leadFlushed(end)
    } catch {
      // Who waits for the write meets the reason, or finds that it has been made good.
      return false
    }
  }

  #flush(segmentStart: Lsn, salt: number): Promise<void> {
    const { control, log } = this.#parts
    const segment = log.segment(segmentStart, salt)
    return new Promise((resolve, reject) => {
      if (segment === undefined) return reject(new Error('the segment is gone'))
      const done = (error?: StorageError): void => {
        if (error === undefined) return resolve()
        try {
          control.stopOnFailedFlush(() =>
            flushed('Flushing the log', () => {
              throw error
            }),
          )
        } catch (failure) {
          reject(typedError(failure, 'Flushing the log'))
        }
      }
      control.region.flushLater(segment.file, Control.FAILED_BYTE, Control.FLUSH_FAILED, done)
    })
  }
}
