// Directories that were copied while the database was open (cp, rsync, tar). Their files are of different moments:
// each was read at another time, while all of them were written. On a quiet day such a copy is whole; otherwise it
// may be damaged, or older or newer in parts. What tells of it:
//
//   - `control` says which file it is, by its inode. In a copy it is another file. A clean close empties it; so if
//     it says that the database is open, and is another file, this is a copy of a database that was open, or that a
//     crash had left. The latter is nothing bad, so that this is a warning (`copiedWhileOpen`) and no error.
//   - The log never ends before what the header of the data file includes: a checkpoint flushes it first. If it does,
//     the log is older than the data file. If it is behind by whole segments, their headers show it. For a directory
//     that is known to be a copy, the last segment is read, too.
//   - The log begins no later than what the header includes; if it does, recovery finds no segment to start from.
//   - Slots that are newer than the header are found when they are first touched (slot-checker.ts), and by `verify`.
import { advice, CorruptError } from '../../errors.js'
import type { Storage } from '../../storage/storage.js'
import type { Log, OpenSegment } from '../../wal/log.js'
import { classifyEnd } from '../../wal/log-end.js'
import { LogReader } from '../../wal/log-reader.js'
import type { Header } from '../format/header.js'
import { IDENTITY_BYTES, inodeInControl } from '../shared/control.js'
import type { DatabasePaths } from './paths.js'

/** True if the directory is a copy of a database that was open, or that a crash had left. */
export function wasCopiedWhileOpen(storage: Storage, { control: path }: DatabasePaths): boolean {
  const { kind, sizeBytes } = storage.info(path)
  if (kind !== 'file' || sizeBytes < IDENTITY_BYTES) return false
  const file = storage.openFile(path, 'read')
  try {
    const bytes = Buffer.alloc(IDENTITY_BYTES)
    if (file.read(bytes, 0, bytes.length, 0) < bytes.length) return false
    const recorded = inodeInControl(bytes)
    // The number of a device may change when the machine starts again.
    return recorded !== undefined && recorded !== file.identity().inode
  } finally {
    file.close()
  }
}

/** Throws `CorruptError` if the log ends before what the header includes. `isCopy`: read its last segment, too. */
export function checkLogReaches(log: Log, { lsn }: Header, isCopy: boolean): void {
  const newest = newestSegment(log)
  // Without any, recovery says what is missing; and it goes on in a segment that was being made when all ended.
  if (newest === undefined || newest.startLsn >= lsn || log.starts().at(-1)! > newest.startLsn) return
  const endsBefore = newest.header.limitLsn < lsn || (isCopy && isOver(log, newest, lsn))
  if (!endsBefore) return
  throw new CorruptError(
    `The data file is newer than the log: it includes the log up to LSN ${lsn}, and the log ends before that. The ` +
      `files were copied at different moments, or put together from different copies. ${advice.restore}`,
    { path: newest.path, lsn },
  )
}

function newestSegment(log: Log): OpenSegment | undefined {
  for (const start of log.starts().reverse()) {
    const segment = log.segment(start)
    if (segment !== undefined) return segment
  }
  return undefined
}

/**
 * True if the frames of a segment end before `lsn`. Frames there that are damaged are no end: the tree has what they
 * say, and nobody needs them.
 */
function isOver(log: Log, { startLsn }: OpenSegment, lsn: Header['lsn']): boolean {
  const reader = new LogReader(log, startLsn)
  while (reader.position < lsn && reader.next(lsn));
  if (reader.position >= lsn) return false
  try {
    return classifyEnd(log, reader.position, log.segment(startLsn)).tornBytes === 0
  } catch (error) {
    if (error instanceof CorruptError) return false
    throw error
  }
}
