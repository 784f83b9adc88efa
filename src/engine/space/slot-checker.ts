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
import { CorruptError, IoError } from '../../errors.js'
import { crc32c } from '../../encoding/crc32c.js'
import { MAX_KEY_BYTES, MAX_VALUE_BYTES } from '../../wal/frame.js'
import type { Control } from '../shared/control.js'
import {
  HEADER_SLOTS,
  isInline,
  KEY_LENGTH_MASK,
  kindWord,
  LEAF_CELL_HEADER,
  OVERFLOW_POINTER_BYTES,
  SLOT,
  SLOT_BODY_BYTES,
  SLOT_BYTES,
  TYPE,
  TYPE_NAMES,
  type SlotNo,
} from '../format/layout.js'
import { readStep, type Hold } from '../shared/read-guard.js'
import { Node } from '../format/node.js'
import { compareKeys, commonPrefix, headOf } from '../format/search.js'
import type { SlotSpace } from '../format/slot-space.js'

/** What bounds a slot that was taken from disk: the tree that it belongs to. */
export interface TreeBounds {
  /** Nothing in the tree was made later. */
  readonly lsn: number
  /** Whether a slot of the tree can lead to `slot`. */
  leadsTo(slot: number): boolean
}

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
  expect(slot: number, type: number, level: number, hold?: Hold): boolean {
    if (hold !== undefined) return !this.isPlain(slot, type, level) && this.take(this.#copy, slot, type, level, hold)
    const why = this.look(slot, type, level)
    if (why !== undefined) throw damaged(slot, why)
    if (!this.isUnverified(slot)) return false
    if (type !== TYPE.LEAF) this.accept(slot)
    return true
  }

  /** Says that `slot` is sound and, if it is a leaf, in its place. */
  accept(slot: number): void {
    if (this.#records) this.#control.setVerified(slot)
  }

  /** The error for a sound slot that what leads to it is wrong about. */
  misplaced(slot: number): CorruptError {
    return damaged(slot, 'its keys are not those that what leads to it says')
  }

  /** What is wrong with `slot` for a reader that expects this of it. Verifies it if that is due, and it stays due. */
  look(slot: number, type: number, level: number): string | undefined {
    if (!this.#isInFile(slot)) return NOT_IN_FILE
    const unfit = this.#unfit(this.#word(slot), type, level)
    if (unfit !== undefined || !this.isUnverified(slot)) return unfit
    const why = slotDamage(this.#space, slot as SlotNo, this.#node, this.#bounds)
    this.checkFaults()
    // Somebody else may have verified it meanwhile, and have gone on to what it leads to.
    return why !== undefined && this.isUnverified(slot) ? why : undefined
  }

  /** True if `slot` lies in the file, says that it is this, and need not be verified: then it may be read where it is. */
  isPlain(slot: number, type: number, level: number): boolean {
    return this.#isInFile(slot) && (this.#word(slot) & 0xffff) === kindWord(type, level) && !this.isUnverified(slot)
  }

  /**
   * Copies `slot` into `into`, and does to the copy what `expect` does to a slot, once it is known to have
   * been held: for a reader that can be ended. Throws as `expect` does, and what `hold` throws.
   */
  take(into: Node, slot: number, type: number, level: number, hold: Hold): boolean {
    if (!this.#isInFile(slot)) throw damaged(slot, NOT_IN_FILE)
    // Asked first: once the slot has been handed out again, it is due no longer, and the copy is as it was.
    const due = this.isUnverified(slot)
    readStep()
    into.copyOf(this.#space, slot as SlotNo)
    this.checkFaults()
    hold.assertHeld()
    readStep()
    const unfit = this.#unfit(into.i32[SLOT.TYPE >> 2]!, type, level)
    if (unfit !== undefined) throw damaged(slot, unfit)
    if (!due) return false
    const why = damageOf(into, this.#bounds)
    if (why === undefined) {
      if (type !== TYPE.LEAF) this.accept(slot)
      return true
    }
    // As in `look`; or what it leads to has been handed out since, and this reader been ended before that.
    const isDamaged = this.isUnverified(slot)
    hold.assertHeld()
    if (isDamaged) throw damaged(slot, why)
    return true
  }

  #isInFile(slot: number): boolean {
    return slot >= HEADER_SLOTS && slot < this.#control.fileSlots
  }

  /** Type, level and count of a slot. */
  #word(slot: number): number {
    return this.#space.i32[this.#space.reach(slot)]![(this.#space.base(slot) + SLOT.TYPE) >> 2]!
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
const ADVICE =
  'Restore the database from a backup, or run "mmapdb recover --salvage OUT" to bring out what is intact.'

export const damaged = (slot: number, why: string): CorruptError =>
  new CorruptError(`Slot ${slot} of the data file is damaged: ${why}. ${ADVICE}`, { slotNo: slot })

/** CRC-32C of a slot as it should stand in its first four bytes. */
export function slotCrc(space: SlotSpace, slot: number): number {
  const base = space.base(slot)
  return crc32c(space.buffers[space.reach(slot)]!.subarray(base + SLOT.TYPE, base + SLOT_BYTES))
}

/** Seals a slot: nothing but its CRC field is written. */
export function sealSlot(space: SlotSpace, slot: number): void {
  const crc = slotCrc(space, slot)
  space.i32[space.reach(slot)]![space.base(slot) >> 2] = crc
}

const UNBOUNDED: TreeBounds = { lsn: Number.POSITIVE_INFINITY, leadsTo: (slot) => slot >= HEADER_SLOTS }

/** LSN of the group whose apply wrote a slot. */
export function madeAt(space: SlotSpace, slot: number): number {
  const w = (space.base(slot) + SLOT.LSN) >> 2
  const i32 = space.i32[space.reach(slot)]!
  return (i32[w + 1]! >>> 0) * 2 ** 32 + (i32[w]! >>> 0)
}

const madeAtOf = ({ i32, base }: Node): number => (i32[(base + SLOT.LSN + 4) >> 2]! >>> 0) * 2 ** 32 + (i32[(base + SLOT.LSN) >> 2]! >>> 0)

/** What is wrong with a sealed slot, or undefined if nothing is. */
export function slotDamage(space: SlotSpace, slot: SlotNo, scratch: Node, bounds: TreeBounds = UNBOUNDED): string | undefined {
  return damageOf(scratch.at(space, slot), bounds)
}

/** The same for a slot of any type that `view` shows, or has copied. */
function damageOf(view: Node, bounds: TreeBounds): string | undefined {
  const { i32, base } = view
  const bytes = Buffer.from(view.u8.buffer as ArrayBuffer, view.u8.byteOffset + base + SLOT.TYPE, SLOT_BYTES - SLOT.TYPE)
  if (i32[base >> 2]! >>> 0 !== crc32c(bytes) >>> 0) return 'its CRC does not match its bytes'
  if (i32[(base + SLOT.NUMBER) >> 2]! >>> 0 !== view.slot) return `it says that it is slot ${i32[(base + SLOT.NUMBER) >> 2]! >>> 0}`
  if (madeAtOf(view) > bounds.lsn) return 'it is newer than the tree that leads to it'
  return insideDamage(view, bounds)
}

/** What is wrong with the inside of a slot, or undefined if nothing is. The CRC is not looked at. */
export function structureDamage(space: SlotSpace, slot: SlotNo, scratch: Node, bounds: TreeBounds = UNBOUNDED): string | undefined {
  return insideDamage(scratch.at(space, slot), bounds)
}

function insideDamage(view: Node, bounds: TreeBounds): string | undefined {
  const { u8, u16, i32, base, slot } = view
  const type = u8[base + SLOT.TYPE]!
  const next = i32[(base + SLOT.NEXT) >> 2]! >>> 0
  switch (type) {
    case TYPE.LEAF:
    case TYPE.BRANCH:
      return nodeDamage(view) ?? leadingDamage(view, madeAtOf(view), bounds)
    case TYPE.OVERFLOW: {
      const used = i32[(base + SLOT.USED) >> 2]! >>> 0
      if (used === 0 || used > SLOT_BODY_BYTES || (next !== 0 && used < SLOT_BODY_BYTES)) return 'its length is out of range'
      return next !== 0 && (!bounds.leadsTo(next) || next === slot) ? `it goes on in slot ${next}, which cannot be` : undefined
    }
    case TYPE.FREE_LIST:
      if (u16[(base + SLOT.COUNT) >> 1]! * 8 > SLOT_BODY_BYTES) return 'its count is out of range'
      return next !== 0 && (!bounds.leadsTo(next) || next === slot) ? `it goes on in slot ${next}, which cannot be` : undefined
    case TYPE.HEADER:
      return undefined
    default:
      return `its type ${type} is unknown`
  }
}

function nodeDamage(node: Node): string | undefined {
  const { u8, i32, base, words, keySkip, isLeaf } = node
  const count = node.count
  const bodyEnd = SLOT.BODY + count * words * 4
  if (isLeaf !== (node.level === 0)) return 'its level does not fit its type'
  if (bodyEnd > SLOT_BYTES) return 'it has too many entries'
  if (node.heap < bodyEnd || node.heap > SLOT_BYTES) return 'its heap lies outside'
  if (count === 0) return isLeaf ? 'it is a leaf without entries' : 'it is a branch without children'
  if (!isLeaf && node.keyLength(0) !== 0) return 'its first entry has a key'
  const first = node.firstCompared
  let live = 0
  for (let i = 0; i < count; i++) {
    const offset = node.cellOffset(i)
    const keyLength = node.keyLength(i)
    const compared = i >= first
    if (compared || isLeaf) {
      if (offset < node.heap || (offset & 1) !== 0 || offset + keySkip > SLOT_BYTES) return `cell ${i} lies outside`
      const bytes = isLeaf ? LEAF_CELL_HEADER + keyLength + payload(node, i) : keyLength
      if (offset + bytes > SLOT_BYTES) return `cell ${i} reaches outside`
      if (keyLength === 0 || keyLength > MAX_KEY_BYTES) return `key ${i} has ${keyLength} bytes`
      if (isLeaf && !node.overflows(i) && !isInline(keyLength, payload(node, i))) return `the value of entry ${i} is too long to lie there`
      live += (bytes + 1) & ~1
    }
    if (!compared) continue
    const head = headOf(u8, node.keyAt(i), keyLength, node.prefix)
    if (keyLength < node.prefix || i32[node.entry(i)] !== head) return `the head of entry ${i} does not match its key`
    if (i > first) {
      const before = i - 1
      const at = node.keyAt(before)
      const length = node.keyLength(before)
      if (compareKeys(u8, at, length, u8, node.keyAt(i), keyLength, 0) >= 0) return `keys ${before} and ${i} are out of order`
    }
  }
  if (count > first) {
    const last = count - 1
    const shared = commonPrefix(u8, node.keyAt(first), node.keyLength(first), u8, node.keyAt(last), node.keyLength(last))
    if (shared < node.prefix) return 'its keys do not share its prefix'
  }
  if (live + node.garbage !== SLOT_BYTES - node.heap) return 'its cells and its garbage do not fill its heap'
  return undefined
  function payload(n: Node, i: number): number {
    return n.overflows(i) ? OVERFLOW_POINTER_BYTES : n.u16[(base + n.cellOffset(i) + 6) >> 1]!
  }
}

/** What is wrong with what a sound branch or leaf leads to, and with the versions of its entries. */
function leadingDamage(node: Node, lsn: number, bounds: TreeBounds): string | undefined {
  const { u8, u16, base, isLeaf } = node
  const count = node.count
  if (!isLeaf) {
    const children = new Set<number>()
    for (let i = 0; i < count; i++) {
      const child = node.child(i)
      if (!bounds.leadsTo(child)) return `it leads to slot ${child}, which cannot be`
      if (children.has(child)) return `it leads to slot ${child} twice`
      children.add(child)
    }
    return undefined
  }
  for (let i = 0; i < count; i++) {
    const w = (base + node.cellOffset(i)) >> 1
    const version = u16[w]! + u16[w + 1]! * 0x10000 + u16[w + 2]! * 2 ** 32
    // A slot bears the LSN behind the frames that it was made from.
    if (version >= lsn) return `entry ${i} is newer than the slot that it lies in`
    if (!node.overflows(i)) continue
    const at = node.keyAt(i) + node.keyLength(i)
    const first = readU32(u8, at)
    const lengthBytes = readU32(u8, at + 4)
    if (lengthBytes > MAX_VALUE_BYTES || (lengthBytes === 0 ? first !== 0 : !bounds.leadsTo(first))) return `the value of entry ${i} lies where it cannot be`
  }
  return undefined
}

const readU32 = (u8: Uint8Array, at: number): number => (u8[at]! | (u8[at + 1]! << 8) | (u8[at + 2]! << 16) | (u8[at + 3]! << 24)) >>> 0

export const keyLengthOf = (offsetsWord: number): number => (offsetsWord >>> 16) & KEY_LENGTH_MASK
