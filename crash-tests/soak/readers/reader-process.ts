// A process of the readers' test, and its threads: each has the database open for itself, and writes or reads until its
// time is over. What they have done is reported to the process that started them.
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { mix, Random } from '../../lib/random.js'
import { open, type MmapdbError, type OpenOptions } from '../../../src/index.js'
import { operations } from './entries.js'
import { READS } from './reads.js'

export interface ReaderProcess {
  readonly path: string
  readonly options: OpenOptions
  readonly seed: number
  readonly writers: number
  readonly readers: number
  /** By the wall clock. */
  readonly endMs: number
}

/** How often each thing was done, and what went wrong. */
export interface ReadReport {
  readonly counts: Record<string, number>
  readonly problems: string[]
}

interface ThreadData extends ReaderProcess {
  readonly role: 'writer' | 'reader'
  readonly number: number
}

async function thread({ path, options, seed, endMs, role, number }: ThreadData): Promise<ReadReport> {
  const counts: Record<string, number> = {}
  const problems: string[] = []
  const random = new Random(mix(seed, number))
  const db = await open<'binary', Buffer>(path, { ...options, valueEncoding: 'binary' })
  const note = (what: string): void => void (counts[what] = (counts[what] ?? 0) + 1)
  try {
    for (let n = 1; Date.now() < endMs; n++) {
      if (role === 'writer') {
        for (let i = 0; i < 20; i++) db.batchSync(operations(random, (number * 100_000 + n * 20 + i) >>> 0))
        note('batches x 20')
        // So that some get through.
        if (random.chance(0.2)) await new Promise((resolve) => setTimeout(resolve, random.between(1, 80)))
      } else {
        const { name, run } = random.pick(READS)
        try {
          await run(db, random)
          note(name)
        } catch (error) {
          if ((error as MmapdbError).code !== 'ERR_MMAPDB_EXPIRED') throw new Error(name, { cause: error })
          note(`${name}: ended`)
        }
      }
      // What was dropped without closing is collected between two turns of the event loop.
      await new Promise(setImmediate)
    }
  } catch (error) {
    for (let e = error as Error | undefined; e !== undefined; e = e.cause as Error | undefined)
      problems.push(e.stack ?? String(e))
  }
  const { failure } = db.stats()
  if (failure !== undefined) problems.push(`writes are refused: ${failure}`)
  await db.close()
  return { counts, problems }
}

function startThread(data: ThreadData): Promise<ReadReport> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL(import.meta.url), { workerData: data })
    worker.once('message', resolve)
    worker.once('error', reject)
    worker.once('exit', () => reject(new Error('a thread ended before its time')))
  })
}

async function run(spec: ReaderProcess): Promise<ReadReport> {
  const roles = [
    ...Array.from({ length: spec.writers }, () => 'writer' as const),
    ...Array.from({ length: spec.readers }, () => 'reader' as const),
  ]
  const all = await Promise.all(roles.map((role, number) => startThread({ ...spec, role, number })))
  const counts: Record<string, number> = {}
  for (const report of all)
    for (const [what, count] of Object.entries(report.counts)) counts[what] = (counts[what] ?? 0) + count
  return { counts, problems: all.flatMap(({ problems }) => problems) }
}

if (!isMainThread) parentPort!.postMessage(await thread(workerData as ThreadData))
else if (process.send !== undefined) {
  const answer = (report: ReadReport): void => void process.send!(report, () => process.disconnect())
  process.once('message', (spec) => {
    run(spec as ReaderProcess).then(answer, (error: Error) =>
      answer({ counts: {}, problems: [error.stack ?? String(error)] }),
    )
  })
}
