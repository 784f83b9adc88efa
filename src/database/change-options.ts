// The options of `update` and `transaction`, and the time that these have.
import { quoted } from '../describe.js'
import { InvalidError } from '../errors.js'
import { checkedSignal, checkedTimeout, optionsOf } from './record-lock.js'

/** Options of `Database.update`. */
export interface UpdateOptions {
  /**
   * How long to wait for the record lock, and to try again where others write to the entry without it, in milliseconds:
   * 0 (do not wait, and try once) to 2,147,483,647, or Infinity. Default: `timeoutMs` of the database.
   */
  timeoutMs?: number | undefined
  /** Gives up, unless the write is on its way by then: the promise rejects with the reason of the signal. */
  signal?: AbortSignal | undefined
}

/** Options of `Database.transaction`. */
export interface TransactionOptions {
  /** How often the function is run again after a conflict, at most. Default 10. */
  retries?: number | undefined
  /**
   * How long all tries together may take until the last is committed, in milliseconds: 0 to 2,147,483,647, or Infinity.
   * Default: `timeoutMs` of the database.
   */
  timeoutMs?: number | undefined
  /** Gives up, unless the commit is on its way by then: the promise rejects with the reason of the signal. */
  signal?: AbortSignal | undefined
}

const DEFAULT_RETRIES = 10
const MAX_RETRIES = 1_000_000

/** @internal */
interface ResolvedChangeOptions {
  readonly timeoutMs: number
  readonly signal: AbortSignal | undefined
}

/** @internal Throws `InvalidError`. */
export function updateOptions(options: UpdateOptions | undefined, defaultMs: number): ResolvedChangeOptions {
  if (options === undefined) return { timeoutMs: defaultMs, signal: undefined }
  const { timeoutMs, signal } = optionsOf(options, ['timeoutMs', 'signal'])
  return { timeoutMs: checkedTimeout(timeoutMs, defaultMs), signal: checkedSignal(signal) }
}

/** @internal Throws `InvalidError`. */
export function transactionOptions(
  options: TransactionOptions | undefined,
  defaultMs: number,
): ResolvedChangeOptions & { readonly retries: number } {
  if (options === undefined) return { timeoutMs: defaultMs, signal: undefined, retries: DEFAULT_RETRIES }
  const { retries = DEFAULT_RETRIES, timeoutMs, signal } = optionsOf(options, ['retries', 'timeoutMs', 'signal'])
  if (!Number.isInteger(retries) || retries < 0 || retries > MAX_RETRIES)
    throw new InvalidError(`retries must be a whole number from 0 to ${MAX_RETRIES}, not ${quoted(retries)}.`)
  return { timeoutMs: checkedTimeout(timeoutMs, defaultMs), signal: checkedSignal(signal), retries }
}

/** @internal Throws `InvalidError` for what is not a function. */
export function mustBeFunction(act: unknown, what: string): void {
  if (typeof act !== 'function') throw new InvalidError(`${what} takes a function, not ${quoted(act)}.`)
}

/** @internal Throws `InvalidError` for options of a call that takes none: they must not be without effect. */
export function mustBeMissing(options: unknown, what: string, instead: string): void {
  if (options !== undefined)
    throw new InvalidError(`The ${what} takes no options, and was given ${quoted(options)}. ${instead}`)
}

/** @internal The end of the time that a call has. */
export class Deadline {
  readonly timeoutMs: number
  readonly #beganMs = performance.now()

  constructor(timeoutMs: number) {
    this.timeoutMs = timeoutMs
  }

  get leftMs(): number {
    return Math.max(0, this.timeoutMs - (performance.now() - this.#beganMs))
  }
  get isOver(): boolean {
    return this.leftMs === 0
  }
}
