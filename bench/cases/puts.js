// Asynchronous puts from one thread, a number of them awaited at a time, and how long its event loop was held up.
import { keyOf, random, values } from '../data.js'
import { latencies, loopDelay, sleep, stopwatch } from '../meter.js'
import { openStore } from '../stores/index.js'

export const title = ({ atATime }) =>
  atATime === 1 ? 'await put, one at a time' : `await put, ${atATime} at a time from one thread`
export const group = 'writes'
export const unit = 'us'
export const per = 'put'
export const stores = ['mmapdb', 'lmdb', 'lmdb-durable', 'level', 'file']
export const selected = ['mmapdb', 'lmdb-durable', 'level', 'file']
export const database = 'none'
export const variants = {
  quick: [{ atATime: 1 }, { atATime: 64 }],
  full: [{ atATime: 1 }, { atATime: 8 }, { atATime: 64 }, { atATime: 512 }],
}

export async function measure({ store, directory, atATime, seed, warmUpSeconds, seconds }) {
  const db = await openStore(store, directory)
  const next = random(seed)
  const value = values(seed)
  let each
  let operations = 0
  let isOver = false
  const lane = async () => {
    while (!isOver) {
      const start = performance.now()
      await db.put(keyOf(next() % 1_000_000), value())
      operations++
      each?.record(performance.now() - start)
    }
  }
  const lanes = Array.from({ length: atATime }, lane)
  await sleep(warmUpSeconds)
  each = latencies()
  operations = 0
  const loop = loopDelay()
  const watch = stopwatch()
  await sleep(seconds)
  // However slow it is, there is something to divide by.
  while (operations === 0) await sleep(0.01)
  const costs = watch.stop(operations)
  const notes = loop.stop()
  const summary = each.summary()
  isOver = true
  await Promise.all(lanes)
  await db.close()
  return { ...costs, latencies: { put: summary }, notes }
}
