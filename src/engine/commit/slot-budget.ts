// What a write needs before it may be in the log: slots for whatever applying it can take. And what is done where
// the disk is full: deletes must always be possible, since nothing else makes room.
//
//   - Frames that put anything leave some slots that only deletes may take. A delete copies the slots on its way
//     and gives up as many, but what the newest checkpoint reaches can be used again only after the next one.
//   - So where slots are lacking, a checkpoint is made, and then the write is tried again. A checkpoint needs no
//     room: its free list makes do with the slots that there are (free-list.ts), and rings with theirs (rings.ts).
//   - Where the log cannot have another segment, neither whole nor short, and no spare is left, a checkpoint
//     makes all of the last segment superfluous, which is then moved to the end of the log (log.ts).
//   - A put may take the room of spare segments for the data file, too.
import { FullError, MmapdbError } from '../../errors.js'
import { guarded } from '../../storage/errors.js'
import { forEachOperation, FRAME, OP, OP_DEL, OP_PUT } from '../../wal/frame.js'
import type { Log } from '../../wal/log.js'
import type { Lsn } from '../../wal/lsn.js'
import type { Checkpointer } from '../checkpoint/checkpointer.js'
import type { Committer } from './committer.js'
import { STATE, type StateFields } from '../shared/control.js'
import { isInline, overflowSlots } from '../format/layout.js'

/** Slots that puts leave to deletes are so many at the most: 64 MiB. */
const MOST_SLOTS_FOR_DELETES = 16384
/** And, if the tree has more slots than this, 1/64 of the file, but not fewer. */
const MANY_SLOTS = 1024
/** Deletes on a way of no more than eight levels never need more than this. */
export const SLOTS_FOR_A_DELETE = 40
/** How often others may be faster to take what room was made. */
const TRIES = 3

/**
 * Slots that applying `frame` can take at the most, whatever group it is applied in. A put copies
 * the slots on its way and may split each; a delete copies them and may join each with a
 * neighbour. No group copies a slot twice. `pending`: operations appended and not applied yet,
 * which may still make the tree of `state` wider and higher.
 */
export function slotsFor(frame: Buffer, state: StateFields, pending: number): number {
  const operations = frame.readUInt32LE(FRAME.OP_COUNT)
  const levels = state[STATE.HEIGHT]! + (pending > 0 ? 2 : 1)
  const puts = hasPut(frame)
  if (!puts && pending === 0 && state[STATE.HEIGHT] === 0) return 0
  let overflow = 0
  if (puts && frame.length > operations * (FRAME.HEADER_BYTES + OP.HEADER_BYTES)) {
    forEachOperation(frame, 0, frame.length, (_bytes, kind, _keyAt, keyLength, _valueAt, valueLength) => {
      if (kind === OP_PUT && !isInline(keyLength, valueLength)) overflow += overflowSlots(valueLength)
    })
  }
  const leaves = puts ? 2 * operations : Math.min(2 * operations, state[STATE.LEAVES]! + pending)
  // A delete makes no branch that is not a copy of one that there is, unless a put before it has made that.
  const splits = puts || pending > 0 ? pending + (puts ? operations : 0) + 4 * levels : 0
  const branches = Math.min(3 * operations * levels, state[STATE.BRANCHES]! + splits)
  return leaves + branches + 2 + overflow
}

/** True if a frame does not only delete. Looks no further than the first put. */
export function hasPut(frame: Buffer): boolean {
  for (let at: number = FRAME.HEADER_BYTES; at < frame.length; ) {
    if (frame[at + OP.KIND] !== OP_DEL) return true
    at += OP.HEADER_BYTES + frame.readUInt16LE(at + OP.KEY_LENGTH)
  }
  return false
}

/** Slots that puts leave to deletes: enough to delete all of a small tree at once. */
export function slotsForDeletes(state: StateFields): number {
  const slots = state[STATE.LEAVES]! + state[STATE.BRANCHES]!
  if (slots === 0) return 0
  const most = Math.min(MOST_SLOTS_FOR_DELETES, Math.max(MANY_SLOTS, state[STATE.NEXT_SLOT]! / 64))
  return SLOTS_FOR_A_DELETE + Math.ceil(Math.min(slots, most))
}

/** The same in a file that is closed: enough to delete one entry after the other. */
export const slotsForDeletesWhenClosed = (state: StateFields): number => Math.min(SLOTS_FOR_A_DELETE, slotsForDeletes(state))

export interface RoomParts {
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
