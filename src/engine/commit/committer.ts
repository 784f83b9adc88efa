// Group commit: how a frame gets into the log, onto the disk and into the tree, and becomes visible to readers, with
// any number of threads and processes committing at once.
//
//   append   under the append lock: slots are reserved, the frame is written at the tail, and the
//            append state moves on.
//   wait     until the tree includes the frame. A waiter that finds the leader lock free leads:
//   lead     1. flush the log up to the tail          (one flush for all that was appended meanwhile)
//            2. apply the frames to a copy of the tree state
//            3. append what that decided, if anything (outcomes.ts), under the append lock
//            4. publish that state                    (one atomic store)
//            5. release the lock, pass the turn
//
// What a crash leaves, of the process or of the whole machine:
//   after the write, before the append state moves   bytes after the tail that the append state does
//                                                    not count. The next appender writes over them,
//                                                    or recovery finds a whole frame there and
//                                                    replays it, which is as good: it was neither
//                                                    acknowledged nor denied
//   before the flush                                 process: the next leader flushes. Machine: a torn tail
//   after the flush, before the publication          process: the next leader applies the frames
//                                                    again, from the published state; what the dead
//                                                    leader wrote lies in slots that count as free.
//                                                    All processes: recovery replays the frames
//   after the outcomes were appended,                the same; if the outcomes are still in the log,
//   before the publication                           they are not appended again
//   after the publication                            nothing is missing but a wake-up, and every
//                                                    waiter has a time limit. If the machine stops before the
//                                                    outcomes are flushed, recovery decides the same and appends
//                                                    them; a checkpoint flushes them before its headers
//
// What else can go wrong:
//   a flush fails                          it is never tried again (flush.ts): writes are refused then
//   the log or the tree is damaged         the same, if a process that has lost no page detects it
//                                          twice, the second time with the log opened again
//   a lock that cannot be acquired in      the leader gives up this group and nothing else. Nothing was
//   time, no room to grow, no descriptor,  published, so it is as if the group had never been started:
//   a page lost to this process, a failed  the next leader, here or elsewhere, applies it. From then on
//   read, files that are not where this    this thread lets others lead first, until it has led again
//   process looks for them
//   an unforeseen exception                the same, and this thread neither appends nor leads any more
//
// So what only one process meets (its path, its limits, its lost page, a bug of its own) stops no other.
//
// What a writer is told: until the append state has moved on, any failure means that nothing was written. (A frame
// that was written in part, or that no append state counts, is written over or fails its CRC.) From then on the frame
// is in the log. Until the frame is seen to be visible, any failure, here or of the leader, means that the outcome is
// unknown: OutcomeUnknownError, with the frame's LSN.
import { crashPoint } from '../../crash-points.js'
import {
  CorruptError,
  foreseen,
  FullError,
  IoError,
  LockedError,
  MmapdbError,
  OutcomeUnknownError,
} from '../../errors.js'
import { typedError } from '../../storage/errors.js'
import type { LogFlusher } from './log-flusher.js'
import { LogTail } from './log-tail.js'
import { newAppendFields, type AppendFields } from '../../wal/append-state.js'
import type { Log } from '../../wal/log.js'
import { lsnBefore, type Lsn } from '../../wal/lsn.js'
import { LogReader } from '../../wal/log-reader.js'
import { outcomeFrames } from '../../wal/outcomes.js'
import { findOutcome } from './find-outcome.js'
import type { Applier } from './apply.js'
import { Gathering } from './gathering.js'
import { GRACE_MS, LeaderChoice } from './leader-choice.js'
import { OwnOutcomes } from './own-outcomes.js'
import type { Allocator } from '../space/allocator.js'
import type { DatabaseClock } from '../shared/clock.js'
import { Control, newState, STATE, type StateFields } from '../shared/control.js'
import { DisplacedError, type DataFile } from '../shared/data-file.js'
import { FilesWatch } from '../shared/files-in-place.js'
import { needsOf, type FrameNeeds } from './frame-needs.js'
import { mostTrashOf } from './slot-budget.js'
import { LOOK_AGAIN_MS, Patience } from '../shared/patience.js'
import type { Seats } from '../shared/seats.js'
import { underAppendLock, underLeaderLock, type WriterLocks } from '../shared/writer-locks.js'
import type { SlotChecker } from '../space/slot-checker.js'
import type { SlotSpace } from '../format/slot-space.js'

