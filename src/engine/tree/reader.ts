// Reads a published tree: point lookups and cursors. Takes no lock; the caller has a pin on the tree that it
// names. A pin that may be expired is a `ReadGuard`: read-guard.ts says what is done differently then.
import { Control, STATE, type StateFields } from '../shared/control.js'
import { isReachable, readStep, type ReadGuard } from '../shared/read-guard.js'
import {
  BRANCH_ENTRY_WORDS,
  CELL,
  ENTRY_CELL_WORD,
  ENTRY_CHILD_WORD,
  EXPIRY_BYTES,
  KEY_LENGTH_MASK,
  kindWord,
  LEAF_ENTRY_WORDS,
  SLOT,
  SLOT_BYTES,
  SLOT_SHIFT,
  TYPE,
  typeAt,
  VALUE_LENGTH_SHIFT,
  type SlotNo,
} from '../format/layout.js'
import { readExpiry, readPointer, readVersion, type OverflowPointer } from '../format/leaf-cell.js'
import { expiryBytesIn, Node } from '../format/node.js'
import { readOverflow } from '../space/overflow.js'
import { checkLeafBounds } from './leaf-bounds.js'
import { childByHead, compareKeys, exactInLeaf, findChild, findInLeaf } from '../format/search.js'
import type { SlotChecker } from '../space/slot-checker.js'
import type { SlotSpace } from '../format/slot-space.js'

// Constants of this module's own: see slot-header.ts.
const SHIFT = SLOT_SHIFT
const LEAF_WORDS = LEAF_ENTRY_WORDS
const BRANCH_WORDS = BRANCH_ENTRY_WORDS
const CELL_WORD = ENTRY_CELL_WORD
const CHILD_WORD = ENTRY_CHILD_WORD
const VALUE_LENGTH_AT = CELL.VALUE_LENGTH
const VALUE_SHIFT = VALUE_LENGTH_SHIFT
const KEY_AT = CELL.KEY

export class TreeReader {
  readonly space: SlotSpace
  readonly checker: SlotChecker
  readonly control: Control
  readonly #bitmap: Int32Array

  /** Where `find` found the entry: the buffer of its leaf, also as 16-bit words. */
  buffer: Buffer = Buffer.alloc(0)
  u16: Uint16Array = new Uint16Array(0)
  /** Byte in `buffer` at which the value (or the pointer to it) begins, and its length. */
  valueAt = 0
  valueLength = 0
  overflows = false
  /** True if it expires. */
  expires = false
  #cell = 0
  /** Written and never read, so that the loads are made. */
  touched = 0

  constructor(space: SlotSpace, control: Control, checker: SlotChecker) {
    this.space = space
    this.checker = checker
    this.control = control
    this.#bitmap = control.i32
  }

  /**
   * Finds `key` in the tree of `state`. True if it is there; then `valueAt` and `version` describe
   * the entry until the next call. Cost: one slot per level.
   */
  find(state: StateFields, key: Uint8Array, keyLength: number): boolean {
    return this.#findPresent(state, key, keyLength) || this.#findWithCare(state, key, keyLength)
  }

