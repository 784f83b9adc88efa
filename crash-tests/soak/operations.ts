// The operations of a soak, one entry in a table each. What is new in the public API becomes an entry
// here; what an operation reads it compares with the model of its lane (lane.ts), and with what must
// hold of keys that all share.
import type { Random } from '../lib/random.js'
import { identify, sharedKey, valueLength, valueOf, type Operation } from '../lib/workload.js'
import { open, type BatchOperation, type Database, type Snapshot } from '../../src/index.js'
import { counterKey, LANES, numberOf, word, type Actor, type Entry, type Watcher } from './actor.js'
import { CHANGING } from './changing.js'
import { LANE_KEYS, WrongContents, type Change, type Held } from './lane.js'

const ACCOUNTS = 6
const BALANCE = 1000
const TOTAL = LANES * ACCOUNTS * BALANCE
const SHARED_KEYS = 12
/** Values of shared keys say so where those of a lane's own keys name the key. */
const SHARED_STEP = 1_000_000

export const accountKey = (lane: number, n: number): string[] => ['account', String(lane), String(n)]
/** Written in one batch with the counter: never differs from it. */
const twinKey = (lane: number): string => `twin/${lane}`

/** What the database holds before the first actor writes: accounts whose sum never changes. */
export const firstOperations = (): BatchOperation<Buffer>[] =>
  Array.from({ length: LANES * ACCOUNTS }, (_, i) => ({
    type: 'put',
    key: accountKey(Math.floor(i / ACCOUNTS), i % ACCOUNTS),
    value: word(BALANCE),
  }))

const perform = (db: Database<Buffer>, sync: boolean) => (operations: Operation[]) => {
  const [first] = operations
  if (operations.length > 1) return sync ? db.batchSync(operations) : db.batch(operations)
  if (first!.type === 'put') return sync ? db.putSync(first!.key, first!.value) : db.put(first!.key, first!.value)
  return sync ? db.delSync(first!.key) : db.del(first!.key)
}

const one = (actor: Actor, change: (index: number) => Change, sync: boolean): Promise<void> => {
  const index = actor.index()
  return actor.write(index === undefined ? [] : [change(index)], !sync, perform(actor.db, sync))
}

/** All keys of the lane, if no write of it is in flight. */
async function everything(actor: Actor, lengthBytes: () => number | undefined): Promise<void> {
  const { lane, db } = actor
  if (lane.inFlight > 0) return
  await actor.write(
    Array.from({ length: LANE_KEYS }, (_, index) => ({ index, lengthBytes: lengthBytes() })),
    true,
    (operations) => db.batch(operations),
  )
}

/** Compares what a reader finds under the lane's keys between two of them with what must be there. */
function compareRange(
  actor: Actor,
  source: Database<Buffer> | Snapshot<Buffer>,
  may: (readonly Held[])[],
  what: 'entries' | 'keys' | 'values' | 'count',
): void {
  const { lane, random } = actor
  const sorted = Array.from({ length: LANE_KEYS }, (_, index) => ({ index, key: lane.key(index) })).sort((a, b) =>
    a.key < b.key ? -1 : 1,
  )
  const whole = random.chance(0.3)
  const from = whole ? 0 : random.between(0, LANE_KEYS - 1)
  const to = whole ? LANE_KEYS : random.between(from, LANE_KEYS)
  const reverse = random.chance(0.5)
  const limit = random.chance(0.3) ? random.between(0, 40) : undefined
  const range = {
    ...(whole
      ? { prefix: lane.prefix }
      : { gte: sorted[from]!.key, ...(to < LANE_KEYS ? { lt: sorted[to]!.key } : { prefix: lane.prefix }) }),
    reverse,
    ...(limit === undefined ? {} : { limit }),
  }
  const within = sorted.slice(from, to)
  if (reverse) within.reverse()
  const by = `a ${reverse ? 'reverse ' : ''}scan of ${what}`
  const isThere = ({ index }: { index: number }, need: 'every' | 'some'): boolean =>
    may[index]![need]((held) => held.number !== 0)

  if (what === 'count') {
    const count = source.count(range)
    const least = Math.min(within.filter((k) => isThere(k, 'every')).length, limit ?? Infinity)
    const most = Math.min(within.filter((k) => isThere(k, 'some')).length, limit ?? Infinity)
    if (count < least || count > most) throw new WrongContents(`${by} finds ${count} where ${least} to ${most} must be`)
    return
  }
  if (what === 'values') {
    // Without their keys: each must be what the next of them that is there may hold.
    let at = 0
    for (const value of source.values(range)) {
      while (
        at < within.length &&
        !may[within[at]!.index]!.some((held) => lane.isHeld(within[at]!.index, held, value))
      ) {
        if (isThere(within[at]!, 'every')) lane.expect(within[at]!.index, value, may[within[at]!.index]!, by)
        at++
      }
      if (at++ >= within.length) throw new WrongContents(`${by} finds a value that must not be there`)
    }
    return
  }
  let at = 0
  let count = 0
  const next = (key: unknown, value?: Buffer): void => {
    for (; at < within.length && within[at]!.key !== key; at++) {
      if (isThere(within[at]!, 'every')) throw new WrongContents(`${by} passes over ${within[at]!.key}`)
    }
    if (at >= within.length) throw new WrongContents(`${by} finds ${String(key)}, which is not of the range`)
    if (!isThere(within[at]!, 'some')) throw new WrongContents(`${by} finds ${String(key)}, which must be absent`)
    if (value !== undefined) lane.expect(within[at]!.index, value, may[within[at]!.index]!, by)
    at++
    count++
  }
  if (what === 'keys') for (const key of source.keys(range)) next(key)
  else for (const [key, value] of source.range(range)) next(key, value)
  if (limit !== undefined && count >= limit) return
  const missed = within.slice(at).find((k) => isThere(k, 'every'))
  if (missed !== undefined) throw new WrongContents(`${by} ends before ${missed.key}`)
}

