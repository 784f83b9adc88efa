// What happens in a campaign, all of it from the seed and the campaign's number: waves of processes on
// one database, a few at a time, each of which is killed and relieved by the next while the others go
// on, until all are dead.
import type { CrashPoint } from '../../src/crash-points.js'
import type { OpenOptions } from '../../src/index.js'
import type { WorkloadProfile } from '../lib/writer-fleet.js'
import { arrivals, atPoint, RECOVERY_POINTS, WRITING_POINTS, type Strike } from './plan.js'
import { mix, Random } from '../lib/random.js'

export interface VictimPlan {
  readonly profile: WorkloadProfile
  readonly writers: number
  readonly strike: Strike
  /** From when time runs for a strike at a moment. */
  readonly from: 'start' | 'writing'
}

export interface WavePlan {
  readonly victims: readonly VictimPlan[]
  readonly atOnce: number
  /** The last of them die at once, not one after another. */
  readonly together: boolean
  /** Recoveries that are killed themselves, before the one that must succeed. */
  readonly brokenRecoveries: readonly Strike[]
}

export interface CampaignPlan {
  readonly seed: number
  readonly campaign: number
  readonly options: OpenOptions
  readonly waves: readonly WavePlan[]
}

const WAVES = 5
const VICTIMS = 20

function planVictim(random: Random, due: CrashPoint): VictimPlan {
  const mode = random.chance(0.35) ? 'threads' : 'pool'
  // Mostly in one thread: such a process is the soonest to write.
  const poolThreads = random.pick([0, 0, 0, 1, 2])
  const isPoint = random.chance(0.55)
  const grows = isPoint && due === 'growing-data'
  return {
    profile: {
      mode,
      poolThreads,
      depth: mode === 'pool' && random.chance(0.4) ? random.between(2, 12) : 1,
      ownKeys: grows ? 100 : random.skewed(5, 120),
      sharedKeys: random.pick([0, 3, 12]),
      largeShare: grows ? 0.3 : random.pick([0, 0, 0.003, 0.02]),
    },
    writers: random.pick([1, 1, 1, 2]),
    strike: isPoint ? soon(atPoint(random, due)) : { at: 'moment', afterMs: random.skewed(5, 600) },
    from: !isPoint && random.chance(0.1) ? 'start' : 'writing',
  }
}

/** Rare points at one of the first arrivals: the sooner it dies, the more can. */
const soon = (strike: Strike): Strike =>
  strike.at === 'point' && arrivals(strike.point) < 40 ? { ...strike, n: Math.min(strike.n, 2) } : strike

export function planCampaign(seed: number, campaign: number): CampaignPlan {
  const random = new Random(mix(seed, campaign, 0xca))
  const options: OpenOptions = {
    windowBytes: random.pick([64 * 1024, 1024 * 1024, 1024 * 1024 * 1024]),
    reserveBytes: 4 * 1024 * 1024 * 1024,
    segmentBytes: random.pick([4096, 16_384, 16_384, 65_536]),
    checkpointBytes: random.pick([65_536, 65_536, 262_144]),
    timeoutMs: 20_000,
  }
  // In turn, so that a short campaign meets every point, too.
  let turn = campaign * WAVES * VICTIMS
  const waves = Array.from({ length: WAVES }, (_, wave) => ({
    victims: Array.from({ length: VICTIMS }, () => planVictim(random, WRITING_POINTS[turn++ % WRITING_POINTS.length]!)),
    atOnce: random.between(2, 4),
    together: random.chance(0.5),
    brokenRecoveries: Array.from({ length: 2 }, (_, i): Strike => {
      if (i === 0 && wave % 2 === 0) return atPoint(random, wave % 4 === 0 ? 'mid-recovery' : 'before-truncate')
      return random.chance(0.75)
        ? atPoint(random, random.pick(RECOVERY_POINTS))
        : { at: 'moment', afterMs: random.between(50, 300) }
    }),
  }))
  return { seed, campaign, options, waves }
}
