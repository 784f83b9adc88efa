// The order of the writes of one Database, asynchronous and synchronous ones: as they were called. If this failed, an
// older value would stand where a program has put a newer one.
import { expect } from 'chai'
import { MmapdbError, open, type BatchOperation, type Database, type OpenOptions } from '../../src/index.js'
import { cleanUp, openEngine, rounds, scratchPath } from '../support/engine.js'

/** More than is appended by the thread of the user. */
const longBatch = (mark: string): BatchOperation[] =>
  Array.from({ length: 12_000 }, (_, i) => ({ type: 'put', key: `key ${i}`, value: `${mark} ${i}`.padEnd(120) }))

const codeOf = (write: Promise<unknown>): Promise<unknown> =>
  write.then(
    () => 'written',
    (error: unknown) => (error as MmapdbError).code,
  )

describe('writes of one Database, asynchronous and synchronous', () => {
  afterEach(cleanUp)

  async function withDatabase(options: OpenOptions, test: (db: Database) => Promise<void>): Promise<void> {
    const db = await open(scratchPath(), options)
    try {
      await test(db)
    } finally {
      await db.close()
    }
  }

  for (const workers of [0, 1, 2]) {
    it(`take effect as they were called, with ${workers} workers`, () =>
      withDatabase({ workers }, async (db) => {
        for (let i = 0; i < rounds(20); i++) {
          const first = db.put('key', `first ${i}`)
          db.putSync('key', `second ${i}`)
          expect(db.get('key')).to.equal(`second ${i}`)
          const third = db.put('key', `third ${i}`)
          await Promise.all([first, third])
          expect(db.get('key')).to.equal(`third ${i}`)
          const removed = db.del('key')
          expect(db.delSync('key'), 'it is gone by then').to.equal(false)
          expect(await removed).to.equal(true)
        }
      }))

    it(`come after those that the user's code calls within them, with ${workers} workers`, () =>
      withDatabase({ workers }, async (db) => {
        let inner: Promise<boolean> | undefined
        const value = {
          toJSON: () => {
            inner = db.put('key', 'inner')
            return 'outer'
          },
        }
        db.putSync('key', value)
        expect(db.get('key')).to.equal('outer')
        await inner
        expect(db.get('key')).to.equal('outer')
      }))

    it(`do so also if a long one is on its way to a worker, with ${workers} workers`, () =>
      withDatabase({ workers }, async (db) => {
        for (const mark of ['before any worker runs', 'once one runs']) {
          const batch = db.batch(longBatch(mark))
          const after = db.put('key 2', 'later')
          db.putSync('key 1', 'last')
          expect(db.get('key 1')).to.equal('last')
          expect(db.get('key 0')).to.equal(`${mark} 0`.padEnd(120))
          expect(db.get('key 2')).to.equal('later')
          await Promise.all([batch, after])
          expect(db.get('key 1')).to.equal('last')
        }
      }))
  }

  it('wait for the append lock once, however many wait before a synchronous one', async () => {
    const path = scratchPath()
    const db = await open(path, { workers: 8, timeoutMs: 400 })
    const other = openEngine(path, {})
    expect(other.parts.appendLock.tryTake()).to.equal(true)
    const codes = Array.from({ length: 8 }, async (_, i) => {
      await new Promise((resolve) => setTimeout(resolve, i))
      return codeOf(db.put('key', i))
    })
    await new Promise((resolve) => setTimeout(resolve, 50))
    const startedMs = performance.now()
    expect(() => db.putSync('key', 'last'))
      .to.throw(/An earlier write|append lock/)
      .with.property('code', 'ERR_MMAPDB_LOCKED')
    expect(performance.now() - startedMs, 'and not eight times the limit').to.be.below(1600)
    expect(new Set(await Promise.all(codes))).to.deep.equal(new Set(['ERR_MMAPDB_LOCKED']))
    other.parts.appendLock.release()
    expect(db.get('key')).to.equal(undefined)
    await db.put('key', 'now')
    expect(db.get('key')).to.equal('now')
    await db.close()
    other.close()
  })

  it('say one thing about a write that is in the log and that no worker had time for', async () => {
    const path = scratchPath()
    const db = await open(path, { workers: 1, timeoutMs: 300 })
    const other = openEngine(path, {})
    expect(other.parts.leaderLock.tryTake()).to.equal(true)
    const errors = await Promise.all(
      Array.from({ length: 4 }, async (_, i) => {
        await new Promise((resolve) => setTimeout(resolve, i))
        return db.put(`key ${i}`, i).catch((error: unknown) => error as MmapdbError)
      }),
    )
    other.parts.leaderLock.release()
    for (const error of errors) {
      if (!(error instanceof MmapdbError)) continue
      expect(/Nothing (of it )?was written/.test(error.message), error.message).to.equal(
        error.code === 'ERR_MMAPDB_LOCKED',
      )
    }
    expect(errors.some((error) => error instanceof MmapdbError)).to.equal(true)
    await db.close()
    other.close()
  })

  it('come to what a model says, whatever is mixed', function () {
    this.timeout(60_000)
    return withDatabase({ workers: 2 }, async (db) => {
      let seed = 7
      const random = (n: number): number => (seed = (seed * 48_271) % 2_147_483_647) % n
      const model = new Map<string, number>()
      const promises: Promise<unknown>[] = []
      for (let i = 0; i < rounds(4000); i++) {
        const key = `key ${random(5)}`
        const kind = random(6)
        if (kind === 0) db.putSync(key, i)
        else if (kind === 1) db.batchSync([{ type: 'put', key, value: i }])
        else if (kind < 5) promises.push(db.put(key, i))
        else promises.push(db.del(key))
        if (kind === 5) model.delete(key)
        else model.set(key, i)
        if (random(10) === 0) await Promise.all(promises.splice(0))
      }
      await Promise.all(promises)
      expect(Object.fromEntries(db.range())).to.deep.equal(Object.fromEntries([...model].sort()))
    })
  })
})
