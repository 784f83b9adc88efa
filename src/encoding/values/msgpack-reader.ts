// Bytes to values, as msgpack-format.ts says. Trusts nothing that it finds: each length is checked against the
// end of the value before anything is read or allocated by it. Runs none of the user's code.
import { isUtf8 } from 'node:buffer'
import { shortAscii } from '../latin1.js'
import { ARRAY_BUFFER, DATA_VIEW, ERRORS, EXT, FLOAT16_ARRAY, isErrorName, TYPED_ARRAYS } from './msgpack-format.js'
import { MAX_DEPTH } from './refusal.js'

const malformed = (what: string): never => {
  throw new Error(what)
}
const cutShort = (): never => malformed('it ends too early')

type NativeBuffer = Buffer & {
  utf8Slice(at: number, end: number): string
  latin1Slice(at: number, end: number): string
}

/** Names of fields that were read recently: most come again, and looking a name up is faster than making it. */
const NAMES = 1024
interface Name {
  readonly bytes: Uint8Array
  readonly text: string
}

export class MsgpackReader {
  private bytes: NativeBuffer = Buffer.alloc(0) as NativeBuffer
  private at = 0
  private end = 0
  private readonly names: (Name | undefined)[] = new Array<Name | undefined>(NAMES).fill(undefined)

  /**
   * The value in [at, end) of `bytes`. Nothing of it aliases them. Throws an error of any kind if they are no value.
   */
  decode(bytes: Buffer, at: number, end: number): unknown {
    this.bytes = bytes as NativeBuffer
    this.at = at
    this.end = end
    const value = this.read(0)
    if (this.at !== end) malformed('it continues after its end')
    return value
  }

  /** Takes `n` bytes and returns their position; throws if fewer are left. */
  private take(n: number): number {
    const { at } = this
    if (n > this.end - at) cutShort()
    this.at = at + n
    return at
  }

  private u16(): number {
    const at = this.take(2)
    return (this.bytes[at]! << 8) | this.bytes[at + 1]!
  }
  private u32(): number {
    const { bytes } = this
    const at = this.take(4)
    return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0
  }
  /** Copies 8 bytes, in reverse order, to where they can be read as any kind of number. */
  private eight(at: number): void {
    const { bytes } = this
    for (let i = 0; i < 8; i++) EIGHT[i] = bytes[at + 7 - i]!
  }

  private read(depth: number): unknown {
    if (this.at >= this.end) cutShort()
    const tag = this.bytes[this.at++]!
    if (tag < 0x80) return tag
    if (tag < 0x90) return this.object(tag & 0x0f, depth)
    if (tag < 0xa0) return this.array(tag & 0x0f, depth)
    if (tag < 0xc0) return this.text(tag & 0x1f)
    if (tag >= 0xe0) return tag - 0x100
    switch (tag) {
      case 0xc0:
        return null
      case 0xc2:
        return false
      case 0xc3:
        return true
      case 0xca:
        AS_UINT32[0] = this.u32()
        return AS_FLOAT32[0]!
      case 0xcb:
        this.eight(this.take(8))
        return AS_FLOAT64[0]!
      case 0xcc:
        return this.bytes[this.take(1)]!
      case 0xcd:
        return this.u16()
      case 0xce:
        return this.u32()
      case 0xcf:
        this.eight(this.take(8))
        return AS_BIGUINT64[0]!
      case 0xd0:
        return (this.bytes[this.take(1)]! << 24) >> 24
      case 0xd1:
        return (this.u16() << 16) >> 16
      case 0xd2:
        return this.u32() | 0
      case 0xd3:
        this.eight(this.take(8))
        return AS_BIGINT64[0]!
      case 0xd9:
        return this.text(this.bytes[this.take(1)]!)
      case 0xda:
        return this.text(this.u16())
      case 0xdb:
        return this.text(this.u32())
      case 0xdc:
        return this.array(this.u16(), depth)
      case 0xdd:
        return this.array(this.u32(), depth)
      case 0xde:
        return this.object(this.u16(), depth)
      case 0xdf:
        return this.object(this.u32(), depth)
      default:
        return this.binaryOrExtension(tag, depth)
    }
  }

  private binaryOrExtension(tag: number, depth: number): unknown {
    switch (tag) {
      case 0xc4:
        return this.buffer(this.bytes[this.take(1)]!)
      case 0xc5:
        return this.buffer(this.u16())
      case 0xc6:
        return this.buffer(this.u32())
      case 0xc7:
        return this.extension(this.bytes[this.take(1)]!, depth)
      case 0xc8:
        return this.extension(this.u16(), depth)
      case 0xc9:
        return this.extension(this.u32(), depth)
      case 0xd4:
        return this.extension(1, depth)
      case 0xd5:
        return this.extension(2, depth)
      case 0xd6:
        return this.extension(4, depth)
      case 0xd7:
        return this.extension(8, depth)
      case 0xd8:
        return this.extension(16, depth)
      default:
        return malformed('a byte in it has no meaning')
    }
  }

