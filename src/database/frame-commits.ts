// How the frames of one Database are committed, in their order. A frame is appended by the thread of the user, where
// that is done at once: so its place in the log is that of the call, also among synchronous writes. If there is little
// to apply, it is also finished here: a thread of the addon flushes it, and it is applied in a fraction of a
// millisecond. Else a worker does that. What cannot be appended at once (the file must grow, another process appends,
// a checkpoint is due) is appended by a worker, too; the frames after it wait for that (worker.ts).
import type { BegunWrites } from '../engine/commit-path.js'
import type { Engine } from '../engine/engine.js'
import { LockedError } from '../errors.js'
import { hasPassed, passTicket } from '../workers/append-order.js'
import type { Lanes } from '../workers/attachment.js'
import { fromErrorMessage } from '../workers/error-transport.js'
import { AllBusyError, NoThreadError } from '../workers/lane.js'
import type { CommitReport, CommitTask } from '../workers/worker.js'
import { fairTurn } from './turns.js'
import type { Committed, Frame } from './write-queue.js'

/** Longer frames are for workers: copying one of this length takes a millisecond. */
const MOST_BYTES = 1024 * 1024
/** How long a synchronous write sleeps before it looks again. */
const LOOK_AGAIN_MS = 100

interface CommitsParts {
  readonly engine: Engine
  readonly lanes: Lanes | undefined
  /** The ticket whose turn it is: see worker.ts. */
  readonly order: Int32Array
  readonly timeoutMs: number
}

/** A frame that a worker is to append. */
interface Waiting {
  readonly task: CommitTask
  /** Appends it here instead. */
  readonly takeBack: () => BegunWrites
}

export class FrameCommits {
  readonly #parts: CommitsParts
  /** By their tickets, in their order; some may be in the log already. */
  readonly #waiting = new Map<number, Waiting>()

  constructor(parts: CommitsParts) {
    this.#parts = parts
  }

  /** Commits a frame. Rejects if all of it failed. */
  async commit(frame: Frame): Promise<Committed> {
    const { lanes } = this.#parts
    if (lanes === undefined) {
      const committed = this.#finished(this.#begin(frame))
      await fairTurn()
      return committed
    }
    const begun = this.#beginSoon(frame)
    return begun === undefined ? this.#commitThere(lanes, frame) : this.#finish(lanes, begun)
  }

  /**
   * Returns once all frames that were to be committed are in the log, or will never be: a synchronous write comes after
   * them. Throws `LockedError` if a worker does not append one in time.
   */
  appendAll(): void {
    if (this.#waiting.size === 0) return
    const { engine, order, timeoutMs, lanes } = this.#parts
    // A thread that can no longer write leaves them to workers, and is about to be told so.
    if (!engine.parts.committer.isFit) return
    const untilMs = performance.now() + timeoutMs
    for (const [ticket, { task, takeBack }] of this.#waiting) {
      if (lanes!.writes.withdraw(task)) {
        // If the append lock was not to be had for this one, the others need not wait for it once more each.
        if (takeBack().refused.some(({ error }) => error instanceof LockedError)) throw notInLog(timeoutMs)
        continue
      }
      for (let now; !hasPassed((now = Atomics.load(order, 0)), ticket);) {
        if (performance.now() > untilMs) throw notInLog(timeoutMs)
        Atomics.wait(order, 0, now, LOOK_AGAIN_MS)
      }
    }
  }

  #begin({ bytes, ticket }: Frame): BegunWrites {
    const { engine, order } = this.#parts
    try {
      engine.commits.prepare(bytes)
      return engine.commits.beginWrites(bytes)
    } finally {
      passTicket(order, ticket)
    }
  }

  #beginSoon({ bytes, ticket }: Frame): BegunWrites | undefined {
    const { engine, order } = this.#parts
    if (bytes.length > MOST_BYTES || Atomics.load(order, 0) !== ticket) return undefined
    const begun = engine.commits.beginWritesSoon(bytes)
    if (begun !== undefined) passTicket(order, ticket)
    return begun
  }

  /** Finishes it without holding up the event loop. */
  async #finish({ writes }: Lanes, begun: BegunWrites): Promise<Committed> {
    const end = begun.parts.at(-1)?.end
    let failure: Error | undefined
    if (end !== undefined && !(await this.#parts.engine.apart.bring(end))) {
      try {
        await writes.run('catchUp', end)
      } catch (error) {
        failure = this.#whyNotVisible(error as Error)
      }
    }
    return this.#finished(begun, failure)
  }

  /**
   * Why a worker did not bring it into the tree. Undefined if no worker was there at all: then this thread does it,
   * even if that holds up its event loop.
   */
  #whyNotVisible(error: Error): Error | undefined {
    if (error instanceof NoThreadError) return undefined
    if (!(error instanceof AllBusyError)) return error
    return new LockedError(
      `What is in the log did not become visible within ${this.#parts.timeoutMs} ms: all worker threads are busy.`,
    )
  }

  #finished(begun: BegunWrites, failure?: Error): Committed {
    const { engine } = this.#parts
    const finished = engine.commits.finishWrites(begun, failure)
    return { checkpointWanted: engine.checkpointWanted, ...finished }
  }

  async #commitThere(lanes: Lanes, frame: Frame): Promise<Committed> {
    const { bytes, ticket } = frame
    const buffer = bytes.buffer as ArrayBuffer
    const task: CommitTask = { buffer, lengthBytes: bytes.length, ticket }
    try {
      return await new Promise<Committed>((resolve, reject) => {
        const takeBack = (): BegunWrites => {
          try {
            const begun = this.#begin(frame)
            resolve(this.#finish(lanes, begun))
            return begun
          } catch (error) {
            reject(error as Error)
            throw error
          }
        }
        this.#waiting.set(ticket, { task, takeBack })
        lanes.writes.run<CommitReport>('commit', task, [buffer]).then((report) => resolve(received(report)), reject)
      })
    } finally {
      this.#waiting.delete(ticket)
    }
  }
}

const received = ({ checkpointWanted, failed, results }: CommitReport): Committed => ({
  checkpointWanted,
  results,
  failed: failed.map(({ first, count, error }) => ({ first, count, error: fromErrorMessage(error) })),
})

const notInLog = (timeoutMs: number): LockedError =>
  new LockedError(
    `An earlier write of this Database did not get into the log within ${timeoutMs} ms. Nothing of this one was ` +
      'written. Try again later, or allow more time with timeoutMs.',
  )
