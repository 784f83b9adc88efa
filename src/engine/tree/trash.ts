// What clearing a range has cut out of the tree, until its slots are freed. Cutting costs a few slots, however much is
// cut out; freeing costs a look at each leaf, so that each group frees a part (`collect`). The trash is a tree of its
// own: its leaves are those of the cleared ranges, and its branches lead to them in no order. Nobody looks for a key
// there.
//
// The root of the trash is part of the state of the tree, and of the headers. So a group that is not published has
// neither cut nor freed anything, and after a crash the trash is what it was at the state that counts. Readers of
// older trees may still read the slots: they are freed like all others, and wait for these readers.
import { CorruptError } from '../../errors.js'
import { even, Node } from '../format/node.js'
import { overflowSlots, TYPE, typeAt, type SlotNo } from '../format/layout.js'
import { highWord, lowWord, slotLsn } from '../format/slot-header.js'
import { STATE, type StateFields } from '../shared/control.js'
import { overflowChain, overflowPointer } from '../space/overflow.js'
import { ownNode, type TreeParts } from './own-node.js'

/** Children of a branch of the trash that is made here. */
const CHILDREN = 256
const KEY_BYTES = 2

export class Trash {
  readonly #parts: TreeParts
  #state!: StateFields
  #lsn = 0
  /** A slot of the trash is damaged: what is left of it stays where it is, and verification says so. */
  #isDamaged = false

  constructor(parts: TreeParts) {
    this.#parts = parts
  }

  /** Begins a group that will be published at `lsn`. From here on `state` is changed. */
  begin(state: StateFields, lsn: number): void {
    this.#state = state
    this.#lsn = lsn
  }

