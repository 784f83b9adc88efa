// A load of records from a file or pipe. They are read here, put into frames, and committed by lanes
// (spreader.ts). An input of known size is read up to three times: to check it before anything is written,
// to write it, and to compare it with the database. The rest of a long pipe is compared commit by commit.
import type { InputFormat } from './item.js'
import { InvalidError } from '../../errors.js'
import type { Engine } from '../../engine/engine.js'
import { decodeKey, encodeKey, KEY_BUFFER_BYTES } from '../../encoding/keys.js'
import { valueCodec } from '../../encoding/values/codec.js'
import { fromErrorMessage } from '../../workers/error-transport.js'
import { showKey } from '../../encoding/notation.js'
import { number, plural } from '../shared/output.js'
import type { ThreadExecutor, Executor } from './executors.js'
import { passOver, type OnBad, type Take } from './input-pass.js'
import { Latencies } from './latency.js'
import type { Checked, Job, JobContext, PreparedJob, Written } from './job.js'
import { checkRoom, entryBytes } from './room.js'
import { checkEncoding, sourceOf, type Source } from './source.js'
import { Spreader } from './spreader.js'

/** Bad records that get a warning each; of the others only the number is reported. */
const MAX_TOLD = 20
const MAX_EXAMPLES = 5
/** Records that are compared at a time, at least. */
const COMPARED_AT_ONCE = 1000

export async function recordsJob(context: JobContext): Promise<PreparedJob> {
  const { options, signal } = context
  checkEncoding(options.encoding)
  const input = await sourceOf(options.input!, options.format as InputFormat | undefined, options.encoding, signal)
  if (input.sizeBytes !== undefined && options.onError === 'stop') await checkAll(context, input)
  return (engine) => new RecordsJob(context, input, engine)
}

/** Finds records that cannot be stored, before anything is stored. Throws `InvalidError`, `FullError`. */
async function checkAll(context: JobContext, input: Source): Promise<void> {
  const { options, plan } = context
  const codec = valueCodec(plan.engine.valueEncoding)
  const keyBytes = Buffer.alloc(KEY_BUFFER_BYTES)
  let needed = 0
  let bad: string | undefined
  const take: Take = (key, value) => {
    const keyLength = encodeKey(key, keyBytes)
    needed += entryBytes(keyLength, codec.encode(value).length)
    return undefined
  }
  await passOver(context, input, 'checked', take, (why) => {
    bad = why
    return false
  })
  if (bad !== undefined) {
    throw new InvalidError(
      `${input.name}: ${bad}. Nothing was written. Correct it, or leave bad records out with --on-error skip.`,
    )
  }
  if (!options.force) checkRoom(plan.engine, needed)
}

class RecordsJob implements Job {
  readonly #context: JobContext
  readonly #input: Source
  readonly #engine: Engine
  /** The input can be read a second time. */
  readonly #isRepeatable: boolean
  #operations = 0
  #unknown = 0
  /** Bad records so far. */
  #bad = 0
  /** Why the reading stopped at a bad record, if it did. */
  #stoppedAt: string | undefined
  /** Keys that were missing right after their commit. */
  #lostAtOnce = 0
  readonly #examples: string[] = []

  constructor(context: JobContext, input: Source, engine: Engine) {
    this.#context = context
    this.#input = input
    this.#engine = engine
    this.#isRepeatable = input.sizeBytes !== undefined
  }

