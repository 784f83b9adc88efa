// Random reads of keys that exist, each value as bytes; everything is in memory, and the code is warm.
import { count, keyOf, random } from '../data.js'
import { latencies, median, stopwatch } from '../meter.js'
import { openStore } from '../stores/index.js'

export const title = ({ entries }) => `random get among ${count(entries)} keys`
export const group = 'reads'
export const unit = 'us'
export const per = 'get'
export const stores = ['mmapdb', 'mmapdb-view', 'lmdb', 'lmdb-fast', 'sqlite', 'node-sqlite', 'level', 'rocksdb', 'map']
export const database = 'loaded'
export const variants = { quick: [{ scale: 1 }], full: [{ scale: 1 }, { scale: 5 }, { scale: 10 }] }

const ROUNDS = 5

export async function measure({ store, directory, entries, seed, gets = Math.min(500_000, entries), text }) {
  const db = await openStore(store, directory, { workers: 0, entries, text })
  const next = random(seed)
  // Joined and cut again: flat strings, as a program has them that has read them from somewhere.
  const keys = Array.from({ length: gets }, () => keyOf(next() % entries))
    .join(',')
    .split(',')
  let missing = 0
  const round = () => {
    const watch = stopwatch()
    for (let i = 0; i < gets; i++) if (db.read(keys[i]) < 0) missing++
    return watch.stop(gets)
  }
  round()
  round()
  const rounds = Array.from({ length: ROUNDS }, round)
  // Apart, since looking at the clock takes a part of the time of a read.
  const each = latencies()
  for (let i = 0; i < Math.min(gets, 100_000); i++) {
    const start = performance.now()
    if (db.read(keys[i]) < 0) missing++
    each.record(performance.now() - start)
  }
  if (missing > 0) throw new Error(`${missing} values are missing`)
  await db.close()
  return {
    ...rounds[0],
    figure: median(rounds.map(({ figure }) => figure)),
    cpuUs: median(rounds.map(({ cpuUs }) => cpuUs)),
    latencies: { get: each.summary() },
  }
}
