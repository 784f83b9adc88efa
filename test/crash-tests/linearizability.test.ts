// The check of histories. If one of these failed, a database that loses, doubles or reorders something could pass for
// one that does not, or a sound one be called wrong.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { explain } from '../../crash-tests/histories/explain.js'
import { check, objectsOf, type Result } from '../../crash-tests/histories/linearizability.js'
import type { History, Operation, Step } from '../../crash-tests/histories/operations.js'
import { readHistory, Recorder, writeHistory } from '../../crash-tests/histories/recorder.js'
import { search } from '../../crash-tests/histories/search.js'
import { FAULTS, simulate, type Fault } from '../../crash-tests/histories/simulated-store.js'
import { Random } from '../../crash-tests/lib/random.js'
import { rounds } from '../support/engine.js'

type Verdict = Result['verdict']
const RIGHT: Verdict = 'linearizable'
const WRONG: Verdict = 'not linearizable'
const NEVER = Infinity

let count = 0
const op = (start: number, end: number, steps: Step | Step[], rest: Partial<Operation> = {}): Operation => ({
  client: `c${++count}`,
  id: 1,
  name: 'op',
  start,
  end,
  steps: Array.isArray(steps) ? steps : [steps],
  ...rest,
})
const put = (key: string, value: string, conditions = {}): Step => ({ do: 'put', key, value, ...conditions })
const get = (key: string, was: string | null, version?: number): Step => ({ do: 'get', key, was, version })
const has = (key: string, there: boolean): Step => ({ do: 'has', key, there })
const del = (key: string, removed?: boolean): Step => ({ do: 'del', key, removed })
const add = (key: string, delta: number | string, sum?: number | string | null): Step => ({
  do: 'add',
  key,
  delta,
  sum,
})
const lock = (key: string, owner: string, shared = false): Step => ({ do: 'lock', key, owner, shared })
const unlock = (key: string, owner: string): Step => ({ do: 'unlock', key, owner })
const TOOK = { took: true }
const FAILED = { took: false }

