// Reads the log for those who follow it, while others append to it and recycle what is old. It holds nothing back and
// keeps no file open between two calls, so that a reader that is slow, or never comes back, costs writers nothing.
//
// What may happen to the log meanwhile, and why nothing wrong is read:
//
//   a segment is recycled      its name is gone, or its bytes become those of another segment, with another salt and
//                              other LSNs: no frame of it passes (log-reader.ts). What has been copied was right. So
//                              a frame that is missing where one must be is either damage, or it is gone: the names
//                              of the segments tell which
//   a segment is added         the names are read after it is known up to where the log is visible: what was started
//                              before that is seen. So nothing that an older segment still holds after the start of a
//                              newer one is taken for part of the log
//   frames that nobody counts  the reader stops at the visible LSN, or, for outcomes, at the tail
//
// A frame that decides something is passed on with its outcome. A leader appends that before it publishes the tree that
// includes the frame, and recovery before it lets anyone in, so it lies between the frame and the tail.
import { CorruptError, InvalidError, LsnGoneError } from '../errors.js'
import { FRAME, isDeciding } from './frame.js'
import type { Log } from './log.js'
import { LogReader } from './log-reader.js'
import { FIRST_LSN, type Lsn } from './lsn.js'
import { forEachOutcome, isOutcomeFrame } from './outcomes.js'

/** A frame of operations, and its outcome if it has one. */
export interface FollowedFrame {
  readonly lsn: Lsn
  readonly timeMs: number
  /** The whole frame, in memory of its own. */
  readonly bytes: Buffer
  readonly outcome: Buffer | undefined
}

/** Where a follower stands in the log. */
export interface LogPlace {
  /** The LSN of the next frame to be read; undefined if it is yet to be found, from `after`. */
  position: Lsn | undefined
  /** All frames with operations up to this LSN have been passed on, or need not be. */
  after: number
  /** A frame that must be there although it is not after `after`: a part of it is still to be told. */
  within: Lsn | undefined
  /** What is known of frames that have not been read yet, and where the search for more goes on. */
  readonly outcomes: Map<number, Buffer>
  outcomesFrom: Lsn
}

/** The place after the frame at `lsn`, or after the beginning of that frame with `isWithin`. 0: before all frames. */
export const placeAfter = (lsn: number, isWithin = false): LogPlace => ({
  position: undefined,
  after: isWithin ? lsn - 1 : lsn,
  within: isWithin ? (lsn as Lsn) : undefined,
  outcomes: new Map(),
  outcomesFrom: 0 as Lsn,
})

/** The place at `position`, which is visible: what comes from now on. */
export const placeAt = (position: Lsn): LogPlace => ({ ...placeAfter(position - 1), position })

/** The oldest segment: where it begins, and from where on nothing is missing. */
interface Oldest {
  readonly start: Lsn
  /** LSN of the newest frame with operations that is gone; 0 if none is. */
  readonly since: number
}

interface Stretch {
  /** Frames up to here are visible. */
  readonly visible: Lsn
  /** Where the log ends: read after that. */
  readonly tail: Lsn
  /** Asked after each frame, with the bytes of those that are passed on: whether that will do. */
  readonly isEnough: (bytes: number) => boolean
}

export class ChangeReader {
  readonly #log: Log
  readonly #newestChange: () => number
  readonly #frames: LogReader
  readonly #ahead: LogReader

  /** `log`: for this reader alone; its files are closed after each call. `newestChange`: see `oldestOf`. */
  constructor(log: Log, newestChange: () => number) {
    this.#log = log
    this.#newestChange = newestChange
    this.#frames = new LogReader(log, FIRST_LSN)
    this.#ahead = new LogReader(log, FIRST_LSN)
  }

  /**
   * Reads on from `place`, which it moves, until it has read enough or all that is visible. Throws `LsnGoneError` if
   * frames that come next are gone, and `InvalidError` if `place` was to be within a frame, and there is none.
   */
  read(place: LogPlace, stretch: Stretch): FollowedFrame[] {
    try {
      return this.#read(place, stretch)
    } finally {
      this.#log.close()
    }
  }

