// The copy-on-write B+tree, as the leader changes it. Published slots are never written: the first
// time a group of frames touches a slot it gets a copy of its own, and so does every slot above it.
// No reader can reach anything that is done here until the state that names the new root is published.
//
// With each entry that expires goes one of the index (expiry-key.ts), put and removed here as part of the same change.
// When a range is cleared, its part of the index stays; the sweeper removes it later.
import { noteInsertion, runOf, setRun, splitPoint } from './split-point.js'
import { RangeCutter } from './range-cutter.js'
import { Trash } from './trash.js'
import type { Allocator } from '../space/allocator.js'
import { STATE, type StateFields } from '../shared/control.js'
import { isExpiryKey, NEVER, timeOfExpiryKey, writeExpiryKey } from '../../encoding/expiry-key.js'
import { AREA } from '../../encoding/key-space.js'
import { MAX_TREE_KEY_BYTES } from '../../limits.js'
import {
  ENTRY_CELL_WORD,
  EXPIRES_FLAG,
  EXPIRY_BYTES,
  isInline,
  LEAF_CELL_HEADER,
  LEAF_ENTRY_WORDS,
  MAX_HEIGHT,
  OVERFLOW_FLAG,
  OVERFLOW_POINTER_BYTES,
  overflowSlots,
  SLOT_BODY_BYTES,
  SLOT_BYTES,
  typeAt,
  type SlotNo,
} from '../format/layout.js'
import { readVersion, writeCellHeader, writeExpiry, writePointer } from '../format/leaf-cell.js'
import { even, Node } from '../format/node.js'
import { overflowChain, overflowPointer, readOverflow, writeOverflow } from '../space/overflow.js'
import { checkNeighbours, checkLeafBounds } from './leaf-bounds.js'
import { commonPrefix, findChild, findInLeaf } from '../format/search.js'
import { type SlotChecker } from '../space/slot-checker.js'
import type { SlotSpace } from '../format/slot-space.js'
import { highWord, lowWord, slotLsn, slotLsnOf } from '../format/slot-header.js'

/** A node with fewer bytes in it than this is joined with a neighbour ... */
const UNDERFULL_BYTES = SLOT_BODY_BYTES / 4
/** ... if both together leave some room for new entries. */
const JOINED_BYTES = (SLOT_BODY_BYTES * 3) / 4
/** The flags of a leaf's entry, where they lie in its word. */
const FLAGS = (OVERFLOW_FLAG | EXPIRES_FLAG) << 16

export class TreeWriter {
  readonly #space: SlotSpace
  readonly #allocator: Allocator
  readonly #checker: SlotChecker
  #state!: StateFields
  #lsn = 0
  #lsnLow = 0
  #lsnHigh = 0

  /** The nodes from the root (at height - 1) down to the leaf (at 0), and the child taken at each level. */
  readonly #path: Node[] = []
  readonly #taken = new Int32Array(MAX_HEIGHT)
  /**
   * At each level, the slot of the last way down that this group is known to own, so that it need not be looked at
   * again; 0 if there is no such slot.
   */
  readonly #owned: number[] = new Array<number>(MAX_HEIGHT).fill(0)
  readonly #source = Node.scratch()
  /** Separators on their way up: one buffer for each level. */
  readonly #separators: Uint8Array[] = []
  readonly #pointer = Buffer.alloc(OVERFLOW_POINTER_BYTES)
  readonly #cutter: RangeCutter
  readonly #trash: Trash

  constructor(space: SlotSpace, allocator: Allocator, checker: SlotChecker) {
    this.#space = space
    this.#allocator = allocator
    this.#checker = checker
    this.#cutter = new RangeCutter({ space, allocator, checker })
    this.#trash = new Trash({ space, allocator, checker })
    for (let i = 0; i < MAX_HEIGHT; i++) {
      this.#path.push(new Node())
      this.#separators.push(new Uint8Array(SLOT_BYTES))
    }
  }

