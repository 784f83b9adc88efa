// Where `control` lies: in a file of that name, or, if the disk has no room for it, in the memory of the process
// that opened the database first. The threads of that process then share it as they would share the file, and other
// processes are refused. They know by a lock byte, which every thread holds that has `control` open in memory. The
// life (life.ts) tells this memory from what an earlier life has left in the process.
import { CorruptError, FullError } from '../../errors.js'
import { isFullDisk, typedError } from '../../storage/errors.js'
import { StorageError, type LockTable, type Region, type Storage } from '../../storage/storage.js'
import { Control, CONTROL_RESERVE_BYTES, controlWindowBytes } from '../shared/control.js'
import type { DatabasePaths } from './paths.js'
import { freeAtOpeningBytes } from '../space/free-at-opening.js'
import { RUNS_PER_SLOT } from '../space/free-list.js'
import type { Header } from '../format/header.js'
import { SLOT_BYTES } from '../format/layout.js'
import { isLive } from '../shared/life.js'
import { LOCK } from '../shared/lock-bytes.js'
import { ringBytes } from '../space/rings.js'

/** Size of the windows of `control` in memory: the same for all threads, however long the data file is by then. */
const MEMORY_WINDOW_BYTES = 2 ** 30

/** For a `control` that is in the memory of another process. */
class ElsewhereError extends FullError {
  constructor(path: string) {
    super(
      `The database at ${path} is open in a process that found the disk full and keeps in its own memory what it would ` +
        'share with others. Close it there, or free some space and open it there again.',
    )
  }
}

/**
 * The size that `control` begins with: if growing it in small steps met a full disk, slots would be lost (rings.ts).
 */
export function sizeOfControl(header: Header, dataBytes: number): number {
  const slots = Math.min(header.nextSlot, dataBytes / SLOT_BYTES)
  const runs = Math.min(header.freeListSlots * RUNS_PER_SLOT, slots)
  return Control.endOfBitmap(slots) + freeAtOpeningBytes(runs) + ringBytes(runs)
}

/**
 * A new `control` of `sizeBytes`. The first opener makes a file of its own. Threads that still use the old one (their
 * data file was replaced, or this would not be the first opener) see nothing change under them. If there is no room,
 * no file is left, and `control` lies in memory.
 */
export function newControl(
  storage: Storage,
  paths: DatabasePaths,
  locks: LockTable,
  dataBytes: number,
  sizeBytes: number,
): Region {
  const { control: path, data } = paths
  let region: Region | undefined
  try {
    if (storage.info(path).kind !== 'missing') storage.unlink(path)
    region = storage.openRegion(path, {
      mode: 'shared',
      reserveBytes: CONTROL_RESERVE_BYTES,
      windowBytes: controlWindowBytes(dataBytes),
      create: true,
      like: data,
    })
    region.grow(sizeBytes)
    return region
  } catch (error) {
    region?.close()
    if (!isFullDisk(error)) throw typedError(error, 'Opening the control file')
    if (storage.info(path).kind !== 'missing') storage.unlink(path)
    return inMemory(storage, paths, locks, sizeBytes)
  }
}

function inMemory(storage: Storage, { data }: DatabasePaths, locks: LockTable, sizeBytes: number): Region {
  const region = storage.openRegion(data, { ...MEMORY, create: true })
  region.grow(sizeBytes)
  new Control(region).noteInMemory()
  locks.tryLock(LOCK.IN_MEMORY, 'shared')
  return region
}

const MEMORY = { mode: 'process', reserveBytes: CONTROL_RESERVE_BYTES, windowBytes: MEMORY_WINDOW_BYTES } as const

/** A `control` that is not shared, for looking at a database from outside. */
export const privateControl = (storage: Storage, dataBytes: number): Region =>
  storage.openRegion('', {
    mode: 'anonymous',
    reserveBytes: CONTROL_RESERVE_BYTES,
    windowBytes: controlWindowBytes(dataBytes),
  })

/** The `control` of the threads that have the database open already. `readOnly`: map it for reading only. */
export function joinControl(
  storage: Storage,
  paths: DatabasePaths,
  locks: LockTable,
  dataBytes: number,
  readOnly: boolean,
): Region {
  const { control: path, data, directory } = paths
  const isInMemory = locks.isHeldByOther(LOCK.IN_MEMORY, 'exclusive')
  try {
    if (!isInMemory) {
      const windowBytes = controlWindowBytes(dataBytes)
      return storage.openRegion(path, {
        mode: 'shared',
        reserveBytes: CONTROL_RESERVE_BYTES,
        windowBytes,
        readOnly,
        like: data,
      })
    }
    const region = storage.openRegion(data, MEMORY)
    // An earlier life may have left another one in this process.
    if (isLive(locks, new Control(region).life) && locks.tryLock(LOCK.IN_MEMORY, 'shared')) return region
    region.close()
    throw new ElsewhereError(directory)
  } catch (error) {
    if (!(error instanceof StorageError) || error.code !== 'ENOENT') throw typedError(error, 'Opening the control file')
    throw isInMemory ? new ElsewhereError(directory) : controlGone(path)
  }
}

export const controlGone = (path: string): CorruptError =>
  new CorruptError(
    `${path} was removed or damaged while the database was open elsewhere. Close it everywhere, then open it again: ` +
      'nothing is lost.',
    { path },
  )
