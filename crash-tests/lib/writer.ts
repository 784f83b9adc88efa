// The process that is killed: it runs the writers that its plan names until it is told to stop, or
// dies; or it only opens, verifies and closes the database, which is to recover it.
//
//   threads   each writer in a thread of its own, writing synchronously: each is appender, leader
//             and checkpointer by turns
//   pool      all writers on one event loop, writing asynchronously through the database's own pool
//   recover   no writers
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { open, type Database, type OpenOptions } from '../../src/index.js'
import { JournalWriter } from './journal.js'
import { operationsOf, type Operation, type WriterSpec } from './workload.js'

export interface ProcessSpec {
  readonly path: string
  readonly options: OpenOptions
  readonly mode: 'threads' | 'pool' | 'recover'
  /** Threads of the database's pool (`pool` only); 0: the main thread does all the work itself. */
  readonly poolThreads: number
  readonly writers: { readonly spec: WriterSpec; readonly journal: string }[]
  /** Threads to terminate, in this order, that many milliseconds apart (`threads` only). */
  readonly terminate: { readonly index: number; readonly afterMs: number }[]
}

/** What the process says to its parent; ready: all its writers have the database open and, in a pool, have written. */
export type Message = { readonly ready: true } | { readonly terminated: number; readonly atMs: number }

const READ_BACK_EVERY = 8
const SCAN_EVERY = 32
const SNAPSHOT_FOR = 60
const YIELD_EVERY = 16

/** After its acknowledgement a write under a writer's own key is what all readers find. */
function readBack(db: Database<Buffer>, spec: WriterSpec, n: number, operations: Operation[]): void {
  const last = operations.at(-1)!
  if (String(last.key).startsWith('shared')) return
  const found = db.get(last.key)
  const wanted = last.type === 'put' ? last.value : undefined
  if (found === undefined ? wanted !== undefined : wanted === undefined || !found.equals(wanted)) {
    throw new Error(`writer ${spec.id} reads back something else under ${String(last.key)} than operation ${n} wrote`)
  }
}

/** Reads now and then, and holds snapshots for a while: pins are what the dead leave behind. */
class Reading {
  readonly #db: Database<Buffer>
  readonly #spec: WriterSpec
  #snapshot: ReturnType<Database<Buffer>['snapshot']> | undefined
  #count = 0

  constructor(db: Database<Buffer>, spec: WriterSpec) {
    this.#db = db
    this.#spec = spec
  }

  between(n: number): void {
    if (n % SNAPSHOT_FOR === 0) {
      if (this.#snapshot !== undefined && this.#snapshot.count() !== this.#count) {
        throw new Error(`a snapshot of writer ${this.#spec.id} has changed`)
      }
      this.#snapshot?.close()
      this.#snapshot = this.#spec.id % 3 === 0 ? this.#db.snapshot() : undefined
      this.#count = this.#snapshot?.count() ?? 0
    }
    if (n % SCAN_EVERY !== 0) return
    let before = ''
    for (const key of this.#db.keys({ prefix: `lane${this.#spec.lane}/`, limit: 40 })) {
      if ((key as string) <= before) throw new Error(`a scan went from ${before} to ${String(key)}`)
      before = key as string
    }
  }
}

async function writeHere(
  { path, options }: ProcessSpec,
  spec: WriterSpec,
  journalPath: string,
  stop: Int32Array,
): Promise<void> {
  const db = await open<'binary', Buffer>(path, { ...options, workers: 0, valueEncoding: 'binary' })
  parentPort?.postMessage('ready')
  const journal = new JournalWriter(journalPath)
  const reading = new Reading(db, spec)
  for (let n = 0; Atomics.load(stop, 0) === 0; n++) {
    const operations = operationsOf(spec, n)
    journal.started(n)
    try {
      const [first] = operations
      if (operations.length > 1) db.batchSync(operations)
      else if (first!.type === 'put') db.putSync(first!.key, first!.value)
      else db.delSync(first!.key)
    } catch (error) {
      journal.failed(n)
      throw error
    }
    journal.acknowledged(n)
    if (n % READ_BACK_EVERY === 0) readBack(db, spec, n, operations)
    reading.between(n)
  }
  await db.close()
  journal.ended()
}

