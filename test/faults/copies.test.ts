// Backups and restores in a world that goes wrong: each call of the system may fail, the disk may be full, and the
// power may be cut at each step. If one of these failed, something that is not whole could pass for a backup.
import { expect } from 'chai'
import { World } from '../../crash-tests/sim/world.js'
import { Schedule } from '../../crash-tests/sim/schedule.js'
import { MemoryStorage } from '../../crash-tests/fuzz/memory-storage.js'
import { Engine } from '../../src/engine/engine.js'
import { resolveOptions } from '../../src/engine/options.js'
import { MmapdbError } from '../../src/errors.js'
import { backup } from '../../src/maintenance/backup.js'
import { restore } from '../../src/maintenance/restore.js'
import type { Steps } from '../../src/maintenance/steps.js'
import type { Storage } from '../../src/storage/storage.js'
import { Outage } from '../../crash-tests/sim/world.js'
import { verify } from '../../src/maintenance/verify.js'
import { Faults, FaultyStorage, type Call } from '../support/faulty-storage.js'
import { SmallDisk } from '../support/small-disk.js'
import { contentOf, finished, type Content } from '../support/copies.js'
import { stride } from '../support/engine.js'

const OPTIONS = {
  workers: 0,
  windowBytes: 65536,
  reserveBytes: 64 * 1024 * 1024,
  segmentBytes: 8192,
  checkpointBytes: 2 ** 30,
  timeoutMs: 1,
} as const

const openAt = (storage: Storage, path: string): Engine =>
  Engine.open(resolveOptions(path, { ...OPTIONS, createIfMissing: path === '/db' }), storage)

function write(engine: Engine, count: number, from = 0): void {
  for (let i = from; i < from + count; i++) engine.put(`key ${i % 150}`, 'x'.repeat(i % 17 === 0 ? 6000 : i % 300))
}

/** What a database holds that is whole, or undefined if there is none at the path. */
function wholeAt(storage: Storage, path: string): Content | undefined {
  if (storage.info(path).kind === 'missing') return undefined
  const engine = openAt(storage, path)
  try {
    expect(verify(engine).damage).to.deep.equal([])
    return contentOf(engine)
  } finally {
    engine.close()
  }
}

const CALLS: readonly Call[] = [
  'create',
  'open',
  'list',
  'look',
  'make directory',
  'grow data',
  'grow control',
  'allocate',
  'write',
  'read',
  'flush log',
  'flush data',
  'flush directory',
  'rename',
  'truncate',
  'lock',
]

/** A backup, and a restore of one to a later moment. */
const KINDS = {
  backup: {
    target: '/copy',
    steps: (engine: Engine): Steps<unknown> => backup(engine, '/copy'),
  },
  restore: {
    target: '/restored',
    steps: (_engine: Engine, storage: Storage): Steps<unknown> =>
      restore(storage, {
        backup: '/copy',
        target: '/restored',
        source: '/db',
        options: OPTIONS,
        until: { lsn: undefined, timeMs: undefined },
      }),
  },
} as const

/** A database; for a restore also a backup of it and something that was written since. */
function prepare(storage: Storage, kind: keyof typeof KINDS): Engine {
  const engine = openAt(storage, '/db')
  write(engine, 200)
  if (kind === 'restore') {
    finished(backup(engine, '/copy'))
    write(engine, 60, 200)
  }
  return engine
}

