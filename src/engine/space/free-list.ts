// The free list on disk: which slots the tree of a checkpoint does not reach, as runs of adjacent slots.
//
// It is a stack of linked slots that are never changed. A checkpoint adds what has changed since the one before: which
// runs are free since then, and which have been taken. So it costs what was written, not what is free. Once a stack
// would have more of such entries than the whole list has runs, a checkpoint writes the list as a whole instead, and
// frees the stack: over many checkpoints that costs no more than the changes themselves.
//
// On a full disk a checkpoint makes do with the slots that it can get for a whole list, even with none, and lists the
// longest runs; the others are lost until the list is derived again (derive-free-list.ts).
import { CorruptError } from '../../errors.js'
import type { Header } from '../format/header.js'
import { HEADER_SLOTS, kindWord, SLOT, SLOT_BODY_BYTES, TYPE, type SlotNo } from '../format/layout.js'
import { hasSlot, slotsIn, unionOf, without, type Runs } from '../format/runs.js'
import { damagedError } from '../format/slot-damage.js'
import {
  highWord,
  initSlot,
  lowWord,
  nextOf,
  setNext,
  setTakenRuns,
  slotLsn,
  takenRunsOf,
} from '../format/slot-header.js'
import type { SlotSpace } from '../format/slot-space.js'
import type { SlotChecker } from './slot-checker.js'

export const RUN_BYTES = 8
export const RUNS_PER_SLOT = Math.floor(SLOT_BODY_BYTES / RUN_BYTES)
const NONE: Runs = new Float64Array()

/** What a checkpoint changes of what is free: ascending runs, no slot in both. The bottom of a stack takes nothing. */
export interface FreeListChange {
  readonly freed: Runs
  readonly taken: Runs
}

/**
 * Slots that a list of that many runs needs, if its own slots are taken out of these runs: each slot taken may split
 * a run in two.
 */
export const freeListSlotsFor = (runs: number): number => Math.ceil(runs / (RUNS_PER_SLOT - 1))

/**
 * Slots that a change of that many runs, freed and taken ones, needs if it names its own slots as taken: each is a run
 * of its own at most, and may split one that is freed. One even for none: the top of a stack has the LSN of the
 * checkpoint.
 */
export const changeSlotsFor = (runs: number): number => Math.max(1, Math.ceil(runs / (RUNS_PER_SLOT - 2)))

/**
 * Links `slots` on top of the stack that begins with slot `below` (0 if there is none), with nothing in them, so that a
 * reader of the first finds all of them.
 */
export function linkFreeList(space: SlotSpace, slots: readonly SlotNo[], lsn: number, below = 0): void {
  slots.forEach((slot, i) => {
    const base = space.byteOf(slot)
    const i32 = space.i32[space.windowOf(slot)]!
    initSlot(i32, base, kindWord(TYPE.FREE_LIST, 0), slot, lowWord(lsn), highWord(lsn))
    setNext(i32, base, slots[i + 1] ?? below)
  })
}

/** Writes a change into linked slots: first what is freed, then what is taken. */
export function writeFreeList(space: SlotSpace, slots: readonly SlotNo[], freed: Runs, taken: Runs = NONE): void {
  const all = freed.length + taken.length
  let i = 0
  for (const slot of slots) {
    const base = space.byteOf(slot)
    const window = space.windowOf(slot)
    const i32 = space.i32[window]!
    let count = 0
    let takenHere = 0
    for (let w = (base + SLOT.BODY) >> 2; i < all && count < RUNS_PER_SLOT; w += 2, i += 2, count++) {
      const isFreed = i < freed.length
      const runs = isFreed ? freed : taken
      const at = isFreed ? i : i - freed.length
      i32[w] = runs[at]!
      i32[w + 1] = runs[at + 1]!
      if (!isFreed) takenHere++
    }
    space.u16[window]![(base + SLOT.COUNT) >> 1] = count
    setTakenRuns(i32, base, takenHere)
  }
  if (i < all) throw new Error('the free list does not fit into its slots')
}

/** Throws if a slot is not of that type and level. */
interface FreeListChecker {
  require(slot: number, type: number, level: number): unknown
}

/**
 * The first `count` slots of a stack; follows the links as they are in memory. Throws `CorruptError` if it has fewer.
 */
export function slotsOfFreeList(space: SlotSpace, checker: FreeListChecker, first: number, count: number): SlotNo[] {
  const slots: SlotNo[] = []
  for (let slot = first; slots.length < count; slot = slotBelow(space, slot)) {
    if (slot === 0) throw listError(first, `it has ${slots.length} slots, and should have ${count}`)
    checker.require(slot, TYPE.FREE_LIST, 0)
    slots.push(slot as SlotNo)
  }
  return slots
}

/**
 * The slots at the top of a stack that are newer than `lsn`: those that an unfinished checkpoint has linked. Throws
 * `CorruptError` if there are more than `limit`.
 */
export function slotsNewerThan(
  space: SlotSpace,
  checker: FreeListChecker,
  first: number,
  lsn: number,
  limit: number,
): SlotNo[] {
  const slots: SlotNo[] = []
  for (let slot = first; slot !== 0; slot = slotBelow(space, slot)) {
    if (slots.length >= limit) throw listError(first, `it has more than ${limit} slots: its links do not end`)
    checker.require(slot, TYPE.FREE_LIST, 0)
    if (slotLsn(space, slot) <= lsn) break
    slots.push(slot as SlotNo)
  }
  return slots
}

