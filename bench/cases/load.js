// Loading into an empty database, in the way that suits the store best: lmdb in one transaction, the others by batches
// of 10,000. Closing is part of it, so that whatever is put off counts.
import { chunksOf, count } from '../data.js'
import { stopwatch } from '../meter.js'
import { openStore } from '../stores/index.js'

export const title = ({ entries, order }) => `load of ${count(entries)} entries in ${order} order`
export const group = 'batches'
export const unit = 'us'
export const per = 'entry'
export const stores = ['mmapdb', 'lmdb', 'sqlite', 'node-sqlite', 'level', 'rocksdb', 'file']
export const database = 'none'
const orders = [{ order: 'random' }, { order: 'ascending' }]
export const variants = { quick: orders, full: orders }

export async function measure({ store, directory, order, entries }) {
  const db = await openStore(store, directory)
  const watch = stopwatch()
  await db.load(chunksOf({ entries, order }))
  await db.close()
  return watch.stop(entries)
}
