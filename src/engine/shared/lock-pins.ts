// Pins of readers that may read a database but not write it, and so cannot write `control`: shared locks on bytes
// of the data file, which need only a descriptor that can read. The number of the byte says which tree is read,
// and the kernel releases the lock when the reader dies.
//
// A reader locks the byte of the newest tree and then looks whether that tree is still the newest; if not, it
// starts over. So a leader that asks for such locks after it has published a tree sees every reader of an
// older one, or that reader will start over: the same argument as for pins in `control` (pins.ts). A leader
// asks once in each group, with one system call.
//
// There are two kinds. A reader of a database that others have open can be ended (`maxHeldBytes`): the leader
// notes in `control` that trees up to an LSN are no longer pinned, and such a reader checks that as the owner
// of a pin checks its flag (read-guard.ts). A reader that found no other user and replayed the log in its own
// memory has no shared `control` to check. Its pin is firm: on the tree of the header that it started from, until
// it closes. A second lock, whose byte the LSN names, too, says that.
import { loadFence } from '../../storage/fence.js'
import type { LockTable } from '../../storage/storage.js'
import { MAX_LSN } from '../../wal/lsn.js'
import { STATE, type Control, type StateFields } from './control.js'
import { expiredError, type PinPlace } from './read-guard.js'
import type { SharablePin, PinSource } from './shared-pins.js'
import { LOCK } from './lock-bytes.js'

type LockPinKind = 'endable' | 'firm'

const byteOf = (lsn: number): number => LOCK.LSN_PINS + lsn
const firmByteOf = (lsn: number): number => LOCK.FIRM_PINS + (lsn % 2 ** 32)

/** The locks that one thread holds as pins. Several pins on the same tree share a lock. */
export class LockPins {
  readonly #locks: LockTable
  readonly #counts = new Map<number, number>()
  #isClosed = false

  constructor(locks: LockTable) {
    this.#locks = locks
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  /** The database is being closed, and its locks with it: there is nothing left to unpin. */
  close(): void {
    this.#isClosed = true
  }

  /** The caller then checks that the tree of `lsn` is still the newest, and unpins it if it is not. */
  pin(lsn: number, kind: LockPinKind): void {
    // First what makes it firm: a leader that sees the pin sees that, too.
    if (kind === 'firm') this.#hold(firmByteOf(lsn))
    this.#hold(byteOf(lsn))
  }

  unpin(lsn: number, kind: LockPinKind): void {
    this.#drop(byteOf(lsn))
    if (kind === 'firm') this.#drop(firmByteOf(lsn))
  }

  #hold(byte: number): void {
    const count = this.#counts.get(byte) ?? 0
    // It always succeeds: no user acquires these exclusively.
    if (count === 0) this.#locks.tryLock(byte, 'shared')
    this.#counts.set(byte, count + 1)
  }

  #drop(byte: number): void {
    const count = this.#counts.get(byte)
    if (count === undefined) return
    if (count > 1) this.#counts.set(byte, count - 1)
    else {
      this.#counts.delete(byte)
      this.#locks.unlock(byte)
    }
  }
}

/** The pin of the snapshots and iterators of one thread that read the same tree; endable. */
class LockPin implements SharablePin {
  readonly #control: Control
  readonly #pins: LockPins
  #lsn = 0
  // Figures that no other thread sees.
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
      this.#pins.pin(this.#lsn, 'endable')
      if (this.#control.visibleLsn() === this.#lsn) return
      this.release()
    }
  }

  get place(): PinPlace {
    return { lsn: this.#lsn }
  }

  get isExpired(): boolean {
    return this.#lsn <= this.#control.expiredUpToLsn
  }

  assertNotExpired(): void {
    loadFence()
    if (this.isExpired) throw expiredError()
  }

  release(): void {
    this.#pins.unpin(this.#lsn, 'endable')
  }
}

/** Where snapshots and iterators of a thread that cannot write `control` get their pins: it never runs out. */
export class LockPinSource implements PinSource {
  readonly #control: Control
  readonly #pins: LockPins

  constructor(control: Control, pins: LockPins) {
    this.#control = control
    this.#pins = pins
  }

  get isClosed(): boolean {
    return this.#pins.isClosed
  }

  acquire(): LockPin {
    return new LockPin(this.#control, this.#pins)
  }

  giveBack(pin: LockPin): void {
    pin.release()
  }
}

const NONE: readonly number[] = []

/** True if a pin on `lsn` is firm. A firm pin on an LSN that differs by a multiple of 2^32 makes it seem so, too. */
const isFirm = (locks: LockTable, lsn: number): boolean => isHeld(locks, firmByteOf(lsn))

const isHeld = (locks: LockTable, byte: number): boolean => locks.heldByOther(byte, byte + 1) >= 0

/**
 * LSNs below `below` of trees that others pin by locks, in no order; those of endable pins only if they are
 * above `endedUpTo`. Costs one system call if there are no such locks, and two or three more for each.
 */
export function lockPinned(locks: LockTable, endedUpTo: number, below: number): readonly number[] {
  const end = byteOf(below)
  if (locks.heldByOther(LOCK.LSN_PINS, end) < 0) return NONE
  const found = new Set<number>()
  const ranges = [[LOCK.LSN_PINS, end] as const]
  for (let range; (range = ranges.pop()) !== undefined;) {
    const byte = locks.heldByOther(...range)
    if (byte < 0) continue
    const lsn = byte - LOCK.LSN_PINS
    if (lsn > endedUpTo || isFirm(locks, lsn)) found.add(lsn)
    ranges.push([range[0], byte], [byte + 1, range[1]])
  }
  return [...found]
}

/** True if another user has the tree of `lsn` pinned by a lock, and no firm one. */
export const isEndable = (locks: LockTable, lsn: number): boolean => isHeld(locks, byteOf(lsn)) && !isFirm(locks, lsn)

/** How many trees others pin by locks. */
export const countLockPins = (locks: LockTable, endedUpTo: number): number =>
  lockPinned(locks, endedUpTo, MAX_LSN).length

/** True if another user pins any tree by a lock. */
export const anyLockPin = (locks: LockTable): boolean => locks.heldByOther(LOCK.LSN_PINS, byteOf(MAX_LSN)) >= 0
