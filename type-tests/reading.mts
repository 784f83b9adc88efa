// What a user's program may say of opening and reading, and what it may not: each line below `@ts-expect-error` must not
// compile, all others must. Compiled by test/types.test.ts, never run.
import {
  open,
  Database,
  Snapshot,
  type AsyncRangeIterator,
  type AsyncRangeOptions,
  type Bound,
  type Entry,
  type Key,
  type OpenOptions,
  type Range,
  type RangeIterator,
} from 'mmapdb'

interface User {
  readonly name: string
}

/** Compiles if both are the same type. */
const same = <A, B>(_: (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false): void =>
  undefined

// ---- what is opened

const plain = await open('db')
same<typeof plain, Database>(true)
// Nothing is said of values: they are any.
const anything: { deep: { down: number } } = plain.get('a')
void anything

const users = await open<User>('db')
same<typeof users, Database<User>>(true)
const name: string | undefined = users.get('a')?.name
void name
// @ts-expect-error there is no such field
users.get('a')?.age
// @ts-expect-error it may be absent
users.get('a').name

const named = await open<User, string>('db', { valueEncoding: 'json', workers: 0 })
same<typeof named, Database<User, string>>(true)

const texts = await open('db', { valueEncoding: 'utf8' })
same<ReturnType<typeof texts.get>, string | undefined>(true)
const bytes = await open('db', { valueEncoding: 'binary' })
same<ReturnType<typeof bytes.get>, Buffer | undefined>(true)
const others = await open('db', { valueEncoding: 'msgpack', readOnly: true })
same<typeof others, Database>(true)
const annotated: Database<User> = await open('db', { valueEncoding: 'json' })
const annotatedKeys: Database<User, string> = await open('db')
void [annotated, annotatedKeys]
const someOptions: OpenOptions = {}
same<Awaited<ReturnType<typeof openWith>>, Database>(true)
function openWith() {
  return open('db', someOptions)
}

// @ts-expect-error no such encoding
await open('db', { valueEncoding: 'xml' })
// @ts-expect-error no such option
await open('db', { worker: 1 })
// @ts-expect-error not a type of keys
await open<User, Date>('db')
// @ts-expect-error it is opened, not constructed
new Database()
// @ts-expect-error it is taken of a database
new Snapshot()

// ---- undefined is what is not there

const nothing = {
  workers: undefined,
  createIfMissing: undefined,
  errorIfExists: undefined,
  readOnly: undefined,
  valueEncoding: undefined,
  checkpointBytes: undefined,
  segmentBytes: undefined,
  reserveBytes: undefined,
  windowBytes: undefined,
  readAheadBytes: undefined,
  timeoutMs: undefined,
  maxInFlightBytes: undefined,
  maxHeldBytes: undefined,
  retain: undefined,
  allowNetworkFileSystem: undefined,
} satisfies Record<keyof OpenOptions, undefined>
await open('db', nothing)
await open<User>('db', undefined)
const noBounds = {
  gte: undefined,
  gt: undefined,
  lte: undefined,
  lt: undefined,
  prefix: undefined,
  reverse: undefined,
  limit: undefined,
} satisfies Record<keyof Range, undefined>
plain.range(noBounds)
plain.range(undefined)
named.count(noBounds)
const noSignal = { signal: undefined } satisfies Record<keyof AsyncRangeOptions, undefined>
plain.rangeAsync(undefined, noSignal)
let bound: string | undefined
for (const key of named.keys({ lt: bound })) key.toUpperCase()

// ---- keys

named.get('a')
// @ts-expect-error keys are strings
named.get(5)
// @ts-expect-error keys are strings
named.has(['a'])
// @ts-expect-error keys are strings
await named.getMany([5])
// @ts-expect-error keys are strings
await named.hasMany([null])
// @ts-expect-error no key at all
plain.get({})
// @ts-expect-error no array within another
plain.get([['a']])
plain.get(['a', 5, 5n, null, true, new Uint8Array()])

// ---- ranges

for (const [key, value] of named.range({ gte: 'a', gt: 'b', lt: 'c', prefix: 'a', reverse: true, limit: 5 })) {
  same<typeof key, string>(true)
  same<typeof value, User>(true)
}
// @ts-expect-error bounds are strings
named.range({ gte: 5 })
// @ts-expect-error no such field
named.range({ from: 'a' })
// @ts-expect-error a number
named.range({ limit: '5' })
// @ts-expect-error nothing begins with a number
plain.range({ prefix: 5 })
plain.count({ prefix: 'a' })
plain.count({ prefix: ['a', 5] })
named.range().seek('b')
// @ts-expect-error a string
named.keys().seek(5)
same<ReturnType<typeof named.range>, RangeIterator<[string, User], string>>(true)
same<ReturnType<RangeIterator<string>['nextMany']>, string[]>(true)
const first = named.keys().next()
if (first.done) same<typeof first.value, undefined>(true)
else same<typeof first.value, string>(true)
{
  using iterator = named.values()
  const [user] = iterator.nextMany(1)
  // @ts-expect-error there may be none
  void user.name
}

// Parts of keys that are arrays are bounds, too.
const orders = await open<number, readonly [string, number]>('db')
orders.get(['order', 5])
// @ts-expect-error the second element is missing
orders.get(['order'])
for (const [[kind, number], total] of orders.range({ prefix: ['order'], gte: ['order', 5], lt: 'p' }))
  same<[typeof kind, typeof number, typeof total], [string, number, number]>(true)
const tagged = await open<User, `user:${string}`>('db')
tagged.get('user:1')
// @ts-expect-error not such a key
tagged.get('order:1')
tagged.range({ gte: 'user:', lt: 'user;' }).seek('user')
same<Bound<5>, number | bigint>(true)
same<Bound<Key>, Key>(true)

// Bytes come back as Buffers, in keys as in values.
const blobs = await open<Uint8Array, Uint8Array>('db')
for (const [key, value] of blobs.range()) same<[typeof key, typeof value], [Buffer, Buffer]>(true)
blobs.get(Buffer.from('a'))

// ---- off the event loop

const { signal } = new AbortController()
for await (const [key, value] of named.rangeAsync({ gt: 'a' }, { signal }))
  same<[typeof key, typeof value], [string, User]>(true)
for await (const key of named.keysAsync()) same<typeof key, string>(true)
for await (const value of named.valuesAsync()) same<typeof value, User>(true)
same<ReturnType<typeof named.keysAsync>, AsyncRangeIterator<string>>(true)
// @ts-expect-error bounds are strings
named.rangeAsync({ gt: 1 })
// @ts-expect-error a signal
named.rangeAsync({}, { signal: true })
same<Awaited<ReturnType<typeof named.getMany>>, (User | undefined)[]>(true)
same<Awaited<ReturnType<typeof named.hasMany>>, boolean[]>(true)

// ---- snapshots

const snapshot = named.snapshot()
same<typeof snapshot, Snapshot<User, string>>(true)
same<ReturnType<typeof snapshot.getEntry>, Entry<User> | undefined>(true)
same<Awaited<ReturnType<typeof snapshot.getMany>>, (User | undefined)[]>(true)
same<Awaited<ReturnType<typeof snapshot.hasMany>>, boolean[]>(true)
same<ReturnType<typeof snapshot.range>, RangeIterator<[string, User], string>>(true)
same<ReturnType<typeof snapshot.rangeAsync>, AsyncRangeIterator<[string, User]>>(true)
// @ts-expect-error keys are strings
snapshot.get(1)
{
  using moment = plain.snapshot()
  await using database = await open('db')
  void [moment, database]
}
