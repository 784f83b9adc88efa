// How much memory and address space this process may use.
import { readFileSync } from 'node:fs'
import { totalmem } from 'node:os'
import { IoError } from '../errors.js'
import { native } from './native.js'

/** Bytes of memory, page cache included: those of the machine, or fewer where a cgroup limits them. */
export function memoryBytes(): number {
  const limit = process.constrainedMemory()
  return limit > 0 ? Math.min(limit, totalmem()) : totalmem()
}

/** True if the address space of the process is limited (ulimit -v). */
export function isAddressSpaceLimited(): boolean {
  return (isLimited ??= !/^Max address space +unlimited /m.test(limits()))
}
let isLimited: boolean | undefined

function limits(): string {
  try {
    return readFileSync('/proc/self/limits', 'utf8')
  } catch {
    // Without /proc: the process then counts as limited, which only makes mappings smaller.
    return ''
  }
}

/** A buffer of that many bytes with arbitrary contents. Throws `IoError` if there is no memory for it. */
export function memoryFor(bytes: number): Buffer {
  try {
    return Buffer.allocUnsafe(bytes)
  } catch (cause) {
    throw noMemory(bytes, cause)
  }
}

/**
 * A buffer that shares its memory with no other, so that it can be given back, with arbitrary contents. Throws
 * `IoError` if there is no memory for it.
 */
export function ownMemoryFor(bytes: number): Buffer {
  try {
    return Buffer.allocUnsafeSlow(bytes)
  } catch (cause) {
    throw noMemory(bytes, cause)
  }
}

/** Frees the memory of such a buffer, which nobody outside of mmapdb has seen. It is empty from now on. */
export function giveBack(buffer: Buffer): void {
  if (buffer.length > 0) native.detach(buffer.buffer as ArrayBuffer)
}

const noMemory = (bytes: number, cause: unknown): IoError =>
  new IoError(
    `Could not allocate ${bytes} bytes of memory: allow this process more (ulimit -v, the limit of the container).`,
    { cause },
  )