/** The sum of all accounts as one moment has it. */
function sumOf(source: Snapshot<Buffer> | Database<Buffer>): number {
  let sum = 0
  for (const value of source.values({ prefix: ['account'] })) sum += numberOf(value)!
  return sum
}
function checkSum(source: Snapshot<Buffer> | Database<Buffer>, by: string): number {
  const sum = sumOf(source)
  if (sum !== TOTAL) throw new WrongContents(`${by} finds accounts that sum to ${sum} and not to ${TOTAL}`)
  return sum
}

/** What must hold of the keys that all share, at any moment and for any reader. */
export function checkShared(source: Snapshot<Buffer>, watcher: Watcher, by: string): void {
  checkSum(source, by)
  for (let lane = 0; lane < LANES; lane++) {
    const count = numberOf(source.get(counterKey(lane))) ?? 0
    const twin = numberOf(source.get(twinKey(lane))) ?? 0
    if (count !== twin) throw new WrongContents(`${by} finds counter ${lane} at ${count} and its twin at ${twin}`)
    const before = watcher.counters.get(lane) ?? 0
    if (count < before) throw new WrongContents(`${by} finds counter ${lane} at ${count} after ${before}`)
    watcher.counters.set(lane, count)
  }
}

export function checkLastWriter(db: Database<Buffer>, watcher: Watcher, n: number, by: string): void {
  const entry = db.getEntry(sharedKey(n))
  if (entry === undefined) return
  const step = identify(entry.value)?.step
  if (step !== SHARED_STEP + n) throw new WrongContents(`${by} finds under ${sharedKey(n)} what no actor put there`)
  const before = watcher.versions.get(n) ?? 0
  if (entry.version < before)
    throw new WrongContents(`${by} finds ${sharedKey(n)} at version ${entry.version} after ${before}`)
  watcher.versions.set(n, entry.version)
}

const later = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

