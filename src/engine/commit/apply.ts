// Applying frames of the log to the tree: what a leader does with a group, and recovery with all of the log. It
// decides nothing that the log and the tree do not decide, so a replay has the same result.
import { crashPoint } from '../../crash-points.js'
import { CorruptError } from '../../errors.js'
import { MAX_KEY_BYTES } from '../../limits.js'
import { forEachOperation, OP_DEL, OP_PUT } from '../../wal/frame.js'
import type { LogReader } from '../../wal/log-reader.js'
import type { Lsn } from '../../wal/lsn.js'
import { STATE, type StateFields } from '../shared/control.js'
import type { Allocator } from '../space/allocator.js'
import type { TreeWriter } from '../tree/writer.js'

export class Applier {
  readonly #allocator: Allocator
  readonly #writer: TreeWriter
  readonly #key = Buffer.alloc(MAX_KEY_BYTES)

  constructor(allocator: Allocator, writer: TreeWriter) {
    this.#allocator = allocator
    this.#writer = writer
  }

  /**
   * Applies the frames from the reader's position up to `end` to `state`, in order. Nothing is published. Throws
   * `CorruptError` if a frame of these is missing.
   */
  apply(state: StateFields, reader: LogReader, end: Lsn): void {
    const allocator = this.#allocator
    const writer = this.#writer
    allocator.begin(state, end)
    writer.begin(state, end)
    let operations = 0
    while (reader.next(end)) {
      const lsn = reader.lsn
      forEachOperation(
        reader.bytes,
        reader.at,
        reader.lengthBytes,
        (bytes, kind, keyAt, keyLength, valueAt, valueLength) => {
          const key = this.#key
          for (let i = 0; i < keyLength; i++) key[i] = bytes[keyAt + i]!
          if (kind === OP_PUT) writer.put(key, keyLength, bytes, valueAt, valueLength, lsn)
          else if (kind === OP_DEL) writer.del(key, keyLength)
          operations++
        },
      )
      state[STATE.FRAMES]!++
      crashPoint('mid-apply')
    }
    if (reader.position !== end) {
      throw new CorruptError(
        `The log is damaged at LSN ${reader.position}: a frame that was appended there is missing.`,
        { lsn: reader.position },
      )
    }
    allocator.finish()
    state[STATE.OPERATIONS]! += operations
    state[STATE.GROUPS]!++
    state[STATE.VISIBLE_LSN] = end
  }
}
