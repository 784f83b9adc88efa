// Runs in the worker threads of a load. Each has its own engine and writes with it synchronously: it
// returns from a commit when that is on disk, and only then goes on.
import { closeSync, openSync, writeSync } from 'node:fs'
import { workerData } from 'node:worker_threads'
import { IoError, OutcomeUnknownError } from '../../errors.js'
import { concatenated } from '../../encoding/packed-list.js'
import { Engine } from '../../engine/engine.js'
import { decodeKey } from '../../encoding/keys.js'
import { posixStorage } from '../../storage/posix.js'
import { OP_PUT, operationsOf } from '../../wal/operation.js'
import { Latencies } from './latency.js'
import {
  SHARED,
  type CheckResult,
  type CompareResult,
  type FrameResult,
  type FrameTask,
  type Part,
  type PartResult,
  type WorkerData,
} from './plan.js'
import { showKey } from '../../encoding/notation.js'
import { Permutation, syntheticKey, syntheticValue } from './synthetic-records.js'
import { toErrorMessage, type ErrorMessage } from '../../workers/error-transport.js'

const { plan, shared } = workerData as WorkerData
const words = new Int32Array(shared)
const stopped = (): boolean => Atomics.load(words, SHARED.STOP) !== 0

let opened: Engine | undefined
const engine = (): Engine => (opened ??= Engine.open(plan.engine, posixStorage))

let ackFile: number | undefined

/** Appends the keys of an acknowledged commit to the ack log: one line, in one write. Throws `IoError`. */
function acknowledge(keys: readonly string[]): void {
  const line = Buffer.from(`${keys.join('\t')}\n`)
  try {
    ackFile ??= openSync(plan.ackLog!, 'a')
    for (let at = 0; at < line.length;) at += writeSync(ackFile, line, at)
  } catch (cause) {
    throw new IoError(
      `The ack log ${plan.ackLog!} cannot be written: ${(cause as Error).message}. The load stops; everything that it committed is in the database.`,
      { cause },
    )
  }
}

/** Opens this thread's engine and waits until all threads have theirs, so that the clock starts with all of them. */
export function ready(): { error?: ErrorMessage } {
  let error: ErrorMessage | undefined
  try {
    engine()
  } catch (e) {
    error = toErrorMessage(e)
  }
  Atomics.add(words, SHARED.READY, 1)
  Atomics.notify(words, SHARED.READY)
  for (let n = 0; n < 100; n++) {
    const there = Atomics.load(words, SHARED.READY)
    if (there >= plan.threads || error) break
    Atomics.wait(words, SHARED.READY, there, 100)
  }
  return error ? { error } : {}
}

/** Makes checkpoints when they are due, until stopped, so that the writers need not. */
export function keepCheckpointing(): { error?: ErrorMessage } {
  try {
    while (!stopped()) {
      if (engine().checkpointWanted) engine().checkpoint(false)
      Atomics.wait(words, SHARED.STOP, 0, 20)
    }
    return {}
  } catch (error) {
    // The writers run into the same error and report it.
    return { error: toErrorMessage(error) }
  }
}

/** Writes a part of the synthetic load. */
export function write({ from, to }: Part): PartResult {
  const latencies = new Latencies()
  const permutation = new Permutation(plan.ops, plan.seed)
  const binary = plan.engine.valueEncoding === 'binary'
  let at = from
  let count = 0
  try {
    const db = engine()
    while (at < to && !stopped()) {
      count = Math.min(plan.batch, to - at)
      const operations = Array.from({ length: count }, (_, n) => {
        const key = syntheticKey(permutation.at(at + n))
        return { type: 'put' as const, key, value: syntheticValue(key, plan.seed, plan.valueSize, binary) }
      })
      const startedMs = performance.now()
      if (count === 1) db.put(operations[0]!.key, operations[0]!.value)
      else db.batch(operations)
      latencies.recordMs(performance.now() - startedMs)
      at += count
      Atomics.add(words, SHARED.OPERATIONS, count)
      if (plan.ackLog !== undefined) acknowledge(operations.map(({ key }) => key))
    }
    return { operations: at - from, unknown: 0, latencies: latencies.counts }
  } catch (error) {
    const unknown = error instanceof OutcomeUnknownError ? count : 0
    return { operations: at - from, unknown, latencies: latencies.counts, error: toErrorMessage(error) }
  }
}

