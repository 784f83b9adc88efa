// A worker thread, as seen from the thread that started it. It runs one task at a time, and ends by itself.
//
// It is never terminated: if an add-on is just being loaded, or V8 is in the wrong place, that can abort the process.
// Instead it is told to end, even if it is still loading.
import { Worker } from 'node:worker_threads'
import type { ErrorMessage } from './error-transport.js'

/** A result or an error, in a form that can be sent between threads. */
export type Outcome<T> = { readonly ok: T } | { readonly error: ErrorMessage }

/** Words that the thread shares with its starter. */
export const SIGNAL = {
  /** Messages posted to the thread: it waits for this to change. */
  POSTED: 0,
  /** 1 while a task may have started to write to the log. */
  HAS_BEGUN: 1,
  WORDS: 2,
} as const

/** What a thread is given when it starts. */
export interface ThreadData {
  readonly signal: SharedArrayBuffer
}

/** The first message of the thread. */
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
  /** Resolves when it has ended, for whatever reason. */
  readonly gone: Promise<void>
  /** By `performance.now()`; the pool sets and reads it. */
  idleSinceMs = 0

  /** Throws the error of the system if no thread can be started. */
  constructor() {
    const data: ThreadData = { signal: this.#signal.buffer as SharedArrayBuffer }
    this.#worker = new Worker(new URL('./worker.js', import.meta.url), {
      name: 'mmapdb',
      workerData: data,
      // The flags of the user's program are not meant for this thread, and with some it could not start
      // (--input-type).
      execArgv: [],
    })
    let started: () => void
    let failed: (error: Error) => void
    this.started = new Promise((resolve, reject) => {
      started = resolve
      failed = reject
    })
    // A caller that awaits it sees the error; without one, it must not count as unhandled.
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
   * Has an idle thread run a task; the process stays alive meanwhile. `data`: the database that it works for from
   * now on. Rejects with `ThreadGoneError`.
   */
  run<T>(name: string, task: unknown, transfer: readonly ArrayBuffer[] = [], data?: unknown): Promise<Outcome<T>> {
    if (this.#isGone) return Promise.reject(this.#goneError('it has ended'))
    Atomics.store(this.#signal, SIGNAL.HAS_BEGUN, 0)
    return new Promise((resolve, reject) => {
      // First, since this throws if the task cannot be sent.
      this.#post({ name, task, data }, transfer)
      this.#task = { resolve: resolve as never, reject }
      this.#worker.ref()
    })
  }

  /** Ends an idle thread, which detaches from its database. Does not keep the process alive. */
  end(): Promise<void> {
    this.#worker.unref()
    if (!this.#isGone) this.#post({ name: END })
    return this.gone
  }

  /** The process may end while this thread is idle. */
  unref(): void {
    this.#worker.unref()
  }

  #post(message: { name: string; task?: unknown; data?: unknown }, transfer: readonly ArrayBuffer[] = []): void {
    this.#worker.postMessage(message, transfer)
    Atomics.add(this.#signal, SIGNAL.POSTED, 1)
    Atomics.notify(this.#signal, SIGNAL.POSTED)
  }
}
