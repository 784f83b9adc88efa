// What a database should hold at an LSN: every frame that reached its log, applied in order.
import { forEachOperation, FRAME, OP_PUT } from '../../src/wal/frame.js'
import { KEY_BUFFER_BYTES, encodeKey, type Key } from '../../src/engine/keys.js'

interface Frame {
  readonly lsn: number
  readonly operations: { readonly key: string; readonly value: string | undefined }[]
}

export class LogModel {
  #frames: Frame[] = []
  /** LSN behind the last frame that was acknowledged. */
  acknowledged = 0

  /** Sees every write to a file; those that are whole frames count. */
  note(bytes: Uint8Array): void {
    const b = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
    if (b.length < FRAME.HEADER_BYTES || b.readUInt32LE(FRAME.LENGTH) !== b.length) return
    const lsn = b.readUIntLE(FRAME.LSN, 6)
    const operations: Frame['operations'] = []
    forEachOperation(b, 0, b.length, (_b, kind, keyAt, keyLength, valueAt, valueLength) => {
      operations.push({
        key: b.toString('latin1', keyAt, keyAt + keyLength),
        value: kind === OP_PUT ? b.toString('utf8', valueAt, valueAt + valueLength) : undefined,
      })
    })
    // One that was written before and did not count left room for this one.
    this.#frames = this.#frames.filter((frame) => frame.lsn < lsn)
    this.#frames.push({ lsn, operations })
  }

  /** Every write is known to be lost from `lsn` on. */
  cutAt(lsn: number): void {
    this.#frames = this.#frames.filter((frame) => frame.lsn < lsn)
  }

  /** Encoded keys and values. */
  at(lsn: number): Map<string, string> {
    const state = new Map<string, string>()
    for (const frame of this.#frames) {
      if (frame.lsn >= lsn) break
      for (const { key, value } of frame.operations) {
        if (value === undefined) state.delete(key)
        else state.set(key, value)
      }
    }
    return state
  }
}

const buffer = Buffer.alloc(KEY_BUFFER_BYTES)
export const encodedName = (key: Key): string => buffer.toString('latin1', 0, encodeKey(key, buffer))