const MAX_EXAMPLES = 5

/** Reads a part of the synthetic load back. */
export function check({ from, to }: Part): CheckResult {
  const permutation = new Permutation(plan.ops, plan.seed)
  const binary = plan.engine.valueEncoding === 'binary'
  const examples: string[] = []
  let checked = 0
  let lost = 0
  try {
    const db = engine()
    for (let i = from; i < to; i++) {
      const key = syntheticKey(permutation.at(i))
      const expected = syntheticValue(key, plan.seed, plan.valueSize, binary)
      const found = db.get(key)
      const same =
        typeof expected === 'string' ? found === expected : found instanceof Uint8Array && expected.equals(found)
      if (!same) {
        lost++
        if (examples.length < MAX_EXAMPLES) examples.push(key)
      }
      checked++
      if ((checked & 1023) === 0) Atomics.add(words, SHARED.CHECKED, 1024)
    }
    Atomics.add(words, SHARED.CHECKED, checked & 1023)
    return { checked, lost, examples }
  } catch (error) {
    return { checked, lost, examples, error: toErrorMessage(error) }
  }
}

/** Commits a frame of records that were read from a file. */
export function commit({ frame, readBack }: FrameTask): FrameResult {
  let committed: boolean | undefined = false
  let ms = 0
  try {
    const bytes = Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength)
    const startedMs = performance.now()
    engine().commit(bytes)
    ms = performance.now() - startedMs
    committed = true
    const operations = puts(bytes)
    Atomics.add(words, SHARED.OPERATIONS, operations.length)
    if (plan.ackLog !== undefined) acknowledge(operations.map(({ key }) => showKey(decodeKey(key, 0, key.length))))
    return { committed, ms, different: readBack ? compareAll(operations).different : [] }
  } catch (error) {
    if (error instanceof OutcomeUnknownError) committed = undefined
    return { committed, ms, different: [], error: toErrorMessage(error) }
  }
}

/** Compares a frame of records with what the database holds. */
export function compare({ frame, wantSame }: { frame: Uint8Array; wantSame: boolean }): CompareResult {
  try {
    const operations = puts(Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength))
    const { different, same } = compareAll(operations)
    Atomics.add(words, SHARED.CHECKED, operations.length)
    return { different, same: wantSame ? same : [] }
  } catch (error) {
    return { different: [], same: [], error: toErrorMessage(error) }
  }
}

interface Put {
  readonly key: Buffer
  readonly value: Buffer
}

function puts(frame: Buffer): Put[] {
  const list: Put[] = []
  for (const operation = operationsOf(frame); operation.next();)
    if (operation.kind === OP_PUT) list.push({ key: operation.key, value: operation.value })
  return list
}

/** Whether the last put of each key is what the database holds. Keys as latin1, which keeps every byte. */
function compareAll(operations: readonly Put[]): { different: string[]; same: string[] } {
  const lengths = Int32Array.from(operations, ({ key }) => key.length)
  const found = engine().getManyEncoded({ bytes: concatenated(operations.map(({ key }) => key)), lengths }, 'values')
  const values = Buffer.from(found.bytes.buffer)
  const last = new Map<string, boolean>()
  let at = 0
  operations.forEach(({ key, value }, i) => {
    const length = found.lengths[i]!
    last.set(key.toString('latin1'), length >= 0 && values.subarray(at, at + length).equals(value))
    if (length > 0) at += length
  })
  const different: string[] = []
  const same: string[] = []
  for (const [key, equal] of last) (equal ? same : different).push(key)
  return { different, same }
}

process.on('exit', () => {
  if (ackFile !== undefined) closeSync(ackFile)
})
