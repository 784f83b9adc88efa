// What a process and a database take, sampled at moments of rest, and whether it has stopped growing.
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { sleep } from '../lib/processes.js'

export interface Sample {
  readonly heapMiB: number
  /**
   * Memory outside the heap that objects of the main thread keep, its windows onto a database included.
   * Not `arrayBuffers`, which counts a buffer given to a worker until that worker happens to collect
   * garbage: up to 16 MiB and more that no object keeps.
   */
  readonly externalMiB: number
  readonly rssMiB: number
  readonly threads: number
  /** But for those of a database. */
  readonly descriptors: number
  readonly mappings: number
  /** Descriptors and mappings of files of a database. */
  readonly databaseDescriptors: number
  readonly databaseMappings: number
}

export const LEAKS = ['heap', 'external', 'descriptors', 'files', 'mappings'] as const
/** What a process may be told to lose, so that the check can be seen to fail. */
export type Leak = (typeof LEAKS)[number]

const MiB = 2 ** 20
const DATABASE_FILE = /\/(data|control|[0-9a-f]{16}\.wal|spare-[0-9a-f]{16})( \(deleted\))?$/

setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc') as () => void

/** How long threads may take to load their modules; files still open then were left open. */
const LOADED_WITHIN_MS = 20_000
const MODULE = /\.[cm]?js$/

/** The files of this process's descriptors. */
function openFiles(): string[] {
  return readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`)
    } catch {
      // The one that the directory was read through.
      return ''
    }
  })
}

/**
 * After garbage has been collected, finalizers have run, and threads that have just been started have read their
 * modules: Node.js opens hundreds of them at once.
 */
export async function sampleSelf(loadedWithinMs = LOADED_WITHIN_MS): Promise<Sample> {
  const deadlineMs = performance.now() + loadedWithinMs
  for (let round = 0; round < 3; round++) {
    gc()
    await sleep(20)
  }
  while (openFiles().some((file) => MODULE.test(file)) && performance.now() < deadlineMs) await sleep(20)
  const { heapUsed, external, rss } = process.memoryUsage()
  const files = openFiles()
  const databaseDescriptors = files.filter((file) => DATABASE_FILE.test(file)).length
  const maps = readFileSync('/proc/self/maps', 'utf8').trimEnd().split('\n')
  return {
    heapMiB: heapUsed / MiB,
    externalMiB: external / MiB,
    rssMiB: rss / MiB,
    threads: readdirSync('/proc/self/task').length,
    descriptors: files.length - databaseDescriptors,
    mappings: maps.length,
    databaseDescriptors,
    databaseMappings: maps.filter((line) => DATABASE_FILE.test(line)).length,
  }
}

/** Bytes of a database's files, as far as they can be read: some come and go. */
export function fileBytes(path: string): {
  data: number
  wal: number
  control: number
  segments: number
  spares: number
} {
  const size = (file: string): number => statSync(file, { throwIfNoEntry: false })?.size ?? 0
  let names: string[] = []
  try {
    names = readdirSync(join(path, 'wal'))
  } catch {
    // Not made yet.
  }
  return {
    data: size(join(path, 'data')),
    control: size(join(path, 'control')),
    wal: names.reduce((sum, name) => sum + size(join(path, 'wal', name)), 0),
    segments: names.filter((name) => name.endsWith('.wal')).length,
    spares: names.filter((name) => name.startsWith('spare-')).length,
  }
}

/** Locks that any process holds on a file, as the kernel lists them. */
export function locksOn(file: string): number {
  const status = statSync(file, { throwIfNoEntry: false })
  if (status === undefined) return 0
  const { ino } = status
  return readFileSync('/proc/locks', 'utf8')
    .split('\n')
    .filter((line) => line.includes(' OFDLCK ') && line.includes(`:${ino} `)).length
}

// ---- flat or not -----------------------------------------------------------------------------------

export interface Series {
  readonly name: string
  readonly unit: string
  /** By how much the last third may be above the middle one. */
  readonly slack: number
  /** No value may ever be above this. */
  readonly most: number
  readonly values: number[]
}

export interface Judgement {
  readonly samples: number
  readonly highest: number
  readonly lowestOfMiddle: number
  readonly lowestOfLast: number
  /** Why it is not flat; undefined if it is. */
  readonly problem: string | undefined
}

/** With fewer, growth cannot be told from what comes and goes, and from a process that warms up. */
export const LEAST_SAMPLES = 18

/**
 * A series is flat if the lowest value of its last third is above the lowest of its middle third by no
 * more than `slack`: what is lost never comes back down, whatever swings above it does. The first
 * third is for warming up. No sample may be above `most`, however few there are.
 */
export function judge({ name, unit, slack, most, values }: Series): Judgement {
  const third = Math.ceil(values.length / 3)
  const lowestOfMiddle = Math.min(...values.slice(-2 * third, -third))
  const lowestOfLast = Math.min(...values.slice(-third))
  const highest = Math.max(...values)
  const rise = lowestOfLast - lowestOfMiddle
  let problem: string | undefined
  if (highest > most) problem = `${name} reaches ${highest.toFixed(2)} ${unit}, and may reach at most ${most}`
  else if (values.length >= LEAST_SAMPLES && rise > slack) {
    problem = `${name} goes on growing: the last ${third} of ${values.length} samples stay ${rise.toFixed(2)} ${unit} above those before, where ${slack} are allowed`
  }
  return { samples: values.length, highest, lowestOfMiddle, lowestOfLast, problem }
}
