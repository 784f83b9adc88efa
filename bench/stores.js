// The stores under test behind one small interface, each set up so that a write that has been
// awaited is on disk. What a store cannot do in that way is left out of a case, not imitated.
import { pathToFileURL } from 'node:url'

/**
 * A store is named `kind` or `kind=path of a build of mmapdb`. `open(path, options)` returns
 *   put(key, value)       durable when awaited
 *   batch(pairs)          one atomic unit, durable when awaited
 *   get(key)              the value, as a Buffer or string of its own
 *   scan()                walks all entries in order; returns how many, and bytes of keys and values
 *   close()
 * options: { text: values are strings and not Buffers, workers: for mmapdb }
 */
export async function loadStore(name) {
  const [kind, build] = name.split('=')
  const store = STORES[kind]
  if (store === undefined) throw new Error(`There is no store "${name}". Known are: ${Object.keys(STORES).join(', ')}.`)
  return store(build)
}

const STORES = {
  async mmapdb(build = new URL('../dist/src/index.js', import.meta.url).href) {
    const { open } = await import(build.includes('://') ? build : pathToFileURL(build).href)
    return {
      async open(path, { text = false, workers = 0, encoding = text ? 'msgpack' : 'binary', ...options } = {}) {
        const db = await open(path, { valueEncoding: encoding, workers, ...options })
        return {
          db,
          put: (key, value) => db.put(key, value),
          batch: (pairs) => db.batch(pairs.map(([key, value]) => ({ type: 'put', key, value }))),
          get: (key) => db.get(key),
          scan: () => scanPairs(db.range()),
          close: () => db.close(),
        }
      },
    }
  },

  /** As it comes: a write resolves once it is committed and visible; its flush may still be under way. */
  lmdb: () => lmdb({}),
  /** A write resolves once it is flushed, as with everybody else here. */
  'lmdb-durable': () => lmdb({ overlappingSync: false }),
  /** The same, and the system is told to read single pages: for databases larger than memory. */
  'lmdb-single-pages': () => lmdb({ overlappingSync: false, noReadAhead: true }),
  /** `get` returns a view that the next call overwrites. */
  'lmdb-fast': () => lmdb({}, (db) => (key) => db.getBinaryFast(key)),

  async sqlite() {
    const { default: Database } = await import('better-sqlite3')
    return {
      async open(path) {
        const { mkdirSync } = await import('node:fs')
        mkdirSync(path, { recursive: true })
        const db = new Database(`${path}/db.sqlite`, { timeout: 60_000 })
        db.pragma('journal_mode = WAL')
        db.pragma('synchronous = FULL')
        db.pragma('busy_timeout = 60000')
        db.exec('CREATE TABLE IF NOT EXISTS kv (k TEXT PRIMARY KEY, v BLOB) WITHOUT ROWID')
        const put = db.prepare('INSERT INTO kv VALUES (?, ?) ON CONFLICT (k) DO UPDATE SET v = excluded.v')
        const get = db.prepare('SELECT v FROM kv WHERE k = ?').pluck()
        const all = db.prepare('SELECT k, v FROM kv ORDER BY k').raw()
        const batch = db.transaction((pairs) => {
          for (const [key, value] of pairs) put.run(key, value)
        })
        return {
          db,
          put: (key, value) => void put.run(key, value),
          batch: (pairs) => batch.immediate(pairs),
          get: (key) => get.get(key),
          scan: () => scanPairs(all.iterate()),
          close: () => void db.close(),
        }
      },
    }
  },

  async level() {
    const { ClassicLevel } = await import('classic-level')
    return {
      async open(path, { text = false } = {}) {
        const db = new ClassicLevel(path, { valueEncoding: text ? 'utf8' : 'buffer' })
        await db.open()
        return {
          db,
          put: (key, value) => db.put(key, value, { sync: true }),
          batch: (pairs) =>
            db.batch(
              pairs.map(([key, value]) => ({ type: 'put', key, value })),
              { sync: true },
            ),
          get: (key) => db.getSync(key),
          async scan() {
            let count = 0
            let bytes = 0
            const iterator = db.iterator()
            for (;;) {
              const entries = await iterator.nextv(1000)
              if (entries.length === 0) break
              for (const [key, value] of entries) {
                count++
                bytes += key.length + value.length
              }
            }
            await iterator.close()
            return { count, bytes }
          },
          close: () => db.close(),
        }
      },
    }
  },
}

async function lmdb(options, getter = (db) => (key) => db.get(key)) {
  const { open } = await import('lmdb')
  return {
    async open(path, { text = false } = {}) {
      const db = open({ path, encoding: text ? 'msgpack' : 'binary', noSubdir: false, ...options })
      return {
        db,
        put: (key, value) => db.put(key, value),
        batch: (pairs) =>
          db.transaction(() => {
            for (const [key, value] of pairs) void db.put(key, value)
          }),
        get: getter(db),
        scan() {
          let count = 0
          let bytes = 0
          for (const { key, value } of db.getRange()) {
            count++
            bytes += key.length + value.length
          }
          return { count, bytes }
        },
        close: () => db.close(),
      }
    },
  }
}

function scanPairs(pairs) {
  let count = 0
  let bytes = 0
  for (const [key, value] of pairs) {
    count++
    bytes += key.length + value.length
  }
  return { count, bytes }
}
