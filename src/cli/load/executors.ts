// Does the work of a load: worker threads in this process, or several processes with worker threads each.
// Work goes to lanes, one per thread; a caller gives a lane one task at a time.
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { Piscina } from 'piscina'
import { ProcessError } from '../shared/failure.js'
import {
  SHARED,
  type CheckResult,
  type CompareResult,
  type FrameResult,
  type FrameTask,
  type LoadPlan,
  type Part,
  type PartResult,
  type WorkerData,
} from './plan.js'
import { BIN } from '../../package-root.js'
import { fromErrorMessage, toErrorMessage, type ErrorMessage } from '../../workers/error-transport.js'

/** Writes for a load. */
export interface Executor {
  readonly lanes: number
  /** Resolves when every thread has the database open. */
  ready(): Promise<void>
  write(lane: number, part: Part): Promise<PartResult>
  commit(lane: number, task: FrameTask): Promise<FrameResult>
  /** Operations acknowledged so far. */
  operations(): number
  /** Lets every thread finish its current commit and start no other. */
  stop(): void
  close(): Promise<void>
}

/** Threads of this process. */
export class ThreadExecutor implements Executor {
  readonly lanes: number
  readonly #pool: Piscina
  readonly #words: Int32Array
  #keeper: Promise<unknown> | undefined