async function writeThroughPool(
  db: Database<Buffer>,
  spec: WriterSpec,
  journal: JournalWriter,
  stop: Int32Array,
  noteReady: () => void,
): Promise<void> {
  const reading = new Reading(db, spec)
  let next = 0
  let written = 0
  const one = async (): Promise<void> => {
    while (Atomics.load(stop, 0) === 0) {
      // Without threads nothing here waits for anything, and the order to stop would not be received.
      if (next % YIELD_EVERY === 0) await new Promise(setImmediate)
      const n = next++
      const operations = operationsOf(spec, n)
      journal.started(n)
      try {
        const [first] = operations
        if (operations.length > 1) await db.batch(operations)
        else if (first!.type === 'put') await db.put(first!.key, first!.value)
        else await db.del(first!.key)
      } catch (error) {
        journal.failed(n)
        throw error
      }
      journal.acknowledged(n)
      if (written++ === 0) noteReady()
      if (spec.depth === 1 && n % READ_BACK_EVERY === 0) readBack(db, spec, n, operations)
      reading.between(n)
    }
  }
  await Promise.all(Array.from({ length: spec.depth }, one))
}

const say = (message: Message): void => void process.send?.(message)

async function runThreads(plan: ProcessSpec, stop: Int32Array): Promise<void> {
  const terminated = new Set<number>()
  let started = 0
  // Threads that have opened the database, or ended before that.
  const ready = new Set<number>()
  const noteReady = (i: number): void => {
    ready.add(i)
    if (ready.size === plan.writers.length && started++ === 0) say({ ready: true })
  }
  const workers = plan.writers.map(
    ({ spec, journal }) => new Worker(new URL(import.meta.url), { workerData: { plan, spec, journal, stop } }),
  )
  const ends = workers.map(
    (worker, i) =>
      new Promise<void>((resolve) => {
        worker.on('message', () => noteReady(i))
        worker.on('error', (error) => {
          console.error(error)
          process.exitCode = 70
        })
        worker.on('exit', (code) => {
          noteReady(i)
          if (code !== 0 && !terminated.has(i)) process.exitCode = 70
          resolve()
        })
      }),
  )
  for (const { index, afterMs } of plan.terminate) {
    await new Promise((resolve) => setTimeout(resolve, afterMs))
    terminated.add(index)
    say({ terminated: index, atMs: Number(process.hrtime.bigint()) / 1e6 })
    await workers[index]!.terminate()
  }
  await Promise.all(ends)
}

async function runPool(plan: ProcessSpec, stop: Int32Array): Promise<void> {
  const db = await open<'binary', Buffer>(plan.path, {
    ...plan.options,
    workers: plan.poolThreads,
    valueEncoding: 'binary',
  })
  let ready = 0
  const noteReady = (): void => {
    if (++ready === plan.writers.length) say({ ready: true })
  }
  const journals = plan.writers.map(({ journal }) => new JournalWriter(journal))
  await Promise.all(plan.writers.map(({ spec }, i) => writeThroughPool(db, spec, journals[i]!, stop, noteReady)))
  await db.close()
  for (const journal of journals) journal.ended()
}

async function runRecovery(plan: ProcessSpec): Promise<void> {
  const db = await open<'binary', Buffer>(plan.path, { ...plan.options, workers: 0, valueEncoding: 'binary' })
  const report = await db.verify()
  if (!report.ok) throw new Error(`verify found ${JSON.stringify(report.damage)}`)
  await db.close()
}

if (isMainThread) {
  const plan = JSON.parse(process.argv[2]!) as ProcessSpec
  const stop = new Int32Array(new SharedArrayBuffer(4))
  // Told to stop, or the parent is dead.
  process.on('message', () => Atomics.store(stop, 0, 1))
  process.on('disconnect', () => process.exit(71))
  const run =
    plan.mode === 'threads' ? runThreads(plan, stop) : plan.mode === 'pool' ? runPool(plan, stop) : runRecovery(plan)
  run.then(
    () => process.exit(),
    (error: unknown) => {
      console.error(error)
      process.exit(70)
    },
  )
} else {
  const { plan, spec, journal, stop } = workerData as {
    plan: ProcessSpec
    spec: WriterSpec
    journal: string
    stop: Int32Array
  }
  await writeHere(plan, spec, journal, stop)
}
