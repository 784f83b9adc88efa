// Builds a tree from entries that come in the order of their keys: for copies of a database. Leaves are filled one
// after the other, each to the last entry that fits, and branches above them as they come. So a tree has no free
// slots, lies in its file in the order of its keys, and only one node of each level is in memory.
//
// Cells are copied as they are, whatever they hold: versions stay. Only where a value overflows is new. Slots are
// sealed and handed over in the order of their numbers; a slot is not touched again after that.
import { crc32c } from '../../encoding/crc32c.js'
import { isExpiryKey, timeOfExpiryKey } from '../../encoding/expiry-key.js'
import { AREA } from '../../encoding/key-space.js'
import { writePointer } from '../format/leaf-cell.js'
import {
  BRANCH_ENTRY_WORDS,
  HEADER_SLOTS,
  kindWord,
  LEAF_ENTRY_WORDS,
  SLOT,
  SLOT_BODY_BYTES,
  SLOT_BYTES,
  TYPE,
  type SlotNo,
} from '../format/layout.js'
import { even, Node } from '../format/node.js'
import { commonPrefix } from '../format/search.js'
import { claimSlot, highWord, initSlot, lowWord, setCrc, setNext, setUsedBytes } from '../format/slot-header.js'
import { overflowPointer } from '../space/overflow.js'

/** What the header of a database says of its tree. */
interface BuiltTree {
  readonly root: SlotNo
  readonly height: number
  /** All of them, and those that the database keeps for itself. */
  readonly entries: number
  readonly internalEntries: number
  /** Entries of the index of those that expire, and the earliest time in it; 0 and 0 if there is none. */
  readonly expiring: number
  readonly earliestExpiryMs: number
  readonly leaves: number
  readonly branches: number
  readonly overflows: number
  /** The slot after the last one. */
  readonly nextSlot: number
}

/** A node that is being filled, and the key that leads to it. */
class OpenNode {
  readonly node = Node.scratch()
  /** The shortest key above all that lies before the node; without meaning for the first node of a level. */
  readonly key = new Uint8Array(SLOT_BYTES)
  keyLength = 0
}

export class TreeBuilder {
  readonly #lsnLow: number
  readonly #lsnHigh: number
  readonly #write: (slot: Buffer) => void
  /** By level. */
  readonly #open: OpenNode[] = []
  /** The last key of the leaf before the open one. */
  readonly #lastKey = new Uint8Array(SLOT_BYTES)
  #lastKeyLength = 0
  #nextSlot = HEADER_SLOTS
  #entries = 0
  #internalEntries = 0
  #expiring = 0
  #earliestExpiryMs = 0
  #leaves = 0
  #branches = 0
  #overflows = 0
  readonly #overflow = Node.scratch()

  /** `lsn`: that of the tree. `write` gets the slots one by one, from slot 4 on, and must not keep the buffer. */
  constructor(lsn: number, write: (slot: Buffer) => void) {
    this.#lsnLow = lowWord(lsn)
    this.#lsnHigh = highWord(lsn)
    this.#write = write
  }

  /** How many slots there are up to now; those that are being filled do not count. */
  get slots(): number {
    return this.#nextSlot
  }

  /** Adds entry i of `from`, whose key is above all keys before. `value`: of an entry whose value overflows. */
  add(from: Node, i: number, value: Buffer | undefined): void {
    let leaf = this.#openAt(0).node
    if (leaf.freeBytes < from.cellBytes(i) + LEAF_ENTRY_WORDS * 4) {
      this.#close(0)
      leaf = this.#openAt(0).node
    }
    leaf.append(from, i)
    this.#entries++
    this.#countInternal(from.u8, from.keyAt(i))
    if (value === undefined) return
    const at = leaf.count - 1
    const first = this.#writeChain(value)
    writePointer(leaf.u8, leaf.valueAt(at), { ...overflowPointer(leaf, at), first })
  }

  #countInternal(key: Uint8Array, at: number): void {
    if (key[at] !== AREA.INTERNAL) return
    this.#internalEntries++
    if (!isExpiryKey(key, at)) return
    // The index is in the order of its times.
    if (this.#expiring === 0) this.#earliestExpiryMs = timeOfExpiryKey(key, at)
    this.#expiring++
  }

