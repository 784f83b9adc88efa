// The content that a database should have at an LSN: every frame that reached its log, applied in order.
import { frameOf, stateAt, type ModelFrame } from '../../crash-tests/sim/frames.js'
import { KEY_BUFFER_BYTES, encodeKey, type Key } from '../../src/encoding/keys.js'

export class LogModel {
  #frames: ModelFrame[] = []
  /** LSN after the last frame that was acknowledged. */
  acknowledged = 0

  /** Is given every write to a file; only whole frames count. */
  note(bytes: Uint8Array): void {
    const noted = frameOf(bytes, '')
    if (noted === undefined) return
    // A frame that was written there before never counted, and this one takes its place.
    this.cutAt(noted.lsn)
    this.#frames.push(noted)
  }

  /** From `lsn` on, every write is known to be lost. */
  cutAt(lsn: number): void {
    this.#frames = this.#frames.filter((frame) => frame.lsn < lsn)
  }

  /** Encoded keys and values. */
  at(lsn: number): Map<string, string> {
    return stateAt(this.#frames, lsn)
  }
}

const buffer = Buffer.alloc(KEY_BUFFER_BYTES)
export const encodedName = (key: Key): string => buffer.toString('latin1', 0, encodeKey(key, buffer))
