// What a database directory holds, what may stand in the way of opening one, and the header that
// says where its tree is.
import { join } from 'node:path'
import { CorruptError, NotADatabaseError, NotFoundError, UnsupportedError, VersionError } from '../errors.js'
import type { Storage } from '../storage/storage.js'
import { decodeHeader, FORMAT_VERSION, looksLikeHeader, type Header } from './header.js'
import { HEADER_SLOTS, SLOT_BYTES } from './layout.js'

export interface DatabasePaths {
  readonly directory: string
  readonly data: string
  readonly wal: string
  readonly control: string
}

export const databasePaths = (directory: string): DatabasePaths => ({
  directory,
  data: join(directory, 'data'),
  wal: join(directory, 'wal'),
  control: join(directory, 'control'),
})

/** What may lie there before there is a data file: `wal.new` is left by a creation that was cut short. */
const OURS = new Set(['wal', 'wal.new', 'control'])

/**
 * The data file as this thread has opened it. Removed or replaced while it is open, it goes on working
 * for those who have it, locks and all, and nobody else will ever find what is written there; and
 * whoever opens what has taken its place knows nothing of those who run on. So it is looked for once
 * more before anything is acknowledged: one statx(2) for the data file, one for the segment.
 */
export class OpenDataFile {
  readonly #storage: Storage
  readonly path: string
  readonly #id: number

  constructor(storage: Storage, path: string) {
    this.#storage = storage
    this.path = path
    this.#id = storage.fileId(path)
  }

  /** True if whoever looks for the file finds this very one. */
  isInPlace(): boolean {
    return this.#storage.fileId(this.path) === this.#id
  }
}

/** Throws if what lies at the path cannot be a database, or is none and may not become one. */
export function checkPath(
  storage: Storage,
  paths: DatabasePaths,
  options: { createIfMissing: boolean; allowNetworkFileSystem: boolean },
): 'exists' | 'missing' {
  const { directory, data } = paths
  const at = storage.info(directory)
  if (at.kind === 'file' || at.kind === 'other') {
    throw new NotADatabaseError(`${directory} is a file; a database is a directory. Give the path of the directory.`)
  }
  if (at.kind === 'directory' && !options.allowNetworkFileSystem) {
    const fs = storage.fileSystem(directory)
    if (fs.networked) {
      throw new UnsupportedError(
        `${directory} lies on a network file system (${fs.name}), where neither mappings nor locks are reliable. ` +
          'Put the database on a local disk, or pass { allowNetworkFileSystem: true } if only one machine ever uses it.',
      )
    }
  }
  if (at.kind === 'directory' && storage.info(data).kind === 'file') return 'exists'
  const others = at.kind === 'directory' ? storage.list(directory).filter((name) => !OURS.has(name)) : []
  if (others.length > 0) {
    throw new NotADatabaseError(`${directory} is not a database: it holds other files and no file named "data".`)
  }
  if (at.kind === 'directory' && storage.info(paths.wal).kind === 'directory' && storage.list(paths.wal).length > 0) {
    throw new CorruptError(
      `${directory} has a log but no data file. Restore the database from a backup.`,
      { path: data },
    )
  }
  if (!options.createIfMissing) {
    throw new NotFoundError(`There is no database at ${directory}. Check the path, or create one by opening it for writing.`)
  }
  return 'missing'
}

export interface HeaderSearch {
  readonly header: Header | undefined
  /** What is wrong with each header slot that is not good. */
  readonly damage: { slotNo: number; why: string }[]
  /** True if nothing was ever written there: a database whose creation was cut short. */
  readonly blank: boolean
}

/** A checkpoint whose maker died after writing a header may have been made again under the same number. */
const isNewer = (a: Header, b: Header): boolean =>
  a.checkpointNumber > b.checkpointNumber || (a.checkpointNumber === b.checkpointNumber && a.lsn > b.lsn)

/** Looks at all four header slots and takes the newest good one. `read`: as much of a slot as there is. */
export function findHeader(read: (slotNo: number) => Buffer, path: string): HeaderSearch {
  let header: Header | undefined
  let blank = true
  let ours = false
  const damage: { slotNo: number; why: string }[] = []
  for (let slotNo = 0; slotNo < HEADER_SLOTS; slotNo++) {
    const bytes = read(slotNo)
    if (bytes.some((byte) => byte !== 0)) blank = false
    ours ||= looksLikeHeader(bytes)
    const found = bytes.length < SLOT_BYTES ? 'the file ends before it' : decodeHeader(bytes, slotNo)
    if (typeof found === 'string') damage.push({ slotNo, why: found })
    else if (header === undefined || isNewer(found, header)) header = found
  }
  if (header !== undefined && header.version > FORMAT_VERSION) {
    throw new VersionError(
      `The database was written in format ${header.version}; this version of mmapdb reads up to ${FORMAT_VERSION}. Update mmapdb.`,
    )
  }
  if (header === undefined && !blank) {
    if (!ours) throw new NotADatabaseError(`${path} is not the data file of a database.`)
    throw new CorruptError(
      `All four headers of ${path} are damaged. Restore the database from a backup, or run "mmapdb recover --salvage OUT".`,
      { slotNo: 0, path },
    )
  }
  return { header, damage, blank }
}

