// Records in JSON: one value per line, or the elements of an array. Numbers are kept, or refused by name.
import { isUtf8 } from 'node:buffer'
import { NumberError, parseJson, type BigIntegers } from '../../encoding/json-text.js'
import { printable } from '../../encoding/notation.js'
import { Gathered, MAX_RECORD_BYTES, NEWLINE, notUtf8, TOO_LONG } from '../shared/text-bytes.js'
import { isFinal, type Bad, type Item } from './item.js'

/** The value of a record whose bytes begin in `line`, or why it has no value. */
function jsonValue(bytes: Buffer, line: number, bigIntegers: BigIntegers): { value: unknown } | { why: string } {
  if (!isUtf8(bytes)) return { why: notUtf8(bytes, line) }
  const text = bytes.toString()
  try {
    return { value: parseJson(text, bigIntegers) }
  } catch (error) {
    if (error instanceof NumberError) {
      const advice = /^-?\d+$/.test(error.literal) ? '; keep such integers with --big-integers bigint or string' : ''
      return { why: `line ${line}: ${error.message}${advice}` }
    }
    if (text.length > MAX_SEARCHED_CHARACTERS) return { why: `line ${line}: ${jsonWhy(error as Error)}` }
    const before = text.slice(0, whereJsonEnds(text)).split('\n')
    return {
      why: `line ${line + before.length - 1}, column ${before.at(-1)!.length + 1}: ${jsonWhy(error as Error)}`,
    }
  }
}

/** The search for the place of a mistake parses a text about twenty times. */
const MAX_SEARCHED_CHARACTERS = 4 * 1024 * 1024

/** The greatest length up to `most` that is good, given that all lengths below a good one are good. */
function longest(most: number, good: (length: number) => boolean): number {
  let low = 0
  while (low < most) {
    const middle = Math.ceil((low + most) / 2)
    if (good(middle)) low = middle
    else most = middle - 1
  }
  return low
}

/** Index of the character at which a text stops being the beginning of JSON; its length if it is only cut short. */
function whereJsonEnds(text: string): number {
  // Not every message of JSON.parse names a position. A beginning of the text is good if only more text is missing.
  return longest(text.length, (length) => {
    try {
      JSON.parse(text.slice(0, length))
      return true
    } catch (error) {
      const { message } = error as Error
      const position = /at position (\d+)/.exec(message)?.[1]
      return /end of JSON|Unterminated/.test(message) || (position !== undefined && Number(position) >= length)
    }
  })
}

/** The reason that JSON.parse gives, without the text itself, and printable. */
function jsonWhy(error: Error): string {
  const reason = error.message
    .replace(/ \(line \d+ column \d+\)$/, '')
    .replace(/ (in JSON )?at position \d+$/, '')
    .replace(/, (\.\.\.)?".*is not valid JSON$/s, '')
  return printable(reason)
}

const isSpace = (byte: number): boolean => byte === 32 || (byte >= 9 && byte <= 13)
const isBlank = (bytes: Buffer): boolean => bytes.every(isSpace)

/** One JSON value per line. */
export async function* ndjson(source: AsyncIterable<Buffer>, bigIntegers: BigIntegers): AsyncGenerator<Item[]> {
  const rest = new Gathered()
  let line = 0
  let number = 0
  const item = (bytes: Buffer): Item | undefined => {
    line++
    if (isBlank(bytes)) return undefined
    return { number: ++number, line, ...jsonValue(bytes, line, bigIntegers) }
  }
  for await (const chunk of source) {
    const items: Item[] = []
    let from = 0
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
      rest.add(chunk.subarray(from, end))
      const found = item(rest.take())
      if (found) items.push(found)
      from = end + 1
    }
    rest.add(chunk.subarray(from))
    if (items.length > 0) yield items
    if (rest.lengthBytes > MAX_RECORD_BYTES) {
      yield [{ number: number + 1, why: `line ${line + 1}: ${TOO_LONG}`, final: true }]
      return
    }
  }
  if (rest.lengthBytes > 0) {
    const found = item(rest.take())
    if (found) yield [found]
  }
}

const [QUOTE, BACKSLASH, COMMA] = [0x22, 0x5c, 0x2c]
const [OPEN_ARRAY, CLOSE_ARRAY, OPEN_OBJECT, CLOSE_OBJECT] = [0x5b, 0x5d, 0x7b, 0x7d]

/** An array of JSON values. */
export async function* jsonArray(source: AsyncIterable<Buffer>, bigIntegers: BigIntegers): AsyncGenerator<Item[]> {
  const scanner = new ArrayScanner(bigIntegers)
  for await (const chunk of source) {
    const items = scanner.scan(chunk)
    if (items.length > 0) yield items
    if (isFinal(items.at(-1))) return
  }
  const items = scanner.finish()
  if (items.length > 0) yield items
}

/** Finds the records of an array, chunk by chunk. It looks only at the commas and brackets between them. */
class ArrayScanner {
  readonly #bigIntegers: BigIntegers
  readonly #record = new Gathered()
  #state: 'before' | 'inside' | 'after' = 'before'
  #number = 0
  #line = 1
  /** The line that the record begins in. */
  #recordLine = 1
  /** Brackets that are open. */
  #depth = 0
  /** Inside a JSON string. */
  #isQuoted = false
  #isEscaped = false
  /** A comma ended the record before. */
  #isAfterComma = false
  #chunk: Buffer = Buffer.alloc(0)
  /** Where the part of the record that is in this chunk begins. */
  #from = 0
  #items: Item[] = []

