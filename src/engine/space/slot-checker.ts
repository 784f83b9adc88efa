// Verification of slots. A slot that the last recovery took from disk is verified the first time
// any thread touches it: its CRC, its number, type and level, that entries and cells lie where they
// may, that it is no newer than the tree it was taken from, and that the slots it leads to came from
// disk as well, are not free, and have not been reached from elsewhere.
// After that the hot paths can trust its inside. Slots made since then are not checked: they have
// not been to disk.
//
// A bitmap in `control` says which slots are not due any more: nothing is to be written for those that nobody
// touches. While the database is open its bits are only ever set: by the thread that has found a slot sound, or by
// the allocator, before it hands a slot out. So a bit that is set late says nothing wrong, and one that is not set
// says that the slot is as it came from disk. A leaf stays due until it has been found in its place, too
// (leaf-bounds.ts), so that every reader of a misplaced leaf looks as closely as the first one. The bit of a slot is
// set before those of the slots that it leads to: otherwise it would seem to lead where others have been already.
import { type CorruptError, IoError } from '../../errors.js'
import { HEADER_SLOTS, kindWord, TYPE, TYPE_NAMES, type SlotNo } from '../format/layout.js'
import { Node } from '../format/node.js'
import { damagedError, nodeViewDamage, slotDamage, type TreeBounds } from '../format/slot-damage.js'
import { kindAndCountOf } from '../format/slot-header.js'
import type { SlotSpace } from '../format/slot-space.js'
import type { Control } from '../shared/control.js'
import { FreeAtOpening } from './free-at-opening.js'
import { readStep, type ReadGuard } from '../shared/read-guard.js'

export class SlotChecker {
  readonly #space: SlotSpace
  readonly #control: Control
  readonly #records: boolean
  readonly #free: FreeAtOpening
  readonly #node = new Node()
  readonly #copy = Node.scratch()
  readonly #bounds: TreeBounds
  #faultsSeen: number

