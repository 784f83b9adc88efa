// The fields of a leaf's cells, and of the pointers in those whose value overflows (layout.ts draws both).
import { CELL, EXPIRY_BYTES, VALUE_LENGTH_SHIFT, type SlotNo } from './layout.js'

// Constants of this module's own: see slot-header.ts.
const VERSION_AT = CELL.VERSION
const VALUE_SHIFT = VALUE_LENGTH_SHIFT
/** Bits of the version in the word that holds the value's length, too. */
const VERSION_BITS = (1 << VALUE_SHIFT) - 1

const float = new Float64Array(1)
const floatBytes = new Uint8Array(float.buffer)

/** When an entry expires, of a cell that says so; `at`: the byte after its key. */
export function readExpiry(u8: Uint8Array, at: number): number {
  for (let i = 0; i < EXPIRY_BYTES; i++) floatBytes[i] = u8[at + i]!
  return float[0]!
}

export function writeExpiry(u8: Uint8Array, at: number, expiresAt: number): void {
  float[0] = expiresAt
  for (let i = 0; i < EXPIRY_BYTES; i++) u8[at + i] = floatBytes[i]!
}

/** Where a value lies that overflows. */
export interface OverflowPointer {
  /** First slot of its chain; 0 if the value is empty. */
  first: SlotNo
  lengthBytes: number
  /** CRC-32C of the whole value. */
  crc: number
}

const readU32 = (u8: Uint8Array, at: number): number =>
  (u8[at]! | (u8[at + 1]! << 8) | (u8[at + 2]! << 16) | (u8[at + 3]! << 24)) >>> 0

function writeU32(u8: Uint8Array, at: number, n: number): void {
  u8[at] = n
  u8[at + 1] = n >>> 8
  u8[at + 2] = n >>> 16
  u8[at + 3] = n >>> 24
}

/** LSN of the frame that wrote the entry whose cell begins at byte `cellAt` of the window. */
export function readVersion(u16: Uint16Array, cellAt: number): number {
  const w = (cellAt + VERSION_AT) >> 1
  return u16[w]! + u16[w + 1]! * 0x10000 + u16[w + 2]! * 2 ** 32 + (u16[w + 3]! & VERSION_BITS) * 2 ** 48
}

/** Writes what a cell holds before its key. */
export function writeCellHeader(u16: Uint16Array, cellAt: number, version: number, valueLength: number): void {
  const w = (cellAt + VERSION_AT) >> 1
  u16[w] = version & 0xffff
  u16[w + 1] = (version / 0x10000) & 0xffff
  const high = Math.floor(version / 2 ** 32)
  u16[w + 2] = high
  u16[w + 3] = (high >>> 16) | (valueLength << VALUE_SHIFT)
}

export const readPointer = (u8: Uint8Array, at: number): OverflowPointer => ({
  first: readU32(u8, at) as SlotNo,
  lengthBytes: readU32(u8, at + 4),
  crc: readU32(u8, at + 8),
})

export function writePointer(u8: Uint8Array, at: number, pointer: OverflowPointer): void {
  writeU32(u8, at, pointer.first)
  writeU32(u8, at + 4, pointer.lengthBytes)
  writeU32(u8, at + 8, pointer.crc)
}
