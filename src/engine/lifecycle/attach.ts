// How an opener joins the `control` of the threads that have the database open, or finds that it is the first opener.
import { LockedError } from '../../errors.js'
import { guarded } from '../../storage/errors.js'
import { isSameFile, type LockTable, type Region } from '../../storage/storage.js'
import type { Header } from '../format/header.js'
import { Control } from '../shared/control.js'
import { isLive, joinLife } from '../shared/life.js'
import { LOCK } from '../shared/lock-bytes.js'
import type { Cleanup } from './cleanup.js'
import { controlGone, joinControl, newControl, privateControl, sizeOfControl } from './control-file.js'
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
 * The `control` of the threads that have the database open. Undefined if they have just ended: then this is the first
 * opener.
 */
export function joinOthers(
  { storage, paths, locks, region, isOnlooker }: OpenedFiles,
  cleanup: Cleanup,
): Region | undefined {
  const control = joinControl(storage, paths, locks, region.sizeBytes(), isOnlooker)
  cleanup.defer(() => control.close())
  if (isOnlooker || isOfThisLife(control, locks) || !locks.tryLock(LOCK.ATTACHED, 'exclusive')) return control
  control.close()
  return undefined
}

/** False also for a `control` that cannot be read: joining it will tell the reason. */
function isOfThisLife(region: Region, locks: LockTable): boolean {
  const control = new Control(region)
  return control.isForeign || (control.isOpened && isLive(locks, control.life))
}

/** Joins the life of the database that others have open, if this `control` is theirs. */
export function joinTheirLife(control: Control, controlRegion: Region, { paths, locks }: OpenedFiles): void {
  if (control.isForeign) {
    throw new LockedError(
      'The database is open in a process that runs another version of mmapdb. Use the same version everywhere.',
    )
  }
  const isTheirs =
    control.isOpened && isSameFile(control.identity, controlRegion.identity()) && isLive(locks, control.life)
  if (!isTheirs) throw controlGone(paths.control)
  joinLife(locks, control.life)
}

/** A new `control` for the first opener. */
export function beginControl({ storage, paths, locks, region, isPrivate }: OpenedFiles, header: Header): Region {
  const dataBytes = region.sizeBytes()
  if (isPrivate) return guarded('Making memory', () => privateControl(storage, dataBytes))
  return newControl(storage, paths, locks, dataBytes, sizeOfControl(header, dataBytes))
}
