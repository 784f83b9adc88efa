// Worker threads are terminated at any moment. If this failed, the other threads would wait without end, lose
// acknowledged writes, or get an error of the pool instead of an error of the database.
import { expect } from 'chai'
import { setTimeout as delay } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { MmapdbError } from '../../src/errors.js'
import { open, type Database } from '../../src/index.js'
import { cleanUp, expectSound, heard, inThread, openEngine, randomFrom, scratchPath, TINY } from '../support/engine.js'

const seed = Number(process.env['MMAPDB_TEST_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
const BOUND_MS = 10_000

/** Threads that work for a database, as the system or a debugger could list them. */
function watched(): { threads: Set<Worker>; stop: () => void } {
  const threads = new Set<Worker>()
  const post = Worker.prototype.postMessage
  Worker.prototype.postMessage = function (this: Worker, ...args: Parameters<typeof post>) {
    threads.add(this)
    return post.apply(this, args)
  } as typeof post
  return { threads, stop: () => (Worker.prototype.postMessage = post) }
}

describe('worker threads that are terminated', function () {
  this.timeout(60_000)
  afterEach(cleanUp)

  /** Some are so long that a worker applies them, and some that it appends them. */
  const valueOf = (key: number): string =>
    `value ${key}`.padEnd(key % 40 === 0 ? 1_200_000 : key % 4 === 0 ? 20_000 : 0)

  async function writeOn(db: Database, acknowledged: Set<number>, from: number, count: number): Promise<number> {
    let refused = 0
    await Promise.all(
      Array.from({ length: count }, async (_, i) => {
        await delay(Math.floor(i / 4))
        try {
          await db.put(from + i, valueOf(from + i))
          acknowledged.add(from + i)
        } catch (error) {
          expect(error, (error as Error).stack).to.be.instanceOf(MmapdbError)
          refused++
        }
      }),
    )
    return refused
  }

  it('of a database: it goes on, in bounded time, with all that was acknowledged', async () => {
    const random = randomFrom(seed)
    const path = scratchPath()
    const db = await open(path, { workers: 3, checkpointBytes: 65_536, segmentBytes: 65_536 })
    const acknowledged = new Set<number>()
    const { threads, stop } = watched()
    await db.put('first', valueOf(0))
    for (let round = 0; round < 5; round++) {
      const startedMs = performance.now()
      const writing = writeOn(db, acknowledged, round * 80, 80)
      await delay(random() * 15)
      const victim = [...threads][Math.floor(random() * threads.size)]!
      threads.delete(victim)
      void victim.terminate()
      await writing
      expect(performance.now() - startedMs, `ms (MMAPDB_TEST_SEED=${seed})`).to.be.lessThan(BOUND_MS)
    }
    stop()
    await db.put('last', 1)
    for (const key of acknowledged) expect(db.get(key)).to.equal(valueOf(key))
    expect((await db.verify()).damage).to.deep.equal([])
    await db.close()
    const again = await open(path, { workers: 0 })
    for (const key of acknowledged) expect(again.get(key), `MMAPDB_TEST_SEED=${seed}`).to.equal(valueOf(key))
    expect(acknowledged.size).to.be.greaterThan(100)
    await again.close()
  })

  it('all at once, again and again: no error but a typed one, nothing acknowledged is lost, and others take their place', async () => {
    const path = scratchPath()
    const db = await open(path, { workers: 2 })
    const acknowledged = new Set<number>()
    const { threads, stop } = watched()
    await db.put('first', 1)
    for (let round = 0; round < 3; round++) {
      const tasks = Promise.allSettled([
        writeOn(db, acknowledged, round * 40, 40),
        db.verify(),
        db.getMany(['first']),
        db.countAsync(),
      ])
      await delay(5 * round)
      await Promise.all([...threads].map((thread) => thread.terminate()))
      threads.clear()
      for (const { reason } of (await tasks).filter((one) => one.status === 'rejected')) {
        expect(reason)
          .to.be.instanceOf(MmapdbError)
          .with.property('code')
          .that.is.oneOf(['ERR_MMAPDB_IO', 'ERR_MMAPDB_OUTCOME_UNKNOWN'])
      }
      await db.put('more', round)
      expect(db.get('more')).to.equal(round)
    }
    stop()
    db.putSync('sync', 1)
    await db.close()
    const again = await open(path, { workers: 0 })
    expect([again.get('first'), again.get('sync')]).to.deep.equal([1, 1])
    for (const key of acknowledged) expect(again.get(key)).to.equal(valueOf(key))
    await again.close()
  })

  it('with an engine of their own, many times: others go on writing, and nothing is left held', async () => {
    const random = randomFrom(seed)
    const path = scratchPath()
    const engine = openEngine(path, TINY)
    for (let round = 0; round < 8; round++) {
      const peers = [0, 1].map(() =>
        inThread(
          path,
          `const db = open(); say('open'); for (let i = 0; ; i++) { db.put(['theirs', i % 50], Buffer.alloc(i % 7 === 0 ? 5000 : 90, i)); if (i % 40 === 39) db.checkpoint(false) }`,
        ),
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
    for (let round = 0; round < 8; round++)
      for (let i = 0; i < 5; i++) expect(again.get(['mine', round, i])).to.deep.equal(Buffer.from('value'))
    expectSound(again)
  })
})
