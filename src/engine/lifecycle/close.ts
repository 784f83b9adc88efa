// Closing a database. The last closer, of all threads and processes, makes a checkpoint and cuts the data file back
// to what is used, so that the next opener has nothing to do. It holds the open lock and, alone, the attached lock,
// so no opener gets in meanwhile. A crash at any step leaves what recovery can replay: nothing is cut before the
// checkpoint that no longer needs it is on disk.
import { sweepNow } from '../commit/sweep.js'
import { crashPoint } from '../../crash-points.js'
import { FullError } from '../../errors.js'
import { guarded, typedError } from '../../storage/errors.js'
import { newAppendFields } from '../../wal/append-state.js'
import type { Lsn } from '../../wal/lsn.js'
import { retainedFrom } from '../../wal/retention.js'
import type { CheckpointReport } from '../checkpoint/checkpointer.js'
import { appendMakingRoom } from '../checkpoint/make-room.js'
import { slotsForDeletesWhenClosed } from '../commit/slot-budget.js'
import type { EngineParts } from '../parts.js'
import { newState, STATE, type StateFields } from '../shared/control.js'
import { DisplacedError } from '../shared/data-file.js'
import { assertDataInPlace, isSegmentInPlace } from '../shared/files-in-place.js'
import { LOCK } from '../shared/lock-bytes.js'
import { anyLockPin } from '../shared/lock-pins.js'
import { emptyTrash } from '../checkpoint/empty-trash.js'
import { worthCompacting } from '../shared/tree-state.js'
import { cutDataFile } from '../space/growth.js'
import { Compactor } from '../tree/compaction.js'
import { databasePaths } from './paths.js'
import { FrameBuilder } from '../../wal/frame-builder.js'

/** A clean close makes at most this many passes over the tree to bring it to the front of the file. */
const TRIM_PASSES = 3
/** How long a closer frees what was cleared; the next opener goes on with it. */
const EMPTYING_MS = 1000

/**
 * Releases everything. `finish`: do what the last closer does, if this is the last. May throw; the database is closed
 * here all the same.
 */
export function closeParts(parts: EngineParts, finish: boolean): void {
  const { openState, pins, lockPins, recordLocks, log, controlRegion, dataRegion, dataFile, home } = parts
  if (openState.isClosed) return
  pins.close()
  lockPins.close()
  recordLocks.close()
  openState.close()
  try {
    if (finish && mayFinish(parts)) guarded('Closing the database', () => finishIfLast(parts))
  } finally {
    log.close()
    controlRegion.close()
    dataRegion.close()
    dataFile.close()
    home.close()
  }
}

const mayFinish = ({ isPrivate, options }: EngineParts): boolean => !isPrivate && !options.readOnly

/**
 * Closes if that takes hardly any time: others have the database open, or nothing was written since the last
 * checkpoint. False, with nothing done, if there is more to do, or if another thread or process is opening or closing
 * the database.
 */
export function closePartsIfQuick(parts: EngineParts): boolean {
  const { openState, locks } = parts
  if (!openState.isClosed && mayFinish(parts)) {
    if (!locks.tryLock(LOCK.OPEN, 'exclusive')) return false
    if (!locks.isHeldByOther(LOCK.ATTACHED, 'exclusive') && hasMuchToFinish(parts)) {
      locks.unlock(LOCK.OPEN)
      return false
    }
  }
  closeParts(parts, true)
  return true
}

/** Frames that remove what has expired: the next opener goes on with the rest. */
const SWEEPS = 16

const tailOf = ({ control }: EngineParts): Lsn => control.append.read(newAppendFields()).tailLsn as Lsn

function hasMuchToFinish(parts: EngineParts): boolean {
  const state = parts.control.readState(newState())
  return (
    state[STATE.CHECKPOINT_DURABLE_LSN] !== tailOf(parts) ||
    state[STATE.TRASH_HEIGHT]! > 0 ||
    worthCompacting(state) ||
    state[STATE.EARLIEST_EXPIRY]! <= parts.clock.now()
  )
}

function finishIfLast(parts: EngineParts): void {
  const { locks, control, log, checker, committer, options } = parts
  // One closer after the other, so that of several at once the last knows that it is the last.
  if (!locks.lock(LOCK.OPEN, 'exclusive', options.timeoutMs)) return
  if (!locks.tryLock(LOCK.ATTACHED, 'exclusive')) return
  const failure = control.failure()
  // Others may be at work on files that have taken the place of these; and nothing in a lost page is true.
  if (!control.isOpened || !checker.isWhole || !committer.isFit || !isDataInPlace(parts)) return
  if (failure !== undefined || !isSegmentInPlace(log, control.append.read(newAppendFields()))) {
    if (failure === undefined || failure.code === 'ERR_MMAPDB_CORRUPT') save(parts)
    return
  }
  try {
    leaveNothingToDo(parts)
  } catch (error) {
    // Nothing is lost by leaving it out: the next opener replays the log.
    if (!(typedError(error, '') instanceof FullError)) throw error
  }
}

