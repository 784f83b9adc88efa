// The worker threads of this thread, shared by all the databases that it has open. A thread takes tens of
// milliseconds to start and some megabytes. So it is started when it is first needed, works for one database after
// another, and ends when it has been idle for a while.
//
// A lane (lane.ts) asks for a thread and keeps it, with an engine that is open and warm, until the thread has been
// idle for too long or another lane needs one. The number of threads is limited for each kind of work separately,
// over all databases together, so that no kind ever waits for another.
import type { Kind, Lane, ThreadSource } from './lane.js'
import { WorkerThread } from './thread.js'

/** Threads for each kind of work, over all databases. A database that may have more by its options gets more. */
export const THREADS_OF_A_KIND = 16
/** A thread that has been idle for this long ends. */
const IDLE_MS = 10_000

interface KindState {
  /** Threads that lanes of this kind have, or that are on their way to them. */
  used: number
  /** Idle threads, longest first, and the lanes that have them. */
  readonly idle: Map<WorkerThread, Lane>
  readonly waiting: Lane[]
}

const newKind = (): KindState => ({ used: 0, idle: new Map(), waiting: [] })

export class ThreadPool implements ThreadSource {
  readonly #kinds: Record<Kind, KindState> = {
    writes: newKind(),
    lists: newKind(),
    long: newKind(),
    copies: newKind(),
    doors: newKind(),
  }
  /** Threads that no lane has, longest first. */
  readonly #free: WorkerThread[] = []
  #sweeping: NodeJS.Timeout | undefined
  readonly #newThread: () => WorkerThread
  readonly #idleMs: number

  constructor(newThread: () => WorkerThread = () => new WorkerThread(), idleMs = IDLE_MS) {
    this.#newThread = newThread
    this.#idleMs = idleMs
  }

  /**
   * Brings `lane` one more thread, with `take`, as soon as there is one, or tells it with `failed` why no thread
   * comes.
   */
  request(lane: Lane): void {
    const kind = this.#kinds[lane.kind]
    if (kind.used < Math.max(THREADS_OF_A_KIND, lane.limit + 1)) {
      kind.used++
      this.#provide(lane)
      return
    }
    for (const [thread, holder] of kind.idle) {
      if (holder === lane) continue
      holder.surrender(thread)
      return void this.#handOver(thread, lane)
    }
    kind.waiting.push(lane)
  }

  /** `lane` needs no more threads. True if it was still waiting for one. */
  cancel(lane: Lane): boolean {
    const { waiting } = this.#kinds[lane.kind]
    const at = waiting.indexOf(lane)
    if (at >= 0) waiting.splice(at, 1)
    return at >= 0
  }

  #provide(lane: Lane): void {
    const free = this.#free.pop()
    if (free !== undefined) return lane.take(free)
    let thread: WorkerThread
    try {
      thread = this.#newThread()
    } catch (error) {
      // Not before the lane has requested all the threads that it wants.
      return queueMicrotask(() => this.#failed(lane, error as Error))
    }
    thread.started.then(
      () => {
        thread.unref()
        lane.take(thread)
      },
      (error: Error) => this.#failed(lane, error),
    )
    void thread.gone.then(() => this.#forget(thread))
  }

  #failed(lane: Lane, error: Error): void {
    this.#kinds[lane.kind].used--
    lane.failed(error)
    this.#serveNext(lane.kind)
  }

  /** A thread of `lane` is idle: another lane may get it. */
  idle(lane: Lane, thread: WorkerThread): void {
    const kind = this.#kinds[lane.kind]
    thread.idleSinceMs = performance.now()
    const next = kind.waiting.shift()
    if (next === undefined) {
      kind.idle.set(thread, lane)
      this.#sweepLater()
      return
    }
    lane.surrender(thread)
    void this.#handOver(thread, next)
  }

  /** A thread of `lane` is no longer idle. */
  busy(lane: Lane, thread: WorkerThread): void {
    this.#kinds[lane.kind].idle.delete(thread)
  }

  /** Takes back an idle thread that has released the database of its lane. */
  giveBack(lane: Lane, thread: WorkerThread): void {
    const kind = this.#kinds[lane.kind]
    kind.idle.delete(thread)
    const next = kind.waiting.shift()
    if (next !== undefined) return next.take(thread)
    kind.used--
    if (thread.isGone) return
    thread.idleSinceMs = performance.now()
    this.#free.push(thread)
    this.#sweepLater()
  }

  /** A thread of `lane` has ended. */
  lost(lane: Lane, thread: WorkerThread): void {
    const kind = this.#kinds[lane.kind]
    kind.idle.delete(thread)
    kind.used--
    this.#serveNext(lane.kind)
  }

  async #handOver(thread: WorkerThread, to: Lane): Promise<void> {
    this.#kinds[to.kind].idle.delete(thread)
    // The next lane need not know how the release went. If the thread died, the lane detects that when it uses it.
    await thread.run('release', undefined).catch(() => undefined)
    to.take(thread)
  }

  #serveNext(name: Kind): void {
    const kind = this.#kinds[name]
    const next = kind.waiting.shift()
    if (next !== undefined) this.request(next)
  }

  #forget(thread: WorkerThread): void {
    const at = this.#free.indexOf(thread)
    if (at >= 0) this.#free.splice(at, 1)
  }

  #sweepLater(): void {
    if (this.#sweeping !== undefined) return
    this.#sweeping = setTimeout(() => {
      this.#sweeping = undefined
      this.#sweep(performance.now() - this.#idleMs)
    }, this.#idleMs).unref()
  }

  /** Ends the threads that have been idle since before `limitMs`. */
  #sweep(limitMs: number): void {
    for (const { idle } of Object.values(this.#kinds)) {
      for (const [thread, lane] of idle) {
        if (thread.idleSinceMs > limitMs) break
        lane.surrender(thread)
        this.lost(lane, thread)
        void thread.end()
      }
    }
    while (this.#free.length > 0 && this.#free[0]!.idleSinceMs <= limitMs) void this.#free.shift()!.end()
    if (this.#free.length > 0 || Object.values(this.#kinds).some(({ idle }) => idle.size > 0)) this.#sweepLater()
  }
}

/** The pool of this thread. */
export const threadPool = new ThreadPool()
