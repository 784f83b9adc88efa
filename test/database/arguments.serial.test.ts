// If these fail, an argument, a path or a file makes the database throw something that is not an error of its
// own, throw where it promises to reject, or crash.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { expect } from 'chai'
import { InvalidError, MmapdbError } from '../../src/errors.js'
import { open, type Database, type RangeIterator, type Snapshot } from '../../src/index.js'
import { cleanUp, scratchDirectory, scratchPath } from '../support/engine.js'

const revoked = (target: object): unknown => {
  const { proxy, revoke } = Proxy.revocable(target, {})
  revoke()
  return proxy
}
const throwing = (): never => {
  throw new Error('thrown by the user')
}

const throwingNothing = (): never => {
  throw Object.create(null)
}

/** An array that says of its length what no array does. */
const ofLength = (length: unknown): never =>
  new Proxy(['x'], {
    get: (array, name) => (name === 'length' ? length : Reflect.get(array, name)) as unknown,
  }) as never

/** Made again for each use: some can be used up. */
const oddities = (): unknown[] => [
  undefined,
  null,
  true,
  5,
  -1,
  1.5,
  NaN,
  Infinity,
  10n,
  Symbol('odd'),
  '',
  'x',
  '\0',
  '\ud800',
  'k'.repeat(2000),
  () => 1,
  {},
  Object.create(null),
  { toString: throwing },
  { valueOf: throwing },
  {
    get key() {
      return throwing()
    },
  },
  new Date(NaN),
  /x/,
  new Map(),
  [],
  [undefined],
  [Symbol('odd')],
  [[1]],
  new Array(2000),
  [{}],
  [null],
  ['x', Symbol('odd')],
  Object.assign(['x'], { length: 3 }),
  Object.assign([], { 1: 'x' }),
  new Uint8Array(0),
  new Uint8Array(2000),
  new Float64Array(2),
  new ArrayBuffer(4),
  new DataView(new ArrayBuffer(4)),
  Buffer.alloc(3),
  ofLength(-1),
  ofLength('x'),
  ofLength(NaN),
  ofLength(Symbol('odd')),
  ofLength({ valueOf: throwing }),
  ofLength(1n),
  ofLength(1.5),
  [ofLength(-1)],
  new Proxy({}, { ownKeys: throwingNothing, get: throwingNothing }),
  {
    get x() {
      return throwingNothing()
    },
  },
  revoked({}),
  revoked([]),
  revoked(() => 1),
  new Proxy(new Uint8Array(3), {}),
  new Proxy(['x'], { get: throwing }),
  new Proxy({}, { ownKeys: throwing, get: throwing }),
  { [Symbol.iterator]: 5 },
  { [Symbol.iterator]: () => 5 },
  { [Symbol.iterator]: () => ({ next: () => 5 }) },
  { [Symbol.iterator]: () => ({}) },
  [{ type: 'put' }],
  [{ type: 'put', key: NaN, value: 1 }],
  [{ type: 'del', key: revoked([]) }],
  [{ type: Symbol('put'), key: 1 }],
  [{ type: 'put', key: 'k'.repeat(2000), value: 1 }],
  [
    {
      get type() {
        return throwing()
      },
    },
  ],
  [
    {
      type: 'put',
      key: 'k',
      get value() {
        return throwing()
      },
    },
  ],
  { gte: NaN },
  { gte: 1, gt: 1 },
  { limit: 'x' },
  { limit: -1 },
  { limit: 2n },
  { limit: NaN },
  { limit: Object.create(null) },
  { reverse: 1 },
  { prefix: 5 },
  { gte: Symbol('odd') },
  { nope: 1 },
  {
    get gte() {
      return throwing()
    },
  },
  { gte: revoked([]) },
  { prefix: revoked([]) },
  { workers: NaN },
  { workers: '2' },
  { workers: 2n },
  { readOnly: 'no' },
  { valueEncoding: 'x' },
  { valueEncoding: Symbol('odd') },
  { timeoutMs: Object.create(null) },
  {
    get workers() {
      return throwing()
    },
  },
  { maxHeldBytes: {} },
  { reserveBytes: 2n ** 70n },
]

/** Errors of the database's own, or success; synchronously only if `method` says so. */
async function expectTyped(what: string, isAsync: boolean, act: () => unknown): Promise<void> {
  let result: unknown
  try {
    result = act()
  } catch (error) {
    expect(isAsync, `${what} threw instead of rejecting`).to.equal(false)
    expect(error, `${what}: ${(error as Error)?.stack}`).to.be.instanceOf(MmapdbError)
    return
  }
  if (isAsync) expect(result, what).to.be.instanceOf(Promise)
  await Promise.resolve(result).catch((error: unknown) =>
    expect(error, `${what}: ${(error as Error)?.stack}`).to.be.instanceOf(MmapdbError),
  )
}

