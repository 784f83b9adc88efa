// The free list on disk: a chain of slots, written by a checkpoint, with every slot that its tree
// does not reach, as runs of neighbouring slots.
import { CorruptError } from '../errors.js'
import { HEADER_SLOTS, SLOT, SLOT_BODY_BYTES, TYPE, type SlotNo } from './layout.js'
import type { SlotChecker } from './slot-check.js'
import type { SlotSpace } from './slot-space.js'

const RUN_BYTES = 8
export const RUNS_PER_SLOT = Math.floor(SLOT_BODY_BYTES / RUN_BYTES)

/** Slots that a chain needs to list so many free slots, however they are spread. */
export const chainSlotsFor = (freeSlots: number): number => Math.ceil(freeSlots / RUNS_PER_SLOT)

/** Links `chain` together, empty, so that whoever finds its first slot finds all of it. */
export function linkChain(space: SlotSpace, chain: readonly SlotNo[], lsn: number): void {
  chain.forEach((slot, i) => {
    const w = space.base(slot) >> 2
    const i32 = space.i32[space.reach(slot)]!
    i32.fill(0, w, w + (SLOT.BODY >> 2))
    i32[w + 1] = TYPE.FREE_LIST
    i32[w + 2] = slot
    i32[w + 4] = lsn | 0
    i32[w + 5] = Math.floor(lsn / 2 ** 32)
    i32[w + 6] = chain[i + 1] ?? 0
  })
}

/** Writes `slots`, sorted, into a linked chain. */
export function writeChain(space: SlotSpace, chain: readonly SlotNo[], slots: Uint32Array): void {
  let i = 0
  for (const slot of chain) {
    const base = space.base(slot)
    const window = space.reach(slot)
    const i32 = space.i32[window]!
    let runs = 0
    for (let w = (base + SLOT.BODY) >> 2; i < slots.length && runs < RUNS_PER_SLOT; w += 2, runs++) {
      const first = slots[i]!
      let length = 1
      while (i + length < slots.length && slots[i + length] === first + length) length++
      i32[w] = first
      i32[w + 1] = length
      i += length
    }
    space.u16[window]![(base + SLOT.COUNT) >> 1] = runs
  }
  if (i < slots.length) throw new Error('the free list does not fit its chain')
}

/** Slots of a chain, at most `limit`; follows the links as they stand in memory. */
export function chainSlots(space: SlotSpace, checker: SlotChecker, first: number, limit: number): SlotNo[] {
  const chain: SlotNo[] = []
  for (let slot = first; slot !== 0; ) {
    if (chain.length >= limit) {
      throw new CorruptError(`The free list that begins in slot ${first} is longer than it can be.`, { slotNo: first })
    }
    checker.expect(slot, TYPE.FREE_LIST, 0)
    chain.push(slot as SlotNo)
    slot = space.i32[space.reach(slot)]![(space.base(slot) + SLOT.NEXT) >> 2]! >>> 0
  }
  return chain
}

/** Every slot that a chain lists, ascending. Throws `CorruptError` if one is out of range or twice there. */
export function readChain(space: SlotSpace, chain: readonly SlotNo[], nextSlot: number): Uint32Array {
  const runs: [number, number][] = []
  let total = 0
  for (const slot of chain) {
    const base = space.base(slot)
    const window = space.reach(slot)
    const count = space.u16[window]![(base + SLOT.COUNT) >> 1]!
    for (let n = 0, w = (base + SLOT.BODY) >> 2; n < count; n++, w += 2) {
      const first = space.i32[window]![w]! >>> 0
      const length = space.i32[window]![w + 1]! >>> 0
      const last = runs[runs.length - 1]
      if (first < HEADER_SLOTS || length === 0 || first + length > nextSlot || (last && first < last[0] + last[1])) {
        throw new CorruptError(`Slot ${slot} of the data file is damaged: its run ${n} of free slots cannot be.`, { slotNo: slot })
      }
      runs.push([first, length])
      total += length
    }
  }
  const slots = new Uint32Array(total)
  let at = 0
  for (const [first, length] of runs) for (let n = 0; n < length; n++) slots[at++] = first + n
  return slots
}
