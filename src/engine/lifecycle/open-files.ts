// Opening the directory and the data file of a database, and taking the opener's turn.
import { LockedError } from '../../errors.js'
import { guarded } from '../../storage/errors.js'
import {
  isSameFile,
  type HeldDirectory,
  type LockMode,
  type LockTable,
  type Region,
  type RegionOptions,
  type Storage,
} from '../../storage/storage.js'
import type { ResolvedOptions } from '../options.js'
import type { DataFile } from '../shared/data-file.js'
import { LOCK } from '../shared/lock-bytes.js'
import type { Cleanup } from './cleanup.js'
import { openHome, type ExpectedDatabase } from './home-directory.js'
import { NotNowError, type Patience } from './not-now.js'
import { openDataFile } from './open-data-file.js'
import { checkPath, databasePaths, mayWriteAll, type DatabasePaths } from './paths.js'

/** What a database is opened for: all that its options and this user's rights allow, or less. */
type Purpose = 'as it may be' | 'reading' | 'inspecting'

export interface OpenRequest {
  readonly options: ResolvedOptions
  readonly purpose: Purpose
  readonly patience: Patience
  /** The database that another thread of this process has open: nothing else is opened. */
  readonly expected: ExpectedDatabase | undefined
}

export interface OpenedFiles {
  readonly paths: DatabasePaths
  readonly home: HeldDirectory
  /** Reaches everything in the directory through its descriptor. */
  readonly storage: Storage
  readonly dataFile: DataFile
  readonly locks: LockTable
  /** The data file as it is mapped; in this process's own memory if `isPrivate`. */
  readonly region: Region
  /** The files are not to be written. */
  readonly onlyReads: boolean
  readonly isPrivate: boolean
  readonly isOnlooker: boolean
}

type MappingOptions = Pick<RegionOptions, 'reserveBytes' | 'windowBytes' | 'readAheadBytes'>

/** Opens the files, and creates what is missing if the options say so. If it throws, nothing has changed. */
export function openFiles(world: Storage, request: OpenRequest, cleanup: Cleanup): OpenedFiles {
  const { options, purpose, patience, expected } = request
  const paths = databasePaths(options.path)
  const home = guarded('Opening the database', () => openHome(world, options, expected))
  cleanup.defer(() => home.close())
  const { storage } = home
  const found =
    expected?.data !== undefined ? 'exists' : guarded('Opening the database', () => checkPath(storage, paths, options))
  const onlyReads = purpose !== 'as it may be' || (options.readOnly && !mayWriteAll(storage, paths))
  const mapping: MappingOptions = {
    reserveBytes: options.reserveBytes,
    windowBytes: options.windowBytes,
    readAheadBytes: options.readAheadBytes,
  }
  const dataFile = guarded('Opening the data file', () =>
    openDataFile(storage, {
      path: paths.data,
      region: { ...mapping, mode: 'shared', create: found === 'missing' && !onlyReads, readOnly: onlyReads },
      expected: expected?.data,
      takeTurn: (locks) =>
        takeTurn(locks, onlyReads ? 'shared' : 'exclusive', patience.forOthers ? options.timeoutMs : 0, options),
    }),
  )
  cleanup.defer(() => dataFile.close())
  const { locks } = dataFile
  const isInUse = onlyReads && locks.isHeldByOther(LOCK.ATTACHED, 'exclusive')
  if (purpose === 'inspecting' && isInUse)
    throw new LockedError(`The database at ${options.path} is open elsewhere. Close it there, and try again.`)
  const isPrivate = onlyReads && !isInUse
  const region = isPrivate ? openPrivately(storage, dataFile, mapping) : dataFile.region
  cleanup.defer(() => region.close())
  return { paths, home, storage, dataFile, locks, region, onlyReads, isPrivate, isOnlooker: isInUse }
}

function takeTurn(locks: LockTable, mode: LockMode, waitMs: number, { path, timeoutMs }: ResolvedOptions): void {
  if (locks.lock(LOCK.OPEN, mode, waitMs)) return
  const message =
    `The database at ${path} is still being opened, recovered or closed by another thread or process after ` +
    `${timeoutMs} ms. Try again later, or allow more time with timeoutMs.`
  throw waitMs === 0 ? new NotNowError('others', message) : new LockedError(message)
}

/** Maps the file again, so that what is stored in it stays in this process's own memory. */
function openPrivately(storage: Storage, { path, identity }: DataFile, mapping: MappingOptions): Region {
  return guarded('Opening the data file', () => {
    const region = storage.openRegion(path, { ...mapping, mode: 'private' })
    if (isSameFile(region.identity(), identity)) return region
    region.close()
    throw new LockedError(`${path} is being replaced. Try again later.`)
  })
}
