// Where a node is split.
//
// A leaf remembers where the last insertion went and how many before it were next to each other,
// so that sequential insertion leaves full slots: upwards or downwards, anywhere in the tree.
import { SLOT, SLOT_BODY_BYTES } from '../format/layout.js'
import { Node } from '../format/node.js'

/** This many insertions next to each other count as sequential. */
const SEQUENTIAL_RUN = 3

export const runOf = (leaf: Node): number => (leaf.i32[(leaf.base + SLOT.RUN) >> 2]! << 16) >> 16

export function setRun(leaf: Node, last: number, run: number): void {
  leaf.u16[(leaf.base + SLOT.LAST_INSERT) >> 1] = last
  leaf.u16[(leaf.base + SLOT.RUN) >> 1] = run
}

/** Counts up for insertions each after the one before, down for insertions each in front of the one before. */
export function noteInsertion(leaf: Node, at: number): void {
  const last = leaf.u16[(leaf.base + SLOT.LAST_INSERT) >> 1]!
  const run = runOf(leaf)
  if (at === last + 1) setRun(leaf, at, Math.min(run < 0 ? 1 : run + 1, 1000))
  else if (at === last) setRun(leaf, at, Math.max(run > 0 ? -1 : run - 1, -1000))
  else setRun(leaf, at, 0)
}

/**
 * How many entries go to the left node: of the entries of `node` together with a new one of
 * `cellBytes` at index `at`. At least one goes to each side, and both sides fit.
 */
export function splitPoint(node: Node, at: number, cellBytes: number, run: number): number {
  const count = node.count
  const entryBytes = node.words * 4
  const total = node.usedBytes + cellBytes + entryBytes
  // A run continues at the edge of a node of its own: the entries beyond it belong to another node and
  // move there. If that does not fit, the new entry moves instead, if most entries stay where they are.
  let apart = 0
  let moved = 0
  if (run >= SEQUENTIAL_RUN) {
    apart = at < count ? at + 1 : at
    if (at * 2 > count) moved = at
  } else if (run <= -SEQUENTIAL_RUN) {
    apart = at > 0 ? at : at + 1
    if (at * 2 < count) moved = at + 1
  }
  let left = 0
  let balanced = 0
  let fallback = 0
  for (let v = 0; v <= count; v++) {
    const fits = v > 0 && left <= SLOT_BODY_BYTES && total - left <= SLOT_BODY_BYTES
    if (fits && v === apart) return v
    if (fits && v === moved) fallback = v
    const bytes = entryBytes + (v === at ? cellBytes : node.cellBytes(v < at ? v : v - 1))
    // Where the halves are closest, never with an empty side.
    if (balanced === 0 && v > 0 && left + bytes / 2 >= total / 2) balanced = v
    if (balanced !== 0 && v >= apart && v >= moved) return fallback === 0 ? balanced : fallback
    left += bytes
  }
  if (fallback !== 0) return fallback
  return balanced === 0 ? count : balanced
}
