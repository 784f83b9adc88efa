// What can be wrong with a slot, seen in itself: its CRC, its number, and that all in it lies where it may.
import { advice, CorruptError } from '../../errors.js'
import { crc32c } from '../../encoding/crc32c.js'
import { MAX_KEY_BYTES, MAX_VALUE_BYTES } from '../../limits.js'
import {
  HEADER_SLOTS,
  isInline,
  LEAF_CELL_HEADER,
  OVERFLOW_POINTER_BYTES,
  SLOT,
  SLOT_BODY_BYTES,
  SLOT_BYTES,
  TYPE,
  type SlotNo,
} from './layout.js'
import type { Node } from './node.js'
import { commonPrefix, compareKeys, headOf } from './search.js'
import type { SlotSpace } from './slot-space.js'

/** What bounds a slot that was taken from disk: the tree that it belongs to. */
export interface TreeBounds {
  /** Nothing in the tree was made later. */
  readonly lsn: number
  /** Whether a slot of the tree can lead to `slot`. */
  leadsTo(slot: number): boolean
}

export const damagedError = (slot: number, why: string): CorruptError =>
  new CorruptError(`Slot ${slot} of the data file is damaged: ${why}. ${advice.restoreOrSalvage}`, { slotNo: slot })

/** CRC-32C of a slot as it should stand in its first four bytes. */
function slotCrc(space: SlotSpace, slot: number): number {
  const base = space.byteOf(slot)
  return crc32c(space.buffers[space.windowOf(slot)]!.subarray(base + SLOT.TYPE, base + SLOT_BYTES))
}

/** Seals a slot: nothing but its CRC field is written. */
export function sealSlot(space: SlotSpace, slot: number): void {
  const crc = slotCrc(space, slot)
  space.i32[space.windowOf(slot)]![space.byteOf(slot) >> 2] = crc
}

const UNBOUNDED: TreeBounds = { lsn: Number.POSITIVE_INFINITY, leadsTo: (slot) => slot >= HEADER_SLOTS }

/** LSN of the group whose apply wrote a slot. */
export function slotLsn(space: SlotSpace, slot: number): number {
  const w = (space.byteOf(slot) + SLOT.LSN) >> 2
  const i32 = space.i32[space.windowOf(slot)]!
  return (i32[w + 1]! >>> 0) * 2 ** 32 + (i32[w]! >>> 0)
}

const slotLsnOf = ({ i32, base }: Node): number =>
  (i32[(base + SLOT.LSN + 4) >> 2]! >>> 0) * 2 ** 32 + (i32[(base + SLOT.LSN) >> 2]! >>> 0)

/** What is wrong with a sealed slot, or undefined if nothing is. */
export function slotDamage(
  space: SlotSpace,
  slot: SlotNo,
  scratch: Node,
  bounds: TreeBounds = UNBOUNDED,
): string | undefined {
  return nodeViewDamage(scratch.at(space, slot), bounds)
}

/** The same for a slot of any type that `view` shows, or has copied. */
export function nodeViewDamage(view: Node, bounds: TreeBounds): string | undefined {
  const { i32, base } = view
  const bytes = Buffer.from(
    view.u8.buffer as ArrayBuffer,
    view.u8.byteOffset + base + SLOT.TYPE,
    SLOT_BYTES - SLOT.TYPE,
  )
  if (i32[base >> 2]! >>> 0 !== crc32c(bytes) >>> 0) return 'its CRC does not match its bytes'
  if (i32[(base + SLOT.NUMBER) >> 2]! >>> 0 !== view.slot)
    return `it says that it is slot ${i32[(base + SLOT.NUMBER) >> 2]! >>> 0}`
  if (slotLsnOf(view) > bounds.lsn) return 'it is newer than the tree that leads to it'
  return insideDamage(view, bounds)
}

/** What is wrong with the inside of a slot, or undefined if nothing is. The CRC is not looked at. */
export function structureDamage(
  space: SlotSpace,
  slot: SlotNo,
  scratch: Node,
  bounds: TreeBounds = UNBOUNDED,
): string | undefined {
  return insideDamage(scratch.at(space, slot), bounds)
}

function insideDamage(view: Node, bounds: TreeBounds): string | undefined {
  const { u8, u16, i32, base, slot } = view
  const type = u8[base + SLOT.TYPE]!
  const next = i32[(base + SLOT.NEXT) >> 2]! >>> 0
  switch (type) {
    case TYPE.LEAF:
    case TYPE.BRANCH:
      return nodeDamage(view) ?? leadingDamage(view, slotLsnOf(view), bounds)
    case TYPE.OVERFLOW: {
      const used = i32[(base + SLOT.USED) >> 2]! >>> 0
      if (used === 0 || used > SLOT_BODY_BYTES || (next !== 0 && used < SLOT_BODY_BYTES))
        return 'its length is out of range'
      return next !== 0 && (!bounds.leadsTo(next) || next === slot)
        ? `it goes on in slot ${next}, which cannot be`
        : undefined
    }
    case TYPE.FREE_LIST:
      if (u16[(base + SLOT.COUNT) >> 1]! * 8 > SLOT_BODY_BYTES) return 'its count is out of range'
      return next !== 0 && (!bounds.leadsTo(next) || next === slot)
        ? `it goes on in slot ${next}, which cannot be`
        : undefined
    case TYPE.HEADER:
      return undefined
    default:
      return `its type ${type} is unknown`
  }
}

