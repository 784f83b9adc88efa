// Values as bytes, in one of four encodings. Which one is an option of whoever opens the database:
// it is not stored, so everybody must use the same.
import { Packr } from 'msgpackr'
import { CorruptError, InvalidError } from '../errors.js'

export type ValueEncoding = 'msgpack' | 'json' | 'utf8' | 'binary'
export const VALUE_ENCODINGS: readonly ValueEncoding[] = ['msgpack', 'json', 'utf8', 'binary']

export interface ValueCodec {
  readonly name: ValueEncoding
  /** The value as bytes, valid until the next call. Throws `InvalidError`. */
  encode(value: unknown): Uint8Array
  /** The value in [at, end) of `bytes`. Nothing of it aliases `bytes`. */
  decode(bytes: Buffer, at: number, end: number): unknown
}

const refuse = (value: unknown, needs: string): InvalidError =>
  new InvalidError(`This value cannot be stored: ${needs}, not ${value === null ? 'null' : `a ${typeof value}`}.`)

const unreadable = (encoding: string, cause: unknown): CorruptError =>
  new CorruptError(
    `A value is not valid ${encoding}. It may have been written with another valueEncoding; open the database with the ` +
      'one that was used to write it.',
    {},
    { cause },
  )

/** Values up to this long are decoded from a copy: as long as one can be that lies in a leaf. */
const SCRATCH_BYTES = 1024

function msgpack(): ValueCodec {
  // The decoder trusts some lengths and positions that it finds. Among damaged ones it must not come
  // by what lies behind the value, let alone beyond the end of the mapped file.
  const scratch = Buffer.alloc(SCRATCH_BYTES)
  const packr = new Packr({ useRecords: false, moreTypes: true, copyBuffers: true })
  return {
    name: 'msgpack',
    encode(value) {
      if (value === undefined) throw new InvalidError('undefined cannot be stored: delete the key instead, or store null.')
      if (typeof value === 'function' || typeof value === 'symbol') throw refuse(value, 'msgpack takes data')
      try {
        return packr.pack(value)
      } catch (cause) {
        throw new InvalidError(`This value cannot be stored as msgpack: ${(cause as Error).message}`, { cause })
      }
    },
    decode(bytes, at, end) {
      const length = end - at
      if (length === 0) throw unreadable('msgpack', undefined)
      let source: Buffer = scratch
      if (length > SCRATCH_BYTES) source = bytes.subarray(at, end)
      else if (length < 48) for (let n = 0; n < length; n++) scratch[n] = bytes[at + n]!
      else bytes.copy(scratch, 0, at, end)
      try {
        return packr.unpack(source, length as never) as unknown
      } catch (cause) {
        throw unreadable('msgpack', cause)
      }
    },
  }
}

const json: ValueCodec = {
  name: 'json',
  encode(value) {
    let text: string | undefined
    try {
      text = JSON.stringify(value)
    } catch (cause) {
      throw new InvalidError(`This value cannot be stored as JSON: ${(cause as Error).message}`, { cause })
    }
    if (text === undefined) throw refuse(value, 'JSON takes data')
    return Buffer.from(text)
  },
  decode(bytes, at, end) {
    try {
      return JSON.parse(bytes.toString('utf8', at, end)) as unknown
    } catch (cause) {
      throw unreadable('JSON', cause)
    }
  },
}

const utf8: ValueCodec = {
  name: 'utf8',
  encode(value) {
    if (typeof value !== 'string') throw refuse(value, 'valueEncoding "utf8" takes a string')
    return Buffer.from(value)
  },
  decode: (bytes, at, end) => bytes.toString('utf8', at, end),
}

const binary: ValueCodec = {
  name: 'binary',
  encode(value) {
    if (!(value instanceof Uint8Array)) throw refuse(value, 'valueEncoding "binary" takes a Uint8Array')
    return value
  },
  decode(bytes, at, end) {
    const length = end - at
    const value = Buffer.allocUnsafe(length)
    // A plain view and `set` beat a loop from some 24 bytes on, and `copy` always.
    if (length < 24) for (let n = 0; n < length; n++) value[n] = bytes[at + n]!
    else value.set(new Uint8Array(bytes.buffer, bytes.byteOffset + at, length))
    return value
  },
}

export function valueCodec(encoding: ValueEncoding): ValueCodec {
  switch (encoding) {
    case 'msgpack':
      return msgpack()
    case 'json':
      return json
    case 'utf8':
      return utf8
    case 'binary':
      return binary
    default:
      throw new InvalidError(`valueEncoding must be one of ${VALUE_ENCODINGS.join(', ')}, not ${String(encoding)}.`)
  }
}
