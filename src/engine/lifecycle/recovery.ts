// What the first opener does, whatever happened before: take the newest good header, make `control`
// anew from it, replay the log from the header's LSN, and bring the result to disk by a checkpoint.
// There is no other recovery path.
//
// Nothing of it writes over what the header reaches until the checkpoint at its end is on disk. So
// a process killed while recovering, at any point and as often as one likes, leaves what it found.
//
// A torn tail is overwritten with zeros, so that a frame in it which happens to be whole can never be
// taken for part of the log once other frames lead up to it. Torn zeros are a torn tail again.
import { crashPoint } from '../../crash-points.js'
import { FullError } from '../../errors.js'
import { newAppendFields } from '../../wal/append-state.js'
import { FRAME, forEachOperation } from '../../wal/frame.js'
import type { Log } from '../../wal/log.js'
import type { Lsn } from '../../wal/lsn.js'
import { LogReader } from '../../wal/log-reader.js'
import type { CheckpointReport } from '../checkpoint/checkpointer.js'
import type { Committer } from '../commit/committer.js'
import { newState, STATE, type Control } from '../shared/control.js'
import type { Header } from '../format/header.js'
import { SLOT, SLOT_BYTES } from '../format/layout.js'
import type { SlotSpace } from '../format/slot-space.js'
import type { TreeReader } from '../tree/reader.js'
import type { Damage } from '../format/damage.js'
import { classifyEnd, isUnfinished } from '../../wal/log-end.js'

/** What recovery did. */
export interface RecoveryReport {
  /** False if the database had been closed cleanly: then there was nothing to do. */
  readonly needed: boolean
  /** The checkpoint that replay began from. */
  readonly checkpointNumber: number
  readonly fromLsn: Lsn
  readonly toLsn: Lsn
  readonly framesReplayed: number
  readonly operationsReplayed: number
  /** Bytes of frames at the end of the log that were begun and never acknowledged; dropped. */
  readonly tornTailBytes: number
  /** Slots that an interrupted writer had begun or left unsealed; their contents were made again. */
  readonly slotsPartiallyWritten: number
  /** Slots written by the replay. */
  readonly slotsRebuilt: number
  /** Header slots that were damaged and have been replaced by the checkpoint. */
  readonly headersDamaged: number
  /** Why the free list could not be read, if it was made again from the tree; by the next checkpoint on disk, too. */
  readonly freeListDamage: Damage | undefined
  readonly durationMs: number
}

/** Log applied as one group while replaying; more needs more free slots at a time. */
const GROUP_BYTES = 8 * 1024 * 1024
/** The scan for remains of an interrupted writer stops behind so many slots that were never used. */
const UNUSED_RUN = 1024

export interface RecoveryParts {
  readonly control: Control
  readonly space: SlotSpace
  readonly log: Log
  readonly committer: Committer
  readonly reader: TreeReader
  readonly header: Header
  readonly headersDamaged: number
  readonly freeListDamage: Damage | undefined
  /** This opener will not write; what it finds is repaired all the same. */
  readonly readOnly: boolean
  /** Makes a checkpoint; undefined in a database that must not be written. */
  readonly checkpoint: (() => CheckpointReport | undefined) | undefined
  readonly monotonicMs: () => number
  readonly onProgress?: (replayedBytes: number) => void
}

