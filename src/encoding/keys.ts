// Keys as bytes whose order is the order of the keys: null, false, true, numbers and bigints,
// strings, Uint8Arrays; arrays element by element, an array right after its own beginning.
//
//   null, false, true   00, 06, 07; a null that begins a key is 03, so that the bytes 00 to 02 begin no user's key
//   number              08, then the bits of the double, big-endian, the sign bit inverted, or all of
//                       them if it is negative; -0 is 0
//   bigint              the same, of the highest double that is not above it; then the difference to
//                       that, in groups of 7 bits with the top bit set, the highest first; groups of
//                       zeros at the end are left out, except the first group. So numbers and bigints
//                       are in one order, and where they are equal the number comes first: 5, 5n, 6
//   string              its UTF-8, with 04 in front of bytes below 05; 1b in front if it is empty or
//                       its first character is below 1c
//   Uint8Array          ff, then its bytes, with 00 as 01 01 and 01 as 01 02
//   array               its elements with 00 between them; one more 00 after a single element
//
// The kinds and their order are those of ordered-binary. The bytes are not: it gives a Uint8Array
// the bytes of a string, [x] those of x, long strings no escapes, and some bigints the bytes of others.
// Here different keys never have the same bytes, and a key is read back as it was written.
import { types } from 'node:util'
import { InvalidError, MmapdbError } from '../errors.js'
import { isLength, reason, isInstance } from '../describe.js'
import { shortAscii } from './latin1.js'
import { bytesOf } from './values/unusual.js'
import { MAX_KEY_BYTES } from '../limits.js'

/** What a key, or an element of one that is an array, may be. */
export type KeyPart = string | number | bigint | boolean | null | Uint8Array
/** A key: 1 to 1024 bytes when encoded. */
export type Key = KeyPart | readonly KeyPart[]

const SEPARATOR = 0
const NULL = 0
/** Of a null that begins a key. */
const FIRST_NULL = 3
const FALSE = 6
const TRUE = 7
const STRING_ESCAPE = 27
const LOW_ESCAPE = 4
const BYTES_TAG = 0xff
const BYTES_ESCAPE = 1
const NUMBER_TAG = 8
/** Tag and double. */
const NUMBER_BYTES = 9
/** A group of those bits of a bigint that no double holds. */
const GROUP_BITS = 7
const GROUP_FLAG = 0x80

/**
 * Bytes of a buffer that keys are encoded into. An encoding that is longer than a key may be is refused.
 * @internal
 */
export const KEY_BUFFER_BYTES = MAX_KEY_BYTES * 4

const tooLong = (): InvalidError =>
  new InvalidError(`A key may be at most ${MAX_KEY_BYTES} bytes long when encoded; shorten it or store a hash of it.`)

/**
 * Writes `key` at the start of `into` (KEY_BUFFER_BYTES long) and returns its length. Throws `InvalidError`.
 * The user's code (getters and proxies of an array) runs before `into` is touched.
 * @internal
 */
export function encodeKey(key: Key, into: Buffer): number {
  return typeof key === 'string' ? checkedLength(writeString(key, into, 0)) : writeKey(takenKey(key), into)
}

/**
 * Encodes what `takenKey` returned: see `encodeKey`. Runs none of the user's code.
 * @internal
 */
export function writeKey(key: Key, into: Buffer): number {
  if (typeof key === 'string') return checkedLength(writeString(key, into, 0))
  const length = typeof key === 'object' && isArray(key) ? writeParts(key, into) : writePart(key, into, 0)
  if (into[0] === NULL) into[0] = FIRST_NULL
  return checkedLength(length)
}

/**
 * The key as it is now. Reading an array can run the user's code, which may call the database. So each
 * element is read once, here, and no other work of the engine may be half done meanwhile.
 * @internal
 */
export function takenKey(key: Key): Key {
  if (typeof key !== 'object' || key === null) return key
  try {
    return isArray(key) ? elementsOf(key) : key
  } catch (cause) {
    if (isInstance(cause, MmapdbError)) throw cause
    throw new InvalidError(`This key cannot be read: ${reason(cause)}`, { cause })
  }
}

/** Throws for a proxy that was revoked. */
const isArray: (key: Key) => key is readonly KeyPart[] = Array.isArray as never

