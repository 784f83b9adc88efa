// Opening a database that was closed cleanly: from the beginning of a new process, loading the package included, to the
// first value that is read; and the call of `open` alone, in a new process, too. Its files are in memory.
import { count, keyOf } from '../data.js'
import { stopwatch } from '../meter.js'
import { loadStore, openStore } from '../stores/index.js'

export const title = ({ entries, of }) => `${of} after a clean close, ${count(entries)} entries`
export const group = 'opening'
export const unit = 'ms'
export const per = 'opening'
export const stores = ['mmapdb', 'lmdb', 'sqlite', 'node-sqlite', 'level', 'rocksdb']
export const database = 'loaded'
export const isCold = true
const whole = 'new process to first get'
const call = 'open'
export const variants = {
  quick: [{ of: whole }, { of: call }],
  full: [1, 5].flatMap((scale) => [
    { of: whole, scale },
    { of: call, scale },
  ]),
}

export async function measure({ store, directory, entries, of }) {
  const { package: name, module = name } = await loadStore(store)
  // What is missing is reported by openStore.
  if (of === call && module !== undefined) await import(module).catch(() => undefined)
  const watch = stopwatch()
  const db = await openStore(store, directory)
  const costs = watch.stop()
  if (db.read(keyOf(entries - 1)) < 0) throw new Error('not there')
  // The clock of a process begins when it does.
  const sinceStart = performance.now()
  await db.close()
  return { ...costs, figure: of === whole ? sinceStart : costs.figure / 1000 }
}
