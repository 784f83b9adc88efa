// What can be wrong with a slot by itself: its CRC, its number, and where everything in it lies.
import { advice, CorruptError } from '../../errors.js'
import { crc32c } from '../../encoding/crc32c.js'
import { isTime } from '../../encoding/expiry-key.js'
import { MAX_TREE_KEY_BYTES, MAX_VALUE_BYTES } from '../../limits.js'
import {
  EXPIRY_BYTES,
  HEADER_SLOTS,
  isInline,
  LEAF_CELL_HEADER,
  SLOT,
  SLOT_BODY_BYTES,
  SLOT_BYTES,
  TYPE,
  type SlotNo,
} from './layout.js'
import { readPointer, readVersion } from './leaf-cell.js'
import type { Node } from './node.js'
import { commonPrefix, compareKeys, headOf } from './search.js'
import { crcOf, nextOf, numberOf, setCrc, slotLsnOf, takenRunsOf, usedBytesOf } from './slot-header.js'
import type { SlotSpace } from './slot-space.js'

/** What the tree that a slot belongs to allows of a slot that was read from disk. */
export interface TreeBounds {
  /** No slot of the tree was made later. */
  readonly lsn: number
  /** True if a slot of the tree can lead to `slot`. */
  leadsTo(slot: number): boolean
}

export const damagedError = (slot: number, why: string): CorruptError =>
  new CorruptError(`Slot ${slot} of the data file is damaged: ${why}. ${advice.restoreOrSalvage}`, { slotNo: slot })

/** CRC-32C of a slot as its first four bytes should hold it. */
function slotCrc(space: SlotSpace, slot: number): number {
  const base = space.byteOf(slot)
  return crc32c(space.buffers[space.windowOf(slot)]!.subarray(base + SLOT.TYPE, base + SLOT_BYTES))
}

/** Seals a slot: writes its CRC field and nothing else. */
export function sealSlot(space: SlotSpace, slot: number): void {
  const crc = slotCrc(space, slot)
  setCrc(space.i32[space.windowOf(slot)]!, space.byteOf(slot), crc)
}

const UNBOUNDED: TreeBounds = { lsn: Number.POSITIVE_INFINITY, leadsTo: (slot) => slot >= HEADER_SLOTS }

/** What is wrong with a sealed slot, or undefined if nothing is. */
export function slotDamage(
  space: SlotSpace,
  slot: SlotNo,
  scratch: Node,
  bounds: TreeBounds = UNBOUNDED,
): string | undefined {
  return nodeViewDamage(scratch.at(space, slot), bounds)
}

/** The same for a slot of any type that `view` shows, or holds a copy of. */
export function nodeViewDamage(view: Node, bounds: TreeBounds): string | undefined {
  const { i32, base } = view
  const bytes = Buffer.from(
    view.u8.buffer as ArrayBuffer,
    view.u8.byteOffset + base + SLOT.TYPE,
    SLOT_BYTES - SLOT.TYPE,
  )
  if (crcOf(i32, base) !== crc32c(bytes) >>> 0) return 'its CRC does not match its bytes'
  const number = numberOf(i32, base)
  if (number !== view.slot) return `it says that it is slot ${number}`
  if (slotLsnOf(i32, base) > bounds.lsn) return 'it is newer than the tree that leads to it'
  return insideDamage(view, bounds)
}

