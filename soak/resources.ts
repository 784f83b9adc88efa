// What a process and a database take, sampled at moments of rest, and whether it has stopped growing.
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

export interface Sample {
  readonly heapMiB: number
  /** Memory outside the heap that JavaScript objects keep, but for the map, which V8 counts, too. */
  readonly externalMiB: number
  readonly rssMiB: number
  readonly threads: number
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

/** After garbage has been collected and finalizers have run. */
export async function sampleSelf(): Promise<Sample> {
  for (let round = 0; round < 3; round++) {
    gc()
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  const { heapUsed, arrayBuffers, rss } = process.memoryUsage()
  const files = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`)
    } catch {
      // The one that the directory was read through.
      return ''
    }
  })
  // A dependency reads the program file on loading and closes it asynchronously (detect-libc, by way of
  // msgpackr): a thread that is terminated in that moment leaves it open. That is no growth of ours.
  const own = files.filter((file) => file !== process.execPath)
  const maps = readFileSync('/proc/self/maps', 'utf8').trimEnd().split('\n')
  return {
    heapMiB: heapUsed / MiB,
    externalMiB: arrayBuffers / MiB,
    rssMiB: rss / MiB,
    threads: readdirSync('/proc/self/task').length,
    descriptors: own.length,
    mappings: maps.length,
    databaseDescriptors: files.filter((file) => DATABASE_FILE.test(file)).length,
    databaseMappings: maps.filter((line) => DATABASE_FILE.test(line)).length,
  }
}

/** Bytes of a database's files, as far as they can be had: some come and go. */
export function fileBytes(path: string): { data: number; wal: number; control: number; segments: number; spares: number } {
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

/** Locks that anybody holds on a file, as the kernel lists them. */
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
  /** By how much the second half may rise from its beginning to its end, noise aside. */
  readonly slack: number
  /** No value may ever be above this. */
  readonly most: number
  readonly values: number[]
}

export interface Judgement {
  readonly samples: number
  readonly highest: number
  readonly middleOfFirstHalf: number
  readonly middleOfSecondHalf: number
  /** What the trend of the second half adds up to. */
  readonly rise: number
  readonly noise: number
  /** Why it is not flat; undefined if it is. */
  readonly problem: string | undefined
}

const LEAST_SAMPLES = 6

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length === 0 ? NaN : sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/**
 * A series is flat if the trend of its second half (the median of the slopes between all pairs of its
 * values, after Theil and Sen, which a few outliers do not move) adds up to no more than `slack` and
 * three times the median distance of the values from that trend; and if none is above `most`.
 */
export function judge({ name, unit, slack, most, values }: Series): Judgement {
  const half = values.length >> 1
  const second = values.slice(half)
  const slopes: number[] = []
  for (let i = 0; i < second.length; i++) for (let j = i + 1; j < second.length; j++) slopes.push((second[j]! - second[i]!) / (j - i))
  const slope = second.length < 2 ? 0 : median(slopes)
  const level = median(second.map((value, i) => value - slope * i))
  const noise = second.length < 2 ? 0 : 3 * median(second.map((value, i) => Math.abs(value - slope * i - level)))
  const rise = slope * Math.max(0, second.length - 1)
  const highest = values.reduce((a, b) => Math.max(a, b), -Infinity)
  let problem: string | undefined
  if (highest > most) problem = `${name} reaches ${highest.toFixed(2)} ${unit}, and may reach ${most} at the most`
  else if (values.length >= LEAST_SAMPLES && rise > slack + noise) {
    problem = `${name} goes on growing: by ${rise.toFixed(2)} ${unit} over the last ${second.length} samples, where ${slack} and noise of ${noise.toFixed(2)} are allowed`
  }
  return { samples: values.length, highest, middleOfFirstHalf: median(values.slice(0, half)), middleOfSecondHalf: median(second), rise, noise, problem }
}
