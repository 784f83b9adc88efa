// Random operations called from inside getters, toJSON, proxies, generators and keys of other operations, several
// deep, on this and on another database, beside a model. If these fail, users' code that runs inside a call
// spoils what the call was about, or the call spoils what that code wrote.
//
// A write takes its place when its call returns: what was written inside it comes before it.
import { expect } from 'chai'
import { mix, Random } from '../../crash-tests/lib/random.js'
import { encodeKey, KEY_BUFFER_BYTES, type Key } from '../../src/encoding/keys.js'
import { ClosedError, InvalidError } from '../../src/errors.js'
import { open, type BatchOperation, type Database, type Range, type ValueEncoding } from '../../src/index.js'
import { cleanUp, rounds, scratchPath } from '../support/engine.js'

const MAX_DEPTH = 3
const STEPS = rounds(80)
const seed =
  process.env['MMAPDB_TEST_SEED'] === undefined
    ? Math.floor(Math.random() * 2 ** 31)
    : Number(process.env['MMAPDB_TEST_SEED'])

const buffer = Buffer.alloc(KEY_BUFFER_BYTES)
const nameOf = (key: Key): string => buffer.toString('latin1', 0, encodeKey(key, buffer))

/** Thrown by users' code on purpose. */
class Thrown extends Error {}
const isThrown = (error: unknown): boolean =>
  error instanceof Thrown || (error instanceof InvalidError && error.cause instanceof Thrown)

/** One call of the database. */
interface Call {
  /** Users' code that ran in it has thrown. */
  threw: boolean
}

/** What is passed to the database, what it stands for, and how its owner spoils it when the call has returned. */
interface Argument<T> {
  readonly given: T
  readonly plain: T
  readonly spoil: () => void
}
const unspoilt = (): void => undefined

interface Store {
  readonly db: Database
  readonly model: Map<string, unknown>
  /** All that was ever to be put under a key. */
  readonly history: Map<string, unknown[]>
}

class Scene {
  readonly #random: Random
  readonly #stores: Store[] = []
  readonly #promises: Promise<unknown>[] = []
  #depth = 0
  #n = 0
  /** Operations inside others. */
  nested = 0

  constructor(
    readonly encoding: ValueEncoding,
    readonly isAsync: boolean,
    readonly workers: number,
  ) {
    this.#random = new Random(mix(seed, encoding.length, Number(isAsync), workers))
  }

  async run(): Promise<void> {
    for (let i = 0; i < 2; i++) {
      // So few bytes may be under way that frames of asynchronous writes have to wait.
      const db = (await open(scratchPath(), {
        workers: this.workers,
        valueEncoding: this.encoding,
        maxInFlightBytes: 65536,
      })) as Database
      this.#stores.push({ db, model: new Map(), history: new Map() })
    }
    for (let step = 0; step < STEPS; step++) {
      this.#act()
      if (this.#random.chance(0.1)) await this.#settle()
    }
    await this.#settle()
    for (const { db } of this.#stores) {
      expect((await db.verify()).damage).to.deep.equal([])
      await db.close()
    }
  }

  async #settle(): Promise<void> {
    await Promise.all(this.#promises.splice(0))
    for (const { db, model } of this.#stores) {
      const found = new Map([...db.range()].map(([key, value]) => [nameOf(key), value as unknown]))
      expect([...found.keys()].sort()).to.deep.equal([...model.keys()].sort())
      for (const [name, value] of model) expect(found.get(name), name).to.deep.equal(value)
    }
  }

  // ---- arguments that run code of their user's

  /** Gives `value` when it is asked, once, after having done something with a database; or throws. */
  #asked<T>(call: Call, value: T): () => T {
    let isRead = false
    return () => {
      expect(isRead, 'an argument was read twice').to.equal(false)
      isRead = true
      this.#inside()
      if (this.#random.chance(0.05)) {
        call.threw = true
        throw new Thrown('on purpose')
      }
      return value
    }
  }

  #inside(): void {
    if (this.#depth >= MAX_DEPTH) return
    this.#depth++
    for (let n = this.#random.pick([0, 1, 1, 2]); n > 0; n--) {
      this.nested++
      this.#act()
    }
    this.#depth--
  }

