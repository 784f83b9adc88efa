// The check of histories against one that has nothing clever: it tries every order of a few operations, with every
// version that could matter. If this failed, what makes the check fast would also make it wrong.
import { expect } from 'chai'
import { check } from '../../crash-tests/histories/linearizability.js'
import { type Conditions, type Operation, type Step } from '../../crash-tests/histories/operations.js'
import { Random } from '../../crash-tests/lib/random.js'
import { rounds } from '../support/engine.js'

type Value = string | number | null
interface Cell {
  readonly value: Value
  /** Of the last write that left something; 0 before it. */
  readonly version: number
}
type State = Readonly<Record<string, Cell>>

const VERSIONS = [10, 20, 30]
const KEYS = ['a', 'b']
const EMPTY: Cell = { value: null, version: 0 }
/** Above what was there, and a version that nobody asks for; the least of them leaves most room. */
const NOT_ASKED_FOR = 1e-6

const versionsAfter = (version: number): number[] => [
  version + NOT_ASKED_FOR,
  ...VERSIONS.filter((other) => other > version),
]

const holds = ({ value, version }: Cell, { ifVersion, ifAbsent, ifPresent }: Conditions): boolean =>
  (ifAbsent !== true || value === null) &&
  (ifPresent !== true || value !== null) &&
  (ifVersion === undefined || (value !== null && version === ifVersion))

const isThis = <T>(answer: T | undefined, truth: T): boolean => answer === undefined || answer === truth

/** All states that the step can lead to. */
function after(state: State, step: Step, takes: boolean): State[] {
  if (step.do === 'count') {
    const there = step.keys.filter((key) => (state[key] ?? EMPTY).value !== null).length
    return isThis(step.count, there) ? [state] : []
  }
  const cell = state[step.key] ?? EMPTY
  const put = (value: Value): State[] =>
    versionsAfter(cell.version).map((version) => ({ ...state, [step.key]: { value, version } }))
  switch (step.do) {
    case 'get':
      return isThis(step.was, cell.value) && (cell.value === null || isThis(step.version, cell.version)) ? [state] : []
    case 'has':
      return isThis(step.there, cell.value !== null) ? [state] : []
    case 'put':
      return takes ? put(step.value) : [state]
    case 'del': {
      const removes = takes && cell.value !== null
      if (!isThis(step.removed, removes)) return []
      return removes ? [{ ...state, [step.key]: { ...cell, value: null } }] : [state]
    }
    case 'add': {
      if (!takes) return [state]
      const before = cell.value ?? 0
      if (typeof before !== 'number') return step.sum === null ? [state] : []
      const sum = before + (step.delta as number)
      return isThis(step.sum, sum) ? put(sum) : []
    }
    default:
      return [state]
  }
}

function outcomes(state: State, { steps, took, aborted }: Operation): State[] {
  const isMet = steps.every(
    (step) => step.do === 'count' || holds(state[step.key] ?? EMPTY, step as unknown as Conditions),
  )
  if (aborted !== true && !isThis(took, isMet)) return []
  let states = [state]
  for (const step of steps) states = states.flatMap((now) => after(now, step, isMet && aborted !== true))
  return states
}

function hasOrder(left: readonly Operation[], state: State): boolean {
  if (left.every(({ end }) => end === Infinity)) return true
  const firstReturn = Math.min(...left.map(({ end }) => end))
  return left.some(
    (next) =>
      next.start <= firstReturn &&
      outcomes(state, next).some((now) =>
        hasOrder(
          left.filter((other) => other !== next),
          now,
        ),
      ),
  )
}

// ---- histories of any kind: most of what is answered is a guess --------------------------------

function someStep(random: Random, isAlone: boolean): Step {
  const key = random.pick(KEYS)
  const value = random.pick(['x', 'y'])
  const guess = <T>(...from: T[]): T | undefined => (random.chance(0.8) ? random.pick(from) : undefined)
  const conditions: Conditions = random.chance(0.35)
    ? random.pick<Conditions>([{ ifAbsent: true }, { ifPresent: true }, { ifVersion: 10 }, { ifVersion: 20 }])
    : {}
  switch (random.between(0, isAlone ? 8 : 6)) {
    case 0:
    case 1:
      return { do: 'put', key, value, ...conditions }
    case 2:
      return { do: 'del', key, removed: guess(true, false), ...conditions }
    case 3:
    case 4: {
      const was = guess<Value>('x', 'y', 'x', 'y', null, 1)
      // A version is read together with its value.
      return { do: 'get', key, was, version: was === undefined || was === null ? undefined : guess(...VERSIONS) }
    }
    case 5:
      return { do: 'count', keys: KEYS, count: guess(0, 1, 2) }
    case 6:
      return { do: 'check', key, ...conditions }
    case 7:
      return { do: 'has', key, there: guess(true, false) }
    default:
      return { do: 'add', key, delta: 1, sum: guess<number | null>(1, 2, null) }
  }
}

function someOperation(random: Random, id: number): Operation {
  const steps = Array.from({ length: random.pick([1, 1, 1, 2]) }, (_, i) => i)
  const start = random.between(0, 12)
  const operation: Operation = {
    client: 'c',
    id,
    name: 'op',
    start,
    end: random.chance(0.2) ? Infinity : start + random.between(0, 8),
    steps: steps.map(() => someStep(random, steps.length === 1)),
  }
  if (operation.end < Infinity && random.chance(0.05)) return { ...operation, aborted: true }
  const isConditional = operation.steps.some((step) => 'ifVersion' in step || 'ifAbsent' in step || 'ifPresent' in step)
  return isConditional && random.chance(0.8) ? { ...operation, took: random.chance(0.5) } : operation
}

const RUNS = rounds(20_000)

describe('the check of histories and every order of them', function () {
  this.timeout(200_000)

  it('agree on whether there is one', () => {
    const seed = Number(process.env['MMAPDB_TEST_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
    const random = new Random(seed)
    const found = { linearizable: 0, not: 0 }
    for (let run = 0; run < RUNS; run++) {
      const operations = Array.from({ length: random.between(2, 6) }, (_, i) => someOperation(random, i))
      const initial = random.chance(0.5) ? { a: { value: 'x', version: 10 } } : {}
      const wanted = hasOrder(operations, initial)
      found[wanted ? 'linearizable' : 'not']++
      const { verdict } = check({ initial, operations })
      expect(verdict, `MMAPDB_TEST_SEED=${seed}, run ${run}: ${JSON.stringify({ initial, operations })}`).to.equal(
        wanted ? 'linearizable' : 'not linearizable',
      )
    }
    // Both must come often, or nothing is shown.
    expect(found.linearizable).to.be.above(RUNS / 20)
    expect(found.not).to.be.above(RUNS / 20)
  })
})
