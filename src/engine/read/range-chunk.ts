// A part of a range as bytes: what a thread that reads for another hands over. A long range is read in such parts, each
// of which goes on after the last key of the one before. What limits a part is how much of it is in memory at a time,
// and for how long reading it keeps a thread busy.
import { NEVER } from '../../encoding/expiry-key.js'
import type { EncodedEntry, RangeIterator } from './range-iterator.js'

/** A chunk takes entries until it has this many of them, or this many bytes. */
const CHUNK_ENTRIES = 1024
const CHUNK_BYTES = 256 * 1024

const FIRST_BYTES = 4096

/** Entries, back to back. */
export interface RangeChunk {
  readonly bytes: Uint8Array<ArrayBuffer>
  /** For each entry the length of its key, and that of its value; -1 if values were not read. */
  readonly lengths: Int32Array<ArrayBuffer>
  /** For each entry when it expires, `NEVER` if it stays; undefined if all of them stay. */
  readonly expiries: Float64Array<ArrayBuffer> | undefined
  /** Nothing follows. */
  readonly isLast: boolean
}

/** Reads the next entries. A value that is longer than a chunk makes the chunk longer. */
export function readChunk(iterator: RangeIterator<EncodedEntry>): RangeChunk {
  let bytes = new Uint8Array(FIRST_BYTES)
  let end = 0
  const lengths: number[] = []
  const expiries: number[] = []
  let isExpiring = false
  const add = (part: Uint8Array): void => {
    if (end + part.length > bytes.length) {
      const longer = new Uint8Array(Math.max(2 * bytes.length, end + part.length))
      longer.set(bytes.subarray(0, end))
      bytes = longer
    }
    bytes.set(part, end)
    end += part.length
  }
  while (lengths.length < 2 * CHUNK_ENTRIES && end < CHUNK_BYTES) {
    const result = iterator.next()
    if (result.done) break
    const { key, value, expiresAt } = result.value
    add(key)
    if (value !== undefined) add(value)
    lengths.push(key.length, value?.length ?? -1)
    expiries.push(expiresAt)
    isExpiring ||= expiresAt !== NEVER
  }
  return {
    bytes: bytes.subarray(0, end),
    lengths: Int32Array.from(lengths),
    expiries: isExpiring ? Float64Array.from(expiries) : undefined,
    isLast: iterator.isDone,
  }
}
