// Applying the log to the tree of a header, group by group. Each group is read twice: first to find how far good
// frames go and to check that all in them is well-formed, then to apply them as one. So a malformed frame stops the
// replay with nothing of its group changed.
import { crashPoint } from '../../crash-points.js'
import { FullError } from '../../errors.js'
import { FRAME } from '../../wal/frame.js'
import { OperationCursor } from '../../wal/operation.js'
import { isOutcomeFrame } from '../../wal/outcomes.js'
import type { Log, OpenSegment } from '../../wal/log.js'
import { LogReader } from '../../wal/log-reader.js'
import { bytesBetween, NO_LIMIT, type Lsn } from '../../wal/lsn.js'
import type { Applier } from '../commit/apply.js'
import type { Header } from '../format/header.js'
import { SLOT, SLOT_BYTES } from '../format/layout.js'
import type { SlotSpace } from '../format/slot-space.js'
import { newState, type Control } from '../shared/control.js'
import type { TreeReader } from '../tree/reader.js'

/** Length of log that is applied as one group; a longer group needs more free slots at a time. */
const GROUP_BYTES = 8 * 1024 * 1024
/** The scan for what an interrupted writer left stops after this many slots that were never used. */
const UNUSED_RUN = 1024

export interface ReplayParts {
  readonly control: Control
  readonly space: SlotSpace
  readonly log: Log
  readonly applier: Applier
  readonly reader: TreeReader
  /** `control` has been filled from it. */
  readonly header: Header
}

interface Replayed {
  /** LSN after the last good frame. */
  readonly endLsn: Lsn
  readonly frames: number
  readonly operations: number
  /** Slots that an interrupted writer left unsealed. */
  readonly slotsPartiallyWritten: number
  /** The segment that the log ends in; undefined if it is missing. */
  readonly segment: OpenSegment | undefined
}

interface Group {
  readonly endLsn: Lsn
  /** Frames of any type, and those of operations. */
  readonly parts: number
  readonly frames: number
  readonly operations: number
  /** Keys that the group changes, if it pays to read ahead. */
  readonly keys: readonly Buffer[]
}

/** Replays the log from the header's LSN, as far as good frames go. */
export function replay({ control, space, log, applier, reader, header }: ReplayParts): Replayed {
  const scan = new LogReader(log, header.lsn)
  const frames = new LogReader(log, header.lsn)
  const state = control.readState(newState())
  const done = { frames: 0, operations: 0 }
  let endLsn = header.lsn
  let mostFrames = Infinity
  let slotsPartiallyWritten: number | undefined
  for (;;) {
    const group = nextGroup(scan, endLsn, mostFrames, space.readAhead.isUseful)
    if (group.parts === 0) break
    reader.askFor(state, group.keys)
    // Before the replay itself writes there.
    slotsPartiallyWritten ??= countUnsealed(space, header)
    try {
      applier.apply(state, frames, group.endLsn)
    } catch (error) {
      if (!(error instanceof FullError) || group.parts === 1) throw error
      // Smaller groups need fewer slots at a time: the next group may use what one has freed. Nothing was published.
      mostFrames = Math.floor(group.parts / 2)
      control.readState(state)
      scan.restart(endLsn)
      frames.restart(endLsn)
      continue
    }
    endLsn = group.endLsn
    done.frames += group.frames
    done.operations += group.operations
    control.publishState(state)
    control.readState(state)
    crashPoint('mid-recovery')
  }
  return { endLsn, ...done, slotsPartiallyWritten: slotsPartiallyWritten ?? 0, segment: scan.segment }
}

function nextGroup(scan: LogReader, startLsn: Lsn, mostFrames: number, readsAhead: boolean): Group {
  const keys: Buffer[] = []
  const operation = new OperationCursor()
  let endLsn = startLsn
  let parts = 0
  let frames = 0
  let operations = 0
  while (bytesBetween(startLsn, endLsn) < GROUP_BYTES && parts < mostFrames && scan.next(NO_LIMIT)) {
    endLsn = scan.position
    parts++
    if (isOutcomeFrame(scan.bytes, scan.at)) continue
    frames++
    operation.begin(scan.bytes, scan.at, scan.lengthBytes)
    while (operation.next()) if (readsAhead) keys.push(Buffer.from(operation.key))
    operations += scan.bytes.readUInt32LE(scan.at + FRAME.OP_COUNT)
  }
  return { endLsn, parts, frames, operations, keys }
}

/**
 * Slots after the last checkpoint's end that were written to and that no checkpoint has sealed: what the interrupted
 * life left of slots that are now made again from the log.
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
