// Setting room aside in a file, and what becomes of it where the disk is full.
import { isFullDisk } from '../storage/errors.js'
import type { RandomFile } from '../storage/storage.js'

/**
 * Sets aside `wantedBytes` for a file, or, if there is no room, half of that, a quarter, ... down to `worthBytes`, or
 * what it has already, if that is `leastBytes`. Returns how much it is. Throws the system's refusal if it would be
 * less; the file is then as long as before.
 */
export function setAside(file: RandomFile, wantedBytes: number, worthBytes: number, leastBytes: number): number {
  const hadBytes = file.sizeBytes()
  for (let bytes = wantedBytes; ;) {
    try {
      file.allocate(bytes)
      return bytes
    } catch (error) {
      if (!isFullDisk(error)) throw error
      // Some file systems keep what they got before there was no more.
      if (file.sizeBytes() > hadBytes) file.truncate(hadBytes)
      const next = Math.max(worthBytes, Math.floor(bytes / 16) * 8)
      if (next < bytes && next > hadBytes) bytes = next
      else if (hadBytes >= leastBytes) return Math.min(hadBytes, wantedBytes)
      else throw error
    }
  }
}
