// The model of a database: the log itself, which is every frame that reaches it, by its LSN. Whatever is read at an
// LSN must be what the frames before it say; after a crash the database must be at an LSN that loses no acknowledged
// frame, nor one that a reader has seen, and the frames after it are gone for good.
import { FIRST_LSN } from '../../src/wal/lsn.js'
import type { Clocks } from './clocks.js'
import { frameOf, modelAt, stateAt, type ModelFrame } from './frames.js'

export class LogModel {
  #frames: ModelFrame[] = []
  /** Frames of writers that died before they moved the tail, with others in their places since. */
  #overwritten: ModelFrame[] = []
  /** Frames that end here or before it have been acknowledged. */
  acknowledgedLsn = 0
  /** The newest tree that was read. What has been read is not lost either. */
  readLsn = 0

  /** The latest moment that was read, and in which life of the database that was. */
  #readMs = 0
  #life = 0
  /** A frame that has an earlier time than one before it, or a later one than any clock. */
  wrongTime: string | undefined

  /** In ascending order. */
  get frames(): readonly ModelFrame[] {
    return this.#frames
  }
  /** The same, and those that others were written over. */
  get allFrames(): readonly ModelFrame[] {
    return [...this.#frames, ...this.#overwritten]
  }
  get endLsn(): number {
    return this.#frames.at(-1)?.end ?? FIRST_LSN
  }

  /** Notes what `writer` has written to a file, if that is a frame. */
  noteFrame(bytes: Uint8Array, writer: string, latestMs: number): void {
    const noted = frameOf(bytes, writer)
    if (noted === undefined) return
    const { timeMs } = noted
    const before = this.#frames.findLast((frame) => frame.lsn < noted.lsn)
    // Recovery writes after the one of these that is in the log.
    const inItsPlace = this.#overwritten.filter((frame) => frame.lsn === before?.lsn)
    const leastMs = Math.min(...[...inItsPlace, before].map((frame) => frame?.timeMs ?? 0))
    if (timeMs > latestMs || timeMs < leastMs)
      this.wrongTime = `the frame at LSN ${noted.lsn} has the time ${timeMs}, after ${leastMs}, up to ${latestMs}`
    // A writer that died before it moved the tail left room for this one. What it wrote may be on the
    // disk all the same, and come back if the power is cut before this one is there.
    this.#overwritten.push(...this.#frames.filter((frame) => frame.lsn === noted.lsn))
    this.#frames = [...this.#frames.filter((frame) => frame.lsn < noted.lsn), noted]
  }

  /**
   * After a recovery: the log ends at `toLsn` now, and the database holds `found`. Which frames are in the log?
   * `logged`: those that it still has, by their LSNs. Two that were written to the same place may make the same of the
   * database, and differ in what they decide.
   */
  settle(toLsn: number, found: Map<string, string>, nowMs: number, logged: ReadonlyMap<number, Buffer>): void {
    const isRight = (): boolean =>
      this.#frames.every(({ lsn, bytes }) => logged.get(lsn)?.equals(bytes) ?? true) &&
      difference(found, stateAt(this.#frames, toLsn, nowMs)) === undefined
    const frames = this.#frames
    this.#frames = frames.filter((frame) => frame.end <= toLsn)
    if (isRight()) return this.#forgetOverwritten()
    for (const other of this.#overwritten) {
      if (other.lsn < this.acknowledgedLsn) continue
      // Recovery may have appended what it decided.
      const after = frames.filter((frame) => frame.lsn >= other.end && frame.end <= toLsn)
      if ((after.at(-1)?.end ?? other.end) !== toLsn) continue
      this.#frames = [...frames.filter((frame) => frame.lsn < other.lsn), other, ...after]
      if (isRight()) return this.#forgetOverwritten()
    }
    this.#frames = frames.filter((frame) => frame.end <= toLsn)
  }

  #forgetOverwritten(): void {
    this.#overwritten = []
  }

  /**
   * What is wrong with a moment that is read now, in the tree of `lsn`; undefined if nothing is. `life`: which life of
   * the database the reader is in. What readers have seen of the clock in the one before may be lost; others may join
   * the new one, and read, before its first opener is done.
   */
  wrongMoment(
    { momentMs, lsn }: { momentMs: number; lsn: number },
    { systemMs, latestMs }: Clocks,
    life: number,
  ): string | undefined {
    if (life !== this.#life) this.#readMs = 0
    this.#life = life
    const frame = this.#frames.findLast((each) => each.end <= lsn)
    const least = Math.max(this.#readMs, systemMs, frame?.timeMs ?? 0)
    this.#readMs = Math.max(this.#readMs, momentMs)
    if (this.wrongTime !== undefined) return this.wrongTime
    return momentMs < least || momentMs > latestMs
      ? `the clock says ${momentMs}, and should be between ${least} and ${latestMs}`
      : undefined
  }

  /** What is wrong with `found`, which was read at `lsn`; undefined if nothing is. */
  differenceAt(lsn: number, found: Map<string, string>, nowMs: number): string | undefined {
    this.readLsn = Math.max(this.readLsn, lsn)
    const model = modelAt(this.#frames, lsn)
    return model.stray ?? difference(found, model.values(nowMs))
  }
}

function difference(found: Map<string, string>, expected: Map<string, string>): string | undefined {
  for (const [key, value] of expected) {
    if (found.get(key) !== value)
      return `${JSON.stringify(key)} is ${brief(found.get(key))} and should be ${brief(value)}`
  }
  if (found.size === expected.size) return undefined
  return `${JSON.stringify([...found.keys()].find((key) => !expected.has(key)))} should not be there`
}

const brief = (text: string | undefined): string =>
  text === undefined ? 'absent' : `"${text.slice(0, 12)}" (${text.length})`
