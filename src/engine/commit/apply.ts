// Applying frames of the log to the tree: what a leader does with a group, and recovery with all of the log. It
// decides nothing that the log and the tree do not decide, so a replay has the same result.
import { crashPoint } from '../../crash-points.js'
import { CorruptError } from '../../errors.js'
import { MAX_TREE_KEY_BYTES } from '../../limits.js'
import { FRAME, isDeciding, timeOf } from '../../wal/frame.js'
import type { LogReader } from '../../wal/log-reader.js'
import type { Lsn } from '../../wal/lsn.js'
import { OP_CLEAR, OperationCursor, rangeOf } from '../../wal/operation.js'
import { forEachOutcome, isOutcomeFrame } from '../../wal/outcomes.js'
import { STATE, type StateFields } from '../shared/control.js'
import type { Allocator } from '../space/allocator.js'
import { earliestExpiry } from '../tree/expiring.js'
import type { TreeReader } from '../tree/reader.js'
import type { TreeWriter } from '../tree/writer.js'
import type { Decider } from './decide.js'

export class Applier {
  readonly #allocator: Allocator
  readonly #writer: TreeWriter
  readonly #decider: Decider
  readonly #tree: TreeReader
  readonly #operations = new OperationCursor()
  readonly #key = Buffer.alloc(MAX_TREE_KEY_BYTES)
  /**
   * What was decided about the frames applied since this was cleared, by their LSNs, as far as the log did not say it
   * already when they were applied.
   */
  readonly outcomes = new Map<number, Buffer>()

  /** The latest time in the frames that were applied. */
  newestTimeMs = 0

  constructor(allocator: Allocator, writer: TreeWriter, decider: Decider, tree: TreeReader) {
    this.#allocator = allocator
    this.#writer = writer
    this.#decider = decider
    this.#tree = tree
  }

  /**
   * Applies the frames from the reader's position up to `end` to `state`, in order, and frees up to about
   * `mostTrash` slots of the trash. Nothing is published. Throws `CorruptError` if a frame of these is missing.
   */
  apply(state: StateFields, reader: LogReader, end: Lsn, mostTrash = 0): void {
    const allocator = this.#allocator
    allocator.begin(state, end)
    this.#writer.begin(state, end)
    let operations = 0
    while (reader.next(end)) {
      const { bytes, at, lengthBytes, lsn } = reader
      const timeMs = timeOf(bytes, at)
      if (timeMs > this.newestTimeMs) this.newestTimeMs = timeMs
      if (isOutcomeFrame(bytes, at)) {
        forEachOutcome(bytes, at, lengthBytes, (decided) => this.outcomes.delete(decided))
        continue
      }
      if (isDeciding(bytes, at)) {
        const decided = this.#decider.apply(bytes, at, lengthBytes, lsn)
        this.outcomes.set(lsn, decided.outcome)
        operations += decided.operations
      } else operations += this.#applyAll(bytes, at, lengthBytes, lsn)
      if (bytes.readUInt32LE(at + FRAME.OP_COUNT) > 0) state[STATE.CHANGED_LSN] = lsn
      state[STATE.FRAMES]!++
      crashPoint('mid-apply')
    }
    if (reader.position !== end) {
      throw new CorruptError(
        `The log is damaged at LSN ${reader.position}: a frame that was appended there is missing.`,
        { lsn: reader.position },
      )
    }
    if (mostTrash > 0) this.#writer.collectTrash(mostTrash)
    if (this.#writer.isEarliestGone) state[STATE.EARLIEST_EXPIRY] = earliestExpiry(this.#tree, state)
    allocator.finish()
    state[STATE.OPERATIONS]! += operations
    state[STATE.GROUPS]!++
    state[STATE.VISIBLE_LSN] = end
  }

  /** Applies a frame in which nothing is to be decided: it has puts, and clears ranges. Returns how many. */
  #applyAll(bytes: Buffer, at: number, lengthBytes: number, lsn: Lsn): number {
    const writer = this.#writer
    const key = this.#key
    const operations = this.#operations.begin(bytes, at, lengthBytes)
    let count = 0
    for (; operations.next(); count++) {
      const { keyAt, keyLength } = operations
      for (let i = 0; i < keyLength; i++) key[i] = bytes[keyAt + i]!
      const { valueAt, valueLength, expiresAt } = operations
      if (operations.kind === OP_CLEAR) writer.clear(...rangeOf(operations))
      else writer.put(key, keyLength, bytes, valueAt, valueLength, lsn, expiresAt)
    }
    return count
  }
}
