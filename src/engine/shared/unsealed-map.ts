// Which slots may have been made since the newest checkpoint on disk: two maps in `control`, of constant size. Bit n of
// a map stands for all slots whose number is n modulo 2^22, so that a database of any size does with it: two slots that
// share a bit cost a look at the slot that was not made (seal-tree.ts), once in a while.
//
// The leader marks slots in one map. A checkpoint turns to the other one when it begins; what it has to seal is marked
// in either. When it is on disk, it clears the map that it turned away from: whatever was marked there was marked
// before it began. So no mark is lost. A checkpoint that does not come to its end clears nothing, and the next one
// turns all the same: then the map that slots are marked in has older marks, too, and each of these costs one look.

/** Bytes of one map. */
export const UNSEALED_MAP_BYTES = 512 * 1024
const MAP_WORDS = UNSEALED_MAP_BYTES / 4
const LAST_SLOT = UNSEALED_MAP_BYTES * 8 - 1

export class UnsealedMap {
  readonly #i32: Int32Array
  readonly #turnWord: number
  readonly #mapsWord: number

  /** Of `control`: the words that say in which map slots are marked (0 or 1), and with which the maps begin. */
  constructor(i32: Int32Array, turnWord: number, mapsWord: number) {
    this.#i32 = i32
    this.#turnWord = turnWord
    this.#mapsWord = mapsWord
  }

  /** The leader notes a slot that it is about to write, before any tree that reaches it is published. */
  mark(slot: number): void {
    const word = this.#mapsWord + Atomics.load(this.#i32, this.#turnWord) * MAP_WORDS + ((slot & LAST_SLOT) >>> 5)
    const bit = 1 << (slot & 31)
    if ((Atomics.load(this.#i32, word) & bit) === 0) Atomics.or(this.#i32, word, bit)
  }

  /** False only if `slot` has not been allocated since the newest checkpoint on disk. */
  mayHave(slot: number): boolean {
    const word = this.#mapsWord + ((slot & LAST_SLOT) >>> 5)
    const both = Atomics.load(this.#i32, word) | Atomics.load(this.#i32, word + MAP_WORDS)
    return (both & (1 << (slot & 31))) !== 0
  }

  /** A checkpoint begins. The caller holds the leader lock. */
  turn(): void {
    Atomics.xor(this.#i32, this.#turnWord, 1)
  }

  /**
   * The checkpoint is on disk. All slots that were marked before it began are below `nextSlot`. The caller holds the
   * checkpoint lock.
   */
  clear(nextSlot: number): void {
    const from = this.#mapsWord + (Atomics.load(this.#i32, this.#turnWord) ^ 1) * MAP_WORDS
    this.#i32.fill(0, from, from + Math.min(MAP_WORDS, Math.ceil(nextSlot / 32)))
  }
}
