// The database's clock, by which entries expire. It never goes back, whatever becomes of the system's clock:
//
//   - It is the system's clock, unless that is behind what the database's clock has reached. Then it goes on from there
//     at the pace of the monotonic clock, which is the same for all processes of a machine.
//   - `control` has one word for it: how far the clock is ahead of the monotonic one. It only grows. Appenders and
//     readers raise it: what one has found expired, no other finds there again.
//   - Each frame of the log has the time of its append. So do the headers, that of their checkpoint. An opener goes on
//     from the latest of these.
//
// A crash of all processes, or of the machine, loses the word, and with it what the clock has reached since the last
// frame. If the system's clock is set back as well before the next opening, the clock goes on from that frame: what had
// expired since, and was not removed yet, is there again for a while. Nothing that was written is judged differently:
// frames are judged by their own times.
//
// A process that may not write `control` keeps what it has seen for itself.
import type { Storage } from '../../storage/storage.js'
import { MAX_TIME_MS } from '../../encoding/expiry-key.js'
import type { Control } from './control.js'

/** Times are taken in parts of a millisecond that are a power of 2, so that sums of them are exact. */
const PARTS = 1024

interface ClockParts {
  readonly control: Control
  readonly storage: Pick<Storage, 'now' | 'monotonicMs'>
  /** Whether this thread may write `control`. */
  readonly mayWrite: boolean
}

export class DatabaseClock {
  readonly #parts: ClockParts
  /** How far the clock is ahead of the monotonic clock, as far as this thread knows. */
  #aheadMs = Number.NEGATIVE_INFINITY

  constructor(parts: ClockParts) {
    this.#parts = parts
  }

  /** The time, in whole milliseconds since 1970: never less than before, in any thread or process. */
  now(): number {
    const { control, storage } = this.#parts
    // In this order: a thread that is stopped in between takes its clock for slower than it is, not for faster.
    const systemMs = storage.now()
    const monotonicMs = this.#monotonicMs()
    this.#aheadMs = Math.max(this.#aheadMs, control.clockAheadMs)
    if (systemMs - monotonicMs > this.#aheadMs) this.#raise(systemMs - monotonicMs)
    return Math.min(Math.floor(monotonicMs + this.#aheadMs), MAX_TIME_MS)
  }

  /** The clock has been at `timeMs` before this life of the database. */
  goOnFrom(timeMs: number): void {
    const aheadMs = timeMs - this.#monotonicMs()
    if (aheadMs > this.#aheadMs) this.#raise(aheadMs)
  }

  #raise(aheadMs: number): void {
    this.#aheadMs = aheadMs
    if (this.#parts.mayWrite) this.#parts.control.raiseClock(aheadMs)
  }

  #monotonicMs(): number {
    return Math.floor(this.#parts.storage.monotonicMs() * PARTS) / PARTS
  }
}
