// Which keys a range includes, as its user gives it and as bytes.
import { InvalidError, MmapdbError } from '../../errors.js'
import { quoted, reason, isInstance } from '../../describe.js'
import type { KeySpace } from '../../encoding/key-space.js'
import { prefixBounds, type Key } from '../../encoding/keys.js'

/**
 * What may bound a range of keys of the type `K`: for strings any string, for numbers and bigints either, for arrays
 * any key, since shorter arrays and single values have their places among longer arrays.
 */
export type Bound<K extends Key = Key> = K extends string
  ? string
  : K extends number | bigint
    ? number | bigint
    : K extends readonly unknown[]
      ? Key
      : K

/**
 * Which keys: all of them if empty. Where there are two lower bounds, or two upper ones, the tighter one counts. A
 * field that is undefined counts as absent.
 */
export interface Range<K extends Key = Key> {
  /** From this key on, included. */
  gte?: Bound<K> | undefined
  /** After this key. */
  gt?: Bound<K> | undefined
  /** Up to this key, included. */
  lte?: Bound<K> | undefined
  /** Before this key. */
  lt?: Bound<K> | undefined
  /**
   * If an array: only arrays that begin with its elements. If a string (or Uint8Array): only strings that begin with
   * it, and arrays whose first element is such a string, since these sort among them: `'a'` covers `'ab'` and
   * `['ab', 1]`. Can be combined with the bounds.
   */
  prefix?: Exclude<Bound<K>, number | bigint | boolean | null> | undefined
  /** From the last key to the first. */
  reverse?: boolean | undefined
  /** At most this many entries. */
  limit?: number | undefined
}

const KNOWN = new Set(['gte', 'gt', 'lte', 'lt', 'prefix', 'reverse', 'limit'])

/**
 * A range as bytes, by keys in the tree; `undefined` means no bound.
 * @internal
 */
export interface Bounds {
  readonly from: Buffer | undefined
  /** The range begins after `from`, not at it. */
  readonly fromAfter: boolean
  readonly to: Buffer | undefined
  readonly toInclusive: boolean
  readonly reverse: boolean
  readonly limit: number
}

/**
 * Checks a range of a store and encodes its bounds. Throws `InvalidError`. Runs users' code (getters), each getter
 * once, and nothing of the engine is half done meanwhile.
 * @internal
 */
export function boundsOf(space: KeySpace, range: Range = {}): Bounds {
  const { gte, gt, lte, lt, prefix, reverse, ...given } = fieldsOf(range)
  const limit = given.limit ?? Number.POSITIVE_INFINITY
  if (
    typeof limit !== 'number' ||
    limit < 0 ||
    Number.isNaN(limit) ||
    (Number.isFinite(limit) && !Number.isInteger(limit))
  ) {
    throw new InvalidError(`limit must be a whole number, 0 or more, not ${quoted(limit)}.`)
  }
  if (reverse !== undefined && typeof reverse !== 'boolean') throw new InvalidError('reverse must be true or false.')

  let from = encodedOrNone(space, gte)
  const after = encodedOrNone(space, gt)
  // At the same key, the bound that leaves it out is the tighter one.
  let fromAfter = after !== undefined && (from === undefined || after.compare(from) >= 0)
  if (fromAfter) from = after
  let to = encodedOrNone(space, lte)
  const before = encodedOrNone(space, lt)
  let toInclusive = to !== undefined && (before === undefined || to.compare(before) < 0)
  if (!toInclusive) to = before
  if (prefix !== undefined) {
    const such = within(space, prefix)
    if (from === undefined || such.from.compare(from) > 0) {
      from = such.from
      fromAfter = false
    }
    if (to === undefined || such.to.compare(to) <= 0) {
      to = such.to
      toInclusive = false
    }
  }
  from ??= space.from
  to ??= space.to
  return { from, fromAfter, to, toInclusive, reverse: reverse ?? false, limit }
}

const encodedOrNone = (space: KeySpace, key: Key | undefined): Buffer | undefined =>
  key === undefined ? undefined : space.encoded(key)

/** The keys of a store that begin with `prefix`, as keys in the tree. */
function within(space: KeySpace, prefix: Key): { from: Buffer; to: Buffer } {
  const { from, to } = prefixBounds(prefix)
  const inTree = (key: Buffer): Buffer => Buffer.concat([space.bytes.subarray(0, space.prefixBytes), key])
  return { from: inTree(from), to: inTree(to) }
}

/**
 * The range without what comes before `key`, in its direction: it goes on with the first entry at or after it (in
 * reverse, at or before it). Undefined if the key lies outside of the range, on either side.
 * @internal
 */
export function boundsFrom(bounds: Bounds, key: Buffer): Bounds | undefined {
  const { from, fromAfter, to, toInclusive, reverse } = bounds
  const isBelow = from !== undefined && (fromAfter ? key.compare(from) <= 0 : key.compare(from) < 0)
  const isAbove = to !== undefined && (toInclusive ? key.compare(to) > 0 : key.compare(to) >= 0)
  if (isBelow || isAbove) return undefined
  return reverse ? { ...bounds, to: key, toInclusive: true } : { ...bounds, from: key, fromAfter: false }
}

/**
 * What is left of the range after `entries` entries, the last of which was `key`.
 * @internal
 */
export function boundsAfter(bounds: Bounds, key: Buffer, entries: number): Bounds {
  const left = { ...bounds, limit: bounds.limit - entries }
  return bounds.reverse ? { ...left, to: key, toInclusive: false } : { ...left, from: key, fromAfter: true }
}

/**
 * The first key that a range includes, and the first one after it, if there is one; undefined if no key can be between
 * them. No key lies between another one and that one with a zero byte after it.
 * @internal
 */
export function endsOf({
  from,
  fromAfter,
  to,
  toInclusive,
}: Bounds): { from: Buffer; to: Buffer | undefined } | undefined {
  const first = fromAfter ? Buffer.concat([from!, NEXT]) : (from ?? NEXT)
  const end = toInclusive ? Buffer.concat([to!, NEXT]) : to
  return end !== undefined && first.compare(end) >= 0 ? undefined : { from: first, to: end }
}
const NEXT = Buffer.alloc(1)

/** Reads each field of a range once. */
function fieldsOf(range: Range): { [Name in keyof Range]-?: Range[Name] | undefined } {
  if (typeof range !== 'object' || range === null) throw new InvalidError('A range must be an object.')
  try {
    for (const name of Object.keys(range)) {
      if (!KNOWN.has(name))
        throw new InvalidError(`A range has no field "${name}". It may have: ${[...KNOWN].join(', ')}.`)
    }
    const { gte, gt, lte, lt, prefix, reverse, limit } = range
    return { gte, gt, lte, lt, prefix, reverse, limit }
  } catch (cause) {
    if (isInstance(cause, MmapdbError)) throw cause
    throw new InvalidError(`The range cannot be read: ${reason(cause)}`, { cause })
  }
}
