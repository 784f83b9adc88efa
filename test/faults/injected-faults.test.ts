// Each call into the system fails in its turn: the first, the second, and so on up to the last call that a piece of
// work makes. It fails once, or it and all later calls fail. If this failed, a full disk, an I/O error or a lack of
// descriptors at some point would lose an acknowledged write, leave the database unreadable, stop it for good, or
// leak open files.
import { expect } from 'chai'
import { mix, Random } from '../../crash-tests/lib/random.js'
import { Schedule } from '../../crash-tests/sim/schedule.js'
import { CALM, Outage, World } from '../../crash-tests/sim/world.js'
import { encodeSegmentHeader, SEGMENT_HEADER_BYTES } from '../../src/wal/segment.js'
import type { Lsn } from '../../src/wal/lsn.js'
import { Engine } from '../../src/engine/engine.js'
import type { EngineSnapshot } from '../../src/engine/read/snapshot.js'
import { LOCK } from '../../src/engine/shared/lock-bytes.js'
import { resolveOptions } from '../../src/engine/options.js'
import { verify } from '../../src/maintenance/verify.js'
import { MmapdbError, OutcomeUnknownError, type MmapdbErrorCode } from '../../src/errors.js'
import { Faults, FaultyStorage, type Call, type Plan } from '../support/faulty-storage.js'
import { encodedName, LogModel } from '../support/log-model.js'

const OPTIONS = resolveOptions('/db', {
  workers: 0,
  valueEncoding: 'utf8',
  windowBytes: 65536,
  reserveBytes: 64 * 1024 * 1024,
  segmentBytes: 8192,
  checkpointBytes: 65536,
  timeoutMs: 1,
})

interface Family {
  readonly calls: readonly Call[]
  readonly code: string
  readonly expected: readonly MmapdbErrorCode[]
}

const FLUSHES: readonly Call[] = ['flush log', 'flush data', 'flush directory']
const FAMILIES: Record<string, Family> = {
  'a disk that is full': {
    calls: ['create', 'make directory', 'grow data', 'grow control', 'allocate', 'write'],
    code: 'ENOSPC',
    expected: ['ERR_MMAPDB_FULL'],
  },
  'a disk that fails to write': {
    calls: ['write', 'allocate', 'grow data', 'grow control'],
    code: 'EIO',
    expected: ['ERR_MMAPDB_IO'],
  },
  'a disk that fails to read': { calls: ['read', 'list', 'look'], code: 'EIO', expected: ['ERR_MMAPDB_IO'] },
  'a disk that fails to flush the log': { calls: ['flush log'], code: 'EIO', expected: ['ERR_MMAPDB_IO'] },
  'a disk that fails to flush the data file': { calls: ['flush data'], code: 'EIO', expected: ['ERR_MMAPDB_IO'] },
  'a disk that fails to flush a directory': { calls: ['flush directory'], code: 'EIO', expected: ['ERR_MMAPDB_IO'] },
  'a disk that is found to be full by a flush': {
    calls: FLUSHES,
    code: 'ENOSPC',
    expected: ['ERR_MMAPDB_IO', 'ERR_MMAPDB_FULL'],
  },
  'a directory that fails': {
    calls: ['rename', 'unlink', 'open', 'create', 'make directory'],
    code: 'EIO',
    expected: ['ERR_MMAPDB_IO'],
  },
  'a directory that may not be changed': {
    calls: ['rename', 'unlink', 'create', 'open'],
    code: 'EACCES',
    expected: ['ERR_MMAPDB_PERMISSION'],
  },
  'a file that cannot be cut': { calls: ['truncate'], code: 'EIO', expected: ['ERR_MMAPDB_IO'] },
  'a process without descriptors': { calls: ['open', 'list'], code: 'EMFILE', expected: ['ERR_MMAPDB_IO'] },
  'a system without locks': { calls: ['lock'], code: 'ENOLCK', expected: ['ERR_MMAPDB_IO'] },
}

type Ending = 'closed' | 'closed while it fails' | 'killed' | 'power cut'
const ENDINGS: readonly Ending[] = ['closed', 'closed while it fails', 'killed', 'power cut']

/** One database, one process that the fault hits, and another that it does not hit. */
class Scene {
  readonly #world: World
  readonly #model = new LogModel()
  readonly #faults = new Faults()
  readonly #process = { name: 'faulty', dead: false }
  #other: Engine | undefined
  #errors: MmapdbError[] = []

