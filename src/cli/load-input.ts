// Records of a file or pipe, in batches as they come: never more of it in memory than a chunk and
// the record at its end. What cannot be read as a record comes as a `Bad` in its place.
import { isUtf8 } from 'node:buffer'
import type { Readable } from 'node:stream'
import { parse as csvParser, type CsvError } from 'csv-parse'
import { assembler } from 'stream-json/core/assembler.js'
import { jsonParser } from 'stream-json/core/parser.js'

export type InputFormat = 'ndjson' | 'json' | 'csv' | 'tsv'

export interface Good {
  /** Position among all records of the input, bad ones included, from 1. */
  readonly number: number
  /** Line that it begins in, from 1; undefined where it is not known. */
  readonly line: number | undefined
  readonly value: unknown
}

export interface Bad {
  readonly number: number
  /** Where and why, for people: "line 3, column 7: ...". */
  readonly why: string
  /** Nothing behind it can be read. */
  readonly final?: boolean
}

export type Item = Good | Bad

/** A line or a field longer than this is not one; something else is the matter. */
const MAX_RECORD_BYTES = 256 * 1024 * 1024

export const readItems = (source: Readable, format: InputFormat): AsyncGenerator<Item[]> =>
  format === 'ndjson' ? ndjson(source) : format === 'json' ? jsonArray(source) : separated(source, format)

/** The format that a file name promises. */
export function formatOf(path: string): InputFormat | undefined {
  const extension = /\.([^./]+)$/.exec(path)?.[1]?.toLowerCase()
  return ({ ndjson: 'ndjson', jsonl: 'ndjson', json: 'json', csv: 'csv', tsv: 'tsv', tab: 'tsv' } as const)[extension as 'json']
}

// ---- one JSON value per line -------------------------------------------------------------------

async function* ndjson(source: Readable): AsyncGenerator<Item[]> {
  let rest: Buffer[] = []
  let restBytes = 0
  let line = 0
  let number = 0
  const item = (bytes: Buffer): Item | undefined => {
    line++
    if (line === 1 && bytes.length >= 3 && bytes.readUIntBE(0, 3) === 0xefbbbf) bytes = bytes.subarray(3)
    if (!isUtf8(bytes)) return { number: ++number, why: `line ${line}: it is not UTF-8` }
    const text = bytes.toString()
    if (text.trim() === '') return undefined
    try {
      return { number: ++number, line, value: JSON.parse(text) as unknown }
    } catch (error) {
      return { number, why: `line ${line}, column ${whereJsonEnds(text) + 1}: ${jsonWhy(error as Error)}` }
    }
  }
  for await (const piece of source) {
    const chunk = piece as Buffer
    const items: Item[] = []
    let from = 0
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
      const last = chunk.subarray(from, end)
      const found = item(restBytes > 0 ? Buffer.concat([...rest, last]) : last)
      if (restBytes > 0) {
        rest = []
        restBytes = 0
      }
      if (found) items.push(found)
      from = end + 1
    }
    if (from < chunk.length) {
      rest.push(chunk.subarray(from))
      restBytes += chunk.length - from
    }
    if (items.length > 0) yield items
    if (restBytes > MAX_RECORD_BYTES) {
      yield [{ number: number + 1, why: `line ${line + 1}: it is longer than ${MAX_RECORD_BYTES} bytes`, final: true }]
      return
    }
  }
  if (restBytes > 0) {
    const found = item(Buffer.concat(rest))
    if (found) yield [found]
  }
}

/** Index of the character at which a text stops being the beginning of JSON; its length if it is only cut short. */
function whereJsonEnds(text: string): number {
  // Not every message of JSON.parse names a position. A beginning is good if what it lacks is more.
  const good = (length: number): boolean => {
    try {
      JSON.parse(text.slice(0, length))
      return true
    } catch (error) {
      const { message } = error as Error
      const position = /at position (\d+)/.exec(message)?.[1]
      return /end of JSON|Unterminated/.test(message) || (position !== undefined && Number(position) >= length)
    }
  }
  let low = 0
  let high = text.length
  while (low < high) {
    const middle = Math.ceil((low + high) / 2)
    if (good(middle)) low = middle
    else high = middle - 1
  }
  return low
}