const drain = (iterator: Iterable<unknown>): number => [...iterator].length

async function drainAsync(iterator: AsyncIterable<unknown>): Promise<number> {
  let count = 0
  for await (const _ of iterator) count++
  return count
}

function using(iterator: RangeIterator<unknown>, act: (iterator: RangeIterator<unknown>) => unknown): void {
  try {
    act(iterator)
  } finally {
    iterator.return()
  }
}

type Odd = never
const METHODS: Record<string, [isAsync: boolean, arity: number, call: (db: Database, ...odd: Odd[]) => unknown]> = {
  get: [false, 1, (db, k) => db.get(k)],
  getEntry: [false, 1, (db, k) => db.getEntry(k)],
  has: [false, 1, (db, k) => db.has(k)],
  getMany: [true, 1, (db, k) => db.getMany(k)],
  hasMany: [true, 1, (db, k) => db.hasMany(k)],
  'getMany of one': [true, 1, (db, k) => db.getMany([k])],
  range: [false, 1, (db, r) => drain(db.range(r))],
  keys: [false, 1, (db, r) => drain(db.keys(r))],
  values: [false, 1, (db, r) => drain(db.values(r))],
  'range from': [false, 1, (db, k) => drain(db.range({ gte: k }))],
  'range with a prefix': [false, 1, (db, k) => drain(db.range({ prefix: k }))],
  'seek in a range': [false, 1, (db, k) => using(db.range(), (range) => range.seek(k))],
  'nextMany of a range': [false, 1, (db, n) => using(db.keys(), (range) => range.nextMany(n))],
  rangeAsync: [false, 2, (db, r, o) => drainAsync(db.rangeAsync(r, o))],
  keysAsync: [false, 1, (db, r) => drainAsync(db.keysAsync(r))],
  'valuesAsync with options': [false, 1, (db, o) => drainAsync(db.valuesAsync({}, o))],
  count: [false, 1, (db, r) => db.count(r)],
  countAsync: [true, 1, (db, r) => db.countAsync(r)],
  put: [true, 2, (db, k, v) => db.put(k, v)],
  'put of a value': [true, 1, (db, v) => db.put('k', v)],
  del: [true, 1, (db, k) => db.del(k)],
  batch: [true, 1, (db, operations) => db.batch(operations)],
  putSync: [false, 2, (db, k, v) => db.putSync(k, v)],
  delSync: [false, 1, (db, k) => db.delSync(k)],
  batchSync: [false, 1, (db, operations) => db.batchSync(operations)],
}
const OTHER: Record<string, [isAsync: boolean, call: (db: Database) => unknown]> = {
  checkpoint: [true, (db) => db.checkpoint()],
  verify: [true, (db) => db.verify()],
  stats: [false, (db) => db.stats()],
  snapshot: [false, (db) => db.snapshot().close()],
}
const SNAPSHOT: Record<string, (snapshot: Snapshot, odd: Odd) => unknown> = {
  get: (s, k) => s.get(k),
  getEntry: (s, k) => s.getEntry(k),
  has: (s, k) => s.has(k),
  getMany: (s, k) => s.getMany(k),
  hasMany: (s, k) => s.hasMany(k),
  rangeAsync: (s, r) => drainAsync(s.rangeAsync(r, r)),
  range: (s, r) => drain(s.range(r)),
  keys: (s, r) => drain(s.keys(r)),
  values: (s, r) => drain(s.values(r)),
  count: (s, r) => s.count(r),
}

async function expectClosed(isAsync: boolean, what: string, act: () => unknown): Promise<void> {
  let error: unknown
  if (isAsync) {
    error = await (act() as Promise<unknown>).then(
      () => undefined,
      (e: unknown) => e,
    )
  } else {
    expect(act, what).to.throw().with.property('code', 'ERR_MMAPDB_CLOSED')
    return
  }
  expect(error, what).to.be.instanceOf(MmapdbError).with.property('code', 'ERR_MMAPDB_CLOSED')
}

