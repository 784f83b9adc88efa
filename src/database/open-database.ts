// What a Database and its Stores share: one open database on this thread, with the writes and the work under way.
import { databaseClosed, foreseen } from '../errors.js'
import type { OperationWriter } from '../engine/commit/operation-writer.js'
import type { WriteResult } from '../engine/commit/results.js'
import type { Engine } from '../engine/engine.js'
import type { ResolvedOptions } from '../engine/options.js'
import { closeWhenForgotten, isBeingClosed, type Attachment, type Lanes } from '../workers/attachment.js'
import { NEVER } from '../encoding/expiry-key.js'
import type { KeySpace } from '../encoding/key-space.js'
import type { SweepReport } from '../engine/sweeper.js'
import type { FrameBuilder } from '../wal/frame-builder.js'
import { ExpiryTimer } from './expiry-timer.js'
import { BackgroundReads } from './background-reads.js'
import { nextTurn } from './turns.js'
import { ChangeFeeds } from './change-feeds.js'
import { ChangeHost } from './change-host.js'
import { FrameCommits } from './frame-commits.js'
import { WriteQueue } from './write-queue.js'

/** How long slots are freed in one go: by a worker, and on the thread of the user. */
const EMPTYING_MS = 50
const EMPTYING_HERE_MS = 2
/** Without workers, what has expired is removed by that many frames at a time. */
const FRAMES_HERE = 1

/** Puts one write into a frame. May run users' code, which may close the database. */
export type AddWrite = (operations: OperationWriter, frame: FrameBuilder) => void

export class OpenDatabase {
  readonly engine: Engine
  readonly options: ResolvedOptions
  readonly lanes: Lanes | undefined
  readonly reads: BackgroundReads
  readonly feeds: ChangeFeeds
  /** For `update` and `transaction`. */
  readonly host: ChangeHost
  readonly #attachment: Attachment
  readonly #writes: WriteQueue
  readonly #commits: FrameCommits
  readonly #tasks = new Set<Promise<unknown>>()
  readonly #expiry: ExpiryTimer | undefined
  #checkpointing: Promise<unknown> | undefined
  #emptying: Promise<unknown> | undefined
  #closing: Promise<void> | undefined