  async write(executor: Executor): Promise<Written> {
    const { options, plan } = this.#context
    const latencies = new Latencies()
    const readBack = options.verify && !this.#isRepeatable
    const spreader = new Spreader(this.#engine, executor.lanes, plan.batch, async (lane, frame, records) => {
      const result = await executor.commit(lane.index, { frame, readBack })
      if (result.committed) {
        latencies.recordMs(result.ms)
        this.#operations += records
      } else if (result.committed === undefined) this.#unknown += records
      if (result.error) throw fromErrorMessage(result.error)
      this.#lostAtOnce += result.different.length
      this.#noteLost(result.different)
    })
    try {
      await this.#spread('loaded', spreader, (why, final) => this.#goesOnAfter(why, final))
    } catch (error) {
      if (!(error instanceof InvalidError)) throw error
      this.#bad++
      this.#stoppedAt = error.message.replace(`${this.#input.name} `, '').replace(/\.$/, '')
    }
    await spreader.finish()
    const hasStopped = this.#stoppedAt !== undefined
    return {
      operations: this.#operations,
      unknown: this.#unknown,
      skipped: hasStopped ? this.#bad - 1 : this.#bad,
      commits: latencies.commits,
      latencies,
      error: spreader.error ?? (hasStopped ? this.#badInput(this.#stoppedAt!) : undefined),
    }
  }

  /** Reads the input a second time. Of records with the same key only the last must be there. */
  async check(threads: ThreadExecutor): Promise<Checked> {
    if (!this.#isRepeatable) return { checked: this.#operations, lost: this.#lostAtOnce, examples: this.#examples }
    const batch = Math.max(this.#context.plan.batch, COMPARED_AT_ONCE)
    let checked = 0
    const spreader = new Spreader(this.#engine, threads.lanes, batch, async (lane, frame, records) => {
      const result = await threads.compare(frame, lane.unresolved.size > 0)
      if (result.error) throw fromErrorMessage(result.error)
      for (const key of result.same) lane.unresolved.delete(key)
      for (const key of result.different) lane.unresolved.add(key)
      checked += records
    })
    await this.#spread('read back', spreader, () => true)
    await spreader.finish()
    if (spreader.error) throw spreader.error
    if (checked < this.#operations && !this.#context.signal.aborted) {
      throw new InvalidError(
        `${this.#input.name} changed while it was loaded: it now has ${plural(checked, 'record')} and had ${number(this.#operations)}.`,
      )
    }
    const lost = spreader.lanes.flatMap((lane) => [...lane.unresolved])
    this.#noteLost(lost)
    return { checked, lost: lost.length, examples: this.#examples }
  }

  /** Reads the input and spreads its records over lanes, until one of them fails. */
  async #spread(what: string, spreader: Spreader, onBad: OnBad): Promise<void> {
    const failed = new Error('a lane failed')
    const take: Take = (key, value) => {
      if (spreader.error !== undefined) throw failed
      return spreader.add(key, value)
    }
    try {
      await passOver(this.#context, this.#input, what, take, onBad)
    } catch (error) {
      if (error !== failed) throw error
    }
  }

  /** Counts a bad record while writing, and says whether the load goes on after it. */
  #goesOnAfter(why: string, final: boolean): boolean {
    const { options, warn } = this.#context
    this.#bad++
    if (options.onError === 'stop' || final) {
      this.#stoppedAt = why
      return false
    }
    if (this.#bad <= MAX_TOLD) warn(`${this.#input.name}: ${why}; skipped.`)
    else if (this.#bad === MAX_TOLD + 1) warn('Further bad records are skipped without a warning for each.')
    return true
  }

  #badInput(why: string): InvalidError {
    const n = this.#operations
    const before = n === 1 ? '1 record before it is' : `${number(n)} records before it are`
    const advice =
      this.#context.options.onError === 'stop'
        ? 'Correct it, or leave bad records out with --on-error skip.'
        : 'Nothing after it can be read.'
    return new InvalidError(`${this.#input.name}: ${why}. ${before} in the database. ${advice}`)
  }

  #noteLost(latin1Keys: readonly string[]): void {
    for (const key of latin1Keys.slice(0, MAX_EXAMPLES - this.#examples.length)) {
      const bytes = Buffer.from(key, 'latin1')
      this.#examples.push(showKey(decodeKey(bytes, 0, bytes.length)))
    }
  }
}
