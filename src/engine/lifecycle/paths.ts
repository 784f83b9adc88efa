// What a database directory holds, and what may prevent opening one.
import { basename, join } from 'node:path'
import { advice, CorruptError, type MmapdbError, NotADatabaseError } from '../../errors.js'
import type { Storage } from '../../storage/storage.js'
import { CLOSED_BYTES } from '../../wal/log.js'
import type { Lsn } from '../../wal/lsn.js'
import { filePosition, segmentName, segmentStart } from '../../wal/segment.js'
import { noDatabase } from './home-directory.js'

export interface DatabasePaths {
  readonly directory: string
  readonly data: string
  readonly wal: string
  readonly control: string
  /** The table of record locks. */
  readonly locks: string
  /** What a compaction writes, which becomes the data file; the next first opener removes what a crash leaves of it. */
  readonly compacted: string
}

export const databasePaths = (directory: string): DatabasePaths => ({
  directory,
  data: join(directory, 'data'),
  wal: join(directory, 'wal'),
  control: join(directory, 'control'),
  locks: join(directory, 'locks'),
  compacted: join(directory, 'data.unfinished'),
})

/** What may be there before there is a data file. A creation that was cut short leaves `wal.new`. */
const OURS = new Set(['wal', 'wal.new', 'control', 'locks'])

/** True if this user has the rights to have the database open for writing, and to recover it. */
export const mayWriteAll = (storage: Storage, { directory, data, wal, control }: DatabasePaths): boolean =>
  [directory, data, wal, control].every((path) => storage.info(path).kind === 'missing' || storage.mayWrite(path))

/** Throws if the directory holds something that cannot be a database, or none and none may be created. */
export function checkPath(
  storage: Storage,
  paths: DatabasePaths,
  options: { createIfMissing: boolean },
): 'exists' | 'missing' {
  const { directory, data } = paths
  const { kind } = storage.info(data)
  if (kind === 'file') return 'exists'
  if (kind !== 'missing')
    throw new NotADatabaseError(`${directory} is not a database: "data" in it is not a file. ${advice.pathOfDatabase}`)
  const why = reasonNotToCreate(storage, paths) ?? (options.createIfMissing ? undefined : noDatabase(directory))
  if (why === undefined) return 'missing'
  // No lock is held here: another process may have created what was found, after the look for "data".
  if (storage.info(data).kind === 'file') return 'exists'
  throw why
}

/** Why no database may be created in a directory that has no data file; undefined if one may. */
function reasonNotToCreate(
  storage: Storage,
  { directory, data, wal, control }: DatabasePaths,
): MmapdbError | undefined {
  const names = storage.list(directory)
  // Creating what a dangling link leads to would create it in a place that its author chose.
  const link = [data, wal, control]
    .map((path) => basename(path))
    .find((name) => names.includes(name) && storage.info(join(directory, name)).kind === 'missing')
  if (link !== undefined)
    return new NotADatabaseError(
      `${directory} is not a database: "${link}" in it is a link to something that does not exist. ${advice.pathOfDatabase}`,
    )
  const others = names.filter((name) => !OURS.has(name))
  if (others.length > 0) {
    return new NotADatabaseError(
      `${directory} is not a database: it holds other files and no file named "data". ${advice.pathOfDatabase}`,
    )
  }
  const { kind } = storage.info(wal)
  if (kind === 'file' || kind === 'other')
    return new NotADatabaseError(
      `${directory} is not a database: "wal" in it is not a directory. ${advice.pathOfDatabase}`,
    )
  if (kind === 'directory' && storage.list(wal).length > 0) {
    return new CorruptError(`${directory} has a log but no data file. ${advice.restore}`, {
      path: data,
    })
  }
  return undefined
}

/** True if no more of the log can follow the checkpoint at `lsn` than a clean close leaves. */
export function isLogShort(storage: Storage, { wal }: DatabasePaths, lsn: Lsn): boolean {
  const names = storage.info(wal).kind === 'directory' ? storage.list(wal) : []
  // Names in hexadecimal are in the order of their numbers; there may be more than a call takes as arguments.
  const newest = segmentStart(names.sort().findLast((name) => segmentStart(name) !== undefined) ?? '')
  if (newest === undefined || newest > lsn) return false
  return storage.info(join(wal, segmentName(newest))).sizeBytes - filePosition(newest, lsn) <= CLOSED_BYTES
}
