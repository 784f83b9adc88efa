// Whether the records can fit at all: checked before anything is written.
import { statfsSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { FullError } from '../../errors.js'
import { databasePaths } from '../../engine/lifecycle/paths.js'
import { isInline, LEAF_CELL_HEADER, LEAF_ENTRY_WORDS, overflowSlots, SLOT_BYTES } from '../../engine/format/layout.js'
import type { ResolvedOptions } from '../../engine/options.js'
import { guarded } from '../../storage/errors.js'
import { posixStorage } from '../../storage/posix.js'
import { bytes } from '../shared/output.js'

/** Bytes that an entry takes up in the data file at least. Lengths are of encoded bytes. */
export function entryBytes(keyLength: number, valueLength: number): number {
  const cell = LEAF_ENTRY_WORDS * 4 + LEAF_CELL_HEADER + keyLength
  return isInline(keyLength, valueLength) ? cell + valueLength : cell + overflowSlots(valueLength) * SLOT_BYTES
}

/**
 * Throws `FullError` if `neededBytes` of new entries are more than the disk has room for, or than the database
 * may grow to. The present size of the database counts as room: its entries may be overwritten.
 */
export function checkRoom({ path, reserveBytes, checkpointBytes }: ResolvedOptions, neededBytes: number): void {
  const { data } = databasePaths(path)
  const there = guarded('Opening the database', () => posixStorage.info(data))
  const held = there.kind === 'file' ? there.sizeBytes : 0
  if (neededBytes > reserveBytes) {
    throw new FullError(
      `This needs at least ${bytes(neededBytes)}, and the data file may grow to ${bytes(reserveBytes)} at most: write less, or raise --reserve-bytes.`,
    )
  }
  const free = freeBytes(path)
  // The log holds the same bytes again until a checkpoint makes room in it.
  const needed = neededBytes + Math.min(neededBytes, checkpointBytes)
  if (free !== undefined && needed > free + held) {
    throw new FullError(
      `This needs at least ${bytes(needed)}, and ${path} has ${bytes(free)} of free disk: write less, choose another disk with --db, or give --force to write until the disk is full.`,
    )
  }
}

/** Free bytes of the file system that `path` is on, or will be on; undefined if that is not known. */
function freeBytes(path: string): number | undefined {
  for (let at = resolve(path); ; at = dirname(at)) {
    try {
      const { bavail, bsize } = statfsSync(at)
      return bavail * bsize
    } catch {
      // It does not exist yet: its parent directory counts. If it may not be looked at, opening it reports that.
      if (at === dirname(at)) return undefined
    }
  }
}
