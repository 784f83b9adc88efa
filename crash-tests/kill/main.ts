// Databases whose writers are killed, stopped and terminated, and what must be left of them. Rounds try everything
// that can happen to a few processes; campaigns kill as many as can be.
import { rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CRASH_POINTS } from '../../src/crash-points.js'
import { fileSystemOf, type Counts } from '../lib/evidence.js'
import { announce, prove, selfTestOutcome, type Outcome } from '../lib/harness.js'
import { Campaign } from './campaign.js'
import { planCampaign } from './campaign-plan.js'
import { LoadRound } from './load-round.js'
import { LOAD_EVERY, planRound } from './plan.js'
import { killsAtPoints, killsOf, newTally, Round, type RoundOptions, type Tally } from './round.js'
import { selfTest } from './self-test.js'

const DEFAULT_ROUNDS = 40
const PROGRESS_EVERY_MS = 30_000

/** A round or a campaign. */
interface Part {
  readonly story: string
  run(): Promise<void>
}

type Failure = Pick<Outcome, 'problems' | 'story' | 'leftIn' | 'repeatWith'>

interface Settings {
  readonly seed: number
  readonly directory: string
  readonly stallLimitMs: number
  readonly verbose: boolean
  readonly isTimeUp: () => boolean
}

/** Runs parts and adds up what happens in them, until one fails. */
class KillTests {
  readonly tally = newTally()
  failure: Failure | undefined
  readonly #settings: Settings

  constructor(settings: Settings) {
    this.#settings = settings
  }

