// One thread of threads.js.
import { parentPort, workerData } from 'node:worker_threads'
import { latencies } from './meter.js'
import { BEGUN, PHASE } from './threads.js'

const { work, limit, phase, ...parameters } = workerData
const { prepare } = await import(`./work/${work}.js`)
/** `act` does one operation and returns its kind, or a promise of it. */
const { act, close } = await prepare(parameters)
const byKind = new Map()
let count = 0

parentPort.postMessage('ready')
while (Atomics.load(phase, 0) === PHASE.waiting) Atomics.wait(phase, 0, PHASE.waiting, 1000)
for (;;) {
  const start = performance.now()
  const result = act()
  // What is synchronous stays so: awaiting it would cost a turn of the event loop's queue.
  const kind = typeof result === 'string' ? result : await result
  const now = Atomics.load(phase, 0)
  if (now === PHASE.done) break
  if (now !== PHASE.timed) continue
  if (!byKind.has(kind)) byKind.set(kind, latencies())
  byKind.get(kind).record(performance.now() - start)
  if (++count === 1) Atomics.add(phase, BEGUN, 1)
  if (count === limit) break
}
parentPort.postMessage({ count, histograms: [...byKind].map(([kind, { histogram }]) => [kind, histogram]) })
await close()
