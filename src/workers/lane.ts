// A lane is a queue for one kind of work on one database, with worker threads of its own. So short work never
// waits for long work of another kind: writes do not wait for verification, nor lists of keys for a checkpoint.
import { IoError, LockedError, OutcomeUnknownError } from '../errors.js'
import { ThreadGoneError, type Outcome, type WorkerThread } from './thread.js'
import { WaitWatch } from './wait-watch.js'
import type { WorkData } from './worker.js'
import { fromErrorMessage } from './error-transport.js'

/** No thread did a task: none could be started, or it ended before it had begun to write. */
export class NoThreadError extends IoError {}

/** No thread was free for a task in time. */
export class AllBusyError extends LockedError {}

interface Task {
  readonly name: string
  readonly task: unknown
  readonly transfer: readonly ArrayBuffer[]
  /** It does not count towards the limit of tasks that run at a time, nor wait for them. */
  readonly isUrgent: boolean
  /** When it was queued, by `performance.now()`. */
  readonly sinceMs: number
  readonly resolve: (value: never) => void
  readonly reject: (error: Error) => void
}

/** Kinds of work. `doors`: opening and closing databases. `copies`: backups, and what else takes hours. */
export type Kind = 'writes' | 'lists' | 'long' | 'copies' | 'doors'

/** Where a lane gets its threads: see thread-pool.ts. */
export interface ThreadSource {
  request(lane: Lane): void
  cancel(lane: Lane): boolean
  idle(lane: Lane, thread: WorkerThread): void
  busy(lane: Lane, thread: WorkerThread): void
  giveBack(lane: Lane, thread: WorkerThread): void
  lost(lane: Lane, thread: WorkerThread): void
}

export class Lane {
  readonly kind: Kind
  /** Tasks that run at a time. */
  readonly limit: number
  readonly #pool: ThreadSource
  readonly #data: WorkData
  readonly #queue: Task[] = []
  /** Threads of this lane: those that run tasks, and those that are idle. */
  readonly #busy = new Set<WorkerThread>()
  readonly #idle: WorkerThread[] = []
  #requested = 0
  readonly #watch: WaitWatch
  /** Threads that have the database of this lane open. */
  readonly #bound = new WeakSet<WorkerThread>()
  #isClosed = false

  constructor(pool: ThreadSource, kind: Kind, limit: number, data: WorkData) {
    this.#pool = pool
    this.kind = kind
    this.limit = limit
    this.#data = data
    this.#watch = new WaitWatch(data.options.timeoutMs, (sinceMs) => this.#expire(sinceMs))
  }

  /**
   * Has a thread run a task, in turn. Rejects with what the task throws. Rejects with `LockedError` if no thread was
   * free within the time limit (opening and closing have no limit); nothing has been done then. Rejects with
   * `IoError` if no thread can be started or the thread ended on the way, and with `OutcomeUnknownError` if it was
   * writing then.
   */
  run<T>(name: string, task: unknown = undefined, transfer: readonly ArrayBuffer[] = [], isUrgent = false): Promise<T> {
    return new Promise((resolve, reject) => {
      const entry: Task = { name, task, transfer, isUrgent, sinceMs: performance.now(), resolve, reject }
      if (isUrgent) this.#queue.unshift(entry)
      else this.#queue.push(entry)
      this.#dispatch()
    })
  }

  /** Takes back a task that no thread has begun; its promise is never settled. False if there is no such task. */
  withdraw(task: unknown): boolean {
    const at = this.#queue.findIndex((entry) => entry.task === task)
    if (at >= 0) this.#queue.splice(at, 1)
    return at >= 0
  }

