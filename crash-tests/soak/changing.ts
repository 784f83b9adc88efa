// Operations of a soak that change what they have read, or follow it: transactions, updates, conditions, record locks,
// entries that expire, named stores that come and go, feeds, and backups. All actors work on the same few entries. What
// must hold of them holds at every moment and for every reader: the money in the bank is the same, a counter and its
// twin are equal, what has expired is absent, and nobody else is where a lock is held.
import { rmSync } from 'node:fs'
import {
  LsnGoneError,
  StoreDroppedError,
  type Database,
  type Snapshot,
  type Store,
  type Transaction,
} from '../../src/index.js'
import type { Actor, Entry } from './actor.js'
import { WrongContents } from './lane.js'

const CUSTOMERS = 12
const MONEY = 1000
const COUNTERS = 4
const SESSIONS = 8
const SCRATCH_STORES = 3
/** A change, or a watch, is waited for no longer than this. */
const FOLLOW_MS = 200
/** The database's clock may be that far behind the system's, which may be set. */
const CLOCK_MS = 1000
const TIMES = { retries: 10_000, timeoutMs: Infinity } as const

const later = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

const bankOf = (db: Database<Buffer>): Store<number, number> => db.store('bank', { valueEncoding: 'msgpack' })
const sessionsOf = (db: Database<Buffer>): Store<number, number> => db.store('sessions', { valueEncoding: 'json' })

/** Before the first actor comes. */
export async function makeBank(db: Database<Buffer>): Promise<void> {
  const bank = bankOf(db)
  await bank.batch(Array.from({ length: CUSTOMERS }, (_, key) => ({ type: 'put', key, value: MONEY })))
  sessionsOf(db)
  db.store('counted', { valueEncoding: 'json' })
  db.store('counted twice', { valueEncoding: 'json' })
}

/** What must hold at any moment. */
export function checkChanging(source: Snapshot<Buffer>, by: string): void {
  let money = 0
  for (const balance of source.store<number>('bank').values()) money += balance
  if (money !== CUSTOMERS * MONEY)
    throw new WrongContents(`${by} finds ${money} in the bank, and not ${CUSTOMERS * MONEY}`)
  const counted = [...source.store('counted').range()]
  const twice = [...source.store('counted twice').range()]
  if (JSON.stringify(counted) !== JSON.stringify(twice))
    throw new WrongContents(`${by} finds counters ${JSON.stringify(counted)} and twins ${JSON.stringify(twice)}`)
}

async function pay(actor: Actor): Promise<void> {
  const { random, db } = actor
  const from = random.between(0, CUSTOMERS - 1)
  const to = random.between(0, CUSTOMERS - 1)
  const amount = random.between(1, 50)
  await db.transaction(async (tx: Transaction<Buffer>) => {
    const bank = tx.store<number, number>('bank')
    const balance = bank.get(from)!
    if (random.chance(0.2)) await later(random.between(1, 10))
    bank.put(from, balance - amount)
    if (random.chance(0.5)) bank.put(to, bank.get(to)! + amount)
    else bank.add(to, amount)
  }, TIMES)
}

/** The whole bank is read, and the richest one gives something to the poorest. */
async function level(actor: Actor): Promise<void> {
  await actor.db.transaction((tx: Transaction<Buffer>) => {
    const bank = tx.store<number, number>('bank')
    const sorted = [...bank.range()].sort(([, a], [, b]) => a - b)
    if (sorted.length !== CUSTOMERS) throw new WrongContents(`a transaction finds ${sorted.length} customers`)
    const money = sorted.reduce((sum, [, balance]) => sum + balance, 0)
    if (money !== CUSTOMERS * MONEY) throw new WrongContents(`a transaction finds ${money} in the bank`)
    const [poorest] = sorted
    const richest = sorted.at(-1)!
    bank.put(poorest![0], poorest![1] + 1)
    bank.put(richest[0], bank.get(richest[0])! - 1)
  }, TIMES)
}

/** A counter, and its twin in another store, one way or the other. */
async function countTwice(actor: Actor): Promise<void> {
  const { random, db } = actor
  const n = random.between(0, COUNTERS - 1)
  await db.transaction((tx: Transaction<Buffer>) => {
    const one = tx.store<number, number>('counted')
    const two = tx.store<number, number>('counted twice')
    if (random.chance(0.5)) {
      one.add(n, 1)
      two.add(n, 1)
    } else {
      const next = (one.get(n) ?? 0) + 1
      one.put(n, next)
      two.put(n, next)
    }
  }, TIMES)
}

