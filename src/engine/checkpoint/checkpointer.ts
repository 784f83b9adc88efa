// Checkpoints. One brings a published tree to disk, beside running readers and writers, and so bounds what recovery
// must replay. Only one runs at a time, under the checkpoint lock.
//
//                                                        What a crash there leaves:
//   1. begin, under the leader lock: P is the newest       linked slots that the tree state names; the next
//      tree. From now on the slots that it reaches         checkpoint frees those that are newer than the
//      count as checkpointed (allocator.ts): they are      one on disk, and leaves the list below them
//      not reused until a later checkpoint is on disk.
//      Slots for the free list, or for what it has to
//      add to that on disk, are allocated, as many as
//      a full disk has, and linked.
//   2. seal every slot of P that was made since the        headers that still name the old tree, whose
//      last checkpoint (seal-tree.ts); write the free      slots are untouched, and whose free list lies
//      list (next-list.ts); flush the data file, and       below what was added
//      the log if the outcomes of frames in P are not
//      on disk yet
//   3. write both headers; flush                           a torn header, which fails its CRC; the old
//                                                          pair lies in the other two slots
//   4. end, under the leader lock: the new tree is the     nothing: this is in memory only, and recovery
//      durable one; the old free list is freed, if         comes to the same
//      there is a new one
//   5. recycle the segments before P that no writer       a segment too many
//      needs (pins.ts) and that are not to be kept
//      (retention.ts)
//
// A flush that fails is never tried again. The kernel may have given up any page that the flush was to bring to
// disk, and may read its older contents back at any time. Sealing those would make them pass for good. Writes are
// refused from then on; the headers on disk still name the old tree. The same goes for outcomes that this checkpoint
// flushes, if a flush of the log fails elsewhere meanwhile: recovery replays their frames and decides the same.
import { crashPoint } from '../../crash-points.js'
import { FullError, LockedError } from '../../errors.js'
import { newAppendFields } from '../../wal/append-state.js'
import type { LockTable } from '../../storage/storage.js'
import type { LogFlusher } from '../commit/log-flusher.js'
import { flushed } from '../../wal/flush.js'
import type { Log } from '../../wal/log.js'
import { lsnWithin, type Lsn } from '../../wal/lsn.js'
import { isRetaining, retainedFrom } from '../../wal/retention.js'
import type { ResolvedOptions } from '../options.js'
import type { Allocator } from '../space/allocator.js'
import type { DatabaseClock } from '../shared/clock.js'
import { newState, STATE, type StateFields } from '../shared/control.js'
import {
  changeSlotsFor,
  freeListSlotsFor,
  linkFreeList,
  RUN_BYTES,
  slotsNewerThan,
  slotsOfFreeList,
  writeFreeList,
} from '../space/free-list.js'
import type { DataFile } from '../shared/data-file.js'
import type { Pins } from '../shared/pins.js'
import { assertDataInPlace } from '../shared/files-in-place.js'
import { growDataFile } from '../space/growth.js'
import { FORMAT_VERSION, type Header } from '../format/header.js'
import { writeHeaders } from '../format/header-slots.js'
import type { SlotNo } from '../format/layout.js'
import type { Runs } from '../format/runs.js'
import { LOCK } from '../shared/lock-bytes.js'
import { underAppendLock, underLeaderLock, type WriterLocks } from '../shared/writer-locks.js'
import { mostEntriesOf, nextList, type ListBegun, type NextList } from './next-list.js'
import { sealTree } from './seal-tree.js'
import { treeSlots, worthCompacting } from '../shared/tree-state.js'
import { type SlotChecker } from '../space/slot-checker.js'
import type { SlotSpace } from '../format/slot-space.js'
import { sealSlot } from '../format/slot-damage.js'

/**
 * So much of the log is kept at most for writers that still ask what was decided: one may be stopped for hours. The
 * write of such a one ends with `OutcomeUnknownError`.
 */
const MOST_KEPT_BYTES = 64 * 1024 * 1024
/** A free list whose runs take this share of the log between two checkpoints, or less, is always written as a whole. */
const SMALL_LIST_SHARE = 1 / 1024

interface CheckpointParts extends WriterLocks {
  readonly locks: LockTable
  readonly log: Log
  readonly flusher: LogFlusher
  readonly space: SlotSpace
  readonly allocator: Allocator
  readonly checker: SlotChecker
  readonly pins: Pins
  readonly clock: DatabaseClock
  readonly createdMs: number
  readonly encodingNo: number
  readonly options: Pick<ResolvedOptions, 'checkpointBytes'>
  readonly dataFile: DataFile
}

