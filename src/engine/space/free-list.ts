// The free list on disk: a chain of slots, written by a checkpoint, with every slot that its tree
// does not reach, as runs of neighbouring slots. On a full disk a checkpoint makes do with the slots that it
// can have for the chain, even none, and lists the longest runs; the others are lost until it is derived anew.
import { CorruptError } from '../../errors.js'
import type { Header } from '../format/header.js'
import { HEADER_SLOTS, kindWord, SLOT, SLOT_BODY_BYTES, TYPE, typeAt, type SlotNo } from '../format/layout.js'
import { Node } from '../format/node.js'
import { forEachOverflowSlot, overflowPointer } from './overflow.js'
import { slotsIn, type Runs } from '../format/runs.js'
import { type SlotChecker } from './slot-checker.js'
import type { SlotSpace } from '../format/slot-space.js'
import { damagedError } from '../format/slot-damage.js'
import { highWord, initSlot, lowWord, nextOf, setNext, slotLsn } from '../format/slot-header.js'

const RUN_BYTES = 8
export const RUNS_PER_SLOT = Math.floor(SLOT_BODY_BYTES / RUN_BYTES)

/**
 * Slots that a chain needs to list so many runs, out of which its own slots are taken: each may leave two where one
 * was.
 */
export const freeListSlotsFor = (runs: number): number => Math.ceil(runs / (RUNS_PER_SLOT - 1))

/** Links `chain` together, empty, so that whoever finds its first slot finds all of it. */
export function linkFreeList(space: SlotSpace, chain: readonly SlotNo[], lsn: number): void {
  chain.forEach((slot, i) => {
    const base = space.byteOf(slot)
    const i32 = space.i32[space.windowOf(slot)]!
    initSlot(i32, base, kindWord(TYPE.FREE_LIST, 0), slot, lowWord(lsn), highWord(lsn))
    setNext(i32, base, chain[i + 1] ?? 0)
  })
}

/** Writes `runs`, ascending and not next to each other, into a linked chain. */
export function writeFreeList(space: SlotSpace, chain: readonly SlotNo[], runs: Runs): void {
  let i = 0
  for (const slot of chain) {
    const base = space.byteOf(slot)
    const window = space.windowOf(slot)
    const i32 = space.i32[window]!
    let count = 0
    for (let w = (base + SLOT.BODY) >> 2; i < runs.length && count < RUNS_PER_SLOT; w += 2, i += 2, count++) {
      i32[w] = runs[i]!
      i32[w + 1] = runs[i + 1]!
    }
    space.u16[window]![(base + SLOT.COUNT) >> 1] = count
  }
  if (i < runs.length) throw new Error('the free list does not fit its chain')
}

/** Slots of a chain, at most `limit`; follows the links as they stand in memory. */
export function slotsOfFreeList(space: SlotSpace, checker: SlotChecker, first: number, limit: number): SlotNo[] {
  const chain: SlotNo[] = []
  for (let slot = first; slot !== 0;) {
    if (chain.length >= limit) {
      throw new CorruptError(`The free list that begins in slot ${first} is longer than it can be.`, { slotNo: first })
    }
    checker.require(slot, TYPE.FREE_LIST, 0)
    chain.push(slot as SlotNo)
    slot = nextOf(space.i32[space.windowOf(slot)]!, space.byteOf(slot))
  }
  return chain
}

/** The runs that a chain lists, ascending. Throws `CorruptError` if one is out of range or twice there. */
export function readRuns(space: SlotSpace, chain: readonly SlotNo[], nextSlot: number): Runs {
  const runs: number[] = []
  for (const slot of chain) {
    const base = space.byteOf(slot)
    const window = space.windowOf(slot)
    const count = space.u16[window]![(base + SLOT.COUNT) >> 1]!
    for (let n = 0, w = (base + SLOT.BODY) >> 2; n < count; n++, w += 2) {
      const first = space.i32[window]![w]! >>> 0
      const length = space.i32[window]![w + 1]! >>> 0
      const end = runs.length === 0 ? HEADER_SLOTS : runs[runs.length - 2]! + runs[runs.length - 1]!
      if (first < end || length === 0 || first + length > nextSlot) {
        throw new CorruptError(`Slot ${slot} of the data file is damaged: its run ${n} of free slots cannot be.`, {
          slotNo: slot,
        })
      }
      runs.push(first, length)
    }
  }
  return Float64Array.from(runs)
}

