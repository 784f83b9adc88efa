// The files of a database as they lie on disk, for tools that look inside. The database is not opened,
// recovered, locked or changed, so this works on a database that is in use, and on a damaged one.
import { resolve } from 'node:path'
import { NotADatabaseError, NotFoundError } from '../errors.js'
import { findHeader, type HeaderSearch } from '../engine/lifecycle/find-header.js'
import { checkPath, databasePaths, type DatabasePaths } from '../engine/lifecycle/paths.js'
import type { Damage } from '../engine/format/damage.js'
import { headerSlots, NO_HEADER } from '../engine/format/header.js'
import { SLOT_BYTES } from '../engine/format/layout.js'
import { LOCK } from '../engine/shared/lock-bytes.js'
import { SlotSpace } from '../engine/format/slot-space.js'
import { encodingOf, type ValueEncoding } from '../encoding/values/codec.js'
import { guarded } from '../storage/errors.js'
import { posixStorage } from '../storage/posix.js'
import type { ResolvedOptions } from '../engine/options.js'

export interface DataFile {
  readonly path: string
  readonly space: SlotSpace
  /** Whole slots in the file. */
  readonly slots: number
  readonly headers: HeaderSearch
  /** A process has the database open. */
  readonly inUse: boolean
}

export const isInUse = (db: string): boolean => {
  const locks = posixStorage.openLocks(databasePaths(db).data)
  try {
    return locks.isHeldByOther(LOCK.ATTACHED, 'exclusive')
  } finally {
    locks.close()
  }
}

/** The files of the database at `db`. If it is missing, throws what opening it would throw. */
export function checkThere(db: string): DatabasePaths {
  return guarded('Opening the database', () => there(databasePaths(resolve(db))))
}

function there(paths: DatabasePaths): DatabasePaths {
  const { kind } = posixStorage.info(paths.directory)
  if (kind === 'file' || kind === 'other') {
    throw new NotADatabaseError(
      `${paths.directory} is a file; a database is a directory. Give the path of the directory.`,
    )
  }
  if (kind === 'missing')
    throw new NotFoundError(
      `There is no database at ${paths.directory}. Check the path, or give another one with --db.`,
    )
  checkPath(posixStorage, paths, { createIfMissing: false })
  return paths
}

/** Calls `look` with the data file of a database. Throws `NotFoundError`, `NotADatabaseError`, ... */
export function withFile<T>({ path, reserveBytes, windowBytes }: ResolvedOptions, look: (file: DataFile) => T): T {
  const { data } = checkThere(path)
  const region = posixStorage.openRegion(data, { mode: 'private', reserveBytes, windowBytes, create: false })
  try {
    const space = new SlotSpace(region)
    const slots = Math.floor(region.sizeBytes() / SLOT_BYTES)
    const headers = findHeader(
      (slotNo) => (slotNo < slots ? Buffer.from(slotBytes(space, slotNo)) : Buffer.alloc(0)),
      data,
    )
    return look({ path: data, space, slots, headers, inUse: isInUse(path) })
  } finally {
    region.close()
  }
}

/** The encoding that the headers name; undefined if there is no database, or no intact header. */
export function encodingInHeader(options: ResolvedOptions): ValueEncoding | undefined {
  try {
    return withFile(options, ({ headers: { header } }) => header && encodingOf(header.encodingNo))
  } catch {
    // The command that opens the database reports the reason.
    return undefined
  }
}

/** The bytes of a slot, as a view. */
export function slotBytes(space: SlotSpace, slotNo: number): Buffer {
  const base = space.byteOf(slotNo)
  return space.buffers[space.windowOf(slotNo)]!.subarray(base, base + SLOT_BYTES)
}

/** The damage of header slots that should hold an intact header. */
export function headerDamage({ headers, inUse }: DataFile): Damage[] {
  const { header, damage } = headers
  // While a checkpoint is being written, its headers come and go.
  if (header === undefined || inUse) return []
  const twins = headerSlots(header.checkpointNumber)
  return damage.filter(({ slotNo, why }) => twins.includes(slotNo) || why !== NO_HEADER)
}
