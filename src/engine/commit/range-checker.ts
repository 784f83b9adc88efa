// Whether a range is still as the snapshot of a transaction had it (wal/range-check.ts). The leader asks that of the
// tree as it has made it so far, which includes the frames before this one and the writes before this one. It reads
// slots where they lie, since nobody else changes this tree, and verifies them as all its reads do. The walk ends with
// the first entry that is new or one too many: so it costs no more than the transaction's own reading did. What has
// expired by the time in the frame is absent, as it was for the transaction if it had expired by then.
import type { OperationCursor } from '../../wal/operation.js'
import { rangeCheckOf } from '../../wal/range-check.js'
import { readVersion } from '../format/leaf-cell.js'
import { Cursor, type TreeReader } from '../tree/reader.js'
import type { TreeWriter } from '../tree/writer.js'

export class RangeChecker {
  readonly #writer: TreeWriter
  readonly #reader: TreeReader

  constructor(writer: TreeWriter, reader: TreeReader) {
    this.#writer = writer
    this.#reader = reader
  }

  /** `nowMs`: the time in the frame. */
  isUnchanged({ key, value }: OperationCursor, nowMs: number): boolean {
    const { from, fromAfter, to, toInclusive, entries, lsn } = rangeCheckOf(key, value)
    const cursor = new Cursor(this.#reader, this.#writer.state)
    let found = 0
    for (let more = cursor.seek(from, from.length, fromAfter); more; more = cursor.nextLeaf()) {
      const { leaf } = cursor
      const end = to === undefined ? leaf.count : cursor.boundInLeaf(to, to.length, toInclusive)
      for (let i = cursor.index; i < end; i++) {
        if (leaf.expires(i) && leaf.expiresAt(i) <= nowMs) continue
        if (++found > entries || readVersion(leaf.u16, leaf.base + leaf.cellOffset(i)) >= lsn) return false
      }
      if (end < leaf.count) break
    }
    return found === entries
  }
}
