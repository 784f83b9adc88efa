// What a transaction has written and not committed: the last state of each key, so that its own reads see it. A change
// makes another object, so what a range took of them at its beginning stays as it was.
import { InvalidError } from '../../errors.js'
import { MAX_TRANSACTION_BYTES, MAX_TRANSACTION_CHANGES } from '../../limits.js'
import type { Bounds } from '../read/bounds.js'

/** What is added, in order. Later adds share the list, and have more of it. */
interface Deltas {
  readonly list: Buffer[]
  readonly count: number
}

/**
 * Encoded. An add whose key has not been looked at stays one: it conflicts with no other add. `expiresAt`: of the entry
 * that a put makes, or an add if there is none; `NEVER` for one that stays.
 */
export type OwnWrite =
  | { readonly kind: 'put'; readonly key: Buffer; readonly value: Buffer; readonly expiresAt: number }
  | { readonly kind: 'del'; readonly key: Buffer }
  | {
      readonly kind: 'add'
      readonly key: Buffer
      readonly deltas: Deltas
      readonly isJson: boolean
      readonly expiresAt: number
    }

/** What a change takes besides its key and value. */
const CHANGE_BYTES = 64

export class OwnWrites {
  readonly #byName = new Map<string, OwnWrite>()
  /** All of them, in the order of their keys; undefined until a range asks for them. */
  #ordered: OwnWrite[] | undefined
  #changes = 0
  #bytes = 0

  get isEmpty(): boolean {
    return this.#byName.size === 0
  }

  /** `name`: the bytes of the key as text. */
  get(name: string): OwnWrite | undefined {
    return this.#byName.get(name)
  }

  /** `moreBytes`: what it takes that what it replaces did not. Throws `InvalidError`, and changes nothing. */
  set(name: string, write: OwnWrite, moreBytes: number): void {
    const bytes = this.#bytes + write.key.length + moreBytes + CHANGE_BYTES
    if (bytes > MAX_TRANSACTION_BYTES || this.#changes >= MAX_TRANSACTION_CHANGES) throw tooLarge()
    this.#bytes = bytes
    this.#changes++
    const isNew = !this.#byName.has(name)
    this.#byName.set(name, write)
    if (this.#ordered === undefined) return
    const at = firstAt(this.#ordered, write.key, false)
    this.#ordered.splice(at, isNew ? 0 : 1, write)
  }

  /** Those in a range, in its order. */
  within({ from, fromAfter, to, toInclusive, reverse }: Bounds): OwnWrite[] {
    if (this.isEmpty) return []
    this.#ordered ??= [...this.#byName.values()].sort((a, b) => a.key.compare(b.key))
    const first = from === undefined ? 0 : firstAt(this.#ordered, from, fromAfter)
    const end = to === undefined ? this.#ordered.length : firstAt(this.#ordered, to, toInclusive)
    const found = this.#ordered.slice(first, Math.max(first, end))
    return reverse ? found.reverse() : found
  }

  entries(): IterableIterator<[string, OwnWrite]> {
    return this.#byName.entries()
  }
}

/** Index of the first at or above `key` (above it if `after`). */
function firstAt(ordered: readonly OwnWrite[], key: Buffer, after: boolean): number {
  let low = 0
  let high = ordered.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const order = ordered[middle]!.key.compare(key)
    if (after ? order <= 0 : order < 0) low = middle + 1
    else high = middle
  }
  return low
}

const tooLarge = (): InvalidError =>
  new InvalidError(
    `A transaction may make at most ${MAX_TRANSACTION_CHANGES} changes, of ${MAX_TRANSACTION_BYTES} bytes in all. Split ` +
      'it, or write without one.',
  )
