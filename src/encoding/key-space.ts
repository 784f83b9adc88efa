// The key space of one store: where its keys lie in the tree, and how its values are encoded. All stores share one
// tree.
//
//   01 ...              what the database keeps for itself
//   02 n n n ...        named stores: the number of the store (big-endian), then the key
//   03 and above        the default store: the key alone, so that it costs nothing that there are others
//
// No key begins with 00, 01 or 02 (keys.ts).
import { MAX_STORE_NUMBER, STORE_PREFIX_BYTES } from '../limits.js'
import { decodeKey, isKey, KEY_BUFFER_BYTES, takenKey, writeKey, type Key } from './keys.js'
import type { ValueCodec } from './values/codec.js'

/** First bytes of keys in the tree. */
export const AREA = { INTERNAL: 1, STORES: 2, DEFAULT: 3 } as const

const NO_PREFIX = Buffer.alloc(0)
const DEFAULT_FROM = Buffer.from([AREA.DEFAULT])

export class KeySpace {
  /** Of the store; 0 for the default store. */
  readonly number: number
  /** Undefined for the default store. */
  readonly name: string | undefined
  readonly values: ValueCodec
  /** How many bytes stand before the user's key. */
  readonly prefixBytes: number
  /** The first key in the tree that may be of this store, and the first that is after all of them, if there is one. */
  readonly from: Buffer
  readonly to: Buffer | undefined
  /** What `encode` and `write` have written last. */
  readonly bytes: Buffer
  /** Of a named store: up to which drop of a store it was known to be there (engine/stores/stores.ts). */
  generation = 0
  readonly #body: Buffer

  /** `store`: a named one; otherwise this is the default store. */
  constructor(values: ValueCodec, store?: { readonly number: number; readonly name: string }) {
    this.values = values
    this.number = store?.number ?? 0
    this.name = store?.name
    const prefix = store === undefined ? NO_PREFIX : storePrefix(store.number)
    this.prefixBytes = prefix.length
    this.from = store === undefined ? DEFAULT_FROM : prefix
    this.to = store === undefined ? undefined : storePrefix(store.number + 1)
    this.bytes = Buffer.alloc(prefix.length + KEY_BUFFER_BYTES)
    prefix.copy(this.bytes)
    this.#body = this.bytes.subarray(prefix.length)
  }

  /** Writes the key in the tree of `key` to `bytes`; returns its length. Runs users' code first. */
  encode(key: Key): number {
    return typeof key === 'string' ? this.write(key) : this.write(takenKey(key))
  }

  /** The same for a key that `takenKey` returned: runs none of the users' code. */
  write(taken: Key): number {
    return this.prefixBytes + writeKey(taken, this.#body)
  }

  /** The key in the tree of `key`, in memory of its own. May run users' code. Throws `InvalidError`. */
  encoded(key: Key): Buffer {
    const length = this.encode(key)
    return Buffer.from(this.bytes.subarray(0, length))
  }

  /** Puts what stands before the user's key into `buffer`, which has room for it; returns the key in the tree. */
  withPrefix(buffer: Buffer, keyLength: number): Buffer {
    this.bytes.copy(buffer, 0, 0, this.prefixBytes)
    return buffer.subarray(0, this.prefixBytes + keyLength)
  }

  /** The user's key of the key in the tree at [at, end) of `bytes`. Throws `InvalidError` if there is none. */
  decode(bytes: Uint8Array, at: number, end: number): Key {
    return decodeKey(bytes, at + this.prefixBytes, end)
  }
}

/** What stands before the keys of a named store. */
export function storePrefix(number: number): Buffer {
  if (number > MAX_STORE_NUMBER) return Buffer.from([AREA.DEFAULT])
  const prefix = Buffer.alloc(STORE_PREFIX_BYTES)
  prefix[0] = AREA.STORES
  prefix.writeUIntBE(number, 1, STORE_PREFIX_BYTES - 1)
  return prefix
}

/** The store that a key in the tree is of: its number, 0 for the default store; undefined for what is internal. */
export function storeOf(key: Uint8Array, at = 0): number | undefined {
  const area = key[at]!
  if (area >= AREA.DEFAULT) return 0
  return area === AREA.STORES ? (key[at + 1]! << 16) | (key[at + 2]! << 8) | key[at + 3]! : undefined
}

/** True if the tree may have the key at [at, end) of `bytes`. */
export function isTreeKey(bytes: Uint8Array, at: number, end: number): boolean {
  const area = bytes[at]!
  if (area === AREA.INTERNAL) return end - at > 1
  return isKey(bytes, area === AREA.STORES ? at + STORE_PREFIX_BYTES : at, end)
}

/** The user's key of a key in the tree, of whatever store. Throws `InvalidError` if it is of none. */
export const decodeTreeKey = (bytes: Uint8Array, at: number, end: number): Key =>
  decodeKey(bytes, bytes[at] === AREA.STORES ? at + STORE_PREFIX_BYTES : at, end)