/**
 * The free slots that the chain of `header` lists, ascending. Throws `CorruptError` if it is not the chain that was
 * written with it.
 */
export function readFreeList(space: SlotSpace, checker: SlotChecker, header: Header): Runs {
  const chain = slotsOfFreeList(space, checker, header.freeListHead, header.freeListSlots)
  if (chain.length !== header.freeListSlots) {
    throw new CorruptError(
      `The free list has ${chain.length} slots and not ${header.freeListSlots} as the header says.`,
      { slotNo: header.freeListHead },
    )
  }
  for (const slot of chain)
    if (slotLsn(space, slot) !== header.lsn) throw damagedError(slot, 'it is of the free list of another checkpoint')
  const free = readRuns(space, chain, header.nextSlot)
  const lost = lostSlots(header, free)
  if (lost < 0) {
    const named = slotsIn(free)
    throw new CorruptError(`The free list names ${named} slots, and no more than ${named + lost} can be free.`, {
      slotNo: header.freeListHead,
    })
  }
  return free
}

/** Slots that neither the tree nor the free list of `header` name: a full disk had no room to list them. */
export const lostSlots = (header: Header, free: Runs): number =>
  header.nextSlot -
  HEADER_SLOTS -
  header.leaves -
  header.branches -
  header.overflows -
  header.freeListSlots -
  slotsIn(free)

/** What it takes to find the free slots: a tree and where its file ends. */
type TreeOf = Pick<Header, 'root' | 'height' | 'leaves' | 'branches' | 'overflows' | 'nextSlot'>

/**
 * Makes the chain of `header` this process's own in a region that is private: whoever opens the database
 * meanwhile gives these slots away with their next checkpoint, pin or no pin.
 */
export function keepFreeList(space: SlotSpace, checker: SlotChecker, header: Header): void {
  for (const slot of slotsOfFreeList(space, checker, header.freeListHead, header.freeListSlots)) {
    // A store, though it changes nothing, copies the page. An atomic one is not optimised away.
    Atomics.or(space.i32[space.windowOf(slot)]!, space.byteOf(slot) >> 2, 0)
  }
}

/**
 * The same from the tree: every slot that it does not reach, but for those of `chain`. Reads all of it but leaves
 * that hold no long values. Throws `CorruptError` if any of that is damaged: then nobody can tell what is free.
 */
export function deriveFreeList(
  space: SlotSpace,
  checker: SlotChecker,
  header: TreeOf,
  chain: readonly SlotNo[] = [],
): Runs {
  const reached = new Uint8Array(header.nextSlot)
  let count = 0
  const mark = (slot: number): void => {
    if (slot < HEADER_SLOTS || slot >= header.nextSlot || reached[slot] !== 0)
      throw damagedError(slot, 'more than one slot leads to it')
    reached[slot] = 1
    count++
  }
  const visit = (slot: SlotNo, level: number): void => {
    mark(slot)
    if (level === 0 && header.overflows === 0) return
    checker.require(slot, typeAt(level), level)
    const node = new Node().at(space, slot)
    for (let i = 0; i < node.count; i++) {
      if (level > 0) visit(node.child(i), level - 1)
      else if (node.overflows(i)) forEachOverflowSlot(space, checker, overflowPointer(node, i), mark)
    }
  }
  if (header.height > 0) visit(header.root, header.height - 1)
  if (count !== header.leaves + header.branches + header.overflows) {
    throw new CorruptError(`The tree has ${count} slots, which are not as many as the header counts.`, {
      slotNo: header.root,
    })
  }
  for (const slot of chain) mark(slot)
  const free: number[] = []
  for (let slot = HEADER_SLOTS; slot < header.nextSlot; slot++) {
    if (reached[slot] !== 0) continue
    const first = slot
    while (slot + 1 < header.nextSlot && reached[slot + 1] === 0) slot++
    free.push(first, slot + 1 - first)
  }
  return Float64Array.from(free)
}
