// How an opener joins the `control` of the threads that have the database open, or finds that it is the first opener.
import { LockedError } from '../../errors.js'
import { guarded } from '../../storage/errors.js'
import { isSameFile, type Region } from '../../storage/storage.js'
import type { Header } from '../format/header.js'
import { Control } from '../shared/control.js'
import { isLive, joinLife } from '../shared/life.js'
import { LOCK } from '../shared/lock-bytes.js'
import type { Cleanup } from './cleanup.js'
import { controlGone, joinControl, newControl, privateControl, sizeOfControl } from './control-file.js'
import { NotNowError } from './not-now.js'
import type { OpenedFiles } from './open-files.js'

/**
 * Acquires a share of the attached lock. True if the database is open nowhere else: then this is the first opener.
 */
export function isFirstOpener({ locks, isPrivate, isOnlooker }: OpenedFiles): boolean {
  if (isPrivate || (!isOnlooker && locks.tryLock(LOCK.ATTACHED, 'exclusive'))) return true
  if (locks.tryLock(LOCK.ATTACHED, 'shared')) return false
  throw new LockedError('Another thread or process is opening or closing the database, and keeps its lock. Try again.')
}

/**
 * Joins the threads that have the database open, and returns their `control`. They may end at any moment before that.
 * This opener holds the open lock then, so the last of them does not do what the last closer does; but a `control` that
 * lay in the memory of a process ends with it. Undefined if they have ended: then this is the first opener.
 */
export function joinOthers(files: OpenedFiles, cleanup: Cleanup): Region | undefined {
  const { storage, paths, locks, region, isOnlooker } = files
  let control: Region | undefined
  try {
    control = joinControl(storage, paths, locks, region.sizeBytes(), isOnlooker)
    joinTheirLife(control, files)
  } catch (error) {
    control?.close()
    if (isOnlooker) {
      if (locks.isHeldByOther(LOCK.ATTACHED, 'exclusive')) throw error
      throw new NotNowError('others', 'The database was closed at this moment. Try again.')
    }
    if (!locks.tryLock(LOCK.ATTACHED, 'exclusive')) throw error
    // Other processes stay out while a thread says that `control` lies in memory.
    locks.unlock(LOCK.IN_MEMORY)
    return undefined
  }
  cleanup.defer(() => control.close())
  return control
}

/** Joins the life of the database that others have open, if this `control` is theirs. */
function joinTheirLife(region: Region, { paths, locks }: OpenedFiles): void {
  const control = new Control(region)
  if (control.isForeign) {
    throw new LockedError(
      'The database is open in a process that runs another version of mmapdb. Use the same version everywhere.',
    )
  }
  const isTheirs = control.isOpened && isSameFile(control.identity, region.identity()) && isLive(locks, control.life)
  if (!isTheirs) throw controlGone(paths.control)
  joinLife(locks, control.life)
}

/** A new `control` for the first opener. */
export function beginControl({ storage, paths, locks, region, isPrivate }: OpenedFiles, header: Header): Region {
  const dataBytes = region.sizeBytes()
  if (isPrivate) return guarded('Making memory', () => privateControl(storage, dataBytes))
  return newControl(storage, paths, locks, dataBytes, sizeOfControl(header, dataBytes))
}
