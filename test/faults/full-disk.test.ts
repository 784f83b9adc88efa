// Full disks and small ones. If this failed, a database could not be opened or read because the disk is full,
// or no key could be deleted any more, or a refused write would leave the disk full.
import { expect } from 'chai'
import { mix, Random } from '../../crash-tests/lib/random.js'
import { Schedule } from '../../crash-tests/sim/schedule.js'
import { World } from '../../crash-tests/sim/world.js'
import { Engine } from '../../src/engine/engine.js'
import { encodeKey } from '../../src/encoding/keys.js'
import { resolveOptions, type OpenOptions } from '../../src/engine/options.js'
import { LogFollower } from '../../src/engine/read/log-follower.js'
import { verify } from '../../src/maintenance/verify.js'
import { LsnGoneError, MmapdbError } from '../../src/errors.js'
import { interrupted, rounds } from '../support/engine.js'
import { SmallDisk } from '../support/small-disk.js'
import { placeAfter } from '../../src/wal/change-reader.js'
import { FrameBuilder } from '../../src/wal/frame-builder.js'

const KiB = 1024
const MiB = 1024 * KiB
const OPTIONS: OpenOptions = {
  workers: 0,
  valueEncoding: 'utf8',
  windowBytes: 65536,
  reserveBytes: 64 * MiB,
  segmentBytes: 64 * KiB,
  checkpointBytes: 256 * KiB,
  timeoutMs: 1,
}
const RUNS = rounds(20)
const givenSeed = process.env['MMAPDB_TEST_SEED']
const firstSeed = givenSeed === undefined ? Math.floor(Math.random() * 2 ** 30) : Number(givenSeed)

/** A database on a disk of its own, and what it should hold. */
class Life {
  readonly world = new World(new Schedule(7))
  readonly disk: SmallDisk
  readonly options
  engine: Engine
  model = new Map<string, string>()

  constructor(capacityBytes: number, keepsPart = false, options: OpenOptions = {}) {
    this.disk = new SmallDisk(this.world.storageFor({ name: 'one', dead: false }), capacityBytes, keepsPart)
    this.options = resolveOptions('/db', { ...OPTIONS, ...options })
    this.engine = this.open()
  }
  open(): Engine {
    return (this.engine = Engine.open(this.options, this.disk.storage()))
  }

  /**
   * Opens it again. The power cut may have undone the growth of the data file, and others may have filled the disk
   * before the log was replayed: then opening says that the disk is full, and nothing is lost.
   */
  reopen(ending: (typeof ENDINGS)[number]): void {
    try {
      this.open()
    } catch (error) {
      if (ending !== 'power cut') throw error
      expect((error as MmapdbError).code, (error as Error).stack).to.equal('ERR_MMAPDB_FULL')
      // For reading, it still opens.
      const reader = Engine.open({ ...this.options, readOnly: true, createIfMissing: false }, this.disk.storage())
      expect([...reader.range(undefined, 'entries')].length).to.equal(this.model.size)
      reader.close()
      this.disk.ballastBytes = 0
      this.open()
    }
  }

  /** False if the write is refused because the disk is full. */
  put(key: string, value: string): boolean {
    const { tailLsn } = this.engine.stats().log
    try {
      this.engine.put(key, value)
      this.model.set(key, value)
      return true
    } catch (error) {
      expect((error as MmapdbError).code, (error as Error).stack).to.equal('ERR_MMAPDB_FULL')
      expect((error as Error).message).to.match(/Nothing was written/)
      expect(this.engine.stats().log.tailLsn, 'in the log although it was refused').to.be.at.most(tailLsn)
      return false
    }
  }
  del(...keys: string[]): void {
    if (keys.length === 1) this.engine.del(keys[0]!)
    else this.engine.batch(keys.map((key) => ({ type: 'del', key })))
    for (const key of keys) this.model.delete(key)
  }
  /** Puts until a few puts have been refused. */
  fillWith(valueBytes: number, prefix = 'k'): void {
    for (let n = 0, refused = 0; refused < 3; n++)
      if (!this.put(`${prefix}${n}`, `${n} `.padEnd(valueBytes, 'v'))) refused++
  }
  compare(): void {
    expect(new Map(this.engine.range(undefined, 'entries') as Iterable<[string, string]>)).to.deep.equal(this.model)
    expect(verify(this.engine).damage).to.deep.equal([])
  }
  end(how: 'closed' | 'killed' | 'power cut'): void {
    if (how === 'closed') this.engine.close()
    else if (how === 'killed') this.world.endAllProcesses()
    else this.world.restart()
  }
}

const ENDINGS = ['closed', 'killed', 'power cut'] as const

