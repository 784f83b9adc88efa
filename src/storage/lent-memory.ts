// Memory that users have for the time of a call (`Database.view`) and not a moment longer. When it is taken away, the
// ArrayBuffer that they have is detached, and another one has the memory, for the next call.
//
// The memory itself is not freed: a user may have handed it to something that works on another thread (fs.write,
// zlib.gzip) and reads on. What that reads may be of the next call; but it is memory.
import { native } from './native.js'
import { ownMemoryFor } from './memory.js'

/** Pieces of up to that many bytes are kept for the next call: for each call within another one of twice that. */
const MOST_KEPT_BYTES = 4 * 1024 * 1024
const LEAST_BYTES = 4096

/** For each buffer that was taken away the one that has its memory, if that is not kept for the next call. */
const takenMemory = new WeakMap<ArrayBuffer, ArrayBuffer>()

/** The true length: a user may have given the buffer a field of that name. */
const lengthOf = Object.getOwnPropertyDescriptor(ArrayBuffer.prototype, 'byteLength')!.get as (
  this: ArrayBuffer,
) => number

/** What is lent now, by the outermost call first. */
const lent: ArrayBuffer[] = []
/** What the next call in that place gets, if it is long enough. */
const kept: (ArrayBuffer | undefined)[] = []
/** What was not. */
const outgrown: ArrayBuffer[] = []

/** A buffer of that many bytes with arbitrary contents, until `takeBack`. Throws `IoError` if there is no memory. */
export function lend(bytes: number): Buffer {
  const place = lent.length
  let memory = kept[place]
  if (memory === undefined || memory.byteLength < bytes) {
    if (memory !== undefined) outgrown.push(memory)
    memory = ownMemoryFor(bytes > MOST_KEPT_BYTES ? bytes : pieceBytes(bytes)).buffer as ArrayBuffer
  }
  kept[place] = undefined
  lent.push(memory)
  return Buffer.from(memory, 0, bytes)
}

/** Powers of two: all that was outgrown is no more than what is in use. */
const pieceBytes = (bytes: number): number => Math.max(LEAST_BYTES, 2 ** Math.ceil(Math.log2(Math.max(1, bytes))))

/** How much is lent at this moment, for `takeBack`. */
export const lentNow = (): number => lent.length

/** Takes away what has been lent since. All buffers that have that memory are empty from now on. */
export function takeBack(since: number): void {
  while (lent.length > since) {
    const memory = lent.pop()!
    // What its user has transferred belongs to another thread.
    if (lengthOf.call(memory) === 0) continue
    let taken: ArrayBuffer
    try {
      taken = native.transfer(memory)
    } catch {
      // Its user has marked it so that it cannot be taken away (markAsUntransferable, from Node.js 24 on).
      continue
    }
    if (taken.byteLength <= MOST_KEPT_BYTES) kept[lent.length] = taken
    else takenMemory.set(memory, taken)
  }
}
