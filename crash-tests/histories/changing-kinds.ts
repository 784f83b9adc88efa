// Kinds of operations that change what they have read: updates, and transactions over keys, ranges and counters. What
// they read and write is recorded in its order, as steps of one moment; reads of their own writes are among them.
import type { Transaction } from '../../src/index.js'
import { counterKeys, keysOfGroup, prefixOf, readOf } from './keys.js'
import { seen, someGroup, someKeys, somePut, valueOf, type Client, type Kind } from './kinds.js'
import type { Step } from './operations.js'

/** Reads the number of a counter; the clients of a history put nothing else there. */
const numberOf = (value: unknown): number => (value as number | undefined) ?? 0

const pause = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Of an entry that the transaction has written itself the version is not known. */
function entryIn(tx: Transaction<string, string>, key: string): Step {
  const entry = tx.getEntry(key)
  return readOf(key, entry && { value: entry.value, ...(entry.version > 0 && { version: entry.version }) })
}

/** Does one thing in a transaction, of any kind, and says what came of it. */
function someStep(client: Client, tx: Transaction<string, string>, keys: readonly string[]): Step[] {
  const { random } = client
  const key = random.pick(keys)
  const prefix = prefixOf(key)
  const roll = random.next()
  if (roll < 0.3) return [entryIn(tx, key)]
  if (roll < 0.4) return [{ do: 'has', key, there: tx.has(key) }]
  if (roll < 0.45) return [{ do: 'count', keys, count: tx.count({ prefix }) }]
  if (roll < 0.6) {
    const found = new Map(tx.range({ prefix, reverse: random.chance(0.3) }))
    const all = new Set([...keys, ...found.keys()])
    return [...all].map((each) => readOf(each, found.has(each) ? { value: found.get(each) } : undefined))
  }
  if (roll < 0.65) {
    // Left early: of the keys up to the first that is there, all but that are not.
    for (const [first, value] of tx.range({ prefix }))
      return keys.filter((each) => each <= first).map((each) => readOf(each, each === first ? { value } : undefined))
    return keys.map((each) => readOf(each, undefined))
  }
  if (roll < 0.9) {
    const put = somePut(client, key)
    tx.put(key, valueOf(put))
    return [put]
  }
  tx.del(key)
  return [{ do: 'del', key }]
}

export const CHANGING_KINDS: readonly Kind[] = [
  {
    name: 'transaction',
    weight: 8,
    run: async (client) => {
      const { db, random, layout } = client
      const keys = keysOfGroup(layout, someGroup(client))
      const count = random.between(2, 6)
      const steps = await db.transaction(
        async (tx) => {
          const done: Step[] = []
          for (let i = 0; i < count; i++) {
            if (random.chance(0.2)) await pause()
            done.push(...someStep(client, tx as Transaction<string, string>, keys))
          }
          client.intends(done)
          return done
        },
        { retries: 30 },
      )
      return seen(client, steps)
    },
  },
  {
    name: 'update',
    weight: 5,
    run: async (client) => {
      const key = client.random.pick(someKeys(client))
      let steps: Step[] = []
      await client.db.update(key, async (_value, entry) => {
        if (client.random.chance(0.2)) await pause()
        const put = somePut(client, key)
        const removes = client.random.chance(0.15)
        steps = [readOf(key, entry), ...(removes ? [{ do: 'del' as const, key }] : [put])]
        client.intends(steps)
        return removes ? undefined : valueOf(put)
      })
      return seen(client, steps)
    },
  },
  {
    name: 'count in a transaction',
    weight: 3,
    run: async (client) => {
      const key = client.random.pick(counterKeys())
      const steps = await client.db.transaction((tx) => {
        const n = tx.get(key)
        const sum = numberOf(n) + client.random.between(1, 3)
        tx.put(key, sum as never)
        const done: Step[] = [readOf(key, n === undefined ? undefined : { value: n }), { do: 'put', key, value: sum }]
        client.intends(done)
        return done
      })
      return { steps }
    },
  },
  {
    name: 'count in an update',
    weight: 3,
    run: async (client) => {
      const key = client.random.pick(counterKeys())
      let steps: Step[] = []
      await client.db.update(key, (n) => {
        const sum = numberOf(n) + client.random.between(1, 3)
        steps = [readOf(key, n === undefined ? undefined : { value: n }), { do: 'put', key, value: sum }]
        client.intends(steps)
        return sum as never
      })
      return { steps }
    },
  },
]
