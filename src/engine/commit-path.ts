// The way of one frame: what it will change is read ahead, then it gets its place in the log, and then it is on disk
// and visible. Before that, if the log is too long, the writer waits for a checkpoint; if the disk is full, room is
// made.
import { CorruptError, InvalidError, IoError, OutcomeUnknownError } from '../errors.js'
import { guarded, typedError } from '../storage/errors.js'
import { newAppendFields } from '../wal/append-state.js'
import { isDeciding } from '../wal/frame.js'
import { operationsOf } from '../wal/operation.js'
import { isAskedFor, resultsOf, TOOK_EFFECT, type WriteResult } from './commit/results.js'
import { bytesBetween, lsnBefore, type Lsn } from '../wal/lsn.js'
import { appendMakingRoom } from './checkpoint/make-room.js'
import { appendWrites, wholeFrame, type Appended, type FailedWrites, type Part } from './commit/append-writes.js'
import { StoresChanged } from './commit/stores-changed.js'
import type { EngineParts } from './parts.js'
import { newState, STATE } from './shared/control.js'
import type { Pin } from './shared/pins.js'
import type { PointReads } from './read/point-reads.js'

/** Writes that are in the log, and are to be finished. */
export interface BegunWrites extends Appended {
  readonly hold: Pin | undefined
}

/** What became of the writes of a frame. */
export interface Finished {
  readonly failed: readonly FailedWrites[]
  /** By the number of the write. Those that are missing took effect, if they have not failed. */
  readonly results: readonly WriteResult[]
}

export class CommitPath {
  readonly #parts: EngineParts
  readonly #reads: PointReads
  readonly #state = newState()
  readonly #fields = newAppendFields()
  #lastCommit = 0

  readonly #renew: (frame: Buffer) => void

  /** `renew`: makes sure that the stores are there that a frame writes to; see stores.ts. */
  constructor(parts: EngineParts, reads: PointReads, renew: (frame: Buffer) => void) {
    this.#parts = parts
    this.#reads = reads
    this.#renew = renew
  }

  /** LSN after the last frame that this thread committed; 0 if it has committed none. */
  get lastCommit(): number {
    return this.#lastCommit
  }

  /**
   * Commits a frame of one write: returns when it is on disk and visible. Throws `OutcomeUnknownError` if the frame is
   * in the log and may take effect; any other error means that nothing was written.
   */
  commit(frame: Buffer): WriteResult {
    this.prepare(frame)
    this.#parts.openState.assertWritable()
    guarded('Making a checkpoint that is due', () => this.#limitLog())
    const hold = this.#holdLog(frame)
    try {
      const end = this.#append(frame, hold)
      const lsn = lsnBefore(end, frame.length)
      this.#finish(lsn, end)
      const result = this.#resultsOf({ bytes: frame, lsn, end })?.[0] ?? TOOK_EFFECT
      if (result instanceof InvalidError) throw result
      return result
    } finally {
      this.#letGo(hold)
    }
  }

  #append(frame: Buffer, hold: Pin | undefined): Lsn {
    for (;;) {
      try {
        return appendMakingRoom(this.#parts, frame, hold)
      } catch (error) {
        if (!(error instanceof StoresChanged)) throw error
        this.#renew(frame)
      }
    }
  }

  /** What keeps the log from being recycled until what became of the frame has been read there; see make-room.ts. */
  #holdLog(frame: Buffer): Pin | undefined {
    if (!isDeciding(frame, 0)) return undefined
    const { pins } = this.#parts
    // If readers have them all, a checkpoint that comes in between makes the outcome unknown.
    return guarded('Keeping the log for a write', () => pins.tryAcquire())
  }

