// Named stores, and clearing: as users see them. If these failed, a store would show what is another's, writes would be
// lost in a store that is gone, or what was cleared would come back.
import { expect } from 'chai'
import { FullError, NotFoundError, open, StoreDroppedError, type Database, type Store } from '../../src/index.js'
import { decodeHeader, type Header } from '../../src/engine/format/header.js'
import { resolveOptions } from '../../src/engine/options.js'
import { newState, STATE } from '../../src/engine/shared/control.js'
import { salvage } from '../../src/maintenance/salvage.js'
import { posixStorage } from '../../src/storage/posix.js'
import {
  cleanUp,
  crashCopy,
  dataFile,
  expectSound as expectSoundEngine,
  flipByte,
  heard,
  inThread,
  openEngine,
  readBytes,
  scratchPath,
  SLOT_BYTES,
} from '../support/engine.js'

const MANY = 20_000

const many = (from: number, count: number): { type: 'put'; key: number; value: string }[] =>
  Array.from({ length: count }, (_, i) => ({ type: 'put', key: from + i, value: `value ${from + i}` }))

/** Waits until the tree has less than that many leaves: what was cleared is freed in the background. */
async function whenFreed(db: Database, leaves: number): Promise<void> {
  for (const untilMs = performance.now() + 20_000; db.stats().slots.leaf >= leaves && performance.now() < untilMs;)
    await new Promise((resolve) => setTimeout(resolve, 20))
  expect(db.stats().slots.leaf).to.be.below(leaves)
}

async function rejection(act: () => Promise<unknown>): Promise<unknown> {
  try {
    await act()
  } catch (error) {
    return error
  }
  return undefined
}