  private text(length: number): string {
    const at = this.take(length)
    const { bytes } = this
    if (length <= 16) {
      if (length === 0) return ''
      let i = at
      const end = at + length
      while (i < end && bytes[i]! < 0x80) i++
      if (i === end) return shortAscii(bytes, at, end)
    }
    const text = bytes.utf8Slice(at, at + length)
    // Bytes that are not UTF-8 are read as this character.
    if (text.includes('\ufffd') && !isUtf8(bytes.subarray(at, at + length))) malformed('a string in it is not UTF-8')
    return text
  }

  private name(): string {
    const { bytes, at } = this
    const tag = at < this.end ? bytes[at]! : 0
    if (tag > 0xa0 && tag <= 0xbf) {
      const length = tag & 0x1f
      if (length > this.end - at - 1) cutShort()
      this.at = at + 1 + length
      const first = at + 1
      const hash =
        (length * 37 + bytes[first]! * 11 + bytes[at + length]! * 59 + bytes[first + (length >> 1)]! * 131) &
        (NAMES - 1)
      const known = this.names[hash]
      if (known !== undefined && known.bytes.length === length) {
        const its = known.bytes
        let i = 0
        while (i < length && its[i] === bytes[first + i]) i++
        if (i === length) return known.text
      }
      this.at = first
      const text = this.text(length)
      this.names[hash] = { bytes: Uint8Array.prototype.slice.call(bytes, first, first + length), text }
      return text
    }
    const name = this.read(MAX_DEPTH)
    return typeof name === 'string' ? name : malformed('the name of a field is not a string')
  }

  private object(count: number, depth: number): object {
    return this.fieldsOf({}, count, depth)
  }

  private fieldsOf(object: Record<string, unknown>, count: number, depth: number): Record<string, unknown> {
    this.enter(2 * count, depth)
    for (let i = 0; i < count; i++) {
      const name = this.name()
      if (name === '__proto__') Object.defineProperty(object, name, { value: this.read(depth + 1), ...FIELD })
      else object[name] = this.read(depth + 1)
    }
    return object
  }

  private array(count: number, depth: number): unknown[] {
    this.enter(count, depth)
    const array = count <= LONGEST_AT_ONCE ? new Array<unknown>(count) : []
    for (let i = 0; i < count; i++) array[i] = this.read(depth + 1)
    return array
  }

  /** Each of the `count` values within has at least one byte. */
  private enter(count: number, depth: number): void {
    if (count > this.end - this.at) cutShort()
    if (depth >= MAX_DEPTH) malformed('it is nested too deep')
  }

  private buffer(length: number): Buffer {
    const at = this.take(length)
    return Buffer.from(this.bytes.subarray(at, at + length))
  }

  // ---- extensions ------------------------------------------------------------------------------

  private extension(length: number, depth: number): unknown {
    const type = this.bytes[this.take(1)]!
    const at = this.take(length)
    const { bytes } = this
    switch (type) {
      case EXT.UNDEFINED:
        return undefined
      case EXT.BIGINT:
        return bigint(bytes, at, length)
      case EXT.DATE:
        if (length !== 8) break
        this.eight(at)
        return new Date(AS_FLOAT64[0]!)
      case EXT.UTF16:
        return bytes.toString('utf16le', at, at + length)
      case EXT.BYTES:
        if (length === 0) break
        return binary(bytes[at]!, plain(bytes, at + 1, at + length).slice())
      case EXT.TIMESTAMP:
        return timestamp(bytes, at, length)
    }
    if (length === 1) {
      switch (type) {
        case EXT.MAP:
          return this.map(depth)
        case EXT.NO_PROTOTYPE:
          return this.fieldsOf(Object.create(null) as Record<string, unknown>, this.count(0x80, 0xde), depth)
        case EXT.HOLES:
          return this.withHoles(depth)
        case EXT.SET: {
          const elements = this.array(this.count(0x90, 0xdc), depth)
          const set = new Set(elements)
          return set.size === elements.length ? set : malformed('a Set in it has an element twice')
        }
        case EXT.REGEXP:
          return regExp(this.array(this.count(0x90, 0xdc), depth))
        case EXT.ERROR:
          return error(this.array(this.count(0x90, 0xdc), depth))
        case EXT.OLD_ERROR:
          return oldError(this.array(this.count(0x90, 0xdc), depth))
      }
    }
    return malformed(`an extension in it (${type}, ${length} bytes) has no meaning`)
  }

  /** The length of the array or map that comes next, whose tags are these. */
  private count(short: number, long: number): number {
    const tag = this.bytes[this.take(1)]!
    if ((tag & 0xf0) === short) return tag & 0x0f
    if (tag === long) return this.u16()
    return tag === long + 1 ? this.u32() : malformed('an extension in it is not followed by its contents')
  }

  private map(depth: number): Map<unknown, unknown> {
    const count = this.count(0x80, 0xde)
    this.enter(2 * count, depth)
    const map = new Map<unknown, unknown>()
    for (let i = 0; i < count; i++) {
      const key = this.read(depth + 1)
      map.set(key, this.read(depth + 1))
    }
    return map.size === count ? map : malformed('a Map in it has a key twice')
  }

