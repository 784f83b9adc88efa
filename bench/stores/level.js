// LevelDB by classic-level: one process, and one thread of it. Writes wait for the flush (sync: true).
import { loadByBatches, operationsOf } from './pairs.js'

export const level = () => ({
  title: 'classic-level',
  kind: 'level',
  package: 'classic-level',
  against: 'mmapdb',
  async open(path, { text = false } = {}) {
    const { ClassicLevel } = await import('classic-level')
    const db = new ClassicLevel(path, { valueEncoding: text ? 'utf8' : 'buffer' })
    await db.open({ cacheSize: 64 * 2 ** 20, writeBufferSize: 64 * 2 ** 20 })
    const batch = (pairs) => db.batch(operationsOf(pairs), { sync: true })
    return {
      db,
      put: (key, value) => db.put(key, value, { sync: true }),
      batch,
      load: (chunks) => loadByBatches(batch, chunks),
      read: (key) => db.getSync(key)?.length ?? -1,
      scan: (from, count) => walkIterator(db.iterator({ ...(from && { gte: from }), ...(count && { limit: count }) })),
      close: () => db.close(),
    }
  },
})

/** Walks an iterator of abstract-level, a thousand entries at a time. */
export async function walkIterator(iterator) {
  let count = 0
  let bytes = 0
  for (;;) {
    const entries = await iterator.nextv(1000)
    if (entries.length === 0) break
    count += entries.length
    for (const [key, value] of entries) bytes += key.length + value.length
  }
  await iterator.close()
  return { count, bytes }
}
