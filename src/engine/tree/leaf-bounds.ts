// Whether a leaf lies where it should. Every slot may be sound by itself and the tree be wrong all
// the same: a branch that leads to another's child, or twice to one, or to a leaf as it was long ago.
// A search in such a leaf would come out empty for a key that is there. So a leaf that a walk has
// come to is held against the branches on its way.
import type { Node } from '../format/node.js'
import { compareKeys } from '../format/search.js'
import type { SlotChecker } from '../space/slot-checker.js'

/**
 * Throws `CorruptError` if a key of the leaf `path[0]` is not one that the branches above it lead to
 * it for. `taken[level]` is the entry that was taken in `path[level]`. Cost: two keys compared.
 */
export function checkLeafBounds(
  checker: SlotChecker,
  path: readonly Node[],
  taken: ArrayLike<number>,
  height: number,
): void {
  const leaf = path[0]!
  const last = leaf.count - 1
  let low = false
  let high = false
  for (let level = 1; level < height && !(low && high); level++) {
    const branch = path[level]!
    const i = taken[level]!
    if (!low && i > 0) {
      low = true
      if (
        compareKeys(leaf.u8, leaf.keyAt(0), leaf.keyLength(0), branch.u8, branch.keyAt(i), branch.keyLength(i), 0) < 0
      )
        throw checker.misplacedError(leaf.slot)
    }
    if (!high && i + 1 < branch.count) {
      high = true
      const at = branch.keyAt(i + 1)
      if (compareKeys(leaf.u8, leaf.keyAt(last), leaf.keyLength(last), branch.u8, at, branch.keyLength(i + 1), 0) >= 0)
        throw checker.misplacedError(leaf.slot)
    }
  }
}

/** Throws `CorruptError` unless key `i` of `branch` lies between the keys of the two leaves that it tells apart. */
export function checkNeighbours(checker: SlotChecker, left: Node, right: Node, branch: Node, i: number): void {
  const at = branch.keyAt(i)
  const length = branch.keyLength(i)
  const last = left.count - 1
  if (compareKeys(left.u8, left.keyAt(last), left.keyLength(last), branch.u8, at, length, 0) >= 0)
    throw checker.misplacedError(left.slot)
  if (compareKeys(right.u8, right.keyAt(0), right.keyLength(0), branch.u8, at, length, 0) < 0)
    throw checker.misplacedError(right.slot)
}
