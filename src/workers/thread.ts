// A worker thread, as seen from the thread that started it: one task at a time, and an end of its own.
//
// It is never terminated: an add-on that is being loaded, or V8, may take that amiss and abort the process. It
// ends by itself when it is told to, and a thread that is still loading is told the same.
import { Worker } from 'node:worker_threads'
import type { ErrorMessage } from './error-transport.js'

/** A result or an error, in a form that survives the way between threads. */
export type Outcome<T> = { readonly ok: T } | { readonly error: ErrorMessage }

/** Words that the thread shares with its starter. */
export const SIGNAL = {
  /** Messages posted to the thread: it waits for this to change. */
  POSTED: 0,
  /** 1 while a task may have begun to write to the log. */
  HAS_BEGUN: 1,
  WORDS: 2,
} as const

/** What a thread is started with. */
export interface ThreadData {
  readonly signal: SharedArrayBuffer
}

/** What the thread says first. */
export const STARTED = 'started'
/** The message that ends it. */
export const END = 'end'

/** The thread ended before its task was done. `hasBegun`: the task may have written to the log. */
export class ThreadGoneError extends Error {
  constructor(
    readonly hasBegun: boolean,
    cause: unknown,
  ) {
    super(cause instanceof Error ? cause.message : String(cause), { cause })
  }
}

export class WorkerThread {
  readonly #worker: Worker
  readonly #signal = new Int32Array(new SharedArrayBuffer(SIGNAL.WORDS * Int32Array.BYTES_PER_ELEMENT))
  #task: { resolve: (outcome: Outcome<never>) => void; reject: (error: Error) => void } | undefined
  #error: unknown
  #isGone = false
  /** Resolves when the thread can take tasks; rejects if it ends before. */
  readonly started: Promise<void>
  /** Resolves when it has ended, however that came about. */
  readonly gone: Promise<void>
  /** By `performance.now()`; for whoever looks after idle threads. */
  idleSinceMs = 0

  /** Throws what the system gives as the reason why there can be no further thread. */
  constructor() {
    const data: ThreadData = { signal: this.#signal.buffer as SharedArrayBuffer }
    this.#worker = new Worker(new URL('./worker.js', import.meta.url), {
      name: 'mmapdb',
      workerData: data,
      // The flags of the user's program are not meant for this one, and some would not let it start (--input-type).
      execArgv: [],
    })
    let started: () => void
    let failed: (error: Error) => void
    this.started = new Promise((resolve, reject) => {
      started = resolve
      failed = reject
    })
    // Whoever waits for it hears of it; nobody else need.
    this.started.catch(() => undefined)
    this.#worker.on('message', (message: typeof STARTED | Outcome<never>) => {
      if (message === STARTED) return started()
      const task = this.#task
      this.#task = undefined
      this.#worker.unref()
      task?.resolve(message)
    })
    this.#worker.on('error', (error) => (this.#error = error))
    this.gone = new Promise((resolve) =>
      this.#worker.on('exit', (code) => {
        this.#isGone = true
        const error = this.#goneError(`it ended with code ${code}`)
        failed(error)
        this.#task?.reject(error)
        this.#task = undefined
        resolve()
      }),
    )
  }

  get isGone(): boolean {
    return this.#isGone
  }

  #goneError(why: string): ThreadGoneError {
    return new ThreadGoneError(Atomics.load(this.#signal, SIGNAL.HAS_BEGUN) === 1, this.#error ?? why)
  }

  /**
   * Has an idle thread do something; the process stays alive meanwhile. `data`: of the database that it works for from
   * now on. Rejects with `ThreadGoneError`.
   */
  run<T>(name: string, task: unknown, transfer: readonly ArrayBuffer[] = [], data?: unknown): Promise<Outcome<T>> {
    if (this.#isGone) return Promise.reject(this.#goneError('it has ended'))
    Atomics.store(this.#signal, SIGNAL.HAS_BEGUN, 0)
    return new Promise((resolve, reject) => {
      // First, since what cannot be sent throws here.
      this.#post({ name, task, data }, transfer)
      this.#task = { resolve: resolve as never, reject }
      this.#worker.ref()
    })
  }

  /** Lets an idle thread go, with the engine that it has open. Does not keep the process alive. */
  end(): Promise<void> {
    this.#worker.unref()
    if (!this.#isGone) this.#post({ name: END })
    return this.gone
  }

  /** The process may end while this thread has nothing to do. */
  unref(): void {
    this.#worker.unref()
  }

  #post(message: { name: string; task?: unknown; data?: unknown }, transfer: readonly ArrayBuffer[] = []): void {
    this.#worker.postMessage(message, transfer)
    Atomics.add(this.#signal, SIGNAL.POSTED, 1)
    Atomics.notify(this.#signal, SIGNAL.POSTED)
  }
}
