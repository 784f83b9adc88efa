// Durable puts of random keys, one at a time.
import { keyOf, random, values } from '../data.js'
import { openStore } from '../stores/index.js'

export async function prepare({ store, directory, shared, seed }) {
  const db = await openStore(store, directory, { workers: 0, shared })
  const next = random(seed)
  const value = values(seed, 1024)
  const kind = 'put'
  return {
    act() {
      const promise = db.put(keyOf(next() % 1_000_000), value())
      return promise === undefined ? kind : promise.then(() => kind)
    },
    close: () => db.close(),
  }
}
