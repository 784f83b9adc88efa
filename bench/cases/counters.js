// Counters that eight threads raise, each with the database opened for itself: what it takes to change what has been
// read. Each thread has that many calls under way at a time, where the interface lets it; with one counter all meet. All
// that has been awaited is on disk, and the sum is checked: nothing is lost or counted twice.
import { Worker } from 'node:worker_threads'
import { openCounters, WAYS } from '../counters.js'
import { sleep, stopwatch } from '../meter.js'

export const title = ({ counters, calls }) =>
  `8 threads that raise ${counters === 1 ? 'one counter' : `${counters} counters`}, ${calls} at a time each`
export const group = 'writes'
export const unit = 'us'
export const per = 'increment'
export const stores = Object.keys(WAYS)
export const database = 'none'
export const variants = {
  full: [
    { counters: 1000, calls: 64 },
    { counters: 1000, calls: 1 },
    { counters: 1, calls: 64 },
  ],
}

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
  set(1)
  await sleep(WARM_UP_SECONDS)
  const watch = stopwatch()
  set(2)
  await sleep(seconds)
  const costs = watch.stop()
  set(3)
  const results = await Promise.all(done)
  const total = results.reduce((sum, { all }) => sum + all, 0)
  const after = await openCounters(store, directory)
  const sum = await after.sum(counters)
  await after.close()
  if (sum !== total) throw new Error(`${store}: the sum is ${sum}, and there were ${total} increments.`)
  const timed = results.map(({ count }) => count)
  const increments = timed.reduce((sum, count) => sum + count, 0)
  return {
    figure: costs.figure / increments,
    cpuUs: costs.cpuUs / increments,
    anonymousMiB: costs.anonymousMiB,
    notes: { slowestThread: Math.min(...timed) / Math.max(...timed) },
  }
}
