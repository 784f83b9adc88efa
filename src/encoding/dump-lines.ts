// A dump: the entries of a database as lines of JSON, for other programs, other versions and other machines. One line
// says what follows, one what there was; the rest are entries.
//
//   {"mmapdb":"dump","version":1,"valueEncoding":"msgpack","lsn":1234}
//   {"key":["order",17],"value":{"total":9.5}}
//   {"key":"session","expiresAt":1782864000000,"value":1}   an entry that expires: milliseconds since 1970
//   {"keyBase64":"...","valueBase64":"..."}         where the notation would not give back the same bytes
//   {"key":"film","parts":3}                        a value that is too long for a line, followed by
//   {"part":"..."}                                  its parts, in base64
//   {"store":"users","valueEncoding":"json"}       what follows is of this named store
//   {"end":true,"entries":3,"crc":"1a2b3c4d"}       CRC-32C of all lines before, each with its line break
//
// Keys and values are written in the notation of the command line (notation.ts) if that is exact: it is read back
// when it is written, and compared byte by byte with what is encoded. Otherwise it is the encoded bytes. So nothing
// depends on which kinds of values the notation can hold. A reader of this file needs neither: both are said by the
// field.
import { CorruptError, InvalidError, VersionError } from '../errors.js'
import { crc32c } from './crc32c.js'
import { isTime } from './expiry-key.js'
import { parseJson } from './json-text.js'
import { decodeKey, encodeKey, isKey, KEY_BUFFER_BYTES, type Key } from './keys.js'
import { jsonText, keyOf, plain, plainKey, wholeValueOf } from './notation.js'
import { VALUE_ENCODINGS, type ValueCodec, type ValueEncoding, valueCodec } from './values/codec.js'

const VERSION = 1
/** What a file begins with that is a dump. */
export const DUMP_MARK = '{"mmapdb":"dump",'
/** A longer value is not written in notation. */
const MOST_NOTATION_BYTES = 4 * 1024 * 1024
/** A longer value is written in parts of this length. */
const PART_BYTES = 12 * 1024 * 1024

/** A named store in a dump. */
interface DumpedStore {
  readonly name: string
  readonly valueEncoding: ValueEncoding
}

interface DumpHead {
  readonly valueEncoding: ValueEncoding
  /** The moment of the database that was dumped. */
  readonly lsn: number
}

/** Adds up the lines of a dump, in one direction or the other. */
class LineCrc {
  #crc = 0
  add(line: string): void {
    this.#crc = crc32c(Buffer.from(`${line}\n`), this.#crc)
  }
  get hex(): string {
    return (this.#crc >>> 0).toString(16).padStart(8, '0')
  }
}

// ---- writing -----------------------------------------------------------------------------------

export class DumpWriter {
  readonly #crc = new LineCrc()
  #codec: ValueCodec
  readonly #head: DumpHead
  readonly #key = Buffer.alloc(KEY_BUFFER_BYTES)
  readonly #keyAgain = Buffer.alloc(KEY_BUFFER_BYTES)
  #entries = 0

  constructor(head: DumpHead) {
    this.#head = head
    this.#codec = valueCodec(head.valueEncoding)
  }

  head(): string {
    return this.#line(JSON.stringify({ mmapdb: 'dump', version: VERSION, ...this.#head }))
  }

  /** What follows is of this store. */
  store(store: DumpedStore): string {
    this.#codec = valueCodec(store.valueEncoding)
    return this.#line(JSON.stringify({ store: store.name, valueEncoding: store.valueEncoding }))
  }