function elementsOf(key: readonly KeyPart[]): KeyPart[] {
  const count = key.length
  if (count === 0) throw new InvalidError('A key may not be an empty array; give it at least one element.')
  // A proxy may report any length.
  if (!isLength(count)) throw new InvalidError('A key must be an array with a length that is a whole number.')
  // Each element takes at least one byte, and there is one between any two.
  if (count > MAX_KEY_BYTES) throw tooLong()
  const parts: KeyPart[] = []
  for (let i = 0; i < count; i++) parts.push(key[i]!)
  return parts
}

function checkedLength(length: number): number {
  if (length > MAX_KEY_BYTES) throw tooLong()
  return length
}

function writeParts(parts: readonly KeyPart[], into: Buffer): number {
  let at = 0
  for (let i = 0; i < parts.length; i++) {
    if (i > 0) into[at++] = SEPARATOR
    at = writePart(parts[i]!, into, at)
    if (at > MAX_KEY_BYTES) throw tooLong()
  }
  if (parts.length === 1) into[at++] = SEPARATOR
  return at
}

function writePart(part: KeyPart, into: Buffer, at: number): number {
  switch (typeof part) {
    case 'string':
      return writeString(part, into, at)
    case 'number':
      if (Number.isNaN(part)) throw new InvalidError('NaN cannot be a key: it has no place in the order of numbers.')
      return writeDouble(part, into, at)
    case 'bigint':
      return writeBigint(part, into, at)
    case 'boolean':
      into[at] = part ? TRUE : FALSE
      return at + 1
    case 'object':
      if (part === null) {
        into[at] = NULL
        return at + 1
      }
      if (types.isUint8Array(part)) return writeBytes(part, into, at)
      break
    default:
      break
  }
  throw new InvalidError(
    `A key must be a string, number, bigint, boolean, null, Uint8Array or an array of these, not ${describe(part)}.`,
  )
}

function describe(x: unknown): string {
  if (x === undefined) return 'undefined'
  if (typeof x !== 'object') return `a ${typeof x}`
  try {
    if (types.isDate(x)) return 'a Date; its getTime() or toISOString() can be one'
    return Array.isArray(x) ? 'an array within an array' : 'an object'
  } catch {
    // A revoked proxy throws at every question.
    return 'an object'
  }
}

const double = new DataView(new ArrayBuffer(8))

function writeDouble(value: number, into: Buffer, at: number): number {
  // -0 is 0.
  double.setFloat64(0, value === 0 ? 0 : value)
  const high = double.getInt32(0)
  const low = double.getInt32(4)
  into[at] = NUMBER_TAG
  into.writeUInt32BE((high < 0 ? ~high : high ^ 0x80000000) >>> 0, at + 1)
  into.writeUInt32BE((high < 0 ? ~low : low) >>> 0, at + 5)
  return at + NUMBER_BYTES
}

const LARGEST = BigInt(Number.MAX_VALUE)

function writeBigint(value: bigint, into: Buffer, start: number): number {
  if (value > LARGEST || value < -LARGEST) throw new InvalidError('A bigint key must be within the range of a double.')
  let below = Number(value)
  if (BigInt(below) > value) below = doubleBelow(below)
  let at = writeDouble(below, into, start)
  let rest = value - BigInt(below)
  if (rest === 0n) into[at++] = GROUP_FLAG
  for (let shift = BigInt((groupsOf(below) - 1) * GROUP_BITS); rest > 0n; shift -= BigInt(GROUP_BITS)) {
    const group = rest >> shift
    into[at++] = Number(group) | GROUP_FLAG
    rest -= group << shift
  }
  return at
}

/** The next double below one that is neither 0 nor the lowest. */
function doubleBelow(value: number): number {
  double.setFloat64(0, value)
  double.setBigInt64(0, double.getBigInt64(0) + (value > 0 ? -1n : 1n))
  return double.getFloat64(0)
}

/** Groups that hold any distance from this double to the next one above. */
function groupsOf(value: number): number {
  double.setFloat64(0, value)
  const exponent = ((double.getUint16(0) >>> 4) & 0x7ff) - 1023
  return Math.max(0, Math.ceil((exponent - 52) / GROUP_BITS))
}

