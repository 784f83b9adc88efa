// Whether a leaf lies where it should. Every slot may be sound by itself and the tree still be wrong:
// a branch may lead to the child of another branch, or to the same child twice, or to a leaf as it was
// long ago. A search in such a leaf would miss a key that is in the tree. So a leaf that a walk has
// reached is compared with the branches on the way to it.
import type { Node } from '../format/node.js'
import { compareKeys } from '../format/search.js'
import type { SlotChecker } from '../space/slot-checker.js'

/**
 * Throws `CorruptError` if the keys of the leaf `path[0]` lie outside of the range that the branches above it give
 * it. `taken[level]` is the entry that was taken in `path[level]`. Cost: two comparisons of keys.
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

/** Throws `CorruptError` unless key `i` of `branch` lies between the keys of the two leaves that it separates. */
export function checkNeighbours(checker: SlotChecker, left: Node, right: Node, branch: Node, i: number): void {
  const at = branch.keyAt(i)
  const length = branch.keyLength(i)
  const last = left.count - 1
  if (compareKeys(left.u8, left.keyAt(last), left.keyLength(last), branch.u8, at, length, 0) >= 0)
    throw checker.misplacedError(left.slot)
  if (compareKeys(right.u8, right.keyAt(0), right.keyLength(0), branch.u8, at, length, 0) < 0)
    throw checker.misplacedError(right.slot)
}
