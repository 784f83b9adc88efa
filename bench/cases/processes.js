// Four processes of two threads each, each thread awaiting one durable put at a time.
import { fork } from 'node:child_process'

export const title = '4 processes of 2 threads, one durable put at a time'
export const unit = 'puts/s'
export const better = 'more'
export const stores = ['mmapdb', 'lmdb', 'lmdb-durable', 'sqlite']
export const fresh = true

export async function measure(parameters) {
  // Made by one, so that the others need not wait for each other while they start.
  const { loadStore } = await import('../stores.js')
  const made = await (await loadStore(parameters.store)).open(parameters.directory)
  const children = Array.from({ length: 4 }, (_, n) => {
    const own = { ...parameters, seed: parameters.seed + n * 1000 }
    return fork(new URL('../writer-process.js', import.meta.url), [JSON.stringify(own)])
  })
  const next = (child) =>
    new Promise((resolve, reject) => {
      child.once('message', resolve)
      child.once('exit', (code) => (code === 0 ? undefined : reject(new Error(`a writing process ended with ${code}`))))
    })
  await Promise.all(children.map(next))
  const results = children.map(next)
  for (const child of children) child.send('go')
  const figures = await Promise.all(results)
  await made.close()
  return { figure: figures.reduce((sum, { figure }) => sum + figure, 0), notes: figures[0].notes }
}