function writeString(text: string, into: Buffer, start: number): number {
  const length = text.length
  if (length > MAX_KEY_BYTES) throw tooLong()
  let at = start
  if (length === 0 || text.charCodeAt(0) < 28) into[at++] = STRING_ESCAPE
  for (let i = 0; i < length; i++) {
    let c = text.charCodeAt(i)
    if (c < 0x80) {
      if (c <= LOW_ESCAPE) into[at++] = LOW_ESCAPE
      into[at++] = c
    } else if (c < 0x800) {
      into[at++] = (c >> 6) | 0xc0
      into[at++] = (c & 0x3f) | 0x80
    } else {
      const d = (c & 0xfc00) === 0xd800 && i + 1 < length ? text.charCodeAt(i + 1) : 0
      if ((d & 0xfc00) === 0xdc00) {
        c = 0x10000 + ((c & 0x3ff) << 10) + (d & 0x3ff)
        i++
        into[at++] = (c >> 18) | 0xf0
        into[at++] = ((c >> 12) & 0x3f) | 0x80
      } else {
        // Lone surrogates keep their three bytes, so that every string comes back as it was.
        into[at++] = (c >> 12) | 0xe0
      }
      into[at++] = ((c >> 6) & 0x3f) | 0x80
      into[at++] = (c & 0x3f) | 0x80
    }
    if (at > MAX_KEY_BYTES) throw tooLong()
  }
  return at
}

/** The true length: a class of the user may report another, or run code to report it. */
const lengthOf = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), 'length')!.get as (
  this: Uint8Array,
) => number

/** For an empty array there is no other way to tell whether its buffer is gone. */
function mustBeThere(bytes: Uint8Array): void {
  try {
    bytesOf(bytes)
  } catch (cause) {
    throw new InvalidError(
      'The buffer of this Uint8Array was transferred or has become too short, so it cannot be a key.',
      { cause },
    )
  }
}

function writeBytes(bytes: Uint8Array, into: Buffer, start: number): number {
  const length = lengthOf.call(bytes)
  if (length === 0) mustBeThere(bytes)
  if (length > MAX_KEY_BYTES) throw tooLong()
  let at = start
  into[at++] = BYTES_TAG
  for (let i = 0; i < length; i++) {
    const byte = bytes[i]!
    if (byte <= BYTES_ESCAPE) {
      into[at++] = BYTES_ESCAPE
      into[at++] = byte + 1
    } else {
      into[at++] = byte
    }
    if (at > MAX_KEY_BYTES) throw tooLong()
  }
  return at
}

/**
 * The key in [at, end) of `bytes`. Throws `InvalidError` if `encodeKey` writes these bytes for no key.
 * @internal
 */
export function decodeKey(bytes: Uint8Array, at: number, end: number): Key {
  const first = bytes[at]!
  if (first < FIRST_NULL) throw malformed()
  if (first >= 28 && first < BYTES_TAG) {
    // The most common key: plain ASCII.
    let i = at
    while (i < end && bytes[i]! > LOW_ESCAPE && bytes[i]! < 0x80) i++
    if (i === end) return shortAscii(bytes, at, end)
  }
  reader.position = at
  const part = first === FIRST_NULL ? readFirstNull() : readPart(bytes, end)
  if (reader.position === end) return part
  const parts = [part]
  while (reader.position < end) {
    if (bytes[reader.position++] !== SEPARATOR) throw malformed()
    if (reader.position === end && parts.length === 1) return parts
    parts.push(readPart(bytes, end))
  }
  return parts
}

/**
 * True if `encodeKey` writes [at, end) of `bytes` for some key.
 * @internal
 */
export function isKey(bytes: Uint8Array, at: number, end: number): boolean {
  try {
    const length = encodeKey(decodeKey(bytes, at, end), again)
    return length === end - at && again.compare(bytes, at, end, 0, length) === 0
  } catch (error) {
    if (!(error instanceof InvalidError)) throw error
    return false
  }
}
const again = Buffer.alloc(KEY_BUFFER_BYTES)

const reader = { position: 0 }
const malformed = (): InvalidError => new InvalidError('These bytes are not an encoded key.')

function readFirstNull(): null {
  reader.position++
  return null
}

function readPart(bytes: Uint8Array, end: number): KeyPart {
  const at = reader.position
  if (at >= end) throw malformed()
  const tag = bytes[at]!
  if (tag === NULL || tag === FALSE || tag === TRUE) {
    reader.position = at + 1
    return tag === NULL ? null : tag === TRUE
  }
  if (tag === BYTES_TAG) return readBytes(bytes, at + 1, end)
  if (tag >= STRING_ESCAPE) return readString(bytes, at, end)
  return readNumber(bytes, at, end)
}

