// Simulated lives of a database, each decided by one seed:
//   node dist/crash-tests/sim/main.js --seeds N [--from S] [--lives L]    many seeds
//   node dist/crash-tests/sim/main.js --seed S [--lives L]                one; if it fails, the shortest trace found
import { Command } from 'commander'
import { Failure, newReport, type LifeReport } from './report.js'
import { Simulation } from './simulation.js'
import { shrink } from './shrink.js'

const program = new Command()
  .option('--seeds <n>', 'how many seeds to run', '200')
  .option('--from <s>', 'the first of them', '1')
  .option('--seed <s>', 'run this one; if it fails, show the shortest trace of it that can be found')
  .option('--lives <n>', 'lives of the database in each', '6')
  .option('--shrink-seconds <n>', 'how long to look for a shorter trace; 0 shows all that happened', '60')
  .parse()
const options = program.opts<{ seeds: string; from: string; seed?: string; lives: string; shrinkSeconds: string }>()

const lives = Number(options.lives)
const first = Number(options.seed ?? options.from)
const count = options.seed === undefined ? Number(options.seeds) : 1
const total = newReport()
const started = performance.now()
for (let seed = first; seed < first + count; seed++) {
  const { report, failure } = live(new Simulation(seed))
  if (failure !== undefined) {
    explain(seed, failure)
    process.exit(1)
  }
  for (const key of Object.keys(total) as (keyof LifeReport)[]) total[key] += report[key]
  // What readers that were killed had held, and a whole world with it, is let go of when they have been collected and
  // the event loop turns.
  await new Promise((resolve) => setImmediate(resolve))
}
const seconds = (performance.now() - started) / 1000
console.log(
  `${count} seeds from ${first}, ${total.lives} lives in ${seconds.toFixed(1)} s (${Math.round((total.lives / seconds) * 60)} a minute): ` +
    `${total.operations} operations, ${total.acknowledged} acknowledged, ${total.cuts} power cuts, ${total.kills} kills, ` +
    `${total.faults} faults, ${total.recoveries} recoveries, ${total.interruptedRecoveries} of them interrupted, ${total.steps} steps`,
)

function live(simulation: Simulation): { report: LifeReport; failure: unknown } {
  try {
    simulation.run(lives)
    return { report: simulation.report, failure: undefined }
  } catch (failure) {
    return { report: simulation.report, failure }
  }
}

function explain(seed: number, failure: unknown): void {
  console.error(failure instanceof Failure ? `FAILED: ${failure.message}` : failure)
  const whole = new Simulation(seed)
  live(whole)
  const fails = (kept: readonly string[]): boolean => live(new Simulation(seed, new Set(kept))).failure !== undefined
  const kept = shrink(whole.events, fails, Number(options.shrinkSeconds) * 1000)
  const small = new Simulation(seed, new Set(kept))
  const smallFailure = live(small).failure
  console.error(
    `\nThe shortest trace found has ${kept.length} of ${whole.events.length} events:\n  ${kept.join('\n  ')}\n`,
  )
  console.error(small.trace.join('\n'))
  console.error(smallFailure instanceof Failure ? `FAILED: ${smallFailure.message}` : smallFailure)
  console.error(`\nRepeat with: npm run prove:sim -- --seed ${seed} --lives ${lives}`)
}
