// Records in CSV or TSV: a header line, then one record per line or, with quotes, several lines.
import { isUtf8 } from 'node:buffer'
import { parse as csvParser, type CsvError } from 'csv-parse'
import { Gathered, MAX_RECORD_BYTES, NEWLINE, newlines, notUtf8, TOO_LONG } from '../shared/text-bytes.js'
import type { Item } from './item.js'

export async function* separated(source: AsyncIterable<Buffer>, format: 'csv' | 'tsv'): AsyncGenerator<Item[]> {
  let items: Item[] = []
  let number = 0
  let header: string[] | undefined
  let failure: CsvError | undefined
  let complainedAt: unknown
  /** Lines up to the end of the record before. */
  let linesBefore = 0
  const text = new LinesOfText()
  const parser = csvParser({
    delimiter: format === 'tsv' ? '\t' : ',',
    quote: format === 'tsv' ? false : '"',
    skip_empty_lines: true,
    skip_records_with_error: true,
    max_record_size: MAX_RECORD_BYTES,
    // Records go no further than here: what a stream holds back is lost when it fails.
    on_record: (fields: string[], { lines }) => {
      const line = linesBefore + 1
      linesBefore = lines
      const why = text.damageUpTo(lines)
      if (header === undefined) {
        header = fields
        const twice = fields.find((name, i) => fields.indexOf(name) !== i)
        if (why !== undefined) items.push({ number: 1, why, final: true })
        else if (twice !== undefined)
          items.push({ number: 1, why: `line ${line}: the header names "${twice}" twice`, final: true })
      } else if (why !== undefined) items.push({ number: ++number, why })
      else items.push({ number: ++number, line, value: recordOf(header, fields) })
      return null
    },
    on_skip: (error) => {
      // Without this it would take what follows for the rest of the field, up to the next quote.
      if (error!.code === 'CSV_INVALID_CLOSING_QUOTE')
        (parser as unknown as { state: { quoting: boolean } }).state.quoting = false
      // One complaint for each line.
      if (error!['lines'] === complainedAt) return undefined
      complainedAt = error!['lines']
      items.push({
        number: ++number,
        why: text.damageUpTo(Number(complainedAt)) ?? explain(error!, linesBefore + 1),
      })
      linesBefore = Number(complainedAt)
      return undefined
    },
  })
  parser.on('error', (error) => (failure = error as CsvError))
  parser.resume()
  const write = (chunk: Buffer): Promise<void> => new Promise((resolve) => parser.write(chunk, () => resolve()))
  const isFinal = (item: Item): boolean => 'why' in item && item.final === true

  for await (const chunk of source) {
    text.add(chunk)
    await write(chunk)
    if (failure !== undefined) break
    if (items.length > 0) {
      const batch = items
      items = []
      yield batch
      if (batch.some(isFinal)) return
    }
  }
  text.end()
  if (failure === undefined) {
    await new Promise<void>((resolve) => {
      parser.once('end', resolve).once('error', () => resolve())
      parser.end()
    })
  }
  if (failure !== undefined) items.push({ number: number + 1, why: explain(failure, linesBefore + 1), final: true })
  else if (header === undefined)
    items.push({ number: 1, why: 'the file is empty; it must begin with a header line', final: true })
  else {
    const why = text.damageUpTo(Number.POSITIVE_INFINITY)
    if (why !== undefined) items.push({ number: number + 1, why, final: true })
  }
  if (items.length > 0) yield items
}

function recordOf(header: readonly string[], fields: readonly string[]): Record<string, string> {
  const record: Record<string, string> = {}
  header.forEach((name, i) => {
    // An assignment to this one would be lost.
    if (name === '__proto__')
      Object.defineProperty(record, name, {
        value: fields[i],
        enumerable: true,
        configurable: true,
        writable: true,
      })
    else record[name] = fields[i]!
  })
  return record
}

/** Looks in which lines of an input there is something that is not UTF-8: the CSV parser would replace it. */
class LinesOfText {
  readonly #rest = new Gathered()
  #line = 1
  readonly #damage: { line: number; why: string }[] = []

  add(chunk: Buffer): void {
    const end = chunk.lastIndexOf(NEWLINE) + 1
    if (end > 0) {
      this.#rest.add(chunk.subarray(0, end))
      this.#look(this.#rest.take())
    }
    this.#rest.add(chunk.subarray(end))
  }

  end(): void {
    if (this.#rest.lengthBytes > 0) this.#look(this.#rest.take())
  }

  /** The first thing that is wrong in the lines up to `last`, beyond what has been told. */
  damageUpTo(last: number): string | undefined {
    let why: string | undefined
    while (this.#damage.length > 0 && this.#damage[0]!.line <= last) {
      const damage = this.#damage.shift()!
      why ??= damage.why
    }
    return why
  }

  #look(bytes: Buffer): void {
    if (isUtf8(bytes)) {
      this.#line += newlines(bytes)
      return
    }
    for (let from = 0; from < bytes.length; this.#line++) {
      const end = bytes.indexOf(NEWLINE, from)
      const line = bytes.subarray(from, end < 0 ? bytes.length : end)
      if (!isUtf8(line)) this.#damage.push({ line: this.#line, why: notUtf8(line, this.#line) })
      from += line.length + 1
      if (end < 0) break
    }
  }
}

const CSV_TEXTS: Partial<Record<CsvError['code'], string>> = {
  CSV_INVALID_CLOSING_QUOTE: 'a field goes on behind its closing quote',
  CSV_QUOTE_NOT_CLOSED: 'a quote is opened and never closed',
  INVALID_OPENING_QUOTE: 'a quote stands inside a field that does not begin with one',
  CSV_RECORD_INCONSISTENT_FIELDS_LENGTH: 'it has not as many fields as the header',
  CSV_MAX_RECORD_SIZE: TOO_LONG,
}

/** `firstLine`: where the record begins; a quote that is never closed leads far from there. */
function explain(error: CsvError, firstLine: number): string {
  const at = error['column']
  const field =
    typeof at === 'number' && error.code !== 'CSV_RECORD_INCONSISTENT_FIELDS_LENGTH' ? `, field ${at + 1}` : ''
  const line = error.code === 'CSV_QUOTE_NOT_CLOSED' ? firstLine : Number(error['lines'])
  return `line ${line}${field}: ${CSV_TEXTS[error.code] ?? error.message}`
}
