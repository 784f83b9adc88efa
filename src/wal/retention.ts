// How much of the log is kept beyond what recovery needs, for those who read it later: change feeds, and a restore to a
// moment.
import { FRAME, readLsn } from './frame.js'
import type { Log, OpenSegment } from './log.js'
import { lsnWithin, type Lsn } from './lsn.js'
import { SEGMENT_HEADER_BYTES } from './segment.js'

/** The log is kept as long as it is within both limits; with 0 for either, none of it is. */
export interface Retention {
  /** Bytes of the newest log. Infinity: no limit. */
  readonly bytes: number
  /** How old it may be. Infinity: no limit. */
  readonly ms: number
}

export const isRetaining = ({ bytes, ms }: Retention): boolean => bytes > 0 && ms > 0

/**
 * The LSN from which on the log is kept. Whole segments are: the one that holds this LSN is kept. `tail`: where the log
 * ends, as far as that is certain. `nowMs`: by the clock that frames have their times from.
 */
export function retainedFrom(log: Log, tail: Lsn, retention: Retention, nowMs: number): Lsn {
  if (!isRetaining(retention)) return tail
  const { bytes, ms } = retention
  const withinBytes = bytes === Infinity ? 0 : Math.max(0, lsnWithin(tail, -bytes))
  return Math.max(withinBytes, ms === Infinity ? 0 : olderThan(log, nowMs - ms)) as Lsn
}

/** Everything before this LSN was written before `timeMs`. */
function olderThan(log: Log, timeMs: number): number {
  let lsn = 0
  for (const start of log.starts()) {
    const segment = log.segment(start)
    // One that was never finished counts as absent.
    if (segment === undefined) continue
    const firstMs = timeOfFirstFrame(segment)
    if (firstMs === undefined || firstMs > timeMs) break
    lsn = start
  }
  return lsn
}

/** When the first frame of a segment was written; undefined if it has none. */
function timeOfFirstFrame({ file, startLsn }: OpenSegment): number | undefined {
  const bytes = Buffer.alloc(FRAME.HEADER_BYTES)
  const got = file.read(bytes, 0, bytes.length, SEGMENT_HEADER_BYTES)
  return got === bytes.length && readLsn(bytes, FRAME.LSN) === startLsn ? bytes.readDoubleLE(FRAME.TIME) : undefined
}
