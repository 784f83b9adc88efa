// Records in CSV or TSV: a header line, then one record per line or, with quotes, several lines.
import { isUtf8 } from 'node:buffer'
import { parse as csvParser, type CsvError, type Parser } from 'csv-parse'
import { Gathered, MAX_RECORD_BYTES, NEWLINE, newlines, notUtf8, TOO_LONG } from '../shared/text-bytes.js'
import { isFinal, type Item } from './item.js'

export async function* separated(source: AsyncIterable<Buffer>, format: 'csv' | 'tsv'): AsyncGenerator<Item[]> {
  const reader = new SeparatedReader(format)
  for await (const chunk of source) {
    await reader.write(chunk)
    if (reader.hasFailed) break
    const items = reader.take()
    if (items.length > 0) yield items
    if (items.some(isFinal)) return
  }
  await reader.end()
  const items = reader.take()
  if (items.length > 0) yield items
}

/** Turns chunks into items. The errors of the parser become `Bad` items. */
class SeparatedReader {
  readonly #parser: Parser
  readonly #text = new LinesOfText()
  #items: Item[] = []
  #number = 0
  #header: string[] | undefined
  /** Set when the parser has given up. */
  #failure: CsvError | undefined
  /** The line of the last complaint. */
  #complainedAt: unknown
  /** Lines up to the end of the record before. */
  #linesBefore = 0

  constructor(format: 'csv' | 'tsv') {
    this.#parser = csvParser({
      delimiter: format === 'tsv' ? '\t' : ',',
      quote: format === 'tsv' ? false : '"',
      skip_empty_lines: true,
      skip_records_with_error: true,
      max_record_size: MAX_RECORD_BYTES,
      // Records do not go through the stream of the parser: records still inside it are lost when it fails.
      on_record: (fields: string[], { lines }) => {
        this.#onRecord(fields, lines)
        return null
      },
      on_skip: (error) => {
        this.#onSkip(error!)
        return undefined
      },
    })
    this.#parser.on('error', (error) => (this.#failure = error as CsvError))
    this.#parser.resume()
  }

  get hasFailed(): boolean {
    return this.#failure !== undefined
  }

  /** The items since the last call. */
  take(): Item[] {
    const items = this.#items
    this.#items = []
    return items
  }

  write(chunk: Buffer): Promise<void> {
    this.#text.add(chunk)
    return new Promise((resolve) => this.#parser.write(chunk, () => resolve()))
  }

  async end(): Promise<void> {
    this.#text.end()
    if (this.#failure === undefined) {
      await new Promise<void>((resolve) => {
        this.#parser.once('end', resolve).once('error', () => resolve())
        this.#parser.end()
      })
    }
    const why = this.#whyAtEnd()
    if (why !== undefined) this.#items.push({ number: this.#number + 1, why, final: true })
  }

  #whyAtEnd(): string | undefined {
    if (this.#failure !== undefined) return explain(this.#failure, this.#linesBefore + 1)
    if (this.#header === undefined) return 'the file is empty; it must begin with a header line'
    return this.#text.damageUpTo(Number.POSITIVE_INFINITY)
  }

  #onRecord(fields: string[], lines: number): void {
    const line = this.#linesBefore + 1
    this.#linesBefore = lines
    const why = this.#text.damageUpTo(lines)
    if (this.#header === undefined) {
      this.#onHeader(fields, line, why)
      return
    }
    const number = ++this.#number
    this.#items.push(why === undefined ? { number, line, value: recordOf(this.#header, fields) } : { number, why })
  }

  #onHeader(fields: string[], line: number, damage: string | undefined): void {
    this.#header = fields
    const twice = fields.find((name, i) => fields.indexOf(name) !== i)
    const why = damage ?? (twice === undefined ? undefined : `line ${line}: the header names "${twice}" twice`)
    if (why !== undefined) this.#items.push({ number: 1, why, final: true })
  }

  #onSkip(error: CsvError): void {
    // Without this the parser would take what follows for the rest of the field, up to the next quote.
    if (error.code === 'CSV_INVALID_CLOSING_QUOTE')
      (this.#parser as unknown as { state: { quoting: boolean } }).state.quoting = false
    // One complaint for each line.
    if (error['lines'] === this.#complainedAt) return
    this.#complainedAt = error['lines']
    const lines = Number(error['lines'])
    const why = this.#text.damageUpTo(lines) ?? explain(error, this.#linesBefore + 1)
    this.#items.push({ number: ++this.#number, why })
    this.#linesBefore = lines
  }
}

function recordOf(header: readonly string[], fields: readonly string[]): Record<string, string> {
  const record: Record<string, string> = {}
  header.forEach((name, i) => {
    // An assignment to a field of this name would be lost.
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

/** Finds the lines of an input that hold bytes which are not UTF-8: the CSV parser would replace these. */
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

  /** The first thing that is wrong in the lines up to `last`. What a call has covered is not reported again. */
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
  CSV_INVALID_CLOSING_QUOTE: 'a field goes on after its closing quote',
  CSV_QUOTE_NOT_CLOSED: 'a quote is opened and never closed',
  INVALID_OPENING_QUOTE: 'a quote stands inside a field that does not begin with one',
  CSV_RECORD_INCONSISTENT_FIELDS_LENGTH: 'it does not have as many fields as the header',
  CSV_MAX_RECORD_SIZE: TOO_LONG,
}

/** `firstLine`: where the record begins; the parser detects a quote that is never closed far away from there. */
function explain(error: CsvError, firstLine: number): string {
  const at = error['column']
  const field =
    typeof at === 'number' && error.code !== 'CSV_RECORD_INCONSISTENT_FIELDS_LENGTH' ? `, field ${at + 1}` : ''
  const line = error.code === 'CSV_QUOTE_NOT_CLOSED' ? firstLine : Number(error['lines'])
  return `line ${line}${field}: ${CSV_TEXTS[error.code] ?? error.message}`
}