  /** The lines of an entry. `expiresAt`: undefined if it stays. */
  *entry(key: Key, value: unknown, expiresAt?: number): Generator<string, void> {
    this.#entries++
    const bytes = Buffer.from(this.#codec.encode(value))
    const time = expiresAt === undefined ? '' : `,"expiresAt":${expiresAt}`
    const keyField = `${this.#keyField(key)}${time}`
    if (bytes.length <= PART_BYTES) {
      yield this.#line(`{${keyField},${this.#valueField(value, bytes)}}`)
      return
    }
    yield this.#line(`{${keyField},"parts":${Math.ceil(bytes.length / PART_BYTES)}}`)
    for (let at = 0; at < bytes.length; at += PART_BYTES)
      yield this.#line(`{"part":"${bytes.toString('base64', at, at + PART_BYTES)}"}`)
  }

  end(): string {
    return JSON.stringify({ end: true, entries: this.#entries, crc: this.#crc.hex })
  }

  #line(line: string): string {
    this.#crc.add(line)
    return line
  }

  #keyField(key: Key): string {
    const bytes = this.#key.subarray(0, encodeKey(key, this.#key))
    const text = attempt(() => jsonText(plainKey(key)))
    const again = text && attempt(() => this.#keyAgain.subarray(0, encodeKey(keyOf(parsed(text)), this.#keyAgain)))
    return again && bytes.equals(again) ? `"key":${text}` : `"keyBase64":"${bytes.toString('base64')}"`
  }

  #valueField(value: unknown, bytes: Buffer): string {
    const text = bytes.length > MOST_NOTATION_BYTES ? undefined : attempt(() => jsonText(plain(value)))
    const again = text && attempt(() => this.#codec.encode(wholeValueOf(parsed(text))))
    return again && bytes.equals(again) ? `"value":${text}` : `"valueBase64":"${bytes.toString('base64')}"`
  }
}

/** Undefined if it cannot be done: what cannot be written in notation is written as bytes. */
function attempt<T>(act: () => T): T | undefined {
  try {
    return act()
  } catch {
    return undefined
  }
}

const parsed = (text: string): unknown => parseJson(text, 'refuse')

// ---- reading -----------------------------------------------------------------------------------

/** An entry of a dump. */
export interface DumpedEntry {
  readonly key: Key
  readonly value: unknown
  /** When it expires, in milliseconds since 1970; undefined if it stays. */
  readonly expiresAt: number | undefined
}

/** Says which line is wrong. */
class LineError extends InvalidError {}

type Fields = Record<string, unknown>

/** Reads the lines of a dump, one after the other. Every error names the line. */
export class DumpReader {
  readonly #crc = new LineCrc()
  readonly #keyBytes = Buffer.alloc(KEY_BUFFER_BYTES)
  #codec: ValueCodec | undefined
  #store: DumpedStore | undefined
  #line = 0
  #entries = 0
  #isOver = false
  /** An entry whose value comes in parts, and how many are still to come. */
  #long: (Omit<DumpedEntry, 'value'> & { readonly parts: Buffer[]; left: number }) | undefined

  /** The store that entries are of from here on; undefined for the default store. */
  get store(): DumpedStore | undefined {
    return this.#store
  }

  /** How values were encoded; undefined before the first line. */
  get valueEncoding(): ValueEncoding | undefined {
    return this.#codec?.name
  }

  /** Takes the next line, without its line break. Returns an entry when one is complete. */
  take(line: string): DumpedEntry | undefined {
    this.#line++
    if (this.#isOver) {
      if (line.trim() === '') return undefined
      throw this.#wrong('it follows the end of the dump')
    }
    const fields = this.#parsed(line)
    if (this.#codec === undefined) this.#begin(fields)
    else if (fields['end'] === true) return void this.#end(fields)
    this.#crc.add(line)
    if (this.#line === 1) return undefined
    return 'store' in fields ? this.#beginStore(fields) : this.#entry(fields)
  }

  /** To be called after the last line. Throws if the dump was cut short. */
  finish(): number {
    if (this.#isOver) return this.#entries
    throw new CorruptError(`The dump is cut short: it ends after line ${this.#line}, without saying so. Dump it again.`)
  }

  #parsed(line: string): Fields {
    try {
      const fields = parsed(line)
      if (typeof fields === 'object' && fields !== null && !Array.isArray(fields)) return fields as Fields
    } catch (cause) {
      throw this.#wrong(`it is not JSON (${(cause as Error).message})`, cause)
    }
    throw this.#wrong('it is not an object')
  }

  #begin({ mmapdb, version, valueEncoding }: Fields): void {
    if (mmapdb !== 'dump') throw this.#wrong('a dump begins with {"mmapdb":"dump",...}')
    if (version !== VERSION || !VALUE_ENCODINGS.includes(valueEncoding as ValueEncoding)) {
      throw new VersionError(
        `The dump was written in version ${String(version)} with valueEncoding ${String(valueEncoding)}; this version of ` +
          `mmapdb reads version ${VERSION} with ${VALUE_ENCODINGS.join(', ')}. Update mmapdb.`,
      )
    }
    this.#codec = valueCodec(valueEncoding as ValueEncoding)
  }

  #beginStore({ store: name, valueEncoding }: Fields): undefined {
    if (this.#long !== undefined) throw this.#wrong('parts of the value before it are missing')
    if (typeof name !== 'string' || name === '') throw this.#wrong('the name of its store is not one')
    if (!VALUE_ENCODINGS.includes(valueEncoding as ValueEncoding)) throw this.#wrong('its valueEncoding is not known')
    this.#store = { name, valueEncoding: valueEncoding as ValueEncoding }
    this.#codec = valueCodec(this.#store.valueEncoding)
  }

  #end({ entries, crc }: Fields): void {
    if (this.#long !== undefined) throw this.#wrong('parts of the value before it are missing')
    this.#isOver = true
    if (entries === this.#entries && crc === this.#crc.hex) return
    throw new CorruptError(
      `The dump is damaged: it has ${this.#entries} entries and CRC ${this.#crc.hex}, and its last line says ` +
        `${String(entries)} and ${String(crc)}. Dump it again.`,
    )
  }

  #entry(fields: Fields): DumpedEntry | undefined {
    const long = this.#long
    if (long !== undefined) {
      long.parts.push(this.#bytes(fields, 'part'))
      if (--long.left > 0) return undefined
      this.#long = undefined
      return this.#made(long, () => this.#decoded(Buffer.concat(long.parts)))
    }
    const key = this.#key(fields)
    const expiresAt = this.#time(fields)
    const { parts } = fields
    if (parts === undefined) {
      const hasText = 'value' in fields
      return this.#made({ key, expiresAt }, () =>
        hasText ? wholeValueOf(fields['value']) : this.#decoded(this.#bytes(fields, 'valueBase64')),
      )
    }
    if (!Number.isSafeInteger(parts) || (parts as number) < 1) throw this.#wrong('its number of parts is not one')
    this.#long = { key, expiresAt, parts: [], left: parts as number }
    return undefined
  }

  #made({ key, expiresAt }: Omit<DumpedEntry, 'value'>, value: () => unknown): DumpedEntry {
    this.#entries++
    return this.#checked(() => {
      const entry = { key, value: value(), expiresAt }
      // What cannot be stored is to be named by its line.
      this.#codec!.encode(entry.value)
      return entry
    })
  }

