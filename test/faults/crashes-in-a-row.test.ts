// All processes are killed in the middle of something rare, and the power goes off while the next one repairs that. If
// this failed, a name that the first crash had kept from the disk could meet what the second process made of the file.
import { expect } from 'chai'
import { Schedule } from '../../crash-tests/sim/schedule.js'
import { Outage, World } from '../../crash-tests/sim/world.js'
import { Engine } from '../../src/engine/engine.js'
import { resolveOptions } from '../../src/engine/options.js'

// The simulation keeps all of a file in memory, and copies it.
const OPTIONS = resolveOptions('/db', {
  workers: 0,
  valueEncoding: 'utf8',
  windowBytes: 65536,
  reserveBytes: 16 * 1024 * 1024,
  segmentBytes: 8192,
  timeoutMs: 1,
})

interface Deed {
  /** What is there before; returns what is done then. */
  readonly prepare: (world: World) => () => unknown
  /** What must be there after all crashes. */
  readonly kept: readonly string[]
}

const openIn = (world: World, name: string): Engine => Engine.open(OPTIONS, world.storageFor({ name, dead: false }))

const DEEDS: Record<string, Deed> = {
  'creating a database': { prepare: (world) => () => openIn(world, 'creator'), kept: [] },
  'moving the last segment of the log': {
    prepare: (world) => {
      const mover = openIn(world, 'mover')
      mover.put('before', 'it')
      mover.checkpoint(true)
      return () => mover.parts.committer.reuseSegment()
    },
    kept: ['before'],
  },
  'closing a database': {
    prepare: (world) => {
      const closer = openIn(world, 'closer')
      closer.put('before', 'it')
      return () => closer.close()
    },
    kept: ['before'],
  },
  'recovering a database': {
    prepare: (world) => {
      openIn(world, 'writer').put('before', 'it')
      world.endAllProcesses()
      return () => openIn(world, 'recoverer')
    },
    kept: ['before'],
  },
}

/** Ends the world at the n-th step of `act`. False if it has fewer. */
function endAt(world: World, n: number, how: 'power cut' | 'all killed', act: () => unknown): boolean {
  const step = world.step.bind(world)
  let steps = 0
  world.step = (what) => {
    step(what)
    if (++steps === n) world.end(how)
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

function checkAll(world: World, { kept }: Deed, when: string): void {
  const last = openIn(world, 'last')
  for (const key of kept) expect(last.get(key), `${key}, ${when}`).to.equal('it')
  last.put('last', 'it')
  expect(last.get('last')).to.equal('it')
}

describe('a kill and then a power cut', () => {
  for (const [name, deed] of Object.entries(DEEDS)) {
    it(`lose nothing at any step in the middle of ${name}, and of opening it after that`, function () {
      this.timeout(180_000)
      let pairs = 0
      for (let killed = 1, isKilled = true; isKilled; killed++) {
        for (let cut = 1, isCut = true; isCut; cut++) {
          const world = new World(new Schedule(1000 * killed + cut))
          isKilled = endAt(world, killed, 'all killed', deed.prepare(world))
          world.endAllProcesses()
          isCut = endAt(world, cut, 'power cut', () => openIn(world, 'next'))
          world.restart()
          checkAll(world, deed, `killed at step ${killed}, power cut at step ${cut}`)
          pairs++
        }
      }
      expect(pairs).to.be.above(100)
    })
  }
})
