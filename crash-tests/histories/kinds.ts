// What clients do to a database: a table of kinds of operations. To add one, say which steps it takes (`plan`), and
// call the database and give the steps back with what was answered (`run`). The checker knows these steps: see
// operations.ts, which has conditions, additions, transactions and locks as well. A transaction, whose steps depend on
// what it reads, has no plan, and says what it is about to commit with `client.intends`.
import type { BatchOperation, Conditions as PublicConditions, Database } from '../../src/index.js'
import type { Random } from '../lib/random.js'
import { counterKeys, keysOfGroup, longValue, prefixOf, readOf, type Layout } from './keys.js'
import type { Conditions, Step } from './operations.js'
import type { Answers } from './recorder.js'

/** The part of a database that clients use. */
export type Store = Pick<
  Database<string>,
  | 'get'
  | 'getEntry'
  | 'has'
  | 'getMany'
  | 'range'
  | 'count'
  | 'snapshot'
  | 'put'
  | 'del'
  | 'batch'
  | 'putSync'
  | 'delSync'
  | 'batchSync'
  | 'add'
  | 'addSync'
  | 'update'
  | 'transaction'
>

export interface Client {
  readonly db: Store
  readonly random: Random
  readonly layout: Layout
  /** It works without promises, on its own thread. */
  readonly isSync: boolean
  /** A name for a value that nobody else puts. */
  readonly newName: () => string
  /** The version of each key that was read last, for conditions. */
  readonly versions: Map<string, number>
  /** The operation under way is about to commit this. */
  readonly intends: (steps: readonly Step[]) => void
}

export interface Kind {
  readonly name: string
  /** How often it is chosen, beside the others. */
  readonly weight: number
  readonly plan?: (client: Client) => Step[]
  readonly run: (client: Client, steps: readonly Step[]) => Answers | Promise<Answers>
}

type Put = Step & { do: 'put' }
type Del = Step & { do: 'del' }
type Check = Step & { do: 'check' }

const LONG_SHARE = 0.03

/** Small groups as often as large ones. */
export const someGroup = ({ random, layout }: Client): number => random.between(0, layout.groups.length - 1)
export const someKeys = (client: Client): string[] => keysOfGroup(client.layout, someGroup(client))
const someKey = (client: Client): string => client.random.pick(someKeys(client))

export function somePut(client: Client, key: string): Put {
  const { random, newName } = client
  const length = random.chance(LONG_SHARE) ? random.between(2000, 30_000) : random.between(0, 60)
  return { do: 'put', key, value: `${newName()} ${length}` }
}

/** The value that a step stands for, at its length. */
export function valueOf({ value }: Put): string {
  const [name, length] = String(value).split(' ')
  return longValue(name!, Number(length))
}

/** A condition that may hold: a version that was read some time ago, mostly. */
function someCondition({ random, versions }: Client, key: string): Conditions {
  const roll = random.next()
  if (roll < 0.2) return { ifAbsent: true }
  if (roll < 0.4) return { ifPresent: true }
  return { ifVersion: versions.get(key) ?? 0 }
}

const conditionsOf = ({ ifVersion, ifAbsent, ifPresent }: Conditions): PublicConditions =>
  ({ ifVersion, ifAbsent, ifPresent }) as PublicConditions

function inBatch(step: Step): BatchOperation<string> {
  if (step.do === 'put') return { type: 'put', key: step.key, value: valueOf(step), ...conditionsOf(step) }
  const { key } = step as Del | Check
  return { type: step.do === 'check' ? 'check' : 'del', key, ...conditionsOf(step as Del | Check) }
}

/** Calls one of two, and does the same with what either gives. */
function called<T>(client: Client, now: () => T, later: () => Promise<T>, then: (answer: T) => Answers) {
  return client.isSync ? then(now()) : later().then(then)
}

export function seen(client: Client, steps: readonly Step[]): Answers {
  for (const step of steps)
    if (step.do === 'get' && step.version !== undefined) client.versions.set(step.key, step.version)
  return { steps }
}

const firstKey = (steps: readonly Step[]): string => (steps[0] as { key: string }).key
const keysIn = (steps: readonly Step[]): string[] => steps.map((step) => (step as { key: string }).key)
const reads = (keys: readonly string[]): Step[] => keys.map((key) => ({ do: 'get', key }))

