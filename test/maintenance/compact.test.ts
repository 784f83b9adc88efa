// Compaction: the same database in a shorter file, or the old one. If one of these failed, making a file shorter
// could cost what is in it.
import { expect } from 'chai'
import { existsSync, readdirSync, statSync } from 'node:fs'
import { MemoryStorage } from '../../crash-tests/fuzz/memory-storage.js'
import { Schedule } from '../../crash-tests/sim/schedule.js'
import { Outage, World } from '../../crash-tests/sim/world.js'
import { Engine } from '../../src/engine/engine.js'
import { resolveOptions } from '../../src/engine/options.js'
import { compact as compactFunction, MmapdbError, open } from '../../src/index.js'
import { compact } from '../../src/maintenance/compact.js'
import { verify } from '../../src/maintenance/verify.js'
import { posixStorage } from '../../src/storage/posix.js'
import type { Storage } from '../../src/storage/storage.js'
import { contentAt, contentOf, endedAfter, finished, type Content } from '../support/copies.js'
import {
  cleanUp,
  dataFile,
  expectError,
  expectSound,
  flipByte,
  openEngine,
  randomFrom,
  scratchPath,
  SLOT_BYTES,
  stride,
  TINY,
} from '../support/engine.js'
import { Faults, FaultyStorage, type Call } from '../support/faulty-storage.js'
import { ok, real, removeScratch, scratchDb } from '../support/cli.js'
import { SmallDisk } from '../support/small-disk.js'

const OPTIONS = {
  workers: 0,
  windowBytes: 65536,
  reserveBytes: 64 * 1024 * 1024,
  segmentBytes: 8192,
  checkpointBytes: 65536,
  timeoutMs: 1,
} as const

/** Half-empty leaves all over the tree, and values of all lengths. */
function fill(engine: Engine, count: number): void {
  const random = randomFrom(count)
  for (let i = 0; i < count; i++)
    engine.put(`key ${Math.floor(random() * count)}`, Buffer.alloc(i % 50 === 0 ? 9000 : 20 + (i % 200), i))
  for (let i = 0; i < count; i += 2) engine.del(`key ${i}`)
}

const openAt = (storage: Storage, path = '/db'): Engine => Engine.open(resolveOptions(path, OPTIONS), storage)

/** What the database holds, which is sound and can be written to. */
function soundContent(storage: Storage): Content {
  const engine = openAt(storage)
  expect(verify(engine).damage).to.deep.equal([])
  const content = contentOf(engine)
  engine.put('goes on', 1)
  engine.del('goes on')
  engine.close()
  return content
}

