// Threads that do the same work at once. Each opens the store for itself; all run through a warm-up of their own
// before the time that counts, or, with a limit, do that number of operations from the start.
import { createHistogram } from 'node:perf_hooks'
import { Worker } from 'node:worker_threads'
import { latencySummary, sleep, stopwatch } from './meter.js'
import { openStore } from './stores/index.js'

/** What the threads read from the first shared word. */
export const PHASE = { waiting: 0, warmUp: 1, timed: 2, done: 3 }
/** The word in which each thread counts its first timed operation. */
export const BEGUN = 1

/**
 * `work` names a module of work/, which gets `parameters`. No two threads that write one database may have the same seed.
 * `begin` is awaited when all threads are ready. Returns the cost of an operation and latencies by kind of operation.
 */
export async function runThreads({ threads, work, limit, warmUpSeconds, seconds, begin, ...parameters }) {
  const { store, directory, seed } = parameters
  // It creates what the threads open, and stays open beside them.
  const first = await openStore(store, directory, { workers: 0 })
  const phase = new Int32Array(new SharedArrayBuffer(8))
  const workers = Array.from(
    { length: threads },
    (_, id) =>
      new Worker(new URL('thread.js', import.meta.url), {
        workerData: { ...parameters, work, limit, phase, shared: first.shared, seed: seed + id },
      }),
  )
  const ended = Promise.all(workers.map((worker) => new Promise((resolve) => worker.once('exit', resolve))))
  const message = (worker) => new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))
  await Promise.all(workers.map(message))
  const done = Promise.all(workers.map(message))
  await begin?.()
  const enter = (next) => {
    Atomics.store(phase, 0, next)
    Atomics.notify(phase, 0)
  }
  if (limit === undefined) {
    enter(PHASE.warmUp)
    await Promise.race([sleep(warmUpSeconds), done])
  }
  const watch = stopwatch()
  enter(PHASE.timed)
  if (limit === undefined) {
    await Promise.race([sleep(seconds), done])
    // However slow it is, there is something to divide by.
    while (Atomics.load(phase, BEGUN) === 0) await Promise.race([sleep(0.01), done])
  } else await done
  const atEnd = watch.stop()
  enter(PHASE.done)
  const results = await done
  const operations = results.reduce((sum, { count }) => sum + count, 0)
  const each = results.map(({ count }) => count)
  await ended
  await first.close()
  return {
    figure: atEnd.figure / operations,
    cpuUs: atEnd.cpuUs / operations,
    anonymousMiB: atEnd.anonymousMiB,
    operations,
    latencies: Object.fromEntries(merge(results).map(([kind, histogram]) => [kind, latencySummary(histogram)])),
    notes: { slowestThread: Math.min(...each) / Math.max(...each) },
  }
}

/** Histograms by kind, of all threads together. */
function merge(results) {
  const all = new Map()
  for (const { histograms } of results) {
    for (const [kind, histogram] of histograms) {
      if (!all.has(kind)) all.set(kind, createHistogram())
      all.get(kind).add(histogram)
    }
  }
  return [...all]
}
