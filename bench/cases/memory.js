// Memory of the process over a long load by awaited batches: it must not grow with what is written.
// The figure is by how much heap and external memory grew between a quarter of the way and the end.
import { keyOf, random, values } from '../data.js'
import { openStore } from '../stores/index.js'

export const title = ({ workers }) => `growth of heap and external memory over 5 M puts, ${workers} workers`
export const group = 'space'
export const unit = 'MiB'
export const per = '5 M puts'
export const stores = ['mmapdb']
export const database = 'none'
export const variants = { full: [{ workers: 0 }, { workers: 2 }] }

export async function measure({ store, directory, workers, puts = 5_000_000 }) {
  const db = await openStore(store, directory, { workers })
  const next = random(9)
  const value = values(9)
  const samples = []
  for (let i = 0; i < puts; i += 1000) {
    await Promise.all(Array.from({ length: 1000 }, () => db.put(keyOf(next() % 1_000_000), value())))
    if (i % 250_000 === 0) {
      globalThis.gc?.()
      const { heapUsed, external, arrayBuffers, rss } = process.memoryUsage()
      samples.push({ puts: i, heapUsed, external, arrayBuffers, rss })
    }
  }
  await db.close()
  const total = ({ heapUsed, external }) => (heapUsed + external) / 2 ** 20
  const quarter = samples.slice(Math.floor(samples.length / 4))
  const mid = (list) => list.map(total).sort((a, b) => a - b)[list.length >> 1]
  const half = quarter.length >> 1
  return {
    figure: mid(quarter.slice(half)) - mid(quarter.slice(0, half)),
    notes: {
      heapMiB: quarter.at(-1).heapUsed / 2 ** 20,
      externalMiB: quarter.at(-1).external / 2 ** 20,
      mostMiB: Math.max(...samples.map(total)),
    },
  }
}