describe('what a user may pass by mistake', function () {
  this.timeout(120_000)
  afterEach(cleanUp)

  for (const workers of [0, 1]) {
    for (const valueEncoding of ['msgpack', 'json', 'utf8', 'binary'] as const) {
      it(`is taken or refused with an error of the database's own, by every method (${workers} workers, ${valueEncoding})`, async () => {
        const db = (await open(scratchPath(), { workers, valueEncoding })) as Database
        const count = oddities().length
        for (const [name, [isAsync, , call]] of Object.entries(METHODS)) {
          for (let i = 0; i < count; i++) {
            const [odd, other] = [oddities()[i], oddities()[(i * 7) % count]] as Odd[]
            await expectTyped(`${name} of oddity ${i}`, isAsync, () => call(db, odd!, other!))
          }
        }
        const snapshot = db.snapshot()
        for (const [name, call] of Object.entries(SNAPSHOT)) {
          for (let i = 0; i < count; i++)
            await expectTyped(`snapshot.${name} of oddity ${i}`, false, () => call(snapshot, oddities()[i] as Odd))
        }
        snapshot.close()
        expect((await db.verify()).damage).to.deep.equal([])
        await db.close()
      })
    }
  }

  it('is refused as a key if its length is not valid, and nothing of it gets into the log', async () => {
    const db = (await open(scratchPath(), { workers: 0 })) as Database
    for (const length of [-1, 'x', NaN, 0.5, 1n, {}]) {
      const key = ofLength(length)
      const writes = [
        db.put(key, 1),
        db.del(key),
        db.batch([
          { type: 'put', key: 'a', value: 1 },
          { type: 'del', key },
        ]),
        db.put('neighbour', 1),
      ]
      const outcomes = await Promise.allSettled(writes)
      expect(
        outcomes.map((outcome) => (outcome.status === 'rejected' ? (outcome.reason as MmapdbError).code : 'written')),
      ).to.deep.equal(['ERR_MMAPDB_INVALID', 'ERR_MMAPDB_INVALID', 'ERR_MMAPDB_INVALID', 'written'])
      for (const act of [
        () => db.putSync(key, 1),
        () => db.delSync(key),
        () => db.get(key),
        () => [...db.keys({ gte: key })],
      ]) {
        expect(act).to.throw(InvalidError)
      }
    }
    expect([...db.keys()]).to.deep.equal(['neighbour'])
    await db.close()
  })

  it('may be bytes that say another length each time they are asked, and is stored as what it holds', async () => {
    const db = (await open(scratchPath(), { workers: 0, valueEncoding: 'binary' })) as Database
    for (let truths = 0; truths < 6; truths++) {
      let reads = 0
      const length = (): number => (reads++ < truths ? 3 : 500)
      class Liar extends Uint8Array {
        override get length(): number {
          return length()
        }
      }
      for (const value of [
        new Liar([1, 2, 3]),
        Object.defineProperty(new Uint8Array([1, 2, 3]), 'length', { get: length }),
      ]) {
        reads = 0
        db.putSync('key', value)
        expect([...(db.get('key') as Buffer)]).to.deep.equal([1, 2, 3])
      }
    }
    await db.close()
  })

  it('may throw what throws in its turn when it is looked at, and is refused like other errors', async () => {
    const hostile = new Proxy(
      {},
      {
        getPrototypeOf() {
          throw new Error('do not ask')
        },
      },
    )
    const throws = (): never => {
      throw hostile as Error
    }
    const db = await open(scratchPath(), { workers: 0 })
    const field = (name: string): object => Object.defineProperty({}, name, { get: throws, enumerable: true })
    const calls: [what: string, act: () => unknown][] = [
      ['a getter in a value', () => db.put('x', field('a'))],
      ['toJSON', () => db.put('x', { toJSON: throws })],
      ['toJSON, synchronously', () => db.putSync('x', { toJSON: throws })],
      ['a range', () => db.range(field('gte'))],
      ['a key', () => db.get(new Proxy([1], { get: throws }))],
      ['a list of keys', () => db.getMany(new Proxy([1], { get: throws }) as never)],
      ['options', () => open(scratchPath(), field('workers'))],
    ]
    for (const [what, act] of calls) {
      let code: unknown
      try {
        await act()
      } catch (error) {
        ;({ code } = error as { code?: unknown })
      }
      expect(code, what).to.equal('ERR_MMAPDB_INVALID')
    }
    await db.put('x', 1)
    await db.close()
  })

  it('is refused by open', async () => {
    for (const odd of oddities()) {
      await expectTyped('a path', true, () => open(odd as string, { createIfMissing: false }))
      await expectTyped('options', true, () => open(join(scratchDirectory(), 'missing', 'db'), odd as never))
    }
  })

  for (const workers of [0, 1]) {
    it(`is told what is closed, by every method: by those that return a promise, with it (${workers} workers)`, async () => {
      const db = await open(scratchPath(), { workers })
      for (let i = 0; i < 10; i++) db.putSync(i, i)
      const snapshot = db.snapshot()
      const iterator = snapshot.range()
      const own = db.range()
      own.next()
      snapshot.close()
      const arguments_: Record<string, unknown[]> = { getMany: [['k']], hasMany: [['k']], batch: [[]], batchSync: [[]] }
      for (const [name, call] of Object.entries(SNAPSHOT)) {
        const argument = /range|keys|values|count/.test(name) ? {} : 'k'
        const isList = name.endsWith('Many')
        await expectClosed(isList, `snapshot.${name}`, () => call(snapshot, (isList ? ['k'] : argument) as Odd))
      }
      await expectClosed(false, 'next', () => iterator.next())
      await db.close()
      await expectClosed(false, 'next', () => own.next())
      for (const [name, [isAsync, , call]] of Object.entries(METHODS)) {
        const fallback = /^(range|keys|values|count)/.test(name) && !name.includes(' ') ? [{}] : ['k', 'v']
        await expectClosed(isAsync, name, () => call(db, ...((arguments_[name] ?? fallback) as Odd[])))
      }
      for (const [name, [isAsync, call]] of Object.entries(OTHER)) await expectClosed(isAsync, name, () => call(db))
      await db.close()
      snapshot.close()
    })
  }
})