/** What a history is, and why that must be seen. */
const CASES: Record<string, [Verdict, Operation[], History['initial']?]> = {
  nothing: [RIGHT, []],
  'a read after a write': [RIGHT, [op(1, 2, put('a', 'x')), op(3, 4, get('a', 'x'))]],
  'a read of either value beside a write': [
    RIGHT,
    [op(1, 9, put('a', 'x')), op(2, 3, get('a', null)), op(4, 5, get('a', 'x'))],
  ],
  'two reads beside a write, of the new value and then of the old one': [
    WRONG,
    [op(1, 9, put('a', 'x')), op(2, 3, get('a', 'x')), op(4, 5, get('a', null))],
  ],
  'a stale read': [WRONG, [op(1, 2, put('a', 'x')), op(3, 4, put('a', 'y')), op(5, 6, get('a', 'x'))]],
  'operations that touch in time are concurrent': [RIGHT, [op(1, 2, put('a', 'x')), op(2, 4, get('a', null))]],
  'a value that nobody put': [WRONG, [op(1, 2, put('a', 'x')), op(3, 4, get('a', 'y'))]],
  'a write that is gone': [WRONG, [op(1, 2, put('a', 'x')), op(3, 4, get('a', null))]],
  'a lost update of a counter that is read and written': [
    WRONG,
    [
      op(1, 10, [get('n', '1'), put('n', '2')], { ...TOOK, name: 'update' }),
      op(2, 11, [get('n', '1'), put('n', '2')], { ...TOOK, name: 'update' }),
    ],
    { n: { value: '1' } },
  ],
  'a batch seen whole': [
    RIGHT,
    [
      op(1, 5, [put('a', 'x'), put('b', 'x')]),
      op(2, 6, [get('a', 'x'), get('b', 'x')]),
      op(2, 3, [get('a', null), get('b', null)]),
    ],
  ],
  'half of a batch (dirty read)': [
    WRONG,
    [op(1, 9, [put('a', 'x'), put('b', 'x')]), op(2, 3, [get('a', 'x'), get('b', null)])],
  ],
  'half of a batch, read key by key': [
    WRONG,
    [op(1, 9, [put('a', 'x'), put('b', 'x')]), op(2, 3, get('a', 'x')), op(4, 5, get('b', null))],
  ],
  'what a transaction wrote that gave up (dirty read)': [
    WRONG,
    [op(1, 9, [get('a', null), put('a', 'x')], { aborted: true }), op(2, 3, get('a', 'x'))],
  ],
  'two keys of two moments (read skew)': [
    WRONG,
    [op(1, 2, put('a', '1')), op(3, 4, put('b', '1')), op(1, 9, [get('a', null), get('b', '1')])],
  ],
  'two readers that see two writes in different orders': [
    WRONG,
    [
      op(1, 9, put('a', '1')),
      op(1, 9, put('b', '1')),
      op(2, 8, [get('a', '1'), get('b', null)]),
      op(2, 8, [get('a', null), get('b', '1')]),
    ],
  ],
  'write skew: each of two transactions reads what the other one writes': [
    WRONG,
    [
      op(1, 9, [get('a', 'on'), get('b', 'on'), put('a', 'off')], TOOK),
      op(2, 8, [get('a', 'on'), get('b', 'on'), put('b', 'off')], TOOK),
    ],
    { a: { value: 'on' }, b: { value: 'on' } },
  ],
  'the same, and one gave up': [
    RIGHT,
    [
      op(1, 9, [get('a', 'on'), get('b', 'on'), put('a', 'off')], TOOK),
      op(2, 8, [get('a', 'on'), get('b', 'on'), put('b', 'off')], { aborted: true }),
    ],
    { a: { value: 'on' }, b: { value: 'on' } },
  ],
  'a phantom: a range that lacks what was put into it, and then has it': [
    WRONG,
    [op(1, 2, put('k2', 'x')), op(3, 9, [get('k1', null), get('k2', null), put('n', '0')], TOOK)],
  ],
  'an unknown write that took effect late': [
    RIGHT,
    [op(1, NEVER, put('a', 'x')), op(2, 3, get('a', null)), op(4, 5, get('a', 'x'))],
  ],
  'an unknown write that was read and is gone': [
    WRONG,
    [op(1, NEVER, put('a', 'x')), op(2, 3, get('a', 'x')), op(4, 5, get('a', null))],
  ],
  'an unknown write that took effect twice': [
    WRONG,
    [op(1, NEVER, put('a', 'x')), op(2, 3, get('a', 'x')), op(4, 5, put('a', 'y')), op(6, 7, get('a', 'x'))],
  ],
  'an unknown write before it was called': [WRONG, [op(4, NEVER, put('a', 'x')), op(2, 3, get('a', 'x'))]],
  'an unknown addition, made once': [
    RIGHT,
    [op(1, NEVER, add('n', 5)), op(2, 3, add('n', 1, 6)), op(4, 5, add('n', 1, 7))],
  ],
  'an unknown addition, made twice': [
    WRONG,
    [op(1, NEVER, add('n', 5)), op(2, 3, add('n', 1, 6)), op(4, 5, add('n', 1, 12))],
  ],
  'a half of an unknown batch': [
    WRONG,
    [op(1, NEVER, [put('a', 'x'), put('b', 'x')]), op(2, 3, get('a', 'x')), op(4, 5, get('b', null))],
  ],
  'a delete that does not tell, beside a write': [
    RIGHT,
    [op(1, 9, put('a', 'x')), op(1, 9, del('a')), op(10, 11, get('a', null))],
  ],
  'two deletes that both removed it': [
    WRONG,
    [op(1, 5, del('a', true)), op(1, 5, del('a', true))],
    { a: { value: 'x' } },
  ],
  'two deletes, one of which removed it': [
    RIGHT,
    [op(1, 5, del('a', true)), op(1, 5, del('a', false))],
    { a: { value: 'x' } },
  ],
  'a delete that found nothing where there was something': [WRONG, [op(1, 5, del('a', false))], { a: { value: 'x' } }],
  presence: [
    RIGHT,
    [op(1, 2, put('a', 'x')), op(3, 4, has('a', true)), op(5, 6, del('a', true)), op(7, 8, has('a', false))],
  ],
  'presence of what was deleted': [WRONG, [op(5, 6, del('a', true)), op(7, 8, has('a', true))], { a: { value: 'x' } }],
  'a count': [RIGHT, [op(1, 2, put('a', 'x')), op(3, 4, { do: 'count', keys: ['a', 'b'], count: 1 })]],
  'a count of both where only one was ever there': [
    WRONG,
    [op(1, 9, put('a', 'x')), op(3, 4, { do: 'count', keys: ['a', 'b'], count: 2 })],
  ],
  'a put that says it did not happen, without a condition': [WRONG, [op(1, 2, put('a', 'x'), FAILED)]],
  'a put if absent that took effect where there was something': [
    WRONG,
    [op(1, 2, put('a', 'x')), op(3, 4, put('a', 'y', { ifAbsent: true }), TOOK)],
  ],
  'two puts if absent that both took effect': [
    WRONG,
    [op(1, 5, put('a', 'x', { ifAbsent: true }), TOOK), op(1, 5, put('a', 'y', { ifAbsent: true }), TOOK)],
  ],
  'two puts if absent, one of which took effect': [
    RIGHT,
    [op(1, 5, put('a', 'x', { ifAbsent: true }), TOOK), op(1, 5, put('a', 'y', { ifAbsent: true }), FAILED)],
  ],
  'a put if present where there was nothing': [WRONG, [op(1, 2, put('a', 'x', { ifPresent: true }), TOOK)]],
  'two puts with one version that both took effect (lost update)': [
    WRONG,
    [op(1, 5, put('a', 'x', { ifVersion: 7 }), TOOK), op(1, 5, put('a', 'y', { ifVersion: 7 }), TOOK)],
    { a: { value: 'o', version: 7 } },
  ],
  'a put with the right version that is refused': [
    WRONG,
    [op(1, 5, put('a', 'x', { ifVersion: 7 }), FAILED)],
    { a: { value: 'o', version: 7 } },
  ],
  'a put that was refused for a version which is then read': [
    WRONG,
    [op(1, 2, put('a', 'x')), op(3, 4, put('a', 'y', { ifVersion: 9 }), FAILED), op(5, 6, get('a', 'x', 9))],
  ],
  'the same where the value was put twice, so that nothing is known of its version before': [
    WRONG,
    [
      op(1, 2, put('a', 'x')),
      op(1, 2, put('a', 'x')),
      op(3, 4, put('a', 'y', { ifVersion: 9 }), FAILED),
      op(5, 6, get('a', 'x', 9)),
    ],
  ],
  'a version that a successful condition tells, and a read denies': [
    WRONG,
    [op(1, 2, put('a', 'x')), op(3, 9, put('a', 'y', { ifVersion: 9 }), TOOK), op(4, 5, get('a', 'x', 8))],
  ],
  'a batch with a condition that does not hold takes no effect': [
    RIGHT,
    [op(1, 2, [put('a', 'x', { ifPresent: true }), put('b', 'x')], FAILED), op(3, 4, get('b', null))],
  ],
  'a batch with a condition that does not hold, and takes effect in part': [
    WRONG,
    [op(1, 2, [put('a', 'x', { ifPresent: true }), put('b', 'x')], FAILED), op(3, 4, get('b', 'x'))],
  ],
  'a check that guards another key': [
    WRONG,
    [op(1, 2, [{ do: 'check', key: 'a', ifAbsent: true }, put('b', 'x')], TOOK)],
    { a: { value: 'o' } },
  ],
  'a version that goes back': [
    WRONG,
    [op(1, 2, get('a', 'o', 20)), op(3, 4, put('a', 'x')), op(5, 6, get('a', 'x', 19))],
    { a: { value: 'o', version: 20 } },
  ],
  'a version that goes back over a delete': [
    WRONG,
    [op(1, 2, del('a')), op(3, 4, put('a', 'x')), op(5, 6, get('a', 'x', 20))],
    { a: { value: 'o', version: 20 } },
  ],
  'a version that changes by itself': [
    WRONG,
    [op(1, 2, put('a', 'x')), op(3, 4, get('a', 'x', 5)), op(5, 6, get('a', 'x', 6))],
  ],
  'one value put twice has two versions': [
    RIGHT,
    [op(1, 2, put('a', 'x')), op(3, 4, get('a', 'x', 5)), op(5, 6, put('a', 'x')), op(7, 8, get('a', 'x', 6))],
  ],
  'versions tell the order of writes against their reads': [
    WRONG,
    [
      op(1, 9, put('a', 'x')),
      op(1, 9, put('a', 'y')),
      op(1, 9, get('a', 'x', 5)),
      op(1, 9, get('a', 'y', 6)),
      op(10, 11, get('a', 'x')),
    ],
  ],
  sums: [RIGHT, [op(1, 5, add('n', 1, 2)), op(1, 5, add('n', 1, 1)), op(6, 7, add('n', 2, 4))]],
  'two additions with one sum': [WRONG, [op(1, 5, add('n', 1, 1)), op(1, 5, add('n', 1, 1))]],
  'sums against time': [WRONG, [op(1, 2, add('n', 1, 2)), op(3, 4, add('n', 1, 1))]],
  bigints: [RIGHT, [op(1, 2, add('n', '1n', '1n')), op(3, 4, add('n', '9007199254740993n', '9007199254740994n'))]],
  'an addition to what is not a number': [
    RIGHT,
    [op(1, 2, put('n', 'x')), op(3, 4, add('n', 1, null)), op(5, 6, get('n', 'x'))],
  ],
  'an addition that was refused for no reason': [WRONG, [op(3, 4, add('n', 1, null))]],
  'a lock that is given to two': [
    WRONG,
    [op(1, 2, lock('l', 'p')), op(3, 4, lock('l', 'q')), op(5, 6, unlock('l', 'p'))],
  ],
  'a lock that is passed on': [RIGHT, [op(1, 2, lock('l', 'p')), op(3, 6, lock('l', 'q')), op(4, 5, unlock('l', 'p'))]],
  'a lock that is shared': [RIGHT, [op(1, 2, lock('l', 'p', true)), op(3, 4, lock('l', 'q', true))]],
  'a lock that is shared, and given to one alone': [WRONG, [op(1, 2, lock('l', 'p', true)), op(3, 4, lock('l', 'q'))]],
  'a lock of a holder that died': [
    RIGHT,
    [op(1, 2, lock('l', 'p')), op(3, NEVER, unlock('l', 'p')), op(4, 5, lock('l', 'q'))],
  ],
  'an unlock of what another one holds': [WRONG, [op(1, 2, lock('l', 'p')), op(3, 4, unlock('l', 'q'))]],
}

