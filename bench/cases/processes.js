// Four processes of one thread each, with one durable put at a time.
import { fork } from 'node:child_process'
import { openStore } from '../stores/index.js'

export const title = () => '4 processes, one durable put at a time each'
export const group = 'writes'
export const unit = 'us'
export const per = 'put'
export const stores = ['mmapdb', 'mmapdb-sync', 'lmdb', 'lmdb-durable', 'sqlite', 'node-sqlite']
export const selected = ['mmapdb-sync', 'lmdb-durable', 'sqlite', 'node-sqlite']
export const database = 'none'
export const variants = { quick: [{ processes: 4 }], full: [{ processes: 4 }] }

export async function measure({ processes, ...parameters }) {
  // It creates what the others open, and stays open beside them.
  const first = await openStore(parameters.store, parameters.directory, { workers: 0 })
  const children = Array.from({ length: processes }, (_, n) => {
    const own = { ...parameters, work: 'put', threads: 1, seed: parameters.seed + n * 1000 }
    return fork(new URL('../process.js', import.meta.url), [JSON.stringify(own)])
  })
  const next = (child) =>
    new Promise((resolve, reject) => {
      child.once('message', resolve)
      child.once('exit', (code) => reject(new Error(`a writing process ended with ${code}`)))
    })
  await Promise.all(children.map(next))
  const results = Promise.all(children.map(next))
  for (const child of children) child.send('go')
  const each = await results
  await first.close()
  // Side by side: their rates add up.
  const sum = (of) => each.reduce((total, result) => total + of(result), 0)
  const perUs = sum(({ figure }) => 1 / figure)
  const operations = sum((result) => result.operations)
  return {
    figure: 1 / perUs,
    cpuUs: sum((result) => result.cpuUs * result.operations) / operations,
    // What they share counts for each of them.
    peakMiB: sum(({ peakMiB }) => peakMiB),
    anonymousMiB: sum(({ anonymousMiB }) => anonymousMiB),
    // Of the process whose puts take longest.
    latencies: each.sort((a, b) => b.latencies.put.p99 - a.latencies.put.p99)[0].latencies,
    notes: { slowestProcess: Math.min(...each.map((r) => r.operations)) / Math.max(...each.map((r) => r.operations)) },
  }
}
