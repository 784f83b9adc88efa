// Figures that follow from the published state of a tree.
import { HEADER_SLOTS } from '../format/layout.js'
import { STATE, type StateFields } from './control.js'

/** With a smaller share of free slots a file is left as it is: moving slots costs more than it saves. */
const WORTHWHILE_SHARE = 1 / 16
/** The same with at most this many free slots. */
const WORTHWHILE_SLOTS = 64

/** Slots of the tree itself, the trash included. */
export const treeSlots = (state: StateFields): number =>
  state[STATE.LEAVES]! + state[STATE.BRANCHES]! + state[STATE.OVERFLOWS]!

/** Slots that are in use, headers and free list included. */
export const usedSlots = (state: StateFields): number => HEADER_SLOTS + treeSlots(state) + state[STATE.FREE_LIST_SLOTS]!

/** True if compaction pays. `nextSlot`: the slot at which the file would end now. */
export const worthCompacting = (state: StateFields, nextSlot: number = state[STATE.NEXT_SLOT]!): boolean => {
  const free = nextSlot - usedSlots(state)
  return free > WORTHWHILE_SLOTS && free > usedSlots(state) * WORTHWHILE_SHARE
}
