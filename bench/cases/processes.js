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
  const children = await Promise.all(
    Array.from({ length: 4 }, () => {
      const child = fork(new URL('../writer-process.js', import.meta.url), [JSON.stringify(parameters)])
      return new Promise((resolve, reject) => {
        child.once('message', resolve)
        child.once('exit', (code) => (code === 0 ? undefined : reject(new Error(`a writing process ended with ${code}`))))
      })
    }),
  )
  await made.close()
  return { figure: children.reduce((sum, { figure }) => sum + figure, 0), notes: children[0].notes }
}
