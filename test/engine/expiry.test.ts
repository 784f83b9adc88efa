// Entries that expire, with a clock that the test sets. If these failed, an entry would be seen after its time, come
// back, be gone before its time, or take up room for ever.
import { expect } from 'chai'
import { NEVER, writeExpiryKey } from '../../src/encoding/expiry-key.js'
import { Engine } from '../../src/engine/engine.js'
import { conditionsOf, putOptionsIn, expiryIn, type PutOptions } from '../../src/engine/commit/conditions.js'
import type { BatchOperation } from '../../src/engine/commit/batch.js'
import type { Expiry } from '../../src/engine/commit/expiry.js'
import { resolveOptions, type OpenOptions } from '../../src/engine/options.js'
import type { MmapdbError } from '../../src/errors.js'
import { newState, STATE } from '../../src/engine/shared/control.js'
import { LOCK } from '../../src/engine/shared/lock-bytes.js'
import { MAX_TREE_KEY_BYTES } from '../../src/limits.js'
import { FrameBuilder } from '../../src/wal/frame-builder.js'
import { Random } from '../../crash-tests/lib/random.js'
import { salvage } from '../../src/maintenance/salvage.js'
import { verify } from '../../src/maintenance/verify.js'
import { TestClock } from '../support/clock.js'
import { cleanUp, crashCopy, expectError, rounds, scratchPath, seeded, TINY } from '../support/engine.js'

const OPTIONS: OpenOptions = { ...TINY, valueEncoding: 'json' }
const YEAR_MS = 365 * 86_400_000

