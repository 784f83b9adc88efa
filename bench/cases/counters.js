// Counters that eight threads raise, each with the database opened for itself: what it takes to change what has been
// read. Each thread has that many calls under way at a time, where the interface lets it; with one counter all meet. All
// that has been awaited is on disk, and the sum is checked: nothing is lost or counted twice.
import { Worker } from 'node:worker_threads'
import { openCounters, WAYS } from '../counters.js'

export const title = '8 threads that raise counters, everything durable'
export const unit = 'increments/s'
export const better = 'more'
export const stores = Object.keys(WAYS)
export const fresh = true
export const variants = [
  { counters: 1000, calls: 64 },
  { counters: 1000, calls: 1 },
  { counters: 1, calls: 64 },
]

const THREADS = 8
/** Each of the threads compiles what it runs, on the cores that all share. */
const WARM_UP_SECONDS = 10

export async function measure({ store, directory, seed, counters, calls, seconds }) {
  const phase = new Int32Array(new SharedArrayBuffer(4))
  // One opener before the others, so that none waits for another one's creation.
  const before = await openCounters(store, directory)
  await before.close()
  const threads = Array.from(
    { length: THREADS },
    (_, id) =>
      new Worker(new URL('../counter-thread.js', import.meta.url), {
        workerData: { store, directory, seed: seed + id, counters, calls, phase },
      }),
  )
  const message = (thread) => new Promise((resolve, reject) => thread.once('message', resolve).once('error', reject))
  await Promise.all(threads.map(message))
  const done = threads.map(message)
  const set = (n) => {
    Atomics.store(phase, 0, n)
    Atomics.notify(phase, 0)
  }
  const sleep = (s) => new Promise((resolve) => setTimeout(resolve, s * 1000))
  set(1)
  await sleep(WARM_UP_SECONDS)
  const start = performance.now()
  set(2)
  await sleep(seconds)
  set(3)
  const elapsedMs = performance.now() - start
  const results = await Promise.all(done)
  const total = results.reduce((sum, { all }) => sum + all, 0)
  const after = await openCounters(store, directory)
  const sum = await after.sum(counters)
  await after.close()
  if (sum !== total) throw new Error(`${store}: the sum is ${sum}, and there were ${total} increments.`)
  const timed = results.map(({ count }) => count)
  return {
    figure: (timed.reduce((sum, count) => sum + count, 0) / elapsedMs) * 1000,
    notes: { slowestOfThreads: Math.min(...timed) / Math.max(...timed) },
  }
}
