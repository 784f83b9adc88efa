// How much memory, and how many addresses, this process may use.
import { readFileSync } from 'node:fs'
import { totalmem } from 'node:os'
import { IoError } from '../errors.js'

/** Bytes of memory, that of the page cache included: the machine's, or less where a cgroup limits it. */
export function memoryBytes(): number {
  const limit = process.constrainedMemory()
  return limit > 0 ? Math.min(limit, totalmem()) : totalmem()
}

/** True if the process has been given less address space than there is (ulimit -v). */
export function isAddressSpaceLimited(): boolean {
  return (isLimited ??= !/^Max address space +unlimited /m.test(limits()))
}
let isLimited: boolean | undefined

function limits(): string {
  try {
    return readFileSync('/proc/self/limits', 'utf8')
  } catch {
    // Without /proc: with less one gets along, too.
    return ''
  }
}

/** A buffer of so many bytes, of anything. Throws `IoError` if there is no memory for it. */
export function memoryFor(bytes: number): Buffer {
  try {
    return Buffer.allocUnsafe(bytes)
  } catch (cause) {
    throw new IoError(
      `There is no memory for ${bytes} bytes: this process needs more (ulimit -v, the limit of a container).`,
      { cause },
    )
  }
}
