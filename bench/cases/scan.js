// All entries in the order of their keys, keys and values; in memory, and the code is warm.
import { count } from '../data.js'
import { median, stopwatch } from '../meter.js'
import { openStore } from '../stores/index.js'

export const title = ({ entries }) => `scan of ${count(entries)} entries, keys and values`
export const group = 'reads'
export const unit = 'us'
export const per = 'entry'
export const stores = ['mmapdb', 'lmdb', 'sqlite', 'node-sqlite', 'level', 'rocksdb', 'map']
export const database = 'loaded'
export const variants = { quick: [{}], full: [{}] }

const ROUNDS = 5

export async function measure({ store, directory, entries }) {
  const db = await openStore(store, directory, { workers: 0, entries })
  const round = async () => {
    const watch = stopwatch()
    const { count: walked } = await db.scan()
    if (walked !== entries) throw new Error(`${walked} entries and not ${entries}`)
    return watch.stop(entries)
  }
  await round()
  const rounds = []
  for (let i = 0; i < ROUNDS; i++) rounds.push(await round())
  await db.close()
  return {
    ...rounds[0],
    figure: median(rounds.map(({ figure }) => figure)),
    cpuUs: median(rounds.map(({ cpuUs }) => cpuUs)),
  }
}
