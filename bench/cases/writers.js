// Eight worker threads, each with the database opened for itself, each awaiting one durable put at a
// time. All write during a warm-up of its own before the time that counts.
import { Worker } from 'node:worker_threads'

export const title = '8 threads, one durable put at a time'
export const unit = 'puts/s'
export const better = 'more'
export const stores = ['mmapdb', 'lmdb', 'lmdb-durable', 'sqlite']
export const fresh = true

export const measure = (parameters) => runWriters({ threads: 8, ...parameters })

/** `seed`: no two threads that write the same database may have the same. `ready`: waited for before anybody writes. */
export async function runWriters({ store, directory, threads, seed, warmUpSeconds = 2, seconds = 5, ready: others }) {
  const phase = new Int32Array(new SharedArrayBuffer(4))
  const workers = Array.from(
    { length: threads },
    (_, id) =>
      new Worker(new URL('../writer-thread.js', import.meta.url), {
        workerData: { store, directory, seed: seed + id, phase },
      }),
  )
  const ready = (worker) => new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))
  await Promise.all(workers.map(ready))
  const done = workers.map(ready)
  await others?.()
  const set = (n) => {
    Atomics.store(phase, 0, n)
    Atomics.notify(phase, 0)
  }
  const sleep = (s) => new Promise((resolve) => setTimeout(resolve, s * 1000))
  set(1)
  await sleep(warmUpSeconds)
  const start = process.hrtime.bigint()
  set(2)
  await sleep(seconds)
  set(3)
  const elapsed = Number(process.hrtime.bigint() - start) / 1e9
  const results = await Promise.all(done)
  const count = results.reduce((sum, r) => sum + r.count, 0)
  const sample = Float64Array.from(results.flatMap((r) => r.micros)).sort()
  const at = (q) => sample[Math.min(sample.length - 1, Math.floor(sample.length * q))]
  const each = results.map((r) => r.count)
  return {
    figure: count / elapsed,
    notes: { p50us: at(0.5), p99us: at(0.99), slowestOfThreads: Math.min(...each) / Math.max(...each) },
  }
}
