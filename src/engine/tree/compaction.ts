// Cuts the data file back to the slots in use, on a clean close, when no other user has the database open.
// Slots that lie high in the file are copied into free ones that lie low; the copies are published
// and flushed by a checkpoint like any other change, so a crash at any moment leaves either the old
// tree or the new one. Then the end of the file, which no tree reaches any more, is cut off.
import type { Allocator } from '../space/allocator.js'
import { STATE, type StateFields } from '../shared/control.js'
import { usedSlots } from '../shared/tree-state.js'
import { typeAt, type SlotNo } from '../format/layout.js'
import { writePointer, type OverflowPointer } from '../format/leaf-cell.js'
import { Node } from '../format/node.js'
import { forEachOverflowSlot, overflowPointer } from '../space/overflow.js'
import { checkLeafBounds } from './leaf-bounds.js'
import { type SlotChecker } from '../space/slot-checker.js'
import type { SlotSpace } from '../format/slot-space.js'
import { highWord, lowWord, setNext, slotLsn } from '../format/slot-header.js'

/**
 * Moves the tree of `state` below slot `usedSlots`, or as near to that as the free slots allow.
 * `lsn` is the LSN of the group that this belongs to. The caller publishes the state.
 */
export class Compactor {
  readonly #space: SlotSpace
  readonly #checker: SlotChecker
  readonly #allocator: Allocator
  readonly #lsn: number
  readonly #state: StateFields
  readonly #limit: number
  /** The nodes on the way down to where the walk is, and the entry taken in each. */
  readonly #path: Node[] = []
  readonly #taken: number[] = []

  constructor(space: SlotSpace, checker: SlotChecker, allocator: Allocator, state: StateFields, lsn: number) {
    this.#space = space
    this.#checker = checker
    this.#allocator = allocator
    this.#state = state
    this.#lsn = lsn
    this.#limit = usedSlots(state)
  }

  /** True if anything was moved. */
  run(): boolean {
    const s = this.#state
    if (s[STATE.HEIGHT] === 0) return false
    const root = s[STATE.ROOT]! as SlotNo
    s[STATE.ROOT] = this.#visit(root, s[STATE.HEIGHT]! - 1)
    return s[STATE.ROOT] !== root
  }

  #visit(slot: SlotNo, level: number): SlotNo {
    // A leaf that stays where it is need not even be read.
    if (level === 0 && slot < this.#limit && this.#state[STATE.OVERFLOWS] === 0) return slot
    const isFirst = this.#checker.require(slot, typeAt(level), level)
    let node = new Node().at(this.#space, slot)
    if (isFirst && level === 0) this.#accept(node)
    const count = node.count
    let moved: SlotNo | undefined
    const own = (): Node => {
      if (moved === undefined) {
        const copy = this.#copy(slot)
        moved = copy.slot
        node = copy
      }
      return node
    }
    if (slot >= this.#limit) own()
    const { readAhead } = this.#space
    if (level === 1 && readAhead.isUseful) {
      for (let i = 0; i < count; i++) if (node.child(i) >= this.#limit) readAhead.note(node.child(i))
      readAhead.ask()
    }
    for (let i = 0; i < count; i++) {
      if (level > 0) {
        this.#path[level] = node
        this.#taken[level] = i
        const child = node.child(i)
        const now = this.#visit(child, level - 1)
        if (now !== child) own().setChild(i, now)
      } else if (node.overflows(i)) {
        const pointer = overflowPointer(node, i)
        const first = this.#moveChain(pointer)
        if (first !== pointer.first) {
          const leaf = own()
          writePointer(leaf.u8, leaf.valueAt(i), { ...pointer, first })
        }
      }
    }
    return moved ?? slot
  }

  /** A leaf that no reader has reached yet must be in its place before its values are followed (slot-checker.ts). */
  #accept(leaf: Node): void {
    this.#path[0] = leaf
    checkLeafBounds(this.#checker, this.#path, this.#taken, this.#state[STATE.HEIGHT]!)
    this.#checker.accept(leaf.slot)
  }

  /** Moves a whole chain if any slot of it lies too high: links cannot be changed in published slots. */
  #moveChain(pointer: OverflowPointer): SlotNo {
    const slots: SlotNo[] = []
    let high = false
    forEachOverflowSlot(this.#space, this.#checker, pointer, (slot) => {
      slots.push(slot)
      high ||= slot >= this.#limit
    })
    if (!high) return pointer.first
    let first = 0 as SlotNo
    let before: Node | undefined
    for (const slot of slots) {
      const copy = this.#copy(slot)
      if (before === undefined) first = copy.slot
      else setNext(before.i32, before.base, copy.slot)
      before = copy
    }
    return first
  }

  #copy(slot: SlotNo): Node {
    const from = new Node().at(this.#space, slot)
    const copy = new Node().at(this.#space, this.#allocator.allocate())
    copy.copyFrom(from)
    copy.claim(lowWord(this.#lsn), highWord(this.#lsn))
    this.#allocator.free(slot, slotLsn(this.#space, slot))
    return copy
  }
}
