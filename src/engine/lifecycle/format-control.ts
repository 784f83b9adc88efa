// Making a new `control` from a header: what the first opener does before it replays the log.
import { advice, CorruptError } from '../../errors.js'
import { NEVER } from '../../encoding/expiry-key.js'
import type { Damage } from '../format/damage.js'
import type { Header } from '../format/header.js'
import { SLOT_BYTES } from '../format/layout.js'
import type { Runs } from '../format/runs.js'
import type { SlotSpace } from '../format/slot-space.js'
import type { DatabaseClock } from '../shared/clock.js'
import { type Control, newState, STATE, type StateFields } from '../shared/control.js'
import { treeSlots } from '../shared/tree-state.js'
import type { Allocator } from '../space/allocator.js'
import { FreeAtOpening } from '../space/free-at-opening.js'
import { deriveFreeList } from '../space/derive-free-list.js'
import { lostSlots, readFreeList, slotsOfFreeList } from '../space/free-list.js'
import type { SlotChecker } from '../space/slot-checker.js'

interface FormatParts {
  readonly control: Control
  readonly space: SlotSpace
  readonly allocator: Allocator
  readonly checker: SlotChecker
  readonly clock: DatabaseClock
}

/**
 * Fills `control` from `header`. If the free list had to be derived from the tree, returns what is wrong with it on
 * disk.
 */
export function formatControl(
  { control, space, allocator, checker, clock }: FormatParts,
  header: Header,
): Damage | undefined {
  const sizeSlots = Math.floor(space.region.sizeBytes() / SLOT_BYTES)
  if (header.nextSlot > sizeSlots) {
    throw new CorruptError(
      `The data file is cut short: it has ${sizeSlots} slots of the ${header.nextSlot} that its header counts. ` +
        advice.restoreOrSalvage,
      { slotNo: sizeSlots },
    )
  }
  control.format(header.uuid, header.nextSlot, header.lsn)
  control.fileSlots = sizeSlots
  control.durableLsn = header.lsn
  control.retention = header.retention
  clock.goOnFrom(header.clockMs)
  const state = stateOf(header)
  state[STATE.FREE_LIST_HEAD] = header.freeListHead
  state[STATE.FREE_LIST_SLOTS] = header.freeListSlots
  let free: Runs
  let damage: Damage | undefined
  try {
    const list = readFreeList(space, checker, header)
    free = list.free
    // The log may need all free slots: its frames were accepted when there was room for them.
    if (lostSlots(header, free) > 0) free = findLost(space, control, checker, header) ?? free
    else state[STATE.FREE_LIST_ROOM] = list.room
    state[STATE.LOST] = lostSlots(header, free)
  } catch (error) {
    if (!(error instanceof CorruptError)) throw error
    damage = { slotNo: error.site.slotNo ?? header.freeListHead, why: error.message }
    // The slots of the damaged list count as free, too. The header reaches no slot that is free now, so a crash
    // before the next checkpoint leaves what was found here, and it is derived again.
    free = deriveFreeList(space, checker, header)
    // Deriving looked at less of each slot than a reader does: readers must verify these slots again.
    control.setAllUnverified()
    state[STATE.FREE_LIST_HEAD] = 0
    state[STATE.FREE_LIST_SLOTS] = 0
  }
  state[STATE.CONTROL_END] = new FreeAtOpening(control).write(free)
  allocator.begin(state, header.lsn)
  // Readers that replayed the log in their own memory may still read the tree of an older header.
  allocator.replaceWaiting(free, allocator.hasReaders ? header.lsn : 0)
  allocator.finish()
  control.publishState(state)
  return damage
}

/** What a header says of its tree, as the fields of a tree state. */
export function stateOf(header: Header): StateFields {
  const state = newState()
  state[STATE.VISIBLE_LSN] = header.lsn
  state[STATE.ROOT] = header.root
  state[STATE.HEIGHT] = header.height
  state[STATE.ENTRIES] = header.entries
  state[STATE.INTERNAL_ENTRIES] = header.internalEntries
  state[STATE.TRASH_ROOT] = header.trashRoot
  state[STATE.TRASH_HEIGHT] = header.trashHeight
  state[STATE.CHANGED_LSN] = header.changedLsn
  state[STATE.EXPIRING] = header.expiring
  state[STATE.EARLIEST_EXPIRY] = header.expiring > 0 ? header.earliestExpiryMs : NEVER
  state[STATE.LEAVES] = header.leaves
  state[STATE.BRANCHES] = header.branches
  state[STATE.OVERFLOWS] = header.overflows
  state[STATE.NEXT_SLOT] = header.nextSlot
  state[STATE.CHECKPOINT_BEGUN_LSN] = header.lsn
  state[STATE.CHECKPOINT_DURABLE_LSN] = header.lsn
  state[STATE.CHECKPOINT_NUMBER] = header.checkpointNumber
  state[STATE.CHECKPOINT_NEXT_SLOT] = header.nextSlot
  state[STATE.CHECKPOINT_TREE_SLOTS] = treeSlots(state)
  return state
}

/**
 * Free slots that are not in the list because the disk was full. Undefined if a damaged tree hides which they are.
 */
function findLost(space: SlotSpace, control: Control, checker: SlotChecker, header: Header): Runs | undefined {
  try {
    const listSlots = slotsOfFreeList(space, checker, header.freeListHead, header.freeListSlots)
    return deriveFreeList(space, checker, header, listSlots)
  } catch (error) {
    if (!(error instanceof CorruptError)) throw error
    return undefined
  } finally {
    control.setAllUnverified()
  }
}
