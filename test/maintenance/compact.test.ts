// Compaction: the same database in a shorter file, or the old one. If one of these failed, making a file shorter
// could cost what is in it.
import { expect } from 'chai'
import { existsSync, readdirSync, statSync } from 'node:fs'
import { compact as compactFunction, open } from '../../src/index.js'
import { compact } from '../../src/maintenance/compact.js'
import { posixStorage } from '../../src/storage/posix.js'
import { contentAt, contentOf, endedAfter, fillUnevenly, finished } from '../support/copies.js'
import {
  cleanUp,
  dataFile,
  expectError,
  expectSound,
  flipByte,
  openEngine,
  scratchPath,
  SLOT_BYTES,
  TINY,
} from '../support/engine.js'
import { ok, real, removeScratch, scratchDb } from '../support/cli.js'

describe('compaction', function () {
  this.timeout(120_000)
  afterEach(() => {
    cleanUp()
    removeScratch()
  })

  it('keeps entries and versions, in a file without free slots', () => {
    for (const count of [0, 1, 30, 3000]) {
      const engine = openEngine(scratchPath())
      fillUnevenly(engine, count)
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
      fillUnevenly(again, 500)
      expectSound(again)
      again.put('version', Buffer.alloc(1))
      expect(again.getEntry('version')!.version).to.be.at.least(tailLsn)
      again.close()
      expect(existsSync(`${dataFile(path)}.unfinished`)).to.equal(false)
    }
  })

  it('is refused while the database is open, and changes nothing', async () => {
    const engine = openEngine(scratchPath())
    fillUnevenly(engine, 300)
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
    fillUnevenly(engine, 500)
    const content = contentOf(engine)
    engine.detach()
    finished(compact(posixStorage, engine.options.path, TINY))
    expect(contentAt(engine.options.path)).to.deep.equal(content)
  })

  it('of a damaged database is refused, and leaves it as it is', () => {
    const engine = openEngine(scratchPath())
    fillUnevenly(engine, 500)
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
    fillUnevenly(engine, 3000)
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
