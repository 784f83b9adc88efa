// An entry whose value is intact and cannot be decoded. Its error is not that of damage and names the entry, so that
// other entries can still be read.
import { inspect } from 'node:util'
import { EncodingError } from '../errors.js'
import type { KeySpace } from './key-space.js'
import type { Key } from './keys.js'

const SHOWN_CHARACTERS = 60

function shown(key: Key): string {
  const text = inspect(key, { depth: 1, breakLength: Infinity, maxArrayLength: 8, maxStringLength: SHOWN_CHARACTERS })
  return text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text
}

/** `error` with the name of the entry whose value it is about; any other error unchanged. */
export function ofEntry(error: unknown, key: Key, slotNo?: number): unknown {
  if (!(error instanceof EncodingError)) return error
  const where = slotNo === undefined ? '' : `, in slot ${slotNo},`
  return new EncodingError(
    `The value of key ${shown(key)}${where} cannot be decoded: ${error.message}. It is intact, but it was not written with ` +
      "this database's value encoding. Other entries can be read; delete this one, or write it again.",
    slotNo === undefined ? { key } : { key, slotNo },
    { cause: error },
  )
}

/** Decodes the value of a key of `space`; both are bytes. Throws `EncodingError`, which names the entry. */
export function decodedValue(space: KeySpace, value: Buffer, key: Buffer): unknown {
  try {
    return space.values.decode(value, 0, value.length)
  } catch (error) {
    throw ofEntry(error, space.decode(key, 0, key.length))
  }
}
