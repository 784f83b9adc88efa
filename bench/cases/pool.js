// Asynchronous puts from the main thread, 1, 64 or 1000 of them awaited at a time. mmapdb with its
// default pool of workers.
import { keyOf, random, values } from '../data.js'
import { loadStore } from '../stores.js'

export const title = 'asynchronous puts from one thread'
export const unit = 'puts/s'
export const better = 'more'
export const stores = ['mmapdb', 'lmdb', 'lmdb-durable', 'level']
export const fresh = true
export const variants = [{ concurrency: 1 }, { concurrency: 64 }, { concurrency: 1000 }]

export async function measure({ store, directory, concurrency, warmUpSeconds = 2, seconds = 5 }) {
  const db = await (await loadStore(store)).open(directory, { workers: 2 })
  const next = random(1)
  const value = values(1)
  let count = 0
  let stop = false
  const writer = async () => {
    while (!stop) {
      await db.put(keyOf(next() % 1_000_000), value())
      count++
    }
  }
  const writers = Array.from({ length: concurrency }, writer)
  const sleep = (s) => new Promise((resolve) => setTimeout(resolve, s * 1000))
  await sleep(warmUpSeconds)
  const before = count
  const start = performance.now()
  await sleep(seconds)
  const figure = ((count - before) / (performance.now() - start)) * 1000
  stop = true
  await Promise.all(writers)
  await db.close()
  return { figure }
}
