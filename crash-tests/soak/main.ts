// The soak: threads and processes that come and go for as long as one likes, everything compared with
// a model, and nothing that may grow. `npm run prove:soak -- --minutes 60 --seed 1`
import { rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { selfTest } from './self-test.js'
import { Soak } from './soak.js'

const USAGE = `Usage: npm run prove:soak -- [options]
  --minutes M       how long; a fraction will do (default 0.75)
  --seed S          what is done follows from it, but for the order in which threads get their turns
                    (default: chosen and printed)
  --directory DIR   where the database is made (default: the system's temporary directory)
  --spell-ms N      how long everybody works from one check to the next, at the most (default: a
                    hundredth of the whole, from 2000 to 20000)
  --rest-ms N       how long an actor rests after every eight operations, on average (default 5)
  --self-test       proves that leaks and wrong contents are noticed: a minute`

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '0.75' },
      seed: { type: 'string' },
      directory: { type: 'string', default: tmpdir() },
      'spell-ms': { type: 'string' },
      'rest-ms': { type: 'string', default: '5' },
      'self-test': { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    console.log(USAGE)
    return 0
  }
  const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(values.seed)
  const durationMs = Number(values.minutes) * 60_000
  const spellMs = Number(values['spell-ms'] ?? Math.round(Math.min(20_000, Math.max(2000, durationMs / 100))))
  const restMs = Number(values['rest-ms'])
  if (![seed, spellMs].every(Number.isInteger) || !(durationMs > 0) || !(restMs >= 0)) {
    console.error(USAGE)
    return 2
  }
  const directory = join(values.directory, `mmapdb-soak-${process.pid}`)
  if (values['self-test']) return selfTest(directory, seed)
  console.log(`soak: seed ${seed}, ${values.minutes} minutes, spells of up to ${spellMs} ms`)
  const { problems } = await new Soak({ directory, durationMs, seed, spellMs, restMs, print: console.log }).run()
  if (problems.length > 0) {
    for (const problem of problems) console.error(`FAILED: ${problem}`)
    console.error(`What is left lies in ${directory}; repeat with --seed ${seed}`)
    return 1
  }
  rmSync(directory, { recursive: true, force: true })
  console.log('soak: nothing lost, nothing wrong, nothing grows')
  return 0
}

process.exitCode = await main()
