// What a user's program may say of change feeds and watches, and what it may not: see reading.mts.
import {
  open,
  LsnGoneError,
  type Change,
  type ChangeFeed,
  type ChangeOptions,
  type RetainOptions,
  type Watched,
} from 'mmapdb'

interface User {
  readonly name: string
}

/** Compiles if both are the same type. */
const same = <A, B>(_: (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false): void =>
  undefined

const retain: RetainOptions = { bytes: 2 ** 30, ms: undefined }
const db = await open<User, string>('db', { retain })
await open('db', { retain: { ms: Infinity } })
// @ts-expect-error bytes is a number
await open('db', { retain: { bytes: '1 GiB' } })
// @ts-expect-error there is no such field
await open('db', { retain: { days: 1 } })

const { signal } = new AbortController()
const feed = db.changes({ since: 0, prefix: 'user:', signal })
same<typeof feed, ChangeFeed<User, string>>(true)
for await (const change of feed) {
  same<typeof change, Change<User, string>>(true)
  if (change.type === 'put') change.value.name.toUpperCase()
  else same<typeof change.value, undefined>(true)
  if (change.type === 'put' || change.type === 'del') same<typeof change.key, string>(true)
  else same<typeof change.key, undefined>(true)
  if (change.type === 'clear') same<ReturnType<typeof change.covers>, boolean>(true)
  // @ts-expect-error only what was cleared covers keys
  change.covers('a')
  // @ts-expect-error a removed entry has no value
  change.value.name
  const { lsn, timeMs }: { lsn: number; timeMs: number } = change
  void [lsn, timeMs]
  db.changes({ since: change.cursor })
  db.changes({ since: change.lsn, store: change.store })
}
db.changes()
db.changes({ since: feed.cursor })
const noOptions = {
  since: undefined,
  store: undefined,
  prefix: undefined,
  signal: undefined,
} satisfies Record<keyof ChangeOptions, undefined>
db.changes(noOptions)
// @ts-expect-error keys are strings here
db.changes({ prefix: ['user'] })
// A store has types of its own.
for await (const change of db.changes<number, readonly [string, number]>({ store: 'orders', prefix: ['user'] })) {
  if (change.type === 'put') same<typeof change.value, number>(true)
  if (change.type === 'put') same<typeof change.key, readonly [string, number]>(true)
}
// @ts-expect-error there is no such option
db.changes({ from: 5 })
// @ts-expect-error a cursor is a string, an LSN a number
db.changes({ since: 5n })
// @ts-expect-error it is an asynchronous iterator
for (const change of db.changes()) void change

for await (const watched of db.watch(['a', 'b'], { signal })) {
  same<typeof watched, Watched<User, string>>(true)
  const name: string | undefined = watched.value?.name
  await db.put(watched.key, { name: name ?? '' }, { ifVersion: watched.version })
}
db.watch('a')
db.watch('a', { signal: undefined })
// @ts-expect-error keys are strings here
db.watch(5)
// @ts-expect-error keys are strings here
db.watch([['a']])

const bytes = await open<Uint8Array, readonly [string, number]>('db', { valueEncoding: 'binary' })
bytes.changes({ prefix: ['user'] })
bytes.watch([['user', 5]])
// @ts-expect-error an array is a list of keys
bytes.watch(['user', 5])
for await (const { type, value } of bytes.changes()) if (type === 'put') same<typeof value, Buffer>(true)

const anything = await open('db')
anything.watch(['a', 5, ['b', 5n]])
anything.watch(null)

try {
  await feed.next()
} catch (error) {
  if (error instanceof LsnGoneError) db.changes({ since: error.oldestLsn })
}
