// How the data file grows: it doubles from 1 MiB up to 1 GiB and then grows by 1 GiB, always with its
// blocks allocated: a store into a hole on a full disk would be a SIGBUS, but a refused allocation is
// an error. If there is no room for a whole step, the file grows by just what is needed; what a failed
// attempt has allocated is given back.
import { crashPoint } from '../../crash-points.js'
import { FullError, LockedError } from '../../errors.js'
import { guarded, isFullDisk } from '../../storage/errors.js'
import type { Control } from '../shared/control.js'
import { SLOT_BYTES } from '../format/layout.js'
import type { SlotSpace } from '../format/slot-space.js'
import { underAppendLock, type WriterLocks } from '../shared/writer-locks.js'

export const INITIAL_SLOTS = (1024 * 1024) / SLOT_BYTES
const STEP_SLOTS = (1024 * 1024 * 1024) / SLOT_BYTES

/** How many slots a file of `current` slots should grow to, so that it holds `needed`. */
function grownSlots(current: number, needed: number): number {
  let slots = Math.max(current, INITIAL_SLOTS)
  while (slots < needed) slots = slots < STEP_SLOTS ? slots * 2 : slots + STEP_SLOTS
  return slots
}

/**
 * Grows the data file to at least `neededSlots`. The caller holds the append lock or is the only user
 * of the database. A crash in between leaves a longer file, which the next opener makes use of.
 */
export function growDataFile(space: SlotSpace, control: Control, neededSlots: number): void {
  if (neededSlots > space.maxSlots) {
    throw new FullError(
      `The data file would have to grow beyond ${space.region.reserveBytes} bytes, which is the limit of this opener: ` +
        'open the database with a larger reserveBytes.',
    )
  }
  const wanted = Math.min(grownSlots(control.fileSlots, neededSlots), space.maxSlots)
  crashPoint('growing-data')
  guarded('Growing the data file', () => {
    try {
      growTo(space, control, wanted)
    } catch (error) {
      if (!isFullDisk(error) || wanted === neededSlots) throw error
      growTo(space, control, neededSlots)
    }
  })
}

function growTo(space: SlotSpace, control: Control, slots: number): void {
  try {
    space.region.grow(slots * SLOT_BYTES)
    control.fileSlots = slots
  } catch (error) {
    // Some file systems keep what they allocated before the disk was full. No slot beyond `fileSlots` is used.
    if (isFullDisk(error)) cutDataFile(space, control.fileSlots)
    throw error
  }
}

/** Cuts the data file to `slots`, if it is longer. No slot after them may be in use. */
export function cutDataFile(space: SlotSpace, slots: number): void {
  if (space.region.sizeBytes() > slots * SLOT_BYTES) space.region.truncate(slots * SLOT_BYTES)
}

/** For an allocator that found no free slot: waits for the append lock and grows the file. */
export function growUnderLock(parts: WriterLocks, space: SlotSpace, neededSlots: number): void {
  try {
    underAppendLock(parts, () => growDataFile(space, parts.control, neededSlots))
  } catch (cause) {
    if (!(cause instanceof LockedError)) throw cause
    throw new LockedError(
      `The data file could not grow within ${parts.timeoutMs} ms: another writer that holds the append lock is stopped or very slow.`,
      { cause },
    )
  }
}
