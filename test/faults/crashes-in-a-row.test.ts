// All processes are killed in the middle of something rare, and the power goes off while the next one repairs that, or
// later. If this failed, a name that the first crash had kept from the disk could meet what others made of the file.
import { expect } from 'chai'
import { Schedule } from '../../crash-tests/sim/schedule.js'
import { World } from '../../crash-tests/sim/world.js'
import { Engine } from '../../src/engine/engine.js'
import { keepLog } from '../../src/engine/lifecycle/keep-log.js'
import { resolveOptions, type OpenOptions } from '../../src/engine/options.js'
import { backup } from '../../src/maintenance/backup.js'
import { compact } from '../../src/maintenance/compact.js'
import { restore } from '../../src/maintenance/restore.js'
import type { Storage } from '../../src/storage/storage.js'
import { newAppendFields } from '../../src/wal/append-state.js'
import type { Lsn } from '../../src/wal/lsn.js'
import { finished } from '../support/copies.js'

// The simulation keeps all of a file in memory, and copies it.
const OPTIONS: OpenOptions = {
  workers: 0,
  valueEncoding: 'utf8',
  windowBytes: 65536,
  reserveBytes: 16 * 1024 * 1024,
  segmentBytes: 8192,
  timeoutMs: 1,
}

interface Deed {
  /** What is there before; returns what is done then. */
  readonly prepare: (world: World) => () => unknown
  /** What must be there after all crashes. */
  readonly kept: readonly string[]
}

const openIn = (world: World, name: string, path = '/db'): Engine =>
  Engine.open(
    resolveOptions(path, { ...OPTIONS, createIfMissing: path === '/db' }),
    world.storageFor({ name, dead: false }),
  )

const DEEDS: Record<string, Deed> = {
  'creating a database': { prepare: (world) => () => openIn(world, 'creator'), kept: [] },
  'creating a database beside the control file of one that was removed': {
    prepare: (world) => {
      const storage = world.storageFor({ name: 'remover', dead: false })
      storage.makeDirectory('/db')
      storage.openFile('/db/control', 'create').close()
      storage.flushDirectory('/db')
      storage.flushDirectory('/')
      return () => openIn(world, 'creator')
    },
    kept: [],
  },
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

/** Ends the world at the first step of `act` that `isThere` says of. False if there is none. */
function endAt(world: World, how: 'power cut' | 'all killed', isThere: (what: string) => boolean, act: () => unknown) {
  const step = world.step.bind(world)
  world.step = (what) => {
    step(what)
    if (isThere(what)) world.end(how)
  }
  try {
    act()
    return false
  } catch (error) {
    if (world.outage === undefined) throw error
    return true
  } finally {
    world.step = step
  }
}

/** True at the n-th step that it is asked of, of those with that name if there is one. */
function nth(n: number, name?: string): (what: string) => boolean {
  let times = 0
  return (what) => (name === undefined || what === name) && ++times === n
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
          isKilled = endAt(world, 'all killed', nth(killed), deed.prepare(world))
          world.endAllProcesses()
          isCut = endAt(world, 'power cut', nth(cut), () => openIn(world, 'next'))
          world.restart()
          checkAll(world, deed, `killed at step ${killed}, power cut at step ${cut}`)
          pairs++
        }
      }
      expect(pairs).to.be.above(100)
    })
  }
})

/** Uses up segments of the log, so that checkpoints recycle some. */
function putAll(engine: Engine, from: number, to: number): void {
  for (let n = from; n < to; n++) engine.put(`k${n}`, 'v'.repeat(3000))
}

interface Naming {
  readonly path: string
  /** The flush of the new name, and which of its kind it is. */
  readonly flush: readonly [what: string, n: number]
  readonly make: (storage: Storage, first: Engine) => unknown
}

const NAMINGS: Record<string, Naming> = {
  'a data file that was compacted': {
    path: '/db',
    flush: ['flush directory /db', 1],
    make: (storage, first) => {
      first.close()
      return finished(compact(storage, '/db', OPTIONS))
    },
  },
  'a backup': {
    path: '/backup',
    flush: ['flush directory /', 1],
    make: (_storage, first) => finished(backup(first, '/backup')),
  },
  'what was restored from one': {
    path: '/restored',
    flush: ['flush directory /', 3],
    make: (storage, first) => {
      finished(backup(first, '/backup'))
      putAll(first, 3, 5)
      // To the end of the log: so it is opened on the way, and has a control file.
      const until = { lsn: undefined, timeMs: undefined }
      return finished(
        restore(storage, { backup: '/backup', target: '/restored', source: '/db', until, options: OPTIONS }),
      )
    },
  },
}

describe('a new name whose maker was killed before it was flushed', () => {
  for (const [name, { path, flush, make }] of Object.entries(NAMINGS)) {
    it(`is on disk before others rely on it: that of ${name}`, () => {
      for (let seed = 1; seed <= 20; seed++) {
        const world = new World(new Schedule(seed))
        const first = openIn(world, 'first')
        putAll(first, 0, 5)
        const storage = world.storageFor({ name: 'maker', dead: false })
        const [what, n] = flush
        expect(endAt(world, 'all killed', nth(n, what), () => make(storage, first))).to.equal(true)
        world.endAllProcesses()
        expect(world.names(path)).to.include('data')
        const next = openIn(world, 'next', path)
        putAll(next, 5, 10)
        next.close()
        world.restart()
        const last = openIn(world, 'last', path)
        for (let i = 0; i < 10; i++) expect(last.get(`k${i}`), `seed ${seed}, k${i}`).to.have.length(3000)
      }
    })
  }
})

describe('a segment that was never finished', () => {
  it('does not keep the log from being recycled by its age', () => {
    const world = new World(new Schedule(1))
    const first = openIn(world, 'first')
    keepLog(first.parts, { bytes: Infinity, ms: 1000 })
    first.checkpoint(true)
    putAll(first, 0, 2)
    // The next frame finds no room, and its process is killed when it has made the file of the next segment.
    const path = first.parts.log.pathOf(first.parts.control.append.read(newAppendFields()).tailLsn as Lsn)
    const isMade = (what: string): boolean => what === `allocate ${path}`
    expect(endAt(world, 'all killed', isMade, () => putAll(first, 2, 3))).to.equal(true)
    world.endAllProcesses()
    const next = openIn(world, 'next')
    // There is room for this one before it.
    next.put('small', 'v')
    for (let n = 2; n < 40; n++) {
      putAll(next, n, n + 1)
      world.clocks.pass(5000)
      if (n % 5 === 0) next.checkpoint(true)
    }
    expect(world.names('/db/wal').filter((name) => name.endsWith('.wal')).length).to.be.below(8)
  })
})
