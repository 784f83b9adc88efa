// One thread of the case of counters.
import { parentPort, workerData } from 'node:worker_threads'
import { openCounters } from './counters.js'
import { random } from './data.js'

const { store, directory, seed, counters, calls, phase } = workerData
const db = await openCounters(store, directory)
const next = random(seed)
let count = 0
let all = 0

async function raise() {
  for (;;) {
    const now = Atomics.load(phase, 0)
    if (now === 3) return
    await db.raise(next() % counters)
    all++
    if (now === 2) count++
  }
}

parentPort.postMessage('ready')
while (Atomics.load(phase, 0) === 0) Atomics.wait(phase, 0, 0, 1000)
await Promise.all(Array.from({ length: db.isSynchronous ? 1 : calls }, raise))
await db.close()
parentPort.postMessage({ count, all })
