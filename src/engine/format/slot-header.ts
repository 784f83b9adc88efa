// The header that every slot begins with (layout.ts draws it), read and written as 32-bit words. `i32` is the window
// that the slot lies in, and `base` the byte at which it begins there. Each function costs the loads or stores that
// its name says, and nothing else.
import { SLOT, type SlotNo } from './layout.js'
import type { SlotSpace } from './slot-space.js'

// Constants of this module's own: V8 compiles these as numbers, but loads an imported constant at each use.
const CRC_WORD = SLOT.CRC >> 2
/** Type, level and count. */
const KIND_WORD = SLOT.TYPE >> 2
const NUMBER_WORD = SLOT.NUMBER >> 2
/** Prefix and heap. */
const PREFIX_WORD = SLOT.PREFIX >> 2
const LSN_WORD = SLOT.LSN >> 2
/** The next slot of a chain; garbage and last insertion of a leaf. */
const NEXT_WORD = SLOT.NEXT >> 2
/** The bytes used of an overflow slot; the run of insertions of a leaf. */
const USED_WORD = SLOT.USED >> 2
const TAKEN_WORD = SLOT.TAKEN >> 2

/** The two words of an LSN. */
export const lowWord = (lsn: number): number => lsn | 0
export const highWord = (lsn: number): number => Math.floor(lsn / 2 ** 32)

/** Writes the header of a slot that is not sealed, with nothing in it. `kind`: see `kindWord`. */
export function initSlot(
  i32: Int32Array,
  base: number,
  kind: number,
  slot: SlotNo,
  lsnLow: number,
  lsnHigh: number,
): void {
  const w = base >> 2
  i32[w + CRC_WORD] = 0
  i32[w + KIND_WORD] = kind
  i32[w + NUMBER_WORD] = slot
  i32[w + PREFIX_WORD] = 0
  i32[w + LSN_WORD] = lsnLow
  i32[w + LSN_WORD + 1] = lsnHigh
  i32[w + NEXT_WORD] = 0
  i32[w + USED_WORD] = 0
}

/** Turns a copy of another slot into this slot, made at the given LSN and not sealed. */
export function claimSlot(i32: Int32Array, base: number, slot: SlotNo, lsnLow: number, lsnHigh: number): void {
  const w = base >> 2
  i32[w + CRC_WORD] = 0
  i32[w + NUMBER_WORD] = slot
  i32[w + LSN_WORD] = lsnLow
  i32[w + LSN_WORD + 1] = lsnHigh
}

export const crcOf = (i32: Int32Array, base: number): number => i32[(base >> 2) + CRC_WORD]! >>> 0
export function setCrc(i32: Int32Array, base: number, crc: number): void {
  i32[(base >> 2) + CRC_WORD] = crc
}

/** Type and level, as `kindWord` gives them, below the count. */
export const kindAndCountOf = (i32: Int32Array, base: number): number => i32[(base >> 2) + KIND_WORD]!

/** The number that the slot bears. */
export const numberOf = (i32: Int32Array, base: number): number => i32[(base >> 2) + NUMBER_WORD]! >>> 0

/** LSN of the group whose apply wrote the slot. */
export function slotLsnOf(i32: Int32Array, base: number): number {
  const w = (base >> 2) + LSN_WORD
  return (i32[w + 1]! >>> 0) * 2 ** 32 + (i32[w]! >>> 0)
}

/** The same of a slot that is named by its number. */
export const slotLsn = (space: SlotSpace, slot: number): number =>
  slotLsnOf(space.i32[space.windowOf(slot)]!, space.byteOf(slot))

/** The next slot of a chain of overflow or free-list slots; 0 at its end. */
export const nextOf = (i32: Int32Array, base: number): number => i32[(base >> 2) + NEXT_WORD]! >>> 0
export function setNext(i32: Int32Array, base: number, next: number): void {
  i32[(base >> 2) + NEXT_WORD] = next
}

/** Bytes of a value that an overflow slot holds. */
export const usedBytesOf = (i32: Int32Array, base: number): number => i32[(base >> 2) + USED_WORD]! >>> 0
export function setUsedBytes(i32: Int32Array, base: number, bytes: number): void {
  i32[(base >> 2) + USED_WORD] = bytes
}

/** How many of the runs of a free-list slot, the last ones, are not free any more. */
export const takenRunsOf = (i32: Int32Array, base: number): number => i32[(base >> 2) + TAKEN_WORD]! >>> 0
export function setTakenRuns(i32: Int32Array, base: number, runs: number): void {
  i32[(base >> 2) + TAKEN_WORD] = runs
}
