// The order of the writes of one Database, asynchronous and synchronous ones: as they were called. If this failed, an
// older value would stand where a program has put a newer one.
import { expect } from 'chai'
import { open, type BatchOperation, type Database, type OpenOptions } from '../../src/index.js'
import { cleanUp, rounds, scratchPath } from '../support/engine.js'

/** More than is appended by the thread of the user. */
const longBatch = (mark: string): BatchOperation[] =>
  Array.from({ length: 12_000 }, (_, i) => ({ type: 'put', key: `key ${i}`, value: `${mark} ${i}`.padEnd(120) }))

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
