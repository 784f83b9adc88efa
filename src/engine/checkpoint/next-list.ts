// The free list that a checkpoint writes: all that is free, or what has changed since the checkpoint before
// (space/free-list.ts). What has changed is found where it costs what was written: the slots that sealing has visited
// are those that only the new tree has, and so are not free any more; those that only the tree before had were freed
// since, and wait in their ring; the rest are slots that were used for the first time and are free again.
import {
  gapsBetween,
  longestRuns,
  mergedRuns,
  runsBelow,
  runsOf,
  slotsIn,
  unionOf,
  without,
  type Runs,
} from '../format/runs.js'
import type { SlotNo } from '../format/layout.js'
import { STATE, type StateFields } from '../shared/control.js'
import { treeSlots } from '../shared/tree-state.js'
import { changeSlotsFor, roomAbove, RUNS_PER_SLOT, type FreeListChange } from '../space/free-list.js'

/** All that is free, in any order, and the slots of the list before. */
interface Whole {
  readonly free: Runs
  readonly oldListSlots: readonly SlotNo[]
}
/** What was freed since the checkpoint before, in any order. */
interface Change {
  readonly freed: Runs
}

/** What is known of the list when a checkpoint has begun. */
export interface ListBegun {
  readonly state: StateFields
  /** Slots for the free list, linked. */
  readonly listSlots: SlotNo[]
  readonly source: Whole | Change
}

/** The free list that a checkpoint writes. */
export interface NextList extends FreeListChange {
  readonly slots: SlotNo[]
  /** Slots from this one on are not listed. */
  readonly nextSlot: number
  /** Slots of the list, those below included. */
  readonly totalSlots: number
  /** Entries that later checkpoints may add. */
  readonly room: number
  /** Slots that are free once this checkpoint is on disk: of the list before, or not needed for this one. */
  readonly released: readonly SlotNo[]
  /** How many runs all that is free comes to, if that is known. */
  readonly mergedRuns?: number
}

/**
 * How many runs a change has at most: those that were freed, those that were taken, and what lies between these in the
 * part of the file that was not used before. `freed` has at least what has gone from the tree since the checkpoint on
 * disk, so the tree has taken no more slots than it has grown by, and those.
 */
export function mostEntriesOf(state: StateFields, freed: Runs): number {
  const mostTaken = treeSlots(state) - state[STATE.CHECKPOINT_TREE_SLOTS]! + slotsIn(freed)
  return freed.length / 2 + 2 * mostTaken + 1
}

/** `sealed`: the slots that only the new tree has. `cutTail`: leave the free slots at the end of the file out. */
export function nextList(begun: ListBegun, sealed: readonly SlotNo[], cutTail: boolean): NextList {
  const { source } = begun
  return 'freed' in source ? addedToList(begun, source, sealed) : wholeList(begun, source, cutTail)
}

/** The free list as a whole; on a full disk the longest runs. */
function wholeList({ state, listSlots }: ListBegun, { free, oldListSlots }: Whole, cutTail: boolean): NextList {
  const all = unionOf(mergedRuns(free), runsOf(oldListSlots))
  const nextSlot = cutTail ? withoutFreeTail(state[STATE.NEXT_SLOT]!, all) : state[STATE.NEXT_SLOT]!
  const below = runsBelow(all, nextSlot)
  const freed = longestRuns(below, listSlots.length * RUNS_PER_SLOT)
  const isComplete = freed.length === below.length && state[STATE.LOST] === 0
  return {
    slots: listSlots,
    freed,
    taken: new Float64Array(),
    nextSlot,
    totalSlots: listSlots.length,
    room: isComplete ? roomAbove(freed.length / 2) : 0,
    released: oldListSlots,
    mergedRuns: all.length / 2 + oldListSlots.length,
  }
}

/** What is added to the free list of the checkpoint before. */
function addedToList({ state, listSlots }: ListBegun, { freed }: Change, sealed: readonly SlotNo[]): NextList {
  const nextSlot = state[STATE.NEXT_SLOT]!
  const before = state[STATE.CHECKPOINT_NEXT_SLOT]!
  const takenByTree = runsOf(sealed)
  const notInTree = unionOf(mergedRuns(freed), gapsBetween(takenByTree, before, nextSlot))
  // The first slots link to the others, so those that are not needed are the first.
  const unneeded = listSlots.length - changeSlotsFor((takenByTree.length + notInTree.length) / 2)
  const slots = listSlots.slice(unneeded)
  const own = runsOf(slots)
  const taken = unionOf(takenByTree, own)
  const free = without(notInTree, own)
  return {
    slots,
    freed: free,
    taken,
    nextSlot,
    totalSlots: state[STATE.FREE_LIST_SLOTS]! + slots.length,
    room: Math.max(0, state[STATE.FREE_LIST_ROOM]! - (free.length + taken.length) / 2),
    released: listSlots.slice(0, unneeded),
  }
}

/** The end of the slots in use: `nextSlot`, without the free slots just before it. */
function withoutFreeTail(nextSlot: number, free: Runs): number {
  const last = free.length - 2
  return last >= 0 && free[last]! + free[last + 1]! === nextSlot ? free[last]! : nextSlot
}
