// What a user's program may say of writing, and what it may not: each line below `@ts-expect-error` must not compile,
// all others must. Compiled by test/types.test.ts, never run.
import { open, type BatchOperation, type Conditions } from 'mmapdb'

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
