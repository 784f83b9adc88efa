// Creating an empty database and closing it again, as test suites do by the hundred; the code is warm.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { median, stopwatch } from '../meter.js'
import { openStore } from '../stores/index.js'

export const title = ({ of }) => `${of} of an empty database`
export const group = 'opening'
export const unit = 'ms'
export const per = 'call'
export const stores = ['mmapdb', 'lmdb', 'sqlite', 'node-sqlite', 'level', 'rocksdb']
export const database = 'none'
const both = [{ of: 'open' }, { of: 'close' }]
export const variants = { quick: both, full: both }

const WARM_UP = 5
const DATABASES = 9

export async function measure({ store, directory, of }) {
  const costs = []
  mkdirSync(directory)
  for (let i = 0; i < WARM_UP + DATABASES; i++) {
    const opening = stopwatch()
    const db = await openStore(store, join(directory, String(i)))
    const opened = opening.stop()
    const closing = stopwatch()
    await db.close()
    if (i >= WARM_UP) costs.push(of === 'open' ? opened : closing.stop())
  }
  return {
    ...costs.at(-1),
    figure: median(costs.map(({ figure }) => figure)) / 1000,
    cpuUs: median(costs.map(({ cpuUs }) => cpuUs)),
  }
}
