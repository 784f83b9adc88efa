// Eight worker threads, each with the database opened for itself, each with one durable put at a time; the code is
// warm in all of them. LevelDB is left out: it cannot be opened twice.
import { runThreads } from '../threads.js'

export const title = () => '8 threads, one durable put at a time each'
export const group = 'writes'
export const unit = 'us'
export const per = 'put'
export const stores = [
  'mmapdb',
  'mmapdb-sync',
  'lmdb',
  'lmdb-durable',
  'sqlite',
  'node-sqlite',
  'rocksdb',
  'file-threads',
]
export const selected = ['mmapdb-sync', 'lmdb-durable', 'sqlite', 'node-sqlite', 'rocksdb', 'file-threads']
export const database = 'none'
export const variants = { quick: [{ threads: 8 }], full: [{ threads: 8 }] }

export const measure = (parameters) => runThreads({ ...parameters, work: 'put' })
