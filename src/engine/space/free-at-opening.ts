// The slots that were free on disk when the database was opened: nothing that came from disk may lead to one. They lie
// in `control`, after the bitmap of what has been verified, as ascending runs; they stay as they are for as long as the
// database is open anywhere. A run costs the same however long it is.
//
//   offset size (of a run)
//        0    4  first slot
//        4    4  last slot
//
// On a full disk `control` may have no room for them. Then the bitmap says of each that it has been verified: that
// keeps everything from leading there, too, and costs what the file is long.
import { isFullDisk } from '../../storage/errors.js'
import { eachSlot, type Runs } from '../format/runs.js'
import type { Control } from '../shared/control.js'

const RUN_BYTES = 8

/** Bytes of `control` that this many runs take: whole pages. */
export const freeAtOpeningBytes = (runs: number): number => Math.ceil((runs * RUN_BYTES) / 4096) * 4096

export class FreeAtOpening {
  readonly #control: Control
  readonly #words: Int32Array[] = []
  readonly #wordsPerWindow: number

  constructor(control: Control) {
    this.#control = control
    this.#wordsPerWindow = control.region.windowBytes / 4
  }

  /**
   * Writes ascending runs. Only while no other user has the database open, and before the rings are made. Returns
   * where the next thing in `control` can begin.
   */
  write(runs: Runs): number {
    const control = this.#control
    const begin = control.freeRunsAt
    const end = begin + freeAtOpeningBytes(runs.length / 2)
    try {
      control.region.grow(end)
    } catch (error) {
      if (!isFullDisk(error)) throw error
      for (const slot of eachSlot(runs)) control.setVerified(slot)
      return begin
    }
    for (let i = 0; i < runs.length; i += 2) {
      this.#set(begin / 4 + i, runs[i]!)
      this.#set(begin / 4 + i + 1, runs[i]! + runs[i + 1]! - 1)
    }
    control.freeRuns = runs.length / 2
    return end
  }

  has(slot: number): boolean {
    // The first run that does not end before the slot.
    const begin = this.#control.freeRunsAt / 4
    let low = 0
    let high = this.#control.freeRuns
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#get(begin + 2 * middle + 1) < slot) low = middle + 1
      else high = middle
    }
    return low < this.#control.freeRuns && this.#get(begin + 2 * low) <= slot
  }

  #get(word: number): number {
    return this.#window(word)[word % this.#wordsPerWindow]! >>> 0
  }
  #set(word: number, to: number): void {
    this.#window(word)[word % this.#wordsPerWindow] = to
  }
  #window(word: number): Int32Array {
    const window = Math.floor(word / this.#wordsPerWindow)
    return (this.#words[window] ??= new Int32Array(this.#control.region.window(window)))
  }
}
