// Opening a database of 1 M entries that was closed cleanly, in a process that has just begun; the
// import of the package is not counted, the first read is.
import { keyOf } from '../data.js'
import { loadStore } from '../stores.js'

export const title = 'open and first get after a clean close, 1 M entries'
export const unit = 'ms'
export const better = 'less'
export const stores = ['mmapdb', 'lmdb', 'sqlite', 'level']
export const prepared = 'binary'
export const variants = [{ workers: 0 }, { workers: 2 }]

export async function measure({ store, directory, workers }) {
  const module = await loadStore(store)
  const start = performance.now()
  const db = await module.open(directory, { workers })
  const opened = performance.now() - start
  if (db.get(keyOf(12345)) === undefined) throw new Error('not there')
  const figure = performance.now() - start
  const closing = performance.now()
  await db.close()
  return { figure, notes: { openMs: opened, closeMs: performance.now() - closing } }
}
