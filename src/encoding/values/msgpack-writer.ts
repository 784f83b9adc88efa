// Values to bytes, as msgpack-format.ts says. Every value that it takes, the reader gives back equal, in kind and in
// content. All other values are refused, and the error names the place. Each field is read once. Getters and `toJSON`
// are the user's code and may store values themselves: all state lies in the writer, and each nested call has a
// writer of its own (codec.ts).
import types from 'node:util/types'
import { builtInName, describe, hasNamedFields, isForeignObjectPrototype, isPlainWithin } from './kinds.js'
import {
  ARRAY_BUFFER,
  DATA_VIEW,
  ERROR_FIELDS,
  EXT,
  FLOAT16_ARRAY,
  isErrorName,
  TYPED_ARRAYS,
} from './msgpack-format.js'
import { MsgpackReader } from './msgpack-reader.js'
import { at, MAX_DEPTH, refuse, tooDeep, type Step } from './refusal.js'
import { binaryOf, hasJson, jsonOf, noFields, NOT_DATA, refuseNames, refuseSymbols, tooLong } from './unusual.js'
import { MAX_VALUE_BYTES } from '../../limits.js'

const CHUNK_BYTES = 16 * 1024
/** A value starts with at least this much room. */
const LEAST_ROOM = 1024
/** Callers ask for more room than they need: a value that is just short enough needs this much more. */
const SLACK_BYTES = 64 * 1024
/** Strings up to this length are written here; longer ones by native code. */
const SHORT_STRING = 48
/** Up to this length, the UTF-8 length of a string is not counted first. */
const GUESSED_STRING = 4096

const OBJECT = Object.prototype
const prototypeOf = Object.getPrototypeOf as (value: object) => object | null

export class MsgpackWriter {
  private bytes: Buffer = Buffer.allocUnsafeSlow(CHUNK_BYTES)
  private view = new DataView(this.bytes.buffer)
  private start = 0
  private at = 0
  /** How often a `toJSON` has been called. */
  private asked = 0

  /** The value as bytes, which are not written to again. Throws a `Refusal`, or what the user's code threw. */
  encode(value: unknown): Uint8Array {
    if (this.bytes.length - this.at < LEAST_ROOM) this.replace(CHUNK_BYTES)
    this.start = this.at
    this.write(value, 0, '')
    if (this.at - this.start > MAX_VALUE_BYTES) tooLong(this.at - this.start)
    return this.bytes.subarray(this.start, this.at)
  }

  /** Discards what a failed encoding has written, and releases a large buffer. */
  reset(): void {
    this.at = this.start
    if (this.bytes.length > CHUNK_BYTES) this.replace(CHUNK_BYTES)
  }

  private replace(lengthBytes: number): void {
    this.bytes = Buffer.allocUnsafeSlow(lengthBytes)
    this.view = new DataView(this.bytes.buffer)
    this.at = this.start = 0
  }

  /** Makes room for `n` more bytes. */
  private room(n: number): void {
    if (this.at + n > this.bytes.length) this.grow(n)
  }

  private grow(n: number): void {
    const { bytes, start, at: end } = this
    const needed = end - start + n
    if (needed > MAX_VALUE_BYTES + SLACK_BYTES) tooLong(needed)
    this.replace(Math.max(CHUNK_BYTES, Math.min(needed + (end - start), MAX_VALUE_BYTES + SLACK_BYTES)))
    bytes.copy(this.bytes, 0, start, end)
    this.at = end - start
  }

  private write(value: unknown, depth: number, step: Step): void {
    // Not a switch: only for a direct comparison with typeof does V8 test the type without making a string.
    if (typeof value === 'string') this.string(value)
    else if (typeof value === 'number') this.number(value)
    else if (typeof value === 'object') {
      if (value === null) this.byte(0xc0)
      else if (Array.isArray(value)) this.array(value, depth, step)
      else if (prototypeOf(value) === OBJECT) this.object(value as Fields, depth, step)
      else this.unusual(value, depth, step)
    } else if (typeof value === 'boolean') this.byte(value ? 0xc3 : 0xc2)
    else if (typeof value === 'undefined') this.mark(EXT.UNDEFINED)
    else if (typeof value === 'bigint') this.bigint(value)
    else refuse(`is ${describe(value)}`, NOT_DATA)
  }

