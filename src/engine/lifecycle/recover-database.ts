// What the first opener does, whatever happened before: it makes a new `control` from the newest good header, makes
// sure that this header is on disk, and replays the log (recovery.ts).
import { CorruptError, logMissing } from '../../errors.js'
import { guarded } from '../../storage/errors.js'
import { isSameFile, StorageError } from '../../storage/storage.js'
import { flushed } from '../../wal/flush.js'
import { encodeHeader, headerSlots, NO_HEADER, type Header } from '../format/header.js'
import { SLOT_BYTES } from '../format/layout.js'
import type { EngineParts } from '../parts.js'
import { displaced } from '../shared/data-file.js'
import { keepFreeList } from '../space/free-list.js'
import { appendMakingRoom } from '../checkpoint/make-room.js'
import { checkLogReaches } from './copied.js'
import type { HeaderSearch } from './find-header.js'
import { formatControl } from './format-control.js'
import { databasePaths } from './paths.js'
import { recover, type RecoveryReport } from './recovery.js'
import { FrameBuilder } from '../../wal/frame-builder.js'

/** Recovers a database that is open nowhere else. `isCopy`: see copied.ts. */
export function recoverDatabase(parts: EngineParts, search: HeaderSearch, isCopy: boolean): RecoveryReport {
  const header = search.header!
  return guarded('Recovering the database', () => {
    const { options, space, checker, checkpointer, isPrivate, storage } = parts
    if (!isPrivate && !options.readOnly) removeCompacted(parts)
    const twins = headerSlots(header.checkpointNumber)
    const freeListDamage = formatControl(parts, header)
    checkLogBelongs(parts, header)
    checkLogReaches(parts.log, header, isCopy)
    if (isPrivate && freeListDamage === undefined) keepFreeList(space, checker, header)
    if (!isPrivate) settleHeader(parts, header)
    const report = recover({
      ...parts,
      header,
      readOnly: options.readOnly,
      copiedWhileOpen: isCopy,
      headersDamaged: search.damage.filter(({ slotNo, why }) => why !== NO_HEADER || twins.includes(slotNo)).length,
      freeListDamage,
      recordOutcomes: () => parts.committer.recordOutcomes(),
      checkpoint: isPrivate ? undefined : () => checkpointer.run({ wait: true }),
      monotonicMs: () => storage.monotonicMs(),
    })
    if (freeListDamage !== undefined && !report.needed && !options.readOnly) checkpointUnchanged(parts)
    return report
  })
}

/** What a compaction that was cut short has left: no other can be under way. It harms nobody if it stays. */
function removeCompacted({ storage, options }: EngineParts): void {
  const { compacted } = databasePaths(options.path)
  try {
    if (storage.info(compacted).kind !== 'missing') storage.unlink(compacted)
  } catch (error) {
    if (!(error instanceof StorageError)) throw error
  }
}

/**
 * Makes sure that the header which recovery starts from is on disk, in both its slots: from here on recovery writes
 * over what the checkpoint before it reached. The process that wrote this header may have died before flushing it;
 * or its flush failed, and the kernel shows a page that it has given up and will not write again. So the same header
 * is written again, and flushed with all else that a dead writer left dirty.
 */
function settleHeader({ storage, dataFile: { path, identity } }: EngineParts, header: Header): void {
  const file = storage.openFile(path, 'write')
  try {
    if (!isSameFile(file.identity(), identity)) throw displaced(path)
    for (const slot of headerSlots(header.checkpointNumber)) {
      file.write(encodeHeader(header, slot), 0, SLOT_BYTES, slot * SLOT_BYTES)
    }
    flushed('Flushing the header', () => file.flush())
  } finally {
    file.close()
  }
}

function checkLogBelongs({ storage, log }: EngineParts, { uuid }: Header): void {
  const { directory } = log
  if (storage.info(directory).kind !== 'directory') {
    throw logMissing(directory)
  }
  for (const start of log.starts()) {
    const segment = log.segment(start)
    if (segment === undefined || segment.header.uuid.equals(uuid)) continue
    throw new CorruptError(
      `The log does not belong to the data file: ${segment.path} is part of another database. ` +
        'Put the wal directory and the data file of the same database together.',
      { path: segment.path },
    )
  }
}

/** Makes a checkpoint although nothing was written since the last one: an empty frame gives it an LSN of its own. */
function checkpointUnchanged(parts: EngineParts): void {
  parts.committer.catchUp(appendMakingRoom(parts, new FrameBuilder().frame()))
  parts.checkpointer.run({ wait: true })
}