  /** Completes the tree. */
  finish(): BuiltTree {
    let root = 0 as SlotNo
    for (let level = 0; level < this.#open.length; level++)
      root = level === this.#open.length - 1 ? this.#emit(level) : this.#close(level)
    return {
      root,
      height: this.#open.length,
      entries: this.#entries,
      internalEntries: this.#internalEntries,
      expiring: this.#expiring,
      earliestExpiryMs: this.#earliestExpiryMs,
      leaves: this.#leaves,
      branches: this.#branches,
      overflows: this.#overflows,
      nextSlot: this.#nextSlot,
    }
  }

  #openAt(level: number): OpenNode {
    const open = (this.#open[level] ??= new OpenNode())
    if (open.node.count === 0) {
      open.node.buffer!.fill(0)
      open.node.init(level, this.#lsnLow, this.#lsnHigh)
    }
    return open
  }

  /** Completes the open node of `level`, and enters it in the branch above. */
  #close(level: number): SlotNo {
    const open = this.#open[level]!
    if (level === 0) this.#separate(open)
    const slot = this.#emit(level)
    this.#addChild(level + 1, open.key, open.keyLength, slot)
    open.node.count = 0
    return slot
  }

  /** Sets the key that leads to a leaf: the shortest one above every key of the leaf before. */
  #separate(open: OpenNode): void {
    const { node } = open
    const shared = commonPrefix(this.#lastKey, 0, this.#lastKeyLength, node.u8, node.keyAt(0), node.keyLength(0))
    open.keyLength = Math.min(shared + 1, node.keyLength(0))
    open.key.set(node.u8.subarray(node.keyAt(0), node.keyAt(0) + open.keyLength))
    const last = node.count - 1
    this.#lastKeyLength = node.keyLength(last)
    this.#lastKey.set(node.u8.subarray(node.keyAt(last), node.keyAt(last) + this.#lastKeyLength))
  }

  #addChild(level: number, key: Uint8Array, keyLength: number, child: SlotNo): void {
    let { node } = this.#openAt(level)
    if (node.count > 0 && node.freeBytes < even(keyLength) + BRANCH_ENTRY_WORDS * 4) {
      this.#close(level)
      node = this.#openAt(level).node
    }
    const { count } = node
    if (count === 0) {
      // The first entry of a branch has no key: it leads to the branch itself.
      const open = this.#open[level]!
      open.key.set(key.subarray(0, keyLength))
      open.keyLength = keyLength
      node.insert(0, key, 0, 0, 0, 0)
    } else {
      node.insert(count, key, 0, keyLength, 0, even(keyLength))
    }
    node.setChild(count, child)
  }

  /** Gives the open node of `level` its number and hands it over. */
  #emit(level: number): SlotNo {
    const { node } = this.#open[level]!
    node.rehead()
    if (level === 0) this.#leaves++
    else this.#branches++
    return this.#handOver(node)
  }

  #writeChain(value: Buffer): SlotNo {
    const first = (value.length === 0 ? 0 : this.#nextSlot) as SlotNo
    const slot = this.#overflow
    const { i32, buffer } = slot
    for (let done = 0; done < value.length; done += SLOT_BODY_BYTES) {
      const bytes = Math.min(SLOT_BODY_BYTES, value.length - done)
      buffer!.fill(0)
      initSlot(i32, 0, kindWord(TYPE.OVERFLOW, 0), 0 as SlotNo, this.#lsnLow, this.#lsnHigh)
      setNext(i32, 0, done + bytes < value.length ? this.#nextSlot + 1 : 0)
      setUsedBytes(i32, 0, bytes)
      value.copy(buffer!, SLOT.BODY, done, done + bytes)
      this.#handOver(slot)
      this.#overflows++
    }
    return first
  }

  #handOver({ i32, buffer }: Node): SlotNo {
    const slot = this.#nextSlot++ as SlotNo
    claimSlot(i32, 0, slot, this.#lsnLow, this.#lsnHigh)
    setCrc(i32, 0, crc32c(buffer!.subarray(SLOT.TYPE)))
    this.#write(buffer!)
    return slot
  }
}
