// The free list on disk: linked slots, written by a checkpoint, that name every slot that its tree does
// not reach, as runs of adjacent slots. On a full disk a checkpoint makes do with the slots that it can get
// for the list, even with none, and lists the longest runs; the others are lost until the list is derived again.
import { CorruptError } from '../../errors.js'
import type { Header } from '../format/header.js'
import { HEADER_SLOTS, kindWord, SLOT, SLOT_BODY_BYTES, TYPE, typeAt, type SlotNo } from '../format/layout.js'
import { Node } from '../format/node.js'
import { forEachOverflowSlot, overflowPointer } from './overflow.js'
import { hasSlot, slotsIn, type Runs } from '../format/runs.js'
import { SlotSet } from '../format/slot-set.js'
import { type SlotChecker } from './slot-checker.js'
import type { SlotSpace } from '../format/slot-space.js'
import { damagedError } from '../format/slot-damage.js'
import { highWord, initSlot, lowWord, nextOf, setNext, slotLsn } from '../format/slot-header.js'

const RUN_BYTES = 8
export const RUNS_PER_SLOT = Math.floor(SLOT_BODY_BYTES / RUN_BYTES)

/**
 * Slots that a list of that many runs needs, if its own slots are taken out of these runs: each slot taken may split
 * a run in two.
 */
export const freeListSlotsFor = (runs: number): number => Math.ceil(runs / (RUNS_PER_SLOT - 1))

/** Links `slots` as an empty list, so that a reader of its first slot finds all of them. */
export function linkFreeList(space: SlotSpace, slots: readonly SlotNo[], lsn: number): void {
  slots.forEach((slot, i) => {
    const base = space.byteOf(slot)
    const i32 = space.i32[space.windowOf(slot)]!
    initSlot(i32, base, kindWord(TYPE.FREE_LIST, 0), slot, lowWord(lsn), highWord(lsn))
    setNext(i32, base, slots[i + 1] ?? 0)
  })
}

