// Records in JSON: one value per line, or the elements of an array. Numbers are kept, or refused by name.
import { isUtf8 } from 'node:buffer'
import { NumberError, parseJson, type BigIntegers } from '../shared/json-text.js'
import { printable } from '../shared/notation.js'
import { Gathered, MAX_RECORD_BYTES, NEWLINE, notUtf8, TOO_LONG } from '../shared/text-bytes.js'
import type { Bad, Item } from './item.js'

/** The value of a record whose bytes begin in `line`, or why there is none. */
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

/** Looking for the place of a mistake parses a text some twenty times. */
const MAX_SEARCHED_CHARACTERS = 4 * 1024 * 1024

/** The greatest length up to `most` that is good, if all shorter ones are. */
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
  // Not every message of JSON.parse names a position. A beginning is good if what it lacks is more.
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

const isBlank = (bytes: Buffer): boolean => bytes.every((byte) => byte === 32 || (byte >= 9 && byte <= 13))

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

/** An array of JSON values. Only the commas and brackets between them are looked at here. */
export async function* jsonArray(source: AsyncIterable<Buffer>, bigIntegers: BigIntegers): AsyncGenerator<Item[]> {
  const record = new Gathered()
  let number = 0
  let line = 1
  let recordLine = 1
  /** Brackets that are open. */
  let depth = 0
  let quoted = false
  let escaped = false
  let comma = false
  let state: 'before' | 'inside' | 'behind' = 'before'
  const bad = (why: string): Bad => ({
    number: number + 1,
    why: `record ${number + 1}, line ${line}: ${why}`,
    final: true,
  })

  for await (const chunk of source) {
    const items: Item[] = []
    /** Where the part of the record that is in this chunk begins. */
    let from = 0
    /** Adds the record that ends at `at`; undefined if there is nothing wrong with it. */
    const end = (at: number, last: boolean): Bad | undefined => {
      record.add(chunk.subarray(from, at))
      from = at + 1
      const bytes = record.take()
      if (isBlank(bytes))
        return last && !comma
          ? undefined
          : bad(last ? 'nothing follows the last comma' : 'there is nothing before a comma')
      const found = jsonValue(bytes, recordLine, bigIntegers)
      // Where a record ends is not certain if it is not JSON; what lies behind it cannot be told from it.
      if ('why' in found) return { number: number + 1, why: `record ${number + 1}, ${found.why}`, final: true }
      items.push({ number: ++number, line: recordLine, ...found })
      comma = !last
      return undefined
    }
    for (let at = 0; at < chunk.length; at++) {
      const byte = chunk[at]!
      if (byte === NEWLINE) line++
      if (quoted) {
        if (escaped) escaped = false
        else if (byte === BACKSLASH) escaped = true
        else if (byte === QUOTE) quoted = false
        continue
      }
      if (byte === 32 || (byte >= 9 && byte <= 13)) {
        // Space before a record is none of it, so that it begins in the line of its first character.
        if (depth === 1 && record.lengthBytes === 0 && from === at) from = at + 1
        continue
      }
      if (state !== 'inside') {
        if (state === 'before' && byte === OPEN_ARRAY) {
          state = 'inside'
          depth = 1
          from = at + 1
          continue
        }
        const why =
          state === 'behind'
            ? 'something follows the end of the array'
            : 'the file must hold an array of records; for one value per line give --format ndjson'
        yield [...items, bad(why)]
        return
      }
      if (depth === 1 && record.lengthBytes === 0 && from === at) recordLine = line
      let wrong: Bad | undefined
      if (byte === QUOTE) quoted = true
      else if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) depth++
      else if (byte === CLOSE_OBJECT && depth === 1) wrong = bad('a brace is closed that was never opened')
      else if ((byte === CLOSE_ARRAY && depth > 1) || byte === CLOSE_OBJECT) depth--
      else if (byte === COMMA && depth === 1) wrong = end(at, false)
      else if (byte === CLOSE_ARRAY) {
        wrong = end(at, true)
        depth = 0
        state = 'behind'
      }
      if (wrong) {
        yield [...items, wrong]
        return
      }
    }
    if (state === 'inside') record.add(chunk.subarray(from))
    if (items.length > 0) yield items
    if (record.lengthBytes > MAX_RECORD_BYTES) {
      yield [bad(TOO_LONG)]
      return
    }
  }
  if (state === 'before') yield [bad('the file is empty; it must hold an array of records')]
  if (state === 'inside' && depth === 1 && !quoted && record.lengthBytes > 0) {
    // Only what closes itself is known to be whole: a number may go on.
    const bytes = record.take()
    const found = /[}\]"]$/.test(bytes.toString('latin1').trimEnd())
      ? jsonValue(bytes, recordLine, bigIntegers)
      : { why: '' }
    if ('value' in found) yield [{ number: ++number, line: recordLine, ...found }]
  }
  if (state === 'inside')
    yield [bad(`the file ends inside the array${quoted ? ', in a text whose quote is never closed' : ''}`)]
}
