// An entry whose value is intact and cannot be decoded: told apart from damage, and named, so that others can
// be read past it.
import { inspect } from 'node:util'
import { EncodingError } from '../errors.js'
import type { Key } from './keys.js'

const SHOWN_CHARACTERS = 60

function shown(key: Key): string {
  const text = inspect(key, { depth: 1, breakLength: Infinity, maxArrayLength: 8, maxStringLength: SHOWN_CHARACTERS })
  return text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text
}

/** `error` with the entry named whose value it is about; any other error as it is. */
export function ofEntry(error: unknown, key: Key, slotNo?: number): unknown {
  if (!(error instanceof EncodingError)) return error
  const where = slotNo === undefined ? '' : `, in slot ${slotNo},`
  return new EncodingError(
    `The value of key ${shown(key)}${where} cannot be decoded: ${error.message}. It is intact, and was not written as this ` +
      "database's values are. Other entries can be read; delete this one, or write it again.",
    slotNo === undefined ? { key } : { key, slotNo },
    { cause: error },
  )
}
