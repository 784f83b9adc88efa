// If these fail, reading takes more of the 4096 places for readers than it needs, or for longer.
import { expect } from 'chai'
import { cleanUp, filled } from '../../support/engine.js'

const some = Buffer.from('some value')

describe('a snapshot or an iterator', () => {
  afterEach(cleanUp)

  it('costs one place for all who read the same tree', () => {
    const engine = filled()
    const snapshots = Array.from({ length: 5000 }, () => engine.snapshot())
    const iterators = Array.from({ length: 5000 }, () => engine.range(undefined, 'keys'))
    expect(engine.stats().readers.pinned).to.equal(10_000)
    engine.put('k', some)
    expect(engine.parts.pins.older(engine.parts.control.visibleLsn(), false)).to.have.lengthOf(1)
    for (const snapshot of snapshots) snapshot.close()
    for (const iterator of iterators) iterator.return()
    expect(engine.stats().readers.pinned).to.equal(0)
  })

  it('is done with the last entry or the limit, if that can be told', () => {
    const engine = filled()
    const pinned = (): number => engine.stats().readers.pinned
    const held = engine.snapshot()
    for (const [range, count] of [
      [{ limit: 0 }, 0],
      [{ limit: 1 }, 1],
      [{ limit: 2, reverse: true }, 2],
      [{}, 20],
      [{ reverse: true }, 20],
      [{ gte: 'key 5', lt: 'key 7' }, 2],
      [{ gt: 'key 5', lte: 'key 7', reverse: true }, 2],
      [{ prefix: 'key 1' }, 11],
    ] as const) {
      const iterator = engine.range(range, 'entries')
      for (let i = 0; i < count; i++) {
        expect(pinned()).to.equal(2)
        expect(iterator.next().done).to.equal(false)
      }
      expect(pinned(), JSON.stringify(range)).to.equal(1)
      expect(iterator.next().done).to.equal(true)
      expect(engine.range(range, 'keys').count()).to.equal(count)
      expect(engine.count(range)).to.equal(count)
      expect([...held.range(range, 'keys')].length).to.equal(count)
    }
    expect(pinned()).to.equal(1)
    held.close()
    expect(pinned()).to.equal(0)
  })
})
