// Loading 1 M entries in batches of 10,000, in random and in ascending order, into an empty database.
import { keyOf, values } from '../data.js'
import { loadStore } from '../stores.js'

export const title = 'load of 1 M entries in batches of 10,000'
export const unit = 'puts/s'
export const better = 'more'
export const stores = ['mmapdb', 'lmdb', 'lmdb-durable', 'sqlite', 'level']
export const fresh = true
export const variants = [{ order: 'random' }, { order: 'ascending' }]

export async function measure({ store, directory, order, entries = 1_000_000, size = 10_000 }) {
  const db = await (await loadStore(store)).open(directory)
  const ms = await load(db, { entries, size, order, value: values(1) })
  await db.close()
  return { figure: entries / (ms / 1000) }
}

/** Puts keys 0 to entries - 1; returns the milliseconds that the batches took. */
export async function load(db, { entries, size = 10_000, order = 'random', value }) {
  let ms = 0
  for (let i = 0; i < entries; i += size) {
    const pairs = Array.from({ length: Math.min(size, entries - i) }, (_, n) => [
      order === 'random' ? keyOf(i + n) : `user:${String(i + n).padStart(10, '0')}`,
      value(),
    ])
    const start = performance.now()
    await db.batch(pairs)
    ms += performance.now() - start
  }
  return ms
}
