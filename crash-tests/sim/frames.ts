// Frames on their way to the log, and what a database should hold at an LSN by them: every frame
// before it, applied in order. The model that simulation and fault tests compare with.
import { forEachOperation, FRAME, OP_PUT, readLsn } from '../../src/wal/frame.js'
import { lsnAfter } from '../../src/wal/lsn.js'

export interface ModelFrame {
  readonly lsn: number
  readonly end: number
  /** All before this LSN had been on disk when it was appended, and the frame says so. */
  readonly watermark: number
  readonly bytes: Buffer
  /** Encoded keys; values as text, or undefined for a delete. */
  readonly operations: readonly { readonly key: string; readonly value: string | undefined }[]
  /** The process that wrote it. */
  readonly writer: string
}

/** The frame that a write to a file is, whole; undefined if it is something else. */
export function frameOf(written: Uint8Array, writer: string): ModelFrame | undefined {
  const b = Buffer.from(written.buffer, written.byteOffset, written.length)
  if (b.length < FRAME.HEADER_BYTES || b.readUInt32LE(FRAME.LENGTH) !== b.length) return undefined
  const operations: { key: string; value: string | undefined }[] = []
  forEachOperation(b, 0, b.length, (_b, kind, keyAt, keyLength, valueAt, valueLength) => {
    operations.push({
      key: b.toString('latin1', keyAt, keyAt + keyLength),
      value: kind === OP_PUT ? b.toString('utf8', valueAt, valueAt + valueLength) : undefined,
    })
  })
  const lsn = readLsn(b, FRAME.LSN)
  return {
    lsn,
    end: lsnAfter(lsn, b.length),
    watermark: readLsn(b, FRAME.WATERMARK),
    bytes: Buffer.from(b),
    operations,
    writer,
  }
}

/** What `frames`, in ascending order, say at `lsn`. */
export function stateAt(frames: readonly ModelFrame[], lsn: number): Map<string, string> {
  const state = new Map<string, string>()
  for (const frame of frames) {
    if (frame.lsn >= lsn) break
    for (const { key, value } of frame.operations) {
      if (value === undefined) state.delete(key)
      else state.set(key, value)
    }
  }
  return state
}
