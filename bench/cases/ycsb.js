// YCSB's core workloads, by 8 threads on records of 1,000 bytes: see work/ycsb.js.
import { RECORD_BYTES } from '../work/ycsb.js'
import { runThreads } from '../threads.js'

const SAYS = {
  A: 'half reads, half updates',
  B: '95 % reads, 5 % updates',
  C: 'reads',
  D: '95 % reads of the latest, 5 % inserts',
  E: '95 % short ranges, 5 % inserts',
  F: 'half reads, half read-modify-writes',
}

export const title = ({ workload }) => `YCSB ${workload}: ${SAYS[workload]}, 8 threads`
export const group = 'ycsb'
export const unit = 'us'
export const per = 'operation'
export const stores = ['mmapdb', 'mmapdb-sync', 'lmdb', 'lmdb-durable', 'sqlite', 'node-sqlite', 'rocksdb']
export const selected = ['mmapdb-sync', 'lmdb-durable', 'sqlite', 'node-sqlite', 'rocksdb']
export const database = 'copied'
const workload = (name) => ({ workload: name, valueBytes: RECORD_BYTES })
/** C does not write, so it is the same with each way of writing. */
export const skips = ({ workload }, store) => workload === 'C' && /-(sync|durable)$/.test(store)
export const variants = {
  quick: ['A'].map(workload),
  full: Object.keys(SAYS).map(workload),
}

export const measure = (parameters) =>
  runThreads({
    ...parameters,
    threads: 8,
    work: 'ycsb',
    inserted: new Int32Array(new SharedArrayBuffer(4)),
  })