  constructor(attachment: Attachment, options: ResolvedOptions) {
    const { engine, lanes } = attachment
    this.#attachment = attachment
    this.engine = engine
    this.lanes = lanes
    this.options = options
    const order = new Int32Array(attachment.order)
    this.#commits = new FrameCommits({ engine, lanes, order, timeoutMs: options.timeoutMs })
    this.#writes = new WriteQueue({
      maxInFlightBytes: options.maxInFlightBytes,
      maxFrames: Math.max(1, options.workers),
      timeoutMs: options.timeoutMs,
      order,
      commit: (frame) => this.#commits.commit(frame),
      onCheckpointWanted: () => this.#maybeCheckpoint(true),
    })
    this.reads = new BackgroundReads({
      engine,
      lanes,
      workers: options.workers,
      timeoutMs: options.timeoutMs,
      assertOpen: () => this.assertOpen(),
      track: (task) => this.track(task),
    })
    this.feeds = new ChangeFeeds(engine, () => this.assertOpen())
    const writes = lanes?.writes
    this.host = new ChangeHost({
      engine,
      timeoutMs: options.timeoutMs,
      assertOpen: () => this.assertOpen(),
      write: (add) =>
        this.write(
          (_, frame) => add(frame),
          ({ took }) => took,
        ),
      catchUp: writes && ((end) => this.track(writes.run('catchUp', end))),
    })
    if (!options.readOnly && !engine.isPrivate) this.#expiry = new ExpiryTimer(this)
    closeWhenForgotten(this, attachment)
    if (engine.hasTrash) this.emptyTrash()
  }

  /** False once `close` has been called. */
  get isOpen(): boolean {
    return this.#closing === undefined
  }

  assertOpen(): void {
    if (this.#closing !== undefined) throw databaseClosed()
  }

  /** `answer`: what the user is told of the result. `space`: of the store that is written to. */
  write<T>(add: AddWrite, answer: (result: WriteResult) => T, space?: KeySpace): Promise<T> {
    return this.#writes.add((frame) => this.#put(add, frame, space), answer)
  }

  writeSync(add: AddWrite, space?: KeySpace): WriteResult {
    this.assertOpen()
    const result = this.engine.write((frame) => {
      this.#put(add, frame, space)
      // What was called before comes before it; and so does what the user's code has called meanwhile.
      this.#writes.sendAll()
      this.#commits.appendAll()
    })
    this.#maybeCheckpoint(this.engine.checkpointWanted)
    return result
  }

  #put(add: AddWrite, frame: FrameBuilder, space: KeySpace | undefined): void {
    this.assertOpen()
    const { operations, stores } = this.engine
    if (space !== undefined) stores.renew(space)
    add(operations, frame)
    this.assertOpen()
    if (operations.soonestExpiry !== NEVER) this.#noteExpiry(operations)
  }

  #noteExpiry(operations: OperationWriter): void {
    this.#expiry?.note(operations.soonestExpiry - this.engine.nowMs)
    operations.soonestExpiry = NEVER
  }

  /** How long it is until the next entry expires. */
  msToNextExpiry(): number {
    return this.engine.nextExpiryMs - this.engine.nowMs
  }

  /** Removes some of what has expired. Resolves to whether there is more. */
  async sweep(): Promise<boolean> {
    const { lanes, engine } = this
    const report = lanes
      ? await this.track(lanes.long.run<SweepReport>('sweep', undefined, [], true))
      : engine.sweep(FRAMES_HERE)
    return report.isMore
  }

  #maybeCheckpoint(wanted: boolean): void {
    if (!wanted || this.#checkpointing !== undefined || this.#closing !== undefined) return
    // If it fails, the log goes on growing and the next write meets the reason itself. What has just been
    // written is safe, so no caller gets an error for it.
    if (this.lanes === undefined) {
      try {
        this.engine.checkpoint(false)
      } catch {
        // As said above.
      }
      return
    }
    const done = (): void => (this.#checkpointing = undefined)
    this.#checkpointing = this.track(this.lanes.long.run('checkpoint', { wait: false }, [], true)).then(done, done)
  }

  /** Begins to free what clearing has cut out, in the background. */
  emptyTrash(): void {
    if (this.#emptying !== undefined || this.#closing !== undefined || this.options.readOnly) return
    // If it fails, it is tried again after the next clear, and when the database is opened.
    const done = (): void => (this.#emptying = undefined)
    this.#emptying = this.track(this.#emptyAll()).then(done, done)
  }

  async #emptyAll(): Promise<void> {
    for (let goesOn = true; goesOn && this.isOpen;) {
      if (this.lanes !== undefined) goesOn = await this.lanes.long.run<boolean>('emptyTrash', EMPTYING_MS)
      else {
        await nextTurn()
        goesOn = this.isOpen && this.engine.emptyTrash(EMPTYING_HERE_MS)
      }
    }
  }

  /** Makes `close` wait for a task. */
  async track<T>(task: Promise<T>): Promise<T> {
    this.#tasks.add(task)
    try {
      return await task
    } catch (error) {
      throw foreseen(error)
    } finally {
      this.#tasks.delete(task)
    }
  }

  /** See `Database.close`. */
  close(): Promise<void> {
    return (this.#closing ??= this.#close())
  }

  async #close(): Promise<void> {
    isBeingClosed(this.#attachment)
    this.#expiry?.stop()
    this.engine.recordLocks.stopWaiting()
    this.feeds.stop()
    this.host.stopWaiting()
    // What was written under a lock takes effect before the next holder gets it.
    while (!this.#writes.isIdle || this.#tasks.size > 0) {
      await this.#writes.settled()
      await Promise.allSettled(this.#tasks)
    }
    this.engine.recordLocks.close()
    await this.#attachment.close()
  }
}