const verdictOf = (operations: Operation[], initial: History['initial'] = {}): Verdict =>
  check({ initial, operations }).verdict

describe('the check whether a history is linearizable', function () {
  this.timeout(120_000)

  for (const [name, [wanted, operations, initial]] of Object.entries(CASES)) {
    it(`${wanted === RIGHT ? 'allows' : 'refuses'} ${name}`, () => {
      expect(verdictOf(operations, initial)).to.equal(wanted)
    })
  }

  it('splits by keys, and joins those that one operation touches', () => {
    const operations = [
      op(1, 2, put('a', 'x')),
      op(1, 2, put('b', 'x')),
      op(1, 2, put('c', 'x')),
      op(1, 2, [put('c', 'y'), put('a', 'y')]),
    ]
    expect(objectsOf(operations).map(({ length }) => length)).to.have.members([3, 1])
  })

  it('names the order that it found, and that order holds', () => {
    const { history } = simulate({ ...SMALL, seed: 4, killed: 0.03 })
    for (const object of objectsOf(history.operations)) {
      const found = search(object, history.initial, Infinity)
      if (found.verdict !== 'linearizable') return expect.fail(found.verdict)
      const ordered = found.order.map((i) => object[i]!)
      // All that returned, once each; none before one that had returned when it was called.
      expect(new Set(ordered).size).to.equal(ordered.length)
      expect(object.filter((one) => one.end < NEVER && !ordered.includes(one))).to.deep.equal([])
      let called = -Infinity
      for (const one of ordered) {
        expect(one.end).to.be.at.least(called)
        called = Math.max(called, one.start)
      }
      // And each fits where it stands: done one after the other, they can have no other order.
      const strict = ordered.map((one, i) => ({ ...one, start: 2 * i, end: one.end === NEVER ? NEVER : 2 * i + 1 }))
      expect(verdictOf(strict, history.initial)).to.equal(RIGHT)
    }
  })

  it('says that it does not know if there is no time', () => {
    const { history } = simulate({ ...SMALL, seed: 5 })
    expect(check(history, 0).verdict).to.equal('undecided')
  })
})

