// What happens in a round, all of it from the seed and the round's number. A round is a few lives of
// one database; a life ends in the death of all or some of its processes.
import { CRASH_POINTS, type CrashPoint } from '../../src/crash-points.js'
import type { OpenOptions } from '../../src/index.js'
import type { WorkloadProfile } from '../lib/writer-fleet.js'
import { mix, Random } from '../lib/random.js'

/** When a process is hit: at the n-th arrival at a named point, or at a moment. */
export type Strike =
  | { readonly at: 'point'; readonly point: CrashPoint; readonly n: number }
  | { readonly at: 'moment'; readonly afterMs: number }

export interface LifePlan {
  readonly profile: WorkloadProfile
  /** Writers in each process; the first process is the victim. */
  readonly writers: readonly number[]
  readonly strike: Strike
  /**
   * kill: SIGKILL to the victim. stop: SIGSTOP and, after `stoppedMs`, SIGCONT. terminate: a thread
   * of it after another is terminated. none: all write until told to stop.
   */
  readonly how: 'kill' | 'stop' | 'terminate' | 'none'
  readonly stoppedMs: number
  /** How long the others go on afterwards, without an error and without a long wait; 0: they die with it. */
  readonly goOnMs: number
  /** A process that opens the database while the others go on. */
  readonly newcomer: boolean
  /** What ends the processes that are left. */
  readonly end: 'kill' | 'stop'
  /** Recoveries that are killed themselves, before the one that must succeed. */
  readonly brokenRecoveries: readonly Strike[]
  /** What recovers in the end: `mmapdb recover`, a process, the checker, or the writers of the next life unchecked. */
  readonly recoverer: 'cli' | 'process' | 'checker' | 'writers'
}

export interface RoundPlan {
  readonly seed: number
  readonly round: number
  readonly options: OpenOptions
  readonly lives: readonly LifePlan[]
}

/** Points that a writing process passes; the others belong to recovery and to closing. */
export const WRITING_POINTS = CRASH_POINTS.filter((p) => p !== 'mid-recovery' && p !== 'before-truncate')
/** Points that a recovering process passes. */
export const RECOVERY_POINTS: readonly CrashPoint[] = [
  'mid-recovery',
  'mid-recovery',
  'mid-recovery',
  'mid-apply',
  'checkpoint-begun',
  'mid-checkpoint',
  'before-headers',
  'between-headers',
  'after-headers',
  'recycling-segment',
  'segment-created',
  'segment-linked',
  'growing-data',
  'before-truncate',
]

/** How often a point is passed in a life of a second or so. */
export function arrivals(point: CrashPoint): number {
  switch (point) {
    case 'before-append':
    case 'after-append':
    case 'mid-apply':
      return 100
    case 'after-flush':
    case 'before-publish':
    case 'after-publish':
      return 40
    case 'segment-created':
    case 'segment-linked':
    case 'recycling-segment':
      return 6
    case 'growing-data':
    case 'mid-recovery':
    case 'before-truncate':
      return 1
    default:
      return 3
  }
}

export const atPoint = (random: Random, point: CrashPoint): Strike => ({
  at: 'point',
  point,
  n: random.skewed(1, arrivals(point)),
})

function planLife(random: Random, pointsDue: CrashPoint): LifePlan {
  const mode = random.chance(0.7) ? 'threads' : 'pool'
  const processes = random.chance(0.65) ? 3 : 1
  const writers =
    processes === 3
      ? [random.between(1, 3), random.between(1, 3), random.between(1, 3)]
      : [mode === 'threads' ? 8 : random.between(2, 8)]
  let how: LifePlan['how'] = random.pick(['kill', 'kill', 'kill', 'kill', 'kill', 'stop', 'terminate', 'none'])
  if (how === 'terminate' && (mode !== 'threads' || writers[0]! < 2)) how = 'kill'
  if (how === 'stop' && processes === 1) how = 'kill'
  const point = random.chance(0.6) ? pointsDue : random.pick(WRITING_POINTS)
  const strike: Strike =
    how === 'kill' || how === 'stop'
      ? random.chance(0.75)
        ? atPoint(random, point)
        : { at: 'moment', afterMs: random.skewed(60, 900) }
      : { at: 'moment', afterMs: random.between(200, 600) }
  const alone = processes === 1 && how !== 'terminate'
  const broken = random.chance(0.4) ? random.between(1, 3) : 0
  return {
    profile: {
      mode,
      poolThreads: random.between(1, 4),
      depth: mode === 'pool' && random.chance(0.4) ? random.between(2, 20) : 1,
      ownKeys: random.skewed(5, 250),
      sharedKeys: random.pick([0, 3, 12]),
      largeShare: random.pick([0, 0.003, 0.01, 0.04]),
    },
    writers,
    strike,
    how,
    stoppedMs: random.skewed(20, 500),
    goOnMs: alone || (how === 'kill' && random.chance(0.3)) ? 0 : random.between(200, 700),
    newcomer: !alone && random.chance(0.3),
    end: strike.at === 'point' && strike.point === 'before-truncate' ? 'stop' : random.pick(['kill', 'kill', 'stop']),
    brokenRecoveries: Array.from({ length: broken }, () =>
      random.chance(0.75)
        ? atPoint(random, random.pick(RECOVERY_POINTS))
        : { at: 'moment', afterMs: random.between(20, 250) },
    ),
    recoverer: random.pick(['cli', 'process', 'checker', 'writers']),
  }
}

/** The same life with one death that is likely to happen. */
function dyingAt(life: LifePlan, point: CrashPoint, random: Random): LifePlan {
  if (point === 'mid-recovery')
    return { ...life, end: 'kill', brokenRecoveries: [atPoint(random, point), ...life.brokenRecoveries] }
  return {
    ...life,
    how: 'kill',
    strike: { at: 'point', point, n: Math.min(arrivals(point), random.between(1, 3)) },
    // Grown once it holds more than a megabyte.
    ...(point === 'growing-data' ? { profile: { ...life.profile, largeShare: 0.3, ownKeys: 100 } } : {}),
    end: point === 'before-truncate' ? 'stop' : life.end,
  }
}

/** One of that many rounds is of the command line. */
export const LOAD_EVERY = 6

export function planRound(seed: number, round: number): RoundPlan {
  const random = new Random(mix(seed, round))
  const windowBytes = random.pick([64 * 1024, 1024 * 1024, 1024 * 1024 * 1024])
  const options: OpenOptions = {
    windowBytes,
    reserveBytes: 4 * 1024 * 1024 * 1024,
    segmentBytes: random.pick([4096, 16_384, 65_536, 262_144, 4 * 1024 * 1024]),
    checkpointBytes: random.pick([65_536, 65_536, 262_144, 1024 * 1024, 16 * 1024 * 1024]),
    timeoutMs: 20_000,
  }
  // In turn, so that a short run meets every point, too.
  const due = CRASH_POINTS[round % CRASH_POINTS.length]!
  const small: OpenOptions =
    arrivals(due) < 40 ? { ...options, segmentBytes: 16_384, checkpointBytes: 65_536 } : options
  const lives = Array.from({ length: random.between(1, 3) }, (_, i) => {
    const life = planLife(random, CRASH_POINTS[(round + i * 5) % CRASH_POINTS.length]!)
    return i === 0 ? dyingAt(life, due, random) : life
  })
  return { seed, round, options: small, lives }
}