  private byte(byte: number): void {
    this.room(1)
    this.bytes[this.at++] = byte
  }

  // ---- primitives ------------------------------------------------------------------------------

  private number(value: number): void {
    this.room(9)
    const { bytes } = this
    if (value >>> 0 === value && (value !== 0 || 1 / value > 0)) {
      if (value < 0x80) bytes[this.at++] = value
      else if (value < 0x100) {
        bytes[this.at++] = 0xcc
        bytes[this.at++] = value
      } else if (value < 0x10000) {
        bytes[this.at++] = 0xcd
        bytes[this.at++] = value >>> 8
        bytes[this.at++] = value
      } else {
        bytes[this.at] = 0xce
        this.view.setUint32(this.at + 1, value)
        this.at += 5
      }
    } else if (value >> 0 === value && value < 0) {
      if (value >= -0x20) bytes[this.at++] = value
      else if (value >= -0x80) {
        bytes[this.at++] = 0xd0
        bytes[this.at++] = value
      } else if (value >= -0x8000) {
        bytes[this.at++] = 0xd1
        bytes[this.at++] = value >> 8
        bytes[this.at++] = value
      } else {
        bytes[this.at] = 0xd2
        this.view.setInt32(this.at + 1, value)
        this.at += 5
      }
    } else {
      bytes[this.at] = 0xcb
      this.view.setFloat64(this.at + 1, value)
      this.at += 9
    }
  }

  private bigint(value: bigint): void {
    if (BigInt.asIntN(64, value) === value) {
      this.room(9)
      this.bytes[this.at] = 0xd3
      this.view.setBigInt64(this.at + 1, value)
      this.at += 9
    } else {
      // One digit more than the magnitude has leaves room for the sign.
      const digits = value.toString(16).length + 1
      const length = Math.ceil(digits / 2)
      const hex = BigInt.asUintN(length * 8, value)
        .toString(16)
        .padStart(length * 2, '0')
      this.extension(EXT.BIGINT, length)
      this.at += this.bytes.write(hex, this.at, 'hex')
    }
  }

  private string(text: string): void {
    const { length } = text
    if (length > SHORT_STRING) return this.longString(text)
    this.room(length * 3 + 2)
    const { bytes } = this
    const start = this.at
    // For a string this short, the head has one byte, or two from 32 on.
    let end = start + (length < 0x20 ? 1 : 2)
    const body = end
    for (let i = 0; i < length; i++) {
      const c = text.charCodeAt(i)
      if (c < 0x80) bytes[end++] = c
      else if (c < 0x800) {
        bytes[end++] = (c >> 6) | 0xc0
        bytes[end++] = (c & 0x3f) | 0x80
      } else if (c < 0xd800 || c > 0xdfff) {
        bytes[end++] = (c >> 12) | 0xe0
        bytes[end++] = ((c >> 6) & 0x3f) | 0x80
        bytes[end++] = (c & 0x3f) | 0x80
      } else return this.longString(text)
    }
    const lengthBytes = end - body
    if (lengthBytes < 0x20) bytes[start] = 0xa0 | lengthBytes
    else if (lengthBytes < 0x100) {
      if (length < 0x20) {
        bytes.copyWithin(body + 1, body, end)
        end++
      }
      bytes[start] = 0xd9
      bytes[start + 1] = lengthBytes
    }
    this.at = end
  }

