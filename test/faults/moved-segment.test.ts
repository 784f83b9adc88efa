// On a full disk the last segment of the log moves to the log's end. If this failed, a power cut soon after a crash in
// the middle of that would leave a database that cannot be opened: the segment has its old name, and a new header.
import { expect } from 'chai'
import { Schedule } from '../../crash-tests/sim/schedule.js'
import { Outage, World } from '../../crash-tests/sim/world.js'
import { Engine } from '../../src/engine/engine.js'
import { resolveOptions } from '../../src/engine/options.js'

const OPTIONS = resolveOptions('/db', {
  workers: 0,
  valueEncoding: 'utf8',
  windowBytes: 65536,
  reserveBytes: 16 * 1024 * 1024,
  segmentBytes: 8192,
  timeoutMs: 1,
})
const SEEDS = 10

const openIn = (world: World, name: string): Engine => Engine.open(OPTIONS, world.storageFor({ name, dead: false }))

/** `act` until the world ends at a step of which `isThere` says so. False if it does not come to that. */
function endAt(world: World, how: 'power cut' | 'all killed', isThere: (what: string) => boolean, act: () => void) {
  const step = world.step.bind(world)
  world.step = (what) => {
    step(what)
    if (isThere(what)) world.end(how)
  }
  try {
    act()
    return false
  } catch (error) {
    if (!(error instanceof Outage)) throw error
    return true
  } finally {
    world.step = step
  }
}

describe('a segment that was being moved when all processes were killed', () => {
  it('has the name that its header says, whenever the power goes off as the next process opens the database', () => {
    let cuts = 0
    for (let n = 1, isCut = true; isCut; n++) {
      for (let seed = 1; seed <= SEEDS; seed++) {
        const world = new World(new Schedule(seed))
        const mover = openIn(world, 'mover')
        mover.put('before', 'it')
        mover.checkpoint(true)
        const isRenamed = (what: string): boolean => what === 'flush directory /db/wal'
        const move = (): unknown => mover.parts.committer.reuseSegment()
        expect(endAt(world, 'all killed', isRenamed, move)).to.equal(true)
        world.endAllProcesses()

        let steps = 0
        isCut = endAt(
          world,
          'power cut',
          () => ++steps === n,
          () => openIn(world, 'next'),
        )
        world.restart()
        const last = openIn(world, 'last')
        expect(last.get('before'), `seed ${seed}, power cut at step ${n}`).to.equal('it')
        last.put('last', 'it')
        expect(last.get('last')).to.equal('it')
        cuts++
      }
    }
    expect(cuts).to.be.above(20 * SEEDS)
  })
})
