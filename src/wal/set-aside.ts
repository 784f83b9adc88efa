// Allocating room in a file, and what to do when the disk is full.
import { isFullDisk } from '../storage/errors.js'
import type { RandomFile } from '../storage/storage.js'

/**
 * Allocates `wantedBytes` for a file. If there is no room, it tries half of that, a quarter, ... down to
 * `worthBytes`, and at last makes do with what the file has already, if that is `leastBytes` or more. Returns how
 * much it is. If it would be less, it throws the system's error, and the file is as long as before.
 */
export function setAside(file: RandomFile, wantedBytes: number, worthBytes: number, leastBytes: number): number {
  const hadBytes = file.sizeBytes()
  for (let bytes = wantedBytes; ;) {
    try {
      file.allocate(bytes)
      return bytes
    } catch (error) {
      if (!isFullDisk(error)) throw error
      // Some file systems keep what they allocated before the disk was full.
      if (file.sizeBytes() > hadBytes) file.truncate(hadBytes)
      const next = Math.max(worthBytes, Math.floor(bytes / 16) * 8)
      if (next < bytes && next > hadBytes) bytes = next
      else if (hadBytes >= leastBytes) return Math.min(hadBytes, wantedBytes)
      else throw error
    }
  }
}
