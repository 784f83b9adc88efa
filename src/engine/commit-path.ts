// The way of one frame: what it will change is read ahead, then it gets its place in the log, and then it is on disk
// and visible. Before that, if the log is too long, the writer waits for a checkpoint; if the disk is full, room is
// made.
import { CorruptError, IoError, OutcomeUnknownError } from '../errors.js'
import { guarded } from '../storage/errors.js'
import { newAppendFields } from '../wal/append-state.js'
import { forEachOperation } from '../wal/frame.js'
import { bytesBetween, lsnBefore, type Lsn } from '../wal/lsn.js'
import { appendMakingRoom } from './checkpoint/make-room.js'
import { appendWrites, type Appended, type FailedWrites } from './commit/append-writes.js'
import type { EngineParts } from './parts.js'
import { newState, STATE } from './shared/control.js'
import type { PointReads } from './read/point-reads.js'

export class CommitPath {
  readonly #parts: EngineParts
  readonly #reads: PointReads
  readonly #state = newState()
  readonly #append = newAppendFields()
  #lastCommit = 0

  constructor(parts: EngineParts, reads: PointReads) {
    this.#parts = parts
    this.#reads = reads
  }

  /** LSN after the last frame that this thread committed; 0 if it has committed none. */
  get lastCommit(): number {
    return this.#lastCommit
  }

  /**
   * Commits a frame: returns when it is on disk and visible. Throws `OutcomeUnknownError` if the frame is in the log
   * and may take effect; any other error means that nothing was written.
   */
  commit(frame: Buffer): void {
    this.prepare(frame)
    this.#parts.openState.assertWritable()
    const end = this.#begin(frame)
    this.#finish(lsnBefore(end, frame.length), end)
  }

  /**
   * Starts to read what a frame will change: the thread that will apply it, with all others waiting, should find it
   * in memory.
   */
  prepare(frame: Buffer): void {
    if (!this.#reads.readsAhead) return
    try {
      const keys: Buffer[] = []
      forEachOperation(frame, 0, frame.length, (bytes, _kind, keyAt, keyLength) =>
        keys.push(bytes.subarray(keyAt, keyAt + keyLength)),
      )
      this.#reads.askFor(keys)
    } catch (error) {
      // The leader that applies the frame meets the same error, and handles it.
      if (!(error instanceof CorruptError || error instanceof IoError)) throw error
    }
  }

  /** Gives a frame of several writes its place in the log; some of the writes may be refused (append-writes.ts). */
  beginWrites(frame: Buffer, sizes: readonly number[] | undefined): Appended {
    this.#parts.openState.assertWritable()
    guarded('Making a checkpoint that is due', () => this.#limitLog())
    return appendWrites(frame, sizes, (part) => appendMakingRoom(this.#parts, part))
  }

  /** Waits until all that was appended is on disk and visible; returns which writes failed, and why. */
  finishWrites({ parts, refused }: Appended): FailedWrites[] {
    const last = parts.at(-1)
    if (last === undefined) return refused
    try {
      this.#finish(last.lsn, last.end)
      return refused
    } catch (error) {
      if (!(error instanceof OutcomeUnknownError)) throw error
      const visible = this.#parts.control.visibleLsn()
      const unknown = parts
        .filter(({ end }) => end > visible)
        .map(({ first, count, lsn }) => ({ first, count, error: error.at(lsn) }))
      return [...refused, ...unknown]
    }
  }

  #begin(frame: Buffer): Lsn {
    guarded('Making a checkpoint that is due', () => this.#limitLog())
    return appendMakingRoom(this.#parts, frame)
  }

  /** Returns when the frame in [lsn, end) is on disk and visible. */
  #finish(lsn: Lsn, end: Lsn): void {
    const { committer, control, options } = this.#parts
    committer.wait(lsn, end)
    this.#lastCommit = end
    const begunLsn = control.readState(this.#state)[STATE.CHECKPOINT_BEGUN_LSN]!
    if (bytesBetween(begunLsn, end) > options.checkpointBytes && !control.checkpointWanted) control.checkpointWanted = true
  }

  /**
   * When the log that the tree on disk does not include is twice as long as allowed, waits for a checkpoint or makes
   * it.
   */
  #limitLog(): void {
    const { control, checkpointer, options } = this.#parts
    const isTooLong = (): boolean => {
      const durable = control.readState(this.#state)[STATE.CHECKPOINT_DURABLE_LSN]!
      return bytesBetween(durable, control.append.read(this.#append).tailLsn) >= 2 * options.checkpointBytes
    }
    if (isTooLong()) checkpointer.run({ wait: true, onlyIf: isTooLong })
  }
}
