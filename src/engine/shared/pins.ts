// Pins: how readers keep the slots that they can reach from being reused. A pin is a cache line of
// `control` and the lock byte that proves its owner alive:
//
//    0  8  LSN of the tree that is being read (float64)
//    8  4  0 free, 1 in use for one read, 2 in use for snapshots and iterators, 3 in use for them but expired
//   12  4  how many snapshots and iterators share it (shared-pins.ts)
//   16  8  when the first of those that share it was taken, by the monotonic clock in ms (float64)
//   24  8  LSN from which a writer needs the log (float64); 0 if none does
//
// A reader stores the LSN of the tree that it is about to read, raises the flag, and checks that this
// tree is still the newest. If it is not, the reader starts over. So when a leader has published tree T and
// then reads all pins, it sees every reader of an older tree, or that reader will see T and start over.
//
// A leader finds a pin whose owner died by its lock byte, which the kernel has released, and clears it.
//
// A leader expires snapshots and iterators that hold back too much (2 becomes 3), whichever process owns
// them. The pin still counts for the group at hand and no longer for the next. So between the store of
// the 3 and the first store into a slot that the reader could reach lie the publication and a turn of
// the leader lock. If a slot has changed while it was read, the 3 can be seen afterwards: read-guard.ts says
// what a reader does about that. A point read is not expired: it takes microseconds, unless its process is
// stopped in the middle of it.
//
// A writer that will ask what its frame decided (outcomes.ts) pins the log, not a tree: it stores the LSN that is
// visible before it appends. A checkpoint that includes its frame, and so could recycle what it needs, was begun
// after that, and sees it.
import { TooManyReadersError } from '../../errors.js'
import type { LockTable } from '../../storage/storage.js'
import { Control, MAX_PINS, STATE, type StateFields } from './control.js'
import { expiredError, LONG_FLAG, type PinPlace } from './read-guard.js'
import { LOCK } from './lock-bytes.js'
import { countLockPins, isEndable, lockPinned } from './lock-pins.js'

const PIN_WORDS = 16
const FLAG_WORD = 2
const SHARERS_WORD = 3
const SINCE_F64 = 2
const LOG_F64 = 3
const FREE = 0
const READING = 1
const LONG = LONG_FLAG
const EXPIRED = 3

/** One pin, owned by this thread until released. */
export class Pin {
  readonly #control: Control
  readonly index: number
  /** Indices in `control`: of the LSN in float64s, of the flag in 32-bit words. */
  readonly lsnAt: number
  readonly flagAt: number

  constructor(control: Control, index: number) {
    this.#control = control
    this.index = index
    const word = Control.PINS_WORD + index * PIN_WORDS
    this.lsnAt = word >> 1
    this.flagAt = word + FLAG_WORD
  }

  /** Pins the newest tree and writes the fields that a reader needs of it into `into`. */
  take(into: StateFields, flag = READING): void {
    const { i32, f64 } = this.#control
    for (;;) {
      const sequence = Atomics.load(i32, Control.SEQUENCE_WORD)
      const at = Control.STATE_INDEX + (sequence & 1) * Control.STATE_STRIDE
      const visible = f64[at + STATE.VISIBLE_LSN]!
      into[STATE.VISIBLE_LSN] = visible
      into[STATE.ROOT] = f64[at + STATE.ROOT]!
      into[STATE.HEIGHT] = f64[at + STATE.HEIGHT]!
      into[STATE.ENTRIES] = f64[at + STATE.ENTRIES]!
      if (flag === LONG) into[STATE.EARLIEST_EXPIRY] = f64[at + STATE.EARLIEST_EXPIRY]!
      f64[this.lsnAt] = visible
      // This store also keeps the loads above it before the load below it (fence.ts).
      Atomics.store(i32, this.flagAt, flag)
      if (Atomics.load(i32, Control.SEQUENCE_WORD) === sequence) return
    }
  }

