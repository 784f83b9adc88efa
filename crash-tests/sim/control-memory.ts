// The memory of `control`: one for all files of that name, and for all lives, since it must not move and is large. Only
// what was used of it is cleared.
import { SimFile } from './disk.js'

const BYTES = 1 << 30
const USED_BYTES = 4 * 1024 * 1024
const memory = Buffer.from(new ArrayBuffer(BYTES))

export const clearControl = (): void => void memory.fill(0, 0, USED_BYTES)

/** A file with that memory, which has nothing in it. */
export function newControlFile(name: string): SimFile {
  clearControl()
  return new SimFile(name, BYTES, memory)
}

export const copyOfControl = (sizeBytes: number): Uint8Array => Buffer.from(memory.subarray(0, sizeBytes))
export const restoreControl = (bytes: Uint8Array): void => memory.set(bytes)
