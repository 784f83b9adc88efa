// Binary search in the entries of one branch or leaf. The hot path of every read and write: plain
// functions over typed arrays.
//
// Cost: about log2(count) reads of neighbouring 8- or 12-byte entries, and one cell where the
// heads are equal.
import {
  BRANCH_CELL_HEADER,
  BRANCH_ENTRY_WORDS,
  ENTRY_CELL_WORD,
  KEY_LENGTH_MASK,
  LEAF_CELL_HEADER,
  LEAF_ENTRY_WORDS,
  SLOT,
} from './layout.js'

// Constants of this module's own: see slot-header.ts.
const LEAF_WORDS = LEAF_ENTRY_WORDS
const LEAF_KEY_SKIP = LEAF_CELL_HEADER
const BRANCH_WORDS = BRANCH_ENTRY_WORDS
const BRANCH_KEY_SKIP = BRANCH_CELL_HEADER
const CELL_WORD = ENTRY_CELL_WORD

/** Head of `key` after `prefix` bytes, as an entry holds it. Missing bytes count as 0. */
export function headOf(key: Uint8Array, keyAt: number, keyLength: number, prefix: number): number {
  const p = keyAt + prefix
  const left = keyLength - prefix
  if (left >= 4) return ((key[p]! << 24) | (key[p + 1]! << 16) | (key[p + 2]! << 8) | key[p + 3]!) ^ 0x80000000
  let head = 0
  if (left > 0) head = key[p]! << 24
  if (left > 1) head |= key[p + 1]! << 16
  if (left > 2) head |= key[p + 2]! << 8
  return head ^ 0x80000000
}

/** Order of two keys whose first `from` bytes are known to be equal: negative, 0 or positive. */
export function compareKeys(
  a: Uint8Array,
  aAt: number,
  aLength: number,
  b: Uint8Array,
  bAt: number,
  bLength: number,
  from: number,
): number {
  const shorter = aLength < bLength ? aLength : bLength
  for (let i = from; i < shorter; i++) {
    const d = a[aAt + i]! - b[bAt + i]!
    if (d !== 0) return d
  }
  return aLength - bLength
}

/** How many bytes two keys have in common at their start. */
export function commonPrefix(
  a: Uint8Array,
  aAt: number,
  aLength: number,
  b: Uint8Array,
  bAt: number,
  bLength: number,
): number {
  const shorter = aLength < bLength ? aLength : bLength
  let i = 0
  while (i < shorter && a[aAt + i] === b[bAt + i]) i++
  return i
}

/**
 * Finds `key` among entries [first, count) of the slot at byte `base`. `words`: 32-bit words of an
 * entry; `keySkip`: bytes of a cell before its key. Returns its index, or ~index of the first
 * entry above it. Correct only if the key begins with the slot's common prefix: see `prefixOrder`.
 */
function findEntry(
  u8: Uint8Array,
  u16: Uint16Array,
  i32: Int32Array,
  base: number,
  first: number,
  count: number,
  words: number,
  keySkip: number,
  key: Uint8Array,
  keyLength: number,
): number {
  const prefix = u16[(base + SLOT.PREFIX) >> 1]!
  const head = headOf(key, 0, keyLength, prefix)
  const entries = (base + SLOT.BODY) >> 2
  const from = keyLength >= prefix + 4 ? prefix + 4 : prefix
  let low = first
  let high = count
  while (low < high) {
    const middle = (low + high) >>> 1
    const entry = entries + middle * words
    const there = i32[entry]!
    if (there < head) low = middle + 1
    else if (there > head) high = middle
    else {
      const offsets = i32[entry + CELL_WORD]!
      const length = (offsets >>> 16) & KEY_LENGTH_MASK
      const at = base + (offsets & 0xffff) + keySkip
      const order = compareKeys(u8, at, length, key, 0, keyLength, length >= prefix + 4 ? from : prefix)
      if (order === 0) return middle
      if (order < 0) low = middle + 1
      else high = middle
    }
  }
  return ~low
}

/**
 * Order of `key` relative to the common prefix of the slot's compared keys: 0 if it begins with the
 * prefix, negative if it is below all these keys, positive if above. `sample`: index of one of them.
 */
