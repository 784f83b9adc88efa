// Copy on write: a published slot is not changed, but replaced by a copy that the group owns.
import { highWord, lowWord, slotLsnOf } from '../format/slot-header.js'
import { typeAt, type SlotNo } from '../format/layout.js'
import { Node } from '../format/node.js'
import type { SlotSpace } from '../format/slot-space.js'
import type { Allocator } from '../space/allocator.js'
import type { SlotChecker } from '../space/slot-checker.js'

export interface TreeParts {
  readonly space: SlotSpace
  readonly allocator: Allocator
  readonly checker: SlotChecker
}

/** The node in `slot` if the group at `lsn` made it, or else a copy that replaces it. */
export function ownNode({ space, allocator, checker }: TreeParts, slot: SlotNo, level: number, lsn: number): Node {
  checker.require(slot, typeAt(level), level)
  const node = new Node().at(space, slot)
  const madeAtLsn = slotLsnOf(node.i32, node.base)
  if (madeAtLsn === lsn) return node
  const copy = new Node().at(space, allocator.allocate())
  copy.copyFrom(node)
  copy.claim(lowWord(lsn), highWord(lsn))
  allocator.free(slot, madeAtLsn)
  return copy
}
