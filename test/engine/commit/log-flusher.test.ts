// Bringing the log to disk. If this failed, a flush would count that went well without pages which another one had
// given up, and acknowledged writes would be lost.
import { expect } from 'chai'
import { Schedule } from '../../../crash-tests/sim/schedule.js'
import { World } from '../../../crash-tests/sim/world.js'
import { Engine } from '../../../src/engine/engine.js'
import { resolveOptions } from '../../../src/engine/options.js'
import type { Lsn } from '../../../src/wal/lsn.js'
import { Faults, FaultyStorage } from '../../support/faulty-storage.js'
import { expectError } from '../../support/engine.js'

const OPTIONS = resolveOptions('/db', { workers: 0, windowBytes: 65536, reserveBytes: 2 ** 26, timeoutMs: 1 })
const open = (world: World, name: string, faults = new Faults()): Engine =>
  Engine.open(OPTIONS, new FaultyStorage(world.storageFor({ name, dead: false }), faults))

/** Calls `act` in the middle of the next flush of the log. */
function inNextFlush(world: World, act: () => void): void {
  const step = world.step.bind(world)
  world.step = (what) => {
    step(what)
    if (!what.startsWith('flushing') || !what.endsWith('.wal')) return
    world.step = step
    act()
  }
}

describe('flushes of the log', () => {
  it('run one at a time, whoever wants them', () => {
    const world = new World(new Schedule(1))
    const [one, two] = [open(world, 'one'), open(world, 'two')]
    let isTried = false
    inNextFlush(world, () => {
      isTried = true
      const { flusher, committer } = two.parts
      expectError(() => flusher.flush(committer.logEnd()), 'ERR_MMAPDB_LOCKED', /could not be flushed within 1 ms/)
    })
    one.put('key', 'value')
    expect(isTried).to.equal(true)
    for (const engine of [one, two]) engine.close()
  })

  it('are not made again for what another one has brought to disk', () => {
    const world = new World(new Schedule(1))
    const [one, two] = [open(world, 'one'), open(world, 'two')]
    one.put('key', 'value')
    const { flusher, committer } = two.parts
    const { steps } = world
    expect(flusher.flush(committer.logEnd())).to.equal(false)
    expect(world.steps, 'it asks the system for nothing').to.equal(steps)
    for (const engine of [one, two]) engine.close()
  })

  it('do not count if one that runs apart fails beside them', () => {
    const world = new World(new Schedule(1))
    const faults = new Faults()
    const [one, two] = [open(world, 'one'), open(world, 'two', faults)]
    const { committer, control, log } = two.parts
    one.put('key', 'before')
    let isTried = false
    inNextFlush(world, () => {
      isTried = true
      const { segmentStartLsn, segmentSalt } = committer.logEnd()
      const segment = log.segment(segmentStartLsn as Lsn, segmentSalt)!
      faults.arm({ calls: ['flush log'], code: 'EIO', n: 1, lasting: false })
      expect(() => control.stopOnFailedFlush(() => log.flush(segment))).to.throw()
    })
    expectError(() => one.put('key', 'value'), 'ERR_MMAPDB_OUTCOME_UNKNOWN')
    expect(isTried).to.equal(true)
    expect(two.get('key')).to.equal('before')
  })

  it('are refused once one has failed, in every process', () => {
    const world = new World(new Schedule(1))
    const faults = new Faults()
    const [one, two] = [open(world, 'one', faults), open(world, 'two')]
    const { committer, flusher } = two.parts
    faults.arm({ calls: ['flush log'], code: 'EIO', n: 1, lasting: false })
    expectError(() => one.put('key', 'value'), 'ERR_MMAPDB_OUTCOME_UNKNOWN')
    inNextFlush(world, () => expect.fail('it was flushed'))
    expectError(() => flusher.flush(committer.logEnd()), 'ERR_MMAPDB_IO', /Flushing the log/)
  })
})
