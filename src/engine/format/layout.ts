// The data file in bytes. Slot n lies at n x 4096. Every slot begins with the same 32 bytes; all
// integers are little-endian.
//
//   offset size
//        0    4  CRC-32C of bytes 4 to 4095; 0 until a checkpoint seals the slot
//        4    1  type (0 = never used, 1 = header, 2 = branch, 3 = leaf, 4 = overflow, 5 = free list)
//        5    1  level: 0 for a leaf, 1 for a branch above leaves, ...
//        6    2  count of entries
//        8    4  number of this slot
//       12    2  prefix: how many first bytes all compared keys of a branch or leaf share
//       14    2  heap: offset of the lowest cell of a branch or leaf
//       16    8  LSN of the slot: that of the group of frames whose apply wrote it
//       24    2  garbage: bytes of dead cells between heap and the slot's end     | 24 4 next slot
//       26    2  index of the last insertion   (leaf)                             |
//       28    2  run: insertions before it that were next to each other (leaf)    | 28 4 bytes used, or taken runs
//       30    2  reserved (0)                                                     |
//       32       entries from here upwards, cells from the end downwards
//
// Branch and leaf entries are sorted by key. An entry begins with the key's head: the four
// bytes after the slot's common prefix, big-endian with the top bit flipped, so that signed comparison
// of the 32-bit integers is the order of the bytes. A search reads heads, and a cell only on a tie.
//
//   leaf entry    0 4 head   4 2 offset of the cell   6 2 key length (11 bits), | 0x8000 if the value overflows,
//                                                           | 0x4000 if the entry expires
//   leaf cell     0 8 version (53 bits), value length << 53 (11 bits; 0 if it overflows)   8 K key
//                 if the entry expires: 8+K 8 when, milliseconds since 1970 (float64)
//                 then the value
//                 of an overflowing value: 0 4 first slot   4 4 length in bytes   8 4 CRC-32C
//   branch entry  0 4 head   4 2 offset of the cell   6 2 key length   8 4 child slot
//   branch cell   0 K key: the shortest one above every key to the left of it
//
// The first entry of a branch has no key: it leads to every key below the second entry's. Cells begin
// at even offsets.
//
// An overflow slot holds up to 4064 bytes of a value and the number of the next slot of the chain
// (0 at its end). A free-list slot holds `count` pairs of (first slot, number of slots): what is free, and
// then, as many as it says, what is not free any more (space/free-list.ts).

export const SLOT_BYTES = 4096
export const SLOT_SHIFT = 12

declare const brand: unique symbol
export type SlotNo = number & { readonly [brand]: 'SlotNo' }

export const HEADER_SLOTS = 4

export const TYPE = { UNUSED: 0, HEADER: 1, BRANCH: 2, LEAF: 3, OVERFLOW: 4, FREE_LIST: 5 } as const
/** Type of a tree node at `level`. */
export const typeAt = (level: number): number => (level === 0 ? TYPE.LEAF : TYPE.BRANCH)
export const TYPE_NAMES = ['unused', 'header', 'branch', 'leaf', 'overflow', 'free list'] as const

export const SLOT = {
  CRC: 0,
  TYPE: 4,
  LEVEL: 5,
  COUNT: 6,
  NUMBER: 8,
  PREFIX: 12,
  HEAP: 14,
  LSN: 16,
  GARBAGE: 24,
  LAST_INSERT: 26,
  RUN: 28,
  /** Overflow and free-list slots. */
  NEXT: 24,
  /** Overflow slots. */
  USED: 28,
  /** Free-list slots. */
  TAKEN: 28,
  BODY: 32,
} as const

export const SLOT_BODY_BYTES = SLOT_BYTES - SLOT.BODY

/** An entry, as 32-bit words: a leaf's has two, a branch's three. */
export const LEAF_ENTRY_WORDS = 2
export const BRANCH_ENTRY_WORDS = 3
/** The word after the head: offset of the cell, and in its high half key length and flag. */
export const ENTRY_CELL_WORD = 1
export const ENTRY_CHILD_WORD = 2

export const KEY_LENGTH_MASK = 0x7ff
/** Bits of a key length that have no meaning yet, and are 0. */
export const RESERVED_FLAGS = 0x3800
/** The cell has a time between key and value, after which the entry does not count any more. Only in leaves. */
export const EXPIRES_FLAG = 0x4000
export const EXPIRY_BYTES = 8
export const OVERFLOW_FLAG = 0x8000

/** Offsets in a leaf cell. A branch cell is the key alone. */
export const CELL = { VERSION: 0, VALUE_LENGTH: 6, KEY: 8 } as const
/** The value's length lies in the upper bits of the 16-bit word at `CELL.VALUE_LENGTH`, above the version's. */
export const VALUE_LENGTH_SHIFT = 5
/** Bytes of a leaf cell before its key: version and value length. */
export const LEAF_CELL_HEADER = CELL.KEY
export const BRANCH_CELL_HEADER = 0
export const OVERFLOW_POINTER_BYTES = 12
/** An entry and its cell may take this many bytes of a leaf; a longer value goes to overflow slots. */
const MAX_INLINE_BYTES = Math.floor(SLOT_BODY_BYTES / 4)

/** True if a leaf keeps a value of this length beside its key. `expiryBytes`: `EXPIRY_BYTES` if the entry expires. */
export const isInline = (keyLength: number, valueLength: number, expiryBytes = 0): boolean =>
  LEAF_ENTRY_WORDS * 4 + LEAF_CELL_HEADER + keyLength + expiryBytes + valueLength <= MAX_INLINE_BYTES

/** Overflow slots that a value of this length takes. */
export const overflowSlots = (valueLength: number): number => Math.ceil(valueLength / SLOT_BODY_BYTES)

/** Type and level, as in the low half of the 32-bit word at SLOT.TYPE; the high half is the count. */
export const kindWord = (type: number, level: number): number => type | (level << 8)

/** No tree is deeper: a branch of the longest keys still has three children. */
export const MAX_HEIGHT = 32