  #key(fields: Fields): Key {
    return this.#checked(() => {
      if ('key' in fields) {
        const key = keyOf(fields['key'])
        encodeKey(key, this.#keyBytes)
        return key
      }
      const bytes = this.#bytes(fields, 'keyBase64')
      if (!isKey(bytes, 0, bytes.length)) throw this.#wrong('its key is not an encoded key')
      return decodeKey(bytes, 0, bytes.length)
    })
  }

  #time({ expiresAt }: Fields): number | undefined {
    if (expiresAt === undefined || (typeof expiresAt === 'number' && isTime(expiresAt))) return expiresAt
    throw this.#wrong('its field "expiresAt" is not a time in milliseconds since 1970')
  }

  #decoded(bytes: Buffer): unknown {
    return this.#codec!.decode(bytes, 0, bytes.length)
  }

  #bytes(fields: Fields, name: string): Buffer {
    const text = fields[name]
    if (typeof text !== 'string') throw this.#wrong(`it has no field "${name}", or one that is not text`)
    const bytes = Buffer.from(text, 'base64')
    if (bytes.toString('base64') !== text) throw this.#wrong(`its field "${name}" is not base64`)
    return bytes
  }

  #checked<T>(act: () => T): T {
    try {
      return act()
    } catch (error) {
      if (error instanceof LineError) throw error
      throw this.#wrong((error as Error).message, error)
    }
  }

  #wrong(why: string, cause?: unknown): InvalidError {
    return new LineError(`Line ${this.#line} of the dump cannot be read: ${why.replace(/\.$/, '')}.`, { cause })
  }
}