/** What a checkpoint did. */
export interface CheckpointReport {
  /** LSN up to which the tree on disk includes the log. */
  readonly lsn: number
  readonly number: number
  /** Slots from this one on are neither used by the tree on disk nor in its free list. */
  readonly nextSlot: number
  /** Slots that were sealed and flushed. */
  readonly slotsWritten: number
  readonly segmentsReleased: number
}

interface CheckpointRequest {
  /** Wait for a checkpoint that another thread or process is making, and then make one. */
  readonly wait: boolean
  /**
   * Leave the free slots at the end of the file out of the header, unless there are too few to be worth a list of all
   * that is free: only for a closer that is alone.
   */
  readonly cutTail?: boolean
  /** Run even if writes are refused: only for a closer that is alone, to save what can be saved. */
  readonly inSpiteOfFailure?: boolean
  /** Asked when the checkpoint lock is held: is the checkpoint still needed? */
  readonly onlyIf?: () => boolean
}

interface Begun extends ListBegun {
  readonly sinceLsn: number
}

/** @internal */
export class Checkpointer {
  readonly #parts: CheckpointParts

  constructor(parts: CheckpointParts) {
    this.#parts = parts
  }

  /**
   * Makes a checkpoint of the newest tree. Undefined if there is nothing new, or if another one is running and
   * `wait` is false. Throws `LockedError` if the lock could not be acquired in time, and if writes are refused, the
   * reason for that.
   */
  run(request: CheckpointRequest): CheckpointReport | undefined {
    const { wait, inSpiteOfFailure = false, onlyIf } = request
    const { control, locks, timeoutMs } = this.#parts
    if (wait) {
      if (!locks.lock(LOCK.CHECKPOINT, 'exclusive', timeoutMs)) {
        throw new LockedError(`Another checkpoint has been running for more than ${timeoutMs} ms. Try again later.`)
      }
    } else if (!locks.tryLock(LOCK.CHECKPOINT, 'exclusive')) {
      return undefined
    }
    try {
      if (!inSpiteOfFailure) control.refuseIfFailed()
      if (onlyIf !== undefined && !onlyIf()) return undefined
      control.checkpointWanted = false
      const begun = underLeaderLock(this.#parts, () => this.#begin(request))
      return begun === undefined ? undefined : control.stopOnFailedFlush(() => this.#finish(begun, request))
    } finally {
      locks.unlock(LOCK.CHECKPOINT)
    }
  }

  /** Step 1. Undefined if there is nothing new. */
  #begin({ cutTail = false }: CheckpointRequest): Begun | undefined {
    const { control, allocator, space, checker } = this.#parts
    const state = control.readState(newState())
    // A file that has taken the data file's place may need the log that a checkpoint recycles.
    assertDataInPlace(this.#parts, state[STATE.CHECKPOINT_NUMBER]!)
    const lsn = state[STATE.VISIBLE_LSN]!
    const sinceLsn = state[STATE.CHECKPOINT_DURABLE_LSN]!
    if (lsn === sinceLsn) return undefined
    allocator.begin(state, lsn)
    const pending = state[STATE.PENDING_FREE_LIST_HEAD]!
    // An unfinished checkpoint may have left these. Its header may have reached the disk all the same, so these
    // slots wait for the next checkpoint, like any slot that a checkpoint reaches.
    for (const slot of slotsNewerThan(space, checker, pending, sinceLsn, control.fileSlots))
      allocator.freeCheckpointed(slot)
    const listHead = state[STATE.FREE_LIST_HEAD]!
    const change = cutTail && worthCompacting(state) ? undefined : this.#changeToAdd(state)
    // Writers wait meanwhile: runs are counted roughly, and merged later.
    const wanted = change?.mostSlots ?? freeListSlotsFor(allocator.mostRuns() + state[STATE.FREE_LIST_SLOTS]!)
    const listSlots: SlotNo[] = []
    // What was taken must be listed, so there is no half a change.
    const adds = (): boolean => change !== undefined && listSlots.length === wanted
    // The free list must not take slots that were promised to appended frames: appenders wait until it has its
    // slots.
    underAppendLock(this.#parts, () => {
      const slots = this.#listSlotsToHave(wanted, state)
      for (let i = 0; i < slots; i++) listSlots.push(allocator.allocate())
      linkFreeList(space, listSlots, lsn, adds() ? listHead : 0)
      state[STATE.PENDING_FREE_LIST_HEAD] = listSlots[0] ?? 0
      state[STATE.CHECKPOINT_BEGUN_LSN] = lsn
      allocator.finish()
      // From here on others' slots are not of this checkpoint.
      control.unsealed.turn()
      control.publishState(state)
    })
    crashPoint('checkpoint-begun')
    if (adds()) return { state, sinceLsn, listSlots, source: change! }
    const oldListSlots = slotsOfFreeList(space, checker, listHead, state[STATE.FREE_LIST_SLOTS]!)
    // The slots of the list are no longer free.
    return { state, sinceLsn, listSlots, source: { free: allocator.waitingRuns(), oldListSlots } }
  }

  /** What was freed, and how many slots the change takes at most; undefined if the list is to be written as a whole. */
  #changeToAdd(state: StateFields): { readonly freed: Runs; readonly mostSlots: number } | undefined {
    const { allocator, options } = this.#parts
    const isSmall = allocator.mostRuns() * RUN_BYTES <= options.checkpointBytes * SMALL_LIST_SHARE
    if (isSmall || state[STATE.LOST] !== 0) return undefined
    const freed = allocator.freedSince(state[STATE.CHECKPOINT_DURABLE_LSN]!)
    const mostEntries = mostEntriesOf(state, freed)
    return mostEntries <= state[STATE.FREE_LIST_ROOM]! ? { freed, mostSlots: changeSlotsFor(mostEntries) } : undefined
  }

