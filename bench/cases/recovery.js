// A process writes about 64 MiB of log and is killed; the next one replays it. Written as single puts
// that share frames as they come (coalesced), as frames of one put each, and as batches of 1000.
import { fork } from 'node:child_process'
import { openStore } from '../stores/index.js'

export const title = ({ writes }) => `replay of 64 MiB of log, ${writes}`
export const group = 'opening'
export const unit = 'us'
export const per = 'record'
export const stores = ['mmapdb']
export const database = 'none'
export const isCold = true
export const variants = { full: [{ writes: 'single puts' }, { writes: 'coalesced puts' }, { writes: 'batches' }] }

export async function measure({ store, directory, writes, logBytes = 64 * 2 ** 20 }) {
  await new Promise((resolve, reject) => {
    const child = fork(new URL('../log-writer.js', import.meta.url), [
      JSON.stringify({ store, directory, writes, logBytes }),
    ])
    child.once('message', () => child.kill('SIGKILL'))
    child.once('exit', (code, signal) =>
      signal === 'SIGKILL' ? resolve() : reject(new Error(`the writer ended with ${code}`)),
    )
  })
  const { db } = await openStore(store, directory)
  const { operationsReplayed, framesReplayed, durationMs, fromLsn, toLsn } = db.recovery
  await db.close()
  return {
    figure: (durationMs * 1000) / operationsReplayed,
    notes: {
      operations: operationsReplayed,
      frames: framesReplayed,
      durationMs,
      MiB: ((toLsn - fromLsn) * 8) / 2 ** 20,
    },
  }
}
