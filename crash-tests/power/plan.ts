// What happens in a round of power cuts, all of it from the seed and the round's number: a new file
// system, a new database on it, and a few lives of it, each ended by a cut. The plan can be made
// again; at which instruction of which process the power then goes off is up to the machine.
import type { CrashPoint } from '../../src/crash-points.js'
import type { OpenOptions } from '../../src/index.js'
import type { WorkloadProfile } from '../lib/writer-fleet.js'
import { atPoint, RECOVERY_POINTS, WRITING_POINTS, type Strike } from '../kill/plan.js'
import { mix, Random } from '../lib/random.js'
import type { CutEvent, CutMode } from './disk.js'

type DiskEvent = Exclude<CutEvent, 'now'>

/**
 * When the power goes off: after some time, when a process has arrived at a named point, at the n-th
 * flush or write of the disk, or at one of those that follow a point.
 */
export type Cut = { readonly mode: CutMode; readonly seed: number } & (
  | (Strike & { readonly then?: { readonly event: DiskEvent; readonly n: number } })
  | { readonly at: DiskEvent; readonly n: number }
)

export interface LifePlan {
  readonly profile: WorkloadProfile
  /** Writers in each process. */
  readonly writers: readonly number[]
  /** Before the cut all close the database and others open it: once for each of these, after that many ms. */
  readonly reopeningsAfterMs: readonly number[]
  /** The first process is killed beforehand, after that many ms, and the others go on. */
  readonly killAfterMs: number | undefined
  /**
   * From when events are counted and time runs: the processes are started; all of them write; they are told to close.
   */
  readonly from: 'start' | 'writing' | 'closing'
  readonly fromMs: number
  readonly cut: Cut
  /** Pages are written back meanwhile, at random, with pauses of up to that many ms; 0: the kernel decides. */
  readonly writeBackMs: number
  /** Recoveries on the failing disk, each of them cut as well. */
  readonly recoveries: readonly Cut[]
  /** Nothing is checked before the next life: its writers recover the database. */
  readonly unchecked: boolean
}

export interface RoundPlan {
  readonly seed: number
  readonly round: number
  readonly options: OpenOptions
  readonly lives: readonly LifePlan[]
}

/** Where what is durable first matters most: headers after their slots, frames after their segment's name. */
const ORDERED_POINTS: readonly CrashPoint[] = [
  'before-headers',
  'between-headers',
  'between-headers',
  'between-headers',
  'between-headers',
  'segment-created',
  'segment-linked',
  'segment-linked',
  'segment-linked',
  'recycling-segment',
]

function planCut(random: Random, points: readonly CrashPoint[], writes: number, flushes: number, ms: number): Cut {
  const how = { mode: 'any' as const, seed: random.between(1, 2 ** 31) }
  switch (
    random.pick([
      'moment',
      'flush-started',
      'flush-started',
      'flush-done',
      'write',
      'write',
      'point',
      'point-then',
      'point-then',
      'point-then',
    ] as const)
  ) {
    case 'moment':
      return { ...how, at: 'moment', afterMs: random.skewed(1, ms) }
    case 'flush-started':
      return { ...how, at: 'flush-started', n: random.skewed(1, flushes) }
    case 'flush-done':
      return { ...how, at: 'flush-done', n: random.skewed(1, flushes) }
    case 'write':
      return { ...how, at: 'write', n: random.skewed(1, writes) }
    case 'point':
      return { ...how, ...atPoint(random, random.pick(points)) }
    case 'point-then': {
      const event = random.pick(['flush-started', 'flush-started', 'flush-done', 'write'] as const)
      const n = event === 'write' ? random.skewed(1, 12) : random.skewed(1, 5)
      return { ...how, ...atPoint(random, random.pick([...points, ...ORDERED_POINTS])), then: { event, n } }
    }
  }
}

function planLife(random: Random, isFirst: boolean): LifePlan {
  const mode = random.chance(0.65) ? 'threads' : 'pool'
  const processes = random.pick([1, 2, 2, 3])
  const writers = Array.from({ length: processes }, () => random.between(1, processes === 1 ? 6 : 3))
  const from = random.chance(0.2) ? 'closing' : random.chance(isFirst ? 0.4 : 0.25) ? 'start' : 'writing'
  const points: readonly CrashPoint[] =
    from === 'closing' ? ['before-truncate', 'before-headers', 'between-headers', 'after-headers'] : WRITING_POINTS
  // What happens while all write, within a second or so; opening and closing are shorter.
  const [writes, flushes, ms] = from === 'writing' ? [1200, 400, 900] : [150, 40, 300]
  const broken = random.chance(0.3) ? random.between(1, 2) : 0
  return {
    profile: {
      mode,
      poolThreads: random.between(1, 3),
      depth: mode === 'pool' && random.chance(0.4) ? random.between(2, 16) : 1,
      ownKeys: random.skewed(5, 200),
      sharedKeys: random.pick([0, 3, 12]),
      largeShare: random.pick([0, 0.003, 0.01, 0.04]),
    },
    writers,
    reopeningsAfterMs: random.chance(0.25) ? [random.skewed(30, 300)] : [],
    killAfterMs: processes > 1 && random.chance(0.15) ? random.skewed(20, 300) : undefined,
    from,
    fromMs: from === 'start' ? 0 : random.skewed(1, 400),
    cut: planCut(random, points, writes, flushes, ms),
    writeBackMs: random.pick([0, 3, 10, 40]),
    recoveries: Array.from({ length: broken }, () => planCut(random, RECOVERY_POINTS, 60, 10, 150)),
    unchecked: random.chance(0.15),
  }
}

export function planRound(seed: number, round: number): RoundPlan {
  const random = new Random(mix(seed, round, 0x9077))
  const segmentBytes = random.pick([4096, 16_384, 65_536, 65_536, 262_144, 1024 * 1024])
  const options: OpenOptions = {
    windowBytes: random.pick([64 * 1024, 1024 * 1024, 1024 * 1024 * 1024]),
    reserveBytes: 4 * 1024 * 1024 * 1024,
    segmentBytes,
    // Often one or two segments, so that most of the log is in recycled ones; often far more.
    checkpointBytes: random.chance(0.5)
      ? Math.max(65_536, random.between(1, 2) * segmentBytes)
      : random.pick([65_536, 262_144, 1024 * 1024, 16 * 1024 * 1024]),
    timeoutMs: 20_000,
  }
  return {
    seed,
    round,
    options,
    lives: Array.from({ length: random.between(3, 7) }, (_, i) => planLife(random, i === 0)),
  }
}

export const describeCut = (cut: Cut): string =>
  cut.at === 'moment'
    ? `after ${cut.afterMs} ms`
    : cut.at === 'point'
      ? `at ${cut.point}:${cut.n}${cut.then === undefined ? '' : ` and then ${cut.then.event} ${cut.then.n}`}`
      : `at ${cut.at} ${cut.n}`