for (const kind of ['backup', 'restore'] as const) {
  const { target, steps } = KINDS[kind]
  describe(`a ${kind} where things go wrong`, function () {
    this.timeout(120_000)

    it('ends with a typed error and leaves nothing, whichever call of the system fails', () => {
      let failures = 0
      for (const call of CALLS) {
        for (let n = 1; ; n += n < 12 ? 1 : 17) {
          const faults = new Faults()
          const storage = new FaultyStorage(new MemoryStorage(), faults)
          const engine = prepare(storage, kind)
          const content = contentOf(engine)
          const open = faults.open
          faults.arm({ calls: [call], code: 'EIO', n, lasting: false })
          let error: unknown
          try {
            finished(steps(engine, storage))
          } catch (caught) {
            error = caught
          }
          const { struck } = faults
          const isEmptyData = (name: string): boolean =>
            name === 'data' && storage.info(`${target}.unfinished/data`).sizeBytes === 0
          faults.heal()
          if (struck === 0) break
          failures++
          const where = `${call} ${n}: ${faults.where.join()}`
          if (error !== undefined) {
            expect(error, where).to.be.instanceOf(MmapdbError)
            expect(storage.info(target).kind, where).to.equal('missing')
            // Who could not lock the data file leaves it: another one may have.
            const left =
              storage.info(`${target}.unfinished`).kind === 'missing' ? [] : storage.list(`${target}.unfinished`)
            expect(left, where).to.deep.equal(['open', 'lock', 'look'].includes(call) ? left.filter(isEmptyData) : [])
          }
          expect(faults.open, `opened and not closed: ${where}`).to.equal(open)
          if (error !== undefined) finished(steps(engine, storage))
          expect(wholeAt(storage, target), where).to.deep.equal(content)
          engine.detach()
        }
      }
      expect(failures).to.be.above(50)
    })

    it('leaves nothing that the next one does not remove if nothing can be removed any more', () => {
      const faults = new Faults()
      const storage = new FaultyStorage(new MemoryStorage(), faults)
      const engine = prepare(storage, kind)
      faults.arm({ calls: ['rename', 'unlink'], code: 'EIO', n: 1, lasting: true })
      expect(() => finished(steps(engine, storage))).to.throw(MmapdbError)
      faults.heal()
      expect(storage.info(target).kind).to.equal('missing')
      expect(storage.info(`${target}.unfinished`).kind).to.equal('directory')
      finished(steps(engine, storage))
      expect(storage.info(`${target}.unfinished`).kind).to.equal('missing')
      expect(wholeAt(storage, target)).to.deep.equal(contentOf(engine))
      engine.detach()
    })

    it('is refused by a full disk, and leaves nothing there, however much room there was', () => {
      for (let refused = 0, freeBytes = 0; ; freeBytes += 24 * 1024) {
        const disk = new SmallDisk(new MemoryStorage(), 2 ** 30, false)
        const storage = disk.storage()
        const engine = prepare(storage, kind)
        disk.fill(freeBytes)
        const before = disk.freeBytes()
        try {
          finished(steps(engine, storage))
          expect(refused).to.be.above(5)
          disk.ballastBytes = 0
          expect(wholeAt(storage, target)).to.deep.equal(contentOf(engine))
          engine.detach()
          break
        } catch (error) {
          expect((error as MmapdbError).code, String(error)).to.equal('ERR_MMAPDB_FULL')
          refused++
        }
        expect(storage.info(target).kind).to.equal('missing')
        expect(storage.info(`${target}.unfinished`).kind).to.equal('missing')
        expect(disk.freeBytes(), 'given back').to.equal(before)
        engine.detach()
      }
    })

    it('is whole or absent after a power cut at any step, and can be made then', () => {
      let whole = 0
      let cuts = 0
      // A restore takes many more steps, so that some are left out.
      const step = (kind === 'backup' ? 1 : 3) * stride
      for (let cutAt = 1, isDone = false; !isDone; cutAt += step) {
        const world = new CutWorld(new Schedule(cutAt))
        const storage = world.storageFor({ name: 'maker', dead: false })
        const engine = prepare(storage, kind)
        const content = contentOf(engine)
        // For a restore no other control may be in use: the world has one only.
        if (kind === 'restore') engine.detach()
        world.cutIn = cutAt
        try {
          finished(steps(engine, storage))
          isDone = true
        } catch (error) {
          expect(error, String((error as Error).stack)).to.be.instanceOf(Outage)
          cuts++
        }
        world.cutIn = 0
        world.restart()
        const later = world.storageFor({ name: 'later', dead: false })
        const found = wholeAt(later, target)
        if (found !== undefined) {
          whole++
          expect(found, `cut at step ${cutAt}`).to.deep.equal(content)
          continue
        }
        expect(isDone, 'made, and gone after a power cut').to.equal(false)
        const source = kind === 'restore' ? engine : openAt(later, '/db')
        finished(steps(source, later))
        expect(wholeAt(later, target), `made after the cut at step ${cutAt}`).to.deep.equal(content)
      }
      expect(cuts).to.be.above(40 / stride)
      expect(whole).to.be.above(kind === 'backup' ? 1 / stride : 0)
    })
  })
}

/** A world in which the power is cut at one step. */
class CutWorld extends World {
  /** After this many steps; never if it is 0. */
  cutIn = 0

  override step(what: string): void {
    super.step(what)
    if (this.cutIn > 0 && --this.cutIn === 0) this.end('power cut')
  }
}
