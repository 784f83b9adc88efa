// The conditions of a write, as its user gives them.
import { InvalidError, MmapdbError } from '../../errors.js'
import { isInstance, quoted, reason } from '../../describe.js'
import { UNCONDITIONAL, type OperationConditions } from '../../wal/frame-builder.js'
import { OP_FLAG } from '../../wal/operation.js'

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

const NAMES = ['ifVersion', 'ifAbsent', 'ifPresent']

/** @internal The conditions in the options of a call. Throws `InvalidError`, also for a name that is not an option. */
export function conditionsIn(options: unknown): OperationConditions {
  if (options === undefined) return UNCONDITIONAL
  if (typeof options !== 'object' || options === null)
    throw new InvalidError('The options of a write must be an object.')
  try {
    const unknown = Object.keys(options).find((name) => !NAMES.includes(name))
    if (unknown !== undefined)
      throw new InvalidError(`There is no option "${unknown}" of a write. The options are: ${NAMES.join(', ')}.`)
    const { ifVersion, ifAbsent, ifPresent } = options as Record<string, unknown>
    return conditionsOf(ifVersion, ifAbsent, ifPresent)
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
