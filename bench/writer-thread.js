// One thread of the writers' cases.
import { parentPort, workerData } from 'node:worker_threads'
import { keyOf, random, values } from './data.js'
import { loadStore } from './stores.js'

const { store, directory, seed, phase } = workerData
const db = await (await loadStore(store)).open(directory)
const next = random(seed)
const value = values(seed, 1024)
const micros = []
let count = 0

parentPort.postMessage('ready')
while (Atomics.load(phase, 0) === 0) Atomics.wait(phase, 0, 0, 1000)
for (;;) {
  const now = Atomics.load(phase, 0)
  if (now === 3) break
  const start = performance.now()
  await db.put(keyOf(next() % 1_000_000), value())
  if (now === 2) {
    count++
    if ((count & 15) === 0) micros.push((performance.now() - start) * 1000)
  }
}
parentPort.postMessage({ count, micros })
await db.close()