  private longString(text: string): void {
    const { length } = text
    if (length > MAX_VALUE_BYTES) tooLong(length)
    const mostBytes = length < GUESSED_STRING ? length * 3 : Buffer.byteLength(text)
    this.room(mostBytes + 5)
    const { bytes, at: start } = this
    let head = length < 0x20 ? 1 : length < 0x100 ? 2 : length < 0x10000 ? 3 : 5
    const lengthBytes = (bytes as Utf8Buffer).utf8Write(text, start + head, mostBytes)
    if (lengthBytes !== length && !text.isWellFormed()) return this.utf16(text)
    const needed = lengthBytes < 0x20 ? 1 : lengthBytes < 0x100 ? 2 : lengthBytes < 0x10000 ? 3 : 5
    if (needed !== head) bytes.copyWithin(start + needed, start + head, start + head + lengthBytes)
    head = needed
    if (head === 1) bytes[start] = 0xa0 | lengthBytes
    else if (head === 2) {
      bytes[start] = 0xd9
      bytes[start + 1] = lengthBytes
    } else if (head === 3) {
      bytes[start] = 0xda
      this.view.setUint16(start + 1, lengthBytes)
    } else {
      bytes[start] = 0xdb
      this.view.setUint32(start + 1, lengthBytes)
    }
    this.at = start + head + lengthBytes
  }

  private utf16(text: string): void {
    this.extension(EXT.UTF16, text.length * 2)
    this.at += this.bytes.write(text, this.at, 'utf16le')
  }

  // ---- containers ------------------------------------------------------------------------------

  private array(array: readonly unknown[], depth: number, step: Step): void {
    if (prototypeOf(array) !== Array.prototype && builtInName(prototypeOf(array) ?? NOTHING) !== 'Array') {
      if (hasJson(array)) return this.json(array, depth, step)
      refuse(`is ${describe(array)}`, 'Store Array.from(it).')
    }
    if (depth >= MAX_DEPTH) tooDeep(array)
    if (hasNamedFields(array)) {
      if (hasJson(array)) return this.json(array, depth, step)
      refuse('is an array with fields besides its elements', 'Store an object that has both.')
    }
    const before = this.at - this.start
    const { length } = array
    // A proxy may report any length.
    if (length >>> 0 !== length) refuse('is an array whose length is no whole number', 'Store Array.from(it).')
    this.arrayHead(length)
    let i = 0
    try {
      for (; i < length; i++) {
        const element = array[i]
        if (element === undefined && !(i in array)) {
          this.at = this.start + before
          return this.withHoles(array, depth)
        }
        this.write(element, depth + 1, i)
      }
    } catch (error) {
      throw at(error, array, i)
    }
  }

  private withHoles(array: readonly unknown[], depth: number): void {
    const { length } = array
    const indexes = Object.keys(array)
    if (indexes.some((index) => !isIndex(index)))
      refuse('is an array with fields besides its elements', 'Store an object that has both.')
    this.mark(EXT.HOLES)
    this.arrayHead(1 + 2 * indexes.length)
    this.number(length)
    for (const index of indexes) {
      const i = Number(index)
      this.number(i)
      try {
        this.write(array[i], depth + 1, i)
      } catch (error) {
        throw at(error, array, i)
      }
    }
  }

  private object(object: Fields, depth: number, step: Step): void {
    if (typeof object['toJSON'] === 'function') return this.json(object, depth, step)
    const names = Object.keys(object)
    if (names.length === 0 && !isPlainWithin(object)) refuse(`is ${describe(object)}`, NOT_DATA)
    if (Object.getOwnPropertySymbols(object).length > 0) refuseSymbols(object)
    this.fields(object, names, depth)
  }

  /** Most objects come here: no closure, and nothing allocated. */
  private fields(object: Fields, names: readonly string[], depth: number): void {
    if (depth >= MAX_DEPTH) tooDeep(object)
    const { length } = names
    this.mapHead(length)
    let i = 0
    try {
      for (; i < length; i++) {
        const name = names[i]!
        this.string(name)
        this.write(object[name], depth + 1, name)
      }
    } catch (error) {
      throw at(error, object, names[i])
    }
  }

  // ---- everything else -------------------------------------------------------------------------