  #dispatch(): void {
    while (this.#queue.length > 0) {
      const limit = this.limit + (this.#queue[0]!.isUrgent ? 1 : 0)
      if (this.#busy.size >= limit) break
      const thread = this.#idle.pop()
      if (thread === undefined) {
        const wanted = Math.min(limit - this.#busy.size, this.#queue.length)
        // The pool may bring a thread at once.
        if (this.#requested >= wanted) break
        this.#requested++
        this.#pool.request(this)
        continue
      }
      this.#pool.busy(this, thread)
      if (thread.isGone) this.#pool.lost(this, thread)
      else void this.#perform(thread, this.#queue.shift()!)
    }
    if (this.#queue.length > 0 && this.kind !== 'doors') this.#watch.begin()
  }

  async #perform(thread: WorkerThread, { name, task, transfer, resolve, reject }: Task): Promise<void> {
    this.#busy.add(thread)
    const data = this.#bound.has(thread) ? undefined : this.#data
    this.#bound.add(thread)
    try {
      const outcome: Outcome<never> = await thread.run(name, task, transfer, data)
      if ('error' in outcome) reject(fromErrorMessage(outcome.error))
      else resolve(outcome.ok)
    } catch (error) {
      reject(error instanceof ThreadGoneError ? goneError(error) : (error as Error))
    }
    this.#busy.delete(thread)
    this.#settle(thread)
  }

  /** Decides what an idle thread does next. */
  #settle(thread: WorkerThread): void {
    if (thread.isGone) {
      this.#pool.lost(this, thread)
      return this.#dispatch()
    }
    this.#idle.push(thread)
    this.#dispatch()
    // Between opening and closing, a thread at the door keeps the database open: no other lane may take it.
    if (this.kind !== 'doors' && this.#idle.includes(thread)) this.#pool.idle(this, thread)
  }

  /** The pool brings a thread that was asked for. */
  take(thread: WorkerThread): void {
    this.#requested--
    if (this.#isClosed || this.#queue.length === 0) return this.#pool.giveBack(this, thread)
    this.#settle(thread)
  }

  /** The pool cannot start a thread. */
  failed(cause: Error): void {
    this.#requested--
    // The threads that this lane has will run the tasks, only later.
    if (this.#busy.size + this.#idle.length + this.#requested > 0) return
    const error = new NoThreadError(
      `A worker thread could not be started (${cause.message}). ${whyNoThread()}, or open the database with { workers: 0 }, ` +
        'which needs no thread. Nothing was written.',
      { cause },
    )
    for (const task of this.#queue.splice(0)) task.reject(error)
  }

  /** Gives up an idle thread, which the pool takes back. */
  surrender(thread: WorkerThread): void {
    const at = this.#idle.indexOf(thread)
    if (at >= 0) this.#idle.splice(at, 1)
    this.#bound.delete(thread)
  }

  /**
   * Has all threads release the database, waits for that, and gives them back. No tasks may be under
   * way.
   */
  async close(): Promise<void> {
    this.#isClosed = true
    while (this.#pool.cancel(this)) this.#requested--
    await Promise.all(this.#idle.splice(0).map((thread) => this.#release(thread)))
  }

  async #release(thread: WorkerThread): Promise<void> {
    this.#pool.busy(this, thread)
    // A thread that dies has released it, too.
    await thread.run('release', undefined).catch(() => undefined)
    this.#pool.giveBack(this, thread)
  }

  /** Gives up the tasks that have waited since `sinceMs` or for longer; true if others wait. */
  #expire(sinceMs: number): boolean {
    for (const task of this.#queue.filter((one) => one.sinceMs <= sinceMs)) {
      this.#queue.splice(this.#queue.indexOf(task), 1)
      task.reject(
        new AllBusyError(
          `No worker thread became free within ${this.#watch.timeoutMs} ms: all are busy. Nothing was written. Try again ` +
            'later, allow more time with timeoutMs, or more threads with workers.',
        ),
      )
    }
    return this.#queue.length > 0
  }
}

function goneError(gone: ThreadGoneError): Error {
  const what = `A worker thread ended before it had finished (${gone.message}).`
  return gone.hasBegun
    ? new OutcomeUnknownError(`${what} The write may still take effect: read it back, or write it again.`, undefined, {
        cause: gone,
      })
    : new NoThreadError(`${what} Nothing was written; try again.`, { cause: gone })
}

function whyNoThread(): string {
  try {
    process.cwd()
    return 'Threads, memory or open files are limited (ulimit -u, ulimit -v, ulimit -n, a container): allow more'
  } catch {
    return 'The working directory has been removed, and Node.js cannot start a thread without one: change to another with process.chdir()'
  }
}
