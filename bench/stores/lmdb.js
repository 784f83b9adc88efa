// lmdb. As it comes, a write resolves once it is committed and visible; its flush may still be under way. The others
// wait for the flush, as everybody else here.

const variant = (title, against, options, methods) => () => ({
  title,
  kind: 'lmdb',
  package: 'lmdb',
  against,
  async open(path, { text = false } = {}) {
    const { open } = await import('lmdb')
    const db = open({ path, encoding: text ? 'msgpack' : 'binary', noSubdir: false, ...options })
    return {
      db,
      put: (key, value) => db.put(key, value),
      batch: (pairs) =>
        db.transaction(() => {
          for (const [key, value] of pairs) void db.put(key, value)
        }),
      async load(chunks) {
        await db.transaction(() => {
          for (const chunk of chunks) for (const [key, value] of chunk) void db.put(key, value)
        })
        await db.flushed
      },
      read: (key) => db.get(key)?.length ?? -1,
      scan(from, count) {
        let walked = 0
        let bytes = 0
        for (const { key, value } of db.getRange({ ...(from && { start: from }), ...(count && { limit: count }) })) {
          walked++
          bytes += key.length + value.length
        }
        return { count: walked, bytes }
      },
      close: () => db.close(),
      ...methods?.(db),
    }
  },
})

export const lmdb = variant('lmdb', 'mmapdb', {})
export const lmdbDurable = variant('lmdb, waiting for its flush', 'mmapdb', { overlappingSync: false })
export const lmdbSync = variant('lmdb, putSync', 'mmapdb-sync', { overlappingSync: false }, (db) => ({
  put: (key, value) => void db.putSync(key, value),
}))
/** What it hands out is overwritten by the next read. */
export const lmdbFast = variant('lmdb, getBinaryFast', 'mmapdb-view', {}, (db) => ({
  read: (key) => db.getBinaryFast(key)?.length ?? -1,
}))
/** The system is told to read single pages: for databases larger than memory. */
export const lmdbSinglePages = variant('lmdb, single pages', 'mmapdb', { overlappingSync: false, noReadAhead: true })
