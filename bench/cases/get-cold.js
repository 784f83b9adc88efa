// The first random reads after the kernel has been made to forget the files: what the disk costs, and what else is
// done when a page is seen for the first time.
import { count, keyOf, random } from '../data.js'
import { latencies, stopwatch } from '../meter.js'
import { openStore } from '../stores/index.js'

export const title = ({ entries }) => `the first 1,000 random gets among ${count(entries)} keys, files not in memory`
export const group = 'reads'
export const unit = 'us'
export const per = 'get'
export const stores = ['mmapdb', 'lmdb', 'sqlite', 'node-sqlite', 'level', 'rocksdb']
export const database = 'loaded'
export const isCold = true
export const variants = { quick: [{}], full: [{}] }

const GETS = 1000

export async function measure({ store, directory, entries, seed }) {
  const db = await openStore(store, directory, { workers: 0 })
  const next = random(seed)
  const each = latencies()
  const watch = stopwatch()
  for (let i = 0; i < GETS; i++) {
    const start = performance.now()
    if (db.read(keyOf(next() % entries)) < 0) throw new Error('a value is missing')
    each.record(performance.now() - start)
  }
  const costs = watch.stop(GETS)
  await db.close()
  return { ...costs, latencies: { get: each.summary() } }
}
