// What may take long does not hold up the event loop, nor short work on the same database. The tests let go of what
// others wait for by a timer: had waiting stopped the event loop, the timer could not have run before the time limit.
import { setTimeout as delay } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { expect } from 'chai'
import { valueCodec } from '../../src/encoding/values/codec.js'
import { LOCK } from '../../src/engine/shared/lock-bytes.js'
import { LockedError, open, type Database } from '../../src/index.js'
import { posixStorage } from '../../src/storage/posix.js'
import { cleanUp, crashCopy, dataFile, openEngine, scratchPath, TINY } from '../support/engine.js'
import { compiledUrl } from '../../src/package-root.js'

const LIMIT_MS = 20_000
const OPTIONS = { ...TINY, timeoutMs: LIMIT_MS }

describe('the event loop', function () {
  this.timeout(120_000)
  const databases: Database[] = []
  afterEach(async () => {
    for (const db of databases.splice(0)) await db.close()
    cleanUp()
  })
  const keep = <D extends Database>(db: D): D => {
    databases.push(db)
    return db
  }

  /** Holds the lock of openers and closers, as one does that recovers. */
  function holdDoor(path: string): () => void {
    const locks = posixStorage.openLocks(dataFile(path))
    expect(locks.lock(LOCK.OPEN, 'exclusive', LIMIT_MS)).to.equal(true)
    return () => locks.close()
  }
  function isAttached(path: string): boolean {
    const locks = posixStorage.openLocks(dataFile(path))
    try {
      return locks.isHeldByOther(LOCK.ATTACHED, 'exclusive')
    } finally {
      locks.close()
    }
  }
  function made(entries = 3): string {
    const path = scratchPath()
    const engine = openEngine(path, OPTIONS)
    for (let i = 0; i < entries; i++) engine.put(i, Buffer.from(`value ${i}`))
    engine.close()
    return path
  }

  for (const workers of [0, 2]) {
    it(`goes on while opening waits for others (${workers} workers)`, async () => {
      const path = made()
      const letGo = holdDoor(path)
      setTimeout(letGo, 600)
      const db = keep(await open(path, { ...OPTIONS, workers }))
      expect(db.get(2)).to.deep.equal(Buffer.from('value 2'))
    })

    it(`goes on until opening has waited for too long, and nothing is left open then (${workers} workers)`, async () => {
      const path = made()
      const letGo = holdDoor(path)
      let turns = 0
      const counting = setInterval(() => turns++, 10)
      const error = await open(path, { ...OPTIONS, workers, timeoutMs: 500 }).catch((reason: unknown) => reason)
      clearInterval(counting)
      expect(error).to.be.instanceOf(LockedError).with.property('message').that.includes('500 ms')
      expect(turns).to.be.greaterThan(3)
      letGo()
      expect(isAttached(path)).to.equal(false)
    })
  }

  it('goes on while a worker recovers the database, and while another opener of this thread waits for that', async () => {
    const path = scratchPath()
    const engine = openEngine(path, OPTIONS)
    for (let i = 0; i < 500; i++) engine.put(i, Buffer.alloc(60, i))
    const crashed = crashCopy(path)
    const both = await Promise.all([
      open(crashed, { ...OPTIONS, workers: 2 }),
      open(crashed, { ...OPTIONS, workers: 2 }),
    ])
    for (const db of both) expect(keep(db).count()).to.equal(500)
    expect(both.filter((db) => db.recovery?.needed)).to.have.length(1)
    for (const db of databases.splice(0)) await db.close()
    expect(isAttached(crashed)).to.equal(false)
    expect(keep(await open(crashed, OPTIONS)).recovery?.needed).to.equal(false)
  })

  it('goes on while closing waits for others, and the database is closed as it should be', async () => {
    const path = scratchPath()
    const db = await open(path, { ...OPTIONS, workers: 2 })
    await db.put('a', Buffer.from('1'))
    const letGo = holdDoor(path)
    setTimeout(letGo, 600)
    await db.close()
    expect(isAttached(path)).to.equal(false)
    const again = keep(await open(path, OPTIONS))
    expect(again.recovery?.needed).to.equal(false)
    expect(again.get('a')).to.deep.equal(Buffer.from('1'))
  })

  it('lets a worker make the checkpoint of closing and cut the file, also where nothing but putSync was used', async () => {
    const path = scratchPath()
    const db = await open(path, { ...OPTIONS, workers: 1 })
    for (let i = 0; i < 400; i++) db.putSync(i, Buffer.alloc(2000, i))
    for (let i = 0; i < 390; i++) db.delSync(i)
    const before = db.stats().dataBytes
    await db.close()
    const again = keep(await open(path, OPTIONS))
    expect(again.recovery?.needed).to.equal(false)
    expect(again.stats().dataBytes).to.be.lessThan(before / 2)
    expect(again.count()).to.equal(10)
  })

  it('tells the caller of close what closing met', async () => {
    const path = scratchPath()
    const db = await open(path, { ...OPTIONS, workers: 1 })
    await db.put('a', Buffer.from('1'))
    const locks = posixStorage.openLocks(dataFile(path))
    expect(locks.tryLock(LOCK.CHECKPOINT, 'exclusive')).to.equal(true)
    const other = await open(path, { ...OPTIONS, workers: 1, timeoutMs: 300 })
    await db.close()
    const error = await other.close().catch((reason: unknown) => reason)
    expect(error).to.be.instanceOf(LockedError)
    locks.close()
    expect(isAttached(path)).to.equal(false)
    expect(keep(await open(path, OPTIONS)).get('a')).to.deep.equal(Buffer.from('1'))
  })

  for (const workers of [1, 2]) {
    it(`is not what makes a write wait for verification, counting, or long lists of keys (${workers} workers)`, async () => {
      const db = keep(await open(scratchPath(), { workers, valueEncoding: 'binary', timeoutMs: 60_000 }))
      const keys = Array.from({ length: 20_000 }, (_, i) => i)
      await db.batch(keys.map((key) => ({ type: 'put', key, value: Buffer.alloc(30, key) })))
      for (const start of [() => db.verify(), () => db.countAsync(), () => db.getMany(keys)]) {
        let left = 30
        const long = Array.from({ length: left }, () => start().then(() => left--))
        for (let i = 0; i < 5; i++) await db.put('x', Buffer.alloc(1, i))
        expect(left).to.be.greaterThan(0)
        await Promise.all(long)
      }
    })
  }

  it('turns while the values of a long list are decoded, and closing waits for that', async () => {
    const db = keep(await open(scratchPath(), { workers: 1, timeoutMs: LIMIT_MS, valueEncoding: 'json' }))
    const count = 100_000
    db.batchSync(
      Array.from({ length: count }, (_, i) => ({ type: 'put' as const, key: i, value: { n: i, text: 'some text' } })),
    )
    const codec = valueCodec('json')
    const { decode } = codec
    let turn = 0
    const turnsSeen = new Set<number>()
    codec.decode = (...args) => {
      turnsSeen.add(turn)
      return decode(...args)
    }
    try {
      const found = db.getMany(Array.from({ length: count + 1 }, (_, i) => i))
      let isFound = false
      void found.then(() => (isFound = true))
      const closed = db.close().then(() => expect(isFound, 'when it was closed').to.equal(true))
      for (; !isFound; turn++) await new Promise((resolve) => setImmediate(resolve))
      const values = await found
      expect(values.length).to.equal(count + 1)
      expect(count in values, 'a hole for what is absent').to.equal(true)
      expect(
        values.every((value, i) => (i === count ? value === undefined : (value as { n: number }).n === i)),
      ).to.equal(true)
      expect(turnsSeen.size, 'turns of the event loop').to.be.greaterThan(1)
      await closed
    } finally {
      codec.decode = decode
    }
  })

  it('is not what makes a checkpoint that is due wait for verification', async () => {
    const db = keep(
      await open(scratchPath(), {
        workers: 1,
        checkpointBytes: 65_536,
        segmentBytes: 65_536,
        valueEncoding: 'binary',
        timeoutMs: 60_000,
      }),
    )
    await db.batch(Array.from({ length: 20_000 }, (_, key) => ({ type: 'put', key, value: Buffer.alloc(30, key) })))
    await db.checkpoint()
    const before = db.stats().checkpoint.made
    let left = 40
    const long = Array.from({ length: left }, () => db.verify().then(() => left--))
    await db.batch(Array.from({ length: 3000 }, (_, key) => ({ type: 'put', key, value: Buffer.alloc(30, key) })))
    while (left > 0 && db.stats().checkpoint.made === before) await delay(5)
    expect(left).to.be.greaterThan(0)
    await Promise.all(long)
  })

  for (const workers of [0, 2]) {
    it(`has its turns while calls that stay on this thread are awaited in a loop (${workers} workers)`, async () => {
      const db = keep(await open(scratchPath(), { ...OPTIONS, workers }))
      await db.put(1, Buffer.alloc(10))
      const calls = [
        () => db.getMany([1]),
        () => db.hasMany([1]),
        async () => (await db.lock(1)).release(),
        ...(workers > 0 ? [] : [() => db.put(1, Buffer.alloc(10)), () => db.batch([{ type: 'del', key: 2 }])]),
      ]
      for (const call of calls) {
        let hasFired = false
        setImmediate(() => (hasFired = true))
        for (const untilMs = performance.now() + LIMIT_MS; !hasFired && performance.now() < untilMs;) await call()
        expect(hasFired, String(call)).to.equal(true)
      }
    })
  }

  it('leaves nothing open however databases are closed: twice, at once, with tasks and snapshots under way', async () => {
    const path = scratchPath()
    for (let round = 0; round < 5; round++) {
      const all = await Promise.all(Array.from({ length: 4 }, () => open(path, { ...OPTIONS, workers: 2 })))
      const thread = new Worker(
        `import('${compiledUrl('src/index.js')}').then(async ({ open }) => {
          const { workerData } = require('node:worker_threads')
          const db = await open(workerData.path, workerData.options); await db.put('theirs', Buffer.from('1')); await db.close() })`,
        { eval: true, workerData: { path, options: { ...OPTIONS, workers: 1 } } },
      )
      const exit = new Promise((resolve) => thread.once('exit', resolve))
      const work = all.flatMap((db, i) => [
        db.put(i, Buffer.alloc(500)),
        db.verify(),
        db.getMany([0, 1]),
        db.countAsync(),
      ])
      for (const db of all) {
        db.snapshot()
        db.keys().next()
      }
      const closing = all.flatMap((db) => [db.close(), db.close()])
      await Promise.all([...work, ...closing, exit])
      expect(isAttached(path)).to.equal(false)
      const again = await open(path, OPTIONS)
      expect(again.count()).to.equal(5)
      await again.close()
    }
  })
})
