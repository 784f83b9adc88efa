// A load of records from a file or pipe. They are read here, put into frames, and committed by
// lanes: which one is decided by the key alone, and a lane does one frame at a time, so of records
// with the same key the last one wins. A lane that is behind holds up the reading.
import { createReadStream, statSync, type Stats } from 'node:fs'
import type { Readable } from 'node:stream'
import { fromErrorMessage, InvalidError } from '../errors.js'
import type { Engine } from '../engine/engine.js'
import { decodeKey, encodeKey, KEY_BUFFER_BYTES, type Key } from '../engine/keys.js'
import { crc32c } from '../wal/crc.js'
import { FrameBuilder } from '../wal/frame.js'
import { Latencies } from './latency.js'
import { formatOf, readItems, type InputFormat, type Item } from './load-input.js'
import type { Checked, Job, JobContext, Written } from './load.js'
import type { Crew, Hands } from './load-crew.js'
import { showKey } from './notation.js'
import { number, plural } from './output.js'
import { startProgress } from './progress.js'

const CHUNK_BYTES = 256 * 1024
/** A frame is sent off at this size, however few records it holds. */
const FRAME_BYTES = 4 * 1024 * 1024
/** Frames of one lane that wait while it is busy. */
const MAX_QUEUED = 2
/** Bad records told one by one; then only their number. */
const MAX_TOLD = 20

interface Input {
  readonly name: string
  readonly format: InputFormat
  /** Undefined if it cannot be known, and the input cannot be read a second time. */
  readonly sizeBytes: number | undefined
  open(): Readable
}

function inputOf(path: string, format: InputFormat | undefined): Input {
  if (path === '-') {
    if (format === undefined) throw new InvalidError('What comes from stdin has no name to tell its format: give --format ndjson, json, csv or tsv.')
    return { name: 'stdin', format, sizeBytes: undefined, open: () => process.stdin }
  }
  let info: Stats
  try {
    info = statSync(path)
  } catch (cause) {
    const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT'
    throw new InvalidError(missing ? `There is no file ${path}.` : `${path} cannot be read: ${(cause as Error).message}.`, { cause })
  }
  if (info.isDirectory()) throw new InvalidError(`${path} is a directory; give a file.`)
  const known = format ?? formatOf(path)
  if (known === undefined) throw new InvalidError(`The format of ${path} cannot be told from its name: give --format ndjson, json, csv or tsv.`)
  return {
    name: path,
    format: known,
    sizeBytes: info.isFile() ? info.size : undefined,
    open: () => createReadStream(path, { highWaterMark: CHUNK_BYTES }),
  }
}

// ---- keys --------------------------------------------------------------------------------------

/** Finds the key of each record. Which field it is in is settled by the first one. */
class KeyFinder {
  #field: string | undefined
  #settled: boolean

  constructor(field: string | undefined) {
    this.#field = field
    this.#settled = field !== undefined
  }

