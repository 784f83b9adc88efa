// Where the bytes of a load come from: a file or a pipe, converted to UTF-8. Compressed files and UTF-16 are
// recognised by their first bytes, and refused.
import { createReadStream, statSync, type Stats } from 'node:fs'
import { addAbortSignal, type Readable } from 'node:stream'
import { InvalidError } from '../../errors.js'
import { formatOf } from './input.js'
import { type InputFormat } from './item.js'

const CHUNK_BYTES = 256 * 1024
/** A pipe that is not longer than this is checked as a whole before anything is written. */
const HELD_BYTES = 64 * 1024 * 1024

type Chunks = AsyncIterable<Buffer>

export interface Source {
  readonly name: string
  readonly format: InputFormat
  /** Undefined if it cannot be known, and the input cannot be read a second time. */
  readonly sizeBytes: number | undefined
  /** The input from its beginning. `onBytes` gets the number of bytes of the source that each chunk comes from. */
  open(onBytes: (bytes: number) => void): Chunks
}

/** Finds the input. Throws `InvalidError` if it is missing or if its format is not known. */
export async function sourceOf(
  path: string,
  format: InputFormat | undefined,
  encoding: string,
  signal: AbortSignal,
): Promise<Source> {
  if (path === '-') {
    if (format === undefined)
      throw new InvalidError(
        'stdin has no file name to infer a format from: give --format ndjson, json, csv, tsv or dump.',
      )
    return piped('stdin', format, process.stdin, encoding, signal)
  }
  let info: Stats
  try {
    info = statSync(path)
  } catch (cause) {
    const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT'
    throw new InvalidError(
      missing ? `There is no file ${path}.` : `${path} cannot be read: ${(cause as Error).message}.`,
      { cause },
    )
  }
  if (info.isDirectory()) throw new InvalidError(`${path} is a directory; give a file.`)
  const known = format ?? formatOf(path)
  if (known === undefined) {
    const packed = /\.(gz|zip|zst|bz2|xz)$/i.test(path)
      ? ' It seems to be compressed: unpack it first, or pipe it in with --input -.'
      : ''
    throw new InvalidError(
      `The format of ${path} cannot be inferred from its name: give --format ndjson, json, csv or tsv.${packed}`,
    )
  }
  const open = (): Readable => addAbortSignal(signal, createReadStream(path, { highWaterMark: CHUNK_BYTES }))
  if (!info.isFile()) return piped(path, known, open(), encoding, signal)
  return {
    name: path,
    format: known,
    sizeBytes: info.size,
    open: (onBytes) => textOf(counted(reading(path, open()), onBytes), path, encoding),
  }
}

/** Reads ahead in a pipe. A short one is read to its end, and can then be read again. */
async function piped(
  name: string,
  format: InputFormat,
  stream: Readable,
  encoding: string,
  signal: AbortSignal,
): Promise<Source> {
  addAbortSignal(signal, stream)
  const chunks = reading(name, stream)
  const held: Buffer[] = []
  let bytes = 0
  let ended = false
  while (bytes <= HELD_BYTES) {
    const { value, done } = await chunks.next()
    if (done) {
      ended = true
      break
    }
    held.push(value)
    bytes += value.length
  }
  const open = async function* (): AsyncGenerator<Buffer> {
    yield* held
    if (!ended) {
      held.length = 0
      yield* chunks
    }
  }
  return {
    name,
    format,
    sizeBytes: ended ? bytes : undefined,
    open: (onBytes) => textOf(counted(open(), onBytes), name, encoding),
  }
}

/** The chunks of a stream. An error of the stream becomes an `InvalidError`, unless the stream was aborted. */
async function* reading(name: string, stream: Readable): AsyncGenerator<Buffer> {
  try {
    yield* stream as AsyncIterable<Buffer>
  } catch (cause) {
    if ((cause as Error).name === 'AbortError') throw cause
    throw new InvalidError(`${name} cannot be read: ${(cause as Error).message}.`, { cause })
  }
}

async function* counted(chunks: AsyncIterable<Buffer>, onBytes: (bytes: number) => void): AsyncGenerator<Buffer> {
  for await (const chunk of chunks) {
    onBytes(chunk.length)
    yield chunk
  }
}

// ---- text --------------------------------------------------------------------------------------

const UTF8 = /^utf-?8$/i

/** Throws `InvalidError` if there is no such encoding. */
export function checkEncoding(encoding: string): void {
  try {
    new TextDecoder(encoding)
  } catch (cause) {
    throw new InvalidError(
      `There is no text encoding "${encoding}". Give utf-8, latin1, utf-16le, windows-1252, shift_jis or another one that TextDecoder knows.`,
      { cause },
    )
  }
}

/**
 * Chunks in UTF-8, without a byte order mark. If the input is declared to be UTF-8, the reader of the chunks checks
 * that it is.
 */
async function* textOf(chunks: AsyncIterable<Buffer>, name: string, encoding: string): AsyncGenerator<Buffer> {
  if (!UTF8.test(encoding)) {
    const decoder = new TextDecoder(encoding, { fatal: true })
    const decode = (bytes: Buffer | undefined): Buffer => {
      try {
        return Buffer.from(decoder.decode(bytes, { stream: bytes !== undefined }))
      } catch (cause) {
        throw new InvalidError(`${name} is not ${encoding} text.`, { cause })
      }
    }
    for await (const chunk of chunks) yield decode(chunk)
    yield decode(undefined)
    return
  }
  let beginning: Buffer | undefined = Buffer.alloc(0)
  for await (const chunk of chunks) {
    if (beginning === undefined) {
      yield chunk
      continue
    }
    beginning = beginning.length === 0 ? chunk : Buffer.concat([beginning, chunk])
    if (beginning.length < 4) continue
    yield checked(beginning, name)
    beginning = undefined
  }
  if (beginning !== undefined) yield checked(beginning, name)
}

const STARTS: readonly [bytes: string, what: string, advice: string][] = [
  ['1f8b', 'compressed by gzip', 'unpack it first, as in: zcat FILE | mmapdb load --input - --format ndjson'],
  ['28b52ffd', 'compressed by zstd', 'unpack it first, as in: zstdcat FILE | mmapdb load --input - --format ndjson'],
  ['fd377a58', 'compressed by xz', 'unpack it first, as in: xzcat FILE | mmapdb load --input - --format ndjson'],
  ['425a68', 'compressed by bzip2', 'unpack it first, as in: bzcat FILE | mmapdb load --input - --format ndjson'],
  ['504b0304', 'a ZIP archive (or a spreadsheet)', 'unpack it, or export it as CSV'],
  ['fffe', 'UTF-16 text', 'give --encoding utf-16le'],
  ['feff', 'UTF-16 text', 'give --encoding utf-16be'],
]

/** The first bytes without their byte order mark. Throws `InvalidError` if they show that this is not UTF-8 text. */
function checked(bytes: Buffer, name: string): Buffer {
  const hex = bytes.toString('hex', 0, 4)
  for (const [start, what, advice] of STARTS) {
    if (hex.startsWith(start)) throw new InvalidError(`${name} is ${what}: ${advice}.`)
  }
  return hex.startsWith('efbbbf') ? bytes.subarray(3) : bytes
}
