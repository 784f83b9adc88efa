// What a frame changed: the entries that its operations put or removed, where they took effect. For readers of the log
// that do not have the tree.
import { NEVER } from '../encoding/expiry-key.js'
import { isDeciding } from './frame.js'
import {
  CONDITIONS,
  OP_ADD,
  OP_CLEAR,
  OP_DEL,
  OP_PUT,
  operationsOf,
  rangeOf,
  type OperationCursor,
} from './operation.js'
import { DecidedCursor, VERDICT } from './outcomes.js'

export interface LoggedChange {
  /** Which operation of the frame made it, from 0. */
  readonly index: number
  readonly type: 'put' | 'del' | 'clear'
  /** Of a clear: the first key that was removed. */
  readonly key: Buffer
  /** Of a put. */
  readonly value?: Buffer | undefined
  /** Of a put: when the entry expires, milliseconds since 1970; `NEVER` if it does not. */
  readonly expiresAt: number
  /** Of a clear: the key before which it ended; undefined if it had no end. */
  readonly to?: Buffer | undefined
}

/**
 * The changes of the frame at [at, at + lengthBytes), in order, where they lie. `outcome`: needed for a frame in which
 * something was to be decided. Throws `CorruptError` if the frame or its outcome is malformed.
 */
export function* changesOf(bytes: Buffer, at: number, lengthBytes: number, outcome?: Buffer): Generator<LoggedChange> {
  const operations = operationsOf(bytes, at, lengthBytes)
  if (!isDeciding(bytes, at)) {
    for (let index = 0; operations.next(); index++) {
      const { key, value, expiresAt } = operations
      if (operations.kind === OP_CLEAR) yield clearOf(operations, index)
      else yield { index, type: 'put', key, value, expiresAt }
    }
    return
  }
  if (outcome === undefined) throw new Error('the outcome of a frame is missing')
  const decided = new DecidedCursor(operations, outcome)
  for (let index = 0; decided.next(); index++) {
    if (decided.verdict !== VERDICT.DONE) continue
    const { kind, key } = operations
    const { expiresAt } = decided
    if (kind === OP_PUT) yield { index, type: 'put', key, value: operations.value, expiresAt }
    else if (kind === OP_ADD) yield { index, type: 'put', key, value: decided.sum, expiresAt }
    else if (kind === OP_DEL && decided.removed) yield { index, type: 'del', key, expiresAt: NEVER }
    else if (kind === OP_CLEAR) yield clearOf(operations, index)
  }
}

function clearOf(operation: OperationCursor, index: number): LoggedChange {
  const [key, to] = rangeOf(operation)
  return { index, type: 'clear', key, to, expiresAt: NEVER }
}

/**
 * What can be told of a frame whose outcome is lost: the changes of those writes that take effect whatever they find,
 * puts and deletes without conditions. `undecided`: how many writes there are besides.
 */
export function certainChangesOf(
  bytes: Buffer,
  at: number,
  lengthBytes: number,
): { readonly changes: readonly LoggedChange[]; readonly undecided: number } {
  const changes: LoggedChange[] = []
  let undecided = 0
  let write: LoggedChange[] = []
  let isCertain = true
  const operations = operationsOf(bytes, at, lengthBytes)
  const finish = (): void => {
    if (isCertain) changes.push(...write)
    else undecided++
    write = []
    isCertain = true
  }
  for (let count = 0; operations.next(); count++) {
    const { kind, flags, key } = operations
    if (operations.beginsWrite && count > 0) finish()
    if (kind === OP_CLEAR) write.push(clearOf(operations, count))
    else if ((kind !== OP_PUT && kind !== OP_DEL) || (flags & CONDITIONS) !== 0) isCertain = false
    else
      write.push(
        kind === OP_PUT
          ? { index: count, type: 'put', key, value: operations.value, expiresAt: operations.expiresAt }
          : { index: count, type: 'del', key, expiresAt: NEVER },
      )
  }
  finish()
  return { changes, undecided }
}