const SMALL = { operations: 500, clients: 8, groups: 3, keysPerGroup: 3, counters: 2, locks: 2 }
const SEEDS = rounds(12)
const FIRST_SEED = Number(process.env['MMAPDB_TEST_SEED'] ?? Math.floor(Math.random() * 1e9))
const seeds = Array.from({ length: SEEDS }, (_, i) => FIRST_SEED + i)
const REPEAT = `MMAPDB_TEST_SEED=${FIRST_SEED}`

/** Ways to tell something else than what happened. Each returns undefined if it does not apply. */
const LIES: Record<string, (operation: Operation, other: Operation) => Operation | undefined> = {
  'another value': (operation, other) => {
    const value = other.steps.flatMap((step) => (step.do === 'put' ? [step.value] : []))[0]
    return changed(operation, (step) => (step.do === 'get' && value !== undefined ? { ...step, was: value } : step))
  },
  'nothing there': (operation) =>
    changed(operation, (step) => (step.do === 'get' && step.was !== null ? { ...step, was: null } : step)),
  'another version': (operation) =>
    changed(operation, (step) =>
      step.do === 'get' && step.version !== undefined ? { ...step, version: step.version + 1 } : step,
    ),
  'another sum': (operation) =>
    changed(operation, (step) =>
      step.do === 'add' && typeof step.sum === 'number' ? { ...step, sum: step.sum + 1 } : step,
    ),
  'removed or not': (operation) =>
    changed(operation, (step) =>
      step.do === 'del' && step.removed !== undefined ? { ...step, removed: !step.removed } : step,
    ),
  'took effect or not': (operation) =>
    operation.took === undefined ? undefined : { ...operation, took: !operation.took },
  'there or not': (operation) =>
    changed(operation, (step) => (step.do === 'has' ? { ...step, there: !step.there! } : step)),
  'much later': (operation) =>
    operation.end === NEVER ? undefined : { ...operation, start: operation.start + 5000, end: operation.end + 5000 },
}

