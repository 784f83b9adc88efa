// Follows the log of a database that this thread has open, as others write it: reads what has become visible, and says
// when there is more.
//
// Who waits has called for it in `control` before it looks for the last time (`callOnChange`), so no publication comes
// between the look and the sleep. The thread that publishes the next tree wakes the watch of this follower, one thread
// of the addon for all who wait here, which brings the news to the event loop. A publisher that dies between the two is
// made good by the next one, or by the look that each follower takes for itself from time to time. While nobody waits
// there is no call, no watch and no look.
//
// An onlooker may not write to `control`, so it cannot call: it looks more often instead, less and less while nothing
// comes. So does a process that can have no thread for the watch.
import type { Region, Storage, Watch } from '../../storage/storage.js'
import { guarded } from '../../storage/errors.js'
import { newAppendFields } from '../../wal/append-state.js'
import { ChangeReader, type FollowedFrame, type LogPlace } from '../../wal/change-reader.js'
import { Log } from '../../wal/log.js'
import type { Lsn } from '../../wal/lsn.js'
import { Control, newState, STATE } from '../shared/control.js'

/** How often a follower that waits looks for what a dead publisher has not told it. */
const LOOK_AGAIN_MS = 500
/** The same where there is no watch: at first, and at most. */
const FIRST_LOOK_MS = 4
const LAST_LOOK_MS = 64
/** The watch stays for this long after the last wait, since the next one may come soon. */
const WATCH_LINGERS_MS = 1000
/** So much is read at a time: it takes about a millisecond or two. A single longer frame takes as long as it takes. */
const CHUNK_BYTES = 1024 * 1024
const CHUNK_MS = 2
/** Frames between two looks at the clock. */
const CLOCK_FRAMES = 16

interface FollowParts {
  readonly storage: Storage
  readonly control: Control
  readonly controlRegion: Region
  readonly log: Log
  readonly isOnlooker: boolean
}

interface Waiter {
  readonly beyond: number
  readonly wake: () => void
}

/** What was read, and whether that was all that is visible. */
interface Followed {
  readonly frames: readonly FollowedFrame[]
  readonly isAll: boolean
  /** Up to here the log was visible. */
  readonly visible: Lsn
}

export class LogFollower {
  readonly #parts: FollowParts
  readonly #reader: ChangeReader
  readonly #chunkBytes: number
  readonly #waiters = new Set<Waiter>()
  #watch: Watch | undefined
  #endOfWatch: NodeJS.Timeout | undefined
  #timer: NodeJS.Timeout | undefined
  #lookMs = FIRST_LOOK_MS

  /** `chunkBytes`: how much is read at a time. */
  constructor(parts: FollowParts, chunkBytes = CHUNK_BYTES) {
    this.#parts = parts
    this.#chunkBytes = chunkBytes
    const { storage, directory, uuid, segmentBytes } = parts.log
    const log = new Log({ storage, directory, uuid, segmentBytes, readOnly: true })
    this.#reader = new ChangeReader(log, () => parts.control.append.read(newAppendFields()).changedLsn)
  }

  /** Up to here the log is visible. */
  get visible(): Lsn {
    this.#parts.control.checkFaults()
    return this.#parts.control.visibleLsn() as Lsn
  }

  /**
   * The same, and the LSN of the newest visible frame that has operations; 0 if there was none. (What is visible after
   * that may not be on disk yet, and be another after a power cut.)
   */
  now(): { readonly visible: Lsn; readonly changedLsn: number } {
    this.#parts.control.checkFaults()
    const state = this.#parts.control.readState(newState())
    return { visible: state[STATE.VISIBLE_LSN]! as Lsn, changedLsn: state[STATE.CHANGED_LSN]! }
  }

  get uuid(): Buffer {
    return this.#parts.log.uuid
  }

  /**
   * Reads on from `place`, which it moves, for as long as the event loop may be held. Throws `LsnGoneError`,
   * `InvalidError` (`placeAfter`), `CorruptError`, `IoError`.
   */
  read(place: LogPlace): Followed {
    const { control, storage } = this.#parts
    const untilMs = storage.monotonicMs() + CHUNK_MS
    let looks = 0
    const isEnough = (bytes: number): boolean =>
      bytes >= this.#chunkBytes || (++looks % CLOCK_FRAMES === 0 && storage.monotonicMs() >= untilMs)
    return guarded('Reading the log', () => {
      const { visible } = this
      // Only after that: what was decided about visible frames lies before this tail.
      const tail = control.append.read(newAppendFields()).tailLsn as Lsn
      const frames = this.#reader.read(place, { visible, tail, isEnough })
      control.checkFaults()
      return { frames, isAll: place.position === visible, visible }
    })
  }

  // ---- waiting -----------------------------------------------------------------------------------

  /**
   * Calls `wake` once, as soon as more is visible than up to `beyond`: maybe at once. It may also be called when there
   * is nothing new. Returns what ends the wait. As long as something waits, it keeps the process alive, as a timer
   * would.
   */
  wait(beyond: Lsn, wake: () => void): () => void {
    const waiter = { beyond, wake }
    this.#waiters.add(waiter)
    this.#begin()
    // Looked at after the call: what was published before it wakes nobody.
    if (this.#watch !== undefined) this.#parts.control.callOnChange()
    if (this.#visibleOrLost() > beyond && this.#waiters.delete(waiter)) {
      this.#endIfIdle()
      wake()
    }
    return () => {
      if (this.#waiters.delete(waiter)) this.#endIfIdle()
    }
  }

  /** Wakes all who wait. */
  stop(): void {
    for (const { wake } of this.#waiters) wake()
    this.#waiters.clear()
    this.#endIfIdle()
    clearTimeout(this.#endOfWatch)
    this.#watch?.close()
    this.#watch = undefined
  }

  #begin(): void {
    clearTimeout(this.#endOfWatch)
    const { controlRegion, isOnlooker } = this.#parts
    try {
      if (!isOnlooker) this.#watch ??= controlRegion.watch(Control.SEQUENCE_BYTE, () => this.#look())
    } catch {
      // Without a thread for it (ulimit -u) it looks for itself.
    }
    if (this.#timer !== undefined) return
    this.#lookMs = FIRST_LOOK_MS
    this.#setTimer()
  }

  #setTimer(): void {
    const ms = this.#watch === undefined ? this.#lookMs : LOOK_AGAIN_MS
    this.#timer = setTimeout(() => {
      this.#lookMs = Math.min(2 * this.#lookMs, LAST_LOOK_MS)
      this.#setTimer()
      this.#look()
    }, ms)
  }

  #endIfIdle(): void {
    if (this.#waiters.size > 0 || this.#timer === undefined) return
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#endOfWatch = setTimeout(() => {
      this.#watch?.close()
      this.#watch = undefined
    }, WATCH_LINGERS_MS).unref()
  }

  /** Wakes those for whom there is something new, and calls for the others. */
  #look(): void {
    for (let seen = -1; ;) {
      const visible = this.#visibleOrLost()
      if (visible === seen) return
      for (const waiter of this.#waiters) {
        if (waiter.beyond >= visible) continue
        this.#waiters.delete(waiter)
        waiter.wake()
      }
      if (this.#waiters.size === 0 || this.#watch === undefined) break
      this.#parts.control.callOnChange()
      seen = visible
    }
    this.#endIfIdle()
  }

  /** Nothing is true in a page that was lost: those who wait are woken, and find that out. */
  #visibleOrLost(): number {
    const { control, controlRegion } = this.#parts
    return controlRegion.faultCount() > 0 ? Infinity : control.visibleLsn()
  }
}
