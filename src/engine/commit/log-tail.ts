// The end of the log: how a frame gets there, and what comes after the segment that is full. All of this happens under
// the append lock.
//
// What a crash leaves:
//   while the file grows                   a longer file, which the next appender makes use of
//   while a segment is made                log.ts
//   while the frame is written, or before  bytes after the tail that the append state does not count: the next
//   the append state moves on              appender writes over them
import { crashPoint } from '../../crash-points.js'
import { FullError } from '../../errors.js'
import { guarded, isFullDisk } from '../../storage/errors.js'
import type { Storage } from '../../storage/storage.js'
import { newAppendFields, type AppendFields } from '../../wal/append-state.js'
import { FRAME, isExpiring, sealFrame } from '../../wal/frame.js'
import type { Log, OpenSegment } from '../../wal/log.js'
import { lsnAfter, lsnWithin, paddedBytes, USERS_LSN_LIMIT, type Lsn } from '../../wal/lsn.js'
import { SEGMENT_HEADER_BYTES } from '../../wal/segment.js'
import type { DatabaseClock } from '../shared/clock.js'
import { newState, STATE, type Control, type StateFields } from '../shared/control.js'
import { isSegmentOf, segmentGone } from '../shared/files-in-place.js'
import type { SlotSpace } from '../format/slot-space.js'
import type { WordLock } from '../shared/word-lock.js'
import { cutDataFile, growDataFile } from '../space/growth.js'
import type { SlotChecker } from '../space/slot-checker.js'
import type { FrameNeeds } from './frame-needs.js'
import type { LogFlusher } from './log-flusher.js'
import { slotsFor, slotsForDeletes } from './slot-budget.js'
import { StoresChanged } from './stores-changed.js'

interface TailParts {
  readonly storage: Storage
  readonly control: Control
  readonly leaderLock: WordLock
  readonly log: Log
  readonly flusher: LogFlusher
  readonly space: SlotSpace
  readonly checker: SlotChecker
  readonly clock: DatabaseClock
  /** Throws `DisplacedError` if the files are no longer the ones that the next opener will find. */
  readonly assertInPlace: (append: AppendFields, state: StateFields) => void
}

export class LogTail {
  readonly #parts: TailParts
  readonly #fields = newAppendFields()
  readonly #published = newState()

  constructor(parts: TailParts) {
    this.#parts = parts
  }

  /** Frames that were ever appended, as of the last frame that was appended here. */
  get frames(): number {
    return this.#fields.frames
  }

  /**
   * Appends a frame; returns the LSN after it. Throws `FullError` if there is no room; then nothing has changed. With
   * `isQuick` undefined, with nothing changed, if that takes a longer data file or a new segment.
   */
  append(frame: Buffer, needs: FrameNeeds, isQuick: boolean): Lsn | undefined {
    const { control, checker, space } = this.#parts
    const a = control.append.read(this.#fields)
    const lsn = a.tailLsn as Lsn
    // A process that has lost a page must not write: neither here nor, later, as the leader.
    checker.assertWhole()
    const state = control.readState(this.#published)
    if (control.filesInDoubt) this.#parts.assertInPlace(a, state)
    const stores = frame.readUInt32LE(FRAME.STORES)
    if (stores !== 0 && stores !== a.storesGeneration) throw new StoresChanged()
    const end = lsnAfter(lsn, frame.length)
    if (end > USERS_LSN_LIMIT && frame.readUInt32LE(FRAME.OP_COUNT) > 0) throw logUsedUp(a.tailLsn)
    const { puts, outcomeBytes } = needs
    if (isExpiring(frame, 0)) a.expiring++
    const mayExpire = a.expiring > 0 || state[STATE.EXPIRING]! > 0
    const slots = slotsFor(needs, state, a.operations - state[STATE.OPERATIONS]!, mayExpire)
    // Room for the outcomes of all frames that are not applied yet: they must not meet a full disk.
    const owedBytes = a.outcomeBytes - state[STATE.OUTCOME_BYTES]! + outcomeBytes
    const fileSlots = control.fileSlots
    const missingSlots = this.#missingSlots(slots, state, a.reservedSlots, puts)
    const isSegmentFull = lsnAfter(end, owedBytes) > a.segmentLimitLsn
    if (isQuick && (missingSlots > 0 || isSegmentFull)) return undefined
    if (missingSlots > 0) growDataFile(space, control, fileSlots + missingSlots)
    if (isSegmentFull) this.#switchSegment(paddedBytes(frame.length) + owedBytes, fileSlots)
    this.#write(frame)
    if (needs.isDropping) a.storesGeneration++
    a.reservedSlots += slots
    a.outcomeBytes += outcomeBytes
    a.frames++
    const operations = frame.readUInt32LE(FRAME.OP_COUNT)
    a.operations += operations
    if (operations > 0) a.changedLsn = lsn
    control.append.publish(a)
    return end
  }

  /**
   * Appends a frame of outcomes, for which there is room: it was set aside when the frames were appended that it is of.
   * `outcomeBytes`: set aside for the outcomes of all frames that are applied by then. Returns where it begins and
   * ends.
   */
  appendOutcomes(frame: Buffer, outcomeBytes: number): { lsn: Lsn; end: Lsn } {
    const a = this.#parts.control.append.read(this.#fields)
    const lsn = a.tailLsn as Lsn
    // There is room, unless an appender has died while it started the next segment. If there is no next segment, the
    // room that was set aside is still there.
    const end = lsnAfter(lsn, frame.length)
    if (end > a.segmentLimitLsn) this.#goOnInOldSegment()
    if (end > a.segmentLimitLsn)
      this.#switchSegment(paddedBytes(frame.length) + a.outcomeBytes - outcomeBytes, this.#parts.control.fileSlots)
    this.#write(frame)
    this.#parts.control.append.publish(a)
    return { lsn, end }
  }

  /** Writes a frame at the tail, and moves the tail in `this.#fields`, which is not published yet. */
  #write(frame: Buffer): void {
    const { control, log, clock } = this.#parts
    const a = this.#fields
    const lsn = a.tailLsn as Lsn
    const segment = log.segment(a.segmentStartLsn as Lsn, a.segmentSalt)
    if (segment === undefined || !isSegmentOf(a, segment)) throw segmentGone(log, a.segmentStartLsn as Lsn)
    crashPoint('before-append')
    sealFrame(frame, lsn, control.durableLsn as Lsn, clock.now(), segment.header.salt)
    log.write(segment, frame, lsn)
    a.tailLsn = lsnAfter(lsn, frame.length)
  }

  /**
   * See log.ts for the order. `this.#fields` names the new segment afterwards. If there is no room for it, the data
   * file, which had `fileSlots`, is not left longer for the frame either.
   */
  #switchSegment(neededBytes: number, fileSlots: number): void {
    const { control, flusher, log } = this.#parts
    const a = this.#fields
    const tail = a.tailLsn as Lsn
    // An empty segment that is too short for this frame is created again; its header may be torn. And a segment
    // that has been moved (reuseSegment) has no name of its own until an appender has been here.
    if (a.segmentStartLsn !== tail) flusher.flush(a)
    a.segmentLimitLsn = tail
    control.append.publish(a)
    try {
      this.#goOnIn(log.createSegment(tail, neededBytes, a.changedLsn))
    } catch (error) {
      if (isFullDisk(error)) {
        this.isFull = true
        this.#goOnInOldSegment()
        this.#giveBackSlots(fileSlots)
      }
      throw error
    }
  }
  /** The last segment that was needed could not be made: the disk is full. */
  isFull = false

