// A value that is too long for a leaf lies in a chain of overflow slots. The leaf's cell holds the first
// slot, the length and a CRC-32C of the whole value, which is checked each time the value is read: the
// CRCs of the slots cannot tell that a chain was put together from the wrong slots.
import { advice, CorruptError } from '../../errors.js'
import { ownMemoryFor } from '../../storage/memory.js'
import { crc32c } from '../../encoding/crc32c.js'
import type { Allocator } from './allocator.js'
import { readStep, type ReadGuard } from '../shared/read-guard.js'
import { kindWord, SLOT, SLOT_BODY_BYTES, TYPE, type SlotNo } from '../format/layout.js'
import { readPointer, type OverflowPointer } from '../format/leaf-cell.js'
import type { Node } from '../format/node.js'
import { damagedError } from '../format/slot-damage.js'
import { initSlot, nextOf, setNext, setUsedBytes, usedBytesOf } from '../format/slot-header.js'
import type { SlotChecker } from './slot-checker.js'
import type { SlotSpace } from '../format/slot-space.js'
import { MAX_VALUE_BYTES } from '../../limits.js'

/** The pointer to the overflow slots of the value of entry i of `leaf`. */
export const overflowPointer = (leaf: Node, i: number): OverflowPointer => readPointer(leaf.u8, leaf.valueAt(i))

/** Writes `value` [at, at + length) into a new chain. */
export function writeOverflow(
  space: SlotSpace,
  allocator: Allocator,
  lsnLow: number,
  lsnHigh: number,
  value: Buffer,
  at: number,
  length: number,
): OverflowPointer {
  // An empty value beside a long key has a pointer, but no slot to point to.
  const first = length === 0 ? (0 as SlotNo) : allocator.allocate()
  let slot = first
  for (let done = 0; done < length;) {
    const bytes = Math.min(SLOT_BODY_BYTES, length - done)
    const next = done + bytes < length ? allocator.allocate() : 0
    const window = space.windowOf(slot)
    const base = space.byteOf(slot)
    const i32 = space.i32[window]!
    initSlot(i32, base, kindWord(TYPE.OVERFLOW, 0), slot, lsnLow, lsnHigh)
    setNext(i32, base, next)
    setUsedBytes(i32, base, bytes)
    space.u8[window]!.set(value.subarray(at + done, at + done + bytes), base + SLOT.BODY)
    done += bytes
    slot = next as SlotNo
  }
  return { first, lengthBytes: length, crc: crc32c(value.subarray(at, at + length)) }
}

const wrongValue = (pointer: OverflowPointer, why: string): CorruptError =>
  new CorruptError(
    `The value of ${pointer.lengthBytes} bytes that begins in slot ${pointer.first} is damaged: ${why}. ` +
      advice.restoreOrSalvage,
    { slotNo: pointer.first },
  )

/**
 * Copies a value out of its chain. Throws `CorruptError` if a byte of it is not what was written. `guard`: of a
 * reader that can be ended (read-guard.ts) and that has checked its pin after it read `pointer`; its pin is checked
 * again after the value has been read.
 */
export function readOverflow(
  space: SlotSpace,
  checker: SlotChecker,
  pointer: OverflowPointer,
  guard?: ReadGuard,
): Buffer {
  // A wrong length must not allocate memory: no value is longer than the file.
  if (pointer.lengthBytes > Math.min(MAX_VALUE_BYTES, checker.fileSlots * SLOT_BODY_BYTES))
    throw wrongValue(pointer, 'its length is out of range')
  const value = ownMemoryFor(pointer.lengthBytes)
  let done = 0
  const copy = (slot: SlotNo, bytes: number): void => {
    const base = space.byteOf(slot) + SLOT.BODY
    value.set(space.u8[space.windowOf(slot)]!.subarray(base, base + bytes), done)
    done += bytes
  }
  forEachOverflowSlot(space, checker, pointer, copy, guard)
  checker.checkFaults()
  if (crc32c(value) >>> 0 !== pointer.crc >>> 0) throw wrongValue(pointer, 'its CRC does not match its bytes')
  return value
}

/**
 * The slots of a chain that is to be freed. Throws `CorruptError` if they do not hold the value that the
 * pointer stands for, or if one is there twice: a slot that is freed by mistake would be overwritten.
 */
export function overflowChain(space: SlotSpace, checker: SlotChecker, pointer: OverflowPointer): SlotNo[] {
  const slots = new Set<SlotNo>()
  let crc = 0
  forEachOverflowSlot(space, checker, pointer, (slot, bytes) => {
    if (slots.has(slot)) throw wrongValue(pointer, `slot ${slot} is in its chain twice`)
    slots.add(slot)
    const base = space.byteOf(slot) + SLOT.BODY
    crc = crc32c(space.buffers[space.windowOf(slot)]!.subarray(base, base + bytes), crc)
  })
  if (crc >>> 0 !== pointer.crc >>> 0) throw wrongValue(pointer, 'its CRC does not match its bytes')
  return [...slots]
}

/**
 * Visits the slots of a chain. All but the last are full, so the walk ends after as many slots as the length
 * asks for, whatever the links say. With a `guard`, `visit` gets a slot before the pin has been checked: it may only
 * copy; the walk goes on after the check.
 */
export function forEachOverflowSlot(
  space: SlotSpace,
  checker: SlotChecker,
  pointer: OverflowPointer,
  visit: (slot: SlotNo, bytes: number) => void,
  guard?: ReadGuard,
): void {
  let slot = pointer.first
  for (let left = pointer.lengthBytes; left > 0;) {
    checker.require(slot, TYPE.OVERFLOW, 0, guard)
    if (guard !== undefined) readStep()
    const base = space.byteOf(slot)
    const i32 = space.i32[space.windowOf(slot)]!
    const next = nextOf(i32, base)
    const bytes = usedBytesOf(i32, base)
    const fits = bytes === Math.min(left, SLOT_BODY_BYTES) && (next === 0) === (bytes === left)
    if (guard !== undefined) readStep()
    if (fits) visit(slot, bytes)
    guard?.assertNotExpired()
    if (!fits) throw damagedError(slot, 'the part of a value that it holds is not the one that belongs there')
    left -= bytes
    slot = next as SlotNo
  }
}
