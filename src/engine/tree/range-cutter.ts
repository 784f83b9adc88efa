// Cuts a range of keys out of the tree: the way down to either end of it is copied, the subtrees between the two are
// let go as they are, and single entries are removed in the two leaves at the ends only.
import { slotLsn, slotLsnOf } from '../format/slot-header.js'
import { overflowSlots, typeAt, type SlotNo } from '../format/layout.js'
import { Node } from '../format/node.js'
import { findChild, findInLeaf } from '../format/search.js'
import { STATE, type StateFields } from '../shared/control.js'
import { overflowChain, overflowPointer } from '../space/overflow.js'
import { ownNode, type TreeParts } from './own-node.js'
import { setRun } from './split-point.js'

/** A bound of the range; undefined where all of a node lies within it. */
type Bound = Uint8Array | undefined

export class RangeCutter {
  readonly #parts: TreeParts
  #state!: StateFields
  #lsn = 0
  #cut: SlotNo[][] = []

  constructor(parts: TreeParts) {
    this.#parts = parts
  }

  /**
   * Cuts the keys in [from, to) out of the tree of `state`, which the group at `lsn` changes; `to` undefined: all from
   * `from` on. The leaves in which the two lie must have been found to be in their places. Returns the roots of the
   * subtrees that were cut out, by their levels.
   */
  cut(state: StateFields, lsn: number, from: Uint8Array, to: Bound): readonly (readonly SlotNo[])[] {
    this.#state = state
    this.#lsn = lsn
    this.#cut = Array.from({ length: Math.max(0, state[STATE.HEIGHT]! - 1) }, () => [])
    if (state[STATE.HEIGHT] === 0) return this.#cut
    const root = ownNode(this.#parts, state[STATE.ROOT]! as SlotNo, state[STATE.HEIGHT]! - 1, lsn)
    state[STATE.ROOT] = root.slot
    this.#visit(root, state[STATE.HEIGHT]! - 1, from, to)
    this.#lowerRoot(root)
    return this.#cut
  }

  #visit(node: Node, level: number, from: Bound, to: Bound): void {
    if (level === 0) {
      this.#removeEntries(node, from, to)
      return
    }
    // The children between `first` and `last` lie within the range.
    const first = from === undefined ? -1 : childOf(node, from)
    const last = to === undefined ? node.count : childOf(node, to)
    if (first === last) {
      this.#visitChild(node, level, first, from, to)
      return
    }
    if (last < node.count) this.#visitChild(node, level, last, undefined, to)
    for (let i = last - 1; i > first; i--) {
      this.#cut[level - 1]!.push(node.child(i))
      dropChild(node, i)
    }
    if (first >= 0) this.#visitChild(node, level, first, from, undefined)
  }

  #visitChild(node: Node, level: number, i: number, from: Bound, to: Bound): void {
    const child = ownNode(this.#parts, node.child(i), level - 1, this.#lsn)
    node.setChild(i, child.slot)
    this.#visit(child, level - 1, from, to)
    if (child.count > 0) return
    this.#discard(child)
    dropChild(node, i)
  }

  #removeEntries(leaf: Node, from: Bound, to: Bound): void {
    const s = this.#state
    const first = from === undefined ? 0 : indexOf(leaf, from)
    for (let i = (to === undefined ? leaf.count : indexOf(leaf, to)) - 1; i >= first; i--) {
      if (leaf.overflows(i)) this.#freeOverflow(leaf, i)
      leaf.remove(i)
      s[STATE.ENTRIES]!--
    }
    setRun(leaf, 0, 0)
  }

  #freeOverflow(leaf: Node, i: number): void {
    const pointer = overflowPointer(leaf, i)
    for (const slot of overflowChain(this.#parts.space, this.#parts.checker, pointer))
      this.#parts.allocator.free(slot, slotLsn(this.#parts.space, slot))
    this.#state[STATE.OVERFLOWS]! -= overflowSlots(pointer.lengthBytes)
  }

  /** A root without children is none, and one with a single child gives way to it. */
  #lowerRoot(root: Node): void {
    const s = this.#state
    let node = root
    while (node.count < 2) {
      if (node.count === 0) {
        s[STATE.ROOT] = s[STATE.HEIGHT] = 0
        this.#discard(node)
        return
      }
      if (node.isLeaf) return
      s[STATE.ROOT] = node.child(0)
      s[STATE.HEIGHT]!--
      this.#discard(node)
      const level = s[STATE.HEIGHT]! - 1
      this.#parts.checker.require(s[STATE.ROOT]!, typeAt(level), level)
      node = new Node().at(this.#parts.space, s[STATE.ROOT]! as SlotNo)
    }
  }

  /** Frees a node without entries, which this group made. */
  #discard(node: Node): void {
    this.#state[node.isLeaf ? STATE.LEAVES : STATE.BRANCHES]!--
    // A published root that has one child is let go as it is.
    this.#parts.allocator.free(node.slot, slotLsnOf(node.i32, node.base))
  }
}

const childOf = (node: Node, key: Uint8Array): number =>
  findChild(node.u8, node.u16, node.i32, node.base, node.count, key, key.length)

/** Index of the first entry of the leaf that is not below `key`. */
function indexOf(leaf: Node, key: Uint8Array): number {
  const i = findInLeaf(leaf.u8, leaf.u16, leaf.i32, leaf.base, leaf.count, key, key.length)
  return i >= 0 ? i : ~i
}

function dropChild(node: Node, i: number): void {
  node.remove(i)
  if (i === 0 && node.count > 0) node.clearFirstKey()
}