function changed(operation: Operation, change: (step: Step) => Step): Operation | undefined {
  if (operation.end === NEVER) return undefined
  const steps = operation.steps.map(change)
  return steps.every((step, i) => step === operation.steps[i]) ? undefined : { ...operation, steps }
}

describe('histories of a simulated store', function () {
  this.timeout(300_000)

  it('are linearizable, with clients that are killed and without', () => {
    for (const seed of seeds) {
      const { history } = simulate({ ...SMALL, seed, killed: seed % 2 === 0 ? 0.02 : 0 })
      expect(check(history).verdict, REPEAT).to.equal(RIGHT)
    }
  })

  for (const [name, lie] of Object.entries(LIES)) {
    it(`are refused often if one answer is told as ${name}`, () => {
      let [told, noticed] = [0, 0]
      for (const seed of seeds) {
        const { history } = simulate({ ...SMALL, seed })
        const random = new Random(seed)
        const possible = history.operations.filter((operation) => lie(operation, random.pick(history.operations)))
        for (let i = 0; i < 5 && possible.length > 0; i++) {
          const victim = random.pick(possible)
          const lied = lie(victim, random.pick(history.operations))
          if (lied === undefined) continue
          told++
          const operations = history.operations.map((operation) => (operation === victim ? lied : operation))
          if (check({ ...history, operations }).verdict === WRONG) noticed++
        }
      }
      expect(noticed, `${noticed} of ${told} were noticed; ${REPEAT}`).to.be.above(told / 4)
    })
  }

  for (const fault of Object.keys(FAULTS) as Fault[]) {
    it(`are refused if ${fault}`, () => {
      const found = seeds.map((seed) => {
        const { history, faults } = simulate({ ...SMALL, seed, fault, faultChance: 0.5, killed: 0.05 })
        return { faults, verdict: check(history).verdict }
      })
      const shown = found.filter(({ faults }) => faults > 0)
      const noticed = shown.filter(({ verdict }) => verdict === WRONG)
      expect(shown, REPEAT).to.not.be.empty
      expect(noticed.length, `of ${shown.length}; ${REPEAT}`).to.be.above(shown.length / 4)
    })
  }

  it('are decided if they are long: 100,000 operations on 1,000 keys, 5,000 on one key', () => {
    const many = simulate({
      seed: FIRST_SEED,
      operations: 100_000,
      clients: 12,
      groups: 1000,
      keysPerGroup: 1,
      counters: 10,
      locks: 10,
      killed: 0.001,
    })
    expect(check(many.history).verdict, REPEAT).to.equal(RIGHT)
    for (const killed of [0, 0.004]) {
      const hot = simulate({
        seed: FIRST_SEED,
        operations: 15_000,
        clients: 12,
        groups: 1,
        keysPerGroup: 1,
        counters: 1,
        locks: 1,
        killed,
      })
      expect(check(hot.history).verdict, REPEAT).to.equal(RIGHT)
    }
  })
})

