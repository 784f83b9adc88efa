// Compaction on a system that fails, on a full disk, and when the power is cut. If one of these failed, making a file
// shorter could cost what is in it.
import { expect } from 'chai'
import { MemoryStorage } from '../../crash-tests/fuzz/memory-storage.js'
import { Schedule } from '../../crash-tests/sim/schedule.js'
import { Outage, World } from '../../crash-tests/sim/world.js'
import { Engine } from '../../src/engine/engine.js'
import { resolveOptions } from '../../src/engine/options.js'
import { MmapdbError } from '../../src/index.js'
import { compact } from '../../src/maintenance/compact.js'
import { verify } from '../../src/maintenance/verify.js'
import type { Storage } from '../../src/storage/storage.js'
import { contentOf, fillUnevenly, finished, type Content } from '../support/copies.js'
import { expectError, stride } from '../support/engine.js'
import { Faults, FaultyStorage, type Call } from '../support/faulty-storage.js'
import { SmallDisk } from '../support/small-disk.js'

const OPTIONS = {
  workers: 0,
  windowBytes: 65536,
  reserveBytes: 64 * 1024 * 1024,
  segmentBytes: 8192,
  checkpointBytes: 65536,
  timeoutMs: 1,
} as const

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

describe('compaction, when something fails', function () {
  this.timeout(120_000)

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
        fillUnevenly(engine, 200)
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
    fillUnevenly(engine, 400)
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
      fillUnevenly(engine, 100)
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
