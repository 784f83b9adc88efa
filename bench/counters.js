// Ways to raise a counter, of several stores: `raise(n)` adds one to counter n and is on disk when it has been awaited.
import { mkdirSync } from 'node:fs'

/** The counters of a store, opened once more, to be raised in one of the ways. */
export const openCounters = (way, directory) => WAYS[way](directory)

export const WAYS = {
  'mmapdb-add': (directory) => mmapdb(directory, (db) => (n) => db.add(n, 1)),
  'mmapdb-update': (directory) => mmapdb(directory, (db) => (n) => db.update(n, (value = 0) => value + 1)),
  'mmapdb-transaction': (directory) =>
    mmapdb(
      directory,
      (db) => (n) =>
        db.transaction((tx) => tx.put(n, (tx.get(n) ?? 0) + 1), { retries: 1_000_000, timeoutMs: Infinity }),
    ),
  'mmapdb-ifVersion': (directory) =>
    mmapdb(directory, (db) => async (n) => {
      for (;;) {
        const { value = 0, version = 0 } = db.getEntry(n) ?? {}
        if (await db.put(n, value + 1, { ifVersion: version })) return
      }
    }),

  /** A synchronous transaction. */
  'lmdb-transactionSync': (directory) =>
    lmdb(directory, { overlappingSync: false }, (db) => ({
      isSynchronous: true,
      raise: (n) => db.transactionSync(() => db.putSync(n, (db.get(n) ?? 0) + 1)),
    })),
  /** Retried until the version was the one that was read. */
  'lmdb-ifVersion': (directory) =>
    lmdb(directory, { useVersions: true }, (db) => ({
      async raise(n) {
        for (;;) {
          const entry = db.getEntry(n)
          const version = entry?.version ?? 0
          const put = () => db.put(n, (entry?.value ?? 0) + 1, version + 1)
          const took = entry === undefined ? await db.ifNoExists(n, put) : await db.ifVersion(n, version, put)
          if (!took) continue
          await db.flushed
          return
        }
      },
    })),

  'sqlite-immediate': async (directory) => {
    const { default: Database } = await import('better-sqlite3')
    mkdirSync(directory, { recursive: true })
    const db = new Database(`${directory}/db.sqlite`, { timeout: 60_000 })
    db.pragma('journal_mode = WAL')
    db.pragma('synchronous = FULL')
    db.exec('CREATE TABLE IF NOT EXISTS counters (n INTEGER PRIMARY KEY, value INTEGER)')
    const get = db.prepare('SELECT value FROM counters WHERE n = ?').pluck()
    const put = db.prepare('INSERT INTO counters VALUES (?, ?) ON CONFLICT (n) DO UPDATE SET value = excluded.value')
    const raise = db.transaction((n) => put.run(n, (get.get(n) ?? 0) + 1))
    return {
      isSynchronous: true,
      raise: (n) => void raise.immediate(n),
      sum: () => db.prepare('SELECT sum(value) FROM counters').pluck().get(),
      close: () => void db.close(),
    }
  },
}

async function mmapdb(directory, way) {
  const { open } = await import('../dist/bundle/index.js')
  const db = await open(directory, { workers: 0 })
  return {
    raise: way(db),
    sum: (counters) => total((n) => db.get(n), counters),
    close: () => db.close(),
  }
}

async function lmdb(directory, options, way) {
  const { open } = await import('lmdb')
  const db = open({ path: directory, encoding: 'msgpack', noSubdir: false, ...options })
  return { ...way(db), sum: (counters) => total((n) => db.get(n), counters), close: () => db.close() }
}

function total(get, counters) {
  let sum = 0
  for (let n = 0; n < counters; n++) sum += get(n) ?? 0
  return sum
}
