// When an entry expires, as the user of a write gives it.
import { InvalidError } from '../../errors.js'
import { quoted } from '../../describe.js'
import { isTime, MAX_TIME_MS, NEVER } from '../../encoding/expiry-key.js'
import type { OperationConditions } from '../../wal/frame-builder.js'
import { OP_FLAG } from '../../wal/operation.js'

/**
 * When the entry that a write makes expires: from then on it is absent for every read, count and condition. Without
 * either it stays until it is removed, also if the entry before it would have expired. The time is that of the
 * database's clock, which is the system's, but never goes back.
 */
export type Expiry =
  | {
      /** That many milliseconds after the call of the write. More than 0. */
      readonly ttlMs?: number | undefined
      readonly expiresAt?: undefined
    }
  | {
      readonly ttlMs?: undefined
      /** At this time, in milliseconds since 1970, as `Date.now()` gives it. If that has come already: at once. */
      readonly expiresAt?: number | undefined
    }

/** @internal The database's clock. */
export interface Clock {
  now(): number
}

/** @internal Adds the time to the conditions of an operation. Throws `InvalidError`. */
export function withExpiry(
  conditions: OperationConditions,
  ttlMs: unknown,
  expiresAt: unknown,
  clock: Clock,
): OperationConditions {
  if (ttlMs === undefined && expiresAt === undefined) return conditions
  if (ttlMs !== undefined && expiresAt !== undefined)
    throw new InvalidError('ttlMs and expiresAt both say when the entry expires: give one of them.')
  return expiringAt(conditions, ttlMs === undefined ? timeGiven(expiresAt) : timeAfter(ttlMs, clock))
}

/** @internal The same with a time that is known to be one; `NEVER` for an entry that stays. */
export const expiringAt = (conditions: OperationConditions, expiresAt: number): OperationConditions =>
  expiresAt === NEVER ? conditions : { ...conditions, flags: conditions.flags | OP_FLAG.EXPIRES, expiresAt }

function timeGiven(expiresAt: unknown): number {
  if (typeof expiresAt === 'number' && isTime(expiresAt)) return expiresAt
  throw new InvalidError(
    `expiresAt must be a time in milliseconds since 1970, as Date.now() gives it, up to ${MAX_TIME_MS}, not ${quoted(expiresAt)}.`,
  )
}

function timeAfter(ttlMs: unknown, clock: Clock): number {
  if (typeof ttlMs !== 'number' || !(ttlMs > 0))
    throw new InvalidError(`ttlMs must be a number of milliseconds, more than 0, not ${quoted(ttlMs)}.`)
  // The entry lives for that long at least: the clock has whole milliseconds.
  const at = clock.now() + Math.ceil(ttlMs)
  if (isTime(at)) return at
  throw new InvalidError(
    `With this ttlMs (${ttlMs}) the entry would expire at a time that no Date can have. Leave it out for an entry that stays.`,
  )
}
