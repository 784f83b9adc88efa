// What a database directory holds, and what may stand in the way of opening one.
import { basename, join } from 'node:path'
import { advice, CorruptError, type MmapdbError, NotADatabaseError } from '../../errors.js'
import type { Storage } from '../../storage/storage.js'
import { SEGMENT_HEADER_BYTES } from '../../wal/segment.js'
import { noDatabase } from './home-directory.js'

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
export function checkPath(
  storage: Storage,
  paths: DatabasePaths,
  options: { createIfMissing: boolean },
): 'exists' | 'missing' {
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
  const link = [data, wal, control]
    .map((path) => basename(path))
    .find((name) => names.includes(name) && storage.info(join(directory, name)).kind === 'missing')
  if (link !== undefined)
    return new NotADatabaseError(`${directory} is not a database: "${link}" in it is a link that leads nowhere.`)
  const others = names.filter((name) => !OURS.has(name))
  if (others.length > 0) {
    return new NotADatabaseError(`${directory} is not a database: it holds other files and no file named "data".`)
  }
  const { kind } = storage.info(wal)
  if (kind === 'file' || kind === 'other')
    return new NotADatabaseError(`${directory} is not a database: "wal" in it is not a directory.`)
  if (kind === 'directory' && storage.list(wal).length > 0) {
    return new CorruptError(`${directory} has a log but no data file. ${advice.restore}`, {
      path: data,
    })
  }
  return undefined
}

/** True if there is nothing there yet, or a log that a clean close cut down to one empty segment. */
export function isQuickToOpen(storage: Storage, { data, wal }: DatabasePaths): boolean {
  if (storage.info(data).sizeBytes === 0) return true
  const segments = storage.info(wal).kind === 'directory' ? storage.list(wal) : []
  return segments.length === 1 && storage.info(`${wal}/${segments[0]}`).sizeBytes <= SEGMENT_HEADER_BYTES
}