  /** Begins a group that will be published at `lsn`. From here on `state` is changed. */
  begin(state: StateFields, lsn: number): void {
    this.#state = state
    this.#lsn = lsn
    this.#lsnLow = lowWord(lsn)
    this.#lsnHigh = highWord(lsn)
    this.#owned.fill(0)
    this.#trash.begin(state, lsn)
    this.isEarliestGone = false
  }

  /** Puts `key` with the value at [valueAt, valueAt + valueLength) of `source`, to expire at `expiresAt` or `NEVER`. */
  put(
    key: Uint8Array,
    keyLength: number,
    source: Buffer,
    valueAt: number,
    valueLength: number,
    version: number,
    expiresAt: number,
  ): void {
    const before = this.#put(key, keyLength, source, valueAt, valueLength, version, expiresAt)
    if (before === expiresAt) return
    if (before !== NEVER) this.#unindex(before, key, keyLength)
    if (expiresAt === NEVER) return
    const length = writeExpiryKey(this.#indexKey, expiresAt, key, keyLength)
    this.#put(this.#indexKey, length, this.#pointer, 0, 0, version, NEVER)
  }

  #unindex(expiresAt: number, key: Uint8Array, keyLength: number): void {
    const length = writeExpiryKey(this.#indexKey, expiresAt, key, keyLength)
    if (this.find(this.#indexKey, length)) this.#remove(this.#indexKey, length)
  }

  readonly #indexKey = new Uint8Array(MAX_TREE_KEY_BYTES)
  /** True if the index has lost its earliest entry since `begin`: the state does not say any more which that is. */
  isEarliestGone = false

  /** Returns when the entry that was there would have expired. */
  #put(
    key: Uint8Array,
    keyLength: number,
    source: Buffer,
    valueAt: number,
    valueLength: number,
    version: number,
    expiresAt: number,
  ): number {
    const leaf = this.#descend(key, keyLength)
    const i = findInLeaf(leaf.u8, leaf.u16, leaf.i32, leaf.base, leaf.count, key, keyLength)
    // A key before or after all keys of a leaf may belong to another leaf.
    if (this.#isLeafNew && (i === -1 || i === ~leaf.count))
      checkLeafBounds(this.#checker, this.#path, this.#taken, this.#state[STATE.HEIGHT]!)

    // What follows the key in the cell: the value, or a pointer, which is built aside.
    let payload = source
    let payloadAt = valueAt
    let payloadBytes = valueLength
    let flags = expiresAt === NEVER ? 0 : EXPIRES_FLAG
    const expiryBytes = expiresAt === NEVER ? 0 : EXPIRY_BYTES
    if (!isInline(keyLength, valueLength, expiryBytes)) {
      const pointer = writeOverflow(
        this.#space,
        this.#allocator,
        this.#lsnLow,
        this.#lsnHigh,
        source,
        valueAt,
        valueLength,
      )
      writePointer(this.#pointer, 0, pointer)
      payload = this.#pointer
      payloadAt = 0
      payloadBytes = OVERFLOW_POINTER_BYTES
      flags |= OVERFLOW_FLAG
      this.#state[STATE.OVERFLOWS]! += overflowSlots(valueLength)
    }
    const cellBytes = even(LEAF_CELL_HEADER + keyLength + expiryBytes + payloadBytes)
    const before = i >= 0 && leaf.expires(i) ? leaf.expiresAt(i) : NEVER

    let node = leaf
    let cell: number
    if (i >= 0 && leaf.overflows(i)) this.#freeOverflow(leaf, i)
    if (i >= 0 && leaf.cellBytes(i) === cellBytes) {
      // Same size: overwrite the old cell. The slot is this group's own.
      const word = leaf.entry(i) + ENTRY_CELL_WORD
      leaf.i32[word] = (leaf.i32[word]! & ~FLAGS) | (flags << 16)
      cell = leaf.base + leaf.cellOffset(i)
    } else {
      const at = i >= 0 ? i : ~i
      if (i >= 0) leaf.remove(i)
      else {
        this.#countEntry(key, 1)
        noteInsertion(leaf, at)
      }
      if (leaf.freeBytes >= cellBytes + LEAF_ENTRY_WORDS * 4) {
        cell = leaf.insert(at, key, 0, keyLength, flags, cellBytes)
      } else {
        const [to, index] = this.#splitAndInsert(0, at, key, keyLength, flags, cellBytes)
        node = to
        cell = node.base + node.cellOffset(index)
      }
    }
    this.#fill(node, cell, keyLength, payload, payloadAt, payloadBytes, flags, version, expiresAt)
    return before
  }

  /**
   * Removes `key`. False if it is not there, or has expired at `nowMs`, which leaves it to the sweeper: then nothing
   * was touched.
   */
  del(key: Uint8Array, keyLength: number, nowMs: number): boolean {
    if (!this.find(key, keyLength)) return false
    const expiresAt = this.foundExpiresAt
    if (expiresAt <= nowMs) return false
    this.#remove(key, keyLength)
    if (expiresAt !== NEVER) this.#unindex(expiresAt, key, keyLength)
    return true
  }

  /** Removes a key that is there. */
  #remove(key: Uint8Array, keyLength: number): void {
    const leaf = this.#descend(key, keyLength)
    const i = findInLeaf(leaf.u8, leaf.u16, leaf.i32, leaf.base, leaf.count, key, keyLength)
    if (leaf.overflows(i)) this.#freeOverflow(leaf, i)
    leaf.remove(i)
    setRun(leaf, 0, 0)
    this.#countEntry(key, -1)
    this.#shrink(0)
  }

  /** Removes all keys from `from` on that are below `to`, if there is such a bound. */
  clear(from: Uint8Array, to: Uint8Array | undefined): void {
    // Finds the leaves at both ends to be in their places.
    this.find(from, from.length)
    if (to !== undefined) this.find(to, to.length)
    this.#trash.add(this.#cutter.cut(this.#state, this.#lsn, from, to))
  }

  /** Frees up to about that many slots of what `clear` has cut out, in this or an earlier group. */
  collectTrash(mostSlots: number): void {
    this.#trash.collect(mostSlots)
  }

  #countEntry(key: Uint8Array, by: 1 | -1): void {
    this.#state[STATE.ENTRIES]! += by
    if (key[0] !== AREA.INTERNAL) return
    this.#state[STATE.INTERNAL_ENTRIES]! += by
    if (!isExpiryKey(key)) return
    this.#state[STATE.EXPIRING]! += by
    const time = timeOfExpiryKey(key)
    if (time > this.#state[STATE.EARLIEST_EXPIRY]!) return
    if (by < 0) this.isEarliestGone = true
    else this.#state[STATE.EARLIEST_EXPIRY] = time
  }

  #fill(
    node: Node,
    cellAt: number,
    keyLength: number,
    payload: Buffer,
    payloadAt: number,
    payloadBytes: number,
    flags: number,
    version: number,
    expiresAt: number,
  ): void {
    writeCellHeader(node.u16, cellAt, version, (flags & OVERFLOW_FLAG) === 0 ? payloadBytes : 0)
    let to = cellAt + LEAF_CELL_HEADER + keyLength
    if ((flags & EXPIRES_FLAG) !== 0) {
      writeExpiry(node.u8, to, expiresAt)
      to += EXPIRY_BYTES
    }
    if (payloadBytes < 48) for (let n = 0; n < payloadBytes; n++) node.u8[to + n] = payload[payloadAt + n]!
    else node.u8.set(payload.subarray(payloadAt, payloadAt + payloadBytes), to)
    if (((keyLength + payloadBytes) & 1) === 1) node.u8[to + payloadBytes] = 0
  }

  // ---- the way down ----------------------------------------------------------------------------

  /**
   * Looks for `key` in the tree as this group has made it so far. True if it is there: then `foundVersion` and
   * `foundValue` describe it, until the tree is changed. Changes nothing.
   */
  find(key: Uint8Array, keyLength: number): boolean {
    let slot = this.#state[STATE.ROOT]!
    for (let level = this.#state[STATE.HEIGHT]! - 1; level >= 0; level--) {
      const first = this.#checker.require(slot, typeAt(level), level)
      const node = this.#path[level]!.at(this.#space, slot as SlotNo)
      if (level === 0) {
        const i = findInLeaf(node.u8, node.u16, node.i32, node.base, node.count, key, keyLength)
        if (first || i === -1 || i === ~node.count)
          checkLeafBounds(this.#checker, this.#path, this.#taken, this.#state[STATE.HEIGHT]!)
        if (first) this.#checker.accept(slot)
        this.#found = i
        return i >= 0
      }
      const i = findChild(node.u8, node.u16, node.i32, node.base, node.count, key, keyLength)
      this.#taken[level] = i
      slot = node.child(i)
    }
    return false
  }

  #found = 0

  /** The tree as this group has made it so far, to be read. */
  get state(): StateFields {
    return this.#state
  }

  /** LSN of the frame that wrote the entry that `find` has found. */
  get foundVersion(): number {
    const leaf = this.#path[0]!
    return readVersion(leaf.u16, leaf.base + leaf.cellOffset(this.#found))
  }

  /** When that entry expires; `NEVER` if it does not. */
  get foundExpiresAt(): number {
    const leaf = this.#path[0]!
    return leaf.expires(this.#found) ? leaf.expiresAt(this.#found) : NEVER
  }

  /** Where the value of that entry lies, as [buffer, start, end]; undefined if it is longer than `mostBytes`. */
  foundValue(mostBytes: number): readonly [Buffer, number, number] | undefined {
    const leaf = this.#path[0]!
    const i = this.#found
    if (leaf.overflows(i)) {
      // Beside a long key even a short value has no room in the leaf.
      const pointer = overflowPointer(leaf, i)
      if (pointer.lengthBytes > mostBytes) return undefined
      return [readOverflow(this.#space, this.#checker, pointer), 0, pointer.lengthBytes]
    }
    const at = leaf.valueAt(i)
    return [this.#space.buffers[this.#space.windowOf(leaf.slot)]!, at, at + leaf.payloadBytes(i)]
  }

  /** Goes to the leaf of `key`, and makes every slot on the way this group's own. */
  #descend(key: Uint8Array, keyLength: number): Node {
    const s = this.#state
    if (s[STATE.HEIGHT] === 0) {
      const leaf = this.#create(this.#path[0]!, 0)
      s[STATE.ROOT] = leaf.slot
      s[STATE.HEIGHT] = 1
      return leaf
    }
    this.#isLeafNew = false
    let level = s[STATE.HEIGHT]! - 1
    let node = this.#ownRoot(level)
    while (level > 0) {
      const i = findChild(node.u8, node.u16, node.i32, node.base, node.count, key, keyLength)
      this.#taken[level] = i
      const child = node.child(i)
      level--
      const own = this.#own(this.#path[level]!, child, level)
      if (own.slot !== child) {
        node.setChild(i, own.slot)
        if (level === 0) this.#acceptLeaf(child)
      }
      node = own
    }
    return node
  }

  /** The way down has copied the leaf `child`: the last chance to find that in its place, if no reader has yet. */
  #acceptLeaf(child: number): void {
    this.#isLeafNew = true
    if (!this.#checker.isUnverified(child)) return
    checkLeafBounds(this.#checker, this.#path, this.#taken, this.#state[STATE.HEIGHT]!)
    this.#checker.accept(child)
  }

  #ownRoot(level: number): Node {
    const s = this.#state
    const root = s[STATE.ROOT]!
    const node = this.#own(this.#path[level]!, root, level)
    if (node.slot === root) return node
    // A leaf that is the whole tree is in its place.
    if (this.#checker.isUnverified(root)) this.#checker.accept(root)
    s[STATE.ROOT] = node.slot
    return node
  }

  /**
   * Points `node` at `slot` if this group made it, or else at a copy that replaces it. Does not check that a leaf is
   * in its place.
   */
  #own(node: Node, slot: number, level: number): Node {
    if (this.#owned[level] === slot) return node.slot === slot ? node : node.at(this.#space, slot as SlotNo)
    this.#checker.require(slot, typeAt(level), level)
    node.at(this.#space, slot as SlotNo)
    const madeAtLsn = slotLsnOf(node.i32, node.base)
    if (madeAtLsn === this.#lsn) {
      this.#owned[level] = slot
      return node
    }
    const from = this.#copied.at(this.#space, slot as SlotNo)
    node.at(this.#space, this.#allocator.allocate())
    node.copyFrom(from)
    node.claim(this.#lsnLow, this.#lsnHigh)
    node.tighten()
    this.#allocator.free(slot as SlotNo, madeAtLsn)
    this.#owned[level] = node.slot
    return node
  }
  readonly #copied = new Node()
  /** True if the way down has copied its leaf, whose place has not been checked yet. */
  #isLeafNew = false

  #create(node: Node, level: number): Node {
    const slot = this.#allocator.allocate()
    const window = this.#space.windowOf(slot)
    node.u8 = this.#space.u8[window]!
    node.u16 = this.#space.u16[window]!
    node.i32 = this.#space.i32[window]!
    node.base = this.#space.byteOf(slot)
    node.slot = slot
    node.init(level, this.#lsnLow, this.#lsnHigh)
    this.#state[level === 0 ? STATE.LEAVES : STATE.BRANCHES]!++
    return node
  }

  /** Frees a slot that this group made. */
  #discard(node: Node): void {
    this.#state[node.isLeaf ? STATE.LEAVES : STATE.BRANCHES]!--
    this.#allocator.free(node.slot, this.#lsn)
  }

  #freeOverflow(leaf: Node, i: number): void {
    const pointer = overflowPointer(leaf, i)
    for (const slot of overflowChain(this.#space, this.#checker, pointer))
      this.#allocator.free(slot, slotLsn(this.#space, slot))
    this.#state[STATE.OVERFLOWS]! -= overflowSlots(pointer.lengthBytes)
  }

  // ---- splitting -------------------------------------------------------------------------------

  /**
   * Splits the full node at `level` of the path and inserts an entry at index `at` of what it was.
   * Returns the node that the entry went to, and its index there.
   */
  #splitAndInsert(
    level: number,
    at: number,
    key: Uint8Array,
    keyLength: number,
    flags: number,
    cellBytes: number,
  ): [Node, number] {
    const left = this.#path[level]!
    const source = this.#source
    source.copyFrom(left)
    const count = source.count
    const run = left.isLeaf ? runOf(left) : 0
    const right = this.#create(new Node(), level)
    const middle = splitPoint(source, at, cellBytes, run)

    left.init(level, this.#lsnLow, this.#lsnHigh)
    let target = left
    // v: index in the sequence that includes the new entry; the right node gets [middle, count] of it.
    for (let v = 0; v <= count; v++) {
      const to = v < middle ? left : right
      if (v === at) {
        target = to
        to.insert(to.count, key, 0, keyLength, flags, cellBytes)
      } else {
        to.append(source, v < at ? v : v - 1)
      }
    }
    left.rehead()
    if (left.isLeaf) {
      right.rehead()
      setRun(left, target === left ? at : 0, target === left ? run : 0)
      setRun(right, target === right ? at - middle : 0, target === right ? run : 0)
    }

    const separator = this.#separators[level]!
    let length: number
    if (left.isLeaf) {
      // The shortest key above every key on the left.
      const last = left.count - 1
      const shared = commonPrefix(
        left.u8,
        left.keyAt(last),
        left.keyLength(last),
        right.u8,
        right.keyAt(0),
        right.keyLength(0),
      )
      length = shared + 1
      separator.set(right.u8.subarray(right.keyAt(0), right.keyAt(0) + length))
    } else {
      length = right.keyLength(0)
      separator.set(right.u8.subarray(right.keyAt(0), right.keyAt(0) + length))
      right.clearFirstKey()
      right.rehead()
    }
    this.#addChild(level + 1, separator, length, left.slot, right.slot)
    return [target, target === left ? at : at - middle]
  }

  /** Inserts `right`, whose keys begin at `separator`, after the child taken at `level`. */
  #addChild(level: number, separator: Uint8Array, length: number, left: SlotNo, right: SlotNo): void {
    const s = this.#state
    if (level === s[STATE.HEIGHT]) {
      const root = this.#create(this.#path[level]!, level)
      root.insert(0, separator, 0, 0, 0, 0)
      root.setChild(0, left)
      root.insert(1, separator, 0, length, 0, even(length))
      root.setChild(1, right)
      s[STATE.ROOT] = root.slot
      s[STATE.HEIGHT]!++
      this.#taken[level] = 0
      return
    }
    const node = this.#path[level]!
    const at = this.#taken[level]! + 1
    const cellBytes = even(length)
    if (node.freeBytes >= cellBytes + node.words * 4) {
      node.insert(at, separator, 0, length, 0, cellBytes)
      node.setChild(at, right)
      return
    }
    // The key of the new entry may be the one that moves up; its child stays in the node that it went to.
    const [target, index] = this.#splitAndInsert(level, at, separator, length, 0, cellBytes)
    target.setChild(index, right)
  }

  // ---- shrinking -------------------------------------------------------------------------------

  /** Repairs the tree after entries were removed from the node at `level`: joins or drops nodes, lowers the root. */
  #shrink(level: number): void {
    const s = this.#state
    const node = this.#path[level]!
    if (level === s[STATE.HEIGHT]! - 1) {
      if (level === 0) {
        if (node.count > 0) return
        this.#discard(node)
        s[STATE.ROOT] = 0
        s[STATE.HEIGHT] = 0
        return
      }
      if (node.count > 1) return
      s[STATE.ROOT] = node.child(0)
      s[STATE.HEIGHT] = level
      this.#discard(node)
      // The new root may itself have only one child.
      this.#ownRoot(level - 1)
      if (level - 1 > 0) this.#shrink(level - 1)
      return
    }
    const parent = this.#path[level + 1]!
    const i = this.#taken[level + 1]!
    if (node.count === 0) {
      this.#discard(node)
      this.#dropChild(parent, i)
      this.#shrink(level + 1)
      return
    }
    if (node.usedBytes >= UNDERFULL_BYTES) return
    if (i + 1 < parent.count && this.#join(parent, i, level)) this.#shrink(level + 1)
    else if (i > 0 && this.#join(parent, i - 1, level)) this.#shrink(level + 1)
  }

  /** Joins the children i and i + 1 of `parent` if both fit into one. */
  #join(parent: Node, i: number, level: number): boolean {
    const space = this.#space
    const left = new Node()
    const right = new Node()
    const leaf = level === 0
    for (const [n, node] of [left, right].entries()) {
      const slot = parent.child(i + n)
      const first = this.#checker.require(slot, typeAt(level), level)
      node.at(space, slot)
      if (!first || !leaf) continue
      // Before any thread follows the values that it leads to.
      checkLeafBounds(
        this.#checker,
        [node, ...this.#path.slice(1)],
        [0, i + n, ...this.#taken.slice(2)],
        this.#state[STATE.HEIGHT]!,
      )
      this.#checker.accept(slot)
    }
    if (leaf) checkNeighbours(this.#checker, left, right, parent, i + 1)
    const pulled = leaf ? 0 : even(parent.keyLength(i + 1))
    if (left.usedBytes + right.usedBytes + pulled > JOINED_BYTES) return false

    this.#own(left, parent.child(i), level)
    parent.setChild(i, left.slot)
    left.compact()
    const start = left.count
    for (let n = 0; n < right.count; n++) left.append(right, n)
    if (!leaf) {
      // The first child of the right node gets the key that separated the two.
      const child = left.child(start)
      const key = parent.u8.slice(parent.keyAt(i + 1), parent.keyAt(i + 1) + parent.keyLength(i + 1))
      left.remove(start)
      left.insert(start, key, 0, key.length, 0, even(key.length))
      left.setChild(start, child)
    } else {
      setRun(left, 0, 0)
    }
    left.rehead()
    this.#state[leaf ? STATE.LEAVES : STATE.BRANCHES]!--
    this.#allocator.free(right.slot, slotLsnOf(right.i32, right.base))
    this.#dropChild(parent, i + 1)
    return true
  }

  #dropChild(parent: Node, i: number): void {
    parent.remove(i)
    if (i === 0 && parent.count > 0) parent.clearFirstKey()
  }
}
