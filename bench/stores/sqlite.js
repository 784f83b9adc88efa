// SQLite, by two bindings that run the same statements: better-sqlite3, and the one that Node.js has had since 22.5.
// WAL, synchronous = FULL, 64 MiB of cache, and the file mapped for reads. All calls are synchronous.
import { mkdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { loadByBatches, walk } from './pairs.js'
import { Unavailable } from './unavailable.js'

const MAJOR = Number(process.versions.node.split('.')[0])

const PRAGMAS = [
  'PRAGMA busy_timeout = 60000',
  'PRAGMA journal_mode = WAL',
  'PRAGMA synchronous = FULL',
  'PRAGMA cache_size = -65536',
  `PRAGMA mmap_size = ${2 ** 40}`,
]

const binding = (title, name, connect) => () => ({
  title,
  kind: 'sqlite',
  package: name,
  against: 'mmapdb-sync',
  async open(path) {
    mkdirSync(path, { recursive: true })
    const db = await connect(`${path}/db.sqlite`)
    for (const pragma of PRAGMAS) db.exec(pragma)
    db.exec('CREATE TABLE IF NOT EXISTS kv (k TEXT PRIMARY KEY, v BLOB) WITHOUT ROWID')
    const put = db.prepare('INSERT INTO kv VALUES (?, ?) ON CONFLICT (k) DO UPDATE SET v = excluded.v')
    const get = asArrays(db.prepare('SELECT v FROM kv WHERE k = ?'))
    const from = asArrays(db.prepare('SELECT k, v FROM kv WHERE k >= ? ORDER BY k LIMIT ?'))
    const atOnce = (act) => {
      db.exec('BEGIN IMMEDIATE')
      try {
        act()
        db.exec('COMMIT')
      } catch (error) {
        db.exec('ROLLBACK')
        throw error
      }
    }
    const batch = (pairs) =>
      atOnce(() => {
        for (const [key, value] of pairs) put.run(key, value)
      })
    return {
      db,
      put: (key, value) => void put.run(key, value),
      batch,
      load: (chunks) => loadByBatches(batch, chunks),
      read: (key) => get.get(key)?.[0].length ?? -1,
      scan: (start = '', count = -1) => walk(from.iterate(start, count)),
      close: () => void db.close(),
    }
  },
})

/** Rows as arrays, which both bindings make faster than objects. */
function asArrays(statement) {
  if (statement.raw !== undefined) return statement.raw()
  statement.setReturnArrays?.(true)
  return statement.setReturnArrays === undefined ? ofObjects(statement) : statement
}

/** For the first versions of node:sqlite. */
const ofObjects = (statement) => ({
  get: (...parameters) => {
    const row = statement.get(...parameters)
    return row && Object.values(row)
  },
  *iterate(...parameters) {
    for (const row of statement.iterate(...parameters)) yield Object.values(row)
  },
})

export const sqlite = binding('better-sqlite3', 'better-sqlite3', async (file) => {
  const { version } = createRequire(import.meta.url)('better-sqlite3/package.json')
  // It would end the process.
  if (MAJOR < 22 && Number(version.split('.')[0]) > 12) throw new Unavailable(`${version} needs Node.js 22 or newer`)
  const { default: Database } = await import('better-sqlite3')
  return new Database(file, { timeout: 60_000 })
})

export const nodeSqlite = binding('node:sqlite', undefined, async (file) => {
  if (MAJOR < 22) throw new Unavailable('it needs Node.js 22.5 or newer')
  const { DatabaseSync } = await import('node:sqlite')
  return new DatabaseSync(file)
})
