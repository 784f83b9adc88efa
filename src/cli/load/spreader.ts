// Spreads records over lanes. The key alone decides which lane a record goes to, and a lane does one frame
// at a time, so of records with the same key the last one wins. A lane that is too slow holds up the reading.
import type { Engine } from '../../engine/engine.js'
import { crc32c } from '../../encoding/crc32c.js'
import { encodeKey, KEY_BUFFER_BYTES, type Key } from '../../encoding/keys.js'
import { FrameBuilder } from '../../wal/frame-builder.js'

/** A frame is sent off at this size, however few records it holds. */
const FRAME_BYTES = 4 * 1024 * 1024
/** Frames of one lane that wait while it is busy. */
const MAX_QUEUED = 2

class Lane {
  readonly index: number
  builder = new FrameBuilder(64 * 1024)
  queued = 0
  tail: Promise<void> = Promise.resolve()
  /** While reading back: keys with a record that the database does not hold. */
  readonly unresolved = new Set<string>()

  constructor(index: number) {
    this.index = index
  }
}

/** Called for each frame of a lane, one at a time. */
type Act = (lane: Lane, frame: Uint8Array, records: number) => Promise<void>

/** Puts records into the frames of their lanes. The first error stops everything. */
export class Spreader {
  readonly #engine: Engine
  readonly #batch: number
  readonly #act: Act
  readonly #key = Buffer.alloc(KEY_BUFFER_BYTES)
  readonly lanes: Lane[]
  error: Error | undefined

  /** `batch`: records in a frame, at most. */
  constructor(engine: Engine, lanes: number, batch: number, act: Act) {
    this.#engine = engine
    this.#batch = batch
    this.#act = act
    this.lanes = Array.from({ length: lanes }, (_, index) => new Lane(index))
  }

  /** Adds a record. Throws `InvalidError` if it cannot be stored. Returns a promise while its lane is too slow. */
  add(key: Key, value: unknown): Promise<void> | undefined {
    const length = encodeKey(key, this.#key)
    const lane = this.lanes[(crc32c(this.#key.subarray(0, length)) >>> 0) % this.lanes.length]!
    this.#engine.operations.put(lane.builder, key, value)
    if (lane.builder.opCount < this.#batch && lane.builder.lengthBytes < FRAME_BYTES) return undefined
    this.#send(lane)
    return lane.queued > MAX_QUEUED ? lane.tail : undefined
  }

  #send(lane: Lane): void {
    const records = lane.builder.opCount
    if (records === 0) return
    const frame = lane.builder.take()
    lane.queued++
    lane.tail = lane.tail.then(async () => {
      try {
        if (this.error === undefined) await this.#act(lane, frame, records)
      } catch (error) {
        this.error ??= error as Error
      } finally {
        lane.queued--
      }
    })
  }

  /** Sends off the records that have gathered, and waits for all frames. */
  async finish(): Promise<void> {
    for (const lane of this.lanes) this.#send(lane)
    await Promise.all(this.lanes.map((lane) => lane.tail))
  }
}
