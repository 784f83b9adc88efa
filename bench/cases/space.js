// Bytes on disk for each byte of keys and values, after loading in random order by batches of 1,000, and after
// overwriting everything ten times in random order; closed each time.
import { chunksOf, count, KEY_BYTES, keyOf, random, VALUE_BYTES, values } from '../data.js'
import { diskMiB } from '../meter.js'
import { openStore } from '../stores/index.js'

export const title = ({ entries, overwrites }) =>
  overwrites === 0
    ? `disk after a load of ${count(entries)} entries in random order`
    : `the same after overwriting all of it ${overwrites} times`
export const group = 'space'
export const unit = 'x'
export const per = 'byte stored'
export const stores = ['mmapdb', 'lmdb', 'sqlite', 'node-sqlite', 'level', 'rocksdb']
export const database = 'none'
const both = [{ overwrites: 0 }, { overwrites: 10 }]
export const variants = { quick: both.slice(0, 1), full: both }

const SIZE = 1000

export async function measure({ store, directory, overwrites, entries, seed }) {
  const db = await openStore(store, directory)
  for (const chunk of chunksOf({ entries, order: 'random', size: SIZE })) await db.batch(chunk)
  const next = random(seed)
  const value = values(seed)
  for (let i = 0; i < overwrites * entries; i += SIZE)
    await db.batch(Array.from({ length: SIZE }, () => [keyOf(next() % entries), value()]))
  await db.close()
  return { figure: (diskMiB(directory) * 2 ** 20) / (entries * (KEY_BYTES + VALUE_BYTES)) }
}