describe('compaction', function () {
  this.timeout(120_000)
  afterEach(() => {
    cleanUp()
    removeScratch()
  })

  it('keeps entries and versions, in a file without free slots', () => {
    for (const count of [0, 1, 30, 3000]) {
      const engine = openEngine(scratchPath())
      fill(engine, count)
      const content = contentOf(engine)
      const { path } = engine.options
      const { tailLsn } = engine.stats().log
      engine.close()
      const before = statSync(dataFile(path)).size
      const report = finished(compact(posixStorage, path, TINY))
      expect(report).to.include({ entries: content.length, bytesAfter: statSync(dataFile(path)).size })
      expect(report.bytesAfter).to.be.at.most(before)
      if (count === 3000) expect(report.bytesAfter).to.be.below(before * 0.85)
      expect(contentAt(path)).to.deep.equal(content)
      const again = openEngine(path)
      expect(again.stats().slots).to.include({ free: 0, freeList: 0 })
      fill(again, 500)
      expectSound(again)
      again.put('version', Buffer.alloc(1))
      expect(again.getEntry('version')!.version).to.be.at.least(tailLsn)
      again.close()
      expect(existsSync(`${dataFile(path)}.unfinished`)).to.equal(false)
    }
  })

  it('is refused while the database is open, and changes nothing', async () => {
    const engine = openEngine(scratchPath())
    fill(engine, 300)
    const { path } = engine.options
    const before = statSync(dataFile(path)).size
    expectError(() => finished(compact(posixStorage, path, TINY)), 'ERR_MMAPDB_LOCKED', /open elsewhere/)
    await real.fails(4, /open elsewhere/, '--db', path, 'compact')
    expect(statSync(dataFile(path)).size).to.equal(before)
    expectError(() => finished(compact(posixStorage, `${path}-none`, TINY)), 'ERR_MMAPDB_NOT_FOUND')
    // One that opens it in the middle waits, and finds the new file.
    engine.close()
    const steps = compact(posixStorage, path, TINY)
    steps.next()
    expectError(() => openEngine(path, { ...TINY, timeoutMs: 50 }), 'ERR_MMAPDB_LOCKED')
    finished(steps)
    expectSound(openEngine(path))
  })

  it('recovers what a crash has left first', () => {
    const engine = openEngine(scratchPath())
    fill(engine, 500)
    const content = contentOf(engine)
    engine.detach()
    finished(compact(posixStorage, engine.options.path, TINY))
    expect(contentAt(engine.options.path)).to.deep.equal(content)
  })

  it('of a damaged database is refused, and leaves it as it is', () => {
    const engine = openEngine(scratchPath())
    fill(engine, 500)
    const { path } = engine.options
    engine.close()
    const slots = Array.from({ length: 12 }, (_, i) => 4 + i)
    const damage = (): void => slots.forEach((slot) => flipByte(dataFile(path), slot * SLOT_BYTES + 4000))
    damage()
    expectError(() => finished(compact(posixStorage, path, TINY)), 'ERR_MMAPDB_CORRUPT')
    expect(readdirSync(path).sort()).to.deep.equal(['control', 'data', 'wal'])
    damage()
    expectSound(openEngine(path))
  })

  it('leaves the old file, at whatever step it is ended', () => {
    const engine = openEngine(scratchPath())
    fill(engine, 3000)
    const content = contentOf(engine)
    const { path } = engine.options
    engine.close()
    let steps = 0
    while (endedAfter(compact(posixStorage, path, TINY), steps)) {
      steps++
      expect(existsSync(`${dataFile(path)}.unfinished`)).to.equal(false)
      expect(contentAt(path)).to.deep.equal(content)
    }
    expect(steps).to.be.above(1)
  })

  it('leaves a database that is whole, whichever call of the system fails, and on a full disk', () => {
    const calls: Call[] = [
      'create',
      'open',
      'list',
      'look',
      'allocate',
      'write',
      'read',
      'flush log',
      'flush directory',
    ]
    let failures = 0
    for (const call of [...calls, 'rename', 'truncate', 'lock', 'flush data', 'unlink'] as Call[]) {
      for (let n = 1; ; n += n < 8 ? 1 : 7) {
        const faults = new Faults()
        const storage = new FaultyStorage(new MemoryStorage(), faults)
        const engine = openAt(storage)
        fill(engine, 200)
        const content = contentOf(engine)
        engine.close()
        faults.arm({ calls: [call], code: 'EIO', n, lasting: false })
        try {
          finished(compact(storage, '/db', OPTIONS))
        } catch (error) {
          expect(error).to.be.instanceOf(MmapdbError)
        }
        const { struck } = faults
        faults.heal()
        if (struck === 0) break
        failures++
        expect(faults.open, 'opened and not closed').to.equal(0)
        expect(soundContent(storage), `${call} ${n}`).to.deep.equal(content)
      }
    }
    expect(failures).to.be.above(50)

    const disk = new SmallDisk(new MemoryStorage(), 2 ** 30, false)
    const storage = disk.storage()
    const engine = openAt(storage)
    fill(engine, 400)
    const content = contentOf(engine)
    engine.close()
    disk.fill(20_000)
    const free = disk.freeBytes()
    expectError(() => finished(compact(storage, '/db', OPTIONS)), 'ERR_MMAPDB_FULL')
    expect(disk.freeBytes()).to.equal(free)
    disk.ballastBytes = 0
    expect(soundContent(storage)).to.deep.equal(content)
  })

  it('leaves the old file or the new one after a power cut at any step', () => {
    let cuts = 0
    let after = 0
    // What survives a cut is up to chance: each is made several times.
    const times = 4
    for (
      let cutAt = 1, turn = 0, isDone = false;
      !isDone || turn > 0;
      turn = (turn + 1) % times, cutAt += turn === 0 ? stride : 0
    ) {
      const world = new CutWorld(new Schedule(cutAt * times + turn))
      isDone = false
      const storage = world.storageFor({ name: 'one', dead: false })
      const engine = openAt(storage)
      fill(engine, 100)
      const content = contentOf(engine)
      engine.close()
      const before = storage.info('/db/data').sizeBytes
      world.cutIn = cutAt
      try {
        finished(compact(storage, '/db', OPTIONS))
        isDone = true
      } catch (error) {
        expect(error, String((error as Error).stack)).to.be.instanceOf(Outage)
        cuts++
      }
      world.cutIn = 0
      world.restart()
      const later = world.storageFor({ name: 'later', dead: false })
      const isNew = later.info('/db/data').sizeBytes < before
      if (isNew) after++
      expect(isNew || !isDone, 'done, and gone after a power cut').to.equal(true)
      expect(soundContent(later), `cut at step ${cutAt}`).to.deep.equal(content)
      expect(later.list('/db'), `cut at step ${cutAt}`).to.not.include('data.unfinished')
      finished(compact(later, '/db', OPTIONS))
      expect(soundContent(later), `compacted after the cut at step ${cutAt}`).to.deep.equal(content)
    }
    expect(cuts).to.be.above(30 / stride)
    expect(after).to.be.above(1 / stride)
  })

  it('is there for programs and on the command line', async () => {
    const path = scratchDb()
    const db = await open(path, { workers: 0 })
    for (let i = 0; i < 3000; i++) db.putSync((i * 7919) % 3000, 'x'.repeat(100))
    await db.close()
    const report = await compactFunction(path)
    expect(report.entries).to.equal(3000)
    expect(report.bytesAfter).to.be.below(report.bytesBefore)
    expect(await ok(path, 'compact')).to.match(/^3,000 entries: .* before, .* now, in [\d.]+ s\.\n$/)
    expect(await ok(path, 'verify')).to.match(/No damage/)
  })
})

/** A world in which the power is cut at one step. */
class CutWorld extends World {
  /** After this many steps; never if it is 0. */
  cutIn = 0

  override step(what: string): void {
    super.step(what)
    if (this.cutIn > 0 && --this.cutIn === 0) this.end('power cut')
  }
}