  constructor(
    readonly plan: Plan,
    readonly family: Family,
    readonly setting: Setting,
  ) {
    this.#world = new World(new Schedule(7))
    this.#world.onLogWrite = (bytes) => this.#model.note(bytes)
  }

  get counts(): ReadonlyMap<Call, number> {
    return this.#faults.counts
  }

  /** False if the work ended before it reached the fault. */
  run(): boolean {
    const storage = new FaultyStorage(this.#world.storageFor(this.#process), this.#faults)
    if (this.setting.existing) this.#prepare()
    this.#faults.arm(this.plan)
    const engine = this.#refusable(() => Engine.open(OPTIONS, storage))
    if (engine === undefined) expect(this.#faults.open, 'handles left open by an opening that failed').to.equal(0)
    else this.#work(engine)
    if (engine !== undefined && this.setting.ending === 'closed while it fails') {
      this.#other?.close()
      this.#refusable(() => engine.close())
      expect(this.#faults.open, 'handles left open by a close').to.equal(0)
    }
    this.#faults.heal()
    if (engine !== undefined && this.setting.ending !== 'closed while it fails') this.#afterwards(engine)
    this.#reopen()
    return this.#faults.struck > 0
  }

  /** A database with something in its tree, its free list and its log. */
  #prepare(): void {
    const engine = Engine.open(OPTIONS, this.#world.storageFor({ name: 'before', dead: false }))
    for (let i = 0; i < 30; i++) engine.put(`old ${i}`, `${i}`.repeat(40))
    engine.checkpoint(true)
    for (let i = 0; i < 12; i++) engine.put(`old ${i}`, 'newer')
    this.#model.acknowledged = engine.lastCommit
    this.#world.endAllProcesses()
  }

  #refusable<T>(act: () => T): T | undefined {
    const struck = this.#faults.struck
    try {
      return act()
    } catch (error) {
      expect(error, `${(error as Error).stack} after ${this.#faults.where.at(-1)}`).to.be.instanceOf(MmapdbError)
      const typed = error as MmapdbError
      expect(typed.message, 'says what to do or what was being done').to.match(/\w{3,}.*[.:]/)
      if (this.#faults.struck > struck) {
        // The outcome of a write that is in the log is unknown; the cause of the error names the reason.
        const reason = (typed instanceof OutcomeUnknownError ? typed.cause : typed) as MmapdbError
        expect(this.family.expected, `${typed.stack}\nafter ${this.#faults.where.at(-1)}`).to.include(reason.code)
      }
      this.#errors.push(typed)
      return undefined
    }
  }

  #work(engine: Engine): void {
    // If the first opener found the disk full, this one may have to stay out.
    const join = (): Engine => Engine.open(OPTIONS, this.#world.storageFor({ name: 'other', dead: false }))
    if (this.setting.withOther) this.#other = this.#refusable(join)
    let snapshot: EngineSnapshot | undefined
    for (let i = 0; i < 26; i++) {
      if (i === 5) snapshot = this.#refusable(() => engine.snapshot())
      if (i === 20) snapshot?.close()
      if (i % 9 === 8) this.#attempt(engine, () => void engine.checkpoint(true))
      else if (i === 12) this.#attempt(engine, () => void verify(engine))
      else this.#attempt(engine, () => this.#write(engine, i))
    }
    snapshot?.close()
  }

  #write(engine: Engine, i: number): void {
    const before = engine.stats().log.tailLsn
    try {
      if (i % 4 === 3) {
        engine.batch(
          Array.from({ length: 20 }, (_, n) => ({
            type: 'put' as const,
            key: `batch ${i % 8} ${n}`,
            value: `${i}`.repeat(n * 3),
          })),
        )
      } else if (i === 6 || i === 14) engine.put('large', `${i}`.padEnd(i === 6 ? 30_000 : 700_000, 'x'))
      else if (i % 4 === 2) engine.del(`key ${i - 2}`)
      else engine.put(`key ${i}`, `value ${i}`.padEnd(i * 30))
      this.#model.acknowledged = Math.max(this.#model.acknowledged, engine.lastCommit)
    } catch (error) {
      const { tailLsn: tail } = engine.parts.control.append.read({} as never)
      if (error instanceof OutcomeUnknownError) {
        expect(error.lsn, 'the frame is in the log, where it says').to.equal(before)
        expect(tail).to.be.above(before)
      } else {
        expect(tail, `${(error as Error).stack}: nothing was written`).to.equal(before)
      }
      throw error
    }
  }

  /** Does something that may be refused, and checks what it leaves. */
  #attempt(engine: Engine, act: () => void): void {
    const struck = this.#faults.struck
    this.#refusable(act)
    if (this.#faults.struck > struck) this.#look(engine)
  }

  /** Reads work, in this process and in others, and no lock is left held. */
  #look(engine: Engine): void {
    for (const reader of [engine, this.#other]) {
      if (reader === undefined) continue
      const expected = this.#model.at(reader.parts.control.visibleLsn())
      expect(reader.parts.control.visibleLsn()).to.be.at.least(this.#model.acknowledged)
      for (const key of ['key 0', 'key 1', 'key 4', 'large', 'batch 3 7', 'old 3', 'old 20', 'never there']) {
        expect(reader.get(key), key).to.equal(expected.get(encodedName(key)))
      }
    }
    for (const [byte, { exclusive, shared }] of this.#world.allLocks) {
      if (byte === LOCK.ATTACHED || byte >= LOCK.PINS) continue
      expect([exclusive, ...shared].filter(Boolean), `lock ${byte} after ${this.#faults.where.at(-1)}`).to.deep.equal(
        [],
      )
    }
  }

  /** The fault has passed. Everything must work again without reopening, unless a flush failed. */
  #afterwards(engine: Engine): void {
    const failure = engine.stats().failure
    const flushFailed = this.#faults.where.some((where) => where.startsWith('flush'))
    if (!flushFailed)
      expect(failure, `writes stopped for good after ${this.#faults.where.join(', ')}`).to.equal(undefined)
    else if (failure === undefined) {
      // Only a failed opening or closing may leave this unset.
      expect(this.#errors.length, `a failed flush went unnoticed: ${this.#faults.where.join(', ')}`).to.equal(0)
    }
    for (const writer of [engine, this.#other]) {
      if (writer === undefined) continue
      if (failure === undefined) {
        writer.put('afterwards', 'works')
        this.#model.acknowledged = writer.lastCommit
        writer.checkpoint(true)
        expect(verify(writer).damage).to.deep.equal([])
      } else {
        expect(failure).to.match(/Writes are refused/)
        for (const act of [() => writer.put('k', 'v'), () => void writer.checkpoint(true)]) {
          expect(act).to.throw(MmapdbError).with.property('code', 'ERR_MMAPDB_IO')
        }
      }
      expect(writer.stats().readers.pinned, 'pins left behind').to.equal(0)
      this.#compare(writer)
    }
    expect(this.#faults.flushesAfterFailure, 'a flush that had failed was tried again').to.deep.equal([])
    if (this.setting.ending === 'closed') {
      engine.close()
      this.#other?.close()
      expect(this.#faults.open, 'handles left open by a close').to.equal(0)
    }
  }

  #compare(engine: Engine): void {
    const found = new Map<string, string>()
    for (const [key, value] of engine.range(undefined, 'entries') as Iterable<[string, string]>)
      found.set(encodedName(key), value)
    const expected = this.#model.at(engine.parts.control.visibleLsn())
    expect([...found.keys()].sort()).to.deep.equal([...expected.keys()].sort())
    for (const [key, value] of expected) expect(found.get(key) === value, `the value of ${key}`).to.equal(true)
  }

  #reopen(): void {
    this.#faults.forget()
    if (this.setting.ending === 'power cut') this.#world.restart()
    else this.#world.endAllProcesses()
    const engine = Engine.open(OPTIONS, this.#world.storageFor({ name: 'healthy', dead: false }))
    const { visibleLsn } = engine.stats().log
    expect(visibleLsn, 'acknowledged and lost').to.be.at.least(this.#model.acknowledged)
    this.#model.cutAt(visibleLsn)
    this.#compare(engine)
    expect(verify(engine).damage).to.deep.equal([])
    engine.put('again', 'works')
    engine.close()
    const last = Engine.open(OPTIONS, this.#world.storageFor({ name: 'last', dead: false }))
    expect(last.get('again')).to.equal('works')
    expect(verify(last).damage).to.deep.equal([])
    last.close()
  }
}

interface Setting {
  readonly existing: boolean
  readonly withOther: boolean
  readonly ending: Ending
}
const SETTINGS: readonly Setting[] = ENDINGS.flatMap((ending) =>
  [false, true].flatMap((existing) => [false, true].map((withOther) => ({ existing, withOther, ending }))),
)

/** With MMAPDB_TEST_RUNS above 1, every call in every setting; otherwise some of them, chosen by the seed. */
const EVERYTHING = Number(process.env['MMAPDB_TEST_RUNS'] ?? 1) > 1
const CHOSEN = 6
const seed =
  process.env['MMAPDB_TEST_SEED'] === undefined
    ? Math.floor(Math.random() * 2 ** 31)
    : Number(process.env['MMAPDB_TEST_SEED'])

describe('every call into the system that can fail', function () {
  this.timeout(3_600_000)
  const counts = new Map<Setting, ReadonlyMap<Call, number>>()
  before(() => {
    for (const setting of SETTINGS) {
      const scene = new Scene({ calls: [], code: '', n: 1, lasting: false }, FAMILIES['a disk that is full']!, setting)
      scene.run()
      counts.set(setting, scene.counts)
    }
  })

  for (const [f, [name, family]] of Object.entries(FAMILIES).entries()) {
    for (const lasting of [false, true]) {
      it(`${name}, ${lasting ? 'for good' : 'once'}`, () => {
        const random = new Random(mix(seed, f, Number(lasting)))
        const total = (setting: Setting): number =>
          family.calls.reduce((sum, call) => sum + (counts.get(setting)!.get(call) ?? 0), 0)
        const cases = EVERYTHING
          ? SETTINGS.flatMap((setting) => Array.from({ length: total(setting) }, (_, i) => ({ setting, n: i + 1 })))
          : Array.from({ length: CHOSEN }, () => {
              const setting = random.pick(SETTINGS.filter((s) => total(s) > 0))
              return { setting, n: random.between(1, total(setting)) }
            })
        for (const { setting, n } of cases) {
          try {
            expect(
              new Scene({ calls: family.calls, code: family.code, n, lasting }, family, setting).run(),
              'the fault was met',
            ).to.equal(true)
          } catch (error) {
            const e = error as Error
            e.message = `call ${n}, ${JSON.stringify(setting)}: ${e.message} (MMAPDB_TEST_SEED=${seed})`
            throw e
          }
        }
        expect(cases).to.not.be.empty
        if (EVERYTHING) console.log(`      ${cases.length} cases`)
      })
    }
  }
})

describe('closing a database of which something has expired, and something was cleared', () => {
  for (const [name, { calls, code }] of Object.entries(FAMILIES)) {
    for (const lasting of [false, true]) {
      it(`loses nothing and opens again after ${name}, ${lasting ? 'for good' : 'once'}`, () => {
        let cases = 0
        for (let n = 1, wasMet = true; wasMet; n++) {
          const world = new World(new Schedule(7))
          const faults = new Faults()
          const engine = openIn(world, 'faulty', faults)
          engine.batch(Array.from({ length: 300 }, (_, i) => ({ type: 'put', key: i, value: 'x'.repeat(900) })))
          const expiresAt = engine.nowMs - 1
          engine.batch(Array.from({ length: 20 }, (_, i) => ({ type: 'put', key: `${i}`, value: 'x', expiresAt })))
          engine.write((frame) => frame.clear(engine.main.encoded(100), engine.main.encoded(290)))
          expect([engine.hasTrash, engine.parts.control.earliestExpiry()]).to.deep.equal([true, expiresAt])
          faults.arm({ calls, code, n, lasting })
          try {
            engine.close()
          } catch (error) {
            expect(error).to.be.instanceOf(MmapdbError)
          }
          wasMet = faults.struck > 0
          if (wasMet) cases++
          world.endAllProcesses()
          const again = openIn(world, 'healthy')
          expect(again.count(undefined), `call ${n}`).to.equal(110)
          expect(verify(again).damage).to.deep.equal([])
          again.close()
        }
        expect(cases).to.be.above(0)
      })
    }
  }
})

/** Opens the database as one more process of `world`. */
const openIn = (world: World, name: string, faults = new Faults(), options = OPTIONS): Engine =>
  Engine.open(options, new FaultyStorage(world.storageFor({ name, dead: false }), faults))

const contents = (engine: Engine): unknown => [...engine.range({}, 'entries')]

describe('a flush of the log that goes well', () => {
  it('is not believed after another process has been told of one that failed meanwhile', () => {
    const world = new World(new Schedule(1))
    const faults = new Faults()
    const leader = openIn(world, 'leader')
    const other = openIn(world, 'other', faults)
    leader.put('before', 'it')
    const step = world.step.bind(world)
    let isFirst = true
    world.step = (what) => {
      step(what)
      if (!isFirst || !what.startsWith('flush /db/wal')) return
      isFirst = false
      // The segment has no room for the frame, so the bytes that the leader is about to flush are flushed first.
      faults.arm({ calls: ['flush log'], code: 'EIO', n: 1, lasting: false })
      expect(() => other.put('long', 'x'.repeat(9000)))
        .to.throw()
        .with.property('code', 'ERR_MMAPDB_IO')
    }
    expect(() => leader.put('key', 'value'))
      .to.throw()
      .with.property('code', 'ERR_MMAPDB_OUTCOME_UNKNOWN')
    expect(isFirst).to.equal(false)
    expect(other.get('key')).to.equal(undefined)
    expect(other.get('before')).to.equal('it')
  })

  it('is not believed by a checkpoint either, which needs the outcomes that a leader could not flush', () => {
    let refused = 0
    for (let seed = 1; seed <= 40; seed++) {
      const world = new World(new Schedule(seed))
      const one = openIn(world, 'one')
      const other = openIn(world, 'other')
      one.put('a', '1')
      const lsn = one.parts.control.visibleLsn() as Lsn
      one.del('a')
      // The tree includes the delete, and nobody has flushed its outcome yet. The flush of a leader that does fails.
      let told: unknown
      const failing = (): void => {
        world.rates = { ...CALM, fault: 0.2 }
        try {
          other.put('b', '2')
        } catch (error) {
          told = error
        }
        world.rates = CALM
      }
      try {
        atFlushOfData(world, 1, failing, () => one.checkpoint(true))
      } catch (error) {
        expect(error).to.have.property('code', 'ERR_MMAPDB_IO')
      }
      if (!(told instanceof OutcomeUnknownError)) continue
      refused++
      cutPower(world)
      const outcome = openIn(world, 'last').parts.committer.outcomeOf(lsn, lsn)
      expect(outcome.at(-1), `seed ${seed}: what the log says of the delete`).to.equal(1)
    }
    expect(refused, 'how often the flush failed').to.be.above(10)
  })
})

describe('a segment that had to be begun again', () => {
  it('gets frames that count from those who had it open before, too', () => {
    const world = new World(new Schedule(1))
    const faults = new Faults()
    const one = openIn(world, 'one')
    const other = openIn(world, 'other', faults)
    // The segment is empty and too short for this frame: it is made again, and meanwhile its header is torn.
    faults.arm({ calls: ['write'], code: 'EIO', n: 1, lasting: false })
    expect(() => other.put('long', 'x'.repeat(9000)))
      .to.throw()
      .with.property('code', 'ERR_MMAPDB_IO')
    other.put('a', '1')
    one.put('b', '2')
    other.put('c', '3')
    expect(contents(one)).to.deep.equal([
      ['a', '1'],
      ['b', '2'],
      ['c', '3'],
    ])
    // All processes are killed.
    world.endAllProcesses()
    expect(contents(openIn(world, 'next'))).to.deep.equal([
      ['a', '1'],
      ['b', '2'],
      ['c', '3'],
    ])
  })

  it('is no damage if its header is torn, whatever of a frame that never counted lies behind it', () => {
    const world = new World(new Schedule(1))
    const faults = new Faults()
    const engine = openIn(world, 'one', faults)
    // Too long for the empty segment, which is made again: its header is written, then a part of the frame.
    faults.arm({ calls: ['write'], code: 'ENOSPC', n: 2, lasting: false })
    expect(() => engine.put('long', 'x'.repeat(9000)))
      .to.throw()
      .with.property('code', 'ERR_MMAPDB_FULL')
    // The segment is made again once more, for a frame of another length: its header is torn.
    faults.arm({ calls: ['write'], code: 'EIO', n: 1, lasting: false })
    expect(() => engine.put('longer', 'x'.repeat(12_000)))
      .to.throw()
      .with.property('code', 'ERR_MMAPDB_IO')
    world.endAllProcesses()
    const next = openIn(world, 'next')
    expect(contents(next)).to.deep.equal([])
    next.put('a', '1')
    expect(contents(next)).to.deep.equal([['a', '1']])
  })

  it('and was not finished does not come back with a header that no program saw any more', () => {
    for (let seed = 1; seed <= 40; seed++) {
      const world = new World(new Schedule(seed))
      const engine = openIn(world, 'one')
      engine.put('before', 'it')
      const { log, control } = engine.parts
      const path = log.pathOf(control.visibleLsn() as Lsn)
      // An appender has made the next segment and its flush has failed: the kernel gives the page up, and programs see
      // what was there before. The disk may have it all the same.
      const storage = world.storageFor({ name: 'made it', dead: false })
      const header = Buffer.alloc(SEGMENT_HEADER_BYTES)
      const like = log.segment(log.starts()[0]!)!.header
      encodeSegmentHeader({
        ...like,
        startLsn: control.visibleLsn() as Lsn,
        limitLsn: (control.visibleLsn() + 4096) as Lsn,
      }).copy(header)
      const file = storage.openFile(path, 'create')
      storage.flushDirectory(log.directory)
      file.allocate(8192)
      file.flush()
      file.write(header, 0, header.length, 0)
      world.rates = { ...CALM, writeBack: 1 }
      for (let i = 0; i < 5; i++) world.step('the disk takes what it is given')
      world.rates = CALM
      file.write(Buffer.alloc(header.length), 0, header.length, 0)
      world.endAllProcesses()
      const next = openIn(world, 'next')
      next.put('after', 'it')
      cutPower(world)
      expect(contents(openIn(world, 'last')), `seed ${seed}`).to.deep.equal([
        ['after', 'it'],
        ['before', 'it'],
      ])
    }
  })

  it('holds no proof that frames were on disk which a dead process could not flush', () => {
    let lost = 0
    // The frame and that of its outcome share a segment, and not all pages.
    const openNext = (world: World, name: string): Engine =>
      openIn(world, name, new Faults(), { ...OPTIONS, segmentBytes: 65536 })
    for (let seed = 1; seed <= 40; seed++) {
      const world = new World(new Schedule(seed))
      const engine = openNext(world, 'one')
      engine.put('a', 'kept')
      // The flush fails, and the kernel gives the pages of the frame up.
      world.rates = { ...CALM, fault: 0.2 }
      try {
        engine.batch([
          { type: 'del', key: 'a' },
          { type: 'put', key: 'long', value: 'x'.repeat(14_000) },
        ])
        continue
      } catch (error) {
        if (!(error instanceof OutcomeUnknownError)) continue
      } finally {
        world.rates = CALM
      }
      world.endAllProcesses()
      // Recovery reads the frame, says in the log what it decided, and the power is cut before its checkpoint counts.
      cutBeforeHeaders(world, () => openNext(world, 'next'))
      world.restart()
      const found = contents(openNext(world, 'last')) as string[][]
      if (found[0]?.[0] === 'a') lost++
      else expect(found, `seed ${seed}`).to.deep.equal([['long', 'x'.repeat(14_000)]])
    }
    expect(lost, 'how often the frame was not on disk').to.be.above(3)
  })
})

function cutBeforeHeaders(world: World, act: () => void): void {
  try {
    // The first flush of the data file is that of the tree, the second that of the headers.
    atFlushOfData(world, 2, () => world.end('power cut'), act)
  } catch (error) {
    if (!(error instanceof Outage)) throw error
  }
}

/** `then` happens just before flush `n` of the data file that `act` leads to. */
function atFlushOfData(world: World, n: number, then: () => void, act: () => void): void {
  const step = world.step.bind(world)
  let flushes = 0
  world.step = (what) => {
    if (what === 'flush data' && ++flushes === n) then()
    step(what)
  }
  try {
    act()
  } finally {
    world.step = step
    expect(flushes, 'flushes of the data file').to.be.at.least(n)
  }
}

function cutPower(world: World): void {
  try {
    world.end('power cut')
  } catch (error) {
    if (!(error instanceof Outage)) throw error
  }
  world.restart()
}
