// A map of the data file: what each slot is, as the last checkpoint left it and with what was written since.
import { CorruptError } from '../errors.js'
import { DamageList, type Damage } from '../engine/format/damage.js'
import { headerSlots, NO_HEADER } from '../engine/format/header.js'
import { HEADER_SLOTS, SLOT, SLOT_BODY_BYTES, TYPE, type SlotNo } from '../engine/format/layout.js'
import { Node } from '../engine/format/node.js'
import { eachSlot } from '../engine/format/runs.js'
import { slotDamage } from '../engine/format/slot-damage.js'
import { readStack, slotsOfFreeList } from '../engine/space/free-list.js'
import { slotBytes, type DataFile } from './offline-files.js'

/** "new": newer than the checkpoint. */
export const SLOT_KINDS = [
  'header',
  'branch',
  'leaf',
  'overflow',
  'freeList',
  'free',
  'unused',
  'newBranch',
  'newLeaf',
  'newOverflow',
  'newFreeList',
  'damaged',
] as const
export type SlotKind = (typeof SLOT_KINDS)[number]

/** The number of each kind: its place in `SLOT_KINDS`. */
const KIND = Object.fromEntries(SLOT_KINDS.map((name, i) => [name, i])) as Record<SlotKind, number>
const SEALED = {
  [TYPE.BRANCH]: KIND.branch,
  [TYPE.LEAF]: KIND.leaf,
  [TYPE.OVERFLOW]: KIND.overflow,
  [TYPE.FREE_LIST]: KIND.freeList,
}
const NEWER = {
  [TYPE.BRANCH]: KIND.newBranch,
  [TYPE.LEAF]: KIND.newLeaf,
  [TYPE.OVERFLOW]: KIND.newOverflow,
  [TYPE.FREE_LIST]: KIND.newFreeList,
}

export interface SlotMap {
  /** The number of a kind for each slot. */
  readonly kinds: Uint8Array
  /** Slots of each kind. */
  readonly counts: Readonly<Record<SlotKind, number>>
  readonly damage: readonly Damage[]
  /** How full the leaves of the checkpoint are, from 0 to 1. */
  readonly leafFill: number
}

export function mapOf(file: DataFile): SlotMap {
  const mapper = new Mapper(file)
  mapper.noteFile()
  const kinds = new Uint8Array(file.slots)
  for (let slotNo = 0; slotNo < kinds.length; slotNo++) kinds[slotNo] = mapper.kindOf(slotNo)
  const perKind = countsOf(kinds)
  const counts = Object.fromEntries(SLOT_KINDS.map((name, i) => [name, perKind[i]!])) as Record<SlotKind, number>
  const leafFill = counts.leaf === 0 ? 0 : mapper.leafBytesUsed / (counts.leaf * SLOT_BODY_BYTES)
  return { kinds, counts, damage: mapper.damage.found, leafFill }
}

/** The kind that stands for a group of slots: damage if there is any, else the most frequent. */
export function strongest(kinds: Uint8Array): SlotKind {
  const counts = countsOf(kinds)
  return counts[KIND.damaged]! > 0 ? 'damaged' : SLOT_KINDS[counts.indexOf(Math.max(...counts))]!
}

function countsOf(kinds: Uint8Array): number[] {
  const counts = new Array<number>(SLOT_KINDS.length).fill(0)
  for (const kind of kinds) counts[kind]!++
  return counts
}

/** Tells the kinds of slots apart, and collects the damage that it meets. */
class Mapper {
  readonly damage = new DamageList()
  /** Bytes that entries take up in the leaves of the checkpoint. */
  leafBytesUsed = 0
  readonly #file: DataFile
  /** 1 for each slot that the free list of the checkpoint names. */
  readonly #free: Uint8Array
  readonly #node = new Node()

  constructor(file: DataFile) {
    this.#file = file
    this.#free = new Uint8Array(file.slots)
  }

  /** Notes what is wrong with the file as a whole, and reads its free list. */
  noteFile(): void {
    const { header } = this.#file.headers
    const { slots } = this.#file
    try {
      for (const slot of freeSlots(this.#file)) this.#free[slot] = 1
    } catch (error) {
      if (!(error instanceof CorruptError)) throw error
      this.damage.note(error.site.slotNo ?? 0, error.message)
    }
    if (header !== undefined && header.nextSlot > slots) {
      const why = `the file is cut short: it has ${slots} of the ${header.nextSlot} slots that its header counts`
      this.damage.note(slots, why)
    }
  }

  kindOf(slotNo: number): number {
    if (slotNo < HEADER_SLOTS) return this.#kindOfHeader(slotNo)
    const { space, headers } = this.#file
    const { header } = headers
    const bytes = slotBytes(space, slotNo)
    const type = bytes[SLOT.TYPE]!
    const isFree = this.#free[slotNo] !== 0
    const isOfTree = header !== undefined && slotNo < header.nextSlot && !isFree
    if (!isOfTree) {
      const isNewer = type !== TYPE.UNUSED && Number(bytes.readBigUInt64LE(SLOT.LSN)) > (header?.lsn ?? 0)
      // It may be half-written: that is no damage, because nothing leads to it yet.
      if (isNewer) return NEWER[type as keyof typeof NEWER] ?? KIND.unused
      return isFree ? KIND.free : KIND.unused
    }
    const why = slotDamage(space, slotNo as SlotNo, this.#node)
    if (why !== undefined) return this.#damaged(slotNo, why)
    const kind = SEALED[type as keyof typeof SEALED] ?? KIND.unused
    if (kind === KIND.leaf) this.leafBytesUsed += this.#node.at(space, slotNo as SlotNo).usedBytes
    return kind
  }

  #kindOfHeader(slotNo: number): number {
    const { headers, inUse } = this.#file
    const why = headers.damage.find((damage) => damage.slotNo === slotNo)?.why
    if (why === undefined) return KIND.header
    const isDue =
      headers.header === undefined || headerSlots(headers.header.checkpointNumber).includes(slotNo) || why !== NO_HEADER
    return isDue && !inUse ? this.#damaged(slotNo, why) : KIND.unused
  }

  #damaged(slotNo: number, why: string): number {
    this.damage.note(slotNo, why)
    return KIND.damaged
  }
}

/**
 * Slots that the free list of the checkpoint names. Throws `CorruptError` if it cannot be followed. Without a slot
 * checker, which needs an open database: a map shows what it can, also of a free list whose slots are damaged.
 */
function freeSlots({ space, slots, headers: { header } }: DataFile): Iterable<number> {
  if (header === undefined) return []
  const require = (slot: number, type: number): void => {
    if (slot >= slots || slotBytes(space, slot)[SLOT.TYPE] !== type) {
      throw new CorruptError(`the free list leads to slot ${slot}, which is not a slot of a free list`, {
        slotNo: Math.min(slot, slots),
      })
    }
  }
  const chain = slotsOfFreeList(space, { require }, header.freeListHead, header.freeListSlots)
  return eachSlot(readStack(space, chain, header.nextSlot).free)
}