interface CommitParts extends WriterLocks {
  readonly seats: Seats
  readonly log: Log
  readonly flusher: LogFlusher
  readonly space: SlotSpace
  readonly allocator: Allocator
  readonly applier: Applier
  readonly checker: SlotChecker
  readonly dataFile: DataFile
  readonly clock: DatabaseClock
}

export class Committer {
  readonly #parts: CommitParts
  readonly #fields = newAppendFields()
  readonly #target = newAppendFields()
  readonly #published = newState()
  readonly #work = newState()
  readonly #reader: LogReader
  readonly #files: FilesWatch
  readonly #tail: LogTail
  readonly #choice: LeaderChoice
  readonly #gathering: Gathering
  /** Set by an unforeseen exception: this thread writes no more. */
  #broken: IoError | undefined
  /** The last group that this thread led failed for a reason that others may not have. */
  #givesWay = false

  constructor(parts: CommitParts) {
    this.#parts = parts
    this.#reader = new LogReader(parts.log, 0 as Lsn)
    this.#files = new FilesWatch(parts, () => parts.storage.monotonicMs())
    this.#tail = new LogTail({
      ...parts,
      assertInPlace: (append, state) => this.#files.look(append, state[STATE.CHECKPOINT_NUMBER]!),
    })
    this.#choice = new LeaderChoice(parts.control.region.window(0), Control.LEADER_CHOICE)
    this.#gathering = new Gathering(parts.control, parts.storage, Control.GATHERING)
  }

  /**
   * Appends a frame. The caller must `wait` for the LSN that is returned, the one after the frame. Throws
   * `FullError`, with nothing changed, if applying the frame might need more slots than are available. Any other
   * error means the same, that nothing was written, except an `OutcomeUnknownError`.
   */
  append(frame: Buffer): Lsn {
    return this.#append(frame, (needs) =>
      this.#parts.control.stopOnFailedFlush(() =>
        underAppendLock(this.#parts, () => this.#appendLocked(frame, needs, false)),
      ),
    )!
  }

  /**
   * The same for one who cannot wait. Undefined, with nothing done, if another thread appends, or if the frame needs a
   * new segment or a longer data file.
   */
  appendSoon(frame: Buffer): Lsn | undefined {
    const { appendLock } = this.#parts
    return this.#append(frame, (needs) => {
      if (!appendLock.takeSoon()) return
      try {
        this.#appendLocked(frame, needs, true)
      } finally {
        appendLock.release()
      }
    })
  }

  #appendLocked(frame: Buffer, needs: FrameNeeds, isQuick: boolean): void {
    const end = this.#tail.append(frame, needs, isQuick)
    if (end === undefined) return
    this.#appended = end
    const lsn = lsnBefore(end, frame.length)
    if (needs.outcomeBytes > 0) this.#own.note(lsn)
    this.#gathering.noteAppended(this.#tail.frames)
    this.#reader.offer(lsn, frame)
    crashPoint('after-append')
  }
  /** Where the frame ends that is being appended, once it is in the log. */
  #appended: Lsn | undefined

  #append(frame: Buffer, act: (needs: FrameNeeds) => void): Lsn | undefined {
    this.#parts.control.refuseIfFailed()
    if (this.#broken !== undefined) throw this.#broken
    this.#appended = undefined
    try {
      act(needsOf(frame))
      return this.#appended
    } catch (error) {
      const typed = this.#foreseen(typedError(error, 'Appending to the log'))
      if (this.#appended !== undefined) throw outcomeUnknown(typed, lsnBefore(this.#appended, frame.length))
      throw typed instanceof FullError
        ? new FullError(`${typed.message} Nothing was written.`, { cause: typed })
        : typed
    }
  }

  /**
   * Returns when the frame in [lsn, end) is on disk and visible. Any failure throws `OutcomeUnknownError`: the frame
   * is in the log, and the next leader or opener may find it there. `failure`: why a thread that waited for it gave up;
   * then this one does not wait.
   */
  wait(lsn: Lsn, end: Lsn, failure?: Error): void {
    try {
      if (failure !== undefined) throw failure
      this.catchUp(end)
    } catch (error) {
      const typed = typedError(error, 'Committing a write')
      // What failed here may have succeeded elsewhere meanwhile.
      if (typed instanceof MmapdbError && this.#parts.control.visibleLsn() >= end) return
      this.#own.forget(lsn)
      throw outcomeUnknown(typed, lsn)
    }
  }

  /**
   * Returns when the tree includes the log up to `end`; leads if no other thread does. Throws the reason if writes
   * have been stopped or a group could not be applied, and `LockedError` after the time limit.
   */
  catchUp(end: Lsn): void {
    const { control, leaderLock, seats, storage, timeoutMs } = this.#parts
    const { turns } = control
    let patience: Patience | undefined
    let mayLead = !this.#givesWay
    let hasWaited = false
    for (;;) {
      const kind = turns.kindOf(end)
      const turn = turns.turn(kind)
      if (control.visibleLsn() >= end) return
      control.refuseIfFailed()
      let sleepMs = LOOK_AGAIN_MS
      if (mayLead && this.#broken === undefined) {
        // Another thread may be better at it, and about to come back. After a while nobody is waited for, and whether
        // the holder of the lock is alive is looked at, too.
        const isMyTurn = hasWaited || this.#choice.isFree(seats.owner)
        if (hasWaited ? leaderLock.takeOver() : isMyTurn && leaderLock.isFree && leaderLock.tryTake()) {
          mayLead = this.#leadOnce()
          hasWaited = false
          continue
        }
        if (!isMyTurn && leaderLock.isFree) sleepMs = GRACE_MS
      }
      mayLead = true
      patience ??= new Patience(storage, timeoutMs)
      if (patience.isOver()) {
        throw new LockedError(
          `What is in the log did not become visible within ${timeoutMs} ms: the thread or process that leads is stopped.`,
        )
      }
      hasWaited = turns.await(kind, turn, sleepMs)
    }
  }

  /** Where the log ends now, for one who flushes it without waiting (flush-apart.ts). */
  logEnd(): AppendFields {
    return this.#parts.control.append.read(newAppendFields())
  }

  /**
   * Leads the group up to `flushed`, an end of the log up to which it has been flushed since. False if another thread
   * leads, or this one may not. Throws why the group could not be applied.
   */
  leadFlushed(flushed: AppendFields): boolean {
    const { leaderLock } = this.#parts
    if (this.#givesWay || this.#broken !== undefined || !leaderLock.isFree || !leaderLock.tryTake()) return false
    this.#leadOnce(flushed)
    return true
  }

  /** Leads one group and steps down. False if there was nothing to do. This thread holds the leader lock. */
  #leadOnce(flushed?: AppendFields): boolean {
    const { control, leaderLock, seats, checker } = this.#parts
    let hasLed = false
    try {
      this.#choice.note(seats.owner)
      hasLed = this.lead(flushed)
    } finally {
      leaderLock.release()
      if (hasLed) control.turns.callNext()
      else control.turns.callAll()
    }
    // If there was nothing to do, another has led meanwhile; or the log that `control` knows is shorter than it was:
    // its pages may be lost.
    if (!hasLed) checker.assertWhole()
    return hasLed
  }

  /**
   * Flushes, applies and publishes everything appended so far, or up to `flushed`, which has been flushed. False if
   * there was nothing to do. The leader lock is held.
   */
  lead(flushed?: AppendFields): boolean {
    const { control, checker, flusher, storage } = this.#parts
    const target = flushed ?? control.append.read(this.#target)
    const state = control.readState(this.#work)
    const from = state[STATE.VISIBLE_LSN]! as Lsn
    if (target.tailLsn <= from) return false
    // Another leader may have failed between this thread's look and its acquiring the lock; or another flush, while the
    // log was flushed that far.
    control.refuseIfFailed()
    if (flushed === undefined) this.#gathering.gather(() => control.append.read(target).frames)
    control.turns.begin(target.tailLsn)
    try {
      checker.assertWhole()
      const flushedFromMs = storage.monotonicMs()
      if (flushed !== undefined) {
        state[STATE.FLUSHES]!++
        flusher.note(flushed)
      } else if (flusher.flush(target)) {
        state[STATE.FLUSHES]!++
        this.#gathering.noteFlush(storage.monotonicMs() - flushedFromMs)
      }
      this.#files.assertInPlace(target, state[STATE.CHECKPOINT_NUMBER]!)
      crashPoint('after-flush')
      this.#reader.seek(from, target.segmentStartLsn as Lsn)
      this.#applyTwice(state, from, target)
      state[STATE.RELEASED] = target.reservedSlots
      // What was decided from a lost page must not get into the log.
      checker.assertWhole()
      this.#appendOutcomes(state)
      state[STATE.OUTCOME_BYTES] = target.outcomeBytes
      // If this process has lost a page meanwhile, what it stored there is not in the file.
      checker.assertWhole()
      crashPoint('before-publish')
      control.publishState(state)
      control.turns.pass()
      crashPoint('after-publish')
      this.#gathering.noteGroup(target.frames, control.append.read(this.#fields).frames)
      this.#givesWay = false
      return true
    } catch (error) {
      throw this.#groupFailed(typedError(error, 'Applying the log to the tree'), from)
    }
  }

  /**
   * Appends what applying the frames up to the tree of `state` decided. Nobody waits for the frames that say it: if
   * they are the next ones after the tree, the tree includes them.
   */
  #appendOutcomes(state: StateFields): void {
    const { control, applier } = this.#parts
    if (applier.outcomes.size === 0) return
    this.#own.keep(applier.outcomes)
    const frames = outcomeFrames(applier.outcomes)
    const append = (frame: Buffer): void => {
      const { lsn, end } = this.#tail.appendOutcomes(frame, state[STATE.OUTCOME_BYTES]!)
      this.#reader.offer(lsn, frame)
      state[STATE.OUTCOMES_LSN] = lsn
      if (state[STATE.VISIBLE_LSN] !== lsn) return
      state[STATE.VISIBLE_LSN] = end
      // This reader has nothing more to do with it.
      if (this.#reader.position === lsn) this.#reader.next(end)
    }
    control.stopOnFailedFlush(() => underAppendLock(this.#parts, () => frames.forEach(append)))
    crashPoint('after-outcomes')
  }

  readonly #own = new OwnOutcomes()

  /** Nobody will ask for the outcome of this frame. */
  forgetOutcome(lsn: Lsn): void {
    this.#own.forget(lsn)
  }

  /** Reads what became of this thread's frames, all of which are visible: that part of the log may be destroyed now. */
  readOwnOutcomes(): void {
    this.#own.readFrom(this.#parts.log, this.#parts.control.append.read(this.#fields).tailLsn as Lsn)
  }

  /**
   * For recovery, which has the database to itself: appends what replaying the log decided, where the log does not say
   * it. The checkpoint that follows flushes it.
   */
  recordOutcomes(): void {
    const { control, applier } = this.#parts
    if (applier.outcomes.size === 0) return
    const state = control.readState(this.#work)
    this.#appendOutcomes(state)
    control.publishState(state)
    applier.outcomes.clear()
  }

  /**
   * What applying the frame at [lsn, end), which is visible, decided. Throws `OutcomeUnknownError` if the log does not
   * say it any more.
   */
  outcomeOf(lsn: Lsn, end: Lsn): Buffer {
    const own = this.#own.take(lsn)
    if (own !== undefined) return own
    const { control, log } = this.#parts
    const newest = control.readState(this.#published)[STATE.OUTCOMES_LSN]! as Lsn
    return findOutcome(log, { lsn, end, newest, tail: control.append.read(this.#fields).tailLsn as Lsn })
  }

  /** See `LogTail.reuseSegment`. */
  reuseSegment(): boolean {
    const reuse = (): boolean => underAppendLock(this.#parts, () => this.#tail.reuseSegment())
    return this.#parts.control.stopOnFailedFlush(() => underLeaderLock(this.#parts, reuse))
  }

  /** True, once, if the last segment that was needed could not be made: the disk is full. */
  takeLogFull(): boolean {
    const { isFull } = this.#tail
    this.#tail.isFull = false
    return isFull
  }

  /** Decides what a group's failure means for others (see the head of this file). */
  #groupFailed(cause: Error, from: Lsn): Error {
    const { control, checker } = this.#parts
    if (control.failure() !== undefined) return cause
    this.#givesWay = true
    const error = this.#foreseen(cause)
    if (error instanceof DisplacedError) {
      control.doubtFiles()
      return error
    }
    if (error instanceof CorruptError && checker.isWhole) {
      control.fail({ code: error.code, message: error.message, lsn: from })
      return error
    }
    if (error instanceof FullError) this.#recount()
    return error
  }

  /**
   * For a group that found less room than had been promised. (A reader that was stopped while it acquired its pin
   * holds back slots that counted as free.) Corrects the count and leaves the tree as it was, so that from now on
   * writes are refused before they are in the log.
   */
  #recount(): void {
    const { control, allocator } = this.#parts
    const state = control.readState(this.#work)
    allocator.begin(state, state[STATE.VISIBLE_LSN]!)
    try {
      allocator.finish()
    } catch (error) {
      // There is no room for the count either: it stays as it was, and so does its cost.
      if (typedError(error, '') instanceof FullError) return
      throw error
    }
    control.publishState(state)
  }

  /** The same for a thread that does not lead. True if more slots are available than before. */
  recount(): boolean {
    const { control } = this.#parts
    return underLeaderLock(this.#parts, () => {
      const before = control.readState(this.#work)[STATE.ELIGIBLE]!
      this.#recount()
      return control.readState(this.#work)[STATE.ELIGIBLE]! > before
    })
  }

  /** Returns when the tree includes all that has been appended up to now. */
  waitForAll(): void {
    this.catchUp(this.#parts.control.append.read(newAppendFields()).tailLsn as Lsn)
  }

  /** Returns typed errors as they are. Any other may have left this thread's memory in any state. */
  #foreseen(error: Error): MmapdbError {
    if (error instanceof MmapdbError) return error
    this.#broken = new IoError(
      `This thread can no longer write: mmapdb met an unexpected error (${error.name}: ${error.message}). ` +
        'Close the database here and open it again. Please report this. Nothing was written.',
      { cause: error },
    )
    return foreseen(error)
  }

  /** False after an unforeseen exception has ended this thread's writing. */
  get isFit(): boolean {
    return this.#broken === undefined
  }

  /**
   * Applies a group. If that meets damage, applies it a second time from the start, with the log opened again: what
   * this thread had read of it may be old, and damage stops all writers.
   */
  #applyTwice(state: StateFields, from: Lsn, target: AppendFields): void {
    const end = target.tailLsn as Lsn
    const mostTrash = mostTrashOf(state, this.#parts.control.fileSlots, target)
    const { control, checker, log, applier } = this.#parts
    applier.outcomes.clear()
    try {
      applier.apply(state, this.#reader, end, mostTrash)
    } catch (error) {
      if (!(error instanceof CorruptError)) throw error
      checker.assertWhole()
      log.close()
      this.#reader.restart(from)
      applier.outcomes.clear()
      applier.apply(control.readState(state), this.#reader, end)
    }
  }
}

const outcomeUnknown = (why: Error, lsn: Lsn): OutcomeUnknownError =>
  new OutcomeUnknownError(
    `${why.message} The write is in the log and may still take effect: read it back, or write it again.`,
    lsn,
    { cause: why },
  )
