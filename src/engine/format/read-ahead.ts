// Asking for slots before they are needed, so that a disk reads many at a time.
//
// While the data file fits into memory, the system's own read-ahead does best. Once it is longer than
// `readAheadBytes`, a load reads one page, and its thread waits for it. A reader that is about to read
// many slots then names them here first, and finds them in memory or on their way. Nothing depends on
// it: a slot that was not asked for, or that was evicted from memory again, is read when it is loaded.
import type { Region } from '../../storage/storage.js'

/** Slots per request: enough to keep a disk busy, few enough to stay in a small memory until they are read. */
const BATCH = 256

export class ReadAhead {
  readonly #region: Region
  readonly #slots = new Uint32Array(BATCH)
  #count = 0
  #last = 0

  constructor(region: Region) {
    this.#region = region
  }

  /** False while the system reads ahead by itself: then a request would be wasted. */
  get isUseful(): boolean {
    return !this.#region.readsAhead
  }

  /** Notes a slot that will be read, for the next request. */
  note(slot: number): void {
    // Consecutive keys mostly lie in one leaf.
    if (slot === this.#last) return
    this.#last = slot
    this.#slots[this.#count++] = slot
    if (this.#count === BATCH) this.ask()
  }

  /** Says that a slot is about to be overwritten: there is no need to read it. */
  willOverwrite(slot: number): void {
    if (!this.#region.readsAhead) this.#region.willOverwrite(slot)
  }

  /** Requests the slots that have been noted. */
  ask(): void {
    if (this.#count > 0) this.#region.willNeed(this.#slots.subarray(0, this.#count))
    this.#count = 0
    this.#last = 0
  }
}
