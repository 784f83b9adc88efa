// The fields of a leaf's cells, and of the pointers in those whose value overflows (layout.ts draws both).
import { CELL, type SlotNo } from './layout.js'

// A constant of this module's own: see slot-header.ts.
const VERSION_AT = CELL.VERSION

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
  return u16[w]! + u16[w + 1]! * 0x10000 + u16[w + 2]! * 2 ** 32
}

export function writeVersion(u16: Uint16Array, cellAt: number, version: number): void {
  const w = (cellAt + VERSION_AT) >> 1
  u16[w] = version & 0xffff
  u16[w + 1] = (version / 0x10000) & 0xffff
  u16[w + 2] = Math.floor(version / 2 ** 32)
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
