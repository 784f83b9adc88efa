// How the data file grows: it doubles from 1 MiB up to 1 GiB and then grows by 1 GiB, always with
// blocks allocated: a store into a hole of a full disk would be a SIGBUS, a refused allocation is
// an error. If there is no room for a whole step, just what is needed is tried.
import { crashPoint } from '../crash-points.js'
import { FullError } from '../errors.js'
import { guarded } from '../storage/errors.js'
import { StorageError } from '../storage/storage.js'
import type { Control } from './control.js'
import { SLOT_BYTES } from './layout.js'
import type { SlotSpace } from './slot-space.js'

export const INITIAL_SLOTS = (1024 * 1024) / SLOT_BYTES
const STEP_SLOTS = (1024 * 1024 * 1024) / SLOT_BYTES

/** Slots that a file of `current` slots should grow to so as to hold `needed`. */
export function grownSlots(current: number, needed: number): number {
  let slots = Math.max(current, INITIAL_SLOTS)
  while (slots < needed) slots = slots < STEP_SLOTS ? slots * 2 : slots + STEP_SLOTS
  return slots
}

/**
 * Grows the data file to at least `neededSlots`. Whoever calls holds the append lock or has the
 * database to itself. A crash in between leaves a longer file, which the next opener makes use of.
 */
export function growDataFile(space: SlotSpace, control: Control, neededSlots: number): void {
  if (neededSlots > space.maxSlots) {
    throw new FullError(
      `The data file would have to grow beyond ${space.region.reserveBytes} bytes, which is as far as this opener lets it: ` +
        'open the database with a larger reserveBytes.',
    )
  }
  const wanted = Math.min(grownSlots(control.fileSlots, neededSlots), space.maxSlots)
  crashPoint('growing-data')
  guarded('Growing the data file', () => {
    try {
      space.region.grow(wanted * SLOT_BYTES)
      control.fileSlots = wanted
    } catch (error) {
      if (!(error instanceof StorageError) || error.code !== 'ENOSPC') throw error
      space.region.grow(neededSlots * SLOT_BYTES)
      control.fileSlots = neededSlots
    }
  })
}
