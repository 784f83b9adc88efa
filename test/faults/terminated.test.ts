// Worker threads that are terminated at any moment. If this failed, those who go on would wait without
// end, lose what had been acknowledged, or meet an error of the pool instead of one of the database.
import { expect } from 'chai'
import { setTimeout as delay } from 'node:timers/promises'
import { Piscina } from 'piscina'
import { MmapdbError } from '../../src/errors.js'
import { open, type Database } from '../../src/index.js'
import { cleanUp, expectSound, heard, inThread, openEngine, randomFrom, scratchPath, TINY } from '../engine/support.js'

const seed = Number(process.env['MMAPDB_TEST_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
const BOUND_MS = 10_000

/** The pool of a database, which it keeps to itself. */
async function poolOf(act: () => Promise<unknown>): Promise<Piscina> {
  const pools = new Set<Piscina>()
  const run = Piscina.prototype.run
  Piscina.prototype.run = function (this: Piscina, ...args: Parameters<typeof run>) {
    pools.add(this)
    return run.apply(this, args)
  }
  try {
    await act()
  } finally {
    Piscina.prototype.run = run
  }
  expect(pools.size).to.equal(1)
  return [...pools][0]!
}

describe('worker threads that are terminated', function () {
  this.timeout(60_000)
  afterEach(cleanUp)

  async function writeOn(db: Database, acknowledged: Set<number>, from: number, count: number): Promise<number> {
    let refused = 0
    await Promise.all(
      Array.from({ length: count }, async (_, i) => {
        await delay(Math.floor(i / 4))
        try {
          await db.put(from + i, `value ${from + i}`)
          acknowledged.add(from + i)
        } catch (error) {
          expect(error, (error as Error).stack).to.be.instanceOf(MmapdbError)
          refused++
        }
      }),
    )
    return refused
  }

  it('in the pool of a database: it goes on, in bounded time, with all that was acknowledged', async () => {
    const random = randomFrom(seed)
    const path = scratchPath()
    const db = await open(path, { workers: 3, checkpointBytes: 65_536, segmentBytes: 65_536 })
    const acknowledged = new Set<number>()
    const pool = await poolOf(() => db.put('first', 1))
    for (let round = 0; round < 5; round++) {
      const startedMs = performance.now()
      const writing = writeOn(db, acknowledged, round * 80, 80)
      await delay(random() * 15)
      void pool.threads[Math.floor(random() * pool.threads.length)]?.terminate()
      await writing
      expect(performance.now() - startedMs, `ms (MMAPDB_TEST_SEED=${seed})`).to.be.lessThan(BOUND_MS)
    }
    await db.put('last', 1)
    for (const key of acknowledged) expect(db.get(key)).to.equal(`value ${key}`)
    expect((await db.verify()).damage).to.deep.equal([])
    await db.close()
    const again = await open(path, { workers: 0 })
    for (const key of acknowledged) expect(again.get(key), `MMAPDB_TEST_SEED=${seed}`).to.equal(`value ${key}`)
    expect(acknowledged.size).to.be.greaterThan(100)
    await again.close()
  })

  it('all at once, with their pool: no error but a typed one, and nothing acknowledged is lost', async () => {
    const path = scratchPath()
    const db = await open(path, { workers: 2 })
    const acknowledged = new Set<number>()
    const pool = await poolOf(() => db.put('first', 1))
    const writing = writeOn(db, acknowledged, 0, 40)
    await pool.destroy()
    await writing
    // A pool may get up again; what it takes it must keep, and what it refuses it must say.
    const outcome = await db.put('more', 1).catch((error: unknown) => error)
    if (outcome === undefined) expect(db.get('more')).to.equal(1)
    else expect(outcome).to.be.instanceOf(MmapdbError).with.property('code', 'ERR_MMAPDB_IO')
    expect(db.get('first')).to.equal(1)
    db.putSync('sync', 1)
    await db.close()
    const again = await open(path, { workers: 0 })
    expect(again.get('sync')).to.equal(1)
    for (const key of acknowledged) expect(again.get(key)).to.equal(`value ${key}`)
    await again.close()
  })

  it('with an engine of their own, many times: others go on writing, and nothing is left held', async () => {
    const random = randomFrom(seed)
    const path = scratchPath()
    const engine = openEngine(path, TINY)
    for (let round = 0; round < 8; round++) {
      const peers = [0, 1].map(() =>
        inThread(path, `const db = open(); say('open'); for (let i = 0; ; i++) { db.put(['theirs', i % 50], Buffer.alloc(i % 7 === 0 ? 5000 : 90, i)); if (i % 40 === 39) db.checkpoint(false) }`),
      )
      for (const peer of peers) await heard(peer, 'open')
      await delay(random() * 20)
      for (const peer of peers) await peer.kill()
      const startedMs = performance.now()
      for (let i = 0; i < 5; i++) engine.put(['mine', round, i], Buffer.from('value'))
      expect(performance.now() - startedMs, `ms (MMAPDB_TEST_SEED=${seed})`).to.be.lessThan(BOUND_MS)
    }
    for (let i = 0; i < 140; i++) engine.put('turn', Buffer.from(String(i)))
    expect(engine.stats().readers.pinned).to.equal(0)
    expectSound(engine)
    engine.close()
    const again = openEngine(path, TINY)
    for (let round = 0; round < 8; round++) for (let i = 0; i < 5; i++) expect(again.get(['mine', round, i])).to.deep.equal(Buffer.from('value'))
    expectSound(again)
  })
})
