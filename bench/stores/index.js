// The stores under test, behind one small interface. Each is set up so that a write that has been awaited is on disk
// (but for `lmdb`, see lmdb.js). What a store cannot do is left out of a case, not imitated.
//
// A store has
//   title         its name in tables
//   package       the package that it comes from; or `module`, what is imported for it
//   kind          stores of one kind share the files of a loaded database
//   isFloor       no store at all, but the least that the work can cost
//   against       which variant of mmapdb it is compared with, where both are measured (else with the case's first)
//   open(path, { workers, shared, ...options })   returns what a case uses:
//     put(key, value)      durable when awaited; synchronous where it returns nothing
//     batch(pairs)         one atomic unit, durable when awaited
//     load(chunks)         many entries in the way that suits it best; chunks of pairs, durable at the end
//     read(key)            reads the value, returns its length, or -1
//     scan(from, count)    walks `count` entries from a key on, or all of them; returns how many, and their bytes
//     close()
//     shared               if threads need something of the first opener to open it, too
import { pathToFileURL } from 'node:url'
import { bareFile, bareFileThreads, map } from './floors.js'
import { level } from './level.js'
import { lmdb, lmdbDurable, lmdbFast, lmdbSinglePages, lmdbSync } from './lmdb.js'
import { mmapdb, mmapdbSync, mmapdbView } from './mmapdb.js'
import { rocksdb } from './rocksdb.js'
import { nodeSqlite, sqlite } from './sqlite.js'
import { Unavailable } from './unavailable.js'

const STORES = {
  mmapdb,
  'mmapdb-sync': mmapdbSync,
  'mmapdb-view': mmapdbView,
  lmdb,
  'lmdb-durable': lmdbDurable,
  'lmdb-sync': lmdbSync,
  'lmdb-fast': lmdbFast,
  'lmdb-single-pages': lmdbSinglePages,
  sqlite,
  'node-sqlite': nodeSqlite,
  level,
  rocksdb,
  map,
  file: bareFile,
  'file-threads': bareFileThreads,
}

export const storeNames = Object.keys(STORES)

/**
 * A store is named by its key above; as `NAME=path/of/dist/bundle/index.js`, another build of mmapdb; or by the path of a
 * module whose `store` is one.
 */
export async function loadStore(name) {
  const [key, build] = name.split('=')
  if (key.endsWith('.js')) return (await import(pathToFileURL(key).href)).store
  const make = STORES[key]
  if (make === undefined) throw new Error(`There is no store "${name}". Known are: ${Object.keys(STORES).join(', ')}.`)
  const store = make(build)
  return build === undefined ? store : { ...store, title: `${store.title}, ${build}` }
}

/** Opens a store whose package may be missing: an Unavailable says what and why. */
export async function openStore(name, path, options) {
  const store = await loadStore(name)
  try {
    return await store.open(path, options)
  } catch (error) {
    if (['ERR_MODULE_NOT_FOUND', 'MODULE_NOT_FOUND', 'ERR_UNKNOWN_BUILTIN_MODULE'].includes(error.code))
      throw new Unavailable('it is not installed', { cause: error })
    throw error
  }
}
