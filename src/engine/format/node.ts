// A branch or leaf under construction: edits the entries and cells of one slot that no reader
// can see yet. Knows nothing of trees, ownership or allocation.
import {
  BRANCH_CELL_HEADER,
  BRANCH_ENTRY_WORDS,
  CELL,
  ENTRY_CELL_WORD,
  ENTRY_CHILD_WORD,
  EXPIRES_FLAG,
  KEY_LENGTH_MASK,
  kindWord,
  LEAF_CELL_HEADER,
  LEAF_ENTRY_WORDS,
  OVERFLOW_POINTER_BYTES,
  RESERVED_FLAGS,
  SLOT,
  SLOT_BODY_BYTES,
  SLOT_BYTES,
  TYPE,
  typeAt,
  VALUE_LENGTH_SHIFT,
  type SlotNo,
} from './layout.js'
import { readExpiry } from './leaf-cell.js'
import { commonPrefix, headOf } from './search.js'
import { claimSlot, initSlot } from './slot-header.js'
import type { SlotSpace } from './slot-space.js'

// Constants of this module's own: see slot-header.ts.
const CELL_WORD = ENTRY_CELL_WORD
const VALUE_LENGTH_AT = CELL.VALUE_LENGTH
const VALUE_SHIFT = VALUE_LENGTH_SHIFT

/** EXPIRES_FLAG, in the word that has the flags in its upper half. */
const EXPIRES_BIT = EXPIRES_FLAG << 16
const EXPIRES_SHIFT = 30 - 3
/** `EXPIRY_BYTES` for an entry with that flag, else 0. */
export const expiryBytesIn = (word: number): number => (word & EXPIRES_BIT) >>> EXPIRES_SHIFT

export class Node {
  u8!: Uint8Array
  u16!: Uint16Array
  i32!: Int32Array
  /** Byte at which the slot begins in these arrays. */
  base = 0
  slot = 0 as SlotNo
  /** The bytes of a node that has memory of its own; undefined for a view of the mapped file. */
  buffer: Buffer | undefined = undefined
  /** 32-bit words of an entry, and bytes of a cell before its key. */
  words = LEAF_ENTRY_WORDS
  keySkip: number = LEAF_CELL_HEADER

  /** Points this view at a slot that already is a branch or leaf. */
  at(space: SlotSpace, slot: SlotNo): this {
    const window = space.windowOf(slot)
    this.u8 = space.u8[window]!
    this.u16 = space.u16[window]!
    this.i32 = space.i32[window]!
    this.base = space.byteOf(slot)
    this.slot = slot
    this.#shape()
    return this
  }

  /** A node with memory of its own, to copy from and to. */
  static scratch(): Node {
    const node = new Node()
    const buffer = new ArrayBuffer(SLOT_BYTES)
    node.u8 = new Uint8Array(buffer)
    node.u16 = new Uint16Array(buffer)
    node.i32 = new Int32Array(buffer)
    node.buffer = Buffer.from(buffer)
    return node
  }

  /** Copies slot `slot`, of any type, here: all its 4096 bytes. Only for a node with memory of its own. */
  copyOf(space: SlotSpace, slot: SlotNo): this {
    const base = space.byteOf(slot)
    space.buffers[space.windowOf(slot)]!.copy(this.buffer!, 0, base, base + SLOT_BYTES)
    this.slot = slot
    this.#shape()
    return this
  }

