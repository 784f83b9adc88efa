import { InvalidError } from '../errors.js'

/** Encoded keys or values back to back, and the length of each; -1: it is absent. */
export interface Encoded {
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly lengths: Int32Array<ArrayBuffer>
}

/**
 * All of `parts`, in one new piece of memory that can be handed to another thread. Throws `InvalidError` if no
 * piece of memory can be that long.
 */
export function concatenated(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = ofLength(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}

const FIRST_BYTES = 16 * 1024

/** Gathers values back to back, in a piece of memory that grows. */
export class Packing {
  #bytes = ofLength(FIRST_BYTES)
  #end = 0

  /** Adds `length` bytes of `from`. Throws `InvalidError` as `concatenated` does. */
  add(from: Uint8Array, at: number, length: number): void {
    const end = this.#end + length
    if (end > this.#bytes.length) this.#grow(end)
    // A plain view and `set` beat a loop from about 24 bytes on.
    if (length < 24) for (let n = 0; n < length; n++) this.#bytes[this.#end + n] = from[at + n]!
    else this.#bytes.set(new Uint8Array(from.buffer, from.byteOffset + at, length), this.#end)
    this.#end = end
  }

  #grow(bytes: number): void {
    const larger = ofLength(Math.max(bytes, 2 * this.#bytes.length))
    larger.set(this.#bytes.subarray(0, this.#end))
    this.#bytes = larger
  }

  /** All of them; nothing may be added afterwards. */
  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.#end)
  }
}

function ofLength(bytes: number): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(bytes)
  } catch (cause) {
    throw new InvalidError(`Could not allocate ${bytes} bytes in one piece: ask for fewer keys at a time.`, {
      cause,
    })
  }
}
