// Values too long for their share of a leaf lie in a chain of overflow slots. The leaf's cell holds
// the first slot, the length and a CRC-32C of the whole value, checked each time it is read: the
// slots' own CRCs cannot tell a chain that was put together wrongly.
import { CorruptError } from '../errors.js'
import { crc32c } from '../wal/frame.js'
import type { Allocator } from './allocator.js'
import { SLOT, SLOT_BODY_BYTES, TYPE, type SlotNo } from './layout.js'
import type { SlotChecker } from './slot-check.js'
import type { SlotSpace } from './slot-space.js'

export interface OverflowPointer {
  first: SlotNo
  lengthBytes: number
  crc: number
}

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
  // An empty value beside a long key has a pointer, but nothing to point to.
  const first = length === 0 ? (0 as SlotNo) : allocator.allocate()
  let slot = first
  for (let done = 0; done < length; ) {
    const bytes = Math.min(SLOT_BODY_BYTES, length - done)
    const next = done + bytes < length ? allocator.allocate() : 0
    const window = space.reach(slot)
    const base = space.base(slot)
    const w = base >> 2
    const i32 = space.i32[window]!
    i32[w] = 0
    i32[w + 1] = TYPE.OVERFLOW
    i32[w + 2] = slot
    i32[w + 3] = 0
    i32[w + 4] = lsnLow
    i32[w + 5] = lsnHigh
    i32[w + 6] = next
    i32[w + 7] = bytes
    space.u8[window]!.set(value.subarray(at + done, at + done + bytes), base + SLOT.BODY)
    done += bytes
    slot = next as SlotNo
  }
  return { first, lengthBytes: length, crc: crc32c(value.subarray(at, at + length)) }
}

/** Copies a value out of its chain. Throws `CorruptError` if a byte of it is not what was written. */
export function readOverflow(space: SlotSpace, checker: SlotChecker, pointer: OverflowPointer): Buffer {
  const wrong = (why: string): CorruptError =>
    new CorruptError(
      `The value of ${pointer.lengthBytes} bytes that begins in slot ${pointer.first} is damaged: ${why}. ` +
        'Restore the database from a backup, or run "mmapdb recover --salvage OUT" to bring out what is intact.',
      { slotNo: pointer.first },
    )
  if (pointer.lengthBytes > space.maxSlots * SLOT_BODY_BYTES) throw wrong('its length is out of range')
  // Walks the chain before it allocates: a wrong length must not cost memory.
  if (pointer.lengthBytes > 1024 * 1024) {
    let total = 0
    forEachOverflowSlot(space, checker, pointer, (_slot, bytes) => (total += bytes))
    if (total !== pointer.lengthBytes) throw wrong('its chain has another length')
  }
  const value = Buffer.allocUnsafe(pointer.lengthBytes)
  let done = 0
  forEachOverflowSlot(space, checker, pointer, (slot, bytes) => {
    const base = space.base(slot) + SLOT.BODY
    value.set(space.u8[space.reach(slot)]!.subarray(base, base + bytes), done)
    done += bytes
  })
  checker.checkFaults()
  if (done !== pointer.lengthBytes) throw wrong('its chain has another length')
  if (crc32c(value) >>> 0 !== pointer.crc >>> 0) throw wrong('its CRC does not match its bytes')
  return value
}

/** Visits the slots of a chain. Ends after as many as the length asks for, whatever the links say. */
export function forEachOverflowSlot(
  space: SlotSpace,
  checker: SlotChecker,
  pointer: OverflowPointer,
  visit: (slot: SlotNo, bytes: number) => void,
): void {
  let slot = pointer.first
  for (let left = pointer.lengthBytes; left > 0; ) {
    checker.expect(slot, TYPE.OVERFLOW, 0)
    const w = space.base(slot) >> 2
    const i32 = space.i32[space.reach(slot)]!
    const next = i32[w + 6]! >>> 0
    const bytes = i32[w + 7]! >>> 0
    if (bytes === 0 || bytes > left || bytes > SLOT_BODY_BYTES) {
      throw new CorruptError(`Slot ${slot} of the data file is damaged: it holds another part of a value.`, { slotNo: slot })
    }
    visit(slot, bytes)
    left -= bytes
    slot = next as SlotNo
  }
}