  #shape(): void {
    const leaf = this.u8[this.base + SLOT.TYPE] === TYPE.LEAF
    this.words = leaf ? LEAF_ENTRY_WORDS : BRANCH_ENTRY_WORDS
    this.keySkip = leaf ? LEAF_CELL_HEADER : BRANCH_CELL_HEADER
  }

  /** Copies all 4096 bytes of `from` here. */
  copyFrom(from: Node): void {
    if (from.u8 === this.u8) this.u8.copyWithin(this.base, from.base, from.base + SLOT_BYTES)
    else this.u8.set(from.u8.subarray(from.base, from.base + SLOT_BYTES), this.base)
    this.#shape()
  }

  /** Makes this an empty branch or leaf. */
  init(level: number, lsnLow: number, lsnHigh: number): void {
    initSlot(this.i32, this.base, kindWord(typeAt(level), level), this.slot, lsnLow, lsnHigh)
    this.heap = SLOT_BYTES
    this.#shape()
  }

  /** Turns a copy of another slot into this slot, made at the given LSN and not sealed. */
  claim(lsnLow: number, lsnHigh: number): void {
    claimSlot(this.i32, this.base, this.slot, lsnLow, lsnHigh)
  }

  get isLeaf(): boolean {
    return this.words === LEAF_ENTRY_WORDS
  }
  get level(): number {
    return this.u8[this.base + SLOT.LEVEL]!
  }
  get count(): number {
    return this.u16[(this.base + SLOT.COUNT) >> 1]!
  }
  set count(n: number) {
    this.u16[(this.base + SLOT.COUNT) >> 1] = n
  }
  get prefix(): number {
    return this.u16[(this.base + SLOT.PREFIX) >> 1]!
  }
  set prefix(n: number) {
    this.u16[(this.base + SLOT.PREFIX) >> 1] = n
  }
  get heap(): number {
    return this.u16[(this.base + SLOT.HEAP) >> 1]!
  }
  set heap(n: number) {
    this.u16[(this.base + SLOT.HEAP) >> 1] = n
  }
  get garbage(): number {
    return this.u16[(this.base + SLOT.GARBAGE) >> 1]!
  }
  set garbage(n: number) {
    this.u16[(this.base + SLOT.GARBAGE) >> 1] = n
  }

  /** Index of entry i's first word. */
  entry(i: number): number {
    return ((this.base + SLOT.BODY) >> 2) + i * this.words
  }
  /** Offset in the slot of entry i's cell. */
  cellOffset(i: number): number {
    return this.i32[this.entry(i) + CELL_WORD]! & 0xffff
  }
  keyLength(i: number): number {
    return (this.i32[this.entry(i) + CELL_WORD]! >>> 16) & KEY_LENGTH_MASK
  }
  /** Byte of `u8` at which the key of entry i begins. */
  keyAt(i: number): number {
    return this.base + this.cellOffset(i) + this.keySkip
  }
  child(i: number): SlotNo {
    return (this.i32[this.entry(i) + ENTRY_CHILD_WORD]! >>> 0) as SlotNo
  }
  setChild(i: number, slot: SlotNo): void {
    this.i32[this.entry(i) + ENTRY_CHILD_WORD] = slot
  }
  overflows(i: number): boolean {
    return this.i32[this.entry(i) + CELL_WORD]! >>> 31 === 1
  }
  /** Bits of the entry whose meaning is not known. */
  unknownFlags(i: number): number {
    return (
      (this.i32[this.entry(i) + CELL_WORD]! >>> 16) & (this.isLeaf ? RESERVED_FLAGS : RESERVED_FLAGS | EXPIRES_FLAG)
    )
  }
  /** True if the entry of a leaf expires. */
  expires(i: number): boolean {
    return (this.i32[this.entry(i) + CELL_WORD]! & EXPIRES_BIT) !== 0
  }
  /** When it expires, if it does. */
  expiresAt(i: number): number {
    return readExpiry(this.u8, this.keyAt(i) + this.keyLength(i))
  }
  /** Byte of `u8` at which the value of a leaf's entry begins, or the pointer to it. */
  valueAt(i: number): number {
    const word = this.i32[this.entry(i) + CELL_WORD]!
    return this.base + (word & 0xffff) + LEAF_CELL_HEADER + ((word >>> 16) & KEY_LENGTH_MASK) + expiryBytesIn(word)
  }
  /** Bytes that the cell holds of the value: the value itself, or the pointer to its overflow slots. */
  payloadBytes(i: number): number {
    if (this.overflows(i)) return OVERFLOW_POINTER_BYTES
    return this.u16[(this.base + this.cellOffset(i) + VALUE_LENGTH_AT) >> 1]! >>> VALUE_SHIFT
  }
  /** Bytes of entry i's cell, padded to an even number. */
  cellBytes(i: number): number {
    const key = this.keyLength(i)
    if (!this.isLeaf) return even(key)
    return even(LEAF_CELL_HEADER + key + expiryBytesIn(this.i32[this.entry(i) + CELL_WORD]!) + this.payloadBytes(i))
  }

  /** Bytes that entries and live cells take, of SLOT_BODY_BYTES. */
  get usedBytes(): number {
    return this.count * this.words * 4 + SLOT_BYTES - this.heap - this.garbage
  }
  /** Bytes left for entries and cells, dead cells included. */
  get freeBytes(): number {
    return SLOT_BODY_BYTES - this.usedBytes
  }

  /** Index of the first entry whose key is compared: a branch's first entry has no key. */
  get firstCompared(): number {
    return this.isLeaf ? 0 : 1
  }

  /**
   * Makes room at index i for an entry with a cell of `cellBytes` (even), and writes entry and key.
   * Returns the byte of `u8` at which the cell begins. The node must have enough free bytes.
   */
  insert(i: number, key: Uint8Array, keyAt: number, keyLength: number, flags: number, cellBytes: number): number {
    const entryBytes = this.words * 4
    const count = this.count
    if (this.heap - SLOT.BODY - (count + 1) * entryBytes < cellBytes) this.compact()
    this.#fitPrefix(key, keyAt, keyLength)
    const entry = this.entry(i)
    const end = this.entry(count)
    if (entry < end) this.i32.copyWithin(entry + this.words, entry, end)
    const offset = this.heap - cellBytes
    this.heap = offset
    this.count = count + 1
    this.i32[entry] = headOf(key, keyAt, keyLength, this.prefix)
    this.i32[entry + CELL_WORD] = offset | ((keyLength | flags) << 16)
    const at = this.base + offset
    const k = at + this.keySkip
    const u8 = this.u8
    for (let n = 0; n < keyLength; n++) u8[k + n] = key[keyAt + n]!
    return at
  }

  remove(i: number): void {
    const count = this.count
    this.garbage += this.cellBytes(i)
    const entry = this.entry(i)
    this.i32.copyWithin(entry, entry + this.words, this.entry(count))
    this.count = count - 1
    if (count === 1) {
      this.heap = SLOT_BYTES
      this.garbage = 0
      this.prefix = 0
    }
  }

  /** Removes the key of a branch's first entry, which leads to every key below the second entry's. */
  clearFirstKey(): void {
    this.garbage += even(this.keyLength(0))
    const entry = this.entry(0)
    this.i32[entry] = 0
    this.i32[entry + CELL_WORD] = this.heap
  }

  /** Appends entry i of `from` (another node of the same type) after the last one here. */
  append(from: Node, i: number): void {
    const bytes = from.cellBytes(i)
    const offset = this.heap - bytes
    const entry = this.entry(this.count)
    const source = from.entry(i)
    this.heap = offset
    this.count++
    this.i32[entry] = from.i32[source]!
    this.i32[entry + CELL_WORD] = (from.i32[source + CELL_WORD]! & ~0xffff) | offset
    if (this.words === BRANCH_ENTRY_WORDS) this.i32[entry + ENTRY_CHILD_WORD] = from.i32[source + ENTRY_CHILD_WORD]!
    const at = from.base + from.cellOffset(i)
    copyBytes(from.u8, at, this.u8, this.base + offset, bytes)
  }

  /** Drops dead cells: the live ones move together. */
  compact(): void {
    compactionScratch.copyFrom(this)
    this.heap = SLOT_BYTES
    this.garbage = 0
    const count = this.count
    this.count = 0
    for (let i = 0; i < count; i++) this.append(compactionScratch, i)
  }

  /** Lengthens the common prefix as far as the keys allow, so that heads tell more keys apart. */
  tighten(): void {
    const first = this.firstCompared
    const last = this.count - 1
    if (last <= first) return
    const prefix = commonPrefix(
      this.u8,
      this.keyAt(first),
      this.keyLength(first),
      this.u8,
      this.keyAt(last),
      this.keyLength(last),
    )
    if (prefix !== this.prefix) this.#setPrefix(prefix)
  }

  /** Computes prefix and heads again, after entries came from another node. */
  rehead(): void {
    this.#setPrefix(0)
    this.tighten()
  }

  /** Shortens the common prefix if `key`, which is about to be inserted, does not begin with it. */
  #fitPrefix(key: Uint8Array, keyAt: number, keyLength: number): void {
    const prefix = this.prefix
    if (prefix === 0) return
    const first = this.firstCompared
    if (this.count <= first) {
      this.prefix = 0
      return
    }
    const common = commonPrefix(this.u8, this.keyAt(first), this.keyLength(first), key, keyAt, keyLength)
    if (common < prefix) this.#setPrefix(common)
  }

  #setPrefix(prefix: number): void {
    this.prefix = prefix
    const count = this.count
    for (let i = this.firstCompared; i < count; i++) {
      this.i32[this.entry(i)] = headOf(this.u8, this.keyAt(i), this.keyLength(i), prefix)
    }
  }
}

export const even = (n: number): number => (n + 1) & ~1

/** Copies a few hundred bytes; faster than `set` and `subarray`, which allocate. */
function copyBytes(from: Uint8Array, fromAt: number, to: Uint8Array, toAt: number, length: number): void {
  if (from === to) {
    to.copyWithin(toAt, fromAt, fromAt + length)
  } else if (length < 64) {
    for (let i = 0; i < length; i++) to[toAt + i] = from[fromAt + i]!
  } else {
    to.set(from.subarray(fromAt, fromAt + length), toAt)
  }
}

const compactionScratch = Node.scratch()
