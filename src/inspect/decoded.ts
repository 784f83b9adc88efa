// What stands in a file: its bytes, and the key or value that they stand for, if they can be decoded.
import { decodeTreeKey } from '../encoding/key-space.js'
import type { Key } from '../encoding/keys.js'

export interface Decoded<T = unknown> {
  readonly bytes: Buffer
  /** In a box, because a value may be undefined. No box if the bytes are something else. */
  readonly decoded: { readonly value: T } | undefined
}

/** What `decode` gives, in a box; undefined if these bytes are something else. */
export function attempt<T>(decode: () => T): { readonly value: T } | undefined {
  try {
    return { value: decode() }
  } catch {
    // The bytes are shown then.
    return undefined
  }
}

/** The bytes of a key in the tree. */
export const decodedKey = (bytes: Buffer): Decoded<Key> => ({
  bytes,
  decoded: attempt(() => decodeTreeKey(bytes, 0, bytes.length)),
})
