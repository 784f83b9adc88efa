// Verification of slots. A slot that the last recovery took from disk is verified the first time
// anybody touches it: CRC, its own number, type and level, and that entries and cells lie where
// they may. After that the hot paths can trust its inside. Slots made since then are not checked:
// they have not been to disk.
import { CorruptError, IoError } from '../errors.js'
import { crc32c } from '../wal/frame.js'
import { Control } from './control.js'
import {
  HEADER_SLOTS,
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
} from './layout.js'
import { Node } from './node.js'
import { compareKeys, commonPrefix, headOf } from './search.js'
import type { SlotSpace } from './slot-space.js'

export class SlotChecker {
  readonly #space: SlotSpace
  readonly #control: Control
  readonly #node = new Node()
  #faultsSeen: number

  constructor(space: SlotSpace, control: Control) {
    this.#space = space
    this.#control = control
    this.#faultsSeen = space.region.faultCount()
  }

  /** True if `slot` came from disk and nobody has looked at it yet. */
  isUnverified(slot: number): boolean {
    return (
      slot < this.#control.unverifiedLimit &&
      (this.#control.i32[Control.BITMAP_WORD + (slot >>> 5)]! & (1 << (slot & 31))) !== 0
    )
  }

  /**
   * Makes sure that `slot` is what a reader expects: verifies it if that is still due, and compares
   * type and level. `level` also guarantees that a walk down ends. Throws `CorruptError`, or `IoError`
   * if a page was lost.
   */
  expect(slot: number, type: number, level: number): void {
    if (slot < HEADER_SLOTS || slot >= this.#control.fileSlots) {
      throw new CorruptError(`A slot is referred to that is not in the data file: ${slot}. ${ADVICE}`, { slotNo: slot })
    }
    const window = this.#space.reach(slot)
    const word = this.#space.i32[window]![(this.#space.base(slot) + SLOT.TYPE) >> 2]!
    if ((word & 0xffff) !== kindWord(type, level)) {
      // A lost page reads as zeros, and stays lost.
      if (this.#space.region.faultCount() !== 0) throw lostPage()
      throw damaged(slot, `it should be a ${TYPE_NAMES[type]} at level ${level}, and says ${word & 0xff} at ${(word >>> 8) & 0xff}`)
    }
    if (!this.isUnverified(slot)) return
    const why = slotDamage(this.#space, slot as SlotNo, this.#node)
    this.checkFaults()
    if (why !== undefined) throw damaged(slot, why)
    Atomics.and(this.#control.i32, Control.BITMAP_WORD + (slot >>> 5), ~(1 << (slot & 31)))
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

const ADVICE =
  'Restore the database from a backup, or run "mmapdb recover --salvage OUT" to bring out what is intact.'

export const damaged = (slot: number, why: string): CorruptError =>
  new CorruptError(`Slot ${slot} of the data file is damaged: ${why}. ${ADVICE}`, { slotNo: slot })

/** CRC-32C of a slot as it should stand in its first four bytes. */
export function slotCrc(space: SlotSpace, slot: number): number {
  const window = space.reach(slot)
  const base = space.base(slot)
  return crc32c(space.buffers[window]!.subarray(base + SLOT.TYPE, base + SLOT_BYTES))
}

/** Seals a slot: nothing but its CRC field is written. */
export function sealSlot(space: SlotSpace, slot: number): void {
  const crc = slotCrc(space, slot)
  space.i32[space.reach(slot)]![space.base(slot) >> 2] = crc
}

/** What is wrong with a sealed slot, or undefined if nothing is. */
export function slotDamage(space: SlotSpace, slot: SlotNo, scratch: Node): string | undefined {
  const window = space.reach(slot)
  const base = space.base(slot)
  const i32 = space.i32[window]!
  if (i32[base >> 2]! >>> 0 !== slotCrc(space, slot) >>> 0) return 'its CRC does not match its bytes'
  if (i32[(base + SLOT.NUMBER) >> 2]! >>> 0 !== slot) {
    return `it says that it is slot ${i32[(base + SLOT.NUMBER) >> 2]! >>> 0}`
  }
  return structureDamage(space, slot, scratch)
}

/** What is wrong with the inside of a slot, or undefined if nothing is. The CRC is not looked at. */
export function structureDamage(space: SlotSpace, slot: SlotNo, scratch: Node): string | undefined {
  const window = space.reach(slot)
  const base = space.base(slot)
  const type = space.u8[window]![base + SLOT.TYPE]!
  switch (type) {
    case TYPE.LEAF:
    case TYPE.BRANCH:
      return nodeDamage(scratch.at(space, slot))
    case TYPE.OVERFLOW:
      return space.i32[window]![(base + SLOT.USED) >> 2]! >>> 0 > SLOT_BODY_BYTES ? 'its length is out of range' : undefined
    case TYPE.FREE_LIST:
      return space.u16[window]![(base + SLOT.COUNT) >> 1]! * 8 > SLOT_BODY_BYTES ? 'its count is out of range' : undefined
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
  if (!isLeaf && count === 0) return 'it is a branch without children'
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
      if (keyLength === 0) return `key ${i} is empty`
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

export const keyLengthOf = (offsetsWord: number): number => (offsetsWord >>> 16) & KEY_LENGTH_MASK
