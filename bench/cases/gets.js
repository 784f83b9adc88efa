// Random `get` of 100-byte Buffers among 1 M keys, one thread, everything in memory. Which keys are
// asked for is decided before the clock starts: their strings exist already.
import { keyOf, random } from '../data.js'
import { loadStore } from '../stores.js'

export const title = 'random get among 1 M keys, value as a Buffer'
export const unit = 'gets/s'
export const better = 'more'
export const stores = ['mmapdb', 'lmdb', 'lmdb-fast', 'sqlite', 'level']
export const prepared = 'binary'

export const measure = (parameters) => measureGets(parameters, {})

export async function measureGets({ store, directory, entries, rounds = 5, gets = 500_000 }, options) {
  const db = await (await loadStore(store)).open(directory, options)
  const next = random(7)
  // Joined and cut again: flat strings, as a program has them that has read them from somewhere.
  const keys = Array.from({ length: gets }, () => keyOf(next() % entries))
    .join(',')
    .split(',')
  let found = 0
  const round = () => {
    const start = performance.now()
    for (let i = 0; i < gets; i++) if (db.get(keys[i]) !== undefined) found++
    return gets / ((performance.now() - start) / 1000)
  }
  round()
  round()
  const figures = Array.from({ length: rounds }, round).sort((a, b) => a - b)
  if (found !== gets * (rounds + 2)) throw new Error(`${found} values found of ${gets * (rounds + 2)}`)
  await db.close()
  return { figure: figures[rounds >> 1] }
}