describe('a history that is not linearizable', function () {
  this.timeout(60_000)
  let directory: string
  beforeEach(() => (directory = mkdtempSync(join(tmpdir(), 'mmapdb-history-'))))
  afterEach(() => rmSync(directory, { recursive: true, force: true }))

  it('is made small, and what is left fails by itself', () => {
    const operations: Operation[] = []
    for (let i = 0; i < 200; i++)
      operations.push(
        op(10 * i, 10 * i + 15, put(`k${i % 5}`, `v${i}`)),
        op(10 * i, 10 * i + 12, [get('k0', null), get('k9', null)].slice(i < 1 ? 0 : 1)),
      )
    // Two keys of a batch, of which one is seen.
    operations.push(
      op(2100, 2110, [put('k1', 'new'), put('k2', 'new')]),
      op(2120, 2130, [get('k1', 'new'), get('k2', 'v197')]),
    )
    const found = check({ initial: {}, operations })
    if (found.verdict !== WRONG) return expect.fail(found.verdict)
    const { small, text } = explain(found.operations, {}, 10_000)
    expect(small.operations).to.have.lengthOf.below(5)
    expect(check(small).verdict).to.equal(WRONG)
    expect(text).to.include('k2 = new').and.include('none fits')
  })

  it('is kept small where simulated stores have faults', () => {
    for (const fault of [
      'a write is acknowledged and lost',
      'half of a batch takes effect',
      'a version goes back',
    ] as const) {
      const { history } = simulate({ ...SMALL, seed: 7, fault })
      const found = check(history)
      if (found.verdict !== WRONG) return expect.fail(`${fault}: ${found.verdict}`)
      const { small } = explain(found.operations, history.initial, 10_000)
      expect(check(small).verdict).to.equal(WRONG)
      expect(small.operations.length).to.be.below(found.operations.length / 2)
    }
  })

  it('is the same when it has been written down', () => {
    const { history } = simulate({ ...SMALL, seed: 3, killed: 0.05 })
    const file = join(directory, 'history.ndjson')
    writeHistory(file, history)
    const again = readHistory([file]).history
    expect(again.initial).to.deep.equal(history.initial)
    expect(again.operations).to.have.lengthOf(history.operations.length)
    const byName = (h: History): Map<string, Operation> => new Map(h.operations.map((o) => [`${o.client} ${o.id}`, o]))
    const [ours, theirs] = [byName(history), byName(again)]
    for (const [name, operation] of ours)
      expect(JSON.parse(JSON.stringify(theirs.get(name)))).to.deep.equal(JSON.parse(JSON.stringify(operation)))
  })
})

