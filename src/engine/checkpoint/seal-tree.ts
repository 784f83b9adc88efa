// Sealing a tree: every slot of it that was made since the last checkpoint gets its CRC, so that a checkpoint can
// bring it to disk. That writes the CRC field of published slots, which no reader in memory looks at; all else in
// them stays as it is. The tree needs no pin: none of its slots can be reused before the checkpoint ends.
//
// A map in `control` records which slots may have been made since the last checkpoint (unsealed-map.ts). Without it, a
// checkpoint after a few writes all over the place would have to look at every child of every branch that changed: at
// the whole file.
import { sealSlot } from '../format/slot-damage.js'
import { slotLsn } from '../format/slot-header.js'
import { typeAt, type SlotNo } from '../format/layout.js'
import { Node } from '../format/node.js'
import type { SlotSpace } from '../format/slot-space.js'
import { STATE, type Control, type StateFields } from '../shared/control.js'
import { forEachOverflowSlot, overflowPointer } from '../space/overflow.js'
import type { SlotChecker } from '../space/slot-checker.js'

interface SealParts {
  readonly space: SlotSpace
  readonly checker: SlotChecker
  readonly control: Control
}

/**
 * Seals the slots that the tree of `state` reaches and that are newer than `sinceLsn`, the LSN of the last
 * checkpoint. Returns them. A slot that is no newer has nothing newer below it.
 */
export function sealTree({ space, checker, control }: SealParts, state: StateFields, sinceLsn: number): SlotNo[] {
  const { readAhead } = space
  const madeSince = (slot: number): boolean => slotLsn(space, slot) > sinceLsn
  const sealed: SlotNo[] = []
  const hasOverflows = state[STATE.OVERFLOWS]! > 0
  const visit = (slot: SlotNo, level: number): void => {
    if (!control.unsealed.mayHave(slot)) return
    checker.require(slot, typeAt(level), level)
    if (!madeSince(slot)) return
    const node = new Node().at(space, slot)
    const count = node.count
    if (level > 0) {
      if (readAhead.isUseful) {
        for (let i = 0; i < count; i++) if (control.unsealed.mayHave(node.child(i))) readAhead.note(node.child(i))
        readAhead.ask()
      }
      for (let i = 0; i < count; i++) visit(node.child(i), level - 1)
    } else if (hasOverflows) for (let i = 0; i < count; i++) if (node.overflows(i)) sealOverflow(node, i)
    sealSlot(space, slot)
    sealed.push(slot)
  }
  const sealOverflow = (leaf: Node, i: number): void => {
    const pointer = overflowPointer(leaf, i)
    if (!control.unsealed.mayHave(pointer.first) || !madeSince(pointer.first)) return
    forEachOverflowSlot(space, checker, pointer, (slot) => {
      sealSlot(space, slot)
      sealed.push(slot)
    })
  }
  if (state[STATE.HEIGHT]! > 0) visit(state[STATE.ROOT]! as SlotNo, state[STATE.HEIGHT]! - 1)
  if (state[STATE.TRASH_HEIGHT]! > 0) visit(state[STATE.TRASH_ROOT]! as SlotNo, state[STATE.TRASH_HEIGHT]! - 1)
  return sealed
}