  private unusual(value: object, depth: number, step: Step): void {
    const prototype = prototypeOf(value)
    if (prototype === null) {
      if (hasJson(value)) return this.json(value, depth, step)
      refuseSymbols(value)
      this.mark(EXT.NO_PROTOTYPE)
      return this.fields(value as Fields, Object.keys(value), depth)
    }
    if (isForeignObjectPrototype(prototype)) return this.object(value as Fields, depth, step)
    const name = builtInName(prototype)
    if (types.isDate(value) && name === 'Date') return this.date(value)
    if (types.isArrayBufferView(value) || types.isAnyArrayBuffer(value)) return this.binary(value, name)
    if (types.isMap(value) && name === 'Map') return this.map(value, depth)
    if (types.isSet(value) && name === 'Set') return this.set(value, depth)
    if (types.isRegExp(value) && name === 'RegExp') return this.regExp(value)
    if (types.isNativeError(value) && isErrorName(name)) return this.error(value, name, depth)
    if (hasJson(value)) return this.json(value, depth, step)
    refuse(`is ${describe(value)}`, NOT_DATA)
  }

  private json(value: object, depth: number, step: Step): void {
    this.asked++
    const result = jsonOf(value, step)
    if (result === undefined && depth === 0) refuse('has a toJSON that returns undefined', 'Let it return data.')
    this.write(result, depth, step)
  }

  private date(date: Date): void {
    noFields(date)
    this.extension(EXT.DATE, 8)
    this.view.setFloat64(this.at, Date.prototype.getTime.call(date))
    this.at += 8
  }

  private binary(value: ArrayBufferView | ArrayBufferLike, name: string | undefined): void {
    const isBuffer = prototypeOf(value) === Buffer.prototype
    const bytes = binaryOf(value, isBuffer ? 'Buffer' : name)
    const { length } = bytes
    if (length > MAX_VALUE_BYTES) tooLong(length)
    if (isBuffer) {
      this.room(length + 5)
      if (length < 0x100) {
        this.bytes[this.at] = 0xc4
        this.bytes[this.at + 1] = length
        this.at += 2
      } else if (length < 0x10000) {
        this.bytes[this.at] = 0xc5
        this.view.setUint16(this.at + 1, length)
        this.at += 3
      } else {
        this.bytes[this.at] = 0xc6
        this.view.setUint32(this.at + 1, length)
        this.at += 5
      }
    } else {
      this.extension(EXT.BYTES, length + 1)
      this.bytes[this.at++] = kindNumber(name!)
    }
    this.bytes.set(bytes, this.at)
    this.at += length
  }

  private map(map: Map<unknown, unknown>, depth: number): void {
    if (depth >= MAX_DEPTH) tooDeep(map)
    noFields(map)
    // Copied first: the user's code may change it while it is written.
    const entries = Array.from(Map.prototype.entries.call(map) as IterableIterator<[unknown, unknown]>)
    const begin = this.at - this.start
    this.mark(EXT.MAP)
    this.mapHead(entries.length)
    let i = 0
    let step: string | undefined
    let areReplaced = false
    try {
      for (; i < entries.length; i++) {
        step = `.keys() no. ${i}`
        areReplaced = this.isReplaced(entries[i]![0], depth + 1, i) || areReplaced
        step = undefined
        this.write(entries[i]![1], depth + 1, i)
      }
    } catch (error) {
      const key = entries[i]![0]
      throw at(error, map, {
        text:
          step ??
          (typeof key === 'string' || typeof key === 'number'
            ? `.get(${typeof key === 'string' ? JSON.stringify(key.slice(0, 40)) : key})`
            : `.values() no. ${i}`),
      })
    }
    if (areReplaced) this.refuseTwins(begin, 'is a Map of which a toJSON makes two keys the same')
  }

  private set(set: Set<unknown>, depth: number): void {
    if (depth >= MAX_DEPTH) tooDeep(set)
    noFields(set)
    const elements = Array.from(Set.prototype.values.call(set) as IterableIterator<unknown>)
    const begin = this.at - this.start
    this.mark(EXT.SET)
    this.arrayHead(elements.length)
    let i = 0
    let areReplaced = false
    try {
      for (; i < elements.length; i++) areReplaced = this.isReplaced(elements[i], depth + 1, i) || areReplaced
    } catch (error) {
      throw at(error, set, { text: `.values() no. ${i}` })
    }
    if (areReplaced) this.refuseTwins(begin, 'is a Set of which a toJSON makes two elements the same')
  }

