// Crash tests: databases whose writers are killed, stopped and terminated, and what must be left of
// them. Rounds try everything that can happen to a few processes; campaigns kill as many as can be.
// `npm run prove:kill -- --rounds 40 --seed 1`, `npm run prove:kill -- --kills 5000 --seed 1`
import { rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { CRASH_POINTS } from '../../src/crash-points.js'
import { Campaign } from './campaign.js'
import { planCampaign } from './campaign-plan.js'
import { LoadRound } from './load-round.js'
import { LOAD_EVERY, planRound } from './plan.js'
import { killsAtPoints, killsOf, newTally, Round, type RoundOptions, type Tally } from './round.js'
import { selfTest } from './self-test.js'

const USAGE = `Usage: npm run prove:kill -- [options]
  --rounds N        rounds to run (default 40, or none if there are to be campaigns)
  --kills N         and then campaigns, until so many processes have been killed in them
  --seed S          all plans follow from it (default: chosen and printed)
  --round R         only this round
  --campaign C      only this campaign
  --directory DIR   where the databases are made (default: the system's temporary directory)
  --stall-ms N      how long others may stand still when somebody dies in a round (default 2000)
  --verbose         one line for each round and each wave of a campaign
  --self-test       proves that the checker notices what it is there for`

const PROGRESS_EVERY_MS = 30_000

interface Part {
  readonly story: string
  run(): Promise<void>
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string' },
      kills: { type: 'string', default: '0' },
      seed: { type: 'string' },
      round: { type: 'string' },
      campaign: { type: 'string' },
      directory: { type: 'string', default: tmpdir() },
      'stall-ms': { type: 'string', default: '2000' },
      verbose: { type: 'boolean', default: false },
      'self-test': { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    console.log(USAGE)
    return 0
  }
  const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(values.seed)
  if (values['self-test']) return selfTest(join(values.directory, `mmapdb-crash-self-test-${process.pid}`), seed)
  const only = values.round !== undefined || values.campaign !== undefined
  const kills = only ? 0 : Number(values.kills)
  const rounds = only ? 0 : Number(values.rounds ?? (kills > 0 ? 0 : 40))
  const round = Number(values.round ?? 0)
  const campaign = Number(values.campaign ?? 0)
  const stallLimitMs = Number(values['stall-ms'])
  if (![seed, rounds, kills, round, campaign, stallLimitMs].every(Number.isInteger)) {
    console.error(USAGE)
    return 2
  }
  const tally = newTally()
  const startedMs = Date.now()
  const directoryOf = (part: string): string => join(values.directory, `mmapdb-crash-${process.pid}-${seed}-${part}`)
  const attempt = async (name: string, n: number, make: (options: RoundOptions) => Part): Promise<boolean> => {
    const directory = directoryOf(`${name}-${n}`)
    const part = make({ directory, stallLimitMs, tally, tell: values.verbose ? console.log : () => undefined })
    try {
      await part.run()
    } catch (error) {
      console.error(`${name} ${n}: ${part.story}`)
      console.error(
        `FAILED: ${error instanceof Error ? (error.name === 'Error' ? error.message : error.stack) : String(error)}`,
      )
      console.error(`What is left lies in ${directory}`)
      console.error(`Repeat the plan with: npm run prove:kill -- --seed ${seed} --${name} ${n} --verbose`)
      return false
    }
    rmSync(directory, { recursive: true, force: true })
    return true
  }
  const runRound = (n: number): Promise<boolean> =>
    attempt('round', n, (options) =>
      n % LOAD_EVERY === LOAD_EVERY - 1 ? new LoadRound(seed, n, options) : new Round(planRound(seed, n), options),
    )
  const runCampaign = (n: number, untilKills: number): Promise<boolean> =>
    attempt('campaign', n, (options) => new Campaign(planCampaign(seed, n), { ...options, untilKills }))

  console.log(
    `crash tests: seed ${seed}${rounds > 0 ? `, ${rounds} rounds` : ''}${kills > 0 ? `, ${kills} kills in campaigns` : ''}`,
  )
  if (values.round !== undefined && !(await runRound(round))) return 1
  if (values.campaign !== undefined && !(await runCampaign(campaign, Infinity))) return 1
  for (let n = 0; n < rounds; n++) if (!(await runRound(n))) return 1
  const before = killsOf(tally)
  const progress = setInterval(() => console.log(`  ${progressOf(tally, Date.now() - startedMs)}`), PROGRESS_EVERY_MS)
  try {
    for (let n = 0; killsOf(tally) < before + kills; n++) if (!(await runCampaign(n, before + kills))) return 1
  } finally {
    clearInterval(progress)
  }
  summarise(tally, Date.now() - startedMs)
  return 0
}

const perMinute = (tally: Tally, durationMs: number): string => ((killsOf(tally) / durationMs) * 60_000).toFixed(0)

const progressOf = (tally: Tally, durationMs: number): string =>
  `${(durationMs / 60_000).toFixed(1)} min: ${killsOf(tally)} kills (${perMinute(tally, durationMs)} a minute), ${tally.acknowledged} acknowledged operations, ` +
  `${tally.killsAtPoints.size} of ${CRASH_POINTS.length} points reached`

function summarise(tally: Tally, durationMs: number): void {
  const never = CRASH_POINTS.filter((point) => !tally.killsAtPoints.has(point))
  const done = [
    ...(tally.rounds > 0 ? [`${tally.rounds} rounds with ${tally.lives} lives`] : []),
    ...(tally.campaigns > 0 ? [`${tally.campaigns} campaigns with ${tally.waves} waves`] : []),
  ]
  console.log(`${done.join(' and ')} in ${(durationMs / 1000).toFixed(0)} s: nothing lost, nothing wrong`)
  console.log(`  rounds of mmapdb load   ${tally.loads}`)
  console.log(`  kills                   ${killsOf(tally)} (${perMinute(tally, durationMs)} a minute)`)
  console.log(`  kills at named points   ${killsAtPoints(tally)}`)
  for (const point of CRASH_POINTS) {
    const stopped = tally.stopsAtPoints.get(point)
    console.log(
      `    ${point.padEnd(21)} ${String(tally.killsAtPoints.get(point) ?? 0).padStart(5)}${stopped ? `   and stopped ${stopped} times` : ''}`,
    )
  }
  console.log(`  kills at random moments ${tally.killsAtMoments}`)
  console.log(`  recoveries killed       ${tally.killsOfRecoveries}`)
  console.log(`  processes stopped       ${tally.stops}`)
  console.log(`  threads terminated      ${tally.terminations}`)
  console.log(`  recoveries              ${tally.recoveries}`)
  console.log(`  checks of everything    ${tally.checks}`)
  console.log(`  checks of one's writes  ${tally.checksOfDead}`)
  console.log(`  acknowledged operations ${tally.acknowledged}`)
  console.log(`  others went on          ${tally.survivals} times; longest stall ${tally.longestStallMs.toFixed(0)} ms`)
  console.log(never.length === 0 ? '  every point was reached' : `  never reached: ${never.join(', ')}`)
}

process.exitCode = await main()
