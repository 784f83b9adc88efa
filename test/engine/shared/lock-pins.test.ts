// A reader in its own memory, and any other that cannot write a pin, pins its tree by a lock on the data file. If
// writers ignored that lock, they would later change slots that it reads, and it would read what was never written.
import { expect } from 'chai'
import { Engine } from '../../../src/engine/engine.js'
import { LockPins, lockPinned } from '../../../src/engine/shared/lock-pins.js'
import { resolveOptions } from '../../../src/engine/options.js'
import { posixStorage } from '../../../src/storage/posix.js'
import {
  cleanUp,
  contents,
  dataFile,
  expectSound,
  inThread,
  openEngine,
  scratchPath,
  TINY,
} from '../../support/engine.js'

const value = (text: string): Buffer => Buffer.from(text.repeat(40))

/** Puts the same 200 keys and flushes them by a checkpoint. */
function overwrite(engine: Engine, text: string): void {
  for (let i = 0; i < 200; i++) engine.put(i, value(text))
  engine.checkpoint(true)
}

describe('pins by locks', function () {
  this.timeout(60_000)
  afterEach(cleanUp)

  for (const how of ['closes it', 'dies']) {
    it(`hold the tree of a reader in its own memory through the lives of others, each of which ${how}`, async () => {
      const path = scratchPath()
      const life = async (text: string): Promise<void> => {
        const peer = inThread(
          path,
          `const it = open(), value = Buffer.from(${JSON.stringify(text)}.repeat(40))
           for (let round = 0; round < 3; round++) {
             for (let i = 0; i < 200; i++) it.put(i, value)
             it.checkpoint(true)
             for (let i = 0; i < 150; i++) it.del(i)
             it.put('more', value)
           }
           say(verify(it).ok)
           ${how === 'dies' ? '' : 'it.close(); say("closed")'}
           await hear()`,
        )
        expect(await peer.next()).to.equal(true)
        if (how !== 'dies') expect(await peer.next()).to.equal('closed')
        await peer.kill()
      }
      const first = openEngine(path)
      overwrite(first, 'old')
      first.close()
      await life('log')
      const reader = Engine.inspect(resolveOptions(path, TINY), posixStorage)
      try {
        const before = contents(reader)
        expect(before.length).to.equal(51)
        for (const text of ['new', 'newer', 'newest']) {
          await life(text)
          expect(contents(reader)).to.deep.equal(before)
          expectSound(reader)
        }
      } finally {
        reader.close()
      }
      expectSound(openEngine(path))
    })
  }

  it('give the slots back once they are let go', () => {
    const path = scratchPath()
    const engine = openEngine(path)
    overwrite(engine, 'a')
    const locks = posixStorage.openLocks(dataFile(path))
    const pins = new LockPins(locks)
    const { visibleLsn } = engine.stats().log
    pins.pin(visibleLsn, 'firm')
    pins.pin(visibleLsn, 'firm')
    overwrite(engine, 'b')
    engine.put('last', value('c'))
    expect(engine.stats().readers.oldestLsn).to.equal(visibleLsn)
    expect(engine.stats().readers.heldBytes).to.be.above(0)
    pins.unpin(visibleLsn, 'firm')
    expect(engine.stats().readers.oldestLsn).to.equal(visibleLsn)
    pins.unpin(visibleLsn, 'firm')
    engine.put('last', value('d'))
    expect(engine.stats().readers.oldestLsn).to.equal(engine.stats().log.visibleLsn)
    expect(engine.stats().readers.heldBytes).to.equal(0)
    locks.close()
  })

  it('are all found, whoever holds them, and ended ones are not', () => {
    const path = scratchPath()
    openEngine(path)
    const asking = posixStorage.openLocks(dataFile(path))
    const others = [1, 2, 3].map(() => posixStorage.openLocks(dataFile(path)))
    const [a, b, c] = others.map((locks) => new LockPins(locks)) as [LockPins, LockPins, LockPins]
    for (const lsn of [8, 80, 800]) a.pin(lsn, 'endable')
    for (const lsn of [80, 88, 96]) b.pin(lsn, 'endable')
    c.pin(16, 'firm')
    c.pin(2 ** 48, 'firm')
    const found = (endedUpTo: number, below: number): number[] =>
      [...lockPinned(asking, endedUpTo, below)].sort((x, y) => x - y)
    expect(found(0, 2 ** 49)).to.deep.equal([8, 16, 80, 88, 96, 800, 2 ** 48])
    expect(found(0, 96)).to.deep.equal([8, 16, 80, 88])
    expect(found(88, 2 ** 49)).to.deep.equal([16, 96, 800, 2 ** 48])
    for (const locks of others) locks.close()
    expect(found(0, 2 ** 49)).to.deep.equal([])
    asking.close()
  })
})
