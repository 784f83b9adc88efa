// Values that are looked at and not kept (`Database.view`). The callback gets a copy, which is taken away when it
// returns. A buffer over the map itself would be no cheaper: one that can be taken away takes longer to make than a
// copy of the few hundred bytes that lie in one piece there, and longer values do not. And users' code never runs while
// the engine is in use.
import types from 'node:util/types'
import { describe } from '../encoding/values/kinds.js'
import { InvalidError } from '../errors.js'
import { lentNow, takeBack } from '../storage/lent-memory.js'

/**
 * Calls `use` with the bytes that `read` returns in lent memory, unless there are none, and takes them away. Throws
 * `InvalidError` if `use` is no function or returns a promise.
 */
export function view<T>(read: () => Buffer | undefined, use: (bytes: Buffer) => T): T | undefined {
  if (typeof use !== 'function')
    throw new InvalidError(`view takes a function that is called with the bytes of the value, not ${describe(use)}.`)
  const since = lentNow()
  try {
    const bytes = read()
    if (bytes === undefined) return undefined
    const result = use(bytes)
    if (!types.isPromise(result)) return result
    result.catch(() => undefined)
  } finally {
    takeBack(since)
  }
  throw new InvalidError(
    'The function that view calls must not be asynchronous: the bytes are gone when it goes on. Copy them, or use get.',
  )
}
