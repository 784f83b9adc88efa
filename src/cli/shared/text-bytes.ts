// Bytes that are to become text: gathered over chunks, counted in lines, and checked for bytes that are not
// UTF-8.

export const NEWLINE = 0x0a

/** If a line or a field is longer than this, the input is not what it seems to be. */
export const MAX_RECORD_BYTES = 256 * 1024 * 1024
export const TOO_LONG = `it is longer than ${MAX_RECORD_BYTES} bytes`

/** Says in which byte of which line a text stops being UTF-8. */
export function notUtf8(bytes: Buffer, line: number): string {
  // U+FFFD replaces bytes that are not UTF-8: from there on the bytes of the text differ from these.
  const text = Buffer.from(bytes.toString())
  let at = 0
  while (at < bytes.length && bytes[at] === text[at]) at++
  const before = bytes.subarray(0, at)
  const lineStart = before.lastIndexOf(10) + 1
  return `line ${line + newlines(before)}, byte ${at - lineStart + 1}: it is not UTF-8; if it is in another encoding, give that with --encoding, such as latin1`
}

export function newlines(bytes: Buffer): number {
  let count = 0
  for (let at = bytes.indexOf(10); at >= 0; at = bytes.indexOf(10, at + 1)) count++
  return count
}

/** The bytes of a record, which may be spread over several chunks. */
export class Gathered {
  #parts: Buffer[] = []
  lengthBytes = 0

  add(part: Buffer): void {
    if (part.length === 0) return
    this.#parts.push(part)
    this.lengthBytes += part.length
  }

  take(): Buffer {
    const bytes = this.#parts.length === 1 ? this.#parts[0]! : Buffer.concat(this.#parts)
    this.#parts = []
    this.lengthBytes = 0
    return bytes
  }
}
