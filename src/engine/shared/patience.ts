// How long a thread waits for another one.
import type { Storage } from '../../storage/storage.js'

/** How long a waiter sleeps before it looks for itself. */
export const LOOK_AGAIN_MS = 20

/** A sleep of `LOOK_AGAIN_MS` that took longer counts for at most this much: the waiter itself was stopped. */
const MAX_SLEEP_MS = 1000

/**
 * How long a waiter has looked for what it waits for. Time in which the waiter itself was stopped, or the whole
 * machine was asleep, hardly counts: it could not have looked, and the holder may have been stopped too.
 */
export class Patience {
  readonly #storage: Storage
  #lookedMs: number
  #leftMs: number

  constructor(storage: Storage, timeoutMs: number) {
    this.#storage = storage
    this.#lookedMs = storage.monotonicMs()
    this.#leftMs = timeoutMs
  }

  /** Ask this after each look. */
  isOver(): boolean {
    const now = this.#storage.monotonicMs()
    this.#leftMs -= Math.min(now - this.#lookedMs, MAX_SLEEP_MS)
    this.#lookedMs = now
    return this.#leftMs <= 0
  }

  get leftMs(): number {
    return this.#leftMs
  }
}