function isDataInPlace(parts: EngineParts): boolean {
  try {
    assertDataInPlace(parts, parts.control.readState(newState())[STATE.CHECKPOINT_NUMBER]!)
    return true
  } catch (error) {
    if (error instanceof DisplacedError) return false
    throw error
  }
}

function leaveNothingToDo(parts: EngineParts): void {
  const { locks: locksPath } = databasePaths(parts.options.path)
  const { storage, locks, control, space, checker, committer, checkpointer } = parts
  committer.catchUp(tailOf(parts))
  // So nobody sees it again, whatever becomes of the system's clock (clock.ts); and short lives leave it to nobody.
  sweepNow(parts, SWEEPS)
  emptyTrash(parts, EMPTYING_MS)
  // What these have appended may not be applied, on a full disk, and then it must stay in the log: what the checkpoint
  // does not include is not cut off. This throws if it cannot be applied now either.
  const appended = tailOf(parts)
  committer.catchUp(appended)
  // Readers that replay in their own memory may read what would be cut off or moved (lock-pins.ts). No new one can
  // come now.
  const isHeld = anyLockPin(locks)
  let report = checkpointer.run({ wait: true, cutTail: !isHeld })
  const state = control.readState(newState())
  checker.assertWhole()
  // The first pass leaves its free list in the last free slots, which are far back in the file.
  for (let pass = 0; !isHeld && pass < TRIM_PASSES && mayTrim(state, report?.nextSlot); pass++)
    report = trim(parts) ?? report
  leaveLog(parts)
  crashPoint('before-truncate')
  checker.assertWhole()
  if (!isHeld) cutDataFile(space, (report?.nextSlot ?? state[STATE.NEXT_SLOT]!) + slotsForDeletesWhenClosed(state))
  // Nobody holds a record lock: nobody else is there.
  if (storage.info(locksPath).kind !== 'missing') storage.unlink(locksPath)
  // It is not valid any more: the next opener makes a new one.
  if (!control.isInMemory) parts.controlRegion.truncate(0)
}

/** What clearing has cut out is not moved: it is freed first, when the database is open again. */
const mayTrim = (state: StateFields, nextSlot: number | undefined): boolean =>
  state[STATE.TRASH_HEIGHT] === 0 && worthCompacting(state, nextSlot)

/** Leaves of the log what is to be kept. */
function leaveLog({ control, log, clock }: EngineParts): void {
  const { tailLsn, segmentStartLsn, changedLsn } = control.append.read(newAppendFields())
  const tail = tailLsn as Lsn
  const from = retainedFrom(log, tail, control.retention, clock.now())
  if (from < tail) log.cutAt(tail, segmentStartLsn as Lsn, from)
  else log.restartAt(tail, changedLsn)
}

/** Moves the tree to the front of the file. An empty frame gives this change an LSN of its own. */
function trim(parts: EngineParts): CheckpointReport | undefined {
  const { control, space, checker, allocator, committer, checkpointer } = parts
  committer.catchUp(appendMakingRoom(parts, new FrameBuilder().frame()))
  const state = control.readState(newState())
  const lsn = state[STATE.VISIBLE_LSN]!
  allocator.begin(state, lsn)
  allocator.replaceWaiting(allocator.waiting())
  new Compactor(space, checker, allocator, state, lsn).run()
  allocator.finish()
  control.publishState(state)
  return checkpointer.run({ wait: true, cutTail: true })
}

/**
 * For a log that is damaged or gone, so that writes were refused. The tree has all that was acknowledged: a
 * checkpoint saves it. If the segment that the next opener would look for is gone, an empty one takes its place. A
 * crash before that leaves the damage that there was.
 */
function save(parts: EngineParts): void {
  const { control, log, checkpointer } = parts
  replaceLogDirectory(parts)
  checkpointer.run({ wait: true, inSpiteOfFailure: true })
  if (isSegmentInPlace(log, control.append.read(newAppendFields()))) return
  log.close()
  const state = control.readState(newState())
  log.createSegment(state[STATE.VISIBLE_LSN]! as Lsn, 0, state[STATE.CHANGED_LSN]!)
}

/** Creates the directory of the log again if it has been removed, too. */
function replaceLogDirectory({ storage, options }: EngineParts): void {
  const { directory, wal } = databasePaths(options.path)
  if (storage.info(wal).kind !== 'missing') return
  storage.makeDirectory(wal, directory)
  storage.flushDirectory(directory)
}
