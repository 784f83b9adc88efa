// `update`: to replace the value of one key by what a function makes of it.
//
// The record lock of the key is held from the read until the new value is on disk and visible. So updates of one key
// take turns, in all threads and processes, and each sees what the one before has written; those of different keys go
// on side by side and share flushes. The write is conditional on the version that was read, since a writer that does
// not ask for the lock may write as well: then the function is run again, with what is there by then.
//
// If this thread dies before the write is in the log, nothing has changed; after that the write counts or not, as any
// write does. The lock ends with the thread in either case.
import type { KeySpace } from '../encoding/key-space.js'
import type { Key } from '../encoding/keys.js'
import { conditionsOf } from '../engine/commit/conditions.js'
import { NEVER } from '../encoding/expiry-key.js'
import { expiringAt } from '../engine/commit/expiry.js'
import type { Entry } from '../engine/read/snapshot.js'
import { ConflictError } from '../errors.js'
import { Deadline, mustBeFunction, updateOptions, type UpdateOptions } from './change-options.js'
import type { ChangeHost } from './change-host.js'
import { nameOfKey } from './record-lock.js'
import { refuseInTransaction } from './run-transaction.js'
import { TransactionLocks } from './transaction-locks.js'

/** What makes the new value: undefined removes the entry. */
export type Updating = (value: unknown, entry: Entry | undefined) => unknown

/** See `Database.update`. */
export async function update(
  host: ChangeHost,
  space: KeySpace,
  key: Key,
  change: Updating,
  options: UpdateOptions | undefined,
): Promise<unknown> {
  mustBeFunction(change, 'update')
  const { timeoutMs, signal } = updateOptions(options, host.timeoutMs)
  const { engine } = host
  // A key may be an array, or bytes, that its user changes meanwhile.
  const treeKey = space.encoded(key)
  const taken = space.decode(treeKey, 0, treeKey.length)
  refuseInTransaction(host, 'update')
  host.assertOpen()
  engine.parts.openState.assertWritable()
  const { recordLocks } = engine
  const deadline = new Deadline(timeoutMs)
  const grant = await recordLocks.acquire([treeKey], {
    mode: 'exclusive',
    timeoutMs,
    signal,
    nameOf: nameOfKey,
    catchUp: host.catchUp,
  })
  const others = new TransactionLocks(host, deadline, signal)
  host.begin()
  try {
    for (;;) {
      host.assertOpen()
      const entry = engine.getEntry(taken, space)
      const value = await host.outcomeOf(change(entry?.value, entry), { signal })
      signal?.throwIfAborted()
      if (value === undefined && entry === undefined) return undefined
      const conditions = conditionsOf(entry?.version ?? 0, undefined, undefined)
      const took = await host.write((frame) => {
        engine.stores.renew(space)
        if (value === undefined) engine.operations.del(frame, taken, conditions, space)
        else {
          // What is there keeps its time.
          const { operations } = engine
          const kept = expiringAt(conditions, entry?.expiresAt ?? NEVER)
          operations.put(frame, taken, value, kept, space)
        }
      })
      if (took) return value
      signal?.throwIfAborted()
      if (deadline.isOver) throw neverInTime(nameOfKey(treeKey), timeoutMs)
      // It may have been a transaction: then this one takes turns with them.
      await others.acquire([treeKey])
    }
  } finally {
    host.end()
    others.release()
    recordLocks.release(grant)
  }
}

const neverInTime = (name: string, timeoutMs: number): ConflictError =>
  new ConflictError(
    `The entry of ${name} was changed by others each time that this update was about to replace it, for ${timeoutMs} ms. ` +
      'Nothing was written. Let them use "update", too, or allow more time with timeoutMs.',
  )
