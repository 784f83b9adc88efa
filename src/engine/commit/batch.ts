// The operations of a batch as its user gives them: any iterable of any objects, which may run users' code at every
// step. Each field is read once.
import { InvalidError, MmapdbError } from '../../errors.js'
import { isLength, quoted, reason, isInstance } from '../../describe.js'
import type { Key } from '../../encoding/keys.js'
import type { OperationConditions } from '../../wal/frame-builder.js'
import { conditionsOf, type Conditions } from './conditions.js'
import { withExpiry, type Clock, type Expiry } from './expiry.js'

/**
 * One operation of a batch. `check` changes nothing: the batch takes effect only if its conditions hold. `add` adds a
 * number or bigint, as `Database.add` does; its `ttlMs` or `expiresAt` counts if there is no entry yet.
 */
export type BatchOperation<V = unknown, K extends Key = Key> =
  | ({ readonly type: 'put'; readonly key: K; readonly value: V } & Conditions & Expiry)
  | ({ readonly type: 'del'; readonly key: K } & Conditions)
  | ({ readonly type: 'add'; readonly key: K; readonly delta: number | bigint } & Conditions & Expiry)
  | ({ readonly type: 'check'; readonly key: K } & Conditions)

/** @internal An operation as it was read: each field once. */
interface Taken {
  readonly type: BatchOperation['type']
  readonly key: Key
  readonly value: unknown
  readonly delta: unknown
  readonly conditions: OperationConditions
}

/** @internal */
type Take = (operation: Taken) => void

const FIELDS = 'type, key, value, delta, ifVersion, ifAbsent, ifPresent, ttlMs, expiresAt'

const TYPES: readonly unknown[] = ['put', 'del', 'add', 'check'] satisfies BatchOperation['type'][]

/**
 * @internal
 * Reads all operations, one after the other. Throws `InvalidError` for anything that is not an operation. What the
 * iterable's own code throws is passed on as it is.
 */
export function forEachTaken(operations: Iterable<BatchOperation>, clock: Clock, take: Take): void {
  const method = methodOf(operations)
  if (method !== Array.prototype[Symbol.iterator]) {
    walk(operations, method, (operation, i) => takeOne(operation, i, clock, take))
    return
  }
  const array = operations as unknown as ArrayLike<unknown>
  for (let i = 0; i < lengthOf(array); i++) takeOne(elementOf(array, i), i, clock, take)
}

function takeOne(operation: unknown, i: number, clock: Clock, take: Take): void {
  if (typeof operation !== 'object' || operation === null) {
    throw new InvalidError(`Operation ${i} of a batch is not an object.`)
  }
  let type, key, value, delta, ifVersion, ifAbsent, ifPresent, ttlMs, expiresAt
  let unknown: string | undefined
  try {
    ;({ type, key, value, delta, ifVersion, ifAbsent, ifPresent, ttlMs, expiresAt } = operation as Record<
      string,
      unknown
    >)
    unknown = unknownIn(operation)
  } catch (cause) {
    throw unreadable(cause)
  }
  if (!TYPES.includes(type)) {
    throw new InvalidError(
      `An operation of a batch must have the type "put", "del", "add" or "check"; operation ${i} has ${type === undefined ? 'no type' : quoted(type)}.`,
    )
  }
  try {
    if (unknown !== undefined)
      throw new InvalidError(`It has a field "${unknown}", which is not one of an operation. These are: ${FIELDS}.`)
    const mayExpire = type === 'put' || type === 'add'
    if (!mayExpire && (ttlMs !== undefined || expiresAt !== undefined))
      throw new InvalidError('Only a put or an add has a time at which its entry expires.')
    const conditions = withExpiry(conditionsOf(ifVersion, ifAbsent, ifPresent), ttlMs, expiresAt, clock)
    take({ type: type as Taken['type'], key: key as Key, value, delta, conditions })
  } catch (error) {
    if (!isInstance(error, InvalidError)) throw error
    throw new InvalidError(
      `Operation ${i} of the batch: ${error.message}`,
      error.cause === undefined ? undefined : { cause: error.cause },
    )
  }
}

/** The first own field that is not one of an operation. One that is misspelt must not be without effect. */
function unknownIn(operation: object): string | undefined {
  for (const name in operation) {
    switch (name) {
      case 'type':
      case 'key':
      case 'value':
      case 'delta':
      case 'ifVersion':
      case 'ifAbsent':
      case 'ifPresent':
      case 'ttlMs':
      case 'expiresAt':
        break
      default:
        if (Object.hasOwn(operation, name)) return name
    }
  }
  return undefined
}

function methodOf(operations: unknown): unknown {
  let method: unknown
  try {
    if (operations !== undefined && operations !== null) {
      method = (operations as Iterable<unknown>)[Symbol.iterator]
    }
  } catch (cause) {
    throw unreadable(cause)
  }
  if (typeof method !== 'function') throw notIterable()
  return method
}

function lengthOf(array: ArrayLike<unknown>): number {
  try {
    const { length } = array
    if (isLength(length)) return length
  } catch (cause) {
    throw unreadable(cause)
  }
  throw notIterable()
}

function elementOf(array: ArrayLike<unknown>, i: number): unknown {
  try {
    return array[i]
  } catch (cause) {
    throw unreadable(cause)
  }
}

/** Like a `for` loop, but with our own error for what is not an iterator. */
function walk(iterable: unknown, method: unknown, visit: (item: unknown, i: number) => void): void {
  const iterator = iteratorOf(iterable, method)
  for (let i = 0; ; i++) {
    const result = iterator.next() as IteratorResult<unknown> | undefined
    if (typeof result !== 'object' || result === null) throw notIterable()
    if (result.done) return
    try {
      visit(result.value, i)
    } catch (error) {
      leave(iterator)
      throw error
    }
  }
}

function iteratorOf(iterable: unknown, method: unknown): Iterator<unknown> {
  let iterator: Iterator<unknown> | undefined
  try {
    iterator = (method as () => Iterator<unknown> | undefined).call(iterable)
    if (typeof iterator?.next === 'function') return iterator
  } catch (cause) {
    throw unreadable(cause)
  }
  throw notIterable()
}

/** Lets the iterator clean up after an operation has been refused. */
function leave(iterator: Iterator<unknown>): void {
  try {
    iterator.return?.()
  } catch {
    // As in a `for` loop, the first error counts: the user is told why the operation was refused.
  }
}

const notIterable = (): InvalidError => new InvalidError('A batch takes an array, or another iterable, of operations.')

/** If reading met an error of mmapdb itself, that error says it all. */
const unreadable = (cause: unknown): Error =>
  isInstance(cause, MmapdbError) ? cause : new InvalidError(`A batch cannot be read: ${reason(cause)}`, { cause })
