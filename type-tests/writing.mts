// What a user's program may say of writing, and what it may not: each line below `@ts-expect-error` must not compile,
// all others must. Compiled by test/types.test.ts, never run.
import { open, type BatchOperation, type Conditions, type Database, type Expiry, type PutOptions } from 'mmapdb'

interface User {
  readonly name: string
}

/** Compiles if both are the same type. */
const same = <A, B>(_: (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false): void =>
  undefined

const db = await open<User, string>('db')
const ada: User = { name: 'Ada' }
const entry = db.getEntry('a')

// ---- what writes tell

same<ReturnType<typeof db.put>, Promise<boolean>>(true)
same<ReturnType<typeof db.del>, Promise<boolean>>(true)
same<ReturnType<typeof db.batch>, Promise<boolean>>(true)
same<ReturnType<typeof db.putSync>, boolean>(true)
const sum: number = await db.add('visits', 1)
const large: bigint = db.addSync('visits', 1n)
void [sum, large]
// @ts-expect-error a sum is of the kind of what is added
const mixed: bigint = await db.add('visits', 1)
void mixed
// @ts-expect-error only numbers are added
await db.add('visits', '1')

// ---- values and keys

// @ts-expect-error it is no User
await db.put('a', { age: 1 })
// @ts-expect-error keys are strings here
await db.put(1, ada)
// @ts-expect-error keys are strings here
await db.del(['a'])
// @ts-expect-error a batch has keys of the same type
await db.batch([{ type: 'put', key: 1, value: ada }])

// ---- conditions

await db.put('a', ada, { ifVersion: entry?.version ?? 0 })
await db.put('a', ada, { ifVersion: entry?.version })
await db.put('a', ada, { ifAbsent: true })
await db.put('a', ada, { ifAbsent: entry === undefined })
await db.put('a', ada, { ifPresent: true })
await db.put('a', ada, { ifVersion: 5, ifPresent: true })
await db.put('a', ada, { ifVersion: undefined, ifAbsent: undefined, ifPresent: undefined })
await db.put('a', ada, {})
await db.put('a', ada, undefined)
await db.del('a', { ifVersion: 5 })
// @ts-expect-error they exclude each other
await db.put('a', ada, { ifAbsent: true, ifPresent: true })
// @ts-expect-error they exclude each other
await db.put('a', ada, { ifAbsent: true, ifVersion: 5 })
// @ts-expect-error a typing error must not make a write unconditional
await db.put('a', ada, { ifVerison: 5 })

// ---- expiry

await db.put('a', ada, { ttlMs: 1000 })
await db.put('a', ada, { expiresAt: Date.now() + 1000 })
await db.put('a', ada, { ttlMs: 1000, ifAbsent: true })
await db.put('a', ada, { expiresAt: entry?.expiresAt, ifVersion: entry?.version })
await db.put('a', ada, { ttlMs: undefined, expiresAt: undefined })
db.putSync('a', ada, { ttlMs: 1000, ifPresent: true })
await db.add('visits', 1, { ttlMs: 60_000 })
db.addSync('visits', 1n, { expiresAt: 1.8e12 })
await db.batch([
  { type: 'put', key: 'a', value: ada, ttlMs: 1000, ifAbsent: true },
  { type: 'add', key: 'b', delta: 1, expiresAt: 1.8e12 },
])
same<NonNullable<typeof entry>['expiresAt'], number | undefined>(true)
const expiry: Expiry = { ttlMs: 5 }
const both: PutOptions = { ...expiry, ifAbsent: true }
await db.put('a', ada, both)
// @ts-expect-error one of them says when
await db.put('a', ada, { ttlMs: 1000, expiresAt: 1.8e12 })
// @ts-expect-error one of them says when
await db.add('visits', 1, { ttlMs: 1000, expiresAt: 1.8e12 })
// @ts-expect-error one of them says when
await db.batch([{ type: 'put', key: 'a', value: ada, ttlMs: 1000, expiresAt: 1.8e12 }])
// @ts-expect-error what is removed does not expire
await db.del('a', { ttlMs: 1000 })
// @ts-expect-error what is removed does not expire
await db.batch([{ type: 'del', key: 'a', ttlMs: 1000 }])
// @ts-expect-error a time is a number of milliseconds
await db.put('a', ada, { expiresAt: new Date() })
// @ts-expect-error a version is a number
await db.put('a', ada, { ifVersion: '5' })
const condition: Conditions = { ifAbsent: true }
await db.del('a', condition)

const operations: BatchOperation<User, string>[] = [
  { type: 'put', key: 'a', value: ada, ifVersion: 3 },
  { type: 'del', key: 'a', ifPresent: true },
  { type: 'check', key: 'b', ifAbsent: true },
  { type: 'add', key: 'c', delta: 1n },
]
await db.batch(operations)
await db.batch(new Set(operations))
// @ts-expect-error an add says how much
await db.batch([{ type: 'add', key: 'c' }])
// @ts-expect-error there is no such type
await db.batch([{ type: 'update', key: 'c' }])

// ---- updates

const updated: User = await db.update('a', (user) => ({ name: `${user?.name ?? ''}!` }))
const removed: undefined = await db.update('a', () => undefined)
const either: User | undefined = await db.update('a', async (user, entry) => (entry!.version > 5 ? user : undefined))
await db.update('a', (user) => user ?? ada, { timeoutMs: 5, signal: AbortSignal.timeout(5) })
await db.update('a', (user) => user ?? ada, { timeoutMs: undefined, signal: undefined })
void [updated, removed, either]
// @ts-expect-error keys are strings here
await db.update(1, () => ada)
// @ts-expect-error it is no User
await db.update('a', () => 5)
// @ts-expect-error it may be absent
await db.update('a', (user) => ({ name: user.name }))
// @ts-expect-error an update has no such option
await db.update('a', () => ada, { retries: 5 })

// ---- transactions

const names: string[] = await db.transaction((tx) => {
  tx.put('b', tx.get('a') ?? ada)
  tx.del('c')
  tx.add('visits', 1n)
  const version: number = tx.getEntry('a')?.version ?? 0
  const there: boolean = tx.has('a')
  const count: number = tx.count({ prefix: 'a' })
  void [version, there, count]
  for (const [key, user] of tx.range({ gte: 'a', reverse: true, limit: 5 }))
    (same<typeof key, string>(true), void user.name)
  for (const user of tx.values()) same<typeof user, User>(true)
  return [...tx.keys({ prefix: 'x' })]
})
const later: number = await db.transaction(async () => 5, { retries: 3, timeoutMs: 5, signal: AbortSignal.timeout(5) })
void [names, later]
await db.transaction(async (tx) => {
  // @ts-expect-error it is no User
  tx.put('a', 5)
  // @ts-expect-error keys are strings here
  tx.get(5)
  // @ts-expect-error bounds are strings, too
  tx.range({ gte: 5 })
  // @ts-expect-error only numbers are added
  tx.add('a', '1')
  // @ts-expect-error it may be absent
  void tx.get('a').name
})
// @ts-expect-error a transaction has no such option
await db.transaction(() => 5, { retry: 5 })
const increments = async (store: Database): Promise<number> => store.update('hits', (n) => (n ?? 0) + 1)
void increments

// ---- record locks

await db.lock('a')
await db.lock(['a', 'b'], { timeoutMs: 5 })
db.tryLock('a')?.release()
// @ts-expect-error keys are strings here
await db.lock(1)
// @ts-expect-error keys are strings here
db.tryLock([['a']])
