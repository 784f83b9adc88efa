// What an operation of the kind 5 (check range) asks: whether a range is still as a snapshot had it. Its key is the
// lower bound. Its value:
//
//   offset size
//        0    1  flags
//                  0x01  the range begins after the lower bound, not at it
//                  0x02  the upper bound belongs to the range
//                  0x04  there is no upper bound
//        1    3  zeros
//        4    4  how many entries the snapshot had in the range
//        8    8  LSN of the snapshot
//       16       the upper bound
//
// This decides it exactly. Every entry that was put since the snapshot has a version at or above its LSN. So if all
// entries that the range has now are older, each of them was there, as it is; and if they are as many as there were,
// none is missing.
import { MAX_TREE_KEY_BYTES } from '../limits.js'

const AT = { FLAGS: 0, ENTRIES: 4, LSN: 8, TO: 16 } as const
const FLAG = { FROM_AFTER: 1, TO_INCLUSIVE: 2, NO_END: 4 } as const
const KNOWN_FLAGS = 7
/** Below all keys. */
const LOWEST = Buffer.alloc(1)

export interface RangeCheck {
  readonly from: Buffer
  readonly fromAfter: boolean
  /** Undefined: up to the last key. */
  readonly to: Buffer | undefined
  readonly toInclusive: boolean
  readonly entries: number
  /** All entries are older than this LSN. */
  readonly lsn: number
}

/** The value of the operation. */
export function encodeRangeCheck({ fromAfter, to, toInclusive, entries, lsn }: Omit<RangeCheck, 'from'>): Buffer {
  const value = Buffer.alloc(AT.TO + (to?.length ?? 0))
  value[AT.FLAGS] =
    (fromAfter ? FLAG.FROM_AFTER : 0) | (toInclusive ? FLAG.TO_INCLUSIVE : 0) | (to === undefined ? FLAG.NO_END : 0)
  value.writeUInt32LE(entries, AT.ENTRIES)
  value.writeBigUInt64LE(BigInt(lsn), AT.LSN)
  to?.copy(value, AT.TO)
  return value
}

/** The key of the operation: undefined is no lower bound. */
export const lowerBoundKey = (from: Buffer | undefined): Buffer => from ?? LOWEST

/** True if the value at [at, at + length) of `bytes` is one that `encodeRangeCheck` makes. */
export function isRangeCheck(bytes: Buffer, at: number, length: number): boolean {
  if (length < AT.TO) return false
  const flags = bytes[at]!
  const zeros = bytes[at + 1]! | bytes[at + 2]! | bytes[at + 3]!
  const toBytes = length - AT.TO
  const isOpen = (flags & FLAG.NO_END) !== 0
  if (isOpen ? toBytes > 0 || (flags & FLAG.TO_INCLUSIVE) !== 0 : toBytes === 0 || toBytes > MAX_TREE_KEY_BYTES)
    return false
  return (flags & ~KNOWN_FLAGS) === 0 && zeros === 0 && bytes.readBigUInt64LE(at + AT.LSN) <= Number.MAX_SAFE_INTEGER
}

/** What the operation with this key and value asks, both where they lie. */
export function rangeCheckOf(key: Buffer, value: Buffer): RangeCheck {
  const flags = value[AT.FLAGS]!
  return {
    from: key,
    fromAfter: (flags & FLAG.FROM_AFTER) !== 0,
    to: (flags & FLAG.NO_END) !== 0 ? undefined : value.subarray(AT.TO),
    toInclusive: (flags & FLAG.TO_INCLUSIVE) !== 0,
    entries: value.readUInt32LE(AT.ENTRIES),
    lsn: Number(value.readBigUInt64LE(AT.LSN)),
  }
}
