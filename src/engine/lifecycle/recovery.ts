// What the first opener does, whatever happened before: take the newest good header, make a new `control` from it,
// replay the log from the header's LSN, and bring the result to disk by a checkpoint. There is no other way to
// recover.
//
// Recovery never writes over what the header reaches, until the checkpoint at its end is on disk. So a process that
// is killed while it recovers, at any point and any number of times, leaves what it found.
//
// A torn tail is overwritten with zeros. Otherwise a frame in it that happens to be whole could be taken for part of
// the log when other frames lead up to it. Torn zeros are a torn tail again.
//
// Where the log ends, an appender may have started a segment and not finished it. Appending then goes on in the
// segment before. The disk may have more of that header than programs see: its flush may have failed, and the kernel
// may have given up the page. If the header came back after a power cut, it would hide the frames that were appended
// since. So it is erased, and that is flushed, before anything is appended.
//
// The same goes for frames: a process may have failed to flush them, and died. Programs read them, and a flush now
// does not bring them to disk. So what was replayed does not count as durable until the checkpoint includes it. The
// outcomes that are appended before that must not say it: after a power cut they would prove that frames had been on
// disk, and recovery would take their loss for damage.
import { newAppendFields, type AppendFields } from '../../wal/append-state.js'
import { classifyEnd, isUnfinished } from '../../wal/log-end.js'
import type { Log, OpenSegment } from '../../wal/log.js'
import type { Lsn } from '../../wal/lsn.js'
import type { CheckpointReport } from '../checkpoint/checkpointer.js'
import type { Damage } from '../format/damage.js'
import type { DatabaseClock } from '../shared/clock.js'
import { newState, STATE, type StateFields } from '../shared/control.js'
import { replay, type ReplayParts } from './replay.js'

/** What recovery did. */
export interface RecoveryReport {
  /** False if the database had been closed cleanly: then there was nothing to do. */
  readonly needed: boolean
  /** The checkpoint that the replay started from. */
  readonly checkpointNumber: number
  readonly fromLsn: number
  readonly toLsn: number
  readonly framesReplayed: number
  readonly operationsReplayed: number
  /** Bytes of frames at the end of the log that were started and never acknowledged; they are dropped. */
  readonly tornTailBytes: number
  /** Slots that an interrupted writer had started or left unsealed; their contents were made again. */
  readonly slotsPartiallyWritten: number
  /** Slots written by the replay. */
  readonly slotsRebuilt: number
  /** Header slots that were damaged; the checkpoint has replaced them. */
  readonly headersDamaged: number
  /**
   * Why the free list could not be read, if it was made again from the tree. The next checkpoint repairs it on disk.
   */
  readonly freeListDamage: Damage | undefined
  /**
   * The directory is a copy of a database that was open, or that a crash had left. If others wrote while it was
   * copied, its files are of different moments, whatever they seem to hold: verify it, and make backups with
   * `db.backup`.
   */
  readonly copiedWhileOpen: boolean
  readonly durationMs: number
}

interface RecoveryParts extends ReplayParts {
  readonly copiedWhileOpen: boolean
  readonly headersDamaged: number
  readonly freeListDamage: Damage | undefined
  /** This opener will not write. What it finds is repaired all the same. */
  readonly readOnly: boolean
  /** Appends what the replay decided, where the log does not say it. */
  readonly recordOutcomes: () => void
  /** Makes a checkpoint; undefined in a database that must not be written. */
  readonly checkpoint: (() => CheckpointReport | undefined) | undefined
  readonly clock: DatabaseClock
  readonly monotonicMs: () => number
}

/**
 * Replays the log. `control` says what the header says, the header is on disk, and the database is open nowhere
 * else.
 * @internal
 */
export function recover(parts: RecoveryParts): RecoveryReport {
  const { control, log, header, applier, checkpoint } = parts
  const startedMs = parts.monotonicMs()
  const from = header.lsn
  const before = control.readState(newState())
  const unfinished = isSegmentUnfinished(log, from)
  if (unfinished && checkpoint !== undefined) log.createSegment(from, 0, header.changedLsn)

  const replayed = replay(parts)
  const { endLsn, segment } = replayed
  parts.clock.goOnFrom(applier.newestTimeMs)
  const { tornBytes } = unfinished ? { tornBytes: 0 } : classifyEnd(log, endLsn, segment)
  const needed = endLsn !== from || tornBytes > 0

  const state = control.readState(newState())
  const append = appendFieldsAt(endLsn, segment, from, state)
  if (checkpoint === undefined) {
    control.append.publish(append)
    control.durableLsn = endLsn
  } else {
    append.segmentLimitLsn = Math.max(endLsn, log.adopt(segment!, !parts.readOnly))
    control.append.publish(append)
    if (tornBytes > 0) log.eraseTail(segment!, endLsn, tornBytes)
    log.eraseUnfinished(endLsn)
    parts.recordOutcomes()
    if (needed) checkpoint()
  }
  const after = control.readState(newState())
  const reused = Math.max(0, before[STATE.ELIGIBLE]! - state[STATE.ELIGIBLE]!)
  return {
    needed,
    checkpointNumber: header.checkpointNumber,
    fromLsn: from,
    toLsn: endLsn,
    framesReplayed: replayed.frames,
    operationsReplayed: replayed.operations,
    tornTailBytes: tornBytes,
    slotsPartiallyWritten: replayed.slotsPartiallyWritten,
    slotsRebuilt: needed ? after[STATE.NEXT_SLOT]! - before[STATE.NEXT_SLOT]! + reused : 0,
    headersDamaged: parts.headersDamaged,
    freeListDamage: parts.freeListDamage,
    copiedWhileOpen: parts.copiedWhileOpen,
    durationMs: parts.monotonicMs() - startedMs,
  }
}

/** True for an empty segment whose process died while making it again, for a frame that did not fit into it. */
const isSegmentUnfinished = (log: Log, from: Lsn): boolean =>
  isUnfinished(log, from) && !log.starts().some((start) => start < from && log.segment(start) !== undefined)

/** Where appending goes on: at the end of what was replayed. */
function appendFieldsAt(endLsn: Lsn, segment: OpenSegment | undefined, from: Lsn, state: StateFields): AppendFields {
  return {
    ...newAppendFields(),
    tailLsn: endLsn,
    frames: state[STATE.FRAMES]!,
    operations: state[STATE.OPERATIONS]!,
    changedLsn: state[STATE.CHANGED_LSN]!,
    segmentStartLsn: segment?.startLsn ?? from,
    segmentSalt: segment?.header.salt ?? 0,
    segmentDevice: segment?.identity.device ?? 0,
    segmentInode: segment?.identity.inode ?? 0,
    segmentLimitLsn: segment?.header.limitLsn ?? from,
  }
}
