// The options of `Database.store`.
import { isInstance, quoted, reason } from '../describe.js'
import { VALUE_ENCODINGS, type ValueEncoding } from '../encoding/values/codec.js'
import { InvalidError, MmapdbError } from '../errors.js'

/** Options of `Database.store`. */
export interface StoreOptions {
  /** How values are encoded. Undefined: as stored; for a new store as those of the database. */
  readonly valueEncoding?: ValueEncoding | undefined
}

/** @internal Reads the options once; may run users' code. Throws `InvalidError`. */
export function valueEncodingOf(options: StoreOptions | undefined): ValueEncoding | undefined {
  if (options === undefined) return undefined
  try {
    if (typeof options !== 'object' || options === null) throw new InvalidError('Options must be an object.')
    const other = Object.keys(options).find((name) => name !== 'valueEncoding')
    if (other !== undefined) throw new InvalidError(`There is no option "${other}". The option is: valueEncoding.`)
    const { valueEncoding } = options
    if (valueEncoding === undefined || VALUE_ENCODINGS.includes(valueEncoding)) return valueEncoding
    throw new InvalidError(`valueEncoding must be one of ${VALUE_ENCODINGS.join(', ')}, not ${quoted(valueEncoding)}.`)
  } catch (cause) {
    if (isInstance(cause, MmapdbError)) throw cause
    throw new InvalidError(`The options cannot be read: ${reason(cause)}`, { cause })
  }
}
