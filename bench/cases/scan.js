// All of 1 M entries in order, keys and values.
import { loadStore } from '../stores.js'

export const title = 'scan of 1 M entries, keys and values'
export const unit = 'entries/s'
export const better = 'more'
export const stores = ['mmapdb', 'lmdb', 'sqlite', 'level']
export const prepared = 'binary'

export async function measure({ store, directory, entries, rounds = 5 }) {
  const db = await (await loadStore(store)).open(directory)
  const round = async () => {
    const start = performance.now()
    const { count } = await db.scan()
    if (count !== entries) throw new Error(`${count} entries and not ${entries}`)
    return count / ((performance.now() - start) / 1000)
  }
  await round()
  const figures = []
  for (let i = 0; i < rounds; i++) figures.push(await round())
  figures.sort((a, b) => a - b)
  await db.close()
  return { figure: figures[rounds >> 1] }
}