/** The reason that JSON.parse gives, without the text itself, and printable. */
function jsonWhy(error: Error): string {
  const reason = error.message
    .replace(/ \(line \d+ column \d+\)$/, '')
    .replace(/ (in JSON )?at position \d+$/, '')
    .replace(/, (\.\.\.)?".*is not valid JSON$/s, '')
  // eslint-disable-next-line no-control-regex
  return reason.replace(/[\u0000-\u001f\u007f]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

// ---- an array of JSON values -------------------------------------------------------------------

async function* jsonArray(source: Readable): AsyncGenerator<Item[]> {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  const parse = jsonParser({ streamValues: false }) as (text: string) => unknown
  const assemble = assembler() as unknown as { depth: number; current: unknown[]; consume(token: unknown): void }
  let number = 0
  let line = 1
  let begun = false
  let ended = false
  const bad = (why: string): Bad => ({ number: number + 1, why: `record ${number + 1}, line ${line}: ${why}`, final: true })

  for await (const chunk of source) {
    let text: string
    try {
      text = decoder.decode(chunk as Buffer, { stream: true })
    } catch {
      // TextDecoder says no more than this either.
      yield [bad('it is not UTF-8')]
      return
    }
    const items: Item[] = []
    // The parser drops everything it was given along with an error. A piece up to the next closing
    // brace loses no more than the bad record.
    for (let from = 0; from < text.length; ) {
      const brace = text.indexOf('}', from)
      const piece = text.slice(from, brace < 0 ? text.length : brace + 1)
      from += piece.length
      const lead = /^[\s,]*/.exec(piece)![0]
      line += newlines(lead)
      try {
        const result = parse(piece)
        // `Many` holds tokens; anything else is none.
        const tokens = typeof result === 'object' && result !== null ? (result as { values: { name: string }[] }).values : []
        for (const token of tokens) {
          if (!begun && token.name !== 'startArray') throw new Error('the file must hold an array of records; for one value per line give --format ndjson')
          begun = true
          assemble.consume(token)
          if (assemble.depth === 1 && assemble.current.length > 0) items.push({ number: ++number, line, value: assemble.current.pop() })
          else if (assemble.depth === 0) ended = true
        }
      } catch (error) {
        const why = (error as Error).message.replace(/^Parser (cannot parse input: )?/, '').replace(/^unexpected characters$/, 'something follows the end of the array')
        yield [...items, bad(why)]
        return
      }
      line += newlines(piece) - newlines(lead)
    }
    if (items.length > 0) yield items
  }
  if (!ended) yield [bad(begun ? 'the file ends inside the array' : 'the file is empty; it must hold an array of records')]
}

function newlines(text: string): number {
  let count = 0
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) count++
  return count
}

// ---- fields with separators --------------------------------------------------------------------

async function* separated(source: Readable, format: 'csv' | 'tsv'): AsyncGenerator<Item[]> {
  let items: Item[] = []
  let number = 0
  let header: string[] | undefined
  let failure: CsvError | undefined
  let wrongHeader: string | undefined
  let complainedAt: unknown
  const parser = csvParser({
    bom: true,
    delimiter: format === 'tsv' ? '\t' : ',',
    quote: format === 'tsv' ? false : '"',
    skip_empty_lines: true,
    skip_records_with_error: true,
    max_record_size: MAX_RECORD_BYTES,
    columns: (names: string[]) => {
      const twice = names.find((name, i) => names.indexOf(name) !== i)
      if (twice !== undefined) wrongHeader = `line 1: the header names "${twice}" twice`
      return (header = names)
    },
    // Records go no further than here: what a stream holds back is lost when it fails.
    on_record: (value: unknown, { lines }) => {
      items.push({ number: ++number, line: lines, value })
      return null
    },
    on_skip: (error) => {
      // Without this it would take what follows for the rest of the field, up to the next quote.
      if (error!.code === 'CSV_INVALID_CLOSING_QUOTE') (parser as unknown as { state: { quoting: boolean } }).state.quoting = false
      // One complaint for each line.
      if (error!['lines'] === complainedAt) return undefined
      complainedAt = error!['lines']
      items.push({ number: ++number, why: explain(error!, header) })
      return undefined
    },
  })
  parser.on('error', (error) => (failure = error as CsvError))
  parser.resume()
  const write = (chunk: Buffer): Promise<void> => new Promise((resolve) => parser.write(chunk, () => resolve()))

  for await (const chunk of source) {
    if (failure === undefined) await write(chunk as Buffer)
    if (wrongHeader !== undefined) {
      yield [{ number: 1, why: wrongHeader, final: true }]
      return
    }
    if (failure !== undefined) break
    if (items.length > 0) {
      const batch = items
      items = []
      yield batch
    }
  }
  if (failure === undefined) {
    await new Promise<void>((resolve) => {
      parser.once('end', resolve).once('error', () => resolve())
      parser.end()
    })
  }
  if (failure !== undefined) items.push({ number: number + 1, why: explain(failure, header), final: true })
  if (items.length > 0) yield items
}

const CSV_TEXTS: Partial<Record<CsvError['code'], string>> = {
  CSV_INVALID_CLOSING_QUOTE: 'a field goes on behind its closing quote',
  CSV_QUOTE_NOT_CLOSED: 'a quote is opened and never closed',
  INVALID_OPENING_QUOTE: 'a quote stands inside a field that does not begin with one',
  CSV_RECORD_INCONSISTENT_COLUMNS: 'it has not as many fields as the header',
  CSV_MAX_RECORD_SIZE: `it is longer than ${MAX_RECORD_BYTES} bytes`,
}

function explain(error: CsvError, header: string[] | undefined): string {
  const at = error['column']
  const index = typeof at === 'number' ? at : (header?.indexOf(String(at)) ?? -1)
  const field = index >= 0 && error.code !== 'CSV_RECORD_INCONSISTENT_COLUMNS' ? `, field ${index + 1}` : ''
  return `line ${String(error['lines'])}${field}: ${CSV_TEXTS[error.code] ?? error.message}`
}
