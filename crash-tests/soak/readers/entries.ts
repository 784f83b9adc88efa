// What the threads of the readers' test write: every key twice, under `a` and under `b`, always in one batch. A value
// says of which key and version it is, and every byte after that follows from it. So a reader can tell without a
// model what no moment of the database can have held.
import type { Random } from '../../lib/random.js'
import type { BatchOperation } from '../../../src/index.js'

export const KEYS = 3000
export type Side = 'a' | 'b'
export type ReaderKey = [Side, number]

const HEADER_BYTES = 12

/** What was read cannot have been written. */
export class WrongRead extends Error {}

function valueOf(n: number, version: number, lengthBytes: number): Buffer {
  const value = Buffer.alloc(lengthBytes, (n * 31 + version * 7 + 1) & 0xff)
  value.writeUInt32LE(n, 0)
  value.writeUInt32LE(version, 4)
  value.writeUInt32LE(lengthBytes, 8)
  return value
}

/** The version of a value that was read for a key. Throws `WrongRead`. */
export function versionOf(value: unknown, n: number): number {
  if (!Buffer.isBuffer(value) || value.length < HEADER_BYTES)
    throw new WrongRead(`key ${n}: this is no value: ${String(value)}`)
  const version = value.readUInt32LE(4)
  if (!value.equals(valueOf(n, version, value.length)) || value.readUInt32LE(8) !== value.length) {
    throw new WrongRead(
      `key ${n}: a value of ${value.length} bytes that says it is key ${value.readUInt32LE(0)}, version ${version}, ${value.readUInt32LE(8)} bytes`,
    )
  }
  return version
}

/** One batch: some keys put or deleted, on both sides. */
export function operations(random: Random, version: number): BatchOperation<Buffer>[] {
  return Array.from({ length: random.between(1, 20) }, (): BatchOperation<Buffer>[] => {
    const n = random.between(0, KEYS - 1)
    const keys = (['a', 'b'] as const).map((side): ReaderKey => [side, n])
    if (random.chance(0.15)) return keys.map((key) => ({ type: 'del', key }))
    const value = valueOf(
      n,
      version,
      random.chance(0.02) ? random.between(4000, 30_000) : random.between(HEADER_BYTES, 300),
    )
    return keys.map((key) => ({ type: 'put', key, value }))
  }).flat()
}