  async #attempt(name: 'round' | 'campaign', n: number, make: (options: RoundOptions) => Part): Promise<void> {
    const { seed, directory: parent, stallLimitMs, verbose } = this.#settings
    const directory = join(parent, `mmapdb-crash-${process.pid}-${seed}-${name}-${n}`)
    const part = make({ directory, stallLimitMs, tally: this.tally, tell: verbose ? console.log : () => undefined })
    try {
      await part.run()
      rmSync(directory, { recursive: true, force: true })
    } catch (error) {
      const { name: kind, message, stack } = error as Error
      this.failure = {
        problems: [kind === 'Error' ? message : (stack ?? message)],
        story: `${name} ${n}: ${part.story}`,
        leftIn: directory,
        repeatWith: `--seed ${seed} --${name} ${n} --verbose`,
      }
    }
  }

  round(n: number): Promise<void> {
    const { seed } = this.#settings
    return this.#attempt('round', n, (options) =>
      n % LOAD_EVERY === LOAD_EVERY - 1 ? new LoadRound(seed, n, options) : new Round(planRound(seed, n), options),
    )
  }

  campaign(n: number, isEnough: () => boolean): Promise<void> {
    return this.#attempt(
      'campaign',
      n,
      (options) => new Campaign(planCampaign(this.#settings.seed, n), { ...options, isEnough }),
    )
  }

  get isOver(): boolean {
    return this.failure !== undefined || this.#settings.isTimeUp()
  }

  /** That many rounds, and then campaigns until that many more processes have been killed; or until the time is up. */
  async run(rounds: number, kills: number): Promise<void> {
    for (let n = 0; n < rounds && !this.isOver; n++) await this.round(n)
    const before = killsOf(this.tally)
    const isEnough = (): boolean => killsOf(this.tally) >= before + kills || this.#settings.isTimeUp()
    for (let n = 0; !isEnough() && !this.isOver; n++) await this.campaign(n, isEnough)
  }

  /** Rounds and campaigns in turn until the time is up. */
  async runInTurn(): Promise<void> {
    for (let n = 0; !this.isOver; n++) {
      if (n % (LOAD_EVERY + 1) < LOAD_EVERY) await this.round(n - Math.floor(n / (LOAD_EVERY + 1)))
      else await this.campaign(Math.floor(n / (LOAD_EVERY + 1)), this.#settings.isTimeUp)
    }
  }
}

const progressOf = (tally: Tally): string =>
  `${killsOf(tally)} kills, ${tally.acknowledged} acknowledged operations, ` +
  `${tally.killsAtPoints.size} of ${CRASH_POINTS.length} points reached`

const countsOf = (tally: Tally): Counts => ({
  rounds: tally.rounds,
  'lives in rounds': tally.lives,
  'rounds of mmapdb load': tally.loads,
  campaigns: tally.campaigns,
  'waves of campaigns': tally.waves,
  kills: killsOf(tally),
  'kills at named points': killsAtPoints(tally),
  'kills by point': Object.fromEntries(CRASH_POINTS.map((point) => [point, tally.killsAtPoints.get(point) ?? 0])),
  'kills at random moments': tally.killsAtMoments,
  'kills of recoveries': tally.killsOfRecoveries,
  'processes stopped': tally.stops,
  'stops by point': Object.fromEntries(tally.stopsAtPoints),
  'threads terminated': tally.terminations,
  recoveries: tally.recoveries,
  'checks of everything': tally.checks,
  'checks of the dead': tally.checksOfDead,
  'acknowledged operations': tally.acknowledged,
  'times that others went on': tally.survivals,
  'longest stall, ms': Math.round(tally.longestStallMs),
})

await prove({
  name: 'kill',
  proves:
    'that an acknowledged write survives the death of any thread and process, that a batch is there whole or not at all, ' +
    'that nothing else appears, and that the others go on within a bounded time.',
  takes: `a few minutes for ${DEFAULT_ROUNDS} rounds, about a minute for 100 kills on two cores; nothing but Node.js.`,
  seed: { help: 'all plans follow from it; at which instruction a process dies does not' },
  minutes: {
    help: 'no further round or wave of a campaign after that time; without --rounds and --kills both are run in turn',
  },
  options: {
    rounds: {
      kind: 'whole',
      value: 'N',
      help: `rounds to run (default: ${DEFAULT_ROUNDS}; none with --kills or --minutes)`,
    },
    kills: {
      kind: 'whole',
      value: 'N',
      help: 'and then campaigns, until that many processes have been killed in them',
    },
    round: { kind: 'whole', value: 'R', help: 'only this round' },
    campaign: { kind: 'whole', value: 'C', help: 'only this campaign' },
    directory: {
      kind: 'path',
      value: 'DIR',
      help: "where the databases are made (default: the system's temporary directory)",
    },
    'stall-ms': {
      kind: 'number',
      value: 'N',
      help: 'how long others may stand still when a process dies in a round',
      default: '2000',
    },
    verbose: { kind: 'flag', help: 'print a line for each round and each wave of a campaign' },
    'self-test': { kind: 'flag', help: 'prove that the checker notices what it is there for' },
  },
  run: async (run) => {
    const directory = run.textIfGiven('directory') ?? tmpdir()
    const fileSystem = fileSystemOf(directory)
    if (run.flag('self-test')) {
      announce('kill', run, 'self-test')
      return selfTestOutcome(
        await selfTest(join(directory, `mmapdb-crash-self-test-${process.pid}`), run.seed),
        'the checker notices every fault',
        fileSystem,
      )
    }
    const [round, campaign] = [run.numberIfGiven('round'), run.numberIfGiven('campaign')]
    const kills = run.numberIfGiven('kills')
    const isCounted = run.isGiven('rounds') || kills !== undefined || run.minutes === undefined
    const rounds = run.numberIfGiven('rounds') ?? (kills === undefined ? DEFAULT_ROUNDS : 0)
    const tests = new KillTests({
      seed: run.seed,
      directory,
      stallLimitMs: run.number('stall-ms'),
      verbose: run.flag('verbose'),
      isTimeUp: () => run.isTimeUp,
    })
    const progress = setInterval(() => console.log(`  ${progressOf(tests.tally)}`), PROGRESS_EVERY_MS)
    try {
      if (round !== undefined || campaign !== undefined) {
        announce('kill', run, round === undefined ? `campaign ${campaign}` : `round ${round}`)
        if (round !== undefined) await tests.round(round)
        if (campaign !== undefined && tests.failure === undefined) await tests.campaign(campaign, () => run.isTimeUp)
      } else if (isCounted) {
        announce('kill', run, `${rounds} rounds, ${kills ?? 0} kills in campaigns`)
        await tests.run(rounds, kills ?? 0)
      } else {
        announce('kill', run, 'rounds and campaigns in turn')
        await tests.runInTurn()
      }
    } finally {
      clearInterval(progress)
    }
    return {
      problems: [],
      ...tests.failure,
      result: tests.failure === undefined ? 'nothing was lost, nothing was wrong' : 'a check failed',
      counts: countsOf(tests.tally),
      fileSystem,
    }
  },
})