const slotBelow = (space: SlotSpace, slot: number): number =>
  nextOf(space.i32[space.windowOf(slot)]!, space.byteOf(slot))

const listError = (slotNo: number, why: string): CorruptError =>
  new CorruptError(`The free list that begins in slot ${slotNo} is damaged: ${why}.`, { slotNo })

/** The slots of a stack, one list for each checkpoint that added to it, the newest first. */
function byCheckpoint(space: SlotSpace, slots: readonly SlotNo[]): SlotNo[][] {
  const lists: SlotNo[][] = []
  let above = Infinity
  for (const slot of slots) {
    const lsn = slotLsn(space, slot)
    if (lsn > above) throw damagedError(slot, 'it lies below an older one in the free list')
    if (lsn < above) lists.push([])
    lists.at(-1)!.push(slot)
    above = lsn
  }
  return lists
}

/** What these slots, all of one checkpoint, say. Throws `CorruptError` for runs that no checkpoint writes. */
function readChange(space: SlotSpace, slots: readonly SlotNo[], nextSlot: number): FreeListChange {
  const freed: number[] = []
  const taken: number[] = []
  for (const slot of slots) {
    const base = space.byteOf(slot)
    const window = space.windowOf(slot)
    const i32 = space.i32[window]!
    const count = space.u16[window]![(base + SLOT.COUNT) >> 1]!
    const firstTaken = count - takenRunsOf(i32, base)
    for (let n = 0, w = (base + SLOT.BODY) >> 2; n < count; n++, w += 2) {
      const first = i32[w]! >>> 0
      const length = i32[w + 1]! >>> 0
      const runs = n < firstTaken ? freed : taken
      const end = runs.length === 0 ? HEADER_SLOTS : runs.at(-2)! + runs.at(-1)!
      if (first < end || length === 0 || first + length > nextSlot || (runs === freed && taken.length > 0)) {
        throw damagedError(slot, `run ${n} of its free slots is empty, out of range, or not above the run before it`)
      }
      runs.push(first, length)
    }
  }
  return { freed: Float64Array.from(freed), taken: Float64Array.from(taken) }
}

/** Two changes as one: `newer` comes after `older`. */
const composed = (newer: FreeListChange, older: FreeListChange): FreeListChange => ({
  freed: unionOf(without(older.freed, newer.taken), newer.freed),
  taken: unionOf(without(older.taken, newer.freed), newer.taken),
})

/** What a stack says: the runs that are free, ascending, and how many entries may still be added to it. */
interface FreeList {
  readonly free: Runs
  readonly room: number
}

/** Reads a stack. Throws `CorruptError` if it says what no checkpoint writes. */
export function readStack(space: SlotSpace, slots: readonly SlotNo[], nextSlot: number): FreeList {
  let changes = byCheckpoint(space, slots).map((its) => readChange(space, its, nextSlot))
  const [bottom = 0, ...above] = changes.map(({ freed, taken }) => (freed.length + taken.length) / 2).reverse()
  const room = roomAbove(bottom) - above.reduce((sum, entries) => sum + entries, 0)
  // In pairs: so each run is looked at a few times, however many checkpoints there were.
  while (changes.length > 1) {
    changes = Array.from({ length: Math.ceil(changes.length / 2) }, (_, i) => {
      const older = changes[2 * i + 1]
      return older === undefined ? changes[2 * i]! : composed(changes[2 * i]!, older)
    })
  }
  return { free: changes[0]?.freed ?? NONE, room: Math.max(0, room) }
}

/** How many entries may be put above a list of that many runs before it is written again as a whole. */
export const roomAbove = (runs: number): number => Math.max(runs, RUNS_PER_SLOT)

/** The free list of `header`. Throws `CorruptError` if it is not the list that was written with it. */
export function readFreeList(space: SlotSpace, checker: SlotChecker, header: Header): FreeList {
  const slots = slotsOfFreeList(space, checker, header.freeListHead, header.freeListSlots)
  const [top, bottom] = [slots[0], slots.at(-1)]
  if (top !== undefined && slotLsn(space, top) !== header.lsn)
    throw damagedError(top, 'it belongs to the free list of another checkpoint')
  if (bottom !== undefined && slotBelow(space, bottom) !== 0)
    throw listError(header.freeListHead, `it goes on after ${slots.length} slots`)
  const list = readStack(space, slots, header.nextSlot)
  const { free } = list
  for (const root of [header.root, header.trashRoot]) {
    if (root !== 0 && hasSlot(free, root))
      throw listError(header.freeListHead, `it names slot ${root}, which is a root`)
  }
  const lost = lostSlots(header, free)
  if (lost < 0) {
    const named = slotsIn(free)
    throw listError(header.freeListHead, `it names ${named} slots, but at most ${named + lost} can be free`)
  }
  return list
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

/**
 * Copies the free list of `header` into a region that is private: another process that opens the database
 * meanwhile will reuse these slots after one of its next checkpoints, whatever is pinned.
 */
export function keepFreeList(space: SlotSpace, checker: SlotChecker, header: Header): void {
  for (const slot of slotsOfFreeList(space, checker, header.freeListHead, header.freeListSlots)) {
    // A store copies the page even if it changes nothing. An atomic one is not optimised away.
    Atomics.or(space.i32[space.windowOf(slot)]!, space.byteOf(slot) >> 2, 0)
  }
}
