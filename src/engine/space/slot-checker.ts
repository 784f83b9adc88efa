// Verification of slots. A slot that the last recovery took from disk is verified the first time
// anybody touches it: CRC, its own number, type and level, that entries and cells lie where they
// may, that it is no newer than the tree it was taken from, and that what it leads to came from
// disk as well, is not free, and has not been come to from elsewhere.
// After that the hot paths can trust its inside. Slots made since then are not checked: they have
// not been to disk.
//
// A bitmap in `control` says which slots are still due. Its bits are only ever cleared while the database
// is open: by whoever has found a slot sound, or by the allocator, before it hands a slot out. So one that
// is cleared late says nothing wrong; and one that is set says that the slot is as it came from disk. A leaf
// stays due until it has been found in its place, too (leaf-bounds.ts), so that whoever comes to one that is not
// looks as closely as whoever came first. A slot's bit is cleared before those of what it leads to: else it
// would seem to lead where others have been already.
import { type CorruptError, IoError } from '../../errors.js'
import { HEADER_SLOTS, kindWord, TYPE, TYPE_NAMES, type SlotNo } from '../format/layout.js'
import { Node } from '../format/node.js'
import { damagedError, nodeViewDamage, slotDamage, type TreeBounds } from '../format/slot-damage.js'
import { kindAndCountOf } from '../format/slot-header.js'
import type { SlotSpace } from '../format/slot-space.js'
import type { Control } from '../shared/control.js'
import { readStep, type ReadGuard } from '../shared/read-guard.js'

export class SlotChecker {
  readonly #space: SlotSpace
  readonly #control: Control
  readonly #records: boolean
  readonly #node = new Node()
  readonly #copy = Node.scratch()
  readonly #bounds: TreeBounds
  #faultsSeen: number

