// Finding the header, which says where the tree of a database is: the newest good one of the four header slots.
import type { Region, Storage } from '../../storage/storage.js'
import { advice, CorruptError, NotADatabaseError, VersionError } from '../../errors.js'
import { FIRST_LSN } from '../../wal/lsn.js'
import { segmentName } from '../../wal/segment.js'
import { encodingOf } from '../../encoding/values/codec.js'
import type { Damage } from '../format/damage.js'
import {
  decodeHeader,
  emptyHeader,
  FORMAT_VERSION,
  headerSlots,
  isPartOf,
  looksLikeHeader,
  OLDEST_FORMAT_VERSION,
  type Header,
} from '../format/header.js'
import { HEADER_SLOTS, SLOT_BYTES } from '../format/layout.js'
import { INITIAL_SLOTS } from '../space/growth.js'
import type { DatabasePaths } from './paths.js'

const READABLE = `formats ${OLDEST_FORMAT_VERSION} and ${FORMAT_VERSION}`

/** Throws `VersionError` for what this version of mmapdb cannot read. */
function checkFormat({ version, encodingNo }: Header): void {
  if (version > FORMAT_VERSION) {
    throw new VersionError(
      `The database was written in format ${version}; this version of mmapdb reads ${READABLE}. Update mmapdb.`,
    )
  }
  if (version < OLDEST_FORMAT_VERSION) {
    throw new VersionError(
      `The database was written in format ${version} by an older version of mmapdb; this version reads ${READABLE}. ` +
        'Copy its entries into a new database with a program that uses both versions: docs/operations.md has one.',
    )
  }
  if (encodingOf(encodingNo) === undefined) {
    throw new VersionError(
      `The values of the database are encoded in a way (number ${encodingNo}) that this version of mmapdb does not know. Update mmapdb.`,
    )
  }
}

export interface HeaderSearch {
  readonly header: Header | undefined
  /** What is wrong with each header slot that is not good. */
  readonly damage: readonly Damage[]
  /** True if nothing was ever written to the header slots: the creation of the database was cut short. */
  readonly blank: boolean
}

/** If a process died after writing a header, a later checkpoint may have the same number. */
const isNewer = (a: Header, b: Header): boolean =>
  a.checkpointNumber > b.checkpointNumber || (a.checkpointNumber === b.checkpointNumber && a.lsn > b.lsn)

/**
 * Looks at all four header slots and returns the newest good header. `read`: returns as much of a slot as there is.
 */
export function findHeader(read: (slotNo: number) => Buffer, path: string): HeaderSearch {
  let header: Header | undefined
  let blank = true
  let ours = false
  const damage: Damage[] = []
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
    if (!ours) throw new NotADatabaseError(`${path} is not the data file of a database. ${advice.pathOfDatabase}`)
    throw new CorruptError(`All four headers of ${path} are damaged. ${advice.restoreOrSalvage}`, { slotNo: 0, path })
  }
  return { header, damage, blank }
}

/** The same for a data file that is mapped. If the first headers were written only in part, there is no header. */
export function findHeaderIn(region: Region, storage: Storage, paths: DatabasePaths): HeaderSearch {
  const read = slotReader(region)
  try {
    return findHeader(read, paths.data)
  } catch (error) {
    if (error instanceof VersionError || !isUnborn(region, storage, paths, read)) throw error
    return { header: undefined, damage: [], blank: true }
  }
}

/** Reads header slots before there is a slot space: as much of each as the file has. */
function slotReader(region: Region): (slotNo: number) => Buffer {
  const size = region.sizeBytes()
  const perWindow = region.windowBytes / SLOT_BYTES
  return (slotNo) => {
    const bytes = Math.max(0, Math.min(SLOT_BYTES, size - slotNo * SLOT_BYTES))
    return Buffer.from(region.window(Math.floor(slotNo / perWindow)), (slotNo % perWindow) * SLOT_BYTES, bytes)
  }
}

/**
 * True for a database whose creator died, or lost power, while writing its first headers. All else was on disk
 * before, and nothing but parts of these headers has ever been written to the data file.
 */
function isUnborn(region: Region, storage: Storage, { wal }: DatabasePaths, read: (slotNo: number) => Buffer): boolean {
  const slots = region.sizeBytes() / SLOT_BYTES
  if (slots > INITIAL_SLOTS) return false
  const empty = emptyHeader(Buffer.alloc(16), 0, 0)
  const [first, second] = headerSlots(empty.checkpointNumber)
  for (let slotNo = 0; slotNo < slots; slotNo++) {
    const bytes = read(slotNo)
    const fits =
      slotNo === first || slotNo === second ? isPartOf(empty, slotNo, bytes) : bytes.every((byte) => byte === 0)
    if (!fits) return false
  }
  const names = storage.info(wal).kind === 'directory' ? storage.list(wal) : []
  return names.length === 1 && names[0] === segmentName(FIRST_LSN)
}