/** What is wrong with the inside of a slot, or undefined if nothing is. The CRC is not checked. */
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
  const next = nextOf(i32, base)
  switch (type) {
    case TYPE.LEAF:
    case TYPE.BRANCH:
      return nodeDamage(view) ?? leadingDamage(view, slotLsnOf(i32, base), bounds)
    case TYPE.OVERFLOW: {
      const used = usedBytesOf(i32, base)
      if (used === 0 || used > SLOT_BODY_BYTES || (next !== 0 && used < SLOT_BODY_BYTES))
        return 'its length is out of range'
      return next !== 0 && (!bounds.leadsTo(next) || next === slot)
        ? `its next slot, ${next}, is out of range, free, or already reached`
        : undefined
    }
    case TYPE.FREE_LIST: {
      const count = u16[(base + SLOT.COUNT) >> 1]!
      if (count * 8 > SLOT_BODY_BYTES || takenRunsOf(i32, base) > count) return 'its count is out of range'
      return next !== 0 && (!bounds.leadsTo(next) || next === slot)
        ? `its next slot, ${next}, is out of range, free, or already reached`
        : undefined
    }
    case TYPE.HEADER:
      return undefined
    default:
      return `its type ${type} is unknown`
  }
}

function nodeDamage(node: Node): string | undefined {
  const { u8, i32, words, keySkip, isLeaf } = node
  const count = node.count
  const bodyEnd = SLOT.BODY + count * words * 4
  if (isLeaf !== (node.level === 0)) return 'its level does not fit its type'
  if (bodyEnd > SLOT_BYTES) return 'it has too many entries'
  if (node.heap < bodyEnd || node.heap > SLOT_BYTES) return 'its heap lies outside of the slot'
  if (count === 0) return isLeaf ? 'it is a leaf without entries' : 'it is a branch without children'
  if (!isLeaf && node.keyLength(0) !== 0) return 'its first entry has a key'
  const first = node.firstCompared
  let live = 0
  for (let i = 0; i < count; i++) {
    const offset = node.cellOffset(i)
    const keyLength = node.keyLength(i)
    const compared = i >= first
    if (node.unknownFlags(i) !== 0) return `entry ${i} has flags that are not known`
    if (compared || isLeaf) {
      if (offset < node.heap || (offset & 1) !== 0 || offset + keySkip > SLOT_BYTES)
        return `cell ${i} begins outside of its heap`
      const expiryBytes = isLeaf && node.expires(i) ? EXPIRY_BYTES : 0
      const bytes = isLeaf ? LEAF_CELL_HEADER + keyLength + expiryBytes + node.payloadBytes(i) : keyLength
      if (offset + bytes > SLOT_BYTES) return `cell ${i} ends outside of the slot`
      if (keyLength === 0 || keyLength > MAX_TREE_KEY_BYTES) return `key ${i} has ${keyLength} bytes`
      if (isLeaf && !node.overflows(i) && !isInline(keyLength, node.payloadBytes(i), expiryBytes))
        return `the value of entry ${i} is too long for a leaf`
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
  if (live + node.garbage !== SLOT_BYTES - node.heap) return 'its cells and its garbage do not add up to its heap'
  return undefined
}

/** What is wrong with where an otherwise sound branch or leaf leads to, or with the versions of its entries. */
function leadingDamage(node: Node, lsn: number, bounds: TreeBounds): string | undefined {
  const { u8, u16, base, isLeaf } = node
  const count = node.count
  if (!isLeaf) {
    const children = new Set<number>()
    for (let i = 0; i < count; i++) {
      const child = node.child(i)
      if (!bounds.leadsTo(child)) return `its child, slot ${child}, is out of range, free, or already reached`
      if (children.has(child)) return `slot ${child} is its child twice`
      children.add(child)
    }
    return undefined
  }
  for (let i = 0; i < count; i++) {
    // The LSN of a slot is the one after the frames that it was made from.
    if (readVersion(u16, base + node.cellOffset(i)) >= lsn) return `entry ${i} is newer than the slot that it lies in`
    if (node.expires(i) && !isTime(node.expiresAt(i))) return `the time at which entry ${i} expires is none`
    if (!node.overflows(i)) continue
    const { first, lengthBytes } = readPointer(u8, node.valueAt(i))
    if (lengthBytes > MAX_VALUE_BYTES || (lengthBytes === 0 ? first !== 0 : !bounds.leadsTo(first)))
      return `the pointer to the value of entry ${i} has a bad length or a bad first slot`
  }
  return undefined
}