  /** `records`: what has been verified is noted in `control`, for everybody. Without it nothing is written. */
  constructor(space: SlotSpace, control: Control, records = true) {
    this.#space = space
    this.#control = control
    this.#records = records
    this.#bounds = {
      get lsn() {
        return control.recoveredLsn
      },
      leadsTo: (slot) => slot >= HEADER_SLOTS && this.isUnverified(slot),
    }
    this.#faultsSeen = space.region.faultCount()
  }

  /** Slots that the data file holds. */
  get fileSlots(): number {
    return this.#control.fileSlots
  }

  /** True if `slot` came from disk, was not free there, and nobody has looked at it yet. */
  isUnverified(slot: number): boolean {
    return this.#control.isUnverified(slot)
  }

  /**
   * Makes sure that `slot` is what a reader expects: verifies it if that is still due, and compares
   * type and level. `level` also guarantees that a walk down ends. Throws `CorruptError`, or `IoError`
   * if a page was lost. True if it had not been verified before: a leaf then stays due until whoever
   * found it in its place says so (`accept`).
   *
   * `hold`: of a reader that can be ended (read-guard.ts). It has found `slot` where it still was; what it
   * reads there next it must find to be held before it believes it.
   */
  require(slot: number, type: number, level: number, hold?: ReadGuard): boolean {
    if (hold !== undefined) return !this.isPlain(slot, type, level) && this.take(this.#copy, slot, type, level, hold)
    const why = this.damageOf(slot, type, level)
    if (why !== undefined) throw damagedError(slot, why)
    if (!this.isUnverified(slot)) return false
    if (type !== TYPE.LEAF) this.accept(slot)
    return true
  }

  /** Says that `slot` is sound and, if it is a leaf, in its place. */
  accept(slot: number): void {
    if (this.#records) this.#control.setVerified(slot)
  }

  /** The error for a sound slot that what leads to it is wrong about. */
  misplacedError(slot: number): CorruptError {
    return damagedError(slot, 'its keys are not those that what leads to it says')
  }

  /** What is wrong with `slot` for a reader that expects this of it. Verifies it if that is due, and it stays due. */
  damageOf(slot: number, type: number, level: number): string | undefined {
    if (!this.#isInFile(slot)) return NOT_IN_FILE
    const unfit = this.#unfit(this.#word(slot), type, level)
    if (unfit !== undefined || !this.isUnverified(slot)) return unfit
    const why = slotDamage(this.#space, slot as SlotNo, this.#node, this.#bounds)
    this.checkFaults()
    // Somebody else may have verified it meanwhile, and have gone on to what it leads to.
    return why !== undefined && this.isUnverified(slot) ? why : undefined
  }

  /**
   * True if `slot` lies in the file, says that it is this, and need not be verified: then it may be read where it is.
   */
  isPlain(slot: number, type: number, level: number): boolean {
    return this.#isInFile(slot) && (this.#word(slot) & 0xffff) === kindWord(type, level) && !this.isUnverified(slot)
  }

  /**
   * Copies `slot` into `into`, and does to the copy what `require` does to a slot, once it is known to have
   * been held: for a reader that can be ended. Throws as `require` does, and what `hold` throws.
   */
  take(into: Node, slot: number, type: number, level: number, hold: ReadGuard): boolean {
    if (!this.#isInFile(slot)) throw damagedError(slot, NOT_IN_FILE)
    // Asked first: once the slot has been handed out again, it is due no longer, and the copy is as it was.
    const due = this.isUnverified(slot)
    readStep()
    into.copyOf(this.#space, slot as SlotNo)
    this.checkFaults()
    hold.assertNotExpired()
    readStep()
    const unfit = this.#unfit(kindAndCountOf(into.i32, into.base), type, level)
    if (unfit !== undefined) throw damagedError(slot, unfit)
    if (!due) return false
    const why = nodeViewDamage(into, this.#bounds)
    if (why === undefined) {
      if (type !== TYPE.LEAF) this.accept(slot)
      return true
    }
    // As in `damageOf`; or what it leads to has been handed out since, and this reader been ended before that.
    const isDamaged = this.isUnverified(slot)
    hold.assertNotExpired()
    if (isDamaged) throw damagedError(slot, why)
    return true
  }

  #isInFile(slot: number): boolean {
    return slot >= HEADER_SLOTS && slot < this.#control.fileSlots
  }

  /** Type, level and count of a slot. */
  #word(slot: number): number {
    return kindAndCountOf(this.#space.i32[this.#space.windowOf(slot)]!, this.#space.byteOf(slot))
  }

  #unfit(word: number, type: number, level: number): string | undefined {
    if ((word & 0xffff) === kindWord(type, level)) return undefined
    // A lost page reads as zeros, and stays lost.
    if (this.#space.region.faultCount() !== 0) throw lostPage()
    return `it should be a ${TYPE_NAMES[type]} at level ${level}, and says ${word & 0xff} at ${(word >>> 8) & 0xff}`
  }

  /** Throws `IoError` if a page of the map was lost since the last call. */
  checkFaults(): void {
    // Without `control` no reader is seen by those who reuse slots: nothing it reads can be trusted.
    this.#control.checkFaults()
    const faults = this.#space.region.faultCount()
    if (faults === this.#faultsSeen) return
    this.#faultsSeen = faults
    throw lostPage()
  }

  /**
   * Throws `IoError` if this process has lost a page of the data file or of `control`, ever: what it
   * stores there reaches neither the file nor anybody else, so it may read on and not write.
   */
  assertWhole(): void {
    this.#control.checkFaults()
    if (!this.isWhole) throw lostPage()
  }
  get isWhole(): boolean {
    return this.#control.region.faultCount() === 0 && this.#space.region.faultCount() === 0
  }
}

const lostPage = (): IoError =>
  new IoError(
    'A page of the data file could not be read: the disk failed, or the file was cut short while it was open. ' +
      'Close the database in this process (everywhere, if others say the same), check the disk, and open it again.',
  )

const NOT_IN_FILE = 'it is not in the data file'
