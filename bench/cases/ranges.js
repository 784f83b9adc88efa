// Ranges of 100 entries from random keys on, keys and values; in memory, and the code is warm.
import { count, keyOf, random } from '../data.js'
import { latencies, stopwatch } from '../meter.js'
import { openStore } from '../stores/index.js'

export const title = ({ entries }) => `ranges of 100 of ${count(entries)} entries`
export const group = 'reads'
export const unit = 'us'
export const per = 'range'
export const stores = ['mmapdb', 'lmdb', 'sqlite', 'node-sqlite', 'level', 'rocksdb']
export const database = 'loaded'
export const variants = { quick: [{}], full: [{}] }

const LENGTH = 100

export async function measure({ store, directory, entries, seed, ranges = Math.min(10_000, entries) }) {
  const db = await openStore(store, directory, { workers: 0 })
  const next = random(seed)
  const range = async () => {
    const found = await db.scan(keyOf(next() % entries), LENGTH)
    // The last keys have fewer behind them.
    if (found.count === 0) throw new Error('a range is empty')
    return found.count
  }
  for (let i = 0; i < ranges / 2; i++) await range()
  const each = latencies()
  let walked = 0
  const watch = stopwatch()
  for (let i = 0; i < ranges; i++) {
    const start = performance.now()
    walked += await range()
    each.record(performance.now() - start)
  }
  const costs = watch.stop(ranges)
  if (walked < (ranges * LENGTH) / 2) throw new Error(`${walked} entries in ${ranges} ranges`)
  await db.close()
  return { ...costs, latencies: { range: each.summary() } }
}
