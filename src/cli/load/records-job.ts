// A load of records from a file or pipe. They are read here, put into frames, and committed by
// lanes: which one is decided by the key alone, and a lane does one frame at a time, so of records
// with the same key the last one wins. A lane that is behind holds up the reading.
import { InvalidError } from '../../errors.js'
import type { Engine } from '../../engine/engine.js'
import { decodeKey, encodeKey, KEY_BUFFER_BYTES, type Key } from '../../encoding/keys.js'
import { valueCodec } from '../../encoding/values/codec.js'
import { crc32c } from '../../encoding/crc32c.js'
import { Latencies } from './latency.js'
import { readItems } from './input.js'
import { checkEncoding, sourceOf } from './source.js'
import type { ThreadExecutor, Executor } from './executors.js'
import { showKey } from '../shared/notation.js'
import { number, plural } from '../shared/output.js'
import { startProgress } from './progress.js'
import { checkRoom, entryBytes } from './room.js'
import { FrameBuilder } from '../../wal/frame-builder.js'
import type { Checked, Job, JobContext, Written } from './job.js'
import { type Good } from './item.js'
import { fromErrorMessage } from '../../workers/error-transport.js'

/** A frame is sent off at this size, however few records it holds. */
const FRAME_BYTES = 4 * 1024 * 1024
/** Frames of one lane that wait while it is busy. */
const MAX_QUEUED = 2
/** Bad records told one by one; then only their number. */
const MAX_TOLD = 20

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
    this.#engine.operations.put(lane.builder, key, value)
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
  checkEncoding(options.encoding)
  const input = await sourceOf(options.input!, options.format, options.encoding, context.signal)
  const again = input.sizeBytes !== undefined
  let operations = 0
  let unknown = 0
  let lostAtOnce = 0
  const examples: string[] = []
  const noteLost = (latin1Keys: readonly string[]): void => {
    for (const key of latin1Keys) {
      if (examples.length >= 5) return
      const bytes = Buffer.from(key, 'latin1')
      examples.push(showKey(decodeKey(bytes, 0, bytes.length)))
    }
  }

  /** Reads the input once; `take` says why a record cannot be one, `onBad` whether to go on. */
  const pass = async (
    what: string,
    take: (finder: KeyFinder, item: Good) => Promise<string | undefined>,
    onBad: (why: string, final: boolean) => boolean,
  ): Promise<void> => {
    const finder = new KeyFinder(options.keyField)
    let bytesRead = 0
    let records = 0
    let isDone = false
    const progress = startProgress(what, input.sizeBytes, () => ({ done: bytesRead, operations: records }), silent)
    try {
      for await (const items of readItems(
        input.open((bytes) => (bytesRead += bytes)),
        input.format,
        options.bigIntegers,
      )) {
        for (const item of items) {
          const why = 'why' in item ? item.why : await take(finder, item)
          if (why === undefined) records++
          else if (!onBad(why, 'why' in item && item.final === true)) return
        }
        if (context.interrupted()) return
      }
      isDone = true
    } catch (error) {
      if (!context.signal.aborted) throw error
    } finally {
      progress.stop(isDone)
    }
  }

  /** Meets whatever cannot be stored, before anything is. Throws `InvalidError`, `FullError`. */
  const checkAll = async (): Promise<void> => {
    const codec = valueCodec(plan.engine.valueEncoding)
    const keyBytes = Buffer.alloc(KEY_BUFFER_BYTES)
    let needed = 0
    let bad: string | undefined
    const take = (key: Key, value: unknown): undefined => {
      const keyLength = encodeKey(key, keyBytes)
      needed += entryBytes(keyLength, codec.encode(value).length)
    }
    await pass(
      'checked',
      (finder, item) => taken(finder, item, take),
      (why) => {
        bad = why
        return false
      },
    )
    if (bad !== undefined) {
      throw new InvalidError(
        `${input.name}: ${bad}. Nothing was written. Correct it, or leave bad records out with --on-error skip.`,
      )
    }
    if (!options.force) checkRoom(plan.engine, needed)
  }
  if (again && options.onError === 'stop') await checkAll()

  return (engine) => {
    /** Reads the input and spreads its records over lanes, until one of them fails. */
    const spread = async (
      what: string,
      spreader: Spreader,
      onBad: (why: string, final: boolean) => boolean,
    ): Promise<void> => {
      const failed = new Error('a lane failed')
      const add = (key: Key, value: unknown): Promise<void> | undefined => {
        if (spreader.error !== undefined) throw failed
        return spreader.add(key, value)
      }
      try {
        await pass(what, (finder, item) => taken(finder, item, add), onBad)
      } catch (error) {
        if (error !== failed) throw error
      }
    }

    const write = async (hands: Executor): Promise<Written> => {
      const latencies = new Latencies()
      const readBack = options.verify && !again
      const spreader = new Spreader(engine, hands.lanes, plan.batch, async (lane, frame, records) => {
        const result = await hands.commit(lane.index, { frame, readBack })
        if (result.committed) {
          latencies.recordMs(result.ms)
          operations += records
        } else if (result.committed === undefined) unknown += records
        if (result.error) throw fromErrorMessage(result.error)
        lostAtOnce += result.different.length
        noteLost(result.different)
      })
      let skipped = 0
      let stoppedAt: string | undefined
      const reading = spread('loaded', spreader, (why, final) => {
        skipped++
        if (options.onError === 'stop' || final) {
          stoppedAt = why
          return false
        }
        if (skipped <= MAX_TOLD) warn(`${input.name}: ${why}; skipped.`)
        else if (skipped === MAX_TOLD + 1) warn('Further bad records are skipped without a word.')
        return true
      })
      await reading.catch((error: unknown) => {
        if (!(error instanceof InvalidError)) throw error
        stoppedAt = error.message.replace(`${input.name} `, '').replace(/\.$/, '')
        skipped++
      })
      await spreader.finish()
      const error = stoppedAt === undefined ? spreader.error : (spreader.error ?? badInput(stoppedAt, operations))
      return {
        operations,
        unknown,
        skipped: stoppedAt === undefined ? skipped : skipped - 1,
        commits: latencies.commits,
        latencies,
        error,
      }
    }

    const badInput = (why: string, loaded: number): InvalidError =>
      new InvalidError(
        `${input.name}: ${why}. ${loaded === 1 ? '1 record before it is' : `${number(loaded)} records before it are`} in the database.` +
          (options.onError === 'stop'
            ? ' Correct it, or leave bad records out with --on-error skip.'
            : ' Nothing behind it can be read.'),
      )

    /** Reads the input a second time. Of records with the same key only the last must be there. */
    const check = async (crew: ThreadExecutor): Promise<Checked> => {
      if (!again) return { checked: operations, lost: lostAtOnce, examples }
      let checked = 0
      const spreader = new Spreader(engine, crew.lanes, Math.max(plan.batch, 1000), async (lane, frame, records) => {
        const result = await crew.compare(frame, lane.unresolved.size > 0)
        if (result.error) throw fromErrorMessage(result.error)
        for (const key of result.same) lane.unresolved.delete(key)
        for (const key of result.different) lane.unresolved.add(key)
        checked += records
      })
      await spread('read back', spreader, () => true)
      await spreader.finish()
      if (spreader.error) throw spreader.error
      if (checked < operations && !context.interrupted()) {
        throw new InvalidError(
          `${input.name} changed while it was loaded: it now has ${plural(checked, 'record')} and had ${number(operations)}.`,
        )
      }
      const lost = spreader.lanes.flatMap((lane) => [...lane.unresolved])
      noteLost(lost)
      return { checked, lost: lost.length, examples }
    }
    return { write, check }
  }
}

/** Hands on a record with its key. Returns why it cannot be one. */
async function taken(
  finder: KeyFinder,
  item: Good,
  take: (key: Key, value: unknown) => Promise<void> | undefined,
): Promise<string | undefined> {
  const found = finder.find(item.value, item.number)
  if ('why' in found) return `line ${item.line}: ${found.why}`
  try {
    const waiting = take(found.key, item.value)
    if (waiting) await waiting
    return undefined
  } catch (error) {
    if (error instanceof InvalidError) return `line ${item.line}: ${error.message.replace(/\.$/, '')}`
    throw error
  }
}
