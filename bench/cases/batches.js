// Batches of 10,000 puts of random keys into a loaded database, each batch awaited until it is durable. Most keys
// exist, with other values.
import { count, keyOf, random, values } from '../data.js'
import { latencies, loopDelay, stopwatch } from '../meter.js'
import { openStore } from '../stores/index.js'

export const title = ({ entries, size }) => `batches of ${count(size)} random puts into ${count(entries)} entries`
export const group = 'batches'
export const unit = 'us'
export const per = 'put'
export const stores = ['mmapdb', 'lmdb', 'lmdb-durable', 'sqlite', 'node-sqlite', 'level', 'rocksdb', 'file']
export const selected = ['mmapdb', 'lmdb', 'sqlite', 'node-sqlite', 'level', 'rocksdb', 'file']
export const database = 'copied'
export const variants = { quick: [{ size: 10_000 }], full: [{ size: 10_000 }] }

const WARM_UP_BATCHES = 5

export async function measure({ store, directory, entries, seed, size, batches = 20 }) {
  const db = await openStore(store, directory)
  const next = random(seed)
  const value = values(seed)
  const pairs = () => Array.from({ length: size }, () => [keyOf(next() % entries), value()])
  for (let i = 0; i < WARM_UP_BATCHES; i++) await db.batch(pairs())
  const each = latencies()
  const loop = loopDelay()
  const watch = stopwatch()
  for (let i = 0; i < batches; i++) {
    const batch = pairs()
    const start = performance.now()
    await db.batch(batch)
    each.record(performance.now() - start)
  }
  const costs = watch.stop(batches * size)
  const notes = loop.stop()
  await db.close()
  return { ...costs, latencies: { batch: each.summary() }, notes }
}
