// The conditions of a write, as its user gives them.
import { InvalidError, MmapdbError } from '../../errors.js'
import { isInstance, quoted, reason } from '../../describe.js'
import { UNCONDITIONAL, type OperationConditions } from '../../wal/frame-builder.js'
import { OP_FLAG } from '../../wal/operation.js'
import { withExpiry, type Clock, type Expiry } from './expiry.js'

/**
 * When a write takes effect: otherwise it changes nothing. The conditions are judged by what the database holds just
 * before the write, after all writes that come earlier in the log.
 */
export type Conditions =
  | {
      /** Only if the entry has this version (`getEntry(key).version`); 0: only if there is no entry. */
      readonly ifVersion?: number | undefined
      readonly ifAbsent?: false | undefined
      /** Only if there is an entry for the key. */
      readonly ifPresent?: boolean | undefined
    }
  | {
      readonly ifVersion?: undefined
      /** Only if there is no entry for the key. */
      readonly ifAbsent: boolean | undefined
      readonly ifPresent?: false | undefined
    }

/** Options of a put. */
export type PutOptions = Conditions & Expiry

const NAMES = ['ifVersion', 'ifAbsent', 'ifPresent']
const EXPIRY_NAMES = ['ttlMs', 'expiresAt']

/** @internal The conditions in the options of a call. Throws `InvalidError`, also for a name that is not an option. */
export const conditionsIn = (options: unknown): OperationConditions =>
  options === undefined ? UNCONDITIONAL : optionsIn(options, NAMES, undefined)

/** @internal The same for a put. `clock`: that of the database. */
export const putOptionsIn = (options: unknown, clock: Clock): OperationConditions =>
  options === undefined ? UNCONDITIONAL : optionsIn(options, [...NAMES, ...EXPIRY_NAMES], clock)

/** @internal When an entry expires, in the options of a call that has no conditions. */
export const expiryIn = (options: unknown, clock: Clock): OperationConditions =>
  options === undefined ? UNCONDITIONAL : optionsIn(options, EXPIRY_NAMES, clock)

/** Reads each option once; it may run users' code. Without a clock the entry cannot be told when to expire. */
function optionsIn(options: unknown, names: readonly string[], clock: Clock | undefined): OperationConditions {
  if (typeof options !== 'object' || options === null)
    throw new InvalidError('The options of a write must be an object.')
  try {
    const unknown = Object.keys(options).find((name) => !names.includes(name))
    if (unknown !== undefined)
      throw new InvalidError(`There is no option "${unknown}" of this write. The options are: ${names.join(', ')}.`)
    const given: Record<string, unknown> = {}
    for (const name of names) given[name] = (options as Record<string, unknown>)[name]
    const conditions = conditionsOf(given.ifVersion, given.ifAbsent, given.ifPresent)
    return clock === undefined ? conditions : withExpiry(conditions, given.ttlMs, given.expiresAt, clock)
  } catch (cause) {
    if (isInstance(cause, MmapdbError)) throw cause
    throw new InvalidError(`The options of a write cannot be read: ${reason(cause)}`, { cause })
  }
}

/** @internal The same from fields that have been read already. Throws `InvalidError` if they contradict each other. */
export function conditionsOf(ifVersion: unknown, ifAbsent: unknown, ifPresent: unknown): OperationConditions {
  if (ifVersion === undefined && ifAbsent === undefined && ifPresent === undefined) return UNCONDITIONAL
  const isVersion = ifVersion === undefined || (Number.isSafeInteger(ifVersion) && (ifVersion as number) >= 0)
  if (!isVersion) throw new InvalidError(`ifVersion must be the version of an entry, or 0, not ${quoted(ifVersion)}.`)
  const absent = flag('ifAbsent', ifAbsent) || ifVersion === 0
  const present = flag('ifPresent', ifPresent) || (ifVersion !== undefined && ifVersion !== 0)
  if (absent && present)
    throw new InvalidError('These conditions contradict each other: an entry cannot be absent and present at once.')
  if (absent) return { flags: OP_FLAG.IF_ABSENT, version: 0 }
  if (ifVersion !== undefined) return { flags: OP_FLAG.IF_VERSION, version: ifVersion as number }
  return present ? { flags: OP_FLAG.IF_PRESENT, version: 0 } : UNCONDITIONAL
}

function flag(name: string, given: unknown): boolean {
  if (given === undefined || typeof given === 'boolean') return given ?? false
  throw new InvalidError(`${name} must be true or false, not ${quoted(given)}.`)
}