  /** How many of the `wanted` slots the free list can have: fewer on a full disk. The append lock is held. */
  #listSlotsToHave(wanted: number, state: StateFields): number {
    const { control, allocator, space } = this.#parts
    const promised = control.append.read(newAppendFields()).reservedSlots - state[STATE.RELEASED]!
    const available = (): number =>
      Math.max(0, control.fileSlots - state[STATE.NEXT_SLOT]! + allocator.reusableSlots - promised)
    if (available() >= wanted) return wanted
    try {
      growDataFile(space, control, control.fileSlots + wanted - available())
    } catch (error) {
      if (!(error instanceof FullError)) throw error
    }
    return Math.min(wanted, available())
  }

  /** Steps 2 to 5. */
  #finish(begun: Begun, { cutTail = false, inSpiteOfFailure = false }: CheckpointRequest): CheckpointReport {
    const { control, log, space, checker, clock, createdMs, encodingNo } = this.#parts
    const { state, sinceLsn } = begun
    const lsn = state[STATE.VISIBLE_LSN]! as Lsn
    const number = state[STATE.CHECKPOINT_NUMBER]! + 1

    const sealed = sealTree(this.#parts, state, sinceLsn)
    crashPoint('mid-checkpoint')
    const list = nextList(begun, sealed, cutTail)
    writeFreeList(space, list.slots, list.freed, list.taken)
    for (const slot of list.slots) sealSlot(space, slot)
    flushed('Flushing the data file', () => space.region.flush())

    const header: Header = {
      version: FORMAT_VERSION,
      encodingNo,
      uuid: log.uuid,
      checkpointNumber: number,
      lsn,
      root: state[STATE.ROOT]! as SlotNo,
      height: state[STATE.HEIGHT]!,
      entries: state[STATE.ENTRIES]!,
      internalEntries: state[STATE.INTERNAL_ENTRIES]!,
      trashRoot: state[STATE.TRASH_ROOT]! as SlotNo,
      trashHeight: state[STATE.TRASH_HEIGHT]!,
      expiring: state[STATE.EXPIRING]!,
      earliestExpiryMs: state[STATE.EXPIRING]! > 0 ? state[STATE.EARLIEST_EXPIRY]! : 0,
      clockMs: clock.now(),
      nextSlot: list.nextSlot,
      freeListHead: list.slots[0] ?? (0 as SlotNo),
      freeListSlots: list.totalSlots,
      leaves: state[STATE.LEAVES]!,
      branches: state[STATE.BRANCHES]!,
      overflows: state[STATE.OVERFLOWS]!,
      createdMs,
      retention: control.retention,
      changedLsn: state[STATE.CHANGED_LSN]!,
    }
    this.#flushOutcomes(state, inSpiteOfFailure)
    // If this process has lost a page, what it sealed there is not in the file.
    checker.assertWhole()
    crashPoint('before-headers')
    writeHeaders(space, header)
    crashPoint('after-headers')

    underLeaderLock(this.#parts, () => this.#end(begun, header, list))
    control.unsealed.clear(state[STATE.NEXT_SLOT]!)
    const current = control.append.read(newAppendFields()).segmentStartLsn as Lsn
    return {
      lsn,
      number,
      nextSlot: list.nextSlot,
      slotsWritten: sealed.length + list.slots.length,
      segmentsReleased: log.releaseBefore(this.#neededFrom(lsn), current),
    }
  }

  /** Recovery replays the log from `lsn` on; writers may need more of it, and more is kept if that is asked for. */
  #neededFrom(lsn: number): Lsn {
    const { control, log, clock } = this.#parts
    // What is not on disk may be gone after a power cut, and then the log ends before it.
    const kept = retainedFrom(log, control.durableLsn as Lsn, control.retention, clock.now())
    return Math.min(this.#pinnedFrom(lsn), kept) as Lsn
  }
  #pinnedFrom(lsn: number): number {
    return Math.min(lsn, Math.max(this.#parts.pins.logNeededFrom(), lsnWithin(lsn, -MOST_KEPT_BYTES)))
  }

  /** For a full disk: gives up what is kept of the log for its readers only. Returns how many segments that were. */
  releaseRetained(): number {
    return isRetaining(this.#parts.control.retention) ? this.#releaseFrom((lsn) => this.#pinnedFrom(lsn)) : 0
  }

  /**
   * For a full disk: gives up what a checkpoint includes and writers that stand still have not read yet, but for the
   * current segment. Returns how many segments that were.
   */
  releaseUnread(): number {
    return this.#releaseFrom((lsn) => lsn)
  }

  #releaseFrom(neededFrom: (checkpointLsn: number) => number): number {
    const { control, locks, log, timeoutMs } = this.#parts
    if (!locks.lock(LOCK.CHECKPOINT, 'exclusive', timeoutMs)) return 0
    try {
      const lsn = control.readState(newState())[STATE.CHECKPOINT_DURABLE_LSN]!
      const current = control.append.read(newAppendFields()).segmentStartLsn as Lsn
      return control.stopOnFailedFlush(() => log.releaseBefore(neededFrom(lsn) as Lsn, current))
    } finally {
      locks.unlock(LOCK.CHECKPOINT)
    }
  }

  /**
   * Makes sure that the log on disk says what was decided about the frames that the tree includes: they will not be
   * applied again. If the log has gone on in another segment since, that was flushed before.
   */
  #flushOutcomes(state: StateFields, inSpiteOfFailure: boolean): void {
    const { control, flusher, log } = this.#parts
    if (state[STATE.OUTCOMES_LSN]! < control.durableLsn) return
    const end = control.append.read(newAppendFields())
    if (inSpiteOfFailure && log.segment(end.segmentStartLsn as Lsn, end.segmentSalt) === undefined) return
    flusher.flush(end, inSpiteOfFailure)
  }

  /** Step 4. */
  #end({ state }: Begun, header: Header, list: NextList): void {
    const { control, allocator } = this.#parts
    const now = control.readState(newState())
    allocator.begin(now, now[STATE.VISIBLE_LSN]!)
    for (const slot of list.released) allocator.freeUnreachable(slot)
    if (list.mergedRuns !== undefined) allocator.noteMerged(list.mergedRuns, state)
    now[STATE.FREE_LIST_HEAD] = header.freeListHead
    now[STATE.FREE_LIST_SLOTS] = header.freeListSlots
    now[STATE.FREE_LIST_ROOM] = list.room
    now[STATE.PENDING_FREE_LIST_HEAD] = 0
    now[STATE.CHECKPOINT_NEXT_SLOT] = header.nextSlot
    now[STATE.CHECKPOINT_TREE_SLOTS] = treeSlots(state)
    now[STATE.CHECKPOINT_DURABLE_LSN] = header.lsn
    // After a recovery no leader has flushed the log yet.
    if (control.durableLsn < header.lsn) control.durableLsn = header.lsn
    now[STATE.CHECKPOINT_NUMBER] = header.checkpointNumber
    now[STATE.CHECKPOINTS]!++
    allocator.finish()
    control.publishState(now)
  }
}
