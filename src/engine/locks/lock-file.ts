// Where the table of record locks lies: in `locks`, a file beside `control`, or in the memory of the process if
// that is where `control` lies (lifecycle/control-file.ts). The first thread that needs it makes it, and the last
// closer removes it. Like `control` it belongs to one life of the database, whose number it holds: one that an
// earlier life left over, or a copy, is replaced.
//
// One thread at a time joins it or makes it, under a lock byte. The magic is stored last, so a file whose maker
// died is replaced by the next thread. A file of an earlier life may still be mapped by a thread that this database
// has been taken from (its files were replaced): it keeps the file that it has, since the new one is another file.
//
// If the disk is full while `control` is a file, there can be no table: whose process it lay in, the others would
// not see it. The caller gets `FullError`, and no file is left.
import { LockedError } from '../../errors.js'
import { isFullDisk, typedError } from '../../storage/errors.js'
import { isSameFile, StorageError, type LockTable, type Region, type Storage } from '../../storage/storage.js'
import type { Control } from '../shared/control.js'
import { LOCK } from '../shared/lock-bytes.js'
import type { Seats } from '../shared/seats.js'
import { AT, FIRST_CELL, LOCKS_MAGIC, LOCKS_RESERVE_BYTES, LOCKS_VERSION, LOCKS_WINDOW_BYTES } from './lock-layout.js'

export interface LockFileParts {
  readonly storage: Storage
  readonly control: Control
  readonly locks: LockTable
  readonly seats: Seats
  /** Path of `locks`, and of the data file, whose owner and permissions it takes. */
  readonly lockFile: string
  readonly like: string
}

const DOING = 'Opening the table of record locks'
const MAPPING = { reserveBytes: LOCKS_RESERVE_BYTES, windowBytes: LOCKS_WINDOW_BYTES } as const
const modeOf = (control: Control): 'process' | 'shared' => (control.isInMemory ? 'process' : 'shared')

/**
 * The table of this life of the database; made if there is none, which takes less than a millisecond. Undefined if
 * another thread takes longer than `patienceMs` to make it.
 */
export function openLockFile(parts: LockFileParts, patienceMs: number): Region | undefined {
  const { locks } = parts
  try {
    if (!locks.lock(LOCK.RECORD_TABLE, 'exclusive', patienceMs)) return undefined
    try {
      return joinLockFile(parts, false) ?? makeLockFile(parts)
    } finally {
      locks.unlock(LOCK.RECORD_TABLE)
    }
  } catch (error) {
    throw typedError(error, DOING)
  }
}

/** The table of this life, to look at; undefined if there is none. */
export function lookAtLockFile(parts: LockFileParts): Region | undefined {
  try {
    return joinLockFile(parts, !parts.control.isInMemory)
  } catch (error) {
    throw typedError(error, DOING)
  }
}

function joinLockFile({ storage, control, lockFile }: LockFileParts, readOnly: boolean): Region | undefined {
  if (storage.info(lockFile).kind !== 'file') return undefined
  let region: Region
  try {
    region = storage.openRegion(lockFile, { ...MAPPING, mode: modeOf(control), readOnly })
  } catch (error) {
    // No thread of this process has it in memory, or the last closer has just removed it.
    if (error instanceof StorageError && error.code === 'ENOENT') return undefined
    throw error
  }
  try {
    if (isOfThisLife(region, control)) return region
  } catch (error) {
    region.close()
    throw error
  }
  region.close()
  return undefined
}

function isOfThisLife(region: Region, control: Control): boolean {
  if (region.sizeBytes() < AT.CELLS) return false
  const i32 = new Int32Array(region.window(0))
  const f64 = new Float64Array(region.window(0))
  if (Atomics.load(i32, AT.MAGIC >> 2) !== LOCKS_MAGIC || i32[AT.LIFE >> 2] !== control.life) return false
  if (!isSameFile(region.identity(), { device: f64[AT.DEVICE >> 3]!, inode: f64[AT.INODE >> 3]! })) return false
  if (i32[AT.VERSION >> 2] === LOCKS_VERSION) return true
  throw new LockedError(
    'The database is open in a process that runs another version of mmapdb. Use the same version everywhere.',
  )
}

function makeLockFile({ storage, control, lockFile, like }: LockFileParts): Region {
  if (storage.info(lockFile).kind !== 'missing') storage.unlink(lockFile)
  let region: Region | undefined
  try {
    region = storage.openRegion(lockFile, { ...MAPPING, mode: modeOf(control), create: true, like })
    region.grow(AT.CELLS)
    format(region, control)
    return region
  } catch (error) {
    region?.close()
    if (isFullDisk(error) && storage.info(lockFile).kind !== 'missing') storage.unlink(lockFile)
    throw error
  }
}

function format(region: Region, control: Control): void {
  const i32 = new Int32Array(region.window(0))
  const f64 = new Float64Array(region.window(0))
  const { device, inode } = region.identity()
  i32[AT.VERSION >> 2] = LOCKS_VERSION
  i32[AT.LIFE >> 2] = control.life
  f64[AT.DEVICE >> 3] = device
  f64[AT.INODE >> 3] = inode
  f64[AT.TICKET >> 3] = 1
  i32[AT.CELLS_USED >> 2] = FIRST_CELL
  Atomics.store(i32, AT.MAGIC >> 2, LOCKS_MAGIC)
}