export const KINDS: readonly Kind[] = [
  {
    name: 'put',
    weight: 8,
    plan: (client) => [somePut(client, someKey(client))],
    run: (client, steps) => {
      const put = steps[0] as Put
      const { db } = client
      return called(
        client,
        () => db.putSync(put.key, valueOf(put), conditionsOf(put)),
        () => db.put(put.key, valueOf(put), conditionsOf(put)),
        (took) => ({ steps, took }),
      )
    },
  },
  {
    name: 'put if',
    weight: 6,
    plan: (client) => {
      const key = someKey(client)
      return [{ ...somePut(client, key), ...someCondition(client, key) }]
    },
    run: (client, steps) => KIND.put.run(client, steps),
  },
  {
    name: 'del',
    weight: 3,
    plan: (client) => [{ do: 'del', key: someKey(client) }],
    run: (client, steps) => {
      const del = steps[0] as Del
      const { db } = client
      return called(
        client,
        () => db.delSync(del.key, conditionsOf(del)),
        () => db.del(del.key, conditionsOf(del)),
        (removed) => ({ steps: [{ ...del, removed }] }),
      )
    },
  },
  {
    name: 'del if',
    weight: 2,
    plan: (client) => {
      const key = someKey(client)
      return [{ do: 'del', key, ...someCondition(client, key) }]
    },
    run: (client, steps) => KIND.del.run(client, steps),
  },
  {
    name: 'add',
    weight: 6,
    plan: ({ random }) => [{ do: 'add', key: random.pick(counterKeys()), delta: random.between(-2, 5) }],
    run: (client, steps) => {
      const add = steps[0] as Step & { do: 'add' }
      const { db } = client
      return called(
        client,
        () => db.addSync(add.key, add.delta as number),
        () => db.add(add.key, add.delta as number),
        (sum) => ({ steps: [{ ...add, sum }] }),
      )
    },
  },
  {
    name: 'read a counter',
    weight: 1,
    plan: ({ random }) => reads([random.pick(counterKeys())]),
    run: (client, steps) => KIND.getEntry.run(client, steps),
  },
  {
    name: 'batch',
    weight: 5,
    plan: (client) =>
      someKeys(client).map((key) => (client.random.chance(0.2) ? { do: 'del', key } : somePut(client, key))),
    run: (client, steps) => {
      const { db } = client
      return called(
        client,
        () => db.batchSync(steps.map(inBatch)),
        () => db.batch(steps.map(inBatch)),
        (took) => ({ steps, took }),
      )
    },
  },
  {
    name: 'batch if',
    weight: 4,
    plan: (client) =>
      someKeys(client).map((key) => {
        const roll = client.random.next()
        const condition = client.random.chance(0.4) ? someCondition(client, key) : {}
        if (roll < 0.25) return { do: 'check', key, ...someCondition(client, key) }
        return roll < 0.4 ? { do: 'del', key, ...condition } : { ...somePut(client, key), ...condition }
      }),
    run: (client, steps) => KIND.batch.run(client, steps),
  },
  {
    name: 'get',
    weight: 4,
    plan: (client) => reads([someKey(client)]),
    run: ({ db }, steps) => {
      const value = db.get(firstKey(steps))
      return { steps: [readOf(firstKey(steps), value === undefined ? undefined : { value })] }
    },
  },
  {
    name: 'getEntry',
    weight: 4,
    plan: (client) => reads([someKey(client)]),
    run: (client, steps) => seen(client, [readOf(firstKey(steps), client.db.getEntry(firstKey(steps)))]),
  },
  {
    name: 'has',
    weight: 2,
    plan: (client) => [{ do: 'has', key: someKey(client) }],
    run: ({ db }, steps) => ({ steps: [{ do: 'has', key: firstKey(steps), there: db.has(firstKey(steps)) }] }),
  },
  {
    name: 'getMany',
    weight: 2,
    plan: (client) => reads(someKeys(client)),
    run: async ({ db }, steps) => {
      const values = await db.getMany(keysIn(steps))
      return {
        steps: keysIn(steps).map((key, i) => readOf(key, values[i] === undefined ? undefined : { value: values[i] })),
      }
    },
  },
  {
    name: 'snapshot',
    weight: 3,
    plan: (client) => reads(someKeys(client)),
    run: (client, steps) => {
      const snapshot = client.db.snapshot()
      const found = keysIn(steps).map((key) => readOf(key, snapshot.getEntry(key)))
      snapshot.close()
      return seen(client, found)
    },
  },
  {
    name: 'range',
    weight: 2,
    // By what the keys have in common; what is in no group would be a value that nobody put.
    plan: (client) => reads(someKeys(client)),
    run: ({ db, random }, steps) => {
      const prefix = prefixOf(firstKey(steps))
      const found = new Map(db.range({ prefix, reverse: random.chance(0.3) }))
      const all = new Set([...keysIn(steps), ...[...found.keys()].map(String)])
      return { steps: [...all].map((key) => readOf(key, found.has(key) ? { value: found.get(key) } : undefined)) }
    },
  },
  {
    name: 'count',
    weight: 2,
    plan: (client) => {
      const group = someGroup(client)
      return [{ do: 'count', keys: keysOfGroup(client.layout, group) }]
    },
    run: ({ db }, steps) => {
      const { keys } = steps[0] as Step & { do: 'count' }
      return { steps: [{ do: 'count', keys, count: db.count({ prefix: prefixOf(keys[0]!) }) }] }
    },
  },
]

/** Those that others are variants of. */
const named = (name: string): Kind => KINDS.find((kind) => kind.name === name)!
const KIND = { put: named('put'), del: named('del'), batch: named('batch'), getEntry: named('getEntry') }
