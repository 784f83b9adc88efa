// Values that are looked at and not kept (`Database.view`). The callback gets a copy, and the memory of that is given
// back when it returns. A buffer over the map itself would be no cheaper: one that can be taken away again takes longer
// to make than a copy of the few hundred bytes that lie in one piece there, and longer values do not. And users' code
// never runs while the engine is in use.
import types from 'node:util/types'
import { describe } from '../encoding/values/kinds.js'
import { InvalidError } from '../errors.js'
import { giveBack } from '../storage/memory.js'

/** Throws `InvalidError` if `use` is no function. */
export function mustBeCallback(use: unknown): void {
  if (typeof use !== 'function')
    throw new InvalidError(`view takes a function that is called with the bytes of the value, not ${describe(use)}.`)
}

/** Calls `use` with `bytes`, which have memory of their own, and gives that back. Undefined if there are none. */
export function viewed<T>(bytes: Buffer | undefined, use: (bytes: Buffer) => T): T | undefined {
  if (bytes === undefined) return undefined
  try {
    const result = use(bytes)
    if (!types.isPromise(result)) return result
    result.catch(() => undefined)
  } finally {
    giveBack(bytes)
  }
  throw new InvalidError(
    'The function that view calls must not be asynchronous: the bytes are gone when it goes on. Copy them, or use get.',
  )
}
