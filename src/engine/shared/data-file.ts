// The data file as one thread has opened it: mapping and locks are of the same file, and it is the one that
// its name led to when the opener's turn came.
//
// Removed or replaced while it is open, it goes on working for those who have it, locks and all, and nobody
// else will ever find what is written there; and whoever opens what has taken its place knows nothing of
// those who run on. So it is looked for once more before anything is acknowledged: one statx(2).
import { dirname } from 'node:path'
import { CorruptError, LockedError, UnsupportedError } from '../../errors.js'
import { isSameFile, StorageError, type FileIdentity, type LockTable, type Region, type RegionOptions, type Storage } from '../../storage/storage.js'
import { noDatabase } from '../lifecycle/home-directory.js'

/** Openings that may find that the file is being replaced, until one gives up. */
const MAX_TRIES = 5

export class DataFile {
  readonly #storage: Storage
  readonly path: string
  readonly region: Region
  readonly locks: LockTable
  readonly identity: FileIdentity

  constructor(storage: Storage, path: string, region: Region, locks: LockTable) {
    this.#storage = storage
    this.path = path
    this.region = region
    this.locks = locks
    this.identity = region.identity()
  }

  /** True if whoever looks for the file finds this very one. */
  isInPlace(): boolean {
    return this.#storage.leadsTo(this.path, this.identity)
  }

  close(): void {
    this.locks.close()
    this.region.close()
  }
}

/** A file of an open database is not where this process looks for it, or is another by its contents. */
export class DisplacedError extends CorruptError {
  constructor(path: string, whatHappened: string, whatToDo: string) {
    super(`Writes are refused: ${path} was ${whatHappened} while the database is open. ${whatToDo}`, { path })
  }
}
export const displaced = (path: string): DisplacedError => new DisplacedError(path, 'removed or replaced', PUT_DATA_BACK)

export const PUT_DATA_BACK =
  'Close the database everywhere and put the file back; what had been acknowledged is in it and in the log.'

export interface DataFileRequest {
  readonly path: string
  readonly region: RegionOptions
  /** The file that it must be. */
  readonly expected: FileIdentity | undefined
  /** Takes the opener's turn, by the locks of the file; throws if it could not be had. */
  readonly takeTurn: (locks: LockTable) => void
}

/** Opens the data file and takes the opener's turn. What fails leaves nothing open and no lock held. */
export function openDataFile(storage: Storage, request: DataFileRequest): DataFile {
  for (let tries = 1; ; tries++) {
    const file = tryToOpen(storage, request, tries === 1)
    if (file !== undefined) return file
    if (tries === MAX_TRIES) throw new LockedError(`${request.path} is being replaced again and again; try again later.`)
  }
}

/** Undefined if the file was replaced meanwhile. */
function tryToOpen(storage: Storage, { path, region: options, expected, takeTurn }: DataFileRequest, mayCreate: boolean): DataFile | undefined {
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
    // Its turn may have been long in coming.
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

/** Throws if the file has another name: what is written by one of them changes what the other stands for, without its log. */
export function refuseHardLinks(storage: Storage, path: string): void {
  const { links } = storage.info(path)
  if (links === undefined || links <= 1) return
  throw new UnsupportedError(
    `${path} has ${links} names (hard links), and may be part of several databases. Remove the other names, or copy it ` +
      'to a file of its own (cp), and open the database again.',
  )
}