function readNumber(bytes: Uint8Array, at: number, end: number): number | bigint {
  const stop = at + NUMBER_BYTES
  if (bytes[at] !== NUMBER_TAG || stop > end) throw malformed()
  const invert = bytes[at + 1]! < 0x80 ? 0xff : 0
  double.setUint8(0, bytes[at + 1]! ^ (invert || 0x80))
  for (let i = 1; i < 8; i++) double.setUint8(i, bytes[at + 1 + i]! ^ invert)
  const value = double.getFloat64(0)
  if (Number.isNaN(value)) throw malformed()
  reader.position = stop
  return stop < end && bytes[stop]! >= GROUP_FLAG ? readGroups(bytes, stop, end, value) : value
}

function readGroups(bytes: Uint8Array, start: number, end: number, below: number): bigint {
  if (!Number.isInteger(below)) throw malformed()
  let at = start
  let rest = 0n
  while (at < end && bytes[at]! >= GROUP_FLAG) rest = (rest << BigInt(GROUP_BITS)) | BigInt(bytes[at++]! & ~GROUP_FLAG)
  reader.position = at
  // The group says that it is a bigint, and adds nothing to the double.
  if (at === start + 1 && rest === 0n) return BigInt(below)
  const left = groupsOf(below) - (at - start)
  if (left < 0) throw malformed()
  return BigInt(below) + (rest << BigInt(left * GROUP_BITS))
}

function readString(bytes: Uint8Array, start: number, end: number): string {
  let at = start
  if (bytes[at] === STRING_ESCAPE) at++
  let text = ''
  while (at < end && bytes[at] !== SEPARATOR) {
    let c = bytes[at++]!
    if (c === LOW_ESCAPE) c = bytes[at++]!
    else if (c >= 0xf0) {
      c = ((c & 7) << 18) | ((bytes[at]! & 0x3f) << 12) | ((bytes[at + 1]! & 0x3f) << 6) | (bytes[at + 2]! & 0x3f)
      at += 3
    } else if (c >= 0xe0) {
      c = ((c & 15) << 12) | ((bytes[at]! & 0x3f) << 6) | (bytes[at + 1]! & 0x3f)
      at += 2
    } else if (c >= 0xc0) {
      c = ((c & 31) << 6) | (bytes[at]! & 0x3f)
      at += 1
    }
    if (at > end || c > 0x10ffff) throw malformed()
    text += String.fromCodePoint(c)
  }
  reader.position = at
  return text
}

/** As a Buffer, which is what values of bytes are read as. */
function readBytes(bytes: Uint8Array, start: number, end: number): Buffer {
  const out: number[] = []
  let at = start
  while (at < end && bytes[at] !== SEPARATOR) {
    let byte = bytes[at++]!
    if (byte === BYTES_ESCAPE) byte = bytes[at++]! - 1
    if (at > end) throw malformed()
    out.push(byte)
  }
  reader.position = at
  return Buffer.from(out)
}

/** Longer than any key, and so above all keys. */
const ABOVE_ALL = Buffer.alloc(MAX_KEY_BYTES + 1, 0xff)

/**
 * The bounds [from, to) of all keys that begin with `prefix`: strings that begin with a string,
 * Uint8Arrays likewise, arrays that begin with the elements of an array. Arrays whose first element
 * begins with a string lie among those strings, and are covered with them.
 * @internal
 */
export function prefixBounds(given: Key): { from: Buffer; to: Buffer } {
  const prefix = takenKey(given)
  const buffer = Buffer.alloc(KEY_BUFFER_BYTES)
  let length = writeKey(prefix, buffer)
  if (isArray(prefix)) {
    // [a, b] itself, and every array with a further element: up to the byte after the separator.
    if (prefix.length === 1) length--
    const to = Buffer.from(buffer.subarray(0, length + 1))
    to[length] = SEPARATOR + 1
    return { from: Buffer.from(buffer.subarray(0, prefix.length === 1 ? length + 1 : length)), to }
  }
  if (typeof prefix !== 'string' && !types.isUint8Array(prefix)) {
    throw new InvalidError('A prefix must be a string, a Uint8Array or an array.')
  }
  if (length === 1 && (typeof prefix !== 'string' || prefix === '')) {
    // All strings: from the escape of the empty one. All Uint8Arrays: the tag.
    const first = typeof prefix === 'string' ? STRING_ESCAPE : BYTES_TAG
    return { from: Buffer.from([first]), to: typeof prefix === 'string' ? Buffer.from([BYTES_TAG]) : ABOVE_ALL }
  }
  const from = Buffer.from(buffer.subarray(0, length))
  const to = Buffer.from(from)
  let last = to.length - 1
  while (last > 0 && to[last] === 0xff) last--
  to[last]!++
  return { from, to: to[last] === 0 ? ABOVE_ALL : to.subarray(0, last + 1) }
}
