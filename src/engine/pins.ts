// Pins: how readers keep the slots that they can reach from being reused. A pin is a cache line of
// `control` and the lock byte that proves its owner alive:
//
//    0  8  LSN of the tree that is being read (float64)
//    8  4  0 free, 1 in use for one read, 2 in use for a snapshot or an iterator, 3 such a one expired
//   16  8  when it was taken, by the monotonic clock in ms (float64); for snapshots and iterators
//
// A reader stores the LSN of the tree it is about to read, raises the flag, and looks whether that
// tree is still the newest. If not it does so again. So when a leader, having published tree T,
// reads all pins, it sees every reader of an older tree, or that reader will see T and start over.
//
// A pin whose owner died is found by its lock byte, which the kernel has let go, and cleared.
//
// A snapshot or iterator that holds back too much is expired by a leader (2 becomes 3), wherever its
// owner is. The pin counts for the group at hand and no longer for the next, so between the store of
// the 3 and the first store into a slot that the reader could reach lie the publication and a turn of
// the leader lock. A reader copies what it is about to hand out, then looks whether its pin still
// stands, and only then decodes: if a slot had changed while it was copied, the 3 is there to be seen.
// Whatever goes wrong on the way through slots that change meanwhile, it has expired. A point read is
// not expired: it takes microseconds, unless its process is stopped in the middle of it.
import { ExpiredError, ReadersError } from '../errors.js'
import type { LockTable } from '../storage/storage.js'
import { Control, MAX_PINS, STATE, type StateFields } from './control.js'
import { LOCK } from './lock-bytes.js'
import { isEndable, lockPinned } from './lock-pins.js'

const PIN_WORDS = 16
const FLAG_WORD = 2
const SINCE_F64 = 2
const FREE = 0
const READING = 1
const HELD = 2
const EXPIRED = 3

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
  take(into: StateFields, flag = READING): void {
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
      Atomics.store(i32, this.flagAt, flag)
      if (Atomics.load(i32, Control.SEQUENCE_WORD) === sequence) return
    }
  }

  /** The same for a snapshot or an iterator, which may be expired. `nowMs`: of the monotonic clock. */
  hold(into: StateFields, nowMs: number): void {
    this.#control.f64[this.lsnAt + SINCE_F64] = nowMs
    this.take(into, HELD)
  }

  /** Throws `ExpiredError` if what has been read since `hold` may have changed meanwhile. */
  assertHeld(): void {
    // An atomic read-modify-write: loads before it are done before it, on every machine.
    if (Atomics.or(this.#control.i32, this.flagAt, 0) !== EXPIRED) return
    throw new ExpiredError(
      'This snapshot or iterator was ended: it held back more of the data file than a writer allows (maxHeldBytes). ' +
        'Take a new one, and close it sooner.',
    )
  }

  release(): void {
    Atomics.store(this.#control.i32, this.flagAt, FREE)
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
      if (!isActive(Atomics.load(i32, word + FLAG_WORD))) continue
      const lsn = f64[word >> 1]!
      if (lsn >= visible) continue
      if (clearDead && !this.#mine.has(index) && this.#clearIfDead(index, word)) continue
      lsns.push(lsn)
    }
    if (this.#locks !== undefined) for (const lsn of lockPinned(this.#locks, this.#control.endedUpTo, visible)) lsns.push(lsn)
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
      if (isActive(Atomics.load(this.#control.i32, Control.PINS_WORD + index * PIN_WORDS + FLAG_WORD))) n++
    }
    return n
  }

  /** When the snapshot or iterator that has been open longest was taken; undefined if none is. */
  oldestSinceMs(): number | undefined {
    const { i32, f64, pinsUsed } = this.#control
    let oldest: number | undefined
    for (let index = 0; index < pinsUsed; index++) {
      const word = Control.PINS_WORD + index * PIN_WORDS
      if (Atomics.load(i32, word + FLAG_WORD) !== HELD) continue
      oldest = Math.min(oldest ?? Infinity, f64[(word >> 1) + SINCE_F64]!)
    }
    return oldest
  }

  /**
   * Expires the snapshots and iterators on the tree of `lsn`; false if there is none. They count for the
   * group at hand. The leader lock is held. A pin that has just been taken anew may be hit by mistake:
   * its owner is told, and reads nothing wrong.
   */
  expire(lsn: number): boolean {
    const { i32, f64, pinsUsed } = this.#control
    let any = false
    for (let index = 0; index < pinsUsed; index++) {
      const word = Control.PINS_WORD + index * PIN_WORDS
      if (f64[word >> 1] !== lsn) continue
      if (Atomics.compareExchange(i32, word + FLAG_WORD, HELD, EXPIRED) === HELD) any = true
    }
    if (this.#locks !== undefined && isEndable(this.#locks, lsn)) {
      this.#control.endedUpTo = lsn
      any = true
    }
    return any
  }
}

const isActive = (flag: number): boolean => flag === READING || flag === HELD