/** The time at which a session ends is its value. */
async function useSession(actor: Actor): Promise<void> {
  const { random, db } = actor
  const sessions = sessionsOf(db)
  const n = random.between(0, SESSIONS - 1)
  const entry = sessions.getEntry(n)
  if (entry !== undefined && entry.expiresAt !== entry.value)
    throw new WrongContents(`session ${n} ends at ${entry.expiresAt}, and should end at ${entry.value}`)
  if (entry === undefined || random.chance(0.3)) {
    const expiresAt = Date.now() + random.between(1, 400)
    await sessions.put(n, expiresAt, { expiresAt })
  } else if (random.chance(0.5)) {
    // Changing it does not change when it ends; it may have ended meanwhile, and then nothing is made.
    await sessions.update(n, (value) => value)
  } else await sessions.del(n, { ifVersion: entry.version })
}

/** While one has the lock, nobody else is there. */
async function beAlone(actor: Actor): Promise<void> {
  const { random, db, lane } = actor
  const spot = ['spot', String(random.between(0, 1))]
  const rooms = db.store<string>('rooms', { valueEncoding: 'utf8' })
  using lock = await rooms.lock([spot], { timeoutMs: Infinity })
  const mine = `${lane.number}/${lane.nextNumber()}`
  if (random.chance(0.5)) await rooms.put(spot, mine)
  else rooms.putSync(spot, mine)
  await later(random.between(0, 5))
  const found = rooms.get(spot)
  if (lock.isHeld && found !== mine)
    throw new WrongContents(`${mine} has the lock of ${spot.join(' ')}, and ${found} is there`)
}

/** A store that others may clear or drop at any time. */
async function scratch(actor: Actor): Promise<void> {
  const { random, db } = actor
  const name = `scratch ${random.between(1, SCRATCH_STORES)}`
  try {
    const store = db.store<string>(name, { valueEncoding: 'utf8' })
    const value = 'x'.repeat(random.skewed(1, 30_000))
    const from = random.between(0, 100)
    if (random.chance(0.6))
      await store.batch(Array.from({ length: random.skewed(1, 60) }, (_, i) => ({ type: 'put', key: from + i, value })))
    else if (random.chance(0.7))
      await store.clear(random.pick([{}, { gte: from }, { lt: from }, { gte: from, limit: 5 }]))
    else await db.dropStore(name)
  } catch (error) {
    if (!(error instanceof StoreDroppedError)) throw error
  }
}

async function follow(actor: Actor): Promise<void> {
  const { random, db } = actor
  const stop = new AbortController()
  const timer = setTimeout(() => stop.abort(stop), FOLLOW_MS)
  let last = 0
  let left = random.between(1, 200)
  try {
    const since = Math.max(0, db.stats().log.oldestLsn)
    for await (const { lsn } of db.changes({ since, signal: stop.signal })) {
      if (lsn < last) throw new WrongContents(`a feed tells LSN ${lsn} after ${last}`)
      last = lsn
      if (--left === 0) return
    }
  } catch (error) {
    if (error !== stop && !(error instanceof LsnGoneError)) throw error
  } finally {
    clearTimeout(timer)
  }
}

async function backUp(actor: Actor): Promise<void> {
  const path = `${actor.db.path}-backup-${process.pid}-${actor.lane.number}`
  try {
    await actor.db.backup(path)
  } finally {
    rmSync(path, { recursive: true, force: true })
    rmSync(`${path}.unfinished`, { recursive: true, force: true })
  }
}

export const CHANGING: readonly Entry[] = [
  { name: 'transaction: pay', weight: 6, run: pay },
  { name: 'transaction: level', weight: 2, run: level },
  { name: 'transaction: count', weight: 3, run: countTwice },
  { name: 'session', weight: 5, run: useSession },
  { name: 'lock', weight: 2, run: (a) => a.alone('lock', () => beAlone(a)) },
  { name: 'scratch store', weight: 2, run: scratch },
  { name: 'changes', weight: 1, run: follow },
  { name: 'backup', weight: 0.02, run: (a) => a.alone('backup', () => backUp(a)) },
  {
    name: 'look at what is changed together',
    weight: 4,
    run: (a) => {
      const nowMs = Date.now()
      using snapshot = a.db.snapshot()
      checkChanging(snapshot, 'a snapshot')
      for (const [n, expiresAt] of snapshot.store<number, number>('sessions').range())
        if (expiresAt < nowMs - CLOCK_MS)
          throw new WrongContents(`session ${n} should have ended ${nowMs - expiresAt} ms ago`)
    },
  },
]
