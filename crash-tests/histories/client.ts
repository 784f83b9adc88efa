// A process with clients of one database, each of which does one operation after the other and writes down what it
// asked and what it was told. It goes on until it is told to stop, or killed.
//
//   threads   each client in a thread of its own, which does everything itself
//   pool      all clients on one event loop and one open database, whose worker threads do the work
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { MmapdbError, open, OutcomeUnknownError, type OpenOptions } from '../../src/index.js'
import { Random } from '../lib/random.js'
import { faulty, type StoreFault } from './faulty-store.js'
import type { Layout } from './keys.js'
import type { Client, Store } from './kinds.js'
import { Recorder, type Answers } from './recorder.js'
import { someKind } from './some-kind.js'

export interface ClientSpec {
  readonly name: string
  /** Where its history goes. */
  readonly file: string
  readonly seed: number
}

export interface ClientProcess {
  readonly path: string
  readonly options: OpenOptions
  readonly mode: 'threads' | 'pool'
  readonly layout: Layout
  readonly clients: readonly ClientSpec[]
  /** How long a client rests after an operation, on average. */
  readonly restMs: number
  /** What is wrong with it, for the self-test. */
  readonly fault?: StoreFault | undefined
}

type Stop = Int32Array

const pause = (ms: number): Promise<void> =>
  new Promise((resolve) => (ms < 1 ? setImmediate(resolve) : setTimeout(resolve, ms)))

async function live(db: Store, { layout, mode, restMs }: ClientProcess, spec: ClientSpec, stop: Stop): Promise<void> {
  const recorder = new Recorder(spec.file, spec.name)
  const random = new Random(spec.seed)
  let names = 0
  let id = 0
  const client: Client = {
    db,
    random,
    layout,
    isSync: mode === 'threads',
    newName: () => `${spec.name}:${++names}`,
    versions: new Map(),
    intends: (steps) => recorder.intends(id, steps),
  }
  while (Atomics.load(stop, 0) === 0) {
    const kind = someKind(random)
    const steps = kind.plan?.(client)
    id = recorder.called(kind.name, steps)
    let answers: Answers
    try {
      const given = kind.run(client, steps ?? [])
      answers = given instanceof Promise ? await given : given
      recorder.returned(id, answers)
    } catch (error) {
      if (error instanceof OutcomeUnknownError) recorder.unknown(id, error)
      else if (error instanceof MmapdbError) recorder.refused(id, error)
      else throw error
    }
    await pause(random.chance(0.5) ? 0 : 2 * restMs * random.next())
  }
  recorder.close()
}

const say = (message: object): void => void process.send?.(message, () => undefined)

async function liveHere(
  spec: ClientProcess,
  clients: readonly ClientSpec[],
  stop: Stop,
  ready: () => void,
): Promise<void> {
  const db = await open<'msgpack', string>(spec.path, { ...spec.options, valueEncoding: 'msgpack' })
  ready()
  const store = spec.fault === undefined ? db : faulty(db, spec.fault)
  await Promise.all(clients.map((client) => live(store, spec, client, stop)))
  await db.close()
}

async function run(spec: ClientProcess, stop: Stop): Promise<void> {
  if (spec.mode === 'pool') return liveHere(spec, spec.clients, stop, () => say({ ready: true }))
  let ready = 0
  await Promise.all(
    spec.clients.map((client) => {
      const worker = new Worker(new URL(import.meta.url), { workerData: { spec, client, stop } })
      worker.on('message', () => {
        if (++ready === spec.clients.length) say({ ready: true })
      })
      return new Promise<void>((resolve, reject) => {
        worker.on('error', reject)
        worker.on('exit', () => resolve())
      })
    }),
  )
}

if (isMainThread) {
  const stop = new Int32Array(new SharedArrayBuffer(4))
  process.on('message', () => Atomics.store(stop, 0, 1))
  // The parent is dead.
  process.on('disconnect', () => process.exit(71))
  run(JSON.parse(process.argv[2]!) as ClientProcess, stop).then(
    () => process.exit(),
    (error: unknown) => {
      console.error(error)
      process.exit(70)
    },
  )
} else {
  const { spec, client, stop } = workerData as { spec: ClientProcess; client: ClientSpec; stop: Stop }
  await liveHere(spec, [client], stop, () => parentPort!.postMessage('ready'))
}
