// Values as bytes, in one of four encodings. The creator of the database chooses it, and the header (header.ts)
// records it. Every value that `encode` takes, `decode` gives back equal, in kind and in content (docs/values.md says
// what each encoding takes). All other values are refused, and the error names the place inside the value.
import { isUtf8 } from 'node:buffer'
import types from 'node:util/types'
import { EncodingError, InvalidError } from '../../errors.js'
import { giveBack, memoryFor } from '../../storage/memory.js'
import { jsonText } from './json-writer.js'
import { describe } from './kinds.js'
import { MsgpackReader } from './msgpack-reader.js'
import { MsgpackWriter } from './msgpack-writer.js'
import { invalid } from './refusal.js'
import { bytesOf } from './unusual.js'

/** How values become bytes: see `valueEncoding` in `OpenOptions`, and docs/values.md. */
export type ValueEncoding = 'msgpack' | 'json' | 'utf8' | 'binary'
/**
 * In the order of their numbers in the header, which begin with 1.
 * @internal
 */
export const VALUE_ENCODINGS: readonly ValueEncoding[] = ['msgpack', 'json', 'utf8', 'binary']

/** @internal */
export const DEFAULT_ENCODING = 'msgpack' satisfies ValueEncoding

/**
 * The number that stands for an encoding in the header.
 * @internal
 */
export const encodingNumber = (encoding: ValueEncoding): number => VALUE_ENCODINGS.indexOf(encoding) + 1
/**
 * Undefined for a number that a later version has added.
 * @internal
 */
export const encodingOf = (number: number): ValueEncoding | undefined => VALUE_ENCODINGS[number - 1]

/**
 * The encoding of a database. Throws `InvalidError` if the opener has named another one.
 * @internal
 */
export function storedEncoding(
  number: number,
  { path, valueEncoding: named }: { path: string; valueEncoding: ValueEncoding | undefined },
): ValueEncoding {
  const stored = encodingOf(number)!
  if (named === undefined || named === stored) return stored
  throw new InvalidError(
    `The database at ${path} was created with valueEncoding "${stored}" and cannot be opened with "${named}". ` +
      'Leave valueEncoding out, or copy the entries into a new database.',
  )
}

/** @internal */
export interface ValueCodec {
  readonly name: ValueEncoding
  /**
   * The value as bytes. They are not written to again, but with `binary` they are the user's own. Runs the user's
   * code (getters, `toJSON`), which may call this again. Throws `InvalidError`.
   */
  encode(value: unknown): Uint8Array
  /** The value in [at, end) of `bytes`. Nothing of it aliases `bytes`. Throws `EncodingError`. */
  decode(bytes: Buffer, at: number, end: number): unknown
}

const undecodable = (encoding: string, cause: unknown): EncodingError =>
  new EncodingError(`it is not valid ${encoding}${cause instanceof Error ? `: ${cause.message}` : ''}`, {}, { cause })

const mustNotBeUndefined = (value: unknown): void => {
  if (value === undefined) throw new InvalidError('undefined cannot be stored: delete the key instead, or store null.')
}

function msgpack(): ValueCodec {
  const reader = new MsgpackReader()
  const writer = new MsgpackWriter()
  let isWriting = false
  return {
    name: 'msgpack',
    encode(value) {
      mustNotBeUndefined(value)
      // A getter or toJSON of a value that is being written has called this: it gets a writer of its own.
      const its = isWriting ? new MsgpackWriter() : writer
      const outer = isWriting
      isWriting = true
      try {
        return its.encode(value)
      } catch (error) {
        its.reset()
        throw invalid('msgpack', error)
      } finally {
        isWriting = outer
      }
    },
    decode(bytes, at, end) {
      try {
        return reader.decode(bytes, at, end)
      } catch (cause) {
        throw undecodable('msgpack', cause)
      }
    },
  }
}

