// Where the frames of the model are in the files of the log, whether they are there, and damage to them.
//
// Between lives a header may be destroyed, which must do no harm; or a frame of the log that later frames prove to
// have been on disk, which must be noticed if it is still needed.
import { SLOT_BYTES } from '../../src/engine/format/layout.js'
import { FRAME } from '../../src/wal/frame.js'
import type { Lsn } from '../../src/wal/lsn.js'
import { filePosition, segmentName, segmentStart } from '../../src/wal/segment.js'
import type { Random } from '../lib/random.js'
import type { ModelFrame } from './frames.js'
import type { LogModel } from './log-model.js'
import type { World } from './world.js'

export class LogFiles {
  readonly #world: World
  readonly #model: LogModel
  /** Puts right what was damaged in the log, while it is. */
  #undoDamage: (() => void) | undefined
  #isHeaderDestroyed = false

  constructor(world: World, model: LogModel) {
    this.#world = world
    this.#model = model
  }

  // ---- where frames are ------------------------------------------------------------------------

  /** Where in which segment a frame should be. */
  #place(frame: ModelFrame): { path: string; position: number } | undefined {
    const start = this.segmentOf(frame.lsn)
    if (start === undefined) return undefined
    return { path: `/db/wal/${segmentName(start)}`, position: filePosition(start, frame.lsn as Lsn) }
  }

  /** Where the segment begins in which `lsn` should be. */
  segmentOf(lsn: number): Lsn | undefined {
    const starts = this.#world.names('/db/wal').map((name) => segmentStart(name) ?? Infinity)
    const start = Math.max(...starts.filter((start) => start <= lsn))
    return Number.isFinite(start) ? (start as Lsn) : undefined
  }

  /** Whether programs see the frame in its place. */
  has(frame: ModelFrame): boolean {
    const place = this.#place(frame)
    return (
      place !== undefined && this.#world.contents(place.path, place.position, frame.bytes.length).equals(frame.bytes)
    )
  }

  #isOnDisk(frame: ModelFrame): boolean {
    const place = this.#place(frame)
    return (
      place !== undefined &&
      this.#world.durableContents(place.path, place.position, frame.bytes.length).equals(frame.bytes)
    )
  }

  // ---- damage ----------------------------------------------------------------------------------

  get isLogDamaged(): boolean {
    return this.#undoDamage !== undefined
  }

  /** Destroys a header, or flips a bit of a frame, or neither. `mayLoseHeader`: there is something in the database. */
  damage(random: Random, mayLoseHeader: boolean): void {
    const roll = random.next()
    if (roll < 0.1 && !this.#isHeaderDestroyed && mayLoseHeader) {
      this.#isHeaderDestroyed = this.#world.destroy('/db/data', random.between(0, 3) * SLOT_BYTES, SLOT_BYTES)
    } else if (roll < 0.2) {
      this.#damageFrame(random)
    }
  }

  #damageFrame(random: Random): void {
    const proven = this.#model.frames.filter((frame) => this.has(frame))
    // What proves them must be on the disk itself, or the next power cut may take it away.
    const proofs = proven.filter((frame) => this.#isOnDisk(frame))
    const furthest = proofs.reduce((most, frame) => Math.max(most, frame.watermark), 0)
    const candidates = proven.filter((frame) => frame.end <= furthest)
    // The newest are the ones that may be needed.
    const frame = candidates.at(-random.between(1, Math.min(4, candidates.length)))
    if (frame === undefined) return
    const { path, position } = this.#place(frame)!
    const at = position + random.between(FRAME.LENGTH, frame.bytes.length - 1)
    this.#world.flip(path, at)
    this.#undoDamage = () => {
      const now = this.#world.contents(path, position, frame.bytes.length)
      now[at - position] = frame.bytes[at - position]!
      // An opener may have got so far that the segment is no longer needed.
      if (now.equals(frame.bytes)) this.#world.flip(path, at)
    }
  }

  /** After an opening that failed. */
  undoDamage(): void {
    this.#undoDamage?.()
    this.#undoDamage = undefined
  }

  /** After an opening that succeeded: the damage did no harm. */
  forgetDamage(): void {
    this.#undoDamage = undefined
    this.#isHeaderDestroyed = false
  }
}