describe('what may lie at a path', () => {
  afterEach(cleanUp)

  const codeOf = (path: string, options = {}): Promise<string> =>
    open(path, { workers: 0, ...options }).then(
      async (db) => {
        await db.close()
        return 'opened'
      },
      (error: unknown) => {
        expect(error, String((error as Error).stack)).to.be.instanceOf(MmapdbError)
        return (error as MmapdbError).code.replace('ERR_MMAPDB_', '')
      },
    )
  const fifo = (path: string): void => void execFileSync('mkfifo', [path])
  const cases: Record<string, readonly [prepare: (at: string) => string, code: string]> = {
    'a directory below one that is missing': [(at) => join(at, 'no', 'such', 'db'), 'NOT_FOUND'],
    'a directory right below a file': [
      (at) => (writeFileSync(join(at, 'file'), ''), join(at, 'file', 'db')),
      'NOT_A_DATABASE',
    ],
    'a directory far below a file': [
      (at) => (writeFileSync(join(at, 'file'), ''), join(at, 'file', 'a', 'db')),
      'NOT_A_DATABASE',
    ],
    'a file': [(at) => (writeFileSync(join(at, 'file'), ''), join(at, 'file')), 'NOT_A_DATABASE'],
    'a pipe': [(at) => (fifo(join(at, 'pipe')), join(at, 'pipe')), 'NOT_A_DATABASE'],
    'a device': [() => '/dev/null', 'NOT_A_DATABASE'],
    'a directory whose data file is a directory': [(at) => (mkdirSync(join(at, 'data')), at), 'NOT_A_DATABASE'],
    'a directory whose data file is a pipe': [(at) => (fifo(join(at, 'data')), at), 'NOT_A_DATABASE'],
    'a directory whose log is a file': [(at) => (writeFileSync(join(at, 'wal'), ''), at), 'NOT_A_DATABASE'],
    'a directory whose control file is a directory': [(at) => (mkdirSync(join(at, 'control')), at), 'NOT_A_DATABASE'],
    'a directory whose control file is a pipe': [(at) => (fifo(join(at, 'control')), at), 'opened'],
    'a link that leads to itself': [(at) => (symlinkSync('loop', join(at, 'loop')), join(at, 'loop')), 'INVALID'],
    'a link that leads nowhere': [(at) => (symlinkSync('gone', join(at, 'link')), join(at, 'link')), 'NOT_FOUND'],
    ...Object.fromEntries(
      ['data', 'wal', 'control'].map((name) => [
        `a directory whose "${name}" is a link that leads nowhere`,
        [
          (at: string): string => (symlinkSync(join(at, '..', `made-${basename(at)}`), join(at, name)), at),
          'NOT_A_DATABASE',
        ] as const,
      ]),
    ),
    'a name that is too long': [(at) => join(at, 'x'.repeat(300)), 'INVALID'],
    'a path that is too long': [(at) => join(at, 'x/'.repeat(3000)), 'INVALID'],
    'a name with a NUL': [(at) => join(at, 'a\0b'), 'INVALID'],
  }
  for (const [what, [prepare, code]] of Object.entries(cases)) {
    it(`${what}: ${code}`, async () => {
      const at = scratchDirectory()
      expect(await codeOf(prepare(at))).to.equal(code)
      if (what.includes('nowhere'))
        expect(existsSync(join(at, '..', `made-${basename(at)}`)), 'made elsewhere').to.equal(false)
    })
  }
})
