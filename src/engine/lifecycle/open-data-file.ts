// Opening the data file. Mapping, locks and identity are all of one file, whatever file takes its place meanwhile.
import { dirname } from 'node:path'
import { LockedError, UnsupportedError } from '../../errors.js'
import {
  isSameFile,
  StorageError,
  type FileIdentity,
  type LockTable,
  type Region,
  type RegionOptions,
  type Storage,
} from '../../storage/storage.js'
import { DataFile, displaced } from '../shared/data-file.js'
import { noDatabase } from './home-directory.js'

/** An opener gives up when it has found this many times that the file is being replaced. */
const MAX_TRIES = 5

interface DataFileRequest {
  readonly path: string
  readonly region: RegionOptions
  /** The file that it must be. */
  readonly expected: FileIdentity | undefined
  /** Takes the opener's turn, by the locks of the file; throws if that is not possible. */
  readonly takeTurn: (locks: LockTable) => void
}

/** Opens the data file and takes the opener's turn. A failure leaves nothing open and no lock held. */
export function openDataFile(storage: Storage, request: DataFileRequest): DataFile {
  for (let tries = 1; ; tries++) {
    const file = tryToOpen(storage, request, tries === 1)
    if (file !== undefined) return file
    if (tries === MAX_TRIES)
      throw new LockedError(`${request.path} is being replaced again and again. Try again later.`)
  }
}

/** Undefined if the file was replaced meanwhile. */
function tryToOpen(
  storage: Storage,
  { path, region: options, expected, takeTurn }: DataFileRequest,
  mayCreate: boolean,
): DataFile | undefined {
  let region: Region | undefined
  let locks: LockTable | undefined
  let file: DataFile | undefined
  try {
    region = storage.openRegion(path, mayCreate ? options : { ...options, create: false })
    const identity = region.identity()
    if (expected !== undefined && !isSameFile(identity, expected)) throw displaced(path)
    locks = storage.openLocks(path)
    if (!isSameFile(locks.identity(), identity)) return undefined
    takeTurn(locks)
    const opened = new DataFile(storage, path, region, locks)
    // The wait for the turn may have been long.
    if (!opened.isInPlace()) return undefined
    return (file = opened)
  } catch (error) {
    if (!(error instanceof StorageError) || error.code !== 'ENOENT') throw error
    throw expected === undefined ? noDatabase(dirname(path)) : displaced(path)
  } finally {
    if (file === undefined) {
      locks?.close()
      region?.close()
    }
  }
}

/**
 * Throws if the file has another name. Writing through one name would change the database that the other name belongs
 * to, without its log.
 */
export function refuseHardLinks(storage: Storage, path: string): void {
  const { links } = storage.info(path)
  if (links === undefined || links <= 1) return
  throw new UnsupportedError(
    `${path} has ${links} names (hard links), and may be part of several databases. Remove the other names, or copy it ` +
      'to a file of its own (cp), and open the database again.',
  )
}
