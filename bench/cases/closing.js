// Closing after 100,000 random puts in batches, and for how long that holds up the event loop.
import { count, keyOf, random, values } from '../data.js'
import { loopDelay, sleep, stopwatch } from '../meter.js'
import { openStore } from '../stores/index.js'

export const title = ({ entries, of }) => `${of}, ${count(entries)} entries of which many were written`
export const group = 'opening'
export const unit = 'ms'
export const per = 'close'
export const stores = ['mmapdb', 'lmdb', 'sqlite', 'node-sqlite', 'level', 'rocksdb']
export const database = 'copied'
const time = 'close'
const heldUp = 'event loop held up by close'
const both = [{ of: time }, { of: heldUp }]
export const variants = {
  quick: both.slice(0, 1),
  full: [1, 5].flatMap((scale) => both.map((each) => ({ ...each, scale }))),
}

const BATCHES = 10
const SIZE = 10_000

export async function measure({ store, directory, entries, seed, of }) {
  const db = await openStore(store, directory)
  const next = random(seed)
  const value = values(seed)
  for (let i = 0; i < BATCHES; i++)
    await db.batch(Array.from({ length: SIZE }, () => [keyOf(next() % entries), value()]))
  const loop = loopDelay()
  await sleep(0.01)
  const watch = stopwatch()
  await db.close()
  const costs = watch.stop()
  await sleep(0.01)
  const { loopMaxMs } = loop.stop()
  return { ...costs, figure: of === time ? costs.figure / 1000 : loopMaxMs }
}
