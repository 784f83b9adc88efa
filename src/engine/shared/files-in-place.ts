// Whether the files that this process has open are still those that others find. Each process looks for itself,
// before it acknowledges, seals or cuts anything, and each stops for itself: another process may have opened the
// same files by a path that still leads to them.
import type { AppendFields } from '../../wal/append-state.js'
import type { Log, OpenSegment } from '../../wal/log.js'
import type { Lsn } from '../../wal/lsn.js'
import type { Control } from './control.js'
import { DisplacedError, PUT_DATA_BACK, type DataFile } from './data-file.js'
import { headerSlots, isHeaderOf } from '../format/header.js'
import type { SlotSpace } from '../format/slot-space.js'

const SEGMENT_IS_SAVED =
  'Close the database everywhere, the last time with close() and not by ending the process: that saves every acknowledged write.'
export const RESTORED = 'Close the database everywhere before you put a file in its place; then open it again.'

interface FilesParts {
  readonly control: Control
  readonly log: Log
  readonly space: SlotSpace
  readonly dataFile: DataFile
}

/** Throws `DisplacedError` if the data file is not where others look for it, or has the contents of another. */
export function assertDataInPlace(parts: FilesParts, checkpointNumber: number): void {
  const { dataFile } = parts
  if (!dataFile.isInPlace()) throw new DisplacedError(dataFile.path, 'removed or replaced', PUT_DATA_BACK)
  assertHeaderInPlace(parts, checkpointNumber)
}

function assertHeaderInPlace({ control, dataFile, space }: FilesParts, checkpointNumber: number): void {
  if (
    !headerSlots(checkpointNumber).some((slot) => isHeaderOf(space.i32[0]!, slot, control.uuidWords, checkpointNumber))
  ) {
    throw new DisplacedError(dataFile.path, 'written over', RESTORED)
  }
}

export const segmentGone = (log: Log, startLsn: Lsn): DisplacedError =>
  new DisplacedError(log.pathOf(startLsn), 'removed or replaced, or written over,', SEGMENT_IS_SAVED)

/** The segment that the log ends in, if it is where others look for it and is the one that they write to. */
function segmentInPlace(log: Log, append: AppendFields): OpenSegment | undefined {
  const segment = log.segment(append.segmentStartLsn as Lsn, append.segmentSalt)
  return segment !== undefined && isSegmentOf(append, segment) && log.isInPlace(segment) ? segment : undefined
}

/** True if it is, and no other contents have been written over it. */
export function isSegmentInPlace(log: Log, append: AppendFields): boolean {
  const segment = segmentInPlace(log, append)
  return segment !== undefined && log.isWhole(segment)
}

export const isSegmentOf = (append: AppendFields, { identity }: OpenSegment): boolean =>
  identity.inode === append.segmentInode && identity.device === append.segmentDevice

/**
 * For so long after a look files are taken to be in place: a look costs two or three system calls, and a program that
 * removes a file may do so right after any look. docs/protocol.md says what may be acknowledged meanwhile.
 */
const LOOK_AGAIN_MS = 2

/** What the leader checks for each group. */
export class FilesWatch {
  readonly #parts: FilesParts
  readonly #nowMs: () => number
  /** The segment that was in place at the last look, and when that was, by the monotonic clock. */
  #seen: OpenSegment | undefined
  #seenMs = 0

  constructor(parts: FilesParts, nowMs: () => number) {
    this.#parts = parts
    this.#nowMs = nowMs
  }

  /** Throws `DisplacedError` as `look` does, unless it has looked just now. */
  assertInPlace(append: AppendFields, checkpointNumber: number): void {
    const { header } = this.#seen ?? {}
    const isSame = header?.startLsn === append.segmentStartLsn && header.salt === append.segmentSalt
    if (isSame && this.#nowMs() - this.#seenMs < LOOK_AGAIN_MS) assertHeaderInPlace(this.#parts, checkpointNumber)
    else this.look(append, checkpointNumber)
  }

  /**
   * Throws `DisplacedError` if the segment that the log ends in or the data file is not where others look for it, is
   * not the one that they write to, or has the contents of another.
   */
  look(append: AppendFields, checkpointNumber: number): void {
    const { log } = this.#parts
    this.#seen = undefined
    const nowMs = this.#nowMs()
    const segment = segmentInPlace(log, append)
    if (segment === undefined || !log.isWhole(segment)) throw segmentGone(log, append.segmentStartLsn as Lsn)
    assertDataInPlace(this.#parts, checkpointNumber)
    this.#seen = segment
    this.#seenMs = nowMs
  }
}
