// Reads a published tree: point lookups and cursors. Takes no lock and never writes; whoever calls
// holds a pin on the tree that it names.
import { KEY_LENGTH_MASK, kindWord, SLOT, SLOT_BYTES, TYPE, type SlotNo } from './layout.js'
import { Control, STATE, type StateFields } from './control.js'
import { Node } from './node.js'
import { readOverflow } from './overflow.js'
import { checkPlace } from './place.js'
import { compareKeys, findChild, findInLeaf } from './search.js'
import type { SlotChecker } from './slot-check.js'
import type { SlotSpace } from './slot-space.js'

export class TreeReader {
  readonly space: SlotSpace
  readonly checker: SlotChecker
  readonly control: Control
  readonly #bitmap: Int32Array

  /** Where `find` found the entry: its leaf's buffer, and its cell. */
  buffer: Buffer = Buffer.alloc(0)
  u16: Uint16Array = new Uint16Array(0)
  /** Byte in `buffer` at which the value (or the pointer to it) begins, and its length. */
  valueAt = 0
  valueLength = 0
  overflows = false
  #cell = 0

  constructor(space: SlotSpace, control: Control, checker: SlotChecker) {
    this.space = space
    this.checker = checker
    this.control = control
    this.#bitmap = control.i32
  }

  /**
   * Finds `key` in the tree of `state`. True if it is there; then `valueAt` and `version` describe
   * the entry until the next call. Cost: one slot for each level.
   */
  find(state: StateFields, key: Uint8Array, keyLength: number): boolean {
    const space = this.space
    const limit = this.control.unverifiedLimit
    let slot = state[STATE.ROOT]!
    // The nearest branches that say from which key on, and up to which, what lies below belongs; 0: none does.
    let lowBranch = 0
    let lowEntry = 0
    let highBranch = 0
    let highEntry = 0
    for (let level = state[STATE.HEIGHT]! - 1; level >= 0; level--) {
      const window = slot >>> space.shift
      const base = (slot & space.mask) << 12
      const i32 = space.i32[window]
      const kind = kindWord(level === 0 ? TYPE.LEAF : TYPE.BRANCH, level)
      if (
        i32 === undefined ||
        (i32[(base + SLOT.TYPE) >> 2]! & 0xffff) !== kind ||
        (slot < limit && (this.#bitmap[Control.BITMAP_WORD + (slot >>> 5)]! & (1 << (slot & 31))) !== 0)
      ) {
        if (this.checker.expect(slot, level === 0 ? TYPE.LEAF : TYPE.BRANCH, level) && level === 0) {
          new Cursor(this, state).checkPlaceOf(key, keyLength)
        }
        level++
        continue
      }
      const count = i32[(base + SLOT.TYPE) >> 2]! >>> 16
      const u8 = space.u8[window]!
      const u16 = space.u16[window]!
      if (level > 0) {
        const i = findChild(u8, u16, i32, base, count, key, keyLength)
        if (i > 0) {
          lowBranch = slot
          lowEntry = i
        }
        if (i + 1 < count) {
          highBranch = slot
          highEntry = i + 1
        }
        slot = i32[((base + SLOT.BODY) >> 2) + i * 3 + 2]! >>> 0
        continue
      }
      const i = findInLeaf(u8, u16, i32, base, count, key, keyLength)
      if (i < 0) {
        // A key before (or behind) all keys of this leaf may be another leaf's, if this one reaches too far.
        if (i === -1) this.#checkBound(slot, 'last', highBranch, highEntry)
        else if (i === ~count) this.#checkBound(slot, 'first', lowBranch, lowEntry)
        return false
      }
      const offsets = i32[((base + SLOT.BODY) >> 2) + i * 2 + 1]!
      this.#take(window, base, offsets)
      return true
    }
    return false
  }

  /**
   * Asks for the leaves that these keys belong to, and before that for the branches on the way: see
   * read-ahead.ts. Throws `CorruptError` if a branch is damaged.
   */
  askFor(state: StateFields, keys: readonly Uint8Array[]): void {
    const { readAhead } = this.space
    for (let level = state[STATE.HEIGHT]! - 2; level >= 0; level--) {
      for (const key of keys) readAhead.note(this.#slotAt(state, level, key))
      readAhead.ask()
    }
  }

  /** The slot at `level`, which is not touched, on the way to `key`. */
  #slotAt(state: StateFields, level: number, key: Uint8Array): number {
    let slot = state[STATE.ROOT]!
    for (let above = state[STATE.HEIGHT]! - 1; above > level; above--) {
      this.checker.expect(slot, TYPE.BRANCH, above)
      const branch = boundingBranch.at(this.space, slot as SlotNo)
      slot = branch.child(findChild(branch.u8, branch.u16, branch.i32, branch.base, branch.count, key, key.length))
    }
    return slot
  }

  /**
   * Throws `CorruptError` if a leaf's first key lies below, or its last not below, the key of the branch
   * that bounds it there. `branch`: 0 if none does.
   */
  #checkBound(slot: number, which: 'first' | 'last', branch: number, entry: number): void {
    if (branch === 0) return
    const leaf = boundedLeaf.at(this.space, slot as SlotNo)
    const above = boundingBranch.at(this.space, branch as SlotNo)
    const i = which === 'first' ? 0 : leaf.count - 1
    const order = compareKeys(leaf.u8, leaf.keyAt(i), leaf.keyLength(i), above.u8, above.keyAt(entry), above.keyLength(entry), 0)
    if (which === 'first' ? order < 0 : order >= 0) throw this.checker.misplaced(slot)
  }

  #take(window: number, base: number, offsets: number): void {
    this.buffer = this.space.buffers[window]!
    this.u16 = this.space.u16[window]!
    this.#cell = base + (offsets & 0xffff)
    this.valueAt = this.#cell + 8 + ((offsets >>> 16) & KEY_LENGTH_MASK)
    this.overflows = offsets >>> 31 === 1
    this.valueLength = this.u16[(this.#cell + 6) >> 1]!
  }

  /** Makes entry i of a leaf the one that `valueAt` and the others describe. */
  at(leaf: Node, i: number): void {
    this.#take(leaf.slot >>> this.space.shift, leaf.base, leaf.i32[leaf.entry(i) + 1]!)
  }

  /** LSN of the frame that wrote the entry. */
  get version(): number {
    const w = this.#cell >> 1
    return this.u16[w]! + this.u16[w + 1]! * 0x10000 + this.u16[w + 2]! * 2 ** 32
  }

  /** The slot of the entry: looked for, since only messages need it. */
  get slotNo(): number {
    return this.space.buffers.indexOf(this.buffer) * 2 ** this.space.shift + Math.floor(this.#cell / SLOT_BYTES)
  }

  /** The value if it overflows: a buffer of its own. */
  overflowValue(): Buffer {
    const first = this.buffer.readUInt32LE(this.valueAt) as SlotNo
    const lengthBytes = this.buffer.readUInt32LE(this.valueAt + 4)
    const crc = this.buffer.readUInt32LE(this.valueAt + 8)
    return readOverflow(this.space, this.checker, { first, lengthBytes, crc })
  }
}

/** Leaves that a cursor asks for at a time. */
const MAX_LEAVES_AHEAD = 64

const boundedLeaf = new Node()
const boundingBranch = new Node()

/**
 * A position between or on entries of one tree, moving leaf by leaf. `leaf` and `index` name the
 * entry; `valid` is false before the first and behind the last.
 */
export class Cursor {
  readonly #reader: TreeReader
  readonly #state: StateFields
  readonly #path: Node[] = []
  readonly #taken: number[] = []
  valid = false
  index = 0
  /** The slot entered last had not been verified before. */
  #isFirst = false
  /** Leaves ahead that have been asked for, and how many to ask for next. */
  #askedAhead = 0
  #askNext = 1

  constructor(reader: TreeReader, state: StateFields) {
    this.#reader = reader
    this.#state = state
  }

  get leaf(): Node {
    return this.#path[0]!
  }

  #enter(level: number, slot: number): Node {
    this.#isFirst = this.#reader.checker.expect(slot, level === 0 ? TYPE.LEAF : TYPE.BRANCH, level)
    return (this.#path[level] ??= new Node()).at(this.#reader.space, slot as SlotNo)
  }

  /** Goes to the first entry at or above `key` (above it if `after`). */
  seek(key: Uint8Array, keyLength: number, after: boolean): boolean {
    let slot = this.#state[STATE.ROOT]!
    this.valid = false
    for (let level = this.#state[STATE.HEIGHT]! - 1; level >= 0; level--) {
      const node = this.#enter(level, slot)
      if (level > 0) {
        const i = findChild(node.u8, node.u16, node.i32, node.base, node.count, key, keyLength)
        this.#taken[level] = i
        slot = node.child(i)
        continue
      }
      const i = findInLeaf(node.u8, node.u16, node.i32, node.base, node.count, key, keyLength)
      if (this.#isFirst || i === -1 || i === ~node.count) this.checkPlace()
      this.index = i >= 0 ? (after ? i + 1 : i) : ~i
      this.valid = true
      if (this.index >= node.count) this.nextLeaf()
    }
    return this.valid
  }

  /** Goes to the last entry below `key` (at or below it if `inclusive`). */
  seekBelow(key: Uint8Array, keyLength: number, inclusive: boolean): boolean {
    if (!this.seek(key, keyLength, inclusive)) return this.last()
    return this.previous()
  }

  first(): boolean {
    return this.#edge(0)
  }
  last(): boolean {
    return this.#edge(-1)
  }

  #edge(side: 0 | -1): boolean {
    const height = this.#state[STATE.HEIGHT]!
    this.valid = height > 0
    if (this.valid) this.#fall(height - 1, this.#state[STATE.ROOT]!, side)
    return this.valid
  }

  /** Goes down from `slot` at `level` along its first or last entries. */
  #fall(level: number, slot: number, side: 0 | -1): void {
    for (; level >= 0; level--) {
      const node = this.#enter(level, slot)
      const i = side === 0 ? 0 : node.count - 1
      if (level === 0) {
        if (this.#isFirst) this.checkPlace()
        this.index = i
      } else {
        this.#taken[level] = i
        slot = node.child(i)
      }
    }
  }

  next(): boolean {
    if (this.valid && ++this.index >= this.leaf.count) this.nextLeaf()
    return this.valid
  }

  previous(): boolean {
    if (this.valid && --this.index < 0) this.previousLeaf()
    return this.valid
  }

  /** Goes to the first entry of the next leaf. */
  nextLeaf(): boolean {
    return this.#step(1)
  }
  /** Goes to the last entry of the leaf before. */
  previousLeaf(): boolean {
    return this.#step(-1)
  }

  #step(direction: 1 | -1): boolean {
    const height = this.#state[STATE.HEIGHT]!
    for (let level = 1; level < height; level++) {
      const node = this.#path[level]!
      const i = this.#taken[level]! + direction
      if (i < 0 || i >= node.count) continue
      this.#taken[level] = i
      if (level > 1) this.#askedAhead = 0
      else if (this.#askedAhead-- === 0) this.#askAhead(node, i, direction)
      this.#fall(level - 1, node.child(i), direction === 1 ? 0 : -1)
      return (this.valid = true)
    }
    return (this.valid = false)
  }

  /** Whoever goes on reads more: asks for leaf i of a branch and some behind it, twice as many each time. */
  #askAhead(branch: Node, i: number, direction: 1 | -1): void {
    const { readAhead } = this.#reader.space
    if (!readAhead.isUseful) return
    this.#askNext = Math.min(this.#askNext * 2, MAX_LEAVES_AHEAD)
    let n = 0
    for (; n < this.#askNext && i >= 0 && i < branch.count; n++, i += direction) readAhead.note(branch.child(i))
    readAhead.ask()
    this.#askedAhead = n - 1
  }

  /** Throws `CorruptError` if this leaf is not the one that the branches above it lead to. */
  checkPlace(): void {
    checkPlace(this.#reader.checker, this.#path, this.#taken, this.#state[STATE.HEIGHT]!)
  }

  /** The same for the leaf that `key` belongs to. */
  checkPlaceOf(key: Uint8Array, keyLength: number): void {
    if (this.seek(key, keyLength, false)) this.checkPlace()
  }

  /** Index of the first entry of this leaf at or above `key` (above it if `after`). */
  boundInLeaf(key: Uint8Array, keyLength: number, after: boolean): number {
    const leaf = this.leaf
    const i = findInLeaf(leaf.u8, leaf.u16, leaf.i32, leaf.base, leaf.count, key, keyLength)
    return i >= 0 ? (after ? i + 1 : i) : ~i
  }
}

