// Batches of 10,000 puts of random keys into a database of 1 M entries, each batch awaited until it
// is durable. Most keys exist, with other values.
import { keyOf, random, values } from '../data.js'
import { loadStore } from '../stores.js'

export const title = 'batches of 10,000 random puts into 1 M entries'
export const unit = 'puts/s'
export const better = 'more'
export const stores = ['mmapdb', 'lmdb', 'lmdb-durable', 'sqlite', 'level']
export const prepared = 'binary'

export async function measure({ store, directory, entries, seed, batches = 40, size = 10_000 }) {
  const db = await (await loadStore(store)).open(directory)
  const next = random(seed)
  const value = values(seed)
  const round = async () => {
    const pairs = Array.from({ length: size }, () => [keyOf(next() % entries), value()])
    const start = performance.now()
    await db.batch(pairs)
    return performance.now() - start
  }
  for (let i = 0; i < 5; i++) await round()
  let ms = 0
  for (let i = 0; i < batches; i++) ms += await round()
  await db.close()
  return { figure: (batches * size) / (ms / 1000) }
}
