// Bytes on disk for each byte of keys and values, after loading 1 M entries in random order by single
// batches of 1000, and after overwriting all of them ten times in random order; closed each time.
import { execFileSync } from 'node:child_process'
import { KEY_BYTES, keyOf, random, VALUE_BYTES, values } from '../data.js'
import { loadStore } from '../stores.js'
import { load } from './load.js'

export const title = 'bytes on disk per byte stored'
export const unit = 'x'
export const better = 'less'
export const stores = ['mmapdb', 'lmdb', 'sqlite', 'level']
export const fresh = true
export const once = true
export const variants = [{ overwrites: 0 }, { overwrites: 10 }]

export async function measure({ store, directory, overwrites, entries = 1_000_000 }) {
  const module = await loadStore(store)
  const value = values(1)
  let db = await module.open(directory)
  await load(db, { entries, size: 1000, value })
  const next = random(5)
  for (let i = 0; i < overwrites * entries; i += 1000) {
    await db.batch(Array.from({ length: 1000 }, () => [keyOf(next() % entries), value()]))
  }
  await db.close()
  const bytes = Number(execFileSync('du', ['-sB1', directory], { encoding: 'utf8' }).split('\t')[0])
  return { figure: bytes / (entries * (KEY_BYTES + VALUE_BYTES)), notes: { MiB: bytes / 2 ** 20 } }
}