function prefixOrder(
  u8: Uint8Array,
  u16: Uint16Array,
  i32: Int32Array,
  base: number,
  sample: number,
  words: number,
  keySkip: number,
  key: Uint8Array,
  keyLength: number,
): number {
  const prefix = u16[(base + SLOT.PREFIX) >> 1]!
  if (prefix === 0) return 0
  const at = base + (i32[((base + SLOT.BODY) >> 2) + sample * words + CELL_WORD]! & 0xffff) + keySkip
  const n = keyLength < prefix ? keyLength : prefix
  for (let i = 0; i < n; i++) {
    const d = key[i]! - u8[at + i]!
    if (d !== 0) return d
  }
  return keyLength < prefix ? -1 : 0
}

/** Index of the child of a branch that `key` belongs to: the last entry not above it. */
export function findChild(
  u8: Uint8Array,
  u16: Uint16Array,
  i32: Int32Array,
  base: number,
  count: number,
  key: Uint8Array,
  keyLength: number,
): number {
  if (count <= 1) return 0
  const order = prefixOrder(u8, u16, i32, base, 1, BRANCH_WORDS, BRANCH_KEY_SKIP, key, keyLength)
  if (order < 0) return 0
  if (order > 0) return count - 1
  const i = findEntry(u8, u16, i32, base, 1, count, BRANCH_WORDS, BRANCH_KEY_SKIP, key, keyLength)
  return i >= 0 ? i : ~i - 1
}

/** Index of `key` in a leaf, or ~index of the first entry above it. */
export function findInLeaf(
  u8: Uint8Array,
  u16: Uint16Array,
  i32: Int32Array,
  base: number,
  count: number,
  key: Uint8Array,
  keyLength: number,
): number {
  if (count === 0) return ~0
  const order = prefixOrder(u8, u16, i32, base, 0, LEAF_WORDS, LEAF_KEY_SKIP, key, keyLength)
  if (order < 0) return ~0
  if (order > 0) return ~count
  return findEntry(u8, u16, i32, base, 0, count, LEAF_WORDS, LEAF_KEY_SKIP, key, keyLength)
}

/** Index of the first of the entries [low, high) whose head is not below `head`; `high` if there is none. */
function firstOfHead(i32: Int32Array, entries: number, words: number, low: number, high: number, head: number): number {
  while (low < high) {
    const middle = (low + high) >>> 1
    if (i32[entries + middle * words]! < head) low = middle + 1
    else high = middle
  }
  return low
}

/**
 * Where the key is that a branch leads to, if its prefix is that of the branch: the same child as `findChild` finds.
 * Another key is led anywhere. Reads no cell unless heads are equal.
 */
export function childByHead(
  u8: Uint8Array,
  u16: Uint16Array,
  i32: Int32Array,
  base: number,
  count: number,
  key: Uint8Array,
  keyLength: number,
): number {
  const head = headOf(key, 0, keyLength, u16[(base + SLOT.PREFIX) >> 1]!)
  const entries = (base + SLOT.BODY) >> 2
  let i = firstOfHead(i32, entries, BRANCH_WORDS, 1, count, head)
  for (; i < count && i32[entries + i * BRANCH_WORDS] === head; i++) {
    const offsets = i32[entries + i * BRANCH_WORDS + CELL_WORD]!
    const at = base + (offsets & 0xffff) + BRANCH_KEY_SKIP
    if (compareKeys(u8, at, (offsets >>> 16) & KEY_LENGTH_MASK, key, 0, keyLength, 0) > 0) break
  }
  return i - 1
}

/** Index of the entry of a leaf that has exactly this key; -1 if none has. */
export function exactInLeaf(
  u8: Uint8Array,
  u16: Uint16Array,
  i32: Int32Array,
  base: number,
  count: number,
  key: Uint8Array,
  keyLength: number,
): number {
  const head = headOf(key, 0, keyLength, u16[(base + SLOT.PREFIX) >> 1]!)
  const entries = (base + SLOT.BODY) >> 2
  for (let i = firstOfHead(i32, entries, LEAF_WORDS, 0, count, head); i < count; i++) {
    if (i32[entries + i * LEAF_WORDS] !== head) break
    const offsets = i32[entries + i * LEAF_WORDS + CELL_WORD]!
    if (((offsets >>> 16) & KEY_LENGTH_MASK) !== keyLength) continue
    const at = base + (offsets & 0xffff) + LEAF_KEY_SKIP
    let n = 0
    while (n < keyLength && u8[at + n] === key[n]) n++
    if (n === keyLength) return i
  }
  return -1
}