  #goOnIn(segment: OpenSegment): void {
    this.#fields.segmentStartLsn = segment.startLsn
    this.#fields.segmentSalt = segment.header.salt
    this.#fields.segmentDevice = segment.identity.device
    this.#fields.segmentInode = segment.identity.inode
    this.#fields.segmentLimitLsn = segment.header.limitLsn
  }

  /** Makes the data file as short as it was, unless a thread leads meanwhile: it may have taken new slots. */
  #giveBackSlots(fileSlots: number): void {
    const { control, leaderLock, space } = this.#parts
    if (control.fileSlots <= fileSlots || !leaderLock.tryTake()) return
    try {
      if (control.readState(this.#published)[STATE.NEXT_SLOT]! > fileSlots) return
      control.fileSlots = fileSlots
      guarded('Cutting the data file', () => cutDataFile(space, fileSlots))
    } finally {
      leaderLock.release()
      control.turns.callAll()
    }
  }

  /**
   * For a full disk: moves the last segment of the log to the log's end, so that there is room for frames again.
   * False if a part of the segment is still needed, because it is newer than the newest checkpoint. The caller holds
   * the leader lock, too.
   */
  reuseSegment(): boolean {
    const { control, log } = this.#parts
    const a = control.append.read(this.#fields)
    if (
      control.readState(this.#published)[STATE.CHECKPOINT_DURABLE_LSN] !== a.tailLsn ||
      a.segmentStartLsn === a.tailLsn
    )
      return false
    // After a crash in between, the next appender goes on where this leaves off.
    a.segmentLimitLsn = a.tailLsn
    control.append.publish(a)
    this.#goOnIn(log.moveSegment(a.segmentStartLsn as Lsn, a.tailLsn as Lsn, a.changedLsn))
    control.append.publish(a)
    return true
  }

  /**
   * By how many slots the data file is too short: `needed` more must be available when this frame is applied, besides
   * the slots promised to frames that are not applied yet. Frames that put anything leave some slots to frames that
   * only delete (slot-budget.ts).
   */
  #missingSlots(needed: number, state: StateFields, reservedSlots: number, puts: boolean): number {
    const promised = reservedSlots - state[STATE.RELEASED]!
    const available = this.#parts.control.fileSlots - state[STATE.NEXT_SLOT]! + state[STATE.ELIGIBLE]! - promised
    return (puts ? needed + slotsForDeletes(state) : needed) - available
  }

  /**
   * If no next segment has been made: lets frames go on in the one that was given up for it, up to where it has room.
   */
  #goOnInOldSegment(): void {
    const { control, log, storage } = this.#parts
    const a = this.#fields
    const { segmentStartLsn, segmentSalt } = a
    const segment = log.segment(segmentStartLsn as Lsn, segmentSalt)
    if (segment === undefined || storage.info(log.pathOf(a.tailLsn as Lsn)).kind !== 'missing') return
    const room = segment.file.sizeBytes() - SEGMENT_HEADER_BYTES
    a.segmentLimitLsn = Math.max(a.tailLsn, Math.min(segment.header.limitLsn, lsnWithin(segment.startLsn, room)))
    control.append.publish(a)
  }
}

const logUsedUp = (tail: number): FullError =>
  new FullError(
    `The log has used up its positions: it ends at LSN ${tail} of ${USERS_LSN_LIMIT}. Reading goes on; to write again, copy ` +
      'all entries into a new database, whose log starts from the beginning: docs/operations.md has a program that does.',
  )
