// Simulated lives of a database, each decided by one seed: many seeds, or one, whose shortest failing trace is shown.
import { announce, prove, type Outcome } from '../lib/harness.js'
import { Failure, newReport, type LifeReport } from './report.js'
import { shrink } from './shrink.js'
import { Simulation } from './simulation.js'

const DEFAULT_SEEDS = 200

const outcomeOf = (seeds: number, total: LifeReport): Outcome => ({
  problems: [],
  result: 'no life failed',
  counts: {
    seeds,
    lives: total.lives,
    operations: total.operations,
    'acknowledged writes': total.acknowledged,
    'power cuts': total.cuts,
    'processes killed': total.kills,
    'calls that failed': total.faults,
    'changes followed': total.followed,
    'changes that were gone': total.gone,
    'writes to stores that were gone': total.dropped,
    recoveries: total.recoveries,
    'recoveries interrupted': total.interruptedRecoveries,
    steps: total.steps,
  },
  fileSystem: 'simulated',
})

function live(simulation: Simulation, lives: number): { report: LifeReport; failure: unknown } {
  try {
    simulation.run(lives)
    return { report: simulation.report, failure: undefined }
  } catch (failure) {
    return { report: simulation.report, failure }
  }
}

const messageOf = (failure: unknown): string =>
  failure instanceof Failure ? failure.message : failure instanceof Error ? failure.stack! : String(failure)

/** The same failure with as few events as can be found in time. */
function explained(seed: number, lives: number, failure: unknown, shrinkSeconds: number, outcome: Outcome): Outcome {
  console.log(`A life of seed ${seed} fails. Looking for a shorter trace of it, for at most ${shrinkSeconds} s.`)
  const whole = new Simulation(seed)
  live(whole, lives)
  const fails = (kept: readonly string[]): boolean =>
    live(new Simulation(seed, new Set(kept)), lives).failure !== undefined
  const kept = shrink(whole.events, fails, shrinkSeconds * 1000)
  const small = new Simulation(seed, new Set(kept))
  const smallFailure = live(small, lives).failure
  return {
    ...outcome,
    problems: [messageOf(failure)],
    story: [
      `The shortest trace found has ${kept.length} of ${whole.events.length} events:`,
      ...kept.map((event) => `  ${event}`),
      '',
      ...small.trace,
      `It ends with: ${messageOf(smallFailure)}`,
    ].join('\n'),
    result: `a life of seed ${seed} failed`,
    repeatWith: `--seed ${seed} --lives ${lives}`,
  }
}

await prove({
  name: 'sim',
  proves:
    'that recovery, commits, checkpoints and the reuse of slots are right, whatever the order in which processes take ' +
    'turns, calls fail, processes die and the power is cut on a disk that forgets what was not flushed.',
  takes: 'a second for 15 to 50 lives; nothing but Node.js. Nothing is written to any disk.',
  seed: { help: 'the first seed; without --seeds and --minutes the only one', default: 1 },
  minutes: { help: 'no further seed after that time' },
  options: {
    seeds: { kind: 'count', value: 'N', help: `how many seeds to run (default: ${DEFAULT_SEEDS})` },
    lives: { kind: 'count', value: 'N', help: 'lives of the database in each', default: '6' },
    'shrink-seconds': {
      kind: 'number',
      value: 'N',
      help: 'how long to look for a shorter trace of a failure; 0 shows all that happened',
      default: '60',
    },
  },
  run: async (run) => {
    const lives = run.number('lives')
    const seeds =
      run.numberIfGiven('seeds') ?? (run.minutes !== undefined ? Infinity : run.isGiven('seed') ? 1 : DEFAULT_SEEDS)
    announce(
      'sim',
      run,
      `${seeds === Infinity ? 'as many seeds as there is time for' : `${seeds} seeds`}, ${lives} lives each`,
    )
    const total = newReport()
    let done = 0
    do {
      const seed = run.seed + done++
      const { report, failure } = live(new Simulation(seed), lives)
      for (const key of Object.keys(total) as (keyof LifeReport)[]) total[key] += report[key]
      if (failure !== undefined)
        return explained(seed, lives, failure, run.number('shrink-seconds'), outcomeOf(done, total))
      // What readers that were killed had held, and a whole world with it, is let go of when they have been collected
      // and the event loop turns.
      await new Promise((resolve) => setImmediate(resolve))
    } while (done < seeds && !run.isTimeUp)
    return outcomeOf(done, total)
  },
})