  #letGo(hold: Pin | undefined): void {
    if (hold !== undefined) this.#parts.pins.giveBack(hold)
  }

  /**
   * Starts to read what a frame will change: the thread that will apply it, with all others waiting, should find it
   * in memory.
   */
  prepare(frame: Buffer): void {
    if (!this.#reads.readsAhead) return
    try {
      const keys: Buffer[] = []
      for (const operation = operationsOf(frame); operation.next();) keys.push(operation.key)
      this.#reads.askFor(keys)
    } catch (error) {
      // The leader that applies the frame meets the same error, and handles it.
      if (!(error instanceof CorruptError || error instanceof IoError)) throw error
    }
  }

  /** Gives a frame of several writes its place in the log; some of the writes may be refused (append-writes.ts). */
  beginWrites(frame: Buffer): BegunWrites {
    this.#parts.openState.assertWritable()
    guarded('Making a checkpoint that is due', () => this.#limitLog())
    const hold = this.#holdLog(frame)
    return { ...appendWrites(frame, (part) => this.#append(part, hold)), hold }
  }

  /**
   * The same for one who cannot wait: undefined, with nothing done, if it could not be done at once. Whatever is in the
   * way, `beginWrites` says what it is.
   */
  beginWritesSoon(frame: Buffer): BegunWrites | undefined {
    if (this.#reads.readsAhead || this.#isLogTooLong()) return undefined
    let hold: Pin | undefined
    let end: Lsn | undefined
    try {
      this.#parts.openState.assertWritable()
      hold = this.#holdLog(frame)
      if (hold?.keepsLog === false) hold.keepLogFrom(this.#parts.control.visibleLsn())
      end = this.#parts.committer.appendSoon(frame)
    } catch (error) {
      this.#letGo(hold)
      if (error instanceof OutcomeUnknownError) throw error
      return undefined
    }
    if (end !== undefined) return { ...wholeFrame(frame, end), hold }
    this.#letGo(hold)
    return undefined
  }

  /**
   * Waits until all that was appended is on disk and visible; returns what became of the writes. `failure`: why that
   * took too long, for one who has waited already.
   */
  finishWrites(begun: BegunWrites, failure?: Error): Finished {
    try {
      return this.#finishParts(begun, failure)
    } finally {
      this.#letGo(begun.hold)
    }
  }

  #finishParts({ parts, refused }: Appended, failure: Error | undefined): Finished {
    const last = parts.at(-1)
    if (last === undefined) return { failed: refused, results: [] }
    let visible: number = last.end
    const failed = [...refused]
    try {
      this.#finish(last.lsn, last.end, failure)
    } catch (error) {
      if (!(error instanceof OutcomeUnknownError)) throw error
      visible = this.#parts.control.visibleLsn()
      for (const { end, first, count, lsn } of parts) {
        if (end <= visible) continue
        this.#parts.committer.forgetOutcome(lsn)
        failed.push({ first, count, error: error.at(lsn) })
      }
    }
    const results: WriteResult[] = []
    for (const part of parts) if (part.end <= visible) this.#note(part, results, failed)
    return { failed, results }
  }

  #note(part: Part, results: WriteResult[], failed: FailedWrites[]): void {
    try {
      this.#resultsOf(part)?.forEach((result, i) => {
        if (result instanceof InvalidError) failed.push({ first: part.first + i, count: 1, error: result })
        else results[part.first + i] = result
      })
    } catch (error) {
      if (!(error instanceof OutcomeUnknownError)) throw error
      failed.push({ first: part.first, count: part.count, error })
    }
  }

  /** What became of the writes of a frame that is visible; undefined if all of them took effect. */
  #resultsOf({ bytes, lsn, end }: Pick<Part, 'bytes' | 'lsn' | 'end'>): (WriteResult | InvalidError)[] | undefined {
    if (!isDeciding(bytes, 0)) return undefined
    const { committer } = this.#parts
    if (!isAskedFor(bytes)) {
      committer.forgetOutcome(lsn)
      return undefined
    }
    try {
      return resultsOf(bytes, committer.outcomeOf(lsn, end))
    } catch (error) {
      if (error instanceof OutcomeUnknownError) throw error
      // It has been applied: nobody may be told that nothing was written.
      const cause = typedError(error, 'Reading what became of a write')
      throw new OutcomeUnknownError(`${cause.message} The write has been applied, and its result is not known.`, lsn, {
        cause,
      })
    }
  }

  /** Returns when the frame in [lsn, end) is on disk and visible. */
  #finish(lsn: Lsn, end: Lsn, failure?: Error): void {
    const { committer, control, options } = this.#parts
    committer.wait(lsn, end, failure)
    this.#lastCommit = end
    const begunLsn = control.readState(this.#state)[STATE.CHECKPOINT_BEGUN_LSN]!
    if (bytesBetween(begunLsn, end) > options.checkpointBytes && !control.checkpointWanted)
      control.checkpointWanted = true
  }

  /**
   * When the log that the tree on disk does not include is twice as long as allowed, waits for a checkpoint or makes
   * it.
   */
  #limitLog(): void {
    if (this.#isLogTooLong()) this.#parts.checkpointer.run({ wait: true, onlyIf: () => this.#isLogTooLong() })
  }

  #isLogTooLong(): boolean {
    const { control, options } = this.#parts
    const durable = control.readState(this.#state)[STATE.CHECKPOINT_DURABLE_LSN]!
    return bytesBetween(durable, control.append.read(this.#fields).tailLsn) >= 2 * options.checkpointBytes
  }
}