  /** `records`: notes in `control`, for all threads, what has been verified. Otherwise nothing is written. */
  constructor(space: SlotSpace, control: Control, records = true) {
    this.#space = space
    this.#control = control
    this.#records = records
    this.#free = new FreeAtOpening(control)
    this.#bounds = {
      get lsn() {
        return control.recoveredLsn
      },
      leadsTo: (slot) => slot >= HEADER_SLOTS && this.isUnverified(slot) && !this.#free.has(slot),
    }
    this.#faultsSeen = space.region.faultCount()
  }

  /** How many slots the data file holds. */
  get fileSlots(): number {
    return this.#control.fileSlots
  }

  /** True if `slot` came from disk, and has not been verified or allocated yet. */
  isUnverified(slot: number): boolean {
    return this.#control.isUnverified(slot)
  }

  /**
   * Makes sure that `slot` is what a reader expects: verifies it if that is still due, and compares
   * type and level. `level` also guarantees that a walk down ends. Throws `CorruptError`, or `IoError`
   * if a page was lost. True if it had not been verified before: a leaf then stays due until the caller
   * has found it in its place and says so (`accept`).
   *
   * `guard`: of a reader that can be ended (read-guard.ts). It must have checked its pin after it read the number
   * of `slot`, and it must check it again before it believes what it reads in the slot.
   */
  require(slot: number, type: number, level: number, guard?: ReadGuard): boolean {
    if (guard !== undefined) return !this.isPlain(slot, type, level) && this.take(this.#copy, slot, type, level, guard)
    const why = this.damageOf(slot, type, level)
    if (why !== undefined) throw damagedError(slot, why)
    if (!this.isUnverified(slot)) return false
    if (type !== TYPE.LEAF) this.accept(slot)
    return true
  }

  /** Notes that `slot` is sound and, if it is a leaf, in its place. */
  accept(slot: number): void {
    if (this.#records) this.#control.setVerified(slot)
  }

  /** The error for a slot that is intact but stands in the wrong place of the tree. */
  misplacedError(slot: number): CorruptError {
    return damagedError(slot, 'its keys lie outside of the range that its parent gives it')
  }

  /** What is wrong with `slot` if it should be of this type and level. Verifies it if that is due; it stays due. */
  damageOf(slot: number, type: number, level: number): string | undefined {
    if (!this.#isInFile(slot)) return NOT_IN_FILE
    const unfit = this.#unfit(this.#kindAndCount(slot), type, level)
    if (unfit !== undefined || !this.isUnverified(slot)) return unfit
    const why = slotDamage(this.#space, slot as SlotNo, this.#node, this.#bounds)
    this.checkFaults()
    // Another thread may have verified it meanwhile, and have gone on to the slots that it leads to.
    return why !== undefined && this.isUnverified(slot) ? why : undefined
  }

  /**
   * True if `slot` is in the file, has this type and level, and need not be verified: it may be read where it is.
   */
  isPlain(slot: number, type: number, level: number): boolean {
    return (
      this.#isInFile(slot) && (this.#kindAndCount(slot) & 0xffff) === kindWord(type, level) && !this.isUnverified(slot)
    )
  }

  /**
   * Copies `slot` into `into`, checks that the pin stands, and then does to the copy what `require` does to a slot:
   * for a reader that can be ended. Throws as `require` does, and what `guard` throws.
   */
  take(into: Node, slot: number, type: number, level: number, guard: ReadGuard): boolean {
    if (!this.#isInFile(slot)) throw damagedError(slot, NOT_IN_FILE)
    // Asked before the copy is made: if the slot is allocated later, it is no longer due, and the copy is as it was.
    const due = this.isUnverified(slot)
    readStep()
    into.copyOf(this.#space, slot as SlotNo)
    this.checkFaults()
    guard.assertNotExpired()
    readStep()
    const unfit = this.#unfit(kindAndCountOf(into.i32, into.base), type, level)
    if (unfit !== undefined) throw damagedError(slot, unfit)
    if (!due) return false
    const why = nodeViewDamage(into, this.#bounds)
    if (why === undefined) {
      if (type !== TYPE.LEAF) this.accept(slot)
      return true
    }
    // As in `damageOf`; or slots that it leads to have been allocated since, and this reader was ended before that.
    const isDamaged = this.isUnverified(slot)
    guard.assertNotExpired()
    if (isDamaged) throw damagedError(slot, why)
    return true
  }

  #isInFile(slot: number): boolean {
    return slot >= HEADER_SLOTS && slot < this.#control.fileSlots
  }

  /** Type, level and count of a slot. */
  #kindAndCount(slot: number): number {
    return kindAndCountOf(this.#space.i32[this.#space.windowOf(slot)]!, this.#space.byteOf(slot))
  }

  #unfit(word: number, type: number, level: number): string | undefined {
    if ((word & 0xffff) === kindWord(type, level)) return undefined
    // A lost page reads as zeros, and stays lost.
    if (this.#space.region.faultCount() !== 0) throw lostPage()
    return `it should be of type ${type} (${TYPE_NAMES[type]}) at level ${level}, but it is of type ${word & 0xff} at level ${(word >>> 8) & 0xff}`
  }

  /** Throws `IoError` if a page of the map was lost since the last call. */
  checkFaults(): void {
    // Without `control` a leader that reuses slots sees no pin of this process: then nothing that it reads is safe.
    this.#control.checkFaults()
    const faults = this.#space.region.faultCount()
    if (faults === this.#faultsSeen) return
    this.#faultsSeen = faults
    throw lostPage()
  }

  /**
   * Throws `IoError` if this process has ever lost a page of the data file or of `control`: what it
   * stores there reaches neither the file nor other processes, so it may go on reading but must not write.
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
    'A page of the data file could not be read: the disk failed, or the file was truncated while it was open. ' +
      'Close the database in this process (everywhere, if other processes report the same), check the disk, and open ' +
      'it again.',
  )

const NOT_IN_FILE = 'it is not in the data file'