const json: ValueCodec = {
  name: 'json',
  encode(value) {
    mustNotBeUndefined(value)
    try {
      return Buffer.from(jsonText(value))
    } catch (error) {
      throw invalid('JSON', error)
    }
  },
  decode(bytes, at, end) {
    const text = decodeText(bytes, at, end)
    try {
      return JSON.parse(text) as unknown
    } catch (cause) {
      throw undecodable('JSON', cause)
    }
  },
}

const utf8: ValueCodec = {
  name: 'utf8',
  encode(value) {
    if (typeof value !== 'string') {
      const isBytes = types.isAnyArrayBuffer(value) || ArrayBuffer.isView(value)
      throw wrongKind(
        value,
        'valueEncoding "utf8" takes a string',
        isBytes ? 'Bytes need valueEncoding "binary" or "msgpack".' : OTHERS,
      )
    }
    if (!value.isWellFormed()) {
      throw new InvalidError(
        `This value cannot be stored as UTF-8: it has half a character at index ${loneSurrogate(value)} (a lone surrogate). ` +
          'Cut texts between characters, or use valueEncoding "msgpack", which keeps it.',
      )
    }
    return Buffer.from(value)
  },
  decode: decodeText,
}

function loneSurrogate(text: string): number {
  let at = 0
  for (const character of text) {
    if (!character.isWellFormed()) break
    at += character.length
  }
  return at
}

function decodeText(bytes: Buffer, at: number, end: number): string {
  const text = bytes.toString('utf8', at, end)
  // Bytes that are not UTF-8 are read as this character.
  if (text.includes('\ufffd') && !isUtf8(bytes.subarray(at, end))) throw undecodable('UTF-8', undefined)
  return text
}

const lengthOf = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), 'length')!.get! as (
  this: Uint8Array,
) => number

function isOrdinary(value: Uint8Array): boolean {
  const prototype = Object.getPrototypeOf(value) as unknown
  return (prototype === Buffer.prototype || prototype === Uint8Array.prototype) && !Object.hasOwn(value, 'length')
}

/** For a value of this many bytes, allocation may fail. */
const LONG = 1024 * 1024

const binary: ValueCodec = {
  name: 'binary',
  encode(value) {
    if (!types.isUint8Array(value)) {
      const advice = types.isAnyArrayBuffer(value)
        ? 'Store new Uint8Array(it).'
        : ArrayBuffer.isView(value)
          ? 'Store new Uint8Array(it.buffer, it.byteOffset, it.byteLength).'
          : typeof value === 'string'
            ? 'Store Buffer.from(it).'
            : OTHERS
      throw wrongKind(value, 'valueEncoding "binary" takes a Uint8Array', advice)
    }
    const length = lengthOf.call(value)
    // A subclass, or a field of the value, may report any length, and another one each time.
    if (length > 0 && isOrdinary(value)) return value
    try {
      return bytesOf(value)
    } catch (error) {
      throw invalid('bytes', error)
    }
  },
  decode(bytes, at, end) {
    const length = end - at
    const value = length < LONG ? Buffer.allocUnsafe(length) : memoryFor(length)
    // A plain view and `set` beat a loop from about 24 bytes on, and beat `copy` always.
    if (length < 24) for (let n = 0; n < length; n++) value[n] = bytes[at + n]!
    else value.set(new Uint8Array(bytes.buffer, bytes.byteOffset + at, length))
    return value
  },
}

const OTHERS = 'Other data needs valueEncoding "msgpack" or "json".'

function wrongKind(value: unknown, needs: string, advice: string): InvalidError {
  return new InvalidError(
    `This value cannot be stored: ${needs}, not ${describe(value)}. ${value === undefined ? 'Delete the key instead.' : advice}`,
  )
}

/**
 * The same as `decode` for bytes with memory of their own (`ownMemoryFor`), which nobody else uses: they become the
 * value, or are given back at once, which the garbage collector would do much later.
 * @internal
 */
export function decodeOwn(values: ValueCodec, bytes: Buffer): unknown {
  if (values === binary) return bytes
  try {
    return values.decode(bytes, 0, bytes.length)
  } finally {
    giveBack(bytes)
  }
}

/** @internal */
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