  /** The same for a snapshot or iterator, which may be expired. `nowMs`: of the monotonic clock. */
  pinNewest(into: StateFields, nowMs: number): void {
    this.sinceMs = nowMs
    this.sharers = 1
    this.take(into, LONG)
  }

  /** How many share it, and when the first of these was taken; only for statistics. */
  set sharers(n: number) {
    this.#control.i32[this.flagAt - FLAG_WORD + SHARERS_WORD] = n
  }
  set sinceMs(ms: number) {
    this.#control.f64[this.lsnAt + SINCE_F64] = ms
  }

  /** The log from this LSN on is needed, until the pin is given back. 0: none of it is. */
  keepLogFrom(lsn: number): void {
    this.#control.f64[this.lsnAt + LOG_F64] = lsn
  }

  get keepsLog(): boolean {
    return this.#control.f64[this.lsnAt + LOG_F64] !== 0
  }

  get place(): PinPlace {
    return { flagAt: this.flagAt }
  }

  get isExpired(): boolean {
    return Atomics.load(this.#control.i32, this.flagAt) === EXPIRED
  }

  /** Throws `ExpiredError` if what has been read since `pinNewest` may have changed meanwhile. */
  assertNotExpired(): void {
    // An atomic read-modify-write: earlier loads are done before it, on every machine.
    if (Atomics.or(this.#control.i32, this.flagAt, 0) !== EXPIRED) return
    throw expiredError()
  }

  release(): void {
    Atomics.store(this.#control.i32, this.flagAt, FREE)
  }
}

/** How many released pins a thread keeps for its next readers. */
const MAX_SPARE_PINS = 4

/** The pins of one thread. A few that are given back are kept for the next reader. */
export class Pins {
  readonly #control: Control
  readonly #locks: LockTable | undefined
  readonly #free: Pin[] = []
  readonly #mine = new Set<number>()
  /** Where the search for a free pin starts: those before it were taken. */
  #next = 0
  #closed = false

  /** `locks`: undefined if `control` is private and every pin in it belongs to this thread. */
  constructor(control: Control, locks: LockTable | undefined) {
    this.#control = control
    this.#locks = locks
  }

  /** A pin that is not in use. Throws `TooManyReadersError` if all 4096 are. */
  acquire(): Pin {
    const pin = this.tryAcquire()
    if (pin !== undefined) return pin
    throw new TooManyReadersError(
      `All ${MAX_PINS} places for readers are in use: close snapshots and iterators that are no longer needed.`,
    )
  }

  /** The same; undefined if all are in use. */
  tryAcquire(): Pin | undefined {
    const kept = this.#free.pop()
    if (kept !== undefined) return kept
    for (let n = 0; n < MAX_PINS; n++) {
      const index = (this.#next + n) % MAX_PINS
      // Locks of one table do not exclude each other, so the pins of this thread are remembered.
      if (this.#mine.has(index) || this.#locks?.tryLock(LOCK.PINS + index, 'exclusive') === false) continue
      this.#next = index + 1
      const pin = new Pin(this.#control, index)
      this.#mine.add(index)
      // An owner that died may have left it in use.
      clear(pin)
      this.#control.raisePinsUsed(index + 1)
      return pin
    }
    return undefined
  }

  get isClosed(): boolean {
    return this.#closed
  }

  giveBack(pin: Pin): void {
    clear(pin)
    if (this.#free.length < MAX_SPARE_PINS) {
      this.#free.push(pin)
      return
    }
    this.#mine.delete(pin.index)
    this.#locks?.unlock(LOCK.PINS + pin.index)
    if (pin.index < this.#next) this.#next = pin.index
  }

  /** Clears every pin of this thread. */
  close(): void {
    this.#closed = true
    for (const index of this.#mine) {
      clear(new Pin(this.#control, index))
      this.#locks?.unlock(LOCK.PINS + index)
    }
    this.#mine.clear()
    this.#free.length = 0
  }

  /** LSNs of all trees older than `visible` that are being read, ascending. Called by the leader. */
  older(visible: number, clearDead: boolean): number[] {
    const { i32, f64, pinsUsed } = this.#control
    const lsns: number[] = []
    for (let index = 0; index < pinsUsed; index++) {
      const word = Control.PINS_WORD + index * PIN_WORDS
      if (!isActive(Atomics.load(i32, word + FLAG_WORD))) continue
      const lsn = f64[word >> 1]!
      if (lsn >= visible) continue
      if (clearDead && !this.#mine.has(index) && this.#clearIfDead(index)) continue
      lsns.push(lsn)
    }
    if (this.#locks !== undefined)
      for (const lsn of lockPinned(this.#locks, this.#control.expiredUpToLsn, visible)) lsns.push(lsn)
    return lsns.length > 1 ? lsns.sort((a, b) => a - b) : lsns
  }

  /**
   * The least LSN from which a writer needs the log; Infinity if none does. `byOthers`: writers of this thread do not
   * count.
   */
  logNeededFrom(byOthers = false): number {
    const { f64, pinsUsed } = this.#control
    let least = Infinity
    for (let index = 0; index < pinsUsed; index++) {
      const word = Control.PINS_WORD + index * PIN_WORDS
      const lsn = f64[(word >> 1) + LOG_F64]!
      if (lsn === 0 || lsn >= least) continue
      const isMine = this.#mine.has(index)
      if (isMine ? !byOthers : !this.#clearIfDead(index)) least = lsn
    }
    return least
  }

  #clearIfDead(index: number): boolean {
    if (this.#locks === undefined || !this.#locks.tryLock(LOCK.PINS + index, 'exclusive')) return false
    clear(new Pin(this.#control, index))
    this.#locks.unlock(LOCK.PINS + index)
    return true
  }

  /**
   * How many reads, snapshots and iterators there are at this moment, of all users; those that pin a tree by locks
   * count as one for each tree.
   */
  inUse(): number {
    const { i32, pinsUsed } = this.#control
    let n = 0
    for (let index = 0; index < pinsUsed; index++) {
      const word = Control.PINS_WORD + index * PIN_WORDS
      const flag = Atomics.load(i32, word + FLAG_WORD)
      if (flag === READING) n++
      else if (flag === LONG) n += Math.max(1, i32[word + SHARERS_WORD]!)
    }
    if (this.#locks !== undefined) n += countLockPins(this.#locks, this.#control.expiredUpToLsn)
    return n
  }

  /** When the snapshot or iterator that has been open longest was taken; undefined if none is open. */
  oldestSinceMs(): number | undefined {
    const { i32, f64, pinsUsed } = this.#control
    let oldest: number | undefined
    for (let index = 0; index < pinsUsed; index++) {
      const word = Control.PINS_WORD + index * PIN_WORDS
      if (Atomics.load(i32, word + FLAG_WORD) !== LONG) continue
      oldest = Math.min(oldest ?? Infinity, f64[(word >> 1) + SINCE_F64]!)
    }
    return oldest
  }

  /**
   * Expires the snapshots and iterators on the tree of `lsn`; false if there is none. They still count for the
   * group at hand. The caller holds the leader lock. A pin that has just been reused may be expired by mistake:
   * its owner gets the error, and reads nothing wrong.
   */
  expire(lsn: number): boolean {
    const { i32, f64, pinsUsed } = this.#control
    let any = false
    for (let index = 0; index < pinsUsed; index++) {
      const word = Control.PINS_WORD + index * PIN_WORDS
      if (f64[word >> 1] !== lsn) continue
      if (Atomics.compareExchange(i32, word + FLAG_WORD, LONG, EXPIRED) === LONG) any = true
    }
    if (this.#locks !== undefined && isEndable(this.#locks, lsn)) {
      this.#control.expiredUpToLsn = lsn
      any = true
    }
    return any
  }
}

function clear(pin: Pin): void {
  pin.keepLogFrom(0)
  pin.release()
}

const isActive = (flag: number): boolean => flag === READING || flag === LONG
