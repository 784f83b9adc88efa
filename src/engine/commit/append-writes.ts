// Writes that share a frame succeed or fail together. If there is no room for all of them together, they are
// appended apart, in halves and halves of these, in their order, so that only those fail that have no room alone. A
// batch is one write, and stays whole.
import { FullError, StoreDroppedError } from '../../errors.js'
import { operationsOf } from '../../wal/operation.js'
import { lsnBefore, type Lsn } from '../../wal/lsn.js'
import { newFrame } from '../../wal/frame-builder.js'

/** Writes of a frame that went into the log together, as one frame. */
export interface Part {
  readonly first: number
  readonly count: number
  readonly lsn: Lsn
  /** LSN after this frame. */
  readonly end: Lsn
  readonly bytes: Buffer
}

/** Writes of a frame that failed, and why; all others are on disk and visible. */
export interface FailedWrites {
  readonly first: number
  readonly count: number
  readonly error: Error
}

export interface Appended {
  /** In the order of the log. */
  readonly parts: Part[]
  readonly refused: FailedWrites[]
}

/**
 * Appends the writes of a frame: all in one frame if there is room, else as many as there is room for. Never throws:
 * an error other than a lack of room, or of its store, counts for every write that is not in the log by then.
 */
export function appendWrites(frame: Buffer, append: (frame: Buffer) => Lsn): Appended {
  const count = writesIn(frame)
  const parts: Part[] = []
  const refused: FailedWrites[] = []
  const left: (readonly [first: number, end: number])[] = [[0, count]]
  let split: Splitter | undefined
  for (let range; (range = left.pop()) !== undefined;) {
    const [first, end] = range
    try {
      const bytes = end - first === count ? frame : (split ??= new Splitter(frame)).part(first, end)
      const endLsn = append(bytes)
      parts.push({ first, count: end - first, lsn: lsnBefore(endLsn, bytes.length), end: endLsn, bytes })
    } catch (error) {
      const isOfSome = error instanceof FullError || error instanceof StoreDroppedError
      if (isOfSome && end - first > 1) {
        const middle = (first + end) >>> 1
        left.push([middle, end], [first, middle])
      } else if (isOfSome) {
        refused.push({ first, count: 1, error })
      } else {
        refused.push({ first, count: count - first, error: error as Error })
        break
      }
    }
  }
  return { parts, refused }
}

/** The same for a frame that has been appended whole. */
export const wholeFrame = (frame: Buffer, end: Lsn): Appended => ({
  parts: [{ first: 0, count: writesIn(frame), lsn: lsnBefore(end, frame.length), end, bytes: frame }],
  refused: [],
})

/** How many writes share a frame. */
function writesIn(frame: Buffer): number {
  let count = 0
  for (const operation = operationsOf(frame); operation.next();) if (operation.beginsWrite) count++
  return count
}

/** Cuts a frame apart between its writes. */
class Splitter {
  readonly #frame: Buffer
  /** Where each write begins, and where the last one ends. */
  readonly #starts: number[] = []
  /** The number of each write's first operation, and of all operations. */
  readonly #operations: number[] = []

  constructor(frame: Buffer) {
    this.#frame = frame
    const operation = operationsOf(frame)
    let n = 0
    for (; operation.next(); n++) {
      if (!operation.beginsWrite) continue
      this.#operations.push(n)
      this.#starts.push(operation.at)
    }
    this.#operations.push(n)
    this.#starts.push(frame.length)
  }

  /** A frame of the writes [first, end). */
  part(first: number, end: number): Buffer {
    const bytes = this.#frame.subarray(this.#starts[first], this.#starts[end])
    return newFrame(bytes, this.#operations[end]! - this.#operations[first]!, this.#frame)
  }
}
