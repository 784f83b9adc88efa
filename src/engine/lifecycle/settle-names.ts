// Whether the names that lead to a database are on disk: that of its directory, and that of the data file in it.
//
// They are given by creation, compaction, backup and restore, which flush them last, and may die before that, or the
// flush fails. Others see the new name all the same, and rely on it. After a power cut the data file of before could be
// back, when the log that it needs has been recycled; or there could be a log without a data file, or no database at
// all. So the first opener flushes the names before anything relies on them. It need not where another one has been
// before: `control` tells. It is made by the first opener after that flush, and removed before a name is given.
import { dirname } from 'node:path'
import { guarded } from '../../storage/errors.js'
import { StorageError, type Storage } from '../../storage/storage.js'
import type { DatabasePaths } from './paths.js'

/** For the first opener, before it makes `control`. `isDatabase`: it was created; otherwise `control` tells nothing. */
export function settleNames(world: Storage, storage: Storage, paths: DatabasePaths, isDatabase: boolean): void {
  const { directory, data, control } = paths
  if (isDatabase && storage.info(control).kind !== 'missing') return
  guarded('Flushing the names of the database', () => {
    flushParent(world, directory)
    flushParent(storage, data)
  })
}

/** To be called before the data file or its directory gets its name, while no thread has the database open. */
export function unsettleNames(storage: Storage, { control }: DatabasePaths): void {
  if (storage.info(control).kind !== 'missing') storage.unlink(control)
}

/** Returns when the name of a file or directory is on disk. */
export function flushParent(storage: Storage, path: string): void {
  try {
    storage.flushDirectory(dirname(path))
  } catch (error) {
    // A user may not be allowed to list the directory: then it cannot be flushed.
    if (!(error instanceof StorageError) || error.code !== 'EACCES') throw error
  }
}
