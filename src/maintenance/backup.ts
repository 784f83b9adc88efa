// A backup: a copy of one moment of a database, made beside readers and writers. It holds a snapshot, copies the
// entries of that into new slots in the order of their keys (engine/tree/tree-builder.ts), reads the copy back, and
// gives it its name when all of it is on disk (unfinished.ts says what a crash leaves).
//
// What the copy is: the same entries with the same versions, in the same encoding; its LSN is that of the snapshot;
// its log is empty and goes on from there. It is a database of its own: backup-record.ts says why.
//
// Verified means: every slot and value of the copy has been read back and is sound, the tree is in order, and a
// digest over all keys, versions and values is that of what was read from the source.
import { guarded } from '../storage/errors.js'
import type { Storage } from '../storage/storage.js'
import type { Lsn } from '../wal/lsn.js'
import type { Engine } from '../engine/engine.js'
import { NO_TRASH, type Header } from '../engine/format/header.js'
import { SLOT_BYTES } from '../engine/format/layout.js'
import { findHeaderIn } from '../engine/lifecycle/find-header.js'
import { databasePaths } from '../engine/lifecycle/paths.js'
import type { EngineSnapshot } from '../engine/read/snapshot.js'
import { STATE } from '../engine/shared/control.js'
import { TreeBuilder } from '../engine/tree/tree-builder.js'
import { writeRecord, type BackupRecord } from './backup-record.js'
import { EntryDigest, FileTree } from './file-tree.js'
import { momentOf } from './lineage.js'
import type { BackupReport } from './reports.js'
import { SlotFile } from './slot-file.js'
import { guardedSteps, type Steps } from './steps.js'
import { checkTarget, makeEmptyLog, Unfinished } from './unfinished.js'

/** A step copies this many slots or entries, or a longer value. */
const STEP_SLOTS = 256
const STEP_ENTRIES = 4096
/** The first checkpoint of a database is its creation. */
const CHECKPOINT_NUMBER = 1

/**
 * Makes a backup at `target`, an absolute path. Throws `ExistsError` if something is there, `InvalidError`,
 * `NotFoundError`, `LockedError` (another backup is being made there), `FullError`, `CorruptError` (a slot of the
 * database cannot be read, or the copy is not what it should be), `ExpiredError`, ... Nothing is left then.
 * @internal
 */
export const backup = (engine: Engine, target: string): Steps<BackupReport> =>
  guardedSteps('Making a backup', backUp(engine, target))

function* backUp(engine: Engine, target: string): Steps<BackupReport> {
  const { storage, options } = engine.parts
  engine.parts.openState.assertOpen()
  const startedMs = storage.monotonicMs()
  const paths = databasePaths(options.path)
  checkTarget(storage, target, [options.path])
  const unfinished = Unfinished.claim(storage, target, paths)
  let isDone = false
  try {
    const snapshot = engine.snapshot()
    let made: Copied
    let record: BackupRecord
    try {
      record = yield* recordOf(engine, snapshot)
      made = yield* copyTree(engine, snapshot, new SlotFile(unfinished.file), Buffer.from(record.uuid, 'hex'))
    } finally {
      snapshot.close()
    }
    const { digest } = made
    // Or later: what the log of the source no longer says is gone for followers of the copy, too.
    const changedLsn = Math.max(made.header.changedLsn, record.lastFrame?.lsn ?? 0)
    const header = { ...made.header, changedLsn }
    yield* checkCopy(storage, unfinished.paths.data, header, digest, options)
    finish(storage, unfinished, header, record)
    unfinished.publish()
    isDone = true
    return {
      path: target,
      lsn: header.lsn,
      entries: header.entries - header.internalEntries,
      bytes: header.nextSlot * SLOT_BYTES,
      durationMs: storage.monotonicMs() - startedMs,
    }
  } finally {
    if (!isDone) unfinished.discard()
  }
}

interface Copied {
  readonly header: Header
  /** Of the entries as they were read from the source. */
  readonly digest: number
}

function* recordOf({ parts }: Engine, snapshot: EngineSnapshot): Steps<BackupRecord> {
  const { storage, log } = parts
  const { lsn, state } = snapshot
  const takenMs = storage.now()
  const { segment, lastFrame } = yield* momentOf(storage, log, lsn as Lsn)
  return {
    uuid: Buffer.from(storage.randomBytes(16)).toString('hex'),
    lsn,
    timeMs: lastFrame?.timeMs ?? takenMs,
    entries: state[STATE.ENTRIES]!,
    sourceUuid: log.uuid.toString('hex'),
    segment,
    lastFrame,
  }
}

/** Copies the tree of a snapshot. All slots are on disk then; the headers are blank. */
function* copyTree({ parts }: Engine, snapshot: EngineSnapshot, out: SlotFile, uuid: Buffer): Steps<Copied> {
  const { storage, dataRegion, options } = parts
  const { lsn } = snapshot
  const entries = snapshot.state[STATE.ENTRIES]!
  const { header } = findHeaderIn(dataRegion, storage, databasePaths(options.path))
  const digest = new EntryDigest()
  const builder = new TreeBuilder(lsn, (slot) => out.add(slot))
  let done = 0
  let stepSlots = 0
  let stepEntries = 0
  for (const leaf of snapshot.leaves()) {
    digest.addLeaf(leaf)
    for (let i = 0; i < leaf.count; i++) {
      builder.add(leaf, i, leaf.overflows(i) ? snapshot.overflowValue(leaf, i) : undefined)
      done++
      if (builder.slots < stepSlots + STEP_SLOTS && done < stepEntries + STEP_ENTRIES) continue
      stepSlots = builder.slots
      stepEntries = done
      out.flush()
      yield { phase: 'copying', done, total: entries }
    }
  }
  const built = builder.finish()
  out.flush()
  yield { phase: 'copying', done, total: entries }
  return {
    header: {
      ...header!,
      ...built,
      uuid,
      checkpointNumber: CHECKPOINT_NUMBER,
      lsn: lsn as Lsn,
      clockMs: Math.max(header!.clockMs, snapshot.momentMs),
      ...NO_TRASH,
      freeListHead: 0 as Header['freeListHead'],
      freeListSlots: 0,
    },
    digest: digest.value,
  }
}

/** Reads what was written, before it becomes a database. */
function* checkCopy(
  storage: Storage,
  path: string,
  header: Header,
  digest: number,
  mapping: { readonly reserveBytes: number; readonly windowBytes: number },
): Steps<void> {
  const tree = guarded('Verifying the backup', () => new FileTree(storage, path, header, mapping))
  try {
    for (const steps = tree.verify(digest); ;) {
      const step = guarded('Verifying the backup', () => steps.next())
      if (step.done) return
      yield { phase: 'verifying', done: step.value, total: header.entries }
    }
  } finally {
    tree.close()
  }
}

/** The log, the record, and the headers, which make it a database. */
function finish(storage: Storage, { paths, file }: Unfinished, header: Header, record: BackupRecord): void {
  makeEmptyLog(storage, paths, header)
  writeRecord(storage, paths.directory, paths.data, record)
  new SlotFile(file).writeHeader(header)
}