  private withHoles(depth: number): unknown[] {
    const count = this.count(0x90, 0xdc)
    this.enter(count, depth)
    const length = this.read(depth + 1)
    if (count % 2 === 0 || typeof length !== 'number' || length >>> 0 !== length)
      return malformed('an array in it has no length')
    const array = emptyArray(length)
    for (let i = 1; i < count; i += 2) {
      const index = this.read(depth + 1)
      if (typeof index !== 'number' || index >>> 0 !== index || index >= length)
        return malformed('an array in it has no such element')
      array[index] = this.read(depth + 1)
    }
    return array
  }
}

const EIGHT = new Uint8Array(8)
const AS_UINT32 = new Uint32Array(EIGHT.buffer)
const AS_FLOAT32 = new Float32Array(EIGHT.buffer)
const AS_FLOAT64 = new Float64Array(EIGHT.buffer)
const AS_BIGINT64 = new BigInt64Array(EIGHT.buffer)
const AS_BIGUINT64 = new BigUint64Array(EIGHT.buffer)

const FIELD = { writable: true, enumerable: true, configurable: true } as const

const plain = (bytes: Buffer, at: number, end: number): Uint8Array =>
  new Uint8Array(bytes.buffer, bytes.byteOffset + at, end - at)

/** Longer arrays are not allocated at once: there may be next to nothing in them. */
const LONGEST_AT_ONCE = 1024

function emptyArray(length: number): unknown[] {
  if (length <= LONGEST_AT_ONCE) return new Array<unknown>(length)
  const array: unknown[] = []
  // An element far after the others makes V8 keep them in a table.
  array[length - 1] = undefined
  delete array[length - 1]
  return array
}

function bigint(bytes: Buffer, at: number, length: number): bigint {
  if (length === 0) return malformed('a bigint in it has no digits')
  const magnitude = BigInt(`0x${bytes.toString('hex', at, at + length)}`)
  return bytes[at]! < 0x80 ? magnitude : BigInt.asIntN(length * 8, magnitude)
}

/** `bytes` is all of its buffer. */
function binary(kind: number, bytes: Uint8Array): unknown {
  const buffer = bytes.buffer as ArrayBuffer
  if (kind === ARRAY_BUFFER) return buffer
  if (kind === DATA_VIEW) return new DataView(buffer)
  const name = kind === FLOAT16_ARRAY ? 'Float16Array' : TYPED_ARRAYS[kind]
  const Class =
    name === undefined ? undefined : (globalThis as unknown as Record<string, new (of: ArrayBuffer) => unknown>)[name]
  return Class === undefined
    ? malformed(`it has typed arrays of a kind (${kind}) that is not known here`)
    : new Class(buffer)
}

function timestamp(bytes: Buffer, at: number, length: number): Date {
  switch (length) {
    case 1:
      return new Date(Number.NaN)
    case 4:
      return new Date(bytes.readUInt32BE(at) * 1000)
    case 8: {
      const high = bytes.readUInt32BE(at)
      return new Date(Math.floor((high >>> 2) / 1e6) + ((high & 3) * 2 ** 32 + bytes.readUInt32BE(at + 4)) * 1000)
    }
    case 12:
      return new Date(Math.floor(bytes.readUInt32BE(at) / 1e6) + Number(bytes.readBigInt64BE(at + 4)) * 1000)
    default:
      return malformed('a date in it has no meaning')
  }
}

function regExp([source, flags, lastIndex = 0, ...rest]: unknown[]): RegExp {
  if (typeof source !== 'string' || typeof flags !== 'string' || typeof lastIndex !== 'number' || rest.length > 0) {
    return malformed('a RegExp in it is malformed')
  }
  const made = new RegExp(source, flags)
  made.lastIndex = lastIndex
  return made
}

const isFields = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype

function error([name, hidden, shown, ...rest]: unknown[]): Error {
  if (!isErrorName(name) || !isFields(hidden) || !isFields(shown) || rest.length > 0)
    return malformed('an error in it is malformed')
  const made = new ERRORS[name]()
  // Fields that the error did not have when it was put, it must not have now.
  for (const own of Object.getOwnPropertyNames(made)) delete (made as unknown as Record<string, unknown>)[own]
  for (const field of Object.keys(hidden))
    Object.defineProperty(made, field, { value: hidden[field], ...FIELD, enumerable: false })
  for (const field of Object.keys(shown)) Object.defineProperty(made, field, { value: shown[field], ...FIELD })
  return made
}

function oldError([name, message, cause]: unknown[]): Error {
  if (typeof name !== 'string' || typeof message !== 'string') return malformed('an error in it is malformed')
  const options = cause === undefined || cause === null ? undefined : { cause }
  if (isErrorName(name)) return new ERRORS[name](message, options)
  return Object.defineProperty(new Error(message, options), 'name', { value: name, ...FIELD, enumerable: false })
}