  #read(place: LogPlace, stretch: Stretch): FollowedFrame[] {
    const found: FollowedFrame[] = []
    const frames = this.#frames
    let bytes = 0
    for (let tries = 0; ;) {
      place.position ??= this.#find(place, stretch.visible)
      frames.restart(place.position)
      this.#ahead.restart(place.position)
      while (frames.next(stretch.visible)) {
        const frame = this.#take(place, stretch.tail)
        if (frame === 'no outcome') break
        place.position = frames.position
        if (frame !== undefined) {
          found.push(frame)
          bytes += frame.bytes.length
        }
        if (stretch.isEnough(bytes)) return found
      }
      if (place.position >= stretch.visible || found.length > 0) return found
      // Something is missing there: it is gone, or has been while the names were read, or it is damaged.
      this.#assertNotGone(place)
      if (tries++ > 0) throw missing(place.position)
    }
  }

  /** The frame that has just been read, if it is one to be passed on. */
  #take(place: LogPlace, tail: Lsn): FollowedFrame | 'no outcome' | undefined {
    const { bytes, at, lengthBytes, lsn } = this.#frames
    if (isOutcomeFrame(bytes, at) || bytes.readUInt32LE(at + FRAME.OP_COUNT) === 0) return undefined
    if (lsn <= place.after) return undefined
    if (place.within !== undefined && lsn !== place.within)
      throw new InvalidError(
        `There is no change at LSN ${place.within} to go on after. Give a cursor as it was received.`,
      )
    place.within = undefined
    const outcome = isDeciding(bytes, at) ? this.#outcomeOf(place, lsn, tail) : undefined
    if (outcome === undefined && isDeciding(bytes, at)) return 'no outcome'
    place.after = lsn
    const copy = Buffer.from(bytes.subarray(at, at + lengthBytes))
    return { lsn, timeMs: bytes.readDoubleLE(at + FRAME.TIME), bytes: copy, outcome }
  }

  /** Looks for the outcome of the frame at `lsn` between it and the tail, and keeps those of others on the way. */
  #outcomeOf(place: LogPlace, lsn: Lsn, tail: Lsn): Buffer | undefined {
    const { outcomes } = place
    const ahead = this.#ahead
    if (!outcomes.has(lsn)) {
      const from = Math.max(place.outcomesFrom, lsn) as Lsn
      if (ahead.position !== from) ahead.restart(from)
      while (!outcomes.has(lsn) && ahead.next(tail)) {
        const { bytes, at, lengthBytes } = ahead
        if (!isOutcomeFrame(bytes, at)) continue
        forEachOutcome(bytes, at, lengthBytes, (decided, outcome) => {
          if (decided >= lsn) outcomes.set(decided, Buffer.from(outcome))
        })
      }
      place.outcomesFrom = ahead.position
    }
    const outcome = outcomes.get(lsn)
    outcomes.delete(lsn)
    return outcome
  }

  /** Where to begin to read, to have all frames after `place.after`. */
  #find(place: LogPlace, visible: Lsn): Lsn {
    const { after, within } = place
    const oldest = this.#oldest()
    const isGone = within === undefined ? after < oldest.since : within < oldest.start
    if (isGone) throw gone(after, oldest.since)
    if (within !== undefined && this.#isFrame(within, visible)) return within
    if (after < oldest.start) return oldest.start
    // Mostly it is the LSN of a frame; else the segment is read from its beginning.
    if (this.#isFrame(after as Lsn, visible)) return this.#frames.position
    return this.#log.starts().findLast((start) => start <= after && this.#log.segment(start) !== undefined)!
  }

  /** True if there is a frame of operations at `lsn`; then the reader stands after it. */
  #isFrame(lsn: Lsn, visible: Lsn): boolean {
    const frames = this.#frames
    frames.restart(lsn)
    return frames.next(visible) && frames.lsn === lsn && !isOutcomeFrame(frames.bytes, frames.at)
  }

  /** Throws if frames are gone that come next. If only frames are gone that changed nothing, it goes on after them. */
  #assertNotGone(place: LogPlace): void {
    const oldest = this.#oldest()
    if (place.position! >= oldest.start) return
    if (place.after < oldest.since) throw gone(place.after, oldest.since)
    place.position = oldest.start
  }

  #oldest(): Oldest {
    // What is open may have been recycled since.
    this.#log.close()
    return oldestOf(this.#log, this.#newestChange)
  }
}

/** From where on the log is there. `newestChange`: LSN of the newest frame with operations, as appenders know it. */
export function oldestOf(log: Log, newestChange: () => number): Oldest {
  const starts = log.starts()
  for (const start of starts) {
    const header = log.segment(start)?.header
    if (header !== undefined) return { start, since: header.changedLsn }
  }
  // It is being moved or made, perhaps by one that has died: what comes next will be there. All before that is gone,
  // and this is what the header will say of it. Later frames may have been appended by now.
  const start = starts[0] ?? FIRST_LSN
  return { start, since: Math.min(start - 1, newestChange()) }
}

const gone = (after: number, since: number): LsnGoneError =>
  new LsnGoneError(
    `The log does not go back to LSN ${after} any more: changes between it and LSN ${since} are gone. Read everything ` +
      `once more and follow from now on, or go on after LSN ${since} without them; the option "retain" of open keeps more of the log.`,
    since,
  )

const missing = (lsn: Lsn): CorruptError =>
  new CorruptError(`The log is damaged at LSN ${lsn}: a frame that was visible, or its outcome, is missing.`, { lsn })
