// Pins: how readers keep the slots that they can reach from being reused. A pin is a cache line of
// `control` and the lock byte that proves its owner alive:
//
//    0  8  LSN of the tree that is being read (float64)
//    8  4  1 while it is in use
//
// A reader stores the LSN of the tree it is about to read, raises the flag, and looks whether that
// tree is still the newest. If not it does so again. So when a leader, having published tree T,
// reads all pins, it sees every reader of an older tree, or that reader will see T and start over.
//
// A pin whose owner died is found by its lock byte, which the kernel has let go, and cleared.
import { ReadersError } from '../errors.js'
import type { LockTable } from '../storage/storage.js'
import { Control, MAX_PINS, STATE, type StateFields } from './control.js'
import { LOCK } from './lock-bytes.js'

const PIN_WORDS = 16
const FLAG_WORD = 2

/** One pin, owned by this thread until released. */
export class Pin {
  readonly #control: Control
  readonly index: number
  /** Index of the LSN in float64s and of the flag in 32-bit words of `control`. */
  readonly lsnAt: number
  readonly flagAt: number

  constructor(control: Control, index: number) {
    this.#control = control
    this.index = index
    const word = Control.PINS_WORD + index * PIN_WORDS
    this.lsnAt = word >> 1
    this.flagAt = word + FLAG_WORD
  }

  /** Pins the newest tree and writes what a reader needs to know of it into `into`. */
  take(into: StateFields): void {
    const { i32, f64 } = this.#control
    for (;;) {
      const sequence = Atomics.load(i32, Control.SEQUENCE_WORD)
      const at = Control.STATE_INDEX + (sequence & 1) * Control.STATE_STRIDE
      const visible = f64[at + STATE.VISIBLE]!
      into[STATE.VISIBLE] = visible
      into[STATE.ROOT] = f64[at + STATE.ROOT]!
      into[STATE.HEIGHT] = f64[at + STATE.HEIGHT]!
      into[STATE.ENTRIES] = f64[at + STATE.ENTRIES]!
      f64[this.lsnAt] = visible
      // This store also keeps the loads above before the one below (fence.ts).
      Atomics.store(i32, this.flagAt, 1)
      if (Atomics.load(i32, Control.SEQUENCE_WORD) === sequence) return
    }
  }

  release(): void {
    Atomics.store(this.#control.i32, this.flagAt, 0)
  }
}

/** The pins of one thread. Those given back are kept for the next reader. */
export class Pins {
  readonly #control: Control
  readonly #locks: LockTable | undefined
  readonly #free: Pin[] = []
  readonly #mine = new Set<number>()

  /** `locks`: undefined if `control` is private and every pin in it this thread's own. */
  constructor(control: Control, locks: LockTable | undefined) {
    this.#control = control
    this.#locks = locks
  }

  /** A pin that is not in use. Throws `ReadersError` if all 4096 are. */
  acquire(): Pin {
    const kept = this.#free.pop()
    if (kept !== undefined) return kept
    // Those below `pinsUsed` may have been left behind; new ones come after.
    for (let index = 0; index < MAX_PINS; index++) {
      // Locks of one table do not exclude each other: what is ours is remembered.
      if (this.#mine.has(index) || this.#locks?.tryLock(LOCK.PINS + index, 'exclusive') === false) continue
      const pin = new Pin(this.#control, index)
      this.#mine.add(index)
      pin.release()
      this.#control.raisePinsUsed(index + 1)
      return pin
    }
    throw new ReadersError(
      `All ${MAX_PINS} readers are in use: close snapshots and iterators that are no longer needed.`,
    )
  }

  giveBack(pin: Pin): void {
    pin.release()
    this.#free.push(pin)
  }

  /** Clears every pin of this thread. */
  close(): void {
    for (const index of this.#mine) {
      new Pin(this.#control, index).release()
      this.#locks?.unlock(LOCK.PINS + index)
    }
    this.#mine.clear()
    this.#free.length = 0
  }

  /** LSNs of all trees older than `visible` that somebody reads, ascending. Called by the leader. */
  older(visible: number, clearDead: boolean): number[] {
    const { i32, f64, pinsUsed } = this.#control
    const lsns: number[] = []
    for (let index = 0; index < pinsUsed; index++) {
      const word = Control.PINS_WORD + index * PIN_WORDS
      if (Atomics.load(i32, word + FLAG_WORD) === 0) continue
      const lsn = f64[word >> 1]!
      if (lsn >= visible) continue
      if (clearDead && !this.#mine.has(index) && this.#clearIfDead(index, word)) continue
      lsns.push(lsn)
    }
    return lsns.length > 1 ? lsns.sort((a, b) => a - b) : lsns
  }

  #clearIfDead(index: number, word: number): boolean {
    if (this.#locks === undefined || !this.#locks.tryLock(LOCK.PINS + index, 'exclusive')) return false
    Atomics.store(this.#control.i32, word + FLAG_WORD, 0)
    this.#locks.unlock(LOCK.PINS + index)
    return true
  }

  /** Pins in use at this moment, by anybody. */
  inUse(): number {
    let n = 0
    for (let index = 0; index < this.#control.pinsUsed; index++) {
      n += Atomics.load(this.#control.i32, Control.PINS_WORD + index * PIN_WORDS + FLAG_WORD)
    }
    return n
  }
}
