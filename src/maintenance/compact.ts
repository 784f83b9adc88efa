// Compacting a database that is closed everywhere: its data file is written again with full leaves in the order of
// their keys and without free slots, beside the old one, and takes its place when it is on disk.
//
//                                                        What a crash there leaves:
//   1. the database is opened and closed: what a crash     what any crash leaves while a database is opened or
//      had left is recovered, and the log has nothing      closed
//      that the tree has not
//   2. the open lock and, alone, the attached lock are      nothing
//      acquired: no opener gets in from here on
//   3. the new data file is written as data.unfinished,    the old file, and data.unfinished, which the next
//      flushed, read back, given its headers, flushed       first opener removes
//   4. control is removed, and it is renamed to data       either file under that name: both are whole, and
//   5. the directory is flushed                            hold the same. The next first opener finds no control
//                                                          and flushes the directory before it recycles any log
//
// Both files have the same UUID and LSN, so the log goes on after either. The headers of the new one have the number
// of a later checkpoint.
//
// The locks are on the old file. Who opens the new one after step 4 needs none of them. Who waits for the lock of the
// old one sees that the name leads elsewhere by then, and starts again (open-data-file.ts). Readers who have replayed
// the log in their own memory keep the old file, which has no name any more, until they end.
import { LockedError } from '../errors.js'
import { StorageError, type LockTable, type Storage } from '../storage/storage.js'
import { LogReader } from '../wal/log-reader.js'
import { NO_LIMIT } from '../wal/lsn.js'
import { Engine } from '../engine/engine.js'
import { NO_TRASH, type Header } from '../engine/format/header.js'
import { SLOT_BYTES, type SlotNo } from '../engine/format/layout.js'
import { databasePaths, type DatabasePaths } from '../engine/lifecycle/paths.js'
import { unsettleNames } from '../engine/lifecycle/settle-names.js'
import { resolveOptions, type OpenOptions, type ResolvedOptions } from '../engine/options.js'
import { LOCK } from '../engine/shared/lock-bytes.js'
import { TreeBuilder } from '../engine/tree/tree-builder.js'
import { EntryDigest, FileTree, headerIn } from './file-tree.js'
import { logToRead } from './lineage.js'
import type { CompactReport } from './reports.js'
import { SlotFile } from './slot-file.js'
import { guardedSteps, type Steps } from './steps.js'

/** A step copies this many slots. */
const STEP_SLOTS = 256

/**
 * Compacts the database at `path`. Throws `LockedError` while it is open anywhere, `NotFoundError`, `CorruptError`,
 * `FullError` (it needs as much room as what it writes), ... The database is as it was then.
 * @internal
 */
export const compact = (storage: Storage, path: string, options: OpenOptions): Steps<CompactReport> =>
  guardedSteps(
    'Compacting the database',
    compactAt(storage, resolveOptions(path, { ...options, workers: 0, createIfMissing: false })),
  )

function* compactAt(storage: Storage, options: ResolvedOptions): Steps<CompactReport> {
  const startedMs = storage.monotonicMs()
  const paths = databasePaths(options.path)
  refuseIfOpen(storage, paths)
  Engine.open(options, storage).close()
  const locks = storage.openLocks(paths.data)
  try {
    lockAlone(locks, paths)
    const header = headerIn(storage, paths)
    assertClosed(storage, paths, locks, header)
    const bytesBefore = storage.info(paths.data).sizeBytes
    const compacted = yield* writeCompacted(storage, paths, header, options)
    storage.flushDirectory(paths.directory)
    return {
      entries: compacted.entries - compacted.internalEntries,
      bytesBefore,
      bytesAfter: compacted.nextSlot * SLOT_BYTES,
      durationMs: storage.monotonicMs() - startedMs,
    }
  } finally {
    locks.close()
  }
}

const openElsewhere = ({ directory }: DatabasePaths): LockedError =>
  new LockedError(`The database at ${directory} is open elsewhere. Close it everywhere before you compact it.`)

/** Without waiting for anybody. */
function refuseIfOpen(storage: Storage, paths: DatabasePaths): void {
  if (storage.info(paths.data).kind !== 'file') return
  const locks = storage.openLocks(paths.data)
  try {
    if (locks.isHeldByOther(LOCK.ATTACHED, 'exclusive')) throw openElsewhere(paths)
  } finally {
    locks.close()
  }
}

function lockAlone(locks: LockTable, paths: DatabasePaths): void {
  if (!locks.tryLock(LOCK.OPEN, 'exclusive') || !locks.tryLock(LOCK.ATTACHED, 'exclusive')) throw openElsewhere(paths)
}

/** Throws if another process has opened the database since it was closed here, and left it. */
function assertClosed(storage: Storage, paths: DatabasePaths, locks: LockTable, { uuid, lsn }: Header): void {
  const log = logToRead(storage, paths.wal, uuid)
  try {
    const isClosed = storage.leadsTo(paths.data, locks.identity()) && !new LogReader(log, lsn).next(NO_LIMIT)
    if (!isClosed) throw new LockedError(`Another process has used the database at ${paths.directory}. Try again.`)
  } finally {
    log.close()
  }
}

/** Steps 3 and 4. Returns the header of the new file. If it throws, the new file is gone. */
function* writeCompacted(
  storage: Storage,
  paths: DatabasePaths,
  header: Header,
  options: ResolvedOptions,
): Steps<Header> {
  const path = paths.compacted
  const file = storage.openFile(path, 'create', paths.data)
  let isDone = false
  try {
    file.truncate(0)
    const out = new SlotFile(file)
    const { compacted, digest } = yield* copyEntries(storage, paths, header, options, out)
    const tree = new FileTree(storage, path, compacted, options)
    try {
      for (const done of tree.verify(digest)) yield { phase: 'verifying', done, total: header.entries }
    } finally {
      tree.close()
    }
    out.writeHeader(compacted)
    unsettleNames(storage, paths)
    storage.rename(path, paths.data)
    isDone = true
    return compacted
  } finally {
    file.close()
    if (!isDone) removeIfPossible(storage, path)
  }
}

/** If it is not, the next compaction writes over it. */
function removeIfPossible(storage: Storage, path: string): void {
  try {
    storage.unlink(path)
  } catch (error) {
    if (!(error instanceof StorageError)) throw error
  }
}

function* copyEntries(
  storage: Storage,
  { data }: DatabasePaths,
  header: Header,
  options: ResolvedOptions,
  out: SlotFile,
): Steps<{ readonly compacted: Header; readonly digest: number }> {
  const source = new FileTree(storage, data, header, options)
  try {
    const digest = new EntryDigest()
    const builder = new TreeBuilder(header.lsn, (slot) => out.add(slot))
    let done = 0
    let stepSlots = 0
    for (const leaf of source.leaves()) {
      digest.addLeaf(leaf)
      for (let i = 0; i < leaf.count; i++)
        builder.add(leaf, i, leaf.overflows(i) ? source.overflowValue(leaf, i) : undefined)
      done += leaf.count
      if (builder.slots < stepSlots + STEP_SLOTS) continue
      stepSlots = builder.slots
      out.flush()
      yield { phase: 'copying', done, total: header.entries }
    }
    const built = builder.finish()
    out.flush()
    const checkpointNumber = header.checkpointNumber + 1
    const compacted = {
      ...header,
      ...built,
      ...NO_TRASH,
      checkpointNumber,
      freeListHead: 0 as SlotNo,
      freeListSlots: 0,
    }
    return { compacted, digest: digest.value }
  } finally {
    source.close()
  }
}
