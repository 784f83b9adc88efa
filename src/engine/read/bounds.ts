// Which keys a range includes, as its user gives it and as bytes.
import { InvalidError, MmapdbError } from '../../errors.js'
import { quoted, reason, isInstance } from '../../describe.js'
import { encodeKey, KEY_BUFFER_BYTES, prefixBounds, type Key } from '../../encoding/keys.js'

/** Which keys: all of them if empty. At most one of `gte` and `gt`, one of `lte` and `lt`. */
export interface Range {
  /** From this key on, included. */
  gte?: Key
  /** After this key. */
  gt?: Key
  /** Up to this key, included. */
  lte?: Key
  /** Before this key. */
  lt?: Key
  /**
   * If an array: only arrays that begin with its elements. If a string (or Uint8Array): only strings that begin with
   * it, and arrays whose first element is such a string, since these sort among them: `'a'` covers `'ab'` and
   * `['ab', 1]`. Can be combined with the bounds.
   */
  prefix?: Key
  /** From the last key to the first. */
  reverse?: boolean
  /** At most this many entries. */
  limit?: number
}

const KNOWN = new Set(['gte', 'gt', 'lte', 'lt', 'prefix', 'reverse', 'limit'])

/** A range as bytes; `undefined` means no bound. */
export interface Bounds {
  readonly from: Buffer | undefined
  /** The range begins after `from`, not at it. */
  readonly fromAfter: boolean
  readonly to: Buffer | undefined
  readonly toInclusive: boolean
  readonly reverse: boolean
  readonly limit: number
}

const encoded = (key: Key): Buffer => {
  const buffer = Buffer.alloc(KEY_BUFFER_BYTES)
  return buffer.subarray(0, encodeKey(key, buffer))
}

/**
 * Checks a range and encodes its bounds. Throws `InvalidError`. Runs users' code (getters), each getter once, and
 * nothing of the engine is half done meanwhile.
 */
export function boundsOf(range: Range = {}): Bounds {
  const { gte, gt, lte, lt, prefix, reverse, ...given } = fieldsOf(range)
  const limit = given.limit ?? Number.POSITIVE_INFINITY
  if (gte !== undefined && gt !== undefined) throw new InvalidError('A range takes gte or gt, not both.')
  if (lte !== undefined && lt !== undefined) throw new InvalidError('A range takes lte or lt, not both.')
  if (
    typeof limit !== 'number' ||
    limit < 0 ||
    Number.isNaN(limit) ||
    (Number.isFinite(limit) && !Number.isInteger(limit))
  ) {
    throw new InvalidError(`limit must be a whole number, 0 or more, not ${quoted(limit)}.`)
  }
  if (reverse !== undefined && typeof reverse !== 'boolean') throw new InvalidError('reverse must be true or false.')

  let fromAfter = gt !== undefined
  let from = gt !== undefined ? encoded(gt) : gte !== undefined ? encoded(gte) : undefined
  let toInclusive = lte !== undefined
  let to = lt !== undefined ? encoded(lt) : lte !== undefined ? encoded(lte) : undefined
  if (prefix !== undefined) {
    const within = prefixBounds(prefix)
    if (from === undefined || within.from.compare(from) > 0) {
      from = within.from
      fromAfter = false
    }
    if (to === undefined || within.to.compare(to) <= 0) {
      to = within.to
      toInclusive = false
    }
  }
  return { from, fromAfter, to, toInclusive, reverse: reverse ?? false, limit }
}

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
