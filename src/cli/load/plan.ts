// The messages between the threads and processes of a load.
import type { ResolvedOptions } from '../../engine/options.js'
import type { ValueEncoding } from '../../encoding/values/codec.js'
import type { LatencyCounts } from './latency.js'
import type { ErrorMessage } from '../../workers/error-transport.js'

/** Words that the threads of one process share. */
export const SHARED = { STOP: 0, OPERATIONS: 1, READY: 2, CHECKED: 3, WORDS: 4 } as const

/** Records of a synthetic load, unless --ops says otherwise. */
export const DEFAULT_OPS = 10_000
/** Records in a commit of an input, unless --batch says otherwise. */
export const INPUT_BATCH = 1000

export interface LoadPlan {
  readonly engine: ResolvedOptions & { readonly valueEncoding: ValueEncoding }
  readonly threads: number
  readonly ops: number
  readonly seed: number
  readonly valueSize: number
  readonly batch: number
  readonly ackLog: string | undefined
}

export interface WorkerData {
  readonly plan: LoadPlan
  readonly shared: SharedArrayBuffer
}

/** A share of the synthetic operations: [from, to). */
export interface Part {
  readonly from: number
  readonly to: number
}

export interface PartResult {
  /** Operations acknowledged: that many from the beginning of the part. */
  readonly operations: number
  /** Operations after them that may or may not take effect: their outcome is not known. */
  readonly unknown: number
  readonly latencies: LatencyCounts
  readonly error?: ErrorMessage
}

export interface CheckResult {
  readonly checked: number
  readonly lost: number
  /** Keys that were lost, at most a few. */
  readonly examples: string[]
  readonly error?: ErrorMessage
}

export interface FrameTask {
  readonly frame: Uint8Array
  /** Compare with what the database holds after the commit. */
  readonly readBack: boolean
}

export interface FrameResult {
  /** Whether the frame was committed; undefined if that is not known. */
  readonly committed: boolean | undefined
  readonly ms: number
  /** Keys (latin1) whose last value in the frame is not what the database holds. */
  readonly different: string[]
  readonly error?: ErrorMessage
}

export interface CompareResult {
  readonly different: string[]
  /** The other keys; only if asked for. */
  readonly same: string[]
  readonly error?: ErrorMessage
}
