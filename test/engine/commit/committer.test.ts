// Waiting for the tree to include a part of the log. If this failed, a writer could wait for ever.
import { expect } from 'chai'
import { Schedule } from '../../../crash-tests/sim/schedule.js'
import { World } from '../../../crash-tests/sim/world.js'
import { Engine } from '../../../src/engine/engine.js'
import { resolveOptions } from '../../../src/engine/options.js'
import { lsnAfter, type Lsn } from '../../../src/wal/lsn.js'

const OPTIONS = resolveOptions('/db', {
  workers: 0,
  windowBytes: 65536,
  reserveBytes: 64 * 1024 * 1024,
  timeoutMs: 100,
})

describe('waiting for a frame', () => {
  it('ends after the time limit if the log does not have it any more, as when pages of control are lost', () => {
    const world = new World(new Schedule(1))
    const engine = Engine.open(OPTIONS, world.storageFor({ name: 'one', dead: false }))
    engine.put('k', 1)
    const { committer, control } = engine.parts
    const beyond = lsnAfter(control.visibleLsn() as Lsn, 64)
    const before = world.clocks.monotonicMs
    const step = world.step.bind(world)
    let steps = 0
    world.step = (what) => {
      if (++steps > 10_000) throw new Error('it looks for ever')
      step(what)
    }
    expect(() => committer.catchUp(beyond))
      .to.throw()
      .with.property('code', 'ERR_MMAPDB_LOCKED')
    expect(world.clocks.monotonicMs - before).to.be.within(100, 200)
    engine.put('k', 2)
    expect(engine.get('k')).to.equal(2)
    engine.close()
  })
})