  /** The key, or why there is none. */
  find(value: unknown, recordNumber: number): { key: Key } | { why: string } {
    if (!this.#settled) {
      this.#settled = true
      this.#field = ['id', 'key'].find((name) => fieldOf(value, name) !== undefined)
    }
    if (this.#field === undefined) return { key: recordNumber }
    const key = fieldOf(value, this.#field)
    if (key === undefined) return { why: `it has no field "${this.#field}" for its key` }
    return { key: key as Key }
  }
}

/** A field by name; where there is none of that name, by path. */
function fieldOf(value: unknown, path: string): unknown {
  const own = (x: unknown, name: string): unknown =>
    typeof x === 'object' && x !== null && Object.hasOwn(x, name) ? (x as Record<string, unknown>)[name] : undefined
  const direct = own(value, path)
  return direct !== undefined || !path.includes('.') ? direct : path.split('.').reduce(own, value)
}

// ---- lanes -------------------------------------------------------------------------------------

class Lane {
  readonly index: number
  builder = new FrameBuilder(64 * 1024)
  queued = 0
  tail: Promise<void> = Promise.resolve()
  /** While reading back: keys of which a record was met that the database does not hold. */
  readonly unresolved = new Set<string>()

  constructor(index: number) {
    this.index = index
  }
}

/** Called for each frame of a lane, one at a time. */
type Act = (lane: Lane, frame: Uint8Array, records: number) => Promise<void>

/** Spreads records over lanes. The first error stops everything. */
class Spreader {
  readonly #engine: Engine
  readonly #batch: number
  readonly #act: Act
  readonly #key = Buffer.alloc(KEY_BUFFER_BYTES)
  readonly lanes: Lane[]
  error: Error | undefined

  constructor(engine: Engine, lanes: number, batch: number, act: Act) {
    this.#engine = engine
    this.#batch = batch
    this.#act = act
    this.lanes = Array.from({ length: lanes }, (_, index) => new Lane(index))
  }

  /** Adds a record. Throws `InvalidError` if it cannot be one. Returns a promise while its lane is behind. */
  add(key: Key, value: unknown): Promise<void> | undefined {
    const length = encodeKey(key, this.#key)
    const lane = this.lanes[(crc32c(this.#key.subarray(0, length)) >>> 0) % this.lanes.length]!
    this.#engine.addPut(lane.builder, key, value)
    if (lane.builder.opCount < this.#batch && lane.builder.lengthBytes < FRAME_BYTES) return undefined
    this.#send(lane)
    return lane.queued > MAX_QUEUED ? lane.tail : undefined
  }

  #send(lane: Lane): void {
    const records = lane.builder.opCount
    if (records === 0) return
    const frame = lane.builder.take()
    lane.queued++
    lane.tail = lane.tail.then(async () => {
      try {
        if (this.error === undefined) await this.#act(lane, frame, records)
      } catch (error) {
        this.error ??= error as Error
      } finally {
        lane.queued--
      }
    })
  }

  /** Sends off what has gathered and waits for everything. */
  async finish(): Promise<void> {
    for (const lane of this.lanes) this.#send(lane)
    await Promise.all(this.lanes.map((lane) => lane.tail))
  }
}

// ---- the job -----------------------------------------------------------------------------------

export async function recordsJob(context: Omit<JobContext, 'engine'>): Promise<(engine: Engine) => Job> {
  const { options, plan, silent, warn } = context
  const input = inputOf(options.input!, options.format)
  const again = input.sizeBytes !== undefined
  let operations = 0
  let lostAtOnce = 0
  const examples: string[] = []
  const noteLost = (latin1Keys: readonly string[]): void => {
    for (const key of latin1Keys) {
      if (examples.length >= 5) return
      const bytes = Buffer.from(key, 'latin1')
      examples.push(showKey(decodeKey(bytes, 0, bytes.length)))
    }
  }

  return (engine) => {
    /** Reads the input once and spreads its records; `onBad` says whether to go on. */
    const pass = async (what: string, spreader: Spreader, onBad: (why: string, final: boolean) => boolean): Promise<void> => {
      const source = input.open()
      const finder = new KeyFinder(options.keyField)
      let bytesRead = 0
      let records = 0
      source.on('data', (chunk: Buffer) => (bytesRead += chunk.length))
      source.pause()
      const progress = startProgress(what, input.sizeBytes, () => ({ done: bytesRead, operations: records }), silent)
      try {
        for await (const items of readItems(source, input.format)) {
          for (const item of items) {
            const why = 'why' in item ? item.why : await addTo(spreader, finder, item)
            if (why === undefined) records++
            else if (!onBad(why, 'why' in item && item.final === true)) return
          }
          if (spreader.error !== undefined || context.interrupted()) return
        }
      } finally {
        progress.stop()
        source.destroy()
      }
    }

    const write = async (hands: Hands): Promise<Written> => {
      const latencies = new Latencies()
      const readBack = options.verify && !again
      const spreader = new Spreader(engine, hands.lanes, plan.batch, async (lane, frame, records) => {
        const result = await hands.commit(lane.index, { frame, readBack })
        if (result.error) throw fromErrorMessage(result.error)
        latencies.recordMs(result.ms)
        operations += records
        lostAtOnce += result.different.length
        noteLost(result.different)
      })
      let skipped = 0
      let stoppedAt: string | undefined
      await pass('loaded', spreader, (why, final) => {
        skipped++
        if (options.onError === 'stop' || final) {
          stoppedAt = why
          return false
        }
        if (skipped <= MAX_TOLD) warn(`${input.name}: ${why}; skipped.`)
        else if (skipped === MAX_TOLD + 1) warn('Further bad records are skipped without a word.')
        return true
      })
      await spreader.finish()
      const error = stoppedAt === undefined ? spreader.error : (spreader.error ?? badInput(stoppedAt, operations))
      return { operations, skipped: stoppedAt === undefined ? skipped : skipped - 1, commits: latencies.commits, latencies, error }
    }

    const badInput = (why: string, loaded: number): InvalidError =>
      new InvalidError(
        `${input.name}: ${why}. ${loaded === 1 ? '1 record before it is' : `${number(loaded)} records before it are`} in the database.` +
          (options.onError === 'stop' ? ' Correct it, or leave bad records out with --on-error skip.' : ' Nothing behind it can be read.'),
      )

    /** Reads the input a second time. Of records with the same key only the last must be there. */
    const check = async (crew: Crew): Promise<Checked> => {
      if (!again) return { checked: operations, lost: lostAtOnce, examples }
      let checked = 0
      const spreader = new Spreader(engine, crew.lanes, Math.max(plan.batch, 1000), async (lane, frame, records) => {
        const result = await crew.compare(frame, lane.unresolved.size > 0)
        if (result.error) throw fromErrorMessage(result.error)
        for (const key of result.same) lane.unresolved.delete(key)
        for (const key of result.different) lane.unresolved.add(key)
        checked += records
      })
      await pass('read back', spreader, () => true)
      await spreader.finish()
      if (spreader.error) throw spreader.error
      if (checked < operations && !context.interrupted()) {
        throw new InvalidError(`${input.name} changed while it was loaded: it now has ${plural(checked, 'record')} and had ${number(operations)}.`)
      }
      const lost = spreader.lanes.flatMap((lane) => [...lane.unresolved])
      noteLost(lost)
      return { checked, lost: lost.length, examples }
    }
    return { write, check }
  }
}

/** Adds a record, waiting while its lane is behind. Returns why it cannot be one. */
async function addTo(spreader: Spreader, finder: KeyFinder, item: Extract<Item, { value: unknown }>): Promise<string | undefined> {
  const where = item.line === undefined ? `record ${item.number}` : `line ${item.line}`
  const found = finder.find(item.value, item.number)
  if ('why' in found) return `${where}: ${found.why}`
  try {
    const waiting = spreader.add(found.key, item.value)
    if (waiting) await waiting
    return undefined
  } catch (error) {
    if (error instanceof InvalidError) return `${where}: ${error.message.replace(/\.$/, '')}`
    throw error
  }
}