  /** `startThreads`: false to start each only when there is work for it. */
  constructor(plan: LoadPlan, options: { keepCheckpointing: boolean; startThreads: boolean }) {
    this.lanes = plan.threads
    const shared = new SharedArrayBuffer(SHARED.WORDS * 4)
    this.#words = new Int32Array(shared)
    const threads = plan.threads + (options.keepCheckpointing ? 1 : 0)
    this.#pool = new Piscina({
      filename: new URL('./worker-task.js', import.meta.url).href,
      workerData: { plan, shared } satisfies WorkerData,
      minThreads: options.startThreads ? threads : 1,
      maxThreads: threads,
      idleTimeout: Number.POSITIVE_INFINITY,
    })
    if (options.keepCheckpointing) this.#keeper = this.#pool.run({}, { name: 'keepCheckpointing' })
  }

  async ready(): Promise<void> {
    const outcomes = await Promise.all(
      Array.from({ length: this.lanes }, () => this.#run<{ error?: ErrorMessage }>('ready', {})),
    )
    for (const { error } of outcomes) if (error) throw fromErrorMessage(error)
  }

  write(_lane: number, part: Part): Promise<PartResult> {
    return this.#run('write', part)
  }

  commit(_lane: number, task: FrameTask): Promise<FrameResult> {
    return this.#run('commit', task, [task.frame.buffer as ArrayBuffer])
  }

  check(part: Part): Promise<CheckResult> {
    return this.#run('check', part)
  }

  compare(frame: Uint8Array, wantSame: boolean): Promise<CompareResult> {
    return this.#run('compare', { frame, wantSame }, [frame.buffer as ArrayBuffer])
  }

  operations(): number {
    return Atomics.load(this.#words, SHARED.OPERATIONS)
  }
  checked(): number {
    return Atomics.load(this.#words, SHARED.CHECKED)
  }

  stop(): void {
    Atomics.store(this.#words, SHARED.STOP, 1)
    Atomics.notify(this.#words, SHARED.STOP)
  }

  async close(): Promise<void> {
    this.stop()
    await this.#keeper
    await this.#pool.destroy()
  }

  #run<T>(name: string, task: unknown, transferList: ArrayBuffer[] = []): Promise<T> {
    return this.#pool.run(task, { name, transferList: transferList as never }) as Promise<T>
  }
}

// ---- processes ---------------------------------------------------------------------------------

type Method = 'plan' | 'ready' | 'write' | 'commit' | 'stop'

interface Request {
  readonly id: number
  readonly method: Method
  readonly lane: number
  readonly argument: unknown
}

type Reply =
  | { readonly id: number; readonly ok: unknown }
  | { readonly id: number; readonly error: ErrorMessage }
  | { readonly operations: number }

/** A process with worker threads, seen from the process that started it. */
class Helper {
  readonly #child: ChildProcess
  readonly #waiting = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>()
  #nextId = 1
  #gone: ProcessError | undefined
  operations = 0

  constructor(name: string, plan: LoadPlan) {
    this.#child = fork(BIN, ['load', '--helper'], { serialization: 'advanced' })
    this.#child.on('message', (reply: Reply) => this.#hear(reply))
    this.#child.on('error', (error) => this.#end(new ProcessError(`${name} could not be started: ${error.message}.`)))
    this.#child.on('exit', (code, signal) => {
      const how = signal ? `was killed by ${signal}` : `ended with exit code ${code}`
      this.#end(
        new ProcessError(
          `${name} (pid ${this.#child.pid}) ${how} before it was done. The writes that it had acknowledged are kept.`,
        ),
      )
    })
    void this.call('plan', 0, plan).catch(() => undefined)
  }

  call<T>(method: Method, lane: number, argument: unknown): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#gone) {
        reject(this.#gone)
        return
      }
      const id = this.#nextId++
      this.#waiting.set(id, { resolve: resolve as (value: never) => void, reject })
      // If the process is gone, its `exit` event rejects this call.
      this.#child.send({ id, method, lane, argument } satisfies Request, () => undefined)
    })
  }

  #hear(reply: Reply): void {
    if ('operations' in reply) {
      this.operations = reply.operations
      return
    }
    const waiting = this.#waiting.get(reply.id)
    this.#waiting.delete(reply.id)
    if ('error' in reply) waiting?.reject(fromErrorMessage(reply.error))
    else waiting?.resolve(reply.ok as never)
  }

  #end(why: ProcessError): void {
    this.#gone ??= why
    for (const { reject } of this.#waiting.values()) reject(why)
    this.#waiting.clear()
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    if (this.#child.connected) this.#child.disconnect()
    await once(this.#child, 'exit')
  }
}

/** Several processes, each with as many threads as the plan says. */
export class ProcessExecutor implements Executor {
  readonly lanes: number
  readonly #helpers: Helper[]
  readonly #threads: number

  constructor(plan: LoadPlan, processes: number) {
    this.#threads = plan.threads
    this.lanes = processes * plan.threads
    this.#helpers = Array.from({ length: processes }, (_, n) => new Helper(`Process ${n + 1} of ${processes}`, plan))
  }

  async ready(): Promise<void> {
    await Promise.all(this.#helpers.map((helper) => helper.call('ready', 0, undefined)))
  }
  write(lane: number, part: Part): Promise<PartResult> {
    return this.#helper(lane).call('write', lane % this.#threads, part)
  }
  commit(lane: number, task: FrameTask): Promise<FrameResult> {
    return this.#helper(lane).call('commit', lane % this.#threads, task)
  }
  operations(): number {
    return this.#helpers.reduce((sum, helper) => sum + helper.operations, 0)
  }
  stop(): void {
    for (const helper of this.#helpers) void helper.call('stop', 0, undefined).catch(() => undefined)
  }
  async close(): Promise<void> {
    await Promise.all(this.#helpers.map((helper) => helper.close()))
  }

  #helper(lane: number): Helper {
    return this.#helpers[Math.floor(lane / this.#threads)]!
  }
}

const PROGRESS_INTERVAL_MS = 100

/** Runs in such a process: carries out requests until the other end of the channel is gone. */
export async function helpOut(): Promise<void> {
  let threads: ThreadExecutor | undefined
  // Ctrl-C reaches every process of the terminal; the process that the user started decides.
  process.on('SIGINT', () => undefined)
  const send = (reply: Reply): void => void process.send?.(reply, () => undefined)
  const act = (request: Request): unknown => {
    const { method, lane, argument } = request
    if (method === 'plan') {
      threads = new ThreadExecutor(argument as LoadPlan, { keepCheckpointing: false, startThreads: true })
      return undefined
    }
    if (threads === undefined) throw new Error('no plan yet')
    if (method === 'ready') return threads.ready()
    if (method === 'write') return threads.write(lane, argument as Part)
    if (method === 'commit') return threads.commit(lane, own(argument as FrameTask))
    return threads.stop()
  }
  process.on('message', (request: Request) => {
    void (async () => {
      try {
        send({ id: request.id, ok: await act(request) })
      } catch (error) {
        send({ id: request.id, error: toErrorMessage(error) })
      }
    })()
  })
  const progress = setInterval(() => send({ operations: threads?.operations() ?? 0 }), PROGRESS_INTERVAL_MS)
  await once(process, 'disconnect')
  clearInterval(progress)
  await threads?.close()
}

/** A frame from the channel lies in a larger buffer, which cannot be transferred to a thread. */
const own = (task: FrameTask): FrameTask => ({ ...task, frame: new Uint8Array(task.frame) })
