// RocksDB by @nxtedition/rocksdb, whose binary for x86-64 is in its package; one process, any number of its threads.
// Chosen because its writes can wait for the flush: rocksdb-native, which is maintained more, has no option for that.
// Its `put` drops the option, so a put is a batch of one here. Writes and `_getManySync`, its only read that does not
// go through the event loop, are synchronous. Values do not compress, so it does not try.
import { loadByBatches, operationsOf } from './pairs.js'
import { walkIterator } from './level.js'

export const rocksdb = () => ({
  title: 'RocksDB',
  kind: 'rocksdb',
  package: '@nxtedition/rocksdb',
  against: 'mmapdb-sync',
  async open(path, { shared } = {}) {
    const { default: rocks } = await import('@nxtedition/rocksdb')
    const db = new rocks.RocksLevel(shared ?? path, { keyEncoding: 'utf8', valueEncoding: 'buffer' })
    await db.open({ cacheSize: 64 * 2 ** 20, compression: false, walCompression: false })
    const put = (key, value) => {
      const batch = db._chainedBatch()
      batch._put(key, value)
      batch._writeSync({ sync: true })
      batch._closeSync()
    }
    const batch = (pairs) => db.batch(operationsOf(pairs), { sync: true })
    return {
      db,
      shared: db.handle,
      put,
      batch,
      load: (chunks) => loadByBatches(batch, chunks),
      read: (key) => db._getManySync([key])[0]?.length ?? -1,
      scan: (from, count) => walkIterator(db.iterator({ ...(from && { gte: from }), ...(count && { limit: count }) })),
      // It would be closed for all who share it.
      close: () => (shared === undefined ? db.close() : undefined),
    }
  },
})
