// mmapdb: as it comes; with its synchronous writes, which suit threads of one's own; with views in place of copies.
import { pathToFileURL } from 'node:url'
import { loadByBatches, operationsOf, walk } from './pairs.js'
import { Unavailable } from './unavailable.js'

const BUILD = new URL('../../dist/bundle/index.js', import.meta.url).href

const moduleOf = (build) => (build === undefined ? BUILD : pathToFileURL(build).href)

const variant = (title, methods) => (build) => ({
  title,
  kind: 'mmapdb',
  module: moduleOf(build),
  async open(path, { text = false, workers, checkpointBytes } = {}) {
    const { open } = await import(moduleOf(build))
    const db = await open(path, { valueEncoding: text ? 'msgpack' : 'binary', workers, checkpointBytes })
    const batch = (pairs) => db.batch(operationsOf(pairs))
    return {
      db,
      put: (key, value) => db.put(key, value),
      batch,
      load: (chunks) => loadByBatches(batch, chunks),
      read: (key) => db.get(key)?.length ?? -1,
      scan: (from, count) => walk(db.range({ ...(from && { gte: from }), ...(count && { limit: count }) })),
      close: () => db.close(),
      ...methods(db),
    }
  },
})

export const mmapdb = variant('mmapdb', () => ({}))

export const mmapdbSync = variant('mmapdb, putSync', (db) => ({ put: (key, value) => void db.putSync(key, value) }))

export const mmapdbView = variant('mmapdb, view', (db) => {
  if (db.view === undefined) throw new Unavailable('this build has no view')
  const length = (bytes) => bytes.length
  return { read: (key) => db.view(key, length) ?? -1 }
})