  /** Adds subtrees that the tree does not lead to any more: `cut[level]` are those with their roots at that level. */
  add(cut: readonly (readonly SlotNo[])[]): void {
    const s = this.#state
    let carried: SlotNo[] = []
    for (let level = 0; ; level++) {
      const slots = [...(cut[level] ?? []), ...carried]
      const isTop = level >= cut.length - 1
      if (isTop && slots.length === 0) return
      if (isTop && s[STATE.TRASH_HEIGHT] === 0 && slots.length === 1) {
        s[STATE.TRASH_ROOT] = slots[0]!
        s[STATE.TRASH_HEIGHT] = level + 1
        return
      }
      if (isTop && level + 2 === s[STATE.TRASH_HEIGHT] && this.#addToRoot(slots)) return
      if (level + 1 === s[STATE.TRASH_HEIGHT]) {
        slots.push(s[STATE.TRASH_ROOT]! as SlotNo)
        s[STATE.TRASH_ROOT] = s[STATE.TRASH_HEIGHT] = 0
      }
      carried = this.#branchesOver(slots, level + 1)
    }
  }

  /** False if the root has no room for these. */
  #addToRoot(slots: readonly SlotNo[]): boolean {
    const s = this.#state
    const root = ownNode(this.#parts, s[STATE.TRASH_ROOT]! as SlotNo, s[STATE.TRASH_HEIGHT]! - 1, this.#lsn)
    s[STATE.TRASH_ROOT] = root.slot
    // Its keys may be those of the tree, so others cannot be put in order with them.
    if (root.count + slots.length > CHILDREN) return false
    const children = Array.from({ length: root.count }, (_, i) => root.child(i))
    root.init(s[STATE.TRASH_HEIGHT]! - 1, lowWord(this.#lsn), highWord(this.#lsn))
    this.#fill(root, [...children, ...slots])
    return true
  }

  #branchesOver(slots: readonly SlotNo[], level: number): SlotNo[] {
    const branches: SlotNo[] = []
    for (let i = 0; i < slots.length; i += CHILDREN) {
      const branch = this.#create(level)
      this.#fill(branch, slots.slice(i, i + CHILDREN))
      branches.push(branch.slot)
    }
    return branches
  }

  #create(level: number): Node {
    const slot = this.#parts.allocator.allocate()
    const node = new Node().at(this.#parts.space, slot)
    node.init(level, lowWord(this.#lsn), highWord(this.#lsn))
    this.#state[STATE.BRANCHES]!++
    return node
  }

  /** Makes `slots` the children of an empty branch, under keys that are of no use but to be in order. */
  #fill(branch: Node, slots: readonly SlotNo[]): void {
    const key = Buffer.alloc(KEY_BYTES)
    for (const [i, slot] of slots.entries()) {
      key.writeUInt16BE(i)
      if (i === 0) branch.insert(0, key, 0, 0, 0, 0)
      else branch.insert(i, key, 0, KEY_BYTES, 0, even(KEY_BYTES))
      branch.setChild(i, slot)
    }
  }

  /** Frees up to about that many slots. */
  collect(mostSlots: number): void {
    const s = this.#state
    let left = mostSlots
    try {
      while (left > 0 && s[STATE.TRASH_HEIGHT]! > 0 && !this.#isDamaged) left -= this.#collectFrom(left)
    } catch (error) {
      if (!(error instanceof CorruptError)) throw error
      this.#isDamaged = true
    }
  }

  /** Frees leaves below the last branch at level 1, and what they leave empty. Returns how many slots. */
  #collectFrom(mostSlots: number): number {
    const s = this.#state
    const height = s[STATE.TRASH_HEIGHT]!
    if (height === 1) {
      const freed = this.#freeLeaf(s[STATE.TRASH_ROOT]! as SlotNo)
      s[STATE.TRASH_ROOT] = s[STATE.TRASH_HEIGHT] = 0
      return freed
    }
    const path: Node[] = []
    let slot = s[STATE.TRASH_ROOT]! as SlotNo
    for (let level = height - 1; level > 0; level--) {
      const node = ownNode(this.#parts, slot, level, this.#lsn)
      const parent = path.at(-1)
      if (parent === undefined) s[STATE.TRASH_ROOT] = node.slot
      else parent.setChild(parent.count - 1, node.slot)
      path.push(node)
      slot = node.child(node.count - 1)
    }
    let freed = 0
    const lowest = path.at(-1)!
    while (lowest.count > 0 && freed < mostSlots) {
      freed += this.#freeLeaf(lowest.child(lowest.count - 1))
      lowest.remove(lowest.count - 1)
    }
    for (let node = path.pop(); node?.count === 0; node = path.pop()) {
      this.#parts.allocator.free(node.slot, this.#lsn)
      s[STATE.BRANCHES]!--
      freed++
      const parent = path.at(-1)
      if (parent === undefined) s[STATE.TRASH_ROOT] = s[STATE.TRASH_HEIGHT] = 0
      else parent.remove(parent.count - 1)
    }
    return freed
  }

  /** Reads all that it must know before it changes anything. */
  #freeLeaf(slot: SlotNo): number {
    const s = this.#state
    // Readers of older trees may come to this leaf later, and must not take the slots that it leads to for those of
    // another: so it is verified before these are. In what place it should be is not known any more.
    if (this.#parts.checker.require(slot, TYPE.LEAF, 0)) this.#parts.checker.accept(slot)
    const leaf = new Node().at(this.#parts.space, slot)
    const chained: SlotNo[] = []
    let overflows = 0
    const { count } = leaf
    for (let i = 0; i < count; i++) {
      if (!leaf.overflows(i)) continue
      const pointer = overflowPointer(leaf, i)
      for (const one of overflowChain(this.#parts.space, this.#parts.checker, pointer)) chained.push(one)
      overflows += overflowSlots(pointer.lengthBytes)
    }
    this.#parts.allocator.free(slot, slotLsn(this.#parts.space, slot))
    for (const one of chained) this.#parts.allocator.free(one, slotLsn(this.#parts.space, one))
    s[STATE.ENTRIES]! -= count
    s[STATE.LEAVES]!--
    s[STATE.OVERFLOWS]! -= overflows
    return 1 + chained.length
  }
}

/** How many entries the trash of `state` has. The tree of `state` must be held. */
export function entriesInTrash({ space, checker }: Pick<TreeParts, 'space' | 'checker'>, state: StateFields): number {
  const visit = (slot: SlotNo, level: number): number => {
    checker.require(slot, typeAt(level), level)
    const node = new Node().at(space, slot)
    const { count } = node
    if (level === 0) return count
    let entries = 0
    for (let i = 0; i < count; i++) entries += visit(node.child(i), level - 1)
    return entries
  }
  const height = state[STATE.TRASH_HEIGHT]!
  return height === 0 ? 0 : visit(state[STATE.TRASH_ROOT]! as SlotNo, height - 1)
}