describe('entries that expire', function () {
  this.timeout(120_000)
  let clock: TestClock
  let path: string
  let engine: Engine
  const engines: Engine[] = []

  const opened = (at = path): Engine => {
    const one = Engine.open(resolveOptions(at, OPTIONS), clock.storage())
    engines.push(one)
    return one
  }
  const put = (key: string, value: unknown, options?: PutOptions, to = engine): boolean =>
    to.put(key, value, putOptionsIn(options, to.operations.clock))
  const add = (key: string, delta: number, options?: Expiry): unknown =>
    engine.add(key, delta, expiryIn(options, engine.operations.clock))
  const keys = (of: { range: Engine['range'] } = engine): string[] => [...of.range({}, 'keys')] as string[]
  /** Runs `act` between the look of a sweeper and the append of its frame. */
  const beforeNextAppend = (act: () => unknown): void => {
    const { committer } = engine.parts
    const append = committer.append.bind(committer)
    committer.append = (frame) => {
      committer.append = append
      act()
      return append(frame)
    }
  }
  const figures = (of = engine): { entries: number; internal: number; expiring: number; earliest: number } => {
    const state = of.parts.control.readState(newState())
    return {
      entries: state[STATE.ENTRIES]! - state[STATE.INTERNAL_ENTRIES]!,
      internal: state[STATE.INTERNAL_ENTRIES]!,
      expiring: state[STATE.EXPIRING]!,
      earliest: state[STATE.EARLIEST_EXPIRY]!,
    }
  }
  const sound = (of = engine): void => {
    const report = verify(of)
    expect(report.damage).to.deep.equal([])
  }

  beforeEach(() => {
    clock = new TestClock()
    path = scratchPath()
    engine = opened()
  })
  afterEach(() => {
    for (const one of engines.splice(0)) if (!one.isClosed) one.close()
    cleanUp()
  })

  it('are there until their time, and absent from then on for every read', () => {
    const long = 'v'.repeat(9000)
    put('a', 1, { ttlMs: 1000 })
    put('b', 2)
    put('c', long, { expiresAt: clock.systemMs + 1000 })
    put('d', 4)
    const entry = engine.getEntry('a')!
    expect(entry).to.deep.equal({ value: 1, version: entry.version, expiresAt: clock.systemMs + 1000 })
    expect(engine.getEntry('b')).to.not.have.property('expiresAt')
    clock.pass(999)
    expect(keys()).to.deep.equal(['a', 'b', 'c', 'd'])
    expect(engine.get('c')).to.equal(long)
    const before = engine.snapshot()
    const iterator = engine.range({ reverse: true, limit: 3 }, 'keys')
    clock.pass(1)
    for (const key of ['a', 'c']) {
      expect(engine.get(key)).to.equal(undefined)
      expect(engine.getEntry(key)).to.equal(undefined)
      expect(engine.has(key)).to.equal(false)
    }
    expect(keys()).to.deep.equal(['b', 'd'])
    expect([...engine.range({ reverse: true }, 'values')]).to.deep.equal([4, 2])
    expect([...engine.range({ limit: 1 }, 'keys')]).to.deep.equal(['b'])
    expect(engine.range({}, 'keys').nextMany(9)).to.deep.equal(['b', 'd'])
    const seeking = engine.range({}, 'keys')
    seeking.seek('a')
    expect(seeking.next().value).to.equal('b')
    expect(engine.count({})).to.equal(2)
    expect(engine.count({ reverse: true, gte: 'a', lte: 'c' })).to.equal(1)
    expect(engine.count({ limit: 1 })).to.equal(1)
    const after = engine.snapshot()
    expect([after.get('a'), after.get('b'), after.has('c'), after.getEntry('c')]).to.deep.equal([
      undefined,
      2,
      false,
      undefined,
    ])
    expect(keys(after)).to.deep.equal(['b', 'd'])
    expect(after.range({}, 'keys').count()).to.equal(2)
    // A snapshot is one moment: what had not expired then is in it for as long as it is open.
    expect(keys(before)).to.deep.equal(['a', 'b', 'c', 'd'])
    expect(before.getEntry('a')).to.deep.equal(entry)
    expect(before.range({}, 'keys').count()).to.equal(4)
    expect([...iterator]).to.deep.equal(['d', 'c', 'b'])
    for (const snapshot of [before, after]) snapshot.close()
    sound()
  })

  it('count as absent in conditions, deletes and sums from their time on', () => {
    put('a', 1, { ttlMs: 1000 })
    const { version } = engine.getEntry('a')!
    clock.pass(1000)
    expect(put('a', 2, { ifPresent: true })).to.equal(false)
    expect(put('a', 2, { ifVersion: version })).to.equal(false)
    expect(engine.batch([{ type: 'check', key: 'a', ifPresent: true }])).to.equal(false)
    expect(engine.batch([{ type: 'check', key: 'a', ifAbsent: true }])).to.equal(true)
    expect(engine.del('a')).to.equal(false)
    expect(engine.del('a', conditionsOf(version, undefined, undefined))).to.equal(false)
    expect(engine.get('a')).to.equal(undefined)
    expect(add('a', 5)).to.equal(5)
    expect(engine.getEntry('a')).to.not.have.property('expiresAt')
    put('b', 7, { ttlMs: 10 })
    clock.pass(10)
    expect(put('b', 8, { ifAbsent: true, ttlMs: 50 })).to.equal(true)
    expect(engine.getEntry('b')!.expiresAt).to.equal(clock.systemMs + 50)
    sound()
  })

  it('keep their time when something is added, and lose or change it when they are put again', () => {
    const expiresAt = clock.systemMs + 1000
    put('n', 1, { expiresAt })
    expect(add('n', 2)).to.equal(3)
    expect(add('n', 2, { ttlMs: 77_777 })).to.equal(5)
    expect(engine.getEntry('n')!.expiresAt).to.equal(expiresAt)
    expect(add('m', 2, { ttlMs: 500 })).to.equal(2)
    expect(engine.getEntry('m')!.expiresAt).to.equal(clock.systemMs + 500)
    put('n', 9, { ttlMs: 5000 })
    expect(engine.getEntry('n')!.expiresAt).to.equal(clock.systemMs + 5000)
    expect(figures().expiring).to.equal(2)
    put('n', 9)
    expect(engine.getEntry('n')).to.not.have.property('expiresAt')
    engine.del('m')
    expect(figures()).to.deep.equal({ entries: 1, internal: 0, expiring: 0, earliest: NEVER })
    clock.pass(YEAR_MS)
    expect(engine.get('n')).to.equal(9)
    sound()
  })

  it('are judged within a batch by what the batch has done', () => {
    const past = { expiresAt: clock.systemMs - 1 }
    const batch = (...operations: BatchOperation[]): boolean => engine.batch(operations)
    expect(batch({ type: 'put', key: 'a', value: 7, ...past }, { type: 'add', key: 'a', delta: 1 })).to.equal(true)
    expect(engine.get('a')).to.equal(1)
    batch({ type: 'put', key: 'b', value: 7, ttlMs: 100 }, { type: 'add', key: 'b', delta: 1 })
    expect(engine.getEntry('b')).to.deep.include({ value: 8, expiresAt: clock.systemMs + 100 })
    batch({ type: 'del', key: 'b' }, { type: 'add', key: 'b', delta: 1, ttlMs: 9 })
    expect(engine.getEntry('b')).to.deep.include({ value: 1, expiresAt: clock.systemMs + 9 })
    batch({ type: 'add', key: 'd', delta: 2, ...past }, { type: 'add', key: 'd', delta: 1, ttlMs: 5 })
    expect(engine.getEntry('d')).to.deep.include({ value: 1, expiresAt: clock.systemMs + 5 })
    put('c', 3, past)
    expect(engine.has('c')).to.equal(false)
    sound()
  })

  it('are removed by the sweeper, and nothing else is', () => {
    for (let i = 0; i < 1000; i++) put(`k${i}`, i, i % 2 === 0 ? { ttlMs: 1000 + i } : undefined)
    expect(figures()).to.deep.equal({ entries: 1000, internal: 500, expiring: 500, earliest: clock.systemMs + 1000 })
    expect(engine.sweep(10)).to.deep.equal({ removed: 0, isMore: false })
    clock.pass(1500)
    expect(engine.sweep(10)).to.deep.equal({ removed: 251, isMore: false })
    expect(figures()).to.deep.equal({ entries: 749, internal: 249, expiring: 249, earliest: clock.systemMs + 2 })
    clock.pass(YEAR_MS)
    expect(engine.sweep(10)).to.deep.equal({ removed: 249, isMore: false })
    expect(figures()).to.deep.equal({ entries: 500, internal: 0, expiring: 0, earliest: NEVER })
    expect(engine.count({})).to.equal(500)
    sound()
  })

  it('are swept in parts, by one sweeper at a time', () => {
    for (let i = 0; i < 600; i++) put(`k${i}`, i, { ttlMs: 1 })
    clock.pass(1)
    const other = opened()
    const { locks } = other.parts
    expect(locks.tryLock(LOCK.SWEEP, 'exclusive')).to.equal(true)
    expect(engine.sweep(1)).to.deep.equal({ removed: 0, isMore: false })
    locks.unlock(LOCK.SWEEP)
    expect(engine.sweep(1)).to.deep.equal({ removed: 256, isMore: true })
    expect(other.sweep(9)).to.deep.equal({ removed: 344, isMore: false })
    expect(figures().entries).to.equal(0)
  })

  it('are not swept if they were put again after the sweeper has looked', () => {
    put('a', 1, { ttlMs: 10 })
    put('b', 1, { ttlMs: 10 })
    clock.pass(10)
    beforeNextAppend(() => put('a', 2, { ttlMs: 1000 }))
    expect(engine.sweep(1)).to.deep.equal({ removed: 1, isMore: true })
    expect(engine.getEntry('a')).to.deep.include({ value: 2, expiresAt: clock.systemMs + 1000 })
    expect(figures().entries).to.equal(1)
    sound()
  })

  it('do not come back, and none is lost before its time, when the clock is set back by a year', () => {
    put('gone', 1, { ttlMs: 1000 })
    put('later', 2, { ttlMs: 5000 })
    clock.pass(1000)
    expect(engine.get('gone')).to.equal(undefined)
    clock.jump(-YEAR_MS)
    expect(engine.get('gone')).to.equal(undefined)
    expect(opened().get('gone')).to.equal(undefined)
    expect(put('gone', 3, { ifPresent: true })).to.equal(false)
    expect(engine.get('later')).to.equal(2)
    put('new', 3, { ttlMs: 100 })
    clock.pass(99)
    expect(keys()).to.deep.equal(['later', 'new'])
    clock.pass(1)
    expect(keys()).to.deep.equal(['later'])
    clock.pass(3900)
    expect(keys()).to.deep.equal([])
  })

  it('do not come back when the database is opened again after that: closed, killed, and on a machine started again', () => {
    for (const how of ['closed', 'killed'] as const) {
      const at = scratchPath()
      let one = opened(at)
      put('gone', 1, { ttlMs: 1000 }, one)
      put('later', 2, { ttlMs: 5000 }, one)
      clock.pass(1000)
      put('other', 1, undefined, one)
      let next = at
      if (how === 'closed') one.close()
      else next = crashCopy(at)
      clock.jump(-YEAR_MS)
      clock.restart()
      one = opened(next)
      expect(keys(one), how).to.deep.equal(['later', 'other'])
      put('new', 3, { ttlMs: 100 }, one)
      clock.pass(100)
      expect(keys(one), how).to.deep.equal(['later', 'other'])
      clock.pass(3900)
      expect(keys(one), how).to.deep.equal(['other'])
      sound(one)
    }
  })

  it('do not come back if nothing was written since they expired, and the database was closed', () => {
    put('gone', 1, { ttlMs: 1000 })
    engine.checkpoint(true)
    clock.pass(1000)
    expect(engine.get('gone')).to.equal(undefined)
    engine.close()
    clock.jump(-YEAR_MS)
    engine = opened()
    expect(engine.get('gone')).to.equal(undefined)
  })

  it('expire at once when the clock is set forward, and times go on from there when it is set right', () => {
    put('a', 1, { ttlMs: YEAR_MS - 1 })
    put('b', 2, { ttlMs: 2 * YEAR_MS })
    clock.jump(YEAR_MS)
    expect(keys()).to.deep.equal(['b'])
    clock.jump(-YEAR_MS)
    expect(keys()).to.deep.equal(['b'])
    put('c', 1, { ttlMs: 1000 })
    clock.pass(999)
    expect(keys()).to.deep.equal(['b', 'c'])
    clock.pass(1)
    expect(keys()).to.deep.equal(['b'])
  })

  it('keep their times through a replay of the log, however much later that is', () => {
    put('a', 1, { ttlMs: 1000 })
    put('b', 1, { ttlMs: 1000 })
    clock.pass(900)
    put('b', 2, { ifPresent: true })
    clock.pass(200)
    put('a', 3, { ifPresent: true })
    add('c', 1, { ttlMs: YEAR_MS })
    const copy = crashCopy(path)
    clock.pass(YEAR_MS / 2)
    const replayed = opened(copy)
    expect(keys(replayed)).to.deep.equal(['b', 'c'])
    expect(figures(replayed)).to.deep.equal(figures())
    expect(replayed.getEntry('c')!.expiresAt).to.equal(engine.getEntry('c')!.expiresAt)
    sound(replayed)
  })

  it('that are in the index and nowhere else are removed from there, but not if they are put again meanwhile', () => {
    put('a', 1, { ttlMs: 10 })
    put('b', 1, { ttlMs: 10 })
    put('c', 1, { ttlMs: 10 })
    // What one leaves who cuts a part of the tree out: entries of the index, and of nothing else.
    const leave = (key: string, expiresAt: number): void => {
      const frame = new FrameBuilder()
      const inTree = engine.main.encoded(key)
      const index = Buffer.alloc(MAX_TREE_KEY_BYTES)
      const length = writeExpiryKey(index, expiresAt, inTree, inTree.length)
      frame.put(index, length, Buffer.alloc(0))
      engine.commit(frame.frame())
    }
    const time = clock.systemMs
    leave('a', time + 5)
    leave('x', time + 10)
    leave('y', time + 10)
    leave('z', time + 20)
    expect(figures()).to.deep.equal({ entries: 3, internal: 7, expiring: 7, earliest: time + 5 })
    clock.pass(10)
    // What the index has of it already becomes true.
    beforeNextAppend(() => put('y', 1, { expiresAt: time + 10 }))
    engine.sweep(1)
    expect(figures()).to.deep.equal({ entries: 1, internal: 2, expiring: 2, earliest: time + 10 })
    sound()
    engine.sweep(1)
    expect(figures()).to.deep.equal({ entries: 0, internal: 1, expiring: 1, earliest: time + 20 })
    put('b', 1)
    clock.pass(10)
    expect(engine.sweep(2)).to.deep.equal({ removed: 1, isMore: false })
    expect(figures()).to.deep.equal({ entries: 1, internal: 0, expiring: 0, earliest: NEVER })
    expect(keys()).to.deep.equal(['b'])
    sound()
  })

  it('make room for a put that finds the disk full', () => {
    const at = scratchPath()
    const small = Engine.open(resolveOptions(at, { ...OPTIONS, reserveBytes: 1024 * 1024 }), clock.storage())
    engines.push(small)
    const value = 'v'.repeat(500)
    const fill = (options?: PutOptions): number => {
      for (let i = 0; ; i++) {
        try {
          put(`${options === undefined ? 'stays' : 'expires'} ${i}`, value, options, small)
        } catch (error) {
          expect((error as MmapdbError).code).to.equal('ERR_MMAPDB_FULL')
          return i
        }
      }
    }
    const expiring = fill({ ttlMs: 1000 })
    expect(expiring).to.be.above(200)
    clock.pass(999)
    expectError(() => put('one more', value, undefined, small), 'ERR_MMAPDB_FULL')
    clock.pass(1)
    expect(fill()).to.be.above(expiring * 0.8)
    sound(small)
  })

  it('are salvaged with their times, from the tree and from the log', () => {
    put('a', 1, { ttlMs: 1000 })
    put('b', 'v'.repeat(3000), { ttlMs: 2000 })
    put('c', 1)
    put('gone', 1, { ttlMs: 10 })
    engine.checkpoint(true)
    clock.pass(10)
    add('a', 1)
    add('new', 1, { ttlMs: 500 })
    put('c', 2, { ttlMs: 300 })
    engine.sweep(1)
    const copy = crashCopy(path)
    const target = scratchPath()
    const options = (at: string) => resolveOptions(at, OPTIONS)
    const report = salvage(options(copy), options(target), clock.storage())
    expect(report.complete).to.equal(true)
    expect(report.lostValues).to.deep.equal([])
    const salvaged = opened(target)
    for (const key of ['a', 'b', 'c', 'new']) {
      const { version, ...rest } = engine.getEntry(key)!
      void version
      expect(salvaged.getEntry(key), key).to.deep.include(rest)
    }
    expect(keys(salvaged)).to.deep.equal(['a', 'b', 'c', 'new'])
    expect(figures(salvaged)).to.deep.equal(figures())
    sound(salvaged)
  })

  it('say the same as a map, whatever is done in whatever order, with crashes and closes in between', () => {
    seeded((next) => sayTheSame(new Random(Math.floor(next() * 2 ** 32))))
  })

  function sayTheSame(random: Random): void {
    const model = new Map<string, { value: unknown; expiresAt: number }>()
    const alive = (key: string): unknown => {
      const entry = model.get(key)
      return entry !== undefined && entry.expiresAt > engine.nowMs ? entry.value : undefined
    }
    for (let i = 0; i < rounds(4000); i++) {
      const key = `k${random.between(0, 60)}`.padEnd(random.chance(0.02) ? 900 : 0, 'x')
      const roll = random.next()
      const ttlMs = random.chance(0.6) ? random.between(1, 3000) : undefined
      if (roll < 0.5) {
        const value = 'v'.repeat(random.skewed(1, 5000))
        put(key, value, ttlMs === undefined ? undefined : { ttlMs })
        model.set(key, { value, expiresAt: ttlMs === undefined ? Infinity : engine.nowMs + ttlMs })
      } else if (roll < 0.6) {
        expect(engine.del(key)).to.equal(alive(key) !== undefined)
        model.delete(key)
      } else if (roll < 0.65) {
        const isThere = alive(key) !== undefined
        expect(put(key, i, { ifAbsent: true })).to.equal(!isThere)
        if (!isThere) model.set(key, { value: i, expiresAt: Infinity })
      } else if (roll < 0.75) clock.pass(random.between(0, 400))
      else if (roll < 0.78) clock.jump(-random.between(0, 100_000))
      else if (roll < 0.85) engine.sweep(1)
      else if (roll < 0.87) engine.checkpoint(true)
      else if (roll < 0.88) {
        engine.close()
        engine = opened()
      } else if (roll < 0.89) {
        engine = opened((path = crashCopy(path)))
      } else {
        expect(engine.get(key)).to.equal(alive(key))
        const expected = [...model.keys()].filter((each) => alive(each) !== undefined).sort()
        expect(keys()).to.deep.equal(expected)
        expect(engine.count({})).to.equal(expected.length)
      }
      if (i % 500 === 0) sound()
    }
    clock.pass(10_000)
    engine.sweep(100)
    expect(figures().expiring).to.equal(0)
    expect(figures().internal).to.equal(0)
    expect(figures().entries).to.equal([...model.keys()].filter((key) => alive(key) !== undefined).length)
    sound()
  }
})
