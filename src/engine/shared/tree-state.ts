// Figures that follow from the published state of a tree.
import { HEADER_SLOTS } from '../format/layout.js'
import { STATE, type StateFields } from './control.js'

/** Below this share of free slots a file is left as it is: moving costs more than it saves. */
const WORTHWHILE_SHARE = 1 / 16
/** And below this many. */
const WORTHWHILE_SLOTS = 64

/** Slots that a tree takes, without free ones. */
export const usedSlots = (state: StateFields): number =>
  HEADER_SLOTS + state[STATE.LEAVES]! + state[STATE.BRANCHES]! + state[STATE.OVERFLOWS]! + state[STATE.FREE_LIST_SLOTS]!

/** `nextSlot`: where the file would end now. */
export const worthCompacting = (state: StateFields, nextSlot: number = state[STATE.NEXT_SLOT]!): boolean => {
  const free = nextSlot - usedSlots(state)
  return free > WORTHWHILE_SLOTS && free > usedSlots(state) * WORTHWHILE_SHARE
}