/** Replays the log. `control` says what the header says, which is on disk; nobody else has the database open. */
export function recover(parts: RecoveryParts): RecoveryReport {
  const { control, space, log, committer, header } = parts
  const startedMs = parts.monotonicMs()
  const from = header.lsn
  const reader = new LogReader(log, from)
  const scan = new LogReader(log, from)
  const state = control.readState(newState())
  const before = state[STATE.NEXT_SLOT]!
  let groupEnd = from
  /** Frames of a group at the most. */
  let groupFrames = Infinity
  let frames = 0
  let operations = 0
  let slotsPartiallyWritten: number | undefined
  const nextBefore = state[STATE.ELIGIBLE]!

  // An empty segment that was being made anew, for a frame that did not fit into it, when its maker died.
  const unfinished = !scan.next(Number.MAX_SAFE_INTEGER as Lsn) && scan.segment === undefined && isUnfinished(log, from)
  if (unfinished && parts.checkpoint !== undefined) log.createSegment(from, 0)
  scan.restart(from)

  for (;;) {
    // Two passes over each group: find how far good frames go, then apply them as one.
    const start = groupEnd
    const keys: Buffer[] = []
    let framesHere = 0
    let operationsHere = 0
    while (groupEnd - start < GROUP_BYTES && framesHere < groupFrames && scan.next(Number.MAX_SAFE_INTEGER as Lsn)) {
      // Before anything is applied: what is malformed stops it with nothing changed.
      forEachOperation(scan.bytes, scan.at, scan.lengthBytes, (bytes, _kind, keyAt, keyLength) => {
        if (space.readAhead.isUseful) keys.push(Buffer.from(bytes.subarray(keyAt, keyAt + keyLength)))
      })
      framesHere++
      operationsHere += scan.bytes.readUInt32LE(scan.at + FRAME.OP_COUNT)
      groupEnd = scan.position
    }
    if (groupEnd === start) break
    parts.reader.askFor(state, keys)
    // Before the replay itself writes there.
    slotsPartiallyWritten ??= countUnsealed(space, header)
    try {
      committer.apply(state, reader, groupEnd)
    } catch (error) {
      if (!(error instanceof FullError) || framesHere === 1) throw error
      // Smaller groups need fewer slots at a time: what one frees the next may use. Nothing was published.
      groupFrames = Math.floor(framesHere / 2)
      groupEnd = start
      control.readState(state)
      scan.restart(start)
      reader.restart(start)
      continue
    }
    frames += framesHere
    operations += operationsHere
    control.publishState(state)
    control.readState(state)
    crashPoint('mid-recovery')
    parts.onProgress?.(groupEnd - from)
  }
  const end = unfinished ? { lsn: from, tornBytes: 0 } : classifyEnd(log, groupEnd, scan.segment)
  const needed = groupEnd !== from || end.tornBytes > 0

  control.durableLsn = groupEnd
  const append = newAppendFields()
  append.tailLsn = groupEnd
  append.frames = state[STATE.FRAMES]!
  append.operations = state[STATE.OPERATIONS]!
  append.segmentStartLsn = scan.segment?.startLsn ?? from
  append.segmentSalt = scan.segment?.header.salt ?? 0
  append.segmentDevice = scan.segment?.identity.device ?? 0
  append.segmentInode = scan.segment?.identity.inode ?? 0
  append.segmentLimitLsn = scan.segment?.header.limitLsn ?? from
  if (parts.checkpoint !== undefined) {
    append.segmentLimitLsn = Math.max(groupEnd, log.adopt(scan.segment!, !parts.readOnly))
    control.append.publish(append)
    if (end.tornBytes > 0) log.eraseTail(scan.segment!, groupEnd, end.tornBytes)
    if (needed) parts.checkpoint()
  } else control.append.publish(append)
  const after = control.readState(newState())
  const reused = Math.max(0, nextBefore - state[STATE.ELIGIBLE]!)
  return {
    needed,
    checkpointNumber: header.checkpointNumber,
    fromLsn: from,
    toLsn: groupEnd,
    framesReplayed: frames,
    operationsReplayed: operations,
    tornTailBytes: end.tornBytes,
    slotsPartiallyWritten: slotsPartiallyWritten ?? 0,
    slotsRebuilt: needed ? after[STATE.NEXT_SLOT]! - before + reused : 0,
    headersDamaged: parts.headersDamaged,
    freeListDamage: parts.freeListDamage,
    durationMs: parts.monotonicMs() - startedMs,
  }
}

/**
 * Slots behind the last checkpoint's end that somebody has written to and no checkpoint has sealed:
 * what the interrupted life left of slots that are now made again from the log.
 */
function countUnsealed(space: SlotSpace, header: Header): number {
  const sizeSlots = Math.floor(space.region.sizeBytes() / SLOT_BYTES)
  let count = 0
  const { readAhead } = space
  for (let slot = header.nextSlot, asked = slot, unused = 0; slot < sizeSlots && unused < UNUSED_RUN; slot++) {
    if (slot === asked && readAhead.isUseful) {
      while (asked < Math.min(slot + UNUSED_RUN, sizeSlots)) readAhead.note(asked++)
      readAhead.ask()
    }
    const w = space.byteOf(slot) >> 2
    const i32 = space.i32[space.windowOf(slot)]!
    if (i32[w + (SLOT.TYPE >> 2)] === 0) unused++
    else {
      unused = 0
      count++
    }
  }
  return count
}