  /** The same object, with getters for some of its fields. */
  #withGetters<T extends object>(call: Call, fields: T): T {
    const object = {}
    for (const [name, value] of Object.entries(fields)) {
      if (this.#random.chance(0.3))
        Object.defineProperty(object, name, { enumerable: true, get: this.#asked(call, value as unknown) })
      else Object.assign(object, { [name]: value as unknown })
    }
    return object as T
  }

  #key(call: Call): Argument<Key> {
    const n = this.#random.between(0, 5)
    const kind = this.#random.pick(['string', 'bytes', 'list', 'getter', 'proxy'])
    if (kind === 'string') return { given: `key ${n}`, plain: `key ${n}`, spoil: unspoilt }
    if (kind === 'bytes') {
      const given = Buffer.from([n, 1, 2])
      return { given, plain: Uint8Array.from(given), spoil: () => given.fill(9) }
    }
    const plain = ['list', n, 'x']
    const given = [...plain]
    const asked = this.#asked(call, n)
    if (kind === 'getter') Object.defineProperty(given, 1, { get: asked })
    if (kind !== 'proxy') return { given, plain, spoil: kind === 'list' ? () => given.fill('spoilt') : unspoilt }
    const get = (target: typeof given, name: string | symbol): unknown =>
      name === '1' ? asked() : Reflect.get(target, name)
    return { given: new Proxy(given, { get }), plain, spoil: unspoilt }
  }

  #value(call: Call): Argument<unknown> {
    const n = this.#n++
    const text = `value ${n} `.repeat(this.#random.pick([1, 1, 1, 40, 400]))
    if (this.encoding === 'utf8') return { given: text, plain: text, spoil: unspoilt }
    if (this.encoding === 'binary') {
      const given = Buffer.from(text)
      return { given, plain: Buffer.from(text), spoil: () => given.fill(9) }
    }
    const plain = { n, text, list: [n, { deep: `${n}` }], last: true }
    const copy = structuredClone(plain)
    switch (this.#random.pick(['plain', 'getters', 'toJSON', 'deep'])) {
      case 'plain':
        return { given: copy, plain, spoil: () => Object.assign(copy, { n: 'spoilt', text: '' }) }
      case 'getters':
        return { given: this.#withGetters(call, copy), plain, spoil: unspoilt }
      case 'toJSON': {
        const asked = this.#asked(call, copy)
        const Class = class {
          toJSON(): unknown {
            return asked()
          }
        }
        return { given: new Class(), plain, spoil: unspoilt }
      }
      default:
        copy.list[1] = this.#withGetters(call, copy.list[1] as object) as never
        return { given: copy, plain, spoil: unspoilt }
    }
  }

  // ---- operations

  #act(): void {
    const store = this.#random.pick(this.#stores)
    const act = this.#random.pick([
      this.#put,
      this.#put,
      this.#del,
      this.#batch,
      this.#get,
      this.#has,
      this.#getMany,
      this.#range,
      this.#snapshot,
    ])
    try {
      act.call(this, store)
    } catch (error) {
      if (!isThrown(error)) throw error
    }
  }

  /** Writes, and does to the model what has been written once the call has returned. */
  #write(call: Call, sync: () => void, async: () => Promise<unknown>, written: () => void): void {
    if (!this.isAsync) {
      sync()
      expect(call.threw, "the error of users' code got lost").to.equal(false)
      return written()
    }
    const refused = async().then(
      () => false,
      (error: unknown) => {
        if (!isThrown(error)) throw error
        return true
      },
    )
    const { threw } = call
    if (!threw) written()
    this.#promises.push(refused.then((was) => expect(was, "refused because users' code threw").to.equal(threw)))
  }

  #set({ model, history }: Store, name: string, value: unknown): void {
    model.set(name, value)
    history.set(name, [...(history.get(name) ?? []), value])
  }

  #put(store: Store): void {
    const call = { threw: false }
    const key = this.#key(call)
    const value = this.#value(call)
    this.#write(
      call,
      () => store.db.putSync(key.given, value.given),
      () => store.db.put(key.given, value.given),
      () => {
        this.#set(store, nameOf(key.plain), value.plain)
      },
    )
    key.spoil()
    value.spoil()
  }

  #del(store: Store): void {
    const call = { threw: false }
    const key = this.#key(call)
    this.#write(
      call,
      () => store.db.delSync(key.given),
      () => store.db.del(key.given),
      () => store.model.delete(nameOf(key.plain)),
    )
    key.spoil()
  }

  #batch(store: Store): void {
    const call = { threw: false }
    const operations = Array.from({ length: this.#random.between(0, 5) }, () => {
      const key = this.#key(call)
      const value = this.#random.chance(0.8) ? this.#value(call) : undefined
      const given =
        value === undefined ? { type: 'del', key: key.given } : { type: 'put', key: key.given, value: value.given }
      return { key, value, given: this.#withGetters(call, given) as BatchOperation }
    })
    const given = operations.map((operation) => operation.given)
    const asked = operations.map((operation) => this.#asked(call, operation.given))
    const list = this.#random.pick([
      given,
      (function* () {
        for (const one of asked) yield one()
      })(),
      new Proxy(given, {
        get: (target, name) =>
          (typeof name === 'string' && /^\d+$/.test(name)
            ? asked[Number(name)]!()
            : Reflect.get(target, name)) as unknown,
      }),
    ])
    this.#write(
      call,
      () => store.db.batchSync(list),
      () => store.db.batch(list),
      () => {
        for (const { key, value } of operations) {
          if (value === undefined) store.model.delete(nameOf(key.plain))
          else this.#set(store, nameOf(key.plain), value.plain)
        }
      },
    )
    given.length = 0
    for (const { key, value } of operations) {
      key.spoil()
      value?.spoil()
    }
  }

  /** What is read is what the model has; while writes are on their way, what was to be written at some time. */
  #expectRead(store: Store, name: string, found: unknown): void {
    if (!this.isAsync) expect(found, name).to.deep.equal(store.model.get(name))
    else expect([undefined, ...(store.history.get(name) ?? [])], name).to.deep.include(found)
  }

  #get(store: Store): void {
    const { given, plain } = this.#key({ threw: false })
    const entry = this.#random.chance(0.5) ? { value: store.db.get(given) as unknown } : store.db.getEntry(given)
    this.#expectRead(store, nameOf(plain), entry?.value)
  }

  #has(store: Store): void {
    const { given, plain } = this.#key({ threw: false })
    const found = store.db.has(given)
    if (!this.isAsync) expect(found).to.equal(store.model.has(nameOf(plain)))
  }

  #getMany(store: Store): void {
    const call = { threw: false }
    const keys = Array.from({ length: this.#random.between(0, 4) }, () => this.#key(call))
    const given = keys.map((key) => key.given)
    const found = store.db.getMany(given)
    const { threw } = call
    this.#promises.push(
      found.then(
        (values) => {
          expect(threw).to.equal(false)
          expect(values).to.have.length(keys.length)
          keys.forEach(({ plain }, i) =>
            expect([undefined, ...(store.history.get(nameOf(plain)) ?? [])]).to.deep.include(values[i]),
          )
        },
        (error: unknown) => {
          if (!isThrown(error) || !threw) throw error
        },
      ),
    )
    given.length = 0
    for (const { spoil } of keys) spoil()
  }

  #range(store: Store): void {
    const call = { threw: false }
    const from = this.#key(call)
    const to = this.#key(call)
    const range = this.#withGetters<Range>(call, { gte: from.given, lt: to.given, reverse: this.#random.chance(0.5) })
    const entries = store.db.range(range)
    const isWithin = ([name]: [string, unknown]): boolean => name >= nameOf(from.plain) && name < nameOf(to.plain)
    const expected = new Map([...store.model].filter(isWithin))
    let n = 0
    for (const [key, value] of entries) {
      n++
      if (!this.isAsync) expect(value, nameOf(key)).to.deep.equal(expected.get(nameOf(key)))
      // What is written meanwhile is not in it.
      this.#inside()
      if (this.#random.chance(0.05)) return
    }
    if (!this.isAsync) expect(n).to.equal(expected.size)
  }

  #snapshot(store: Store): void {
    const expected = new Map(store.model)
    const snapshot = store.db.snapshot()
    try {
      this.#inside()
      const { given, plain } = this.#key({ threw: false })
      const found = snapshot.get(given) as unknown
      if (!this.isAsync) expect(found).to.deep.equal(expected.get(nameOf(plain)))
      if (!this.isAsync) expect(snapshot.count()).to.equal(expected.size)
    } finally {
      snapshot.close()
    }
  }
}

