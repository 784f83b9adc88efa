// The directory of a database, held open. Everything in it is reached through its descriptor, so that chdir, a
// renamed directory or a changed symbolic link leads no thread to another database. And what identifies the
// database, for threads that are to open the same one.
import { dirname } from 'node:path'
import { databaseHasBeenClosed, NotADatabaseError, NotFoundError, UnsupportedError } from '../../errors.js'
import { guarded } from '../../storage/errors.js'
import { StorageError, type FileIdentity, type HeldDirectory, type Storage } from '../../storage/storage.js'

/**
 * The database that a thread is to find. Another thread of this process must hold `directory`. With `data`, the
 * database is open there already: it is not created, recovered or taken over.
 */
export interface ExpectedDatabase {
  readonly directory: FileIdentity
  readonly data?: FileIdentity
}

interface HomeOptions {
  readonly path: string
  readonly createIfMissing: boolean
  readonly allowNetworkFileSystem: boolean
}

/** Holds the directory of a database open, and creates it if needed. Throws if it cannot be that of a database. */
export function openHome(storage: Storage, options: HomeOptions, expected?: ExpectedDatabase): HeldDirectory {
  const { path } = options
  if (expected !== undefined) return joinHome(storage, path, expected.directory)
  const { kind } = storage.info(path)
  if (kind === 'file' || kind === 'other') {
    throw new NotADatabaseError(`${path} is a file; a database is a directory. Give the path of the directory.`)
  }
  if (kind === 'directory') {
    if (!options.allowNetworkFileSystem) refuseNetwork(storage, path, path)
    return storage.openDirectory(path)
  }
  if (!options.createIfMissing) throw noDatabase(path)
  if (!options.allowNetworkFileSystem) refuseNetwork(storage, path, existingAncestor(storage, path))
  makeHome(storage, path)
  return storage.openDirectory(path)
}

export const noDatabase = (path: string): NotFoundError =>
  new NotFoundError(
    `There is no database at ${path}. Check the path; one that does not exist is created by opening it for writing with createIfMissing (on the command line: put or load).`,
  )

function joinHome(storage: Storage, path: string, directory: FileIdentity): HeldDirectory {
  try {
    return storage.openDirectory(path, directory)
  } catch (error) {
    if (!(error instanceof StorageError) || error.code !== 'ENOENT') throw error
    throw databaseHasBeenClosed(path, error)
  }
}

function existingAncestor(storage: Storage, path: string): string {
  let ancestor = dirname(path)
  while (storage.info(ancestor).kind !== 'directory' && dirname(ancestor) !== ancestor) ancestor = dirname(ancestor)
  return ancestor
}

/** `on`: a directory on the file system that `path` is on, or will be on. */
function refuseNetwork(storage: Storage, path: string, on: string): void {
  const fs = storage.fileSystem(on)
  if (!fs.networked) return
  throw new UnsupportedError(
    `${path} lies on a network file system (${fs.name}), where neither mappings nor locks are reliable. ` +
      'Put the database on a local disk, or pass { allowNetworkFileSystem: true } if only one machine ever uses it.',
  )
}

function makeHome(storage: Storage, path: string): void {
  guarded('Creating the database directory', () => {
    const parent = dirname(path)
    if (storage.info(parent).kind !== 'directory') throw notADirectory(storage, parent)
    try {
      storage.makeDirectory(path)
    } catch (error) {
      if (!(error instanceof StorageError) || error.code !== 'EEXIST' || storage.info(path).kind !== 'missing')
        throw error
      throw new NotFoundError(`${path} is a symbolic link to something that does not exist. Create that first.`, {
        cause: error,
      })
    }
  })
}

/** Why `parent` is not a directory: it is missing, or something on the way there is a file. */
function notADirectory(storage: Storage, parent: string): Error {
  for (let path = parent; dirname(path) !== path; path = dirname(path)) {
    const { kind } = storage.info(path)
    if (kind === 'directory') break
    if (kind !== 'missing')
      return new NotADatabaseError(`${path} is a file, so nothing can be inside it. Give another path.`)
  }
  return new NotFoundError(`${parent} does not exist. Create it first.`)
}
