// What a database directory holds, what may stand in the way of opening one, and the header that
// says where its tree is.
import { basename, join } from 'node:path'
import { CorruptError, type MmapdbError, NotADatabaseError, VersionError } from '../../errors.js'
import type { Storage } from '../../storage/storage.js'
import { SEGMENT_HEADER_BYTES } from '../../wal/segment.js'
import { decodeHeader, FORMAT_VERSION, looksLikeHeader, type Header } from '../format/header.js'
import { noDatabase } from './home-directory.js'
import { HEADER_SLOTS, SLOT_BYTES } from '../format/layout.js'
import { encodingOf } from '../../encoding/values/codec.js'

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

/** Whether this user may do all that having a database open, or recovering it, takes. */
export const mayWriteAll = (storage: Storage, { directory, data, wal, control }: DatabasePaths): boolean =>
  [directory, data, wal, control].every((path) => storage.info(path).kind === 'missing' || storage.mayWrite(path))

/** Throws if what lies in the directory cannot be a database, or is none and may not become one. */
export function checkPath(storage: Storage, paths: DatabasePaths, options: { createIfMissing: boolean }): 'exists' | 'missing' {
  const { directory, data } = paths
  const { kind } = storage.info(data)
  if (kind === 'file') return 'exists'
  if (kind !== 'missing') throw new NotADatabaseError(`${directory} is not a database: "data" in it is not a file.`)
  const why = whyNoneMayBegin(storage, paths) ?? (options.createIfMissing ? undefined : noDatabase(directory))
  if (why === undefined) return 'missing'
  // Nobody holds a lock here: what was found may be what another process has created since "data" was looked for.
  if (storage.info(data).kind === 'file') return 'exists'
  throw why
}

/** What speaks against creating a database in a directory that has no data file. */
function whyNoneMayBegin(storage: Storage, { directory, data, wal, control }: DatabasePaths): MmapdbError | undefined {
  const names = storage.list(directory)
  // Whoever created what it leads to would do so in a place of somebody else's choice.
  const link = [data, wal, control].map((path) => basename(path)).find((name) => names.includes(name) && storage.info(join(directory, name)).kind === 'missing')
  if (link !== undefined) return new NotADatabaseError(`${directory} is not a database: "${link}" in it is a link that leads nowhere.`)
  const others = names.filter((name) => !OURS.has(name))
  if (others.length > 0) {
    return new NotADatabaseError(`${directory} is not a database: it holds other files and no file named "data".`)
  }
  const { kind } = storage.info(wal)
  if (kind === 'file' || kind === 'other') return new NotADatabaseError(`${directory} is not a database: "wal" in it is not a directory.`)
  if (kind === 'directory' && storage.list(wal).length > 0) {
    return new CorruptError(
      `${directory} has a log but no data file. Restore the database from a backup.`,
      { path: data },
    )
  }
  return undefined
}

/** True if there is nothing there yet, or a log that a clean close cut down to one empty segment. */
export function isQuickToOpen(storage: Storage, { data, wal }: DatabasePaths): boolean {
  if (storage.info(data).sizeBytes === 0) return true
  const segments = storage.info(wal).kind === 'directory' ? storage.list(wal) : []
  return segments.length === 1 && storage.info(`${wal}/${segments[0]}`).sizeBytes <= SEGMENT_HEADER_BYTES
}

/** Throws `VersionError` for what this version of mmapdb cannot read. */
function checkFormat({ version, encodingNo }: Header): void {
  if (version > FORMAT_VERSION) {
    throw new VersionError(`The database was written in format ${version}; this version of mmapdb reads format ${FORMAT_VERSION}. Update mmapdb.`)
  }
  if (version < FORMAT_VERSION) {
    throw new VersionError(
      `The database was written in format ${version} by an older version of mmapdb; this one reads format ${FORMAT_VERSION}. ` +
        'Print it with that version (mmapdb scan --json), and load that into a new database with this one.',
    )
  }
  if (encodingOf(encodingNo) === undefined) {
    throw new VersionError(`The values of the database are encoded in a way (number ${encodingNo}) that this version of mmapdb does not know. Update mmapdb.`)
  }
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
  if (header !== undefined) checkFormat(header)
  if (header === undefined && !blank) {
    if (!ours) throw new NotADatabaseError(`${path} is not the data file of a database.`)
    throw new CorruptError(
      `All four headers of ${path} are damaged. Restore the database from a backup, or run "mmapdb recover --salvage OUT".`,
      { slotNo: 0, path },
    )
  }
  return { header, damage, blank }
}