describe('a full disk', function () {
  this.timeout(600_000)

  for (const valueBytes of [100, 3000, 20_000]) {
    for (const keepsPart of [false, true]) {
      it(`lets everything of ${valueBytes} bytes be deleted, one by one, and used again without reopening; ${keepsPart ? 'as ext4' : 'as tmpfs'} refuses`, () => {
        const life = new Life(5 * MiB, keepsPart)
        life.fillWith(valueBytes)
        expect(life.model.size).to.be.greaterThan(100)
        life.compare()
        const { size } = life.model
        for (const key of [...life.model.keys()]) life.del(key)
        life.compare()
        life.fillWith(valueBytes, 'again')
        expect(life.model.size, 'as many as before').to.be.greaterThan(size * 0.8)
        life.compare()
        life.end('closed')
        life.open()
        life.compare()
      })
    }
  }

  it('makes room for writes that share a frame, too, as those do that are not waited for one by one', () => {
    for (const together of [1, 7, 100]) {
      const life = new Life(5 * MiB)
      life.fillWith(1000)
      life.disk.fill()
      const keys = [...life.model.keys()]
      const scratch = Buffer.alloc(64)
      for (let at = 0; at < keys.length; at += together) {
        const builder = new FrameBuilder()
        for (const key of keys.slice(at, at + together)) {
          const write = new FrameBuilder()
          write.del(scratch, encodeKey(key, scratch))
          builder.append(write)
        }
        const { failed } = life.engine.commits.finishWrites(life.engine.commits.beginWrites(builder.frame()))
        expect(
          failed.map(({ error }) => error.message),
          `entry ${at} of ${keys.length}`,
        ).to.deep.equal([])
      }
      life.model.clear()
      life.compare()
    }
  })

  it('stops nobody whose write is in the log when a longer one finds no room for a segment', () => {
    const life = new Life(16 * MiB)
    for (let n = 0; n < 300; n++) life.put(`k${n}`, 'v'.repeat(500))
    const { engine } = life
    const keys = [...life.model.keys()]
    const frameOf = (add: (frame: FrameBuilder) => void): Buffer => {
      const [frame, write] = [new FrameBuilder(), new FrameBuilder()]
      add(write)
      frame.append(write)
      return frame.take()
    }
    life.disk.fill()
    // In the log, and not applied yet: what it decides needs room in the log, too.
    const waiting = engine.commits.beginWrites(frameOf((frame) => engine.operations.del(frame, keys[0]!)))
    expect(waiting.refused).to.deep.equal([])
    engine.commits.beginWrites(frameOf((frame) => engine.operations.put(frame, 'long', 'x'.repeat(60_000))))
    const { failed, results } = engine.commits.finishWrites(waiting)
    expect(failed).to.deep.equal([])
    expect(results[0]).to.include({ took: true, removed: true })
    for (const key of keys.slice(1, 20)) expect(engine.del(key), key).to.equal(true)
    engine.close()
  })

  it('tells a feed what is gone if a writer stands still that has not read yet what it is told', () => {
    const life = new Life(8 * MiB, false, { segmentBytes: 8 * KiB, checkpointBytes: 64 * MiB })
    // Of another process, which is stopped before it has read whether its condition held.
    const other = Engine.open(life.options, life.disk.storage(life.world.storageFor({ name: 'other', dead: false })))
    const [frame, operation] = [new FrameBuilder(), new FrameBuilder()]
    other.operations.del(operation, 'none')
    frame.append(operation)
    other.commits.beginWrites(frame.take())
    for (let n = 0; n < 5; n++) life.put(`k${n}`, 'v'.repeat(3000))
    life.disk.fill()
    let n = 0
    while (life.put(`small ${n}`, 'v'.repeat(700)) && n < 100) n++
    for (n = 0; n < 5; n++) life.engine.del(`k${n}`)
    const follower = new LogFollower(life.engine.parts, 1 * MiB)
    const place = placeAfter(0)
    expect(() => {
      while (!follower.read(place).isAll);
    }).to.throw(LsnGoneError)
  })

  it('lets all of a small tree be deleted in one batch', () => {
    const life = new Life(8 * MiB)
    life.fillWith(5000)
    life.del(...life.model.keys())
    life.compare()
    expect(life.put('again', 'x'.repeat(30_000))).to.equal(true)
  })

  it('lets others take all that is left of it, and entries be deleted all the same', () => {
    for (const ending of [undefined, ...ENDINGS]) {
      const life = new Life(16 * MiB)
      for (let n = 0; n < 1500; n++) expect(life.put(`k${n}`, 'v'.repeat(n % 2000))).to.equal(true)
      if (ending === 'closed') {
        life.end(ending)
        life.disk.fill()
        life.open()
      } else {
        life.disk.fill()
        if (ending !== undefined) {
          life.end(ending)
          life.open()
        }
      }
      life.compare()
      for (const key of [...life.model.keys()]) life.del(key)
      life.compare()
      expect(life.put('room', 'x'.repeat(2000)), `a put after ${ending}`).to.equal(true)
      life.end('closed')
      life.open()
      life.compare()
    }
  })

  it('is left as free as it was by a creation that fails', () => {
    for (const kib of [4, 64, 200, 600]) {
      const disk = new SmallDisk(new World(new Schedule(7)).storageFor({ name: 'one', dead: false }), kib * KiB, true)
      expect(() => Engine.open(resolveOptions('/db', OPTIONS), disk.storage()))
        .to.throw(MmapdbError)
        .with.property('code', 'ERR_MMAPDB_FULL')
      expect(disk.freeBytes(), `of ${kib} KiB`).to.equal(kib * KiB)
    }
  })

  it('does not keep a reader from what a power cut left, though replaying the log on disk takes room', () => {
    const life = new Life(8 * MiB, false, { checkpointBytes: 64 * MiB })
    for (let n = 0; n < 500; n++) expect(life.put(`k${n}`, `${n} `.padEnd(4000, 'v'))).to.equal(true)
    life.end('killed')
    const data = life.disk.storage().openFile('/db/data', 'write')
    data.truncate(64 * KiB)
    data.close()
    life.disk.fill()
    expect(() => life.open())
      .to.throw(MmapdbError)
      .with.property('code', 'ERR_MMAPDB_FULL')
    const { readOnly, createIfMissing } = resolveOptions('/db', { readOnly: true })
    life.engine = Engine.open({ ...life.options, readOnly, createIfMissing }, life.disk.storage())
    life.compare()
    life.engine.close()
    life.disk.ballastBytes = 0
    life.open()
    life.compare()
  })

  it('can be opened as the only other thread ends, whose control lay in memory, and then by other processes', () => {
    let inFiles = 0
    for (let before = 0, calls = Infinity; before < calls; before++) {
      const life = new Life(8 * MiB)
      life.put('k', 'v')
      life.end('closed')
      life.disk.fill()
      const last = life.open()
      expect(last.parts.control.isInMemory).to.equal(true)
      const watched = interrupted(life.disk.storage(), before, () => {
        last.close()
        life.disk.ballastBytes = 0
      })
      life.engine = Engine.open(life.options, watched.storage)
      calls = watched.calls()
      life.compare()
      if (!life.engine.parts.control.isInMemory) {
        inFiles++
        Engine.open(life.options, life.world.storageFor({ name: 'two', dead: false })).close()
      }
      life.engine.close()
    }
    expect(inFiles, 'times that others could be let in').to.be.greaterThan(2)
  })

  it('takes nothing for a value that is longer than it', () => {
    for (const keepsPart of [false, true]) {
      const life = new Life(16 * MiB, keepsPart)
      for (let n = 0; n < 300; n++) life.put(`k${n}`, 'v'.repeat(n))
      for (const length of [30 * MiB, 12 * MiB, 9 * MiB]) {
        const before = life.disk.freeBytes()
        expect(life.put('giant', 'x'.repeat(length))).to.equal(false)
        expect(life.disk.freeBytes(), 'room that is left').to.be.at.least(before - 256 * KiB)
        expect(life.put('small', 'y')).to.equal(true)
      }
      life.compare()
    }
  })

  it(`loses nothing, whatever is done on it (${RUNS} lives)`, () => {
    for (let run = Number(process.env['MMAPDB_TEST_RUN'] ?? 0); run < RUNS; run++) {
      const seed = mix(firstSeed, run)
      const random = new Random(seed)
      const life = new Life(random.between(3, 12) * MiB, random.chance(0.5), {
        segmentBytes: random.pick([4 * KiB, 64 * KiB, MiB]),
      })
      const longest = random.pick([20, 1000, 30_000])
      const key = (): string => `k${random.between(0, 400)}`
      try {
        for (let step = 0; step < 400; step++) {
          const what = random.between(0, 99)
          if (what < 60) life.put(key(), String(step).padEnd(random.between(0, longest), 'v'))
          else if (what < 80) life.del(key())
          else if (what < 84) life.del(...Array.from({ length: 20 }, key))
          else if (what < 88) life.engine.checkpoint(true)
          else if (what < 92) life.disk.fill(random.chance(0.5) ? 0 : random.between(0, MiB))
          else if (what < 94) life.disk.ballastBytes = 0
          else if (what < 96) life.put('giant', 'x'.repeat(random.between(1, 20) * MiB))
          else {
            const ending = random.pick(ENDINGS)
            life.end(ending)
            if (random.chance(0.3)) life.disk.fill()
            life.reopen(ending)
            life.compare()
          }
        }
        life.compare()
      } catch (error) {
        ;(error as Error).message += ` (run ${run} of MMAPDB_TEST_SEED=${firstSeed})`
        throw error
      }
    }
  })
})