/** Writes `runs`, ascending and not adjacent to each other, into linked slots. */
export function writeFreeList(space: SlotSpace, slots: readonly SlotNo[], runs: Runs): void {
  let i = 0
  for (const slot of slots) {
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
  if (i < runs.length) throw new Error('the free list does not fit into its slots')
}

/** Throws if a slot is not of that type and level. */
interface FreeListChecker {
  require(slot: number, type: number, level: number): unknown
}

/**
 * The slots of a free list, at most `limit`; follows the links as they are in memory. `checker` throws
 * if a slot is not one of a free list.
 */
export function slotsOfFreeList(space: SlotSpace, checker: FreeListChecker, first: number, limit: number): SlotNo[] {
  const slots: SlotNo[] = []
  for (let slot = first; slot !== 0;) {
    if (slots.length >= limit) {
      throw new CorruptError(
        `The free list that begins in slot ${first} has more than ${limit} slots: its links do not end.`,
        {
          slotNo: first,
        },
      )
    }
    checker.require(slot, TYPE.FREE_LIST, 0)
    slots.push(slot as SlotNo)
    slot = nextOf(space.i32[space.windowOf(slot)]!, space.byteOf(slot))
  }
  return slots
}

/** The runs that a free list names, ascending. Throws `CorruptError` if one is out of range or overlaps another. */
export function readRuns(space: SlotSpace, slots: readonly SlotNo[], nextSlot: number): Runs {
  const runs: number[] = []
  for (const slot of slots) {
    const base = space.byteOf(slot)
    const window = space.windowOf(slot)
    const count = space.u16[window]![(base + SLOT.COUNT) >> 1]!
    for (let n = 0, w = (base + SLOT.BODY) >> 2; n < count; n++, w += 2) {
      const first = space.i32[window]![w]! >>> 0
      const length = space.i32[window]![w + 1]! >>> 0
      const end = runs.length === 0 ? HEADER_SLOTS : runs[runs.length - 2]! + runs[runs.length - 1]!
      if (first < end || length === 0 || first + length > nextSlot) {
        throw damagedError(slot, `run ${n} of its free slots is empty, out of range, or not above the run before it`)
      }
      runs.push(first, length)
    }
  }
  return Float64Array.from(runs)
}

/**
 * The free slots that the free list of `header` names, ascending. Throws `CorruptError` if it is not the list that
 * was written with it.
 */
export function readFreeList(space: SlotSpace, checker: SlotChecker, header: Header): Runs {
  const slots = slotsOfFreeList(space, checker, header.freeListHead, header.freeListSlots)
  if (slots.length !== header.freeListSlots) {
    throw new CorruptError(`The free list has ${slots.length} slots, but the header says ${header.freeListSlots}.`, {
      slotNo: header.freeListHead,
    })
  }
  for (const slot of slots)
    if (slotLsn(space, slot) !== header.lsn)
      throw damagedError(slot, 'it belongs to the free list of another checkpoint')
  const free = readRuns(space, slots, header.nextSlot)
  for (const root of [header.root, header.trashRoot]) {
    if (root !== 0 && hasSlot(free, root))
      throw new CorruptError(`The free list names slot ${root}, which is a root.`, { slotNo: header.freeListHead })
  }
  const lost = lostSlots(header, free)
  if (lost < 0) {
    const named = slotsIn(free)
    throw new CorruptError(`The free list names ${named} slots, but at most ${named + lost} can be free.`, {
      slotNo: header.freeListHead,
    })
  }
  return free
}

/** Slots that neither the tree nor the free list of `header` names: a full disk had no room to list them. */
export const lostSlots = (header: Header, free: Runs): number =>
  header.nextSlot -
  HEADER_SLOTS -
  header.leaves -
  header.branches -
  header.overflows -
  header.freeListSlots -
  slotsIn(free)

/** The fields that it takes to find the free slots: the tree, and where its slots end. */
type TreeOf = Pick<
  Header,
  'root' | 'height' | 'trashRoot' | 'trashHeight' | 'leaves' | 'branches' | 'overflows' | 'nextSlot'
>

/**
 * Copies the free list of `header` into a region that is private: another process that opens the database
 * meanwhile will reuse these slots after its next checkpoint, whatever is pinned.
 */
export function keepFreeList(space: SlotSpace, checker: SlotChecker, header: Header): void {
  for (const slot of slotsOfFreeList(space, checker, header.freeListHead, header.freeListSlots)) {
    // A store copies the page even if it changes nothing. An atomic one is not optimised away.
    Atomics.or(space.i32[space.windowOf(slot)]!, space.byteOf(slot) >> 2, 0)
  }
}

/**
 * The free slots, derived from the tree: every slot that the tree does not reach, except those of the free list,
 * `listSlots`. Reads the whole tree, and its leaves only if there are values in overflow slots. Throws
 * `CorruptError` if any of that is damaged: then it is not known which slots are free.
 */
export function deriveFreeList(
  space: SlotSpace,
  checker: SlotChecker,
  header: TreeOf,
  listSlots: readonly SlotNo[] = [],
): Runs {
  const reached = new SlotSet()
  const mark = (slot: number): void => {
    if (slot < HEADER_SLOTS || slot >= header.nextSlot || !reached.add(slot))
      throw damagedError(slot, 'more than one slot leads to it, or it is out of range')
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
  if (header.trashHeight > 0) visit(header.trashRoot, header.trashHeight - 1)
  if (reached.size !== header.leaves + header.branches + header.overflows) {
    throw new CorruptError(
      `The tree has ${reached.size} slots, but the header counts ${header.leaves + header.branches + header.overflows}.`,
      {
        slotNo: header.root,
      },
    )
  }
  for (const slot of listSlots) mark(slot)
  return reached.runsOutside(HEADER_SLOTS, header.nextSlot)
}
