// Long work on a database that is not open here.
import { resolveOptions } from '../engine/options.js'
import { foreseen } from '../errors.js'
import { Lane } from '../workers/lane.js'
import { doneThere, resultOf, type LongWork } from '../workers/long-work.js'
import { threadPool } from '../workers/thread-pool.js'

/** Has a worker do it that has no database open. */
export async function inWorker<T>(name: string, request: { readonly target: string }, work: LongWork): Promise<T> {
  const nowhere = { options: resolveOptions(request.target), expected: { directory: { device: 0, inode: 0 } } }
  const lane = new Lane(threadPool, 'copies', 1, { ...nowhere, order: new SharedArrayBuffer(4) })
  try {
    return resultOf(
      await doneThere<T>(lane, name, { request }, work).catch((error: unknown) => {
        throw foreseen(error)
      }),
    )
  } finally {
    await lane.close()
  }
}