  constructor(bigIntegers: BigIntegers) {
    this.#bigIntegers = bigIntegers
  }

  /** The records that end in `chunk`. A final `Bad` is the last item: nothing after it can be read. */
  scan(chunk: Buffer): Item[] {
    this.#chunk = chunk
    this.#from = 0
    this.#items = []
    const wrong = this.#look(chunk)
    if (wrong !== undefined) return [...this.#items, wrong]
    if (this.#state === 'inside') this.#record.add(chunk.subarray(this.#from))
    return this.#record.lengthBytes > MAX_RECORD_BYTES ? [...this.#items, this.#bad(TOO_LONG)] : this.#items
  }

  /** What is left when the input has ended: nothing, if it was an array. */
  finish(): Item[] {
    if (this.#state === 'after') return []
    if (this.#state === 'before') return [this.#bad('the file is empty; it must hold an array of records')]
    this.#items = []
    if (this.#depth === 1 && !this.#isQuoted && this.#record.lengthBytes > 0) this.#takeIfWhole()
    const where = this.#isQuoted ? ', in a string whose quote is never closed' : ''
    return [...this.#items, this.#bad(`the file ends inside the array${where}`)]
  }

  /** What is wrong in `chunk`; undefined if nothing is. */
  #look(chunk: Buffer): Bad | undefined {
    for (let at = 0; at < chunk.length; at++) {
      if (this.#isQuoted) {
        at = this.#skipString(chunk, at)
        continue
      }
      const byte = chunk[at]!
      if (byte === NEWLINE) this.#line++
      if (isSpace(byte)) {
        // Space before a record is no part of it, so that it begins in the line of its first character.
        if (this.#isBeforeRecord(at)) this.#from = at + 1
        continue
      }
      const wrong = this.#state === 'inside' ? this.#step(byte, at) : this.#open(byte, at)
      if (wrong !== undefined) return wrong
    }
    return undefined
  }

  /** Index of the quote that ends the string, or the end of the chunk. */
  #skipString(chunk: Buffer, at: number): number {
    for (; at < chunk.length; at++) {
      const byte = chunk[at]!
      if (byte === NEWLINE) this.#line++
      if (this.#isEscaped) this.#isEscaped = false
      else if (byte === BACKSLASH) this.#isEscaped = true
      else if (byte === QUOTE) {
        this.#isQuoted = false
        return at
      }
    }
    return at
  }

  /** A character outside the array: the bracket that opens it, or one that must not be there. */
  #open(byte: number, at: number): Bad | undefined {
    if (this.#state === 'after') return this.#bad('something follows the end of the array')
    if (byte !== OPEN_ARRAY)
      return this.#bad('the file must hold an array of records; for one value per line give --format ndjson')
    this.#state = 'inside'
    this.#depth = 1
    this.#from = at + 1
    return undefined
  }

  /** A character of a record, or one that ends it. */
  #step(byte: number, at: number): Bad | undefined {
    if (this.#isBeforeRecord(at)) this.#recordLine = this.#line
    if (byte === QUOTE) this.#isQuoted = true
    else if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) this.#depth++
    else if (byte === CLOSE_OBJECT && this.#depth === 1)
      return this.#bad('a closing brace has no opening brace before it')
    else if ((byte === CLOSE_ARRAY && this.#depth > 1) || byte === CLOSE_OBJECT) this.#depth--
    else if (byte === COMMA && this.#depth === 1) return this.#end(at, false)
    else if (byte === CLOSE_ARRAY) {
      this.#depth = 0
      this.#state = 'after'
      return this.#end(at, true)
    }
    return undefined
  }

  #isBeforeRecord(at: number): boolean {
    return this.#depth === 1 && this.#from === at && this.#record.lengthBytes === 0
  }

  /** Takes the record that ends at `at`. What is wrong with it; undefined if nothing is. */
  #end(at: number, isLast: boolean): Bad | undefined {
    this.#record.add(this.#chunk.subarray(this.#from, at))
    this.#from = at + 1
    const bytes = this.#record.take()
    if (isBlank(bytes)) {
      if (!isLast) return this.#bad('there is nothing before a comma')
      return this.#isAfterComma ? this.#bad('nothing follows the last comma') : undefined
    }
    const found = jsonValue(bytes, this.#recordLine, this.#bigIntegers)
    // If a record is not JSON, its end is not certain, and neither is what follows it.
    if ('why' in found) return this.#final(`record ${this.#number + 1}, ${found.why}`)
    this.#add(found.value)
    this.#isAfterComma = !isLast
    return undefined
  }

  /** Takes the record that the end of the input cut off from its comma or bracket, if it is certainly whole. */
  #takeIfWhole(): void {
    const bytes = this.#record.take()
    // Only what closes itself is known to be whole: a number may go on.
    if (!/[}\]"]$/.test(bytes.toString('latin1').trimEnd())) return
    const found = jsonValue(bytes, this.#recordLine, this.#bigIntegers)
    if ('value' in found) this.#add(found.value)
  }

  #add(value: unknown): void {
    this.#items.push({ number: ++this.#number, line: this.#recordLine, value })
  }

  #bad(why: string): Bad {
    return this.#final(`record ${this.#number + 1}, line ${this.#line}: ${why}`)
  }

  #final(why: string): Bad {
    return { number: this.#number + 1, why, final: true }
  }
}
