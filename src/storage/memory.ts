// How much memory this process may use.
import { totalmem } from 'node:os'

/** Bytes of memory, that of the page cache included: the machine's, or less where a cgroup limits it. */
export function memoryBytes(): number {
  const limit = process.constrainedMemory()
  return limit > 0 ? Math.min(limit, totalmem()) : totalmem()
}