describe("users' code that calls the database from inside a call", function () {
  this.timeout(300_000)
  afterEach(cleanUp)

  for (const encoding of ['msgpack', 'json', 'utf8', 'binary'] as const) {
    for (const [isAsync, workers] of [
      [false, 0],
      [true, 0],
      [true, 2],
    ] as const) {
      it(`does what it would do outside of it: ${encoding}, ${isAsync ? 'asynchronous' : 'synchronous'} writes, ${workers} workers`, async () => {
        const scene = new Scene(encoding, isAsync, workers)
        try {
          await scene.run()
        } catch (error) {
          ;(error as Error).message += ` (MMAPDB_TEST_SEED=${seed})`
          throw error
        }
        expect(scene.nested).to.be.greaterThan(20)
      })
    }
  }

  for (const workers of [0, 1]) {
    const closing: Record<string, (db: Database, close: () => void) => unknown> = {
      'toJSON of a put': (db, close) => db.put('k', { toJSON: () => (close(), 1) }),
      'a key of a put': (db, close) => db.put([{ toString: close }, 1] as never, 1),
      'a getter of a key': (db, close) => db.put(Object.defineProperty(['a', 1], 1, { get: () => (close(), 1) }), 1),
      'the generator of a batch': (db, close) =>
        db.batch(
          (function* () {
            yield { type: 'put', key: 1, value: 1 } as const
            close()
          })(),
        ),
      'toJSON of a putSync': (db, close) => db.putSync('k', { toJSON: () => (close(), 1) }),
      'the generator of a batchSync': (db, close) =>
        db.batchSync(
          (function* () {
            yield { type: 'put', key: 1, value: 1 } as const
            close()
          })(),
        ),
      'a key that is looked up': (db, close) => db.get(Object.defineProperty(['a', 1], 1, { get: () => (close(), 1) })),
      'keys that are looked up': (db, close) =>
        db.getMany([Object.defineProperty(['a', 1], 1, { get: () => (close(), 1) })]),
      'a bound of a range': (db, close) => [
        ...db.range({
          get gte() {
            close()
            return 1
          },
        }),
      ],
      'a bound of a count': (db, close) =>
        db.countAsync({
          get gte() {
            close()
            return 1
          },
        }),
      'a loop over a range': (db, close) => {
        for (const _ of db.range()) close()
      },
      'a key of a snapshot': (db, close) =>
        db.snapshot().get(Object.defineProperty(['a', 1], 1, { get: () => (close(), 1) })),
    }
    for (const [what, act] of Object.entries(closing)) {
      it(`may close it: ${what} (${workers} workers)`, async () => {
        const path = scratchPath()
        const db = (await open(path, { workers })) as Database
        for (let i = 0; i < 3; i++) db.putSync(i, i)
        let closed: Promise<void> | undefined
        const close = (): void => void (closed ??= db.close())
        const error = await (async () => act(db, close))().then(
          () => undefined,
          (e: unknown) => e,
        )
        await closed
        // Reading may still succeed while the calls that were made before are waited for.
        if (what !== 'a key of a put' && error !== undefined) expect(error).to.be.instanceOf(ClosedError)
        if (/put|batch/.test(what)) expect(error).to.not.equal(undefined)
        const again = await open(path, { workers: 0 })
        expect([...again.range()]).to.deep.equal([
          [0, 0],
          [1, 1],
          [2, 2],
        ])
        await again.close()
      })
    }
  }
})