function nodeDamage(node: Node): string | undefined {
  const { u8, i32, base, words, keySkip, isLeaf } = node
  const count = node.count
  const bodyEnd = SLOT.BODY + count * words * 4
  if (isLeaf !== (node.level === 0)) return 'its level does not fit its type'
  if (bodyEnd > SLOT_BYTES) return 'it has too many entries'
  if (node.heap < bodyEnd || node.heap > SLOT_BYTES) return 'its heap lies outside'
  if (count === 0) return isLeaf ? 'it is a leaf without entries' : 'it is a branch without children'
  if (!isLeaf && node.keyLength(0) !== 0) return 'its first entry has a key'
  const first = node.firstCompared
  let live = 0
  for (let i = 0; i < count; i++) {
    const offset = node.cellOffset(i)
    const keyLength = node.keyLength(i)
    const compared = i >= first
    if (compared || isLeaf) {
      if (offset < node.heap || (offset & 1) !== 0 || offset + keySkip > SLOT_BYTES) return `cell ${i} lies outside`
      const bytes = isLeaf ? LEAF_CELL_HEADER + keyLength + payload(node, i) : keyLength
      if (offset + bytes > SLOT_BYTES) return `cell ${i} reaches outside`
      if (keyLength === 0 || keyLength > MAX_KEY_BYTES) return `key ${i} has ${keyLength} bytes`
      if (isLeaf && !node.overflows(i) && !isInline(keyLength, payload(node, i)))
        return `the value of entry ${i} is too long to lie there`
      live += (bytes + 1) & ~1
    }
    if (!compared) continue
    const head = headOf(u8, node.keyAt(i), keyLength, node.prefix)
    if (keyLength < node.prefix || i32[node.entry(i)] !== head) return `the head of entry ${i} does not match its key`
    if (i > first) {
      const before = i - 1
      const at = node.keyAt(before)
      const length = node.keyLength(before)
      if (compareKeys(u8, at, length, u8, node.keyAt(i), keyLength, 0) >= 0)
        return `keys ${before} and ${i} are out of order`
    }
  }
  if (count > first) {
    const last = count - 1
    const shared = commonPrefix(
      u8,
      node.keyAt(first),
      node.keyLength(first),
      u8,
      node.keyAt(last),
      node.keyLength(last),
    )
    if (shared < node.prefix) return 'its keys do not share its prefix'
  }
  if (live + node.garbage !== SLOT_BYTES - node.heap) return 'its cells and its garbage do not fill its heap'
  return undefined
  function payload(n: Node, i: number): number {
    return n.overflows(i) ? OVERFLOW_POINTER_BYTES : n.u16[(base + n.cellOffset(i) + 6) >> 1]!
  }
}

/** What is wrong with what a sound branch or leaf leads to, and with the versions of its entries. */
function leadingDamage(node: Node, lsn: number, bounds: TreeBounds): string | undefined {
  const { u8, u16, base, isLeaf } = node
  const count = node.count
  if (!isLeaf) {
    const children = new Set<number>()
    for (let i = 0; i < count; i++) {
      const child = node.child(i)
      if (!bounds.leadsTo(child)) return `it leads to slot ${child}, which cannot be`
      if (children.has(child)) return `it leads to slot ${child} twice`
      children.add(child)
    }
    return undefined
  }
  for (let i = 0; i < count; i++) {
    const w = (base + node.cellOffset(i)) >> 1
    const version = u16[w]! + u16[w + 1]! * 0x10000 + u16[w + 2]! * 2 ** 32
    // A slot bears the LSN behind the frames that it was made from.
    if (version >= lsn) return `entry ${i} is newer than the slot that it lies in`
    if (!node.overflows(i)) continue
    const at = node.keyAt(i) + node.keyLength(i)
    const first = readU32(u8, at)
    const lengthBytes = readU32(u8, at + 4)
    if (lengthBytes > MAX_VALUE_BYTES || (lengthBytes === 0 ? first !== 0 : !bounds.leadsTo(first)))
      return `the value of entry ${i} lies where it cannot be`
  }
  return undefined
}

const readU32 = (u8: Uint8Array, at: number): number =>
  (u8[at]! | (u8[at + 1]! << 8) | (u8[at + 2]! << 16) | (u8[at + 3]! << 24)) >>> 0