  /** Writes what must differ from its neighbours. True if it, or something in it, was stored by way of its toJSON. */
  private isReplaced(value: unknown, depth: number, step: Step): boolean {
    const { asked } = this
    this.write(value, depth, step)
    return this.asked !== asked
  }

  /** Refuses the Map or Set that was written from `begin` on if the reader could not read it back. */
  private refuseTwins(begin: number, what: string): void {
    try {
      new MsgpackReader().decode(this.bytes, this.start + begin, this.at)
    } catch {
      refuse(what, 'Let them differ, or store an array.')
    }
  }

  private regExp(regExp: RegExp): void {
    noFields(regExp)
    const { lastIndex } = regExp
    if (!Number.isSafeInteger(lastIndex) || lastIndex < 0)
      refuse('is a RegExp whose lastIndex is no whole number', 'Set it to 0.')
    this.mark(EXT.REGEXP)
    this.arrayHead(lastIndex === 0 ? 2 : 3)
    this.string(regExp.source)
    this.string(regExp.flags)
    if (lastIndex !== 0) this.number(lastIndex)
  }

  private error(error: Error, name: string, depth: number): void {
    // The two objects and the array that hold its fields count.
    if (depth + 2 >= MAX_DEPTH) tooDeep(error)
    refuseNames(error, [])
    const names = Object.keys(error)
    const hidden = ERROR_FIELDS.filter((field) => Object.hasOwn(error, field) && !names.includes(field))
    this.mark(EXT.ERROR)
    this.arrayHead(3)
    this.string(name)
    this.fields(error as never, hidden, depth + 1)
    this.fields(error as never, names, depth + 1)
  }

  // ---- heads -----------------------------------------------------------------------------------

  private mark(type: number): void {
    this.room(3)
    this.bytes[this.at++] = 0xd4
    this.bytes[this.at++] = type
    this.bytes[this.at++] = 0
  }

  /** The head of an extension of `length` bytes, and room for them. */
  private extension(type: number, length: number): void {
    this.room(length + 6)
    const { bytes } = this
    if (length === 8) bytes[this.at++] = 0xd7
    else if (length < 0x100) {
      bytes[this.at++] = 0xc7
      bytes[this.at++] = length
    } else if (length < 0x10000) {
      bytes[this.at] = 0xc8
      this.view.setUint16(this.at + 1, length)
      this.at += 3
    } else {
      bytes[this.at] = 0xc9
      this.view.setUint32(this.at + 1, length)
      this.at += 5
    }
    bytes[this.at++] = type
  }

  private arrayHead(length: number): void {
    this.room(5)
    if (length < 0x10) this.bytes[this.at++] = 0x90 | length
    else this.head(0xdc, length)
  }

  private mapHead(length: number): void {
    this.room(5)
    if (length < 0x10) this.bytes[this.at++] = 0x80 | length
    else this.head(0xde, length)
  }

  /** The head of a container: `tag` with a length of 16 bits, the tag after it with one of 32. */
  private head(tag: number, length: number): void {
    if (length < 0x10000) {
      this.bytes[this.at] = tag
      this.view.setUint16(this.at + 1, length)
      this.at += 3
    } else {
      this.bytes[this.at] = tag + 1
      this.view.setUint32(this.at + 1, length)
      this.at += 5
    }
  }
}

type Fields = Record<string, unknown>
type Utf8Buffer = Buffer & { utf8Write(text: string, at: number, most: number): number }
const NOTHING = {}

const isIndex = (name: string): boolean => {
  const index = Number(name)
  return index >= 0 && index < 2 ** 32 - 1 && String(index >>> 0) === name
}

const kindNumber = (name: string): number =>
  name === 'ArrayBuffer'
    ? ARRAY_BUFFER
    : name === 'DataView'
      ? DATA_VIEW
      : name === 'Float16Array'
        ? FLOAT16_ARRAY
        : TYPED_ARRAYS.indexOf(name as never)
