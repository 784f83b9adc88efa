// Pins of readers that may read a database and not write it, and so not `control`: shared locks on bytes of
// the data file, which need nothing but a descriptor to read from. The number of the byte says which
// tree is read, and the kernel lets go of it when the reader dies.
//
// A reader locks the byte of the newest tree and then looks whether that is still the newest; if not, it
// starts over. So a leader that asks for such locks after it has published a tree sees every reader of an
// older one, or that reader will start over: the same argument as for pins in `control` (pins.ts). A leader
// asks once a group, with one system call.
//
// There are two kinds. The reader of a database that others have open can be ended (`maxHeldBytes`): the leader
// notes in `control` that the trees up to an LSN are held no longer, and such a reader looks there as the
// owner of a pin looks at its flag (read-guard.ts). Who found nobody and replayed the log in its own memory has no
// `control` to look at. Its pin is firm: the tree of the header that it began with, until it closes.
import { loadFence } from '../../storage/fence.js'
import type { LockTable } from '../../storage/storage.js'
import { STATE, type Control, type StateFields } from './control.js'
import { expiredError } from './read-guard.js'
import type { SharablePin, PinSource } from './shared-pins.js'
import { LOCK } from './lock-bytes.js'

type LockPinKind = 'endable' | 'firm'

const byteOf = (lsn: number, kind: LockPinKind): number => LOCK.LSN_PINS + 2 * lsn + (kind === 'firm' ? 1 : 0)

/** The locks that one thread holds as pins. Several pins on one tree share a lock. */
export class LockPins {
  readonly #locks: LockTable
  readonly #held = new Map<number, number>()

  constructor(locks: LockTable) {
    this.#locks = locks
  }

  /** Whoever calls then looks whether the tree of `lsn` is still the newest, and lets go again if it is not. */
  hold(lsn: number, kind: LockPinKind): void {
    const byte = byteOf(lsn, kind)
    const count = this.#held.get(byte) ?? 0
    // Nobody takes these exclusively.
    if (count === 0) this.#locks.tryLock(byte, 'shared')
    this.#held.set(byte, count + 1)
  }

  letGo(lsn: number, kind: LockPinKind): void {
    const byte = byteOf(lsn, kind)
    const count = this.#held.get(byte)
    if (count === undefined) return
    if (count > 1) this.#held.set(byte, count - 1)
    else {
      this.#held.delete(byte)
      this.#locks.unlock(byte)
    }
  }
}

/** The pin of snapshots and iterators that read one tree; endable. */
class LockPin implements SharablePin {
  readonly #control: Control
  readonly #pins: LockPins
  #lsn = 0
  // Others do not see these.
  sharers = 0
  sinceMs = 0

  constructor(control: Control, pins: LockPins) {
    this.#control = control
    this.#pins = pins
  }

  pinNewest(into: StateFields): void {
    for (;;) {
      this.#control.readState(into)
      this.#lsn = into[STATE.VISIBLE_LSN]!
      this.#pins.hold(this.#lsn, 'endable')
      if (this.#control.visibleLsn() === this.#lsn) return
      this.release()
    }
  }

  get isExpired(): boolean {
    return this.#lsn <= this.#control.expiredUpToLsn
  }

  assertNotExpired(): void {
    loadFence()
    if (this.isExpired) throw expiredError()
  }

  release(): void {
    this.#pins.letGo(this.#lsn, 'endable')
  }
}

/** Where snapshots and iterators of a thread that cannot write `control` get their pins: there is no end of them. */
export class LockPinSource implements PinSource {
  readonly #control: Control
  readonly #pins: LockPins
  isClosed = false

  constructor(control: Control, pins: LockPins) {
    this.#control = control
    this.#pins = pins
  }

  acquire(): LockPin {
    return new LockPin(this.#control, this.#pins)
  }

  giveBack(pin: LockPin): void {
    pin.release()
  }
}

const NONE: readonly number[] = []
/** Above every LSN; twice as much is still a whole number above the first byte. */
const MAX_LSN = 2 ** 51 - 1

/**
 * LSNs below `below` of trees that others hold by locks, in no order; those of endable pins only from
 * `endedUpTo` (not included) on. Costs one system call if there are none, two more for each.
 */
export function lockPinned(locks: LockTable, endedUpTo: number, below: number): readonly number[] {
  const end = LOCK.LSN_PINS + 2 * below
  if (locks.heldByOther(LOCK.LSN_PINS, end) < 0) return NONE
  const found = new Set<number>()
  const ranges = [[LOCK.LSN_PINS, end] as const]
  for (let range; (range = ranges.pop()) !== undefined;) {
    const byte = locks.heldByOther(...range)
    if (byte < 0) continue
    const lsn = Math.floor((byte - LOCK.LSN_PINS) / 2)
    if (byte === byteOf(lsn, 'firm') || lsn > endedUpTo) found.add(lsn)
    ranges.push([range[0], byte], [byte + 1, range[1]])
  }
  return [...found]
}

/** True if anybody holds the tree of `lsn` by a pin that can be ended. */
export const isEndable = (locks: LockTable, lsn: number): boolean => {
  const byte = byteOf(lsn, 'endable')
  return locks.heldByOther(byte, byte + 1) >= 0
}

/** How many trees others hold by locks. */
export const countLockPins = (locks: LockTable, endedUpTo: number): number =>
  lockPinned(locks, endedUpTo, MAX_LSN).length

/** True if anybody else holds any tree by a lock. */
export const anyLockPin = (locks: LockTable): boolean => locks.heldByOther(LOCK.LSN_PINS, Number.MAX_SAFE_INTEGER) >= 0