describe('the recorder of a client', () => {
  let directory: string
  beforeEach(() => (directory = mkdtempSync(join(tmpdir(), 'mmapdb-recorder-'))))
  afterEach(() => rmSync(directory, { recursive: true, force: true }))

  it('keeps what was called and has not returned, and loses a last line that was cut', () => {
    const file = join(directory, 'c')
    const recorder = new Recorder(file, 'c')
    recorder.initial({ a: { value: 'o', version: 3 } })
    recorder.returned(recorder.called('put', [put('a', 'x')]), { steps: [put('a', 'x')] })
    recorder.called('put', [put('a', 'y')])
    const last = recorder.called('get', [{ do: 'get', key: 'a' }])
    recorder.returned(last, { steps: [get('a', 'x', 9)] })
    recorder.close()
    const whole = readHistory([file]).history
    expect(whole.initial).to.deep.equal({ a: { value: 'o', version: 3 } })
    expect(whole.operations.map(({ end }) => end < NEVER)).to.deep.equal([true, false, true])
    writeFileSync(file, readFileSync(file).subarray(0, -3))
    const cut = readHistory([file]).history
    expect(cut.operations.map(({ end }) => end < NEVER)).to.deep.equal([true, false, false])
    expect(cut.operations[0]!.start).to.be.at.most(cut.operations[0]!.end)
  })

  it('leaves out what was refused, and transactions that had not come to their end', () => {
    const file = join(directory, 'c')
    const recorder = new Recorder(file, 'c')
    recorder.refused(recorder.called('put', [put('a', 'x')]), new Error('full'))
    recorder.called('transaction')
    recorder.unknown(recorder.called('put', [put('a', 'z')]), new Error('who knows'))
    const again = recorder.called('transaction')
    recorder.intends(again, [get('a', null), put('a', '1')])
    recorder.intends(again, [get('a', '5'), put('a', '6')])
    recorder.close()
    const { history, refused, unknown } = readHistory([file])
    expect({ refused, unknown }).to.deep.equal({ refused: { 'Error: full': 1 }, unknown: { 'Error: who knows': 1 } })
    expect(history.operations.map(({ end, steps }) => [end, steps.at(-1)])).to.deep.equal([
      [NEVER, put('a', 'z')],
      [NEVER, put('a', '6')],
    ])
  })

  it('gives back the locks of the dead, not before their death', () => {
    const file = join(directory, 'c')
    const recorder = new Recorder(file, 'c')
    const say = (step: Step): void => recorder.returned(recorder.called('lock', [step]), { steps: [step] })
    say(lock('l', 'c'))
    say(unlock('l', 'c'))
    say(lock('m', 'c'))
    recorder.called('lock', [lock('n', 'c')])
    recorder.died('c', 77)
    recorder.close()
    const given = readHistory([file]).history.operations.filter(({ name }) => name === 'died')
    expect(given.map(({ start, end, steps }) => ({ start, end, steps }))).to.deep.equal([
      { start: 77, end: NEVER, steps: [unlock('m', 'c')] },
      { start: 77, end: NEVER, steps: [unlock('n', 'c')] },
    ])
  })

  it('names file and line of what is not a history', () => {
    const file = join(directory, 'c')
    for (const [text, message] of [
      ['no JSON\n', /line 1: it is not JSON/],
      ['{"client":"c","id":1,"answers":[]}\n', /line 1: c has not called operation 1/],
      ['{"client":"c","id":1,"at":1,"call":"x"}\n{"client":"c","id":1,"at":1,"call":"x"}\n', /line 2: c has two/],
    ] as const) {
      writeFileSync(file, text)
      expect(() => readHistory([file])).to.throw(message)
    }
  })
})
