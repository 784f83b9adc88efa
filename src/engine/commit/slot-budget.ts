// How many slots are set aside for a write before it may enter the log: as many as applying it can take. Frames that
// put anything leave some slots that only deletes may take, since nothing else makes room (checkpoint/make-room.ts).
// A delete copies the slots on its way and frees as many, but the slots that the newest checkpoint reaches can be
// used again only after the next checkpoint.
import type { AppendFields } from '../../wal/append-state.js'
import { MAX_HEIGHT } from '../format/layout.js'
import { STATE, type StateFields } from '../shared/control.js'
import type { FrameNeeds } from './frame-needs.js'

/** Puts leave at most this many slots to deletes: 64 MiB. */
const MOST_SLOTS_FOR_DELETES = 16384
/** If the tree has more slots than this, puts leave 1/64 of the file to deletes, but not less than this. */
const MANY_SLOTS = 1024
/** A delete in a tree of at most eight levels never needs more than this for each entry that goes. */
export const SLOTS_FOR_A_DELETE = 40

/**
 * Applying a frame takes at most this many slots, in whatever group it is applied. A put copies the slots on its way
 * and may split each; a delete copies them and may join each with a neighbour. No group copies a slot twice.
 * `pending`: operations that are appended and not applied yet, which may still make the tree of `state` wider and
 * higher. `mayExpire`: this frame, one of those, or the tree may have entries that expire; then the index of these
 * changes with them (expiry-key.ts), one entry of which may be removed and one put.
 */
export function slotsFor(
  { changes, puts, overflowSlots, clears, isDropping }: FrameNeeds,
  state: StateFields,
  pendingOperations: number,
  mayExpire: boolean,
): number {
  const operations = changes * changesPerOperation(puts, mayExpire)
  const pending = pendingOperations * changesPerOperation(true, mayExpire)
  const levels = state[STATE.HEIGHT]! + (pending > 0 ? 2 : 1)
  if (!puts && pending === 0 && state[STATE.HEIGHT] === 0) return 0
  const leaves = puts ? 2 * operations : Math.min(2 * operations, state[STATE.LEAVES]! + pending)
  // Each branch that a delete makes is a copy of an existing one, or of one that a put before it has made.
  const splits = puts || pending > 0 ? pending + (puts ? operations : 0) + 4 * levels : 0
  const branches = Math.min(3 * operations * levels, state[STATE.BRANCHES]! + splits)
  const drop = isDropping ? recordSlots(levels) : 0
  return leaves + branches + 2 + overflowSlots + clears * clearSlots(levels) + drop
}

/** The record of a store that is dropped (stores/catalog.ts) is short: it copies and splits what is on its way. */
const recordSlots = (levels: number): number => 2 * levels + 3

/** Slots of the trash that a group frees, so that it takes no more than a millisecond or two. */
const TRASH_IN_A_GROUP = 2048

/**
 * How many slots of the trash the group up to `target` may free: none if there was no trash before it, or if the slots
 * for that are promised to others. Freeing them takes copies of a few branches first.
 */
export function mostTrashOf(state: StateFields, fileSlots: number, target: AppendFields): number {
  const promised = target.reservedSlots - state[STATE.RELEASED]!
  const available = fileSlots - state[STATE.NEXT_SLOT]! + state[STATE.ELIGIBLE]! - promised
  return state[STATE.TRASH_HEIGHT]! > 0 && available > MAX_HEIGHT ? TRASH_IN_A_GROUP : 0
}

/** Clearing a range copies the slots on the way to both of its ends, and makes a few branches on each level. */
const clearSlots = (levels: number): number => 8 * (levels + 1)

/** How many entries an operation may change: the one that it names, and those of the index. */
const changesPerOperation = (puts: boolean, mayExpire: boolean): number => (mayExpire ? (puts ? 3 : 2) : 1)

const slotsForADelete = (state: StateFields): number =>
  SLOTS_FOR_A_DELETE * changesPerOperation(false, state[STATE.EXPIRING]! > 0)

/** Slots that puts leave to deletes: enough to delete all of a small tree at once. */
export function slotsForDeletes(state: StateFields): number {
  const slots = state[STATE.LEAVES]! + state[STATE.BRANCHES]!
  if (slots === 0) return 0
  const most = Math.min(MOST_SLOTS_FOR_DELETES, Math.max(MANY_SLOTS, state[STATE.NEXT_SLOT]! / 64))
  return slotsForADelete(state) + Math.ceil(Math.min(slots, most))
}

/** The same for a file that is closed: enough to delete one entry after the other. */
export const slotsForDeletesWhenClosed = (state: StateFields): number =>
  Math.min(slotsForADelete(state), slotsForDeletes(state))
