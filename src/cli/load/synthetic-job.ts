// A load of generated records: each lane writes its share, and the records are generated again to be
// compared with what is read back.
import { InvalidError } from '../../errors.js'
import { Latencies } from './latency.js'
import type { ThreadExecutor, Executor } from './executors.js'
import type { Part } from './plan.js'
import { bytes } from '../shared/output.js'
import { startProgress } from './progress.js'
import { checkRoom, entryBytes } from './room.js'
import { syntheticKey } from './synthetic-records.js'
import { MAX_FRAME_BYTES } from '../../limits.js'
import type { Checked, JobContext, PreparedJob, Written } from './job.js'
import { fromErrorMessage } from '../../workers/error-transport.js'

const KEY_BYTES = syntheticKey(0).length + 1
/** Bytes that an encoding adds to text or bytes, at least. */
const VALUE_OVERHEAD_BYTES = { msgpack: 1, json: 2, utf8: 0, binary: 0 } as const

function shares(from: number, to: number, count: number): Part[] {
  const at = (n: number): number => from + Math.floor(((to - from) * n) / count)
  return Array.from({ length: count }, (_, n) => ({ from: at(n), to: at(n + 1) })).filter((part) => part.to > part.from)
}

export function syntheticJob(context: JobContext): PreparedJob {
  const { options, plan, silent } = context
  const valueLength = plan.valueSize + VALUE_OVERHEAD_BYTES[plan.engine.valueEncoding]
  const batchBytes = Math.min(plan.batch, plan.ops) * (valueLength + KEY_BYTES)
  if (batchBytes > MAX_FRAME_BYTES) {
    throw new InvalidError(
      `A batch may hold at most ${bytes(MAX_FRAME_BYTES)}, but ${plan.batch} records of ${plan.valueSize} bytes take ${bytes(batchBytes)}: lower --batch or --value-size.`,
    )
  }
  if (!options.force) checkRoom(plan.engine, plan.ops * entryBytes(KEY_BYTES, valueLength))
  /** The parts that have been acknowledged. */
  const acknowledged: Part[] = []

  const write = async (executor: Executor): Promise<Written> => {
    const latencies = new Latencies()
    let operations = 0
    let unknown = 0
    let error: Error | undefined
    const progress = startProgress(
      'written',
      plan.ops,
      () => ({ done: executor.operations(), operations: executor.operations() }),
      silent,
    )
    await Promise.all(
      shares(0, plan.ops, executor.lanes).map(async (part, lane) => {
        try {
          const result = await executor.write(lane, part)
          operations += result.operations
          unknown += result.unknown
          latencies.add(result.latencies)
          acknowledged.push({ from: part.from, to: part.from + result.operations })
          if (result.error === undefined) return
          error ??= fromErrorMessage(result.error)
          // A database that refuses one write refuses all writes.
          executor.stop()
        } catch (gone) {
          // A process died: the other processes go on.
          error ??= gone as Error
        }
      }),
    )
    progress.stop()
    return { operations, unknown, skipped: 0, commits: latencies.commits, latencies, error }
  }

  const check = async (threads: ThreadExecutor): Promise<Checked> => {
    const total = acknowledged.reduce((sum, { from, to }) => sum + to - from, 0)
    const progress = startProgress(
      'read back',
      total,
      () => ({ done: threads.checked(), operations: threads.checked() }),
      silent,
    )
    try {
      const pieces = acknowledged.flatMap(({ from, to }) => shares(from, to, Math.ceil((to - from) / 50_000)))
      const results = await Promise.all(pieces.map((part) => threads.check(part)))
      for (const { error } of results) if (error) throw fromErrorMessage(error)
      return {
        checked: results.reduce((sum, { checked }) => sum + checked, 0),
        lost: results.reduce((sum, { lost }) => sum + lost, 0),
        examples: results.flatMap(({ examples }) => examples).slice(0, 5),
      }
    } finally {
      progress.stop()
    }
  }
  return () => ({ write, check })
}
