// The records of a synthetic load. Keys are "key:" and eleven digits, each below --ops exactly once,
// in an order that looks random and depends on the seed alone. A value depends on its key and the
// seed alone, so a reader can check it without having kept it.

const KEY_DIGITS = 11
export const MAX_SYNTHETIC_OPS = 2 ** 30

/** A permutation of [0, count): a Feistel network, walked until it lands inside (Black and Rogaway, 2002). */
export class Permutation {
  readonly #count: number
  readonly #halfBits: number
  readonly #mask: number
  readonly #keys: number[]

  constructor(count: number, seed: number) {
    this.#count = count
    this.#halfBits = Math.max(1, Math.ceil(Math.log2(Math.max(2, count)) / 2))
    this.#mask = 2 ** this.#halfBits - 1
    this.#keys = [1, 2, 3, 4].map((round) => mix(seed ^ Math.imul(round, 0x9e3779b9)))
  }

  at(index: number): number {
    let n = index
    do {
      let left = n >>> this.#halfBits
      let right = n & this.#mask
      for (const key of this.#keys) {
        const next = left ^ (mix(right ^ key) & this.#mask)
        left = right
        right = next
      }
      n = left * (this.#mask + 1) + right
    } while (n >= this.#count)
    return n
  }
}

/** Spreads 32 bits (the finalizer of MurmurHash3). */
function mix(n: number): number {
  n = Math.imul(n ^ (n >>> 16), 0x85ebca6b)
  n = Math.imul(n ^ (n >>> 13), 0xc2b2ae35)
  return (n ^ (n >>> 16)) >>> 0
}

export const syntheticKey = (n: number): string => `key:${String(n).padStart(KEY_DIGITS, '0')}`

const ALPHABET = Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_')
let scratch = Buffer.alloc(1024)

/** The value of a key: `sizeBytes` characters, or bytes for the binary encoding. */
export function syntheticValue(key: string, seed: number, sizeBytes: number, binary: boolean): string | Buffer {
  let state = seed | 0
  for (let i = 0; i < key.length; i++) state = Math.imul(state ^ key.charCodeAt(i), 0x01000193)
  state = mix(state) | 1
  if (scratch.length < sizeBytes) scratch = Buffer.alloc(sizeBytes)
  for (let i = 0; i < sizeBytes;) {
    // xorshift32
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    for (let bits = state, n = 0; n < 5 && i < sizeBytes; n++, bits >>>= 6) scratch[i++] = ALPHABET[bits & 63]!
  }
  return binary ? Buffer.from(scratch.subarray(0, sizeBytes)) : scratch.toString('latin1', 0, sizeBytes)
}
