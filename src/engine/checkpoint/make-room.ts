// Appending a frame on a full disk. Deletes must always be possible, since nothing else makes room.
//
//   - If there are too few slots, what was cleared is freed, a checkpoint is made, and then the write is tried again. A
//     checkpoint needs no room: its free list makes do with the slots that there are (free-list.ts), and so do the
//     rings (rings.ts).
//   - If the log cannot have another segment, neither a whole nor a short one, and no spare segment is left, a
//     checkpoint makes all of the last segment superfluous, and that is then moved to the end of the log (log.ts).
//     Writers that still have to read there what was decided about their writes get a moment to do it.
//   - What is kept of the log for its readers only (retention.ts) is given up: writes come first.
//   - A put may also take the room of spare segments for the data file, and that of entries that have expired.
import { FullError, MmapdbError } from '../../errors.js'
import { guarded, isFullDisk } from '../../storage/errors.js'
import { emptyTrash } from './empty-trash.js'
import type { Log } from '../../wal/log.js'
import type { Lsn } from '../../wal/lsn.js'
import type { Committer } from '../commit/committer.js'
import { needsOf } from '../commit/frame-needs.js'
import { sweepNow, type SweepParts } from '../commit/sweep.js'
import type { Pin } from '../shared/pins.js'
import { Patience } from '../shared/patience.js'
import type { WriterLocks } from '../shared/writer-locks.js'
import type { Checkpointer } from './checkpointer.js'

/** How often the write is tried again: others may be faster to take the room that was made. */
const TRIES = 3
/** How long a write waits for what was cleared to be freed. */
const EMPTYING_MS = 1000

/** How long the log is kept for writers that need it. One that stands still gets `OutcomeUnknownError` then. */
const MOST_WAIT_MS = 1000
const LOOK_AGAIN_MS = 10

/** Frames that remove what has expired, for one put that finds no room. */
const SWEEPS = 4

interface RoomParts extends WriterLocks, SweepParts {
  readonly committer: Committer
  readonly checkpointer: Checkpointer
  readonly log: Log
}

/**
 * Appends a frame. If the disk is full, makes as much room as possible and tries again. `hold`: keeps the log for the
 * writer of the frame, from before the frame on.
 */
export function appendMakingRoom(parts: RoomParts, frame: Buffer, hold?: Pin): Lsn {
  for (let attempt = 0; ; attempt++) {
    if (hold?.keepsLog === false) hold.keepLogFrom(parts.control.visibleLsn())
    try {
      return parts.committer.append(frame)
    } catch (error) {
      if (!(error instanceof FullError) || attempt === TRIES || !makeRoom(parts, needsOf(frame).puts, error, hold))
        throw error
    }
  }
}

/** True if the disk is full, and not merely the data file as long as it may become. */
function isOfDisk(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) if (isFullDisk(cause)) return true
  return false
}

/** False if no room could be made. */
function makeRoom(parts: RoomParts, puts: boolean, why: FullError, hold: Pin | undefined): boolean {
  const { committer, checkpointer, log } = parts
  const isLogFull = committer.takeLogFull()
  try {
    return guarded('Making room', () => {
      if (puts) sweepNow(parts, SWEEPS)
      committer.waitForAll()
      // Others that make room wait for this writer otherwise.
      committer.readOwnOutcomes()
      hold?.keepLogFrom(0)
      emptyTrash(parts, EMPTYING_MS)
      let made = checkpointer.run({ wait: true }) !== undefined
      const isLogShorter = isOfDisk(why) && checkpointer.releaseRetained() > 0
      made = isLogShorter || made
      if (isLogFull && !isLogShorter) {
        awaitWriters(parts)
        // Segments that such a writer still needs would be left with a gap after them.
        made = checkpointer.releaseUnread() > 0 || committer.reuseSegment() || made
      } else if (puts) made = log.dropSpares() || made
      return committer.recount() || made
    })
  } catch (error) {
    // The writer is told the first error: there was no room for its write, and nothing of it is in the log.
    if (error instanceof MmapdbError) return false
    throw error
  }
}

/** Returns when no other writer needs the log, or after a while. */
function awaitWriters({ pins, storage, timeoutMs }: RoomParts): void {
  const patience = new Patience(storage, Math.min(timeoutMs, MOST_WAIT_MS))
  for (;;) {
    if (pins.logNeededFrom(true) === Infinity || patience.isOver()) return
    storage.sleep(LOOK_AGAIN_MS)
  }
}
