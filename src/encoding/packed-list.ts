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

function ofLength(bytes: number): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(bytes)
  } catch (cause) {
    throw new InvalidError(`Could not allocate ${bytes} bytes in one piece: ask for fewer keys at a time.`, {
      cause,
    })
  }
}
