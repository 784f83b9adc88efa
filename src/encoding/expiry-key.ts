// The index of entries that expire: for each of them an internal entry (key-space.ts) without a value, whose key is
//
//   01 03   8 bytes: when, milliseconds since 1970 (float64, big-endian)   the key in the tree
//
// Times are not negative, so the bytes sort as the times do: what expires first comes first.
import { MAX_TREE_KEY_BYTES } from '../limits.js'
import { AREA } from './key-space.js'

/** The second byte of these keys. */
const EXPIRY_INDEX = 3
const TIME_AT = 2
/** What stands before the key of the entry. */
export const EXPIRY_PREFIX_BYTES = TIME_AT + 8
/** Longest key of an entry that can expire. */
export const MAX_EXPIRING_KEY_BYTES = MAX_TREE_KEY_BYTES - EXPIRY_PREFIX_BYTES

/** No key of the index comes before these bytes. */
export const EXPIRY_INDEX_FROM = Buffer.from([AREA.INTERNAL, EXPIRY_INDEX])

/** The time of an entry that does not expire. */
export const NEVER = Number.POSITIVE_INFINITY

/** Latest time that a Date can have. */
export const MAX_TIME_MS = 8.64e15

/** True for a time at which an entry may expire. */
export const isTime = (ms: number): boolean => ms >= 0 && ms <= MAX_TIME_MS

const floatBytes = new DataView(new ArrayBuffer(8))

/** Writes the key of the index for an entry into `into`; returns its length. */
export function writeExpiryKey(into: Uint8Array, expiresAt: number, key: Uint8Array, keyLength: number): number {
  into[0] = AREA.INTERNAL
  into[1] = EXPIRY_INDEX
  // Without the sign that a zero can have.
  floatBytes.setFloat64(0, expiresAt + 0)
  for (let i = 0; i < 8; i++) into[TIME_AT + i] = floatBytes.getUint8(i)
  for (let i = 0; i < keyLength; i++) into[EXPIRY_PREFIX_BYTES + i] = key[i]!
  return EXPIRY_PREFIX_BYTES + keyLength
}

/** True if the key in the tree that begins at `at` is one of the index. */
export const isExpiryKey = (key: Uint8Array, at = 0): boolean =>
  key[at] === AREA.INTERNAL && key[at + 1] === EXPIRY_INDEX

/** The time in a key of the index. */
export function timeOfExpiryKey(key: Uint8Array, at = 0): number {
  for (let i = 0; i < 8; i++) floatBytes.setUint8(i, key[at + TIME_AT + i]!)
  return floatBytes.getFloat64(0)
}
