// Freeing what clearing ranges has cut out of the tree (tree/trash.ts), with groups that write nothing else: each
// group frees a part.
import { FullError } from '../../errors.js'
import { guarded } from '../../storage/errors.js'
import type { Storage } from '../../storage/storage.js'
import { FrameBuilder } from '../../wal/frame-builder.js'
import type { Committer } from '../commit/committer.js'
import { newState, STATE, type Control } from '../shared/control.js'
import { usedSlots } from '../shared/tree-state.js'

interface TrashParts {
  readonly control: Control
  readonly committer: Committer
  readonly storage: Storage
}

/**
 * Frees slots of the trash for some `mostMs`. True if there is more, and it is of use to go on; false also if what is
 * left is damaged, or a full disk leaves no room for it.
 */
export function emptyTrash({ control, committer, storage }: TrashParts, mostMs: number): boolean {
  const state = newState()
  const untilMs = storage.monotonicMs() + mostMs
  let used = Infinity
  for (;;) {
    control.readState(state)
    if (state[STATE.TRASH_HEIGHT] === 0 || usedSlots(state) >= used) return false
    if (storage.monotonicMs() >= untilMs) return true
    used = usedSlots(state)
    try {
      guarded('Freeing what was cleared', () => committer.catchUp(committer.append(new FrameBuilder().frame())))
    } catch (error) {
      if (error instanceof FullError) return false
      throw error
    }
  }
}
