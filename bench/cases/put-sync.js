// One thread that waits for each of its puts, synchronously: what a flush costs, and what comes on top.
import { runThreads } from '../threads.js'

export const title = () => '1 thread, one durable put at a time, synchronous'
export const group = 'writes'
export const unit = 'us'
export const per = 'put'
export const stores = ['mmapdb-sync', 'lmdb-sync', 'sqlite', 'node-sqlite', 'rocksdb', 'file-threads']
export const database = 'none'
export const variants = { quick: [{}], full: [{}] }

export const measure = (parameters) => runThreads({ ...parameters, threads: 1, work: 'put' })