for (const workers of [0, 2]) {
  describe(`stores, with ${workers} workers`, function () {
    this.timeout(60_000)
    const databases: Database[] = []
    let path: string
    const opened = async (options = {}): Promise<Database> => {
      const db = await open(path, { workers, ...options })
      databases.push(db)
      return db
    }
    beforeEach(() => (path = scratchPath()))
    afterEach(async () => {
      for (const db of databases.splice(0)) await db.close()
      cleanUp()
    })
    const expectSound = async (db: Database): Promise<void> => {
      const report = await db.verify()
      expect(report.damage).to.deep.equal([])
      expect(report.entries, 'entries').to.equal(db.stats().entries)
    }

    it('have keys, values and encodings of their own', async () => {
      const db = await opened()
      const users = db.store('users', { valueEncoding: 'json' })
      const log = db.store('log', { valueEncoding: 'binary' })
      await db.put('a', new Map([[1, 2]]))
      await users.put('a', { name: 'Ada' })
      await log.put('a', Buffer.from('bytes'))
      users.putSync(null, 'nothing')
      await users.batch([
        { type: 'put', key: ['b', 1], value: 1 },
        { type: 'add', key: ['b', 1], delta: 4 },
      ])
      expect(db.stores()).to.deep.equal(['log', 'users'])
      expect([users.name, db.name]).to.deep.equal(['users', undefined])
      expect([...db.range()]).to.deep.equal([['a', new Map([[1, 2]])]])
      expect([...users.range()]).to.deep.equal([
        [null, 'nothing'],
        ['a', { name: 'Ada' }],
        [['b', 1], 5],
      ])
      expect([...log.values({ prefix: 'a' })]).to.deep.equal([Buffer.from('bytes')])
      expect(await users.getMany(['a', 'b', null])).to.deep.equal([{ name: 'Ada' }, undefined, 'nothing'])
      expect(await log.hasMany(['a', null])).to.deep.equal([true, false])
      const found = []
      for await (const entry of users.rangeAsync({ reverse: true, limit: 2 })) found.push(entry)
      expect(found).to.deep.equal([
        [['b', 1], 5],
        ['a', { name: 'Ada' }],
      ])
      expect([users.count(), await users.countAsync(), db.count(), log.count()]).to.deep.equal([3, 3, 1, 1])
      expect(db.stats().entries).to.equal(5)
      expect(await users.del('a')).to.equal(true)
      expect([users.has('a'), db.has('a'), log.has('a')]).to.deep.equal([false, true, true])
      await expectSound(db)
    })

    it('take part in transactions and updates', async () => {
      const db = await opened()
      const [from, to] = [db.store('from', { valueEncoding: 'json' }), db.store('to')]
      await from.put('a', 10)
      await to.put('a', 1)
      expect(await from.update('a', (n: number) => n + 5)).to.equal(15)
      const left = await db.transaction((tx) => {
        const [out, into] = [tx.store('from'), tx.store('to')]
        const n = out.get('a') as number
        out.put('a', n - 4)
        into.add('a', 4)
        tx.put('moves', 4)
        expect([...into.range()]).to.deep.equal([['a', 5]])
        return n - 4
      })
      expect([left, from.get('a'), to.get('a'), db.get('moves')]).to.deep.equal([11, 11, 5, 4])
      let tries = 0
      await db.transaction(async (tx) => {
        const count = tx.store('to').count()
        if (tries++ === 0) await to.put('b', 1)
        tx.put('count', count)
      })
      expect([tries, db.get('count')], 'another store is read').to.deep.equal([2, 2])
      await db.dropStore('to')
      expect(await rejection(() => to.update('a', () => 1))).to.be.instanceOf(StoreDroppedError)
    })

    it('lock records of their own', async () => {
      const db = await opened()
      const [a, b] = [db.store('a'), db.store('b')]
      using held = a.tryLock('key')!
      expect(held.keys).to.deep.equal(['key'])
      expect(a.tryLock('key')).to.equal(undefined)
      using other = b.tryLock('key')!
      using main = await db.lock('key')
      expect([other.isHeld, main.isHeld]).to.deep.equal([true, true])
      expect(db.locks().map(({ store, key }) => [store, key])).to.deep.equal([
        ['a', 'key'],
        ['b', 'key'],
        [undefined, 'key'],
      ])
    })

    it('are there again when the database is opened again, and after a crash', async () => {
      const db = await opened()
      db.store('a', { valueEncoding: 'utf8' }).putSync('key', 'text')
      db.store('b').putSync('key', [1])
      const copy = crashCopy(path)
      await db.close()
      for (const place of [path, copy]) {
        path = place
        const again = await opened()
        expect(again.stores()).to.deep.equal(['a', 'b'])
        expect([again.store('a').valueEncoding, again.store('a').get('key')]).to.deep.equal(['utf8', 'text'])
        expect(again.store('b').get('key')).to.deep.equal([1])
        expect(() => again.store('a', { valueEncoding: 'json' }))
          .to.throw(/has values in utf8, not in json/)
          .with.property('code', 'ERR_MMAPDB_INVALID')
        await expectSound(again)
      }
    })

    it('refuse names and options that are none', async () => {
      const db = await opened()
      for (const name of ['', 'x'.repeat(256), '\ud800', 5, undefined, null, ['a']] as string[])
        expect(() => db.store(name), String(name))
          .to.throw()
          .with.property('code', 'ERR_MMAPDB_INVALID')
      for (const options of [5, null, { encoding: 'json' }, { valueEncoding: 'xml' }] as never[])
        expect(() => db.store('name', options))
          .to.throw()
          .with.property('code', 'ERR_MMAPDB_INVALID')
      expect(db.stores()).to.deep.equal([])
      expect(db.store('x'.repeat(255)).name).to.equal('x'.repeat(255))
      const readOnly = await opened({ readOnly: true })
      expect(readOnly.stores().length).to.equal(1)
      expect(() => readOnly.store('none')).to.throw(NotFoundError)
    })

    it('that several make at once are one', async () => {
      const handles = await Promise.all([opened(), opened(), opened()])
      const stores = handles.map((db) => db.store('one'))
      await Promise.all(stores.map((store, i) => store.put(i, i)))
      for (const store of stores) expect([...store.keys()]).to.deep.equal([0, 1, 2])
      expect(handles[0]!.stores()).to.deep.equal(['one'])
    })

    it('that threads make at once are one', async () => {
      const count = 100
      const body = `
        const db = open()
        for (let i = 0; i < ${count}; i++) {
          const space = db.stores.open('store ' + i, undefined)
          db.write((frame) => db.operations.put(frame, who, i, undefined, space))
        }
        say('done')
        db.close()`
      const db = await opened()
      const threads = ['a', 'b', 'c'].map((who) => inThread(path, `const who = '${who}'\n${body}`, { workers: 0 }))
      await Promise.all(threads.map((thread) => heard(thread, 'done')))
      expect(db.stores().length).to.equal(count)
      for (const name of db.stores()) expect([...db.store(name).keys()], name).to.deep.equal(['a', 'b', 'c'])
    })

    it('take up to 1024 bytes of key beside their own bytes', async () => {
      const db = await opened()
      const store = db.store('store')
      await store.put('k'.repeat(1024), 1)
      expect(store.get('k'.repeat(1024))).to.equal(1)
      expect(await rejection(() => store.put('k'.repeat(1025), 1))).to.have.property('code', 'ERR_MMAPDB_INVALID')
      await expectSound(db)
    })

    it('that are dropped are gone for all, and take no more writes', async () => {
      const db = await opened()
      const other = await opened()
      const store = db.store('store')
      const there = other.store('store')
      await store.batch(many(0, MANY))
      await there.put('late', 1)
      const snapshot = other.snapshot()
      expect(await other.dropStore('store')).to.equal(true)
      expect([store.count(), there.count(), db.stats().entries]).to.deep.equal([0, 0, 0])
      for (const gone of [store, there]) {
        expect(await rejection(() => gone.put('x', 1))).to.be.instanceOf(StoreDroppedError)
        expect(await rejection(() => gone.batch(many(0, 3)))).to.be.instanceOf(StoreDroppedError)
        expect(await rejection(() => gone.clear())).to.be.instanceOf(StoreDroppedError)
        expect(() => gone.delSync('late')).to.throw(StoreDroppedError)
      }
      expect(await db.dropStore('store')).to.equal(false)
      const again = db.store('store', { valueEncoding: 'json' })
      await again.put('late', 'new')
      expect([...other.store('store').range()]).to.deep.equal([['late', 'new']])
      expect(there.count()).to.equal(0)
      const then = snapshot.store('store')
      expect([then.count(), then.get('late'), then.get(MANY - 1)]).to.deep.equal([MANY + 1, 1, `value ${MANY - 1}`])
      snapshot.close()
      await whenFreed(db, 5)
      await expectSound(db)
    })

    it('lose no write that shares a frame with one to a dropped store', async () => {
      const db = await opened()
      const other = await opened()
      const [kept, gone] = [db.store('kept'), db.store('gone')]
      await other.dropStore('gone')
      // Encoded before the drop is known here.
      const results = await Promise.allSettled([kept.put('a', 1), gone.put('b', 1), kept.put('c', 1), db.put('d', 1)])
      expect(results.map(({ status }) => status)).to.deep.equal(['fulfilled', 'rejected', 'fulfilled', 'fulfilled'])
      expect([kept.count(), gone.count(), db.count()]).to.deep.equal([2, 0, 1])
    })

    it('take no write that follows their drop, at once or from code that is run in between', async () => {
      const db = await opened()
      const gone: Store = db.store('gone', { valueEncoding: 'json' })
      await gone.put('before', 1)
      const dropping = db.dropStore('gone')
      const late = [
        gone.put('a', 'x'.repeat(9000)),
        gone.add('b', 1),
        gone.batch([{ type: 'put', key: 'c', value: 1 }]),
        db.store('gone').put('d', 1),
      ]
      const main = db.put('main', 1)
      for (const result of await Promise.allSettled(late))
        expect(result).to.have.property('reason').that.is.instanceOf(StoreDroppedError)
      expect([await dropping, await main]).to.deep.equal([true, true])

      const again: Store = db.store('gone')
      let dropped: Promise<boolean> | undefined
      const drops = function* (): Generator<{ type: 'put'; key: string; value: number }> {
        yield { type: 'put', key: 'a', value: 1 }
        dropped = db.dropStore('gone')
        yield { type: 'put', key: 'b', value: 1 }
      }
      expect(await rejection(() => again.batch(drops()))).to.be.instanceOf(StoreDroppedError)
      expect(await dropped).to.equal(true)
      expect([db.count(), db.stats().entries, gone.count(), again.count()]).to.deep.equal([1, 1, 0, 0])
      await expectSound(db)
    })

    it('can be dropped where there is no room for anything else', async () => {
      const db = await opened({ reserveBytes: 4 * 1024 * 1024, valueEncoding: 'binary' })
      const store = db.store('store')
      for (const bytes of [100_000, 1000, 10])
        for (let i = 0, isFull = false; !isFull; i++)
          isFull = (await rejection(() => store.put([bytes, i], Buffer.alloc(bytes)))) instanceof FullError
      expect(await db.dropStore('store')).to.equal(true)
      expect([db.stores(), db.stats().entries]).to.deep.equal([[], 0])
      await whenFreed(db, 10)
      await db.put('there is room', Buffer.alloc(100_000))
      await expectSound(db)
    })

    it('take no write that was built before they were dropped and appended after', async () => {
      const db = await opened({ workers: 0 })
      const other = await opened({ workers: 0 })
      const gone: Store = db.store('gone')
      // The key is read before the frame is appended: there the other one drops the store.
      const key = new Proxy(['key'], {
        get(target, name, receiver) {
          if (name === 'length') dropNow()
          return Reflect.get(target, name, receiver) as unknown
        },
      })
      let isDropped = false
      let dropping: Promise<boolean> | undefined
      const dropNow = (): void => {
        if (isDropped) return
        isDropped = true
        dropping = other.dropStore('gone')
      }
      const write = rejection(() => gone.put(key, 1))
      const error = await write
      expect(await dropping).to.equal(true)
      if (error !== undefined) expect(error).to.be.instanceOf(StoreDroppedError)
      expect(gone.count()).to.equal(0)
      expect(db.stats().entries).to.equal(0)
      await expectSound(db)
    })
  })

  describe(`clearing, with ${workers} workers`, function () {
    this.timeout(60_000)
    let db: Database
    beforeEach(async () => (db = await open(scratchPath(), { workers })))
    afterEach(async () => {
      await db.close()
      cleanUp()
    })

    it('removes a range at once, and frees its room', async () => {
      await db.batch(many(0, MANY))
      const full = db.stats().slots.leaf
      const snapshot = db.snapshot()
      await db.clear({ gte: 100, lt: MANY - 100 })
      expect(db.count()).to.equal(200)
      expect(db.stats().entries).to.equal(200)
      expect([db.get(99), db.get(100), db.get(MANY - 101), db.get(MANY - 100)]).to.deep.equal([
        'value 99',
        undefined,
        undefined,
        `value ${MANY - 100}`,
      ])
      expect(snapshot.count()).to.equal(MANY)
      snapshot.close()
      await whenFreed(db, full / 20)
      const report = await db.verify()
      expect([report.damage, report.entries]).to.deep.equal([[], 200])
    })

    it('takes every kind of range', async () => {
      const store = db.store('store')
      const cases: [object, (n: number) => boolean][] = [
        [{ gt: 3, lte: 6 }, (n) => n > 3 && n <= 6],
        [{ gte: 3, limit: 2 }, (n) => n === 3 || n === 4],
        [{ lt: 8, reverse: true, limit: 3 }, (n) => n >= 5 && n < 8],
        [{ gte: 6, lt: 6 }, () => false],
        [{ gt: 3, lt: 4 }, () => false],
        [{ limit: 0 }, () => false],
        [{}, () => true],
      ]
      await db.put('main', 1)
      for (const [range, isGone] of cases) {
        await store.batch(many(0, 10))
        await store.clear(range)
        const left = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].filter((n) => !isGone(n))
        expect([...store.keys()], JSON.stringify(range)).to.deep.equal(left)
      }
      expect(await rejection(() => store.clear({ from: 1 } as never))).to.have.property('code', 'ERR_MMAPDB_INVALID')
      expect([...db.keys()]).to.deep.equal(['main'])
      await db.clear()
      expect([...db.keys(), ...store.keys(), ...db.stores()]).to.deep.equal(['store'])
    })

    it('goes on where the process ended that cleared', async () => {
      await db.batch(many(0, MANY))
      await db.checkpoint()
      const cleared = db.clear({ gte: 10 })
      const { path } = db
      await cleared
      const copy = crashCopy(path)
      const again = await open(copy, { workers })
      try {
        expect([again.count(), again.stats().entries]).to.deep.equal([10, 10])
        await whenFreed(again, 5)
        expect((await again.verify()).damage).to.deep.equal([])
      } finally {
        await again.close()
      }
    })

    /** A crash after a checkpoint, with 3,800 of 4,000 values cleared and none of their leaves freed. */
    async function crashWithTrash(): Promise<string> {
      const filled = openEngine(scratchPath(), { workers: 0, valueEncoding: 'binary' })
      const value = Buffer.alloc(900, 'v')
      filled.batch(Array.from({ length: 4000 }, (_, i) => ({ type: 'put', key: i, value })))
      const { main } = filled
      filled.write((frame) => frame.clear(main.encoded(100), main.encoded(3900)))
      filled.checkpoint(true)
      expect(filled.hasTrash).to.equal(true)
      return crashCopy(filled.parts.options.path)
    }

    it('is gone on with after a crash that follows a checkpoint', async () => {
      const engine = openEngine(await crashWithTrash(), { workers: 0 })
      expect([engine.hasTrash, engine.stats().entries, engine.count(undefined)]).to.deep.equal([true, 200, 200])
      while (engine.emptyTrash(1000));
      expect(engine.stats().slots.leaf).to.be.below(100)
      expectSoundEngine(engine)
    })

    it('leaves the trash alone when the free list is made again', async () => {
      const path = await crashWithTrash()
      // The header that counts has the higher number; its free list begins in the slot that it names.
      const newest = [0, 1]
        .map((slot) => decodeHeader(readBytes(dataFile(path), slot * SLOT_BYTES, SLOT_BYTES), slot) as Header)
        .reduce((a, b) => (a.checkpointNumber > b.checkpointNumber ? a : b))
      expect(newest.freeListHead).to.be.above(0)
      flipByte(dataFile(path), newest.freeListHead * SLOT_BYTES + 40)
      const engine = openEngine(path, { workers: 0 })
      expect(engine.recovery!.freeListDamage).to.not.equal(undefined)
      for (let i = 0; i < 2000; i++) engine.put(`more ${i}`, Buffer.alloc(300, 'w'))
      while (engine.emptyTrash(1000));
      expect(engine.hasTrash).to.equal(false)
      expectSoundEngine(engine)
      expect(engine.count(undefined)).to.equal(2200)
    })

    it('is not damage to readers of an older tree that come after it was freed', async () => {
      const long = 'x'.repeat(20_000)
      await db.batch(many(0, 200).map((put) => ({ ...put, value: `${long} ${put.key}` })))
      await db.close()
      // No slot has been looked at since it came from disk.
      db = await open(db.path, { workers })
      const snapshot = db.snapshot()
      await db.clear()
      await whenFreed(db, 1)
      expect(snapshot.get(7)).to.equal(`${long} 7`)
      expect([...snapshot.values()]).to.have.length(200)
      snapshot.close()
      expect((await db.verify()).damage).to.deep.equal([])
    })

    it('does not come back by salvage', async () => {
      const path = await crashWithTrash()
      const engine = openEngine(path, { workers: 0 })
      const branch = engine.parts.control.readState(newState())[STATE.ROOT]!
      engine.checkpoint(true)
      const copy = crashCopy(path)
      // The root is lost: salvage looks for leaves that nothing leads to.
      for (let at = 0; at < SLOT_BYTES; at += 64) flipByte(dataFile(copy), branch * SLOT_BYTES + at)
      const out = scratchPath()
      salvage(
        resolveOptions(copy, { workers: 0 }),
        resolveOptions(out, { workers: 0, valueEncoding: 'binary' }),
        posixStorage,
      )
      expect(openEngine(out, { workers: 0 }).count(undefined)).to.be.at.most(200)
    })
  })
}
