// Appending a frame where the disk is full. Deletes must always be possible, since nothing else makes room.
//
//   - Where slots are lacking, a checkpoint is made, and then the write is tried again. A checkpoint needs no
//     room: its free list makes do with the slots that there are (free-list.ts), and rings with theirs (rings.ts).
//   - Where the log cannot have another segment, neither whole nor short, and no spare is left, a checkpoint
//     makes all of the last segment superfluous, which is then moved to the end of the log (log.ts).
//   - A put may take the room of spare segments for the data file, too.
import { FullError, MmapdbError } from '../../errors.js'
import { guarded } from '../../storage/errors.js'
import type { Log } from '../../wal/log.js'
import type { Lsn } from '../../wal/lsn.js'
import type { Committer } from '../commit/committer.js'
import { hasPut } from '../commit/slot-budget.js'
import type { Checkpointer } from './checkpointer.js'

/** How often others may be faster to take what room was made. */
const TRIES = 3

interface RoomParts {
  readonly committer: Committer
  readonly checkpointer: Checkpointer
  readonly log: Log
}

/** Appends a frame; where the disk is full, makes what room can be made and tries again. */
export function appendMakingRoom(parts: RoomParts, frame: Buffer): Lsn {
  for (let attempt = 0; ; attempt++) {
    try {
      return parts.committer.append(frame)
    } catch (error) {
      if (!(error instanceof FullError) || attempt === TRIES || !makeRoom(parts, hasPut(frame))) throw error
    }
  }
}

/** False if there is nothing that could be done. */
function makeRoom({ committer, checkpointer, log }: RoomParts, puts: boolean): boolean {
  const { isLogFull } = committer
  committer.isLogFull = false
  try {
    return guarded('Making room', () => {
      committer.waitForAll()
      let made = checkpointer.run({ wait: true }) !== undefined
      if (isLogFull) made = committer.reuseSegment() || made
      else if (puts) made = log.dropSpares() || made
      return committer.recount() || made
    })
  } catch (error) {
    // Of the write that there was no room for nothing is in the log: that is what its writer is told.
    if (error instanceof MmapdbError) return false
    throw error
  }
}
