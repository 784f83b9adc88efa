// Threads and processes that are killed: in the middle of writes, checkpoints, recovery, copies. The others go on.
// If one of these failed, one that dies could stop all others, or take with it what was acknowledged.
import { readdirSync, rmSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import { CRASH_POINTS } from '../../src/crash-points.js'
import type { Engine } from '../../src/engine/engine.js'
import { open } from '../../src/index.js'
import { compiledUrl } from '../../src/package-root.js'
import { expectWhole, filledDatabase } from '../support/copies.js'
import {
  cleanUp,
  contents,
  crashCopy,
  expectSound,
  inProcess,
  inThread,
  openEngine,
  rounds,
  scratchDirectory,
  scratchPath,
  TINY,
  type Peer,
} from '../support/engine.js'
import { startProcess } from '../support/peers.js'

/** Fails unless `engine` can write within a second, whichever thread or process has just died. */
function expectGoesOn(engine: Engine, key: string): void {
  const before = performance.now()
  for (let i = 0; i < 5; i++) engine.put([key, i], Buffer.from(key))
  expect(performance.now() - before, 'milliseconds for five puts').to.be.lessThan(1500)
  for (let i = 0; i < 5; i++) expect(engine.get([key, i])).to.deep.equal(Buffer.from(key))
}

/** Everything that `peer` says until it ends. */
async function listen(peer: Peer): Promise<unknown[]> {
  const said: unknown[] = []
  try {
    for (;;) said.push(await peer.next())
  } catch {
    return said
  }
}

describe('an engine among others that are killed', function () {
  this.timeout(60_000)
  afterEach(cleanUp)

  for (const where of ['thread', 'process'] as const) {
    it(`goes on within a second when a ${where} is killed in the middle of its commits`, async () => {
      const path = scratchPath()
      const engine = openEngine(path)
      for (let n = 0; n < 5; n++) {
        const peer = (where === 'thread' ? inThread : inProcess)(
          path,
          `const db = open()
           const pinned = db.snapshot(), iterator = db.range(undefined, 'keys')
           iterator.next()
           for (let i = 0; ; i++) { db.put(['dying', ${n}, i], Buffer.alloc(200, i)); say(i); if (i % 50 === 0) await null }`,
        )
        const said = listen(peer)
        while (engine.range({ prefix: ['dying', n] }, 'keys').count() < 20) {
          engine.put(['main', n], Buffer.from('x'))
          await delay(1)
        }
        await delay(7 * n)
        await peer.kill()
        expectGoesOn(engine, `after ${n}`)
        for (const i of await said) {
          if (typeof i !== 'number') continue
          expect((engine.get(['dying', n, i]) as Buffer).equals(Buffer.alloc(200, i)), `acknowledged ${i}`).to.equal(
            true,
          )
        }
        expectSound(engine)
      }
      // The pins of the dead hold nothing back for ever.
      for (const key of [...engine.range({ prefix: ['dying'] }, 'keys')]) engine.del(key as string)
      const total = engine.stats().slots.total
      for (let i = 0; i < 400; i++) engine.put('again', Buffer.alloc(900, i))
      expect(engine.stats().slots.total).to.equal(total)
      expect(engine.stats().readers.lagBytes).to.be.lessThan(1_000_000)
      engine.close()
      expect(openEngine(path).recovery!.needed).to.equal(false)
    })
  }

  it('goes on when a process is killed at any named point of a write or checkpoint', async () => {
    const points = CRASH_POINTS.filter((point) => !['mid-recovery', 'before-truncate', 'segment-moved'].includes(point))
    const path = scratchPath()
    const engine = openEngine(path)
    engine.put('first', Buffer.from('1'))
    const acknowledged: [string, number, number][] = []
    for (const point of points) {
      const peer = inProcess(
        path,
        `const db = open()
         for (let i = 0; i < 400; i++) {
           db.put(['${point}', i], Buffer.alloc(4500, i))
           say(i)
           if (i % 7 === 3) db.checkpoint(true)
           if (i % 5 === 4) db.del('never there')
         }
         say('survived')`,
        TINY,
        { MMAPDB_CRASH_AT: `${point}:2` },
      )
      const said = listen(peer)
      expect(await peer.ended, point).to.equal('SIGKILL')
      expectGoesOn(engine, `after ${point}`)
      for (const i of await said) acknowledged.push([point, i as number, 4500])
      expectSound(engine)
      engine.checkpoint(true)
      expectSound(engine)
      for (const [p, i, length] of acknowledged)
        expect((engine.get([p, i]) as Buffer).equals(Buffer.alloc(length, i)), `${p} ${i}`).to.equal(true)
    }
    const recovered = openEngine(crashCopy(path))
    expect(contents(recovered)).to.deep.equal(contents(engine))
    expectSound(recovered)
    engine.close()
    const again = openEngine(path)
    expect(again.recovery!.needed).to.equal(false)
    for (const [p, i, length] of acknowledged)
      expect((again.get([p, i]) as Buffer).equals(Buffer.alloc(length, i))).to.equal(true)
  })

  it('recovers when the first opener is killed in the middle of its recovery', async () => {
    const origin = scratchPath()
    const writer = openEngine(origin)
    for (let i = 0; i < 100; i++) writer.put(i, Buffer.alloc(300, i))
    for (const point of [
      'mid-apply',
      'mid-recovery',
      'checkpoint-begun',
      'mid-checkpoint',
      'before-headers',
      'between-headers',
      'after-headers',
      'recycling-segment',
    ]) {
      const path = crashCopy(origin)
      const peer = inProcess(path, 'open()', TINY, { MMAPDB_CRASH_AT: point })
      expect(await peer.ended, point).to.equal('SIGKILL')
      const engine = openEngine(path)
      expect(contents(engine)).to.deep.equal(contents(writer))
      expectSound(engine)
      engine.close()
    }
  })
})

describe('a process that is killed while it copies', function () {
  this.timeout(240_000)
  afterEach(cleanUp)

  it('leaves what it was making whole or absent, and the next one makes it', async () => {
    const path = scratchPath()
    const db = await filledDatabase(path, 0, 30_000)
    await db.close()
    const directory = scratchDirectory()
    const all = rounds(30)
    let killed = 0
    let unfinished = 0
    for (let round = 0; round < all; round++) {
      const target = join(directory, `copy ${round}`)
      const peer = startProcess(`
        const { open } = await import(${JSON.stringify(compiledUrl('src/index.js'))})
        const db = await open(${JSON.stringify(path)}, { workers: ${round % 3 === 0 ? 0 : 1} })
        for (let i = 0; i < 20; i++) void db.put('beside', i)
        say('opened')
        await db.backup(${JSON.stringify(target)})
        say('made')
        await db.close()`)
      await peer.next()
      await delay((round * 127) % 450)
      await peer.kill()
      killed++
      const left = readdirSync(directory).filter((name) => name.startsWith(basename(target)))
      if (left.includes(basename(target))) await expectWhole(target, 30_000)
      else {
        if (left.length > 0) unfinished++
        const again = await open(path, { workers: 0 })
        await again.backup(target)
        await again.close()
        await expectWhole(target, 30_000)
      }
      expect(readdirSync(dirname(target)).filter((name) => name.startsWith(basename(target)))).to.have.length(1)
      rmSync(target, { recursive: true })
    }
    expect({ killed, unfinished: unfinished > all / 10 }).to.deep.equal({ killed: all, unfinished: true })
  })
})
