// Crash tests: databases whose writers are killed, stopped and terminated, and what must be left of
// them. `npm run test:crash -- --rounds 40 --seed 1`
import { rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { CRASH_POINTS } from '../src/crash-points.js'
import { LoadRound } from './load-round.js'
import { LOAD_EVERY, planRound } from './plan.js'
import { newTally, Round, type Tally } from './round.js'
import { selfTest } from './self-test.js'

const USAGE = `Usage: npm run test:crash -- [options]
  --rounds N        rounds to run (default 40)
  --seed S          all plans follow from it (default: chosen and printed)
  --round R         only this round
  --directory DIR   where the databases are made (default: the system's temporary directory)
  --stall-ms N      how long others may stand still when somebody dies (default 2000)
  --verbose         one line for each round
  --self-test       proves that the checker notices what it is there for`

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '40' },
      seed: { type: 'string' },
      round: { type: 'string' },
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
  const first = values.round === undefined ? 0 : Number(values.round)
  const rounds = values.round === undefined ? Number(values.rounds) : 1
  if (![seed, first, rounds].every(Number.isInteger)) {
    console.error(USAGE)
    return 2
  }
  console.log(`crash tests: seed ${seed}, ${rounds} rounds`)
  const tally = newTally()
  const startedMs = Date.now()
  for (let n = first; n < first + rounds; n++) {
    const directory = join(values.directory, `mmapdb-crash-${process.pid}-${seed}-${n}`)
    const options = { directory, stallLimitMs: Number(values['stall-ms']), tally }
    const round = n % LOAD_EVERY === LOAD_EVERY - 1 ? new LoadRound(seed, n, options) : new Round(planRound(seed, n), options)
    try {
      await round.run()
    } catch (error) {
      console.error(`round ${n}: ${round.story}`)
      console.error(`FAILED: ${error instanceof Error ? (error.name === 'Error' ? error.message : error.stack) : String(error)}`)
      console.error(`What is left lies in ${directory}`)
      console.error(`Repeat the plan with: npm run test:crash -- --seed ${seed} --round ${n} --verbose`)
      return 1
    }
    if (values.verbose) console.log(`round ${n}: ${round.story}`)
    rmSync(directory, { recursive: true, force: true })
  }
  summarise(tally, Date.now() - startedMs)
  return 0
}

function summarise(tally: Tally, durationMs: number): void {
  const kills = [...tally.killsAtPoints.values()].reduce((a, b) => a + b, 0)
  const never = CRASH_POINTS.filter((point) => !tally.killsAtPoints.has(point))
  console.log(`${tally.rounds} rounds with ${tally.lives} lives in ${(durationMs / 1000).toFixed(0)} s: nothing lost, nothing wrong`)
  console.log(`  rounds of mmapdb load   ${tally.loads}`)
  console.log(`  kills at named points   ${kills}`)
  for (const point of CRASH_POINTS) {
    const stopped = tally.stopsAtPoints.get(point)
    console.log(`    ${point.padEnd(21)} ${String(tally.killsAtPoints.get(point) ?? 0).padStart(5)}${stopped ? `   and stopped ${stopped} times` : ''}`)
  }
  console.log(`  kills at random moments ${tally.killsAtMoments}`)
  console.log(`  recoveries killed       ${tally.killsOfRecoveries}`)
  console.log(`  processes stopped       ${tally.stops}`)
  console.log(`  threads terminated      ${tally.terminations}`)
  console.log(`  recoveries              ${tally.recoveries}`)
  console.log(`  checks                  ${tally.checks}`)
  console.log(`  acknowledged operations ${tally.acknowledged}`)
  console.log(`  others went on          ${tally.survivals} times; longest stall ${tally.longestStallMs.toFixed(0)} ms`)
  console.log(never.length === 0 ? '  every point was reached' : `  never reached: ${never.join(', ')}`)
}

process.exitCode = await main()
