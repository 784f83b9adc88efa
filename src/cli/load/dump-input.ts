// mmapdb load with a dump as input: the entries become what they were.
import { isUtf8 } from 'node:buffer'
import { closeSync, createReadStream, openSync, readSync, statSync } from 'node:fs'
import { addAbortSignal } from 'node:stream'
import { load } from '../../database/dump.js'
import { open } from '../../database/open.js'
import { DUMP_MARK, DumpReader } from '../../encoding/dump-lines.js'
import type { ValueEncoding } from '../../encoding/values/codec.js'
import { InvalidError } from '../../errors.js'
import { everywhereOptions, type Globals } from '../shared/context.js'
import { interruptible } from '../shared/interruptible.js'
import { plural, print } from '../shared/output.js'
import type { LoadOptions } from './job.js'
import { startProgress } from './progress.js'

type Lines = AsyncGenerator<string, void, undefined>

/** True if the input is a dump: it is said to be one, or begins like one. */
export function isDump({ input, format }: LoadOptions): boolean {
  if (input === undefined || format === 'dump') return input !== undefined
  if (input === '-' || (format !== undefined && format !== 'ndjson')) return false
  if (statSync(input, { throwIfNoEntry: false })?.isFile() !== true) return false
  try {
    const fd = openSync(input, 'r')
    try {
      const bytes = Buffer.alloc(DUMP_MARK.length)
      return readSync(fd, bytes) === bytes.length && bytes.toString('latin1') === DUMP_MARK
    } finally {
      closeSync(fd)
    }
  } catch {
    // Reading it as a file of records says why it cannot be read.
    return false
  }
}

export async function loadDump(options: LoadOptions, globals: Globals): Promise<void> {
  const path = options.input!
  const startedMs = performance.now()
  const entries = await interruptible(async (signal) => {
    const isFile = path !== '-' && statSync(path, { throwIfNoEntry: false })?.isFile() === true
    const total = isFile ? await checked(path, signal) : undefined
    return loaded(linesOf(path, signal), total, globals, signal)
  })
  const seconds = (performance.now() - startedMs) / 1000
  if (globals.json) await print(JSON.stringify({ entries, seconds }))
  else if (!globals.quiet) await print(`${plural(entries, 'entry')} loaded in ${seconds.toFixed(1)} s.`)
}

/** Reads all of a file before anything is written; returns how many entries it has. */
async function checked(path: string, signal: AbortSignal): Promise<number> {
  const reader = new DumpReader()
  for await (const line of linesOf(path, signal)) reader.take(line)
  return reader.finish()
}

async function loaded(lines: Lines, total: number | undefined, globals: Globals, signal: AbortSignal): Promise<number> {
  const first = await lines.next()
  const valueEncoding = encodingIn(first.done === true ? '' : first.value)
  const db = await opened(globals.db, valueEncoding)
  let done = 0
  const progress = startProgress('Loading', total, () => ({ done, operations: done }), globals.quiet || globals.json)
  try {
    const all = async function* (): Lines {
      yield first.value!
      yield* lines
    }
    const report = await load(db, all(), { signal, onProgress: (now) => (done = now.done) })
    done = report.entries
    return report.entries
  } finally {
    progress.stop()
    await db.close()
  }
}

/** How the values of a dump with this first line are encoded. */
function encodingIn(line: string): ValueEncoding {
  const reader = new DumpReader()
  reader.take(line)
  return reader.valueEncoding!
}

/** The database; a new one has the encoding of the dump. */
async function opened(path: string, valueEncoding: ValueEncoding): ReturnType<typeof open> {
  const options = { ...everywhereOptions(), workers: 1 }
  try {
    return await open(path, { ...options, createIfMissing: false })
  } catch (error) {
    if ((error as { code?: string }).code !== 'ERR_MMAPDB_NOT_FOUND') throw error
    return open(path, { ...options, valueEncoding })
  }
}

/** The lines of a file, or of stdin, which must be UTF-8. */
async function* linesOf(path: string, signal: AbortSignal): Lines {
  const stream = addAbortSignal(signal, path === '-' ? process.stdin : createReadStream(path))
  let number = 0
  const text = (parts: Buffer[]): string => {
    number++
    const bytes = Buffer.concat(parts.splice(0))
    if (!isUtf8(bytes)) throw new InvalidError(`Line ${number} of the dump is not UTF-8 text.`)
    return bytes.toString()
  }
  const parts: Buffer[] = []
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      let from = 0
      for (let to; (to = chunk.indexOf(10, from)) >= 0; from = to + 1) {
        parts.push(chunk.subarray(from, to))
        yield text(parts)
      }
      if (from < chunk.length) parts.push(chunk.subarray(from))
    }
  } catch (cause) {
    if (signal.aborted) throw signal.reason
    if (cause instanceof InvalidError) throw cause
    throw new InvalidError(`${path} cannot be read: ${(cause as Error).message}.`, { cause })
  }
  if (parts.length > 0) yield text(parts)
}
