// Simulated lives of a database, each decided by one seed:
//   node dist/sim/main.js --seeds N [--from S] [--lives L]    many seeds
//   node dist/sim/main.js --seed S                            one, with its trace if it fails
import { Command } from 'commander'
import { Failure, Simulation, type LifeReport } from './life.js'

const program = new Command()
  .option('--seeds <n>', 'how many seeds to run', '200')
  .option('--from <s>', 'the first of them', '1')
  .option('--seed <s>', 'run this one and show its trace if it fails')
  .option('--lives <n>', 'lives of the database in each', '6')
  .parse()
const options = program.opts<{ seeds: string; from: string; seed?: string; lives: string }>()

const first = Number(options.seed ?? options.from)
const count = options.seed === undefined ? Number(options.seeds) : 1
const total: LifeReport = {
  lives: 0, steps: 0, operations: 0, acknowledged: 0, cuts: 0, kills: 0, recoveries: 0, interruptedRecoveries: 0,
}
const started = performance.now()
for (let seed = first; seed < first + count; seed++) {
  const simulation = new Simulation(seed)
  try {
    const report = simulation.run(Number(options.lives))
    for (const key of Object.keys(total) as (keyof LifeReport)[]) total[key] += report[key]
  } catch (error) {
    if (options.seed !== undefined) console.error(simulation.trace.slice(-200).join('\n'))
    console.error(error instanceof Failure ? `FAILED: ${error.message}` : error)
    console.error(`Repeat with: npm run test:sim -- --seed ${seed} --lives ${options.lives}`)
    process.exit(1)
  }
}
const seconds = (performance.now() - started) / 1000
console.log(
  `${count} seeds, ${total.lives} lives in ${seconds.toFixed(1)} s (${Math.round((total.lives / seconds) * 60)} a minute): ` +
    `${total.operations} operations, ${total.acknowledged} acknowledged, ${total.cuts} power cuts, ${total.kills} kills, ` +
    `${total.recoveries} recoveries, ${total.interruptedRecoveries} of them interrupted, ${total.steps} steps`,
)