const OPERATIONS: readonly Entry[] = [
  // ---- writing
  {
    name: 'put',
    weight: 30,
    run: (a) =>
      one(a, (i) => ({ ...a.change(i), lengthBytes: valueLength(a.random, 10, a.workload.largeShare) }), false),
  },
  { name: 'del', weight: 6, run: (a) => one(a, (index) => ({ index, lengthBytes: undefined }), false) },
  { name: 'batch', weight: 10, run: (a) => a.write(a.changes(12), true, perform(a.db, false)) },
  {
    name: 'putSync',
    weight: 8,
    run: (a) =>
      one(a, (i) => ({ ...a.change(i), lengthBytes: valueLength(a.random, 10, a.workload.largeShare) }), true),
  },
  { name: 'delSync', weight: 2, run: (a) => one(a, (index) => ({ index, lengthBytes: undefined }), true) },
  { name: 'batchSync', weight: 4, run: (a) => a.write(a.changes(12), false, perform(a.db, true)) },
  {
    name: 'several puts in one tick',
    weight: 4,
    run: (a) =>
      Promise.all([1, 2].map(async () => (a.lane.inFlight < 4 ? one(a, (i) => a.change(i), false) : undefined))),
  },
  { name: 'delete all', weight: 0.05, run: (a) => everything(a, () => undefined) },
  { name: 'refill', weight: 0.2, run: (a) => everything(a, () => valueLength(a.random, 10, a.workload.largeShare)) },
  {
    name: 'transfer',
    weight: 10,
    run: (a) =>
      a.alone('transfer', async () => {
        const { db, lane, random } = a
        const from = random.between(0, ACCOUNTS - 1)
        const to = (from + random.between(1, ACCOUNTS - 1)) % ACCOUNTS
        const amount = random.between(1, 50)
        const balance = (n: number): number => numberOf(db.get(accountKey(lane.number, n)))!
        await db.batch([
          { type: 'put', key: accountKey(lane.number, from), value: word(balance(from) - amount) },
          { type: 'put', key: accountKey(lane.number, to), value: word(balance(to) + amount) },
        ])
      }),
  },
  {
    name: 'count up',
    weight: 8,
    run: (a) =>
      a.alone('count', async () => {
        const { db, lane } = a
        const count = lane.counted + 1
        await db.batch([
          { type: 'put', key: counterKey(lane.number), value: word(count) },
          { type: 'put', key: twinKey(lane.number), value: word(count) },
        ])
        lane.counted = count
      }),
  },
  {
    name: 'put of a shared key',
    weight: 5,
    run: (a) => {
      const n = a.random.between(0, SHARED_KEYS - 1)
      const value = valueOf(a.lane.number, a.lane.nextNumber(), SHARED_STEP + n, a.random.skewed(16, 3000))
      return a.random.chance(0.1) ? a.db.del(sharedKey(n)) : a.db.put(sharedKey(n), value)
    },
  },
  // ---- reading
  {
    name: 'get',
    weight: 30,
    run: (a) => {
      const index = a.random.between(0, LANE_KEYS - 1)
      a.lane.expect(index, a.db.get(a.lane.key(index)), a.lane.may(index), 'get')
    },
  },
  {
    name: 'getEntry',
    weight: 6,
    run: (a) => {
      const index = a.random.between(0, LANE_KEYS - 1)
      a.lane.expect(index, a.db.getEntry(a.lane.key(index))?.value, a.lane.may(index), 'getEntry')
    },
  },
  {
    name: 'has',
    weight: 6,
    run: (a) => {
      const index = a.random.between(0, LANE_KEYS - 1)
      const has = a.db.has(a.lane.key(index))
      if (a.lane.may(index).every((held) => (held.number !== 0) !== has))
        throw new WrongContents(`has(${a.lane.key(index)}) is ${has}`)
    },
  },
  {
    name: 'getMany',
    weight: 5,
    run: async (a) => {
      const indexes = Array.from({ length: a.random.between(0, 20) }, () => a.random.between(0, LANE_KEYS - 1))
      const before = indexes.map((i) => a.lane.may(i))
      const values = await a.db.getMany(indexes.map((i) => a.lane.key(i)))
      indexes.forEach((index, i) => {
        const after = a.lane.may(index)
        // Written meanwhile, perhaps more than once: then it may have held anything in between.
        if (before[i]!.length > 1 || after.length > 1 || before[i]![0] !== after[0]) return
        a.lane.expect(index, values[i], after, 'getMany')
      })
    },
  },
  { name: 'range', weight: 3, run: (a) => compareRange(a, a.db, a.lane.mayAll(), 'entries') },
  { name: 'keys', weight: 3, run: (a) => compareRange(a, a.db, a.lane.mayAll(), 'keys') },
  { name: 'values', weight: 1, run: (a) => compareRange(a, a.db, a.lane.mayAll(), 'values') },
  { name: 'count', weight: 3, run: (a) => compareRange(a, a.db, a.lane.mayAll(), 'count') },
  {
    name: 'countAsync',
    weight: 1,
    run: async (a) => {
      const accounts = await a.db.countAsync({ prefix: ['account'] })
      if (accounts !== LANES * ACCOUNTS) throw new WrongContents(`countAsync finds ${accounts} accounts`)
    },
  },
  {
    name: 'keysAsync',
    weight: 1,
    run: async (a) => {
      let accounts = 0
      for await (const _ of a.db.keysAsync({ prefix: ['account'] })) accounts++
      if (accounts !== LANES * ACCOUNTS) throw new WrongContents(`keysAsync finds ${accounts} accounts`)
    },
  },
  {
    name: 'range left early',
    weight: 2,
    run: (a) => {
      let left = a.random.between(0, 5)
      for (const key of a.db.keys({ reverse: a.random.chance(0.5) })) if (key === undefined || left-- === 0) break
    },
  },
  {
    name: 'slow range',
    weight: 0.5,
    run: async (a) => {
      const may = a.lane.mayAll()
      const found = new Map<string, Buffer>()
      for (const [key, value] of a.db.range({ prefix: a.lane.prefix })) {
        found.set(key as string, value)
        if (found.size % 40 === 0) await later(a.random.between(1, 20))
      }
      may.forEach((held, index) => a.lane.expect(index, found.get(a.lane.key(index)), held, 'a slow scan'))
    },
  },
  {
    name: 'snapshot',
    weight: 3,
    run: (a) => {
      const snapshot = a.db.snapshot()
      const held = a.random.chance(0.1) ? a.random.between(1, a.workload.longReaderMs) : a.random.between(1, 200)
      a.held.push({
        snapshot,
        untilMs: performance.now() + held,
        may: a.lane.mayAll(),
        sum: checkSum(snapshot, 'a snapshot'),
      })
      for (const due of a.held.filter(({ untilMs }) => untilMs <= performance.now())) {
        a.held.splice(a.held.indexOf(due), 1)
        if (checkSum(due.snapshot, 'an old snapshot') !== due.sum)
          throw new WrongContents('the accounts of a snapshot have changed')
        compareRange(a, due.snapshot, due.may, 'entries')
        const index = a.random.between(0, LANE_KEYS - 1)
        a.lane.expect(index, due.snapshot.get(a.lane.key(index)), due.may[index]!, 'an old snapshot')
        due.snapshot.close()
      }
    },
  },
  {
    name: 'look at what all share',
    weight: 6,
    run: (a) => {
      using snapshot = a.db.snapshot()
      checkShared(snapshot, a.watcher, 'a snapshot')
      checkLastWriter(a.db, a.watcher, a.random.between(0, SHARED_KEYS - 1), 'getEntry')
    },
  },
  // ---- the rest
  { name: 'checkpoint', weight: 0.3, run: (a) => a.db.checkpoint() },
  {
    name: 'verify',
    weight: 0.05,
    run: async (a) => {
      const report = await a.db.verify()
      if (!report.ok) throw new WrongContents(`verify finds ${JSON.stringify(report.damage.slice(0, 3))}`)
    },
  },
  {
    name: 'stats',
    weight: 1,
    run: (a) => {
      const { log, slots, failure } = a.db.stats()
      if (failure !== undefined) throw new Error(`writes are refused: ${failure}`)
      if (log.visibleLsn > log.tailLsn || slots.free < 0 || slots.unused < 0)
        throw new WrongContents(`stats contradict each other: ${JSON.stringify({ log, slots })}`)
    },
  },
  {
    name: 'open a second time, to read',
    weight: 0.1,
    run: async (a) => {
      // Nothing of the lane is in flight on this thread's turn, or `may` says so.
      const may = a.lane.mayAll()
      const second = await open<'binary', Buffer>(a.db.path, {
        ...a.options,
        workers: 0,
        valueEncoding: 'binary',
        readOnly: true,
      })
      const now = a.lane.mayAll()
      may.forEach((held, index) => {
        if (held.length > 1 || now[index]!.length > 1 || held[0] !== now[index]![0]) return
        a.lane.expect(index, second.get(a.lane.key(index)), held, 'a second, reading user')
      })
      await second.close()
    },
  },
  ...CHANGING,
]

const TOTAL_WEIGHT = OPERATIONS.reduce((sum, { weight }) => sum + weight, 0)

export function pickOperation(random: Random): Entry {
  let x = random.next() * TOTAL_WEIGHT
  return OPERATIONS.find(({ weight }) => (x -= weight) < 0) ?? OPERATIONS[0]!
}
