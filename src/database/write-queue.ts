// Asynchronous writes on their way into the log. A write is encoded by the time its call returns. Writes made
// before the next microtask checkpoint share a frame. At most as many frames are under way as there are workers, and
// at most `maxInFlightBytes`. Beyond that, further writes gather in frames that wait, in their
// order: so the more is written at once, the fewer flushes each write costs. A frame that has waited for longer
// than the time limit is given up, and nothing of it is written.
import type { FailedWrites } from '../engine/commit/append-writes.js'
import { TOOK_EFFECT, type WriteResult } from '../engine/commit/results.js'
import { LockedError } from '../errors.js'
import { nextTicket, passTicket } from '../workers/append-order.js'
import { WaitWatch } from '../workers/wait-watch.js'
import { FrameBuilder } from '../wal/frame-builder.js'
import { Soon } from '../soon.js'

/** No write is added to a frame if the frame would become longer than this. */
const MAX_SHARED_BYTES = 4 * 1024 * 1024
/** `maxInFlightBytes` has room for at least this many frames of shared writes. */
const MIN_FRAMES_IN_FLIGHT = 4

/** Builders are kept for later writes unless they have grown beyond this. */
const MAX_KEPT_BYTES = 64 * 1024
const MAX_KEPT = 4

/** A frame to be committed, in a buffer of its own. */
export interface Frame {
  readonly bytes: Buffer
  /** Its place in the order of the log. */
  readonly ticket: number
}

export interface Committed {
  readonly checkpointWanted: boolean
  /** All other writes of the frame are on disk and visible. */
  readonly failed: readonly FailedWrites[]
  /** By the number of the write; where there is none, it took effect. */
  readonly results: readonly WriteResult[]
}

interface WriteQueueOptions {
  /** Bytes under way at a time; one longer frame is let through alone. */
  readonly maxInFlightBytes: number
  /** Frames under way at a time. */
  readonly maxFrames: number
  /** How long a write may wait for earlier ones. */
  readonly timeoutMs: number
  /** The ticket whose turn it is: see worker.ts. */
  readonly order: Int32Array
  /** Commits a frame. Rejects if all of it failed. */
  readonly commit: (frame: Frame) => Promise<Committed>
  /** Called after each frame, when its writes are settled. */
  readonly onCheckpointWanted: () => void
}

/** Whom the result of a write is told, and what is made of it before. */
interface Settle {
  readonly resolve: (answer: unknown) => void
  readonly answer: (result: WriteResult) => unknown
  readonly reject: (error: Error) => void
}

interface Pending {
  readonly builder: FrameBuilder
  readonly settle: Settle[]
  /** When its first write was queued, by `performance.now()`. */
  readonly sinceMs: number
}

export class WriteQueue {
  readonly #options: WriteQueueOptions
  readonly #sharedBytes: number
  readonly #kept: FrameBuilder[] = []
  /** Frames that take no more writes, and the frame that the next write is added to. */
  readonly #full: Pending[] = []
  #pending: Pending | undefined
  readonly #sending = new Soon(() => this.#send())
  readonly #watch: WaitWatch

  readonly #inFlight = new Set<Promise<void>>()
  #bytesInFlight = 0
  #nextTicket = 0
  readonly #lostTickets = new Set<number>()

  constructor(options: WriteQueueOptions) {
    this.#options = options
    this.#watch = new WaitWatch(options.timeoutMs, (sinceMs) => this.#expire(sinceMs))
    this.#sharedBytes = Math.min(MAX_SHARED_BYTES, options.maxInFlightBytes / MIN_FRAMES_IN_FLIGHT)
  }

  /**
   * Adds a write, which `encode` puts into a frame of its own. That may run the user's code, which may write,
   * too: such a write comes first. Throws what `encode` throws, and nothing has been added then. Resolves to what
   * `answer` makes of the result.
   */
  add<T>(encode: (frame: FrameBuilder) => void, answer: (result: WriteResult) => T): Promise<T> {
    return new Promise<unknown>((resolve, reject) => {
      const write = this.#kept.pop() ?? new FrameBuilder()
      encode(write)
      if (write.opCount === 0) resolve(answer(TOOK_EFFECT))
      else if (this.#place(write, { resolve, answer, reject })) return
      this.#keep(write)
    }) as Promise<T>
  }

  #keep(builder: FrameBuilder): void {
    if (builder.lengthBytes > MAX_KEPT_BYTES || this.#kept.length >= MAX_KEPT) return
    builder.reset()
    this.#kept.push(builder)
  }

  /** True if the builder of `write` has become the frame that further writes are added to. */
  #place(write: FrameBuilder, settle: Settle): boolean {
    // First: if the stack is used up, it is this that throws, and nothing of the write may stay.
    this.#sending.ask()
    const before = this.#pending?.builder
    if (before !== undefined && !this.#mayShare(before, write)) {
      this.#full.push(this.#pending!)
      this.#pending = undefined
    }
    const isFirst = this.#pending === undefined
    const pending = (this.#pending ??= { builder: write, settle: [], sinceMs: performance.now() })
    if (!isFirst) pending.builder.append(write)
    pending.settle.push(settle)
    return isFirst
  }

  /** The drop of a store has a frame of its own: by the frames before it the appender tells what comes too late. */
  #mayShare(before: FrameBuilder, write: FrameBuilder): boolean {
    if (before.isDropping || write.isDropping) return false
    return before.lengthBytes + write.lengthBytes <= this.#sharedBytes
  }

