// One thread, one durable put at a time: what a flush costs, and what comes on top.
import { runWriters } from './writers.js'

export const title = '1 thread, one durable put at a time'
export const unit = 'puts/s'
export const better = 'more'
export const stores = ['mmapdb', 'lmdb', 'lmdb-durable', 'sqlite', 'level']
export const fresh = true

export const measure = (parameters) => runWriters({ threads: 1, ...parameters })