  /**
   * Finds a key that is there, if all slots on the way have been verified. The tree has a key once, so the entry with
   * the bytes of the key is the right one, whatever has led to it: prefixes need not be compared on the way, and each
   * would cost a cache miss. False says nothing.
   */
  #findPresent(state: StateFields, key: Uint8Array, keyLength: number): boolean {
    const space = this.space
    const limit = this.control.unverifiedLimit
    let slot = state[STATE.ROOT]!
    for (let level = state[STATE.HEIGHT]! - 1; level >= 0; level--) {
      const window = slot >>> space.shift
      const base = (slot & space.mask) << SHIFT
      const i32 = space.i32[window]
      if (i32 === undefined) return false
      const word = i32[(base + SLOT.TYPE) >> 2]!
      if ((word & 0xffff) !== kindWord(typeAt(level), level)) return false
      if (slot < limit && (this.#bitmap[Control.BITMAP_WORD + (slot >>> 5)]! & (1 << (slot & 31))) === 0) return false
      const u8 = space.u8[window]!
      const u16 = space.u16[window]!
      if (level > 0) {
        const i = childByHead(u8, u16, i32, base, word >>> 16, key, keyLength)
        slot = i32[((base + SLOT.BODY) >> 2) + i * BRANCH_WORDS + CHILD_WORD]! >>> 0
        continue
      }
      // The cache lines that the search will need are loaded at the same time, not one after the other.
      const w = base >> 2
      this.touched = i32[w + 16]! ^ i32[w + 32]! ^ i32[w + 48]! ^ i32[w + 64]! ^ i32[w + 80]!
      const i = exactInLeaf(u8, u16, i32, base, word >>> 16, key, keyLength)
      if (i < 0) return false
      this.#take(space.buffers[window]!, u16, base, i32[((base + SLOT.BODY) >> 2) + i * LEAF_WORDS + CELL_WORD]!)
      return true
    }
    return false
  }

  #findWithCare(state: StateFields, key: Uint8Array, keyLength: number): boolean {
    const space = this.space
    const limit = this.control.unverifiedLimit
    let slot = state[STATE.ROOT]!
    // The closest branch entries that bound this subtree below and above; branch 0 if it is unbounded there.
    let lowBranch = 0
    let lowEntry = 0
    let highBranch = 0
    let highEntry = 0
    for (let level = state[STATE.HEIGHT]! - 1; level >= 0; level--) {
      const window = slot >>> space.shift
      const base = (slot & space.mask) << SHIFT
      const i32 = space.i32[window]
      const kind = kindWord(typeAt(level), level)
      if (
        i32 === undefined ||
        (i32[(base + SLOT.TYPE) >> 2]! & 0xffff) !== kind ||
        (slot < limit && (this.#bitmap[Control.BITMAP_WORD + (slot >>> 5)]! & (1 << (slot & 31))) === 0)
      ) {
        if (this.checker.require(slot, typeAt(level), level) && level === 0) {
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
        slot = i32[((base + SLOT.BODY) >> 2) + i * BRANCH_WORDS + CHILD_WORD]! >>> 0
        continue
      }
      const i = findInLeaf(u8, u16, i32, base, count, key, keyLength)
      if (i < 0) {
        // A key before (or after) all keys of this leaf may be in another leaf, if this one reaches too far.
        if (i === -1) this.#checkBound(slot, 'last', highBranch, highEntry)
        else if (i === ~count) this.#checkBound(slot, 'first', lowBranch, lowEntry)
        return false
      }
      const offsets = i32[((base + SLOT.BODY) >> 2) + i * LEAF_WORDS + CELL_WORD]!
      this.#take(space.buffers[window]!, u16, base, offsets)
      return true
    }
    return false
  }

  /**
   * The same for a reader that can be ended. If it has found the key, it must check its pin once more before it
   * believes the entry; if not, the pin has been checked and the key is absent. Throws what `guard` throws.
   */
  findGuarded(state: StateFields, key: Uint8Array, keyLength: number, guard: ReadGuard): boolean {
    const { space, checker } = this
    const fileSlots = checker.fileSlots
    let slot = state[STATE.ROOT]!
    for (let level = state[STATE.HEIGHT]! - 1; level >= 0; level--) {
      const type = typeAt(level)
      let node = this.#view
      if (isReachable(slot, fileSlots) && checker.isPlain(slot, type, level)) node.at(space, slot as SlotNo)
      else {
        node = this.#copy ??= Node.scratch()
        if (checker.take(node, slot, type, level, guard) && level === 0)
          new Cursor(this, state, guard).checkPlaceOf(key, keyLength)
      }
      readStep()
      const { u8, u16, i32, base, count } = node
      if (level > 0) {
        const i = findChild(u8, u16, i32, base, count, key, keyLength)
        readStep()
        slot = node.child(i)
        guard.assertNotExpired()
        continue
      }
      const i = findInLeaf(u8, u16, i32, base, count, key, keyLength)
      readStep()
      if (i >= 0) {
        this.#take(node.buffer ?? space.buffers[slot >>> space.shift]!, u16, base, i32[node.entry(i) + CELL_WORD]!)
        return true
      }
      guard.assertNotExpired()
      if (i === -1 || i === ~count) new Cursor(this, state, guard).checkPlaceOf(key, keyLength)
    }
    return false
  }
  readonly #view = new Node()
  #copy: Node | undefined

  /**
   * Requests the leaves that these keys belong to, and before that the branches on the way: see
   * read-ahead.ts. Throws `CorruptError` if a branch is damaged.
   */
  askFor(state: StateFields, keys: readonly Uint8Array[]): void {
    const { readAhead } = this.space
    for (let level = state[STATE.HEIGHT]! - 2; level >= 0; level--) {
      for (const key of keys) readAhead.note(this.#slotAt(state, level, key))
      readAhead.ask()
    }
  }

  /**
   * True if the leaves of these keys are in memory, and the branches above that of the first: finding them waits for no
   * disk then, but perhaps for one of the few branches.
   */
  areLeavesInMemory(state: StateFields, keys: readonly Uint8Array[]): boolean {
    for (let level = state[STATE.HEIGHT]! - 1; level >= 0; level--) {
      const slots = Uint32Array.from(level === 0 ? keys : keys.slice(0, 1), (key) => this.#slotAt(state, level, key))
      if (!this.space.region.areInMemory(slots)) return false
    }
    return true
  }

  /** The number of the slot at `level` on the way to `key`; that slot itself is not read. */
  #slotAt(state: StateFields, level: number, key: Uint8Array): number {
    let slot = state[STATE.ROOT]!
    for (let above = state[STATE.HEIGHT]! - 1; above > level; above--) {
      this.checker.require(slot, TYPE.BRANCH, above)
      const branch = boundingBranch.at(this.space, slot as SlotNo)
      slot = branch.child(findChild(branch.u8, branch.u16, branch.i32, branch.base, branch.count, key, key.length))
    }
    return slot
  }

  /**
   * Throws `CorruptError` if the first key of a leaf is below the key that bounds it below, or its last key not
   * below the key that bounds it above: that of `entry` in slot `branch`, 0 if the leaf is unbounded there.
   */
  #checkBound(slot: number, which: 'first' | 'last', branch: number, entry: number): void {
    if (branch === 0) return
    const leaf = boundedLeaf.at(this.space, slot as SlotNo)
    const above = boundingBranch.at(this.space, branch as SlotNo)
    const i = which === 'first' ? 0 : leaf.count - 1
    const order = compareKeys(
      leaf.u8,
      leaf.keyAt(i),
      leaf.keyLength(i),
      above.u8,
      above.keyAt(entry),
      above.keyLength(entry),
      0,
    )
    if (which === 'first' ? order < 0 : order >= 0) throw this.checker.misplacedError(slot)
  }

  #take(buffer: Buffer, u16: Uint16Array, base: number, offsets: number): void {
    this.buffer = buffer
    this.u16 = u16
    this.#cell = base + (offsets & 0xffff)
    const expiryBytes = expiryBytesIn(offsets)
    this.expires = expiryBytes !== 0
    this.valueAt = this.#cell + KEY_AT + ((offsets >>> 16) & KEY_LENGTH_MASK) + expiryBytes
    this.overflows = offsets >>> 31 === 1
    this.valueLength = this.u16[(this.#cell + VALUE_LENGTH_AT) >> 1]! >>> VALUE_SHIFT
  }

  /** LSN of the frame that wrote the entry. */
  get version(): number {
    return readVersion(this.u16, this.#cell)
  }

  /** When it expires, if it does. */
  get expiresAt(): number {
    return readExpiry(this.buffer, this.valueAt - EXPIRY_BYTES)
  }

  /** The slot of the entry, by the number that it bears. */
  get slotNo(): number {
    return this.buffer.readUInt32LE(this.#cell - (this.#cell % SLOT_BYTES) + SLOT.NUMBER)
  }

  /** The pointer to the value, if it overflows. */
  get overflow(): OverflowPointer {
    return readPointer(this.buffer, this.valueAt)
  }

  /** The value if it overflows, in a buffer of its own. `guard`: must have been checked since `findGuarded`. */
  overflowValue(guard?: ReadGuard): Buffer {
    return readOverflow(this.space, this.checker, this.overflow, guard)
  }
}

/** How many leaves a cursor requests at a time, at most. */
const MAX_LEAVES_AHEAD = 64

const boundedLeaf = new Node()
const boundingBranch = new Node()

/** Copies of slots from finished cursors, kept for reuse: allocating one costs more than filling it. */
const spareCopies: Node[] = []
const MAX_SPARE_COPIES = 64

/**
 * A position on or between entries of one tree, which moves leaf by leaf. `leaf` and `index` name the
 * entry; `valid` is false before the first entry and after the last.
 *
 * The cursor of a reader that can be ended (`guard`) stands on copies of slots. The pin has been checked after each
 * copy was made: what the copy says stays true, and the slots that it leads to may be followed.
 */
export class Cursor {
  readonly #reader: TreeReader
  readonly #state: StateFields
  readonly #guard: ReadGuard | undefined
  readonly #path: Node[] = []
  readonly #taken: number[] = []
  valid = false
  index = 0
  /** True if the slot that was entered last had not been verified before. */
  #isFirst = false
  /** How many leaves ahead have been requested, and how many to request next. */
  #askedAhead = 0
  #askNext = 1
  /** A view of a leaf where it is, and the copy whose place in the path it takes until the next copy is made. */
  #glancedAt: Node | undefined
  #leafCopy: Node | undefined

  constructor(reader: TreeReader, state: StateFields, guard?: ReadGuard) {
    this.#reader = reader
    this.#state = state
    this.#guard = guard
  }

  get leaf(): Node {
    return this.#path[0]!
  }

  #enter(level: number, slot: number): Node {
    const { checker, space } = this.#reader
    const type = typeAt(level)
    if (this.#guard === undefined) {
      this.#isFirst = checker.require(slot, type, level)
      return (this.#path[level] ??= new Node()).at(space, slot as SlotNo)
    }
    if (level === 0) this.#endGlance()
    const copy = (this.#path[level] ??= spareCopies.pop() ?? Node.scratch())
    this.#isFirst = checker.take(copy, slot, type, level, this.#guard)
    return copy
  }

  /** Gives its copies back; the cursor cannot be used afterwards. */
  close(): void {
    if (this.#guard === undefined) return
    this.#endGlance()
    for (const copy of this.#path)
      if (copy !== undefined && spareCopies.length < MAX_SPARE_COPIES) spareCopies.push(copy)
    this.#path.length = 0
    this.valid = false
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
      if (this.#isFirst || i === -1 || i === ~node.count) this.#checkPlace()
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
        // For a whole leaf of entries the cost of this cannot be measured; a glance does without.
        if (this.#isFirst || this.#guard !== undefined) this.#checkPlace()
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
    return this.#step(1, false)
  }
  /** Goes to the last entry of the leaf before. */
  previousLeaf(): boolean {
    return this.#step(-1, false)
  }
  /**
   * Goes to the next leaf and looks at it where it is, if it can: for callers that need only a number or two of it,
   * and check the pin before they believe them. Only with a `guard`.
   */
  glanceAtNext(): boolean {
    return this.#step(1, true)
  }

  #step(direction: 1 | -1, isGlance: boolean): boolean {
    const height = this.#state[STATE.HEIGHT]!
    for (let level = 1; level < height; level++) {
      const node = this.#path[level]!
      const i = this.#taken[level]! + direction
      if (i < 0 || i >= node.count) continue
      this.#taken[level] = i
      if (level > 1) this.#askedAhead = 0
      else if (this.#askedAhead-- === 0) this.#askAhead(node, i, direction)
      if (level > 1 || !isGlance || !this.#glance(node.child(i)))
        this.#fall(level - 1, node.child(i), direction === 1 ? 0 : -1)
      return (this.valid = true)
    }
    return (this.valid = false)
  }

  /** True if the branches say that no key up to `to` follows this leaf. `to`: undefined for no bound. */
  isNothingAfter(to: Uint8Array | undefined, inclusive: boolean): boolean {
    for (let level = 1; level < this.#state[STATE.HEIGHT]!; level++) {
      const node = this.#path[level]!
      const i = this.#taken[level]! + 1
      if (i >= node.count) continue
      if (to === undefined) return false
      const order = compareKeys(node.u8, node.keyAt(i), node.keyLength(i), to, 0, to.length, 0)
      return inclusive ? order > 0 : order >= 0
    }
    return true
  }

  /** True if the branches say that no key from `from` on precedes this leaf. */
  isNothingBefore(from: Uint8Array | undefined): boolean {
    for (let level = 1; level < this.#state[STATE.HEIGHT]!; level++) {
      const node = this.#path[level]!
      const i = this.#taken[level]!
      if (i === 0) continue
      return from !== undefined && compareKeys(node.u8, node.keyAt(i), node.keyLength(i), from, 0, from.length, 0) <= 0
    }
    return true
  }

  /** Moves to a leaf without a copy; false if it must be copied. */
  #glance(slot: number): boolean {
    const { checker, space } = this.#reader
    if (!isReachable(slot, checker.fileSlots) || !checker.isPlain(slot, TYPE.LEAF, 0)) return false
    readStep()
    this.#leafCopy ??= this.#path[0]
    this.#path[0] = (this.#glancedAt ??= new Node()).at(space, slot as SlotNo)
    this.index = 0
    return true
  }

  #endGlance(): void {
    if (this.#leafCopy !== undefined) this.#path[0] = this.#leafCopy
    this.#leafCopy = undefined
  }

  /** A cursor that goes on will read more: requests leaf i of a branch and some after it, twice as many each time. */
  #askAhead(branch: Node, i: number, direction: 1 | -1): void {
    const { readAhead } = this.#reader.space
    if (!readAhead.isUseful) return
    this.#askNext = Math.min(this.#askNext * 2, MAX_LEAVES_AHEAD)
    let n = 0
    for (; n < this.#askNext && i >= 0 && i < branch.count; n++, i += direction) readAhead.note(branch.child(i))
    readAhead.ask()
    this.#askedAhead = n - 1
  }

  /**
   * Throws `CorruptError` if this leaf is not in its place below the branches above it. Otherwise it is verified now.
   */
  #checkPlace(): void {
    const { checker } = this.#reader
    checkLeafBounds(checker, this.#path, this.#taken, this.#state[STATE.HEIGHT]!)
    if (this.#isFirst) checker.accept(this.leaf.slot)
  }

  /** Throws `CorruptError` if the leaf that `key` belongs to is not in its place. */
  checkPlaceOf(key: Uint8Array, keyLength: number): void {
    let slot = this.#state[STATE.ROOT]!
    for (let level = this.#state[STATE.HEIGHT]! - 1; level >= 0; level--) {
      const node = this.#enter(level, slot)
      const i = level === 0 ? 0 : findChild(node.u8, node.u16, node.i32, node.base, node.count, key, keyLength)
      this.#taken[level] = i
      if (level > 0) slot = node.child(i)
      else this.#checkPlace()
    }
    this.close()
  }

  /** Index of the first entry of this leaf at or above `key` (above it if `after`). */
  boundInLeaf(key: Uint8Array, keyLength: number, after: boolean): number {
    const leaf = this.leaf
    const i = findInLeaf(leaf.u8, leaf.u16, leaf.i32, leaf.base, leaf.count, key, keyLength)
    return i >= 0 ? (after ? i + 1 : i) : ~i
  }
}