  /** Starts to commit all frames, whatever is under way: a synchronous write is to come after them. */
  sendAll(): void {
    if (this.#pending !== undefined || this.#full.length > 0) this.#send(true)
  }

  /** Starts to commit as many frames as may be under way. */
  #send(isForAll = false): void {
    const { maxFrames, maxInFlightBytes } = this.#options
    for (;;) {
      const next = this.#full[0] ?? this.#pending
      if (next === undefined) return
      const isTooMuch = this.#inFlight.size > 0 && this.#bytesInFlight + next.builder.lengthBytes > maxInFlightBytes
      if (!isForAll && (isTooMuch || this.#inFlight.size >= maxFrames)) return this.#watch.begin()
      if (this.#full.shift() === undefined) this.#pending = undefined
      const task = this.#commit(next).finally(() => {
        this.#inFlight.delete(task)
        this.#send()
      })
      this.#inFlight.add(task)
    }
  }

  async #commit({ builder, settle }: Pending): Promise<void> {
    const bytes = builder.frame()
    const lengthBytes = bytes.length
    const ticket = this.#nextTicket
    this.#nextTicket = nextTicket(ticket)
    this.#bytesInFlight += lengthBytes
    let checkpointWanted = false
    try {
      const committed = await this.#options.commit({ bytes, ticket })
      checkpointWanted = committed.checkpointWanted
      settleAll(settle, committed.failed, committed.results)
      // The memory is not there any more if it was given to a worker.
      if (bytes.length > 0) this.#keep(builder)
    } catch (error) {
      settleAll(settle, [{ first: 0, count: settle.length, error: error as Error }], [])
      // If its worker died before its turn, the other frames must not wait for it.
      this.#lostTickets.add(ticket)
    }
    this.#bytesInFlight -= lengthBytes
    this.#passLost()
    if (checkpointWanted) this.#options.onCheckpointWanted()
  }

  /** Tickets may have been lost in any order, and passing one may make it the turn of another. */
  #passLost(): void {
    for (let before = -1; before !== this.#lostTickets.size;) {
      before = this.#lostTickets.size
      for (const lost of this.#lostTickets) if (passTicket(this.#options.order, lost)) this.#lostTickets.delete(lost)
    }
  }

  /** Gives up the frames whose first write waits since `sinceMs` or for longer; true if others wait. */
  #expire(sinceMs: number): boolean {
    // So that no recent write is given up together with one that has waited for much longer.
    if (this.#pending !== undefined) this.#full.push(this.#pending)
    this.#pending = undefined
    while (this.#full.length > 0 && this.#full[0]!.sinceMs <= sinceMs) {
      const { settle } = this.#full.shift()!
      const error = new LockedError(
        `This write waited ${this.#watch.timeoutMs} ms for earlier writes. Nothing of it was written. Try again later, or allow ` +
          'more time with timeoutMs.',
      )
      settleAll(settle, [{ first: 0, count: settle.length, error }], [])
    }
    return this.#full.length > 0
  }

  get isIdle(): boolean {
    return this.#pending === undefined && this.#full.length === 0 && this.#inFlight.size === 0
  }

  /** Resolves once every write is settled. */
  async settled(): Promise<void> {
    while (!this.isIdle) {
      this.#send()
      await Promise.all(this.#inFlight)
    }
  }
}

function settleAll(settle: readonly Settle[], failed: readonly FailedWrites[], results: readonly WriteResult[]): void {
  for (const { first, count, error } of failed) for (let i = 0; i < count; i++) settle[first + i]!.reject(error)
  // This has no effect on those that have been rejected.
  settle.forEach(({ resolve, answer }, i) => resolve(answer(results[i] ?? TOOK_EFFECT)))
}
