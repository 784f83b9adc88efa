// The free slots as the tree has them: what is not reached is free. For a free list that cannot be read, or that a full
// disk had no room for.
import { CorruptError } from '../../errors.js'
import type { Header } from '../format/header.js'
import { HEADER_SLOTS, typeAt, type SlotNo } from '../format/layout.js'
import { Node } from '../format/node.js'
import type { Runs } from '../format/runs.js'
import { damagedError } from '../format/slot-damage.js'
import { SlotSet } from '../format/slot-set.js'
import type { SlotSpace } from '../format/slot-space.js'
import { forEachOverflowSlot, overflowPointer } from './overflow.js'
import type { SlotChecker } from './slot-checker.js'

/** The fields that it takes to find the free slots: the tree, and where its slots end. */
type TreeOf = Pick<
  Header,
  'root' | 'height' | 'trashRoot' | 'trashHeight' | 'leaves' | 'branches' | 'overflows' | 'nextSlot'
>

/**
 * The free slots, derived from the tree: every slot that the tree does not reach, except those of the free list,
 * `listSlots`. Reads the whole tree, and its leaves only if there are values in overflow slots. Throws
 * `CorruptError` if any of that is damaged: then it is not known which slots are free.
 */
export function deriveFreeList(
  space: SlotSpace,
  checker: SlotChecker,
  header: TreeOf,
  listSlots: readonly SlotNo[] = [],
): Runs {
  const reached = new SlotSet()
  const mark = (slot: number): void => {
    if (slot < HEADER_SLOTS || slot >= header.nextSlot || !reached.add(slot))
      throw damagedError(slot, 'more than one slot leads to it, or it is out of range')
  }
  const visit = (slot: SlotNo, level: number): void => {
    mark(slot)
    if (level === 0 && header.overflows === 0) return
    checker.require(slot, typeAt(level), level)
    const node = new Node().at(space, slot)
    for (let i = 0; i < node.count; i++) {
      if (level > 0) visit(node.child(i), level - 1)
      else if (node.overflows(i)) forEachOverflowSlot(space, checker, overflowPointer(node, i), mark)
    }
  }
  if (header.height > 0) visit(header.root, header.height - 1)
  if (header.trashHeight > 0) visit(header.trashRoot, header.trashHeight - 1)
  if (reached.size !== header.leaves + header.branches + header.overflows) {
    throw new CorruptError(
      `The tree has ${reached.size} slots, but the header counts ${header.leaves + header.branches + header.overflows}.`,
      {
        slotNo: header.root,
      },
    )
  }
  for (const slot of listSlots) mark(slot)
  return reached.runsOutside(HEADER_SLOTS, header.nextSlot)
}
