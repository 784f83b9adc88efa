// How long a leader waits for more frames before it flushes. Those whom the last group has served mostly write again
// at once. If the leader flushes before they have appended, they wait for the flush after that: half of the threads are
// served by each flush, and there are twice as many of these. So the leader waits for as many frames as there were in
// the last group, besides those that came while that was under way, but no longer than for a part of the time that a
// flush takes. A writer that is alone never waits: there is one frame in each of its groups.
//
// If they do not come in time, nobody waits for some groups; and fewer are expected then, since a group counts those
// that were really there.
//
// As with the choice of the leader, it is a matter of time only, and may say anything after a crash.
import type { Storage } from '../../storage/storage.js'
import type { Control } from '../shared/control.js'

const GATHERING_BYTES = 64

/** The number of frames at which the leader is to be woken (its lower 32 bits); 0 if it does not wait. */
const AWAITED = 0
/** Groups for which nobody waits, how many are left. */
const SKIP = 1
/** How many frames are expected to have been appended when the next group begins; frames before the last group. */
const WANTED_F64 = 1
const FRAMES_F64 = 2
/** How long a flush takes, on average. */
const FLUSH_MS_F64 = 3

const LONGEST_MS = 2
const PART_OF_FLUSH = 0.6
const SKIPPED = 4
/** The weight of the newest flush in the average. */
const WEIGHT = 0.1

export class Gathering {
  readonly #control: Control
  readonly #storage: Storage
  readonly #at: number
  readonly #i32: Int32Array
  readonly #f64: Float64Array

  constructor(control: Control, storage: Storage, offsetBytes: number) {
    this.#control = control
    this.#storage = storage
    this.#at = offsetBytes
    this.#i32 = new Int32Array(control.region.window(0), offsetBytes, GATHERING_BYTES / 4)
    this.#f64 = new Float64Array(control.region.window(0), offsetBytes, GATHERING_BYTES / 8)
  }

  /** Waits until as many frames have been appended as are expected, or not much longer. Under the leader lock. */
  gather(frames: () => number): void {
    const wanted = this.#f64[WANTED_F64]!
    if (frames() >= wanted) return
    if (this.#i32[SKIP]! > 0) {
      this.#i32[SKIP]!--
      return
    }
    const untilMs = this.#storage.monotonicMs() + Math.min(LONGEST_MS, PART_OF_FLUSH * this.#f64[FLUSH_MS_F64]!)
    const word = wanted | 0 || 1
    while (frames() < wanted) {
      const leftMs = untilMs - this.#storage.monotonicMs()
      if (leftMs <= 0) {
        this.#i32[SKIP] = SKIPPED
        break
      }
      Atomics.store(this.#i32, AWAITED, word)
      // Who appended before that store saw nobody wait.
      if (frames() < wanted) this.#control.region.wait(this.#at + 4 * AWAITED, word, leftMs)
    }
    Atomics.store(this.#i32, AWAITED, 0)
  }

  /** A frame was appended, and there are `frames` now: wakes the leader if it waits for that many. */
  noteAppended(frames: number): void {
    const awaited = Atomics.load(this.#i32, AWAITED)
    if (awaited === 0 || ((frames - awaited) | 0) < 0) return
    Atomics.store(this.#i32, AWAITED, 0)
    this.#control.region.wakeOne(this.#at + 4 * AWAITED)
  }

  /** A flush took that long. The caller holds the leader lock. */
  noteFlush(ms: number): void {
    this.#f64[FLUSH_MS_F64]! += WEIGHT * (ms - this.#f64[FLUSH_MS_F64]!)
  }

  /** A group is published that ends with frame number `last`, and there are `frames` now. */
  noteGroup(last: number, frames: number): void {
    const inGroup = last - this.#f64[FRAMES_F64]!
    this.#f64[FRAMES_F64] = last
    this.#f64[WANTED_F64] = frames + inGroup
  }
}
