// The options of a load, and its job: to write records, and to read them back.
import type { Engine } from '../../engine/engine.js'
import type { ValueEncoding } from '../../encoding/values/codec.js'
import type { BigIntegers } from '../../encoding/json-text.js'
import type { Executor, ThreadExecutor } from './executors.js'
import type { InputFormat } from './item.js'
import type { Latencies } from './latency.js'
import type { LoadPlan } from './plan.js'

export interface LoadOptions {
  readonly ops?: number
  readonly workers: number
  readonly processes?: number
  readonly batch?: number
  readonly valueSize: number
  readonly seed: number
  readonly input?: string
  readonly format?: InputFormat | 'dump'
  readonly encoding: string
  readonly bigIntegers: BigIntegers
  readonly keyField?: string
  readonly onError: 'stop' | 'skip'
  readonly verify: boolean
  readonly ackLog?: string
  readonly force?: boolean
  readonly valueEncoding?: ValueEncoding
  readonly checkpointBytes?: number
  readonly segmentBytes?: number
  readonly helper?: boolean
}

/** What is known after the writing, whether it succeeded or failed. */
export interface Written {
  readonly operations: number
  /** Operations that may or may not take effect: their outcome is not known. */
  readonly unknown: number
  readonly skipped: number
  readonly commits: number
  readonly latencies: Latencies
  /** The first thing that went wrong. */
  readonly error: Error | undefined
}

export interface Checked {
  readonly checked: number
  readonly lost: number
  readonly examples: string[]
}

/** A kind of load: how it writes and how it reads back. */
export interface Job {
  write(executor: Executor): Promise<Written>
  check(threads: ThreadExecutor): Promise<Checked>
}

/** A job before the database is open: its input has been looked at, and nothing has been created yet. */
export type PreparedJob = (engine: Engine) => Job

export interface JobContext {
  readonly options: LoadOptions
  readonly plan: LoadPlan
  readonly silent: boolean
  readonly warn: (message: string) => void
  /** Aborted on Ctrl-C: waiting for more input ends. */
  readonly signal: AbortSignal
}
