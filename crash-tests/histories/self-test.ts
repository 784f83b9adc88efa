// Proves that the check can fail: stores with a fault, simulated ones and real databases, must be noticed, and sound
// ones must not be called wrong.
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { mix, Random } from '../lib/random.js'
import { STORE_FAULTS, type StoreFault } from './faulty-store.js'
import { someLayout } from './keys.js'
import { check } from './linearizability.js'
import { runRound } from './round.js'
import { FAULTS, simulate, type Fault } from './simulated-store.js'

const SIMULATED = { operations: 600, clients: 8, groups: 3, keysPerGroup: 3, counters: 2, locks: 2, killed: 0.03 }
const SEEDS = 40
const ROUNDS = 30
const ROUND_MS = 2000

export async function selfTest(
  directory: string,
  seed: number,
  print: (line: string) => void = console.log,
): Promise<number> {
  let missed = 0
  const say = (what: string, isFine: boolean, how: string): void => {
    if (!isFine) missed++
    print(`  ${isFine ? 'noticed' : 'MISSED '}  ${what}: ${how}`)
  }
  for (const fault of Object.keys(FAULTS) as Fault[]) {
    const noticed = simulated(seed, fault)
    say(`a simulated store in which ${fault}`, noticed > 0, `in ${noticed} of ${SEEDS} histories`)
  }
  const wrong = simulated(seed, undefined)
  say('that a simulated store is sound', wrong === 0, `${SEEDS - wrong} of ${SEEDS} histories are linearizable`)
  mkdirSync(directory)
  for (const fault of STORE_FAULTS) {
    const round = await noticedInRound(join(directory, fault.replaceAll(' ', '-')), seed, fault)
    say(`a database that ${fault}`, round > 0, round > 0 ? `in round ${round}` : `not in ${ROUNDS} rounds`)
  }
  rmSync(directory, { recursive: true, force: true })
  print(missed === 0 ? 'self-test: everything is noticed' : `self-test: ${missed} faults were missed`)
  return missed === 0 ? 0 : 1
}

/** How many histories are not linearizable. */
function simulated(seed: number, fault: Fault | undefined): number {
  const histories = Array.from({ length: SEEDS }, (_, i) =>
    simulate({ ...SIMULATED, seed: mix(seed, i), ...(fault === undefined ? {} : { fault }) }),
  )
  return histories.filter(({ history }) => check(history).verdict === 'not linearizable').length
}

/** The number of the round in which it was noticed; 0 if it was not. */
async function noticedInRound(directory: string, seed: number, fault: StoreFault): Promise<number> {
  mkdirSync(directory)
  for (let round = 1; round <= ROUNDS; round++) {
    const { history } = await runRound({
      path: join(directory, `db-${round}`),
      folder: join(directory, `round-${round}`),
      layout: someLayout(new Random(mix(seed, round))),
      seed: mix(seed, round),
      durationMs: ROUND_MS,
      initial: {},
      fault,
    })
    if (check(history).verdict === 'not linearizable') return round
  }
  return 0
}
