// The addon inside Node.js, its lifetime above all: threads that open, grow, wait, lock, drop without
// closing, and are terminated in the middle, first through the storage interface, then with whole
// databases. Run by ./run under a sanitizer; alone: node dist/crash-tests/sanitizers/stress.js 10
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { isMainThread, parentPort, threadId, Worker, workerData } from 'node:worker_threads'
import { runInNewContext } from 'node:vm'
import { mix, Random } from '../lib/random.js'
import { open } from '../../src/index.js'
import { posixStorage as storage } from '../../src/storage/posix.js'
import type { LockTable, Region } from '../../src/storage/storage.js'

const FILES = 3
const MiB = 2 ** 20
const PAGE_BYTES = 4096
const RESERVE_BYTES = 64 * MiB
const WINDOW_BYTES = 64 * 1024
/** The default reserve of 1 TiB is more than valgrind has addresses for. */
const OPTIONS = {
  windowBytes: WINDOW_BYTES,
  reserveBytes: RESERVE_BYTES,
  segmentBytes: 16 * 1024,
  checkpointBytes: 64 * 1024,
  valueEncoding: 'binary',
} as const
const THREAD_LIFE_MS = 1500
const THREADS = 6

interface Work {
  readonly directory: string
  readonly seed: number
  readonly kind: 'storage' | 'database'
}

/** Regions and locks, opened and given up in every way there is. */
function useStorage({ directory, seed }: Work): void {
  const random = new Random(mix(seed, threadId))
  const regions: Region[] = []
  const locks: LockTable[] = []
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  for (let n = 0; ; n++) {
    const path = join(directory, `file-${random.between(0, FILES - 1)}`)
    const mode = random.pick(['shared', 'shared', 'shared', 'private', 'anonymous'] as const)
    if (mode !== 'private' || n > 0) {
      const region = storage.openRegion(path, {
        mode,
        reserveBytes: RESERVE_BYTES,
        windowBytes: WINDOW_BYTES,
        create: mode === 'shared',
      })
      region.grow(PAGE_BYTES * random.between(1, 64))
      const words = new Int32Array(region.window(random.between(0, 3)), 0, 16)
      if (words.byteOffset === 0 && region.sizeBytes() >= 4 * WINDOW_BYTES) Atomics.add(words, threadId % 16, 1)
      if (mode === 'shared') {
        region.wait(64, new Int32Array(region.window(0))[16]!, random.between(0, 3))
        region.wakeAll(64)
      }
      region.faultCount()
      // Closed, kept for a while, or forgotten.
      const choice = random.between(0, 3)
      if (choice < 2) region.close()
      else if (choice === 2) regions.push(region)
    }
    storage.openFile(path, 'create').close()
    const table = storage.openLocks(path)
    if (table.tryLock(random.between(0, 3), random.pick(['shared', 'exclusive'] as const)))
      table.isHeldByOther(1, 'exclusive')
    table.lock(random.between(4, 6), 'exclusive', random.between(0, 5))
    const choice = random.between(0, 3)
    if (choice < 2) table.close()
    else if (choice === 2) locks.push(table)
    if (regions.length > 8) for (const region of regions.splice(0, 6)) if (random.chance(0.5)) region.close()
    if (locks.length > 8) for (const table of locks.splice(0, 6)) if (random.chance(0.5)) table.close()
    if (n % 50 === 0) gc()
  }
}

async function useDatabase({ directory, seed }: Work): Promise<void> {
  const random = new Random(mix(seed, threadId))
  for (;;) {
    const db = await open<'binary', Buffer>(join(directory, 'db'), { ...OPTIONS, workers: 0 })
    for (let n = random.between(1, 60); n > 0; n--) {
      const key = random.between(0, 200)
      db.putSync(key, Buffer.alloc(random.skewed(1, 20_000), key))
      const value = db.get(random.between(0, 200))
      if (value !== undefined && value[0] !== value[value.length - 1]) throw new Error('a value is torn')
      if (random.chance(0.1)) db.count()
      if (random.chance(0.1)) db.snapshot()
    }
    await db.close()
  }
}

async function main(seconds: number): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'mmapdb-sanitizers-stress-'))
  const seed = Number(process.argv[3] ?? Math.floor(Math.random() * 2 ** 31))
  console.log(`stress: seed ${seed}, ${seconds} s`)
  const random = new Random(seed)
  let terminated = 0
  try {
    for (const kind of ['storage', 'database'] as const) {
      // A file for private regions to begin with, and a database that is not made by the first thread that dies.
      for (let i = 0; i < FILES; i++) storage.openFile(join(directory, `file-${i}`), 'create').close()
      await (await open(join(directory, 'db'), { ...OPTIONS, workers: 2 })).close()
      const endMs = Date.now() + (seconds * 1000) / 2
      const live = async (): Promise<void> => {
        while (Date.now() < endMs) {
          const worker = new Worker(new URL(import.meta.url), {
            workerData: { directory, seed: random.between(0, 2 ** 30), kind } satisfies Work,
          })
          const failed = new Promise<never>((_, reject) => worker.on('error', reject))
          failed.catch(() => undefined)
          const loaded = new Promise((resolve) => worker.once('message', resolve))
          await Promise.race([loaded, failed])
          await Promise.race([failed, new Promise((resolve) => setTimeout(resolve, random.skewed(1, THREAD_LIFE_MS)))])
          await worker.terminate()
          terminated++
        }
      }
      await Promise.all(Array.from({ length: THREADS }, live))
    }
    const db = await open(join(directory, 'db'), { ...OPTIONS, workers: 2 })
    const report = await db.verify()
    await db.close()
    if (!report.ok) throw new Error(`verify finds ${JSON.stringify(report.damage)}`)
    console.log(`stress: ${terminated} threads terminated`)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

if (isMainThread) await main(Number(process.argv[2] ?? 10))
else {
  parentPort!.postMessage('loaded')
  const work = workerData as Work
  if (work.kind === 'storage') useStorage(work)
  else await useDatabase(work)
}
