// Iterators that are driven by hand: moving to a key, and taking several entries at a time. If this failed, entries
// would be left out, come twice, or lie outside of the range.
import { expect } from 'chai'
import fc from 'fast-check'
import { encodeKey, KEY_BUFFER_BYTES } from '../../../src/encoding/keys.js'
import type { Engine } from '../../../src/engine/engine.js'
import type { Range } from '../../../src/engine/read/bounds.js'
import { cleanUp, expectError, openEngine, runs, scratchPath, TINY } from '../../support/engine.js'

const KEYS = 300
const OPTIONS = { ...TINY, valueEncoding: 'json' as const, segmentBytes: 1 << 20, checkpointBytes: 1 << 20 }

/** Even numbers, in several leaves. */
function filled(): Engine {
  const engine = openEngine(scratchPath(), OPTIONS)
  engine.batch(
    Array.from({ length: KEYS }, (_, n) => ({
      type: 'put' as const,
      key: 2 * n,
      value: 'x'.repeat(1 + ((n * 37) % 90)),
    })),
  )
  return engine
}

const bound = fc.option(fc.integer({ min: -5, max: 2 * KEYS + 5 }), { nil: undefined })

/** The keys of a range, in its direction, without its limit. */
function keysOf({ gte, gt, lte, lt, reverse }: Range): number[] {
  const all = Array.from({ length: KEYS }, (_, n) => 2 * n).filter(
    (n) =>
      (gte === undefined || n >= (gte as number)) &&
      (gt === undefined || n > (gt as number)) &&
      (lte === undefined || n <= (lte as number)) &&
      (lt === undefined || n < (lt as number)),
  )
  return reverse === true ? all.reverse() : all
}

const isWithin = ({ gte, gt, lte, lt }: Range, n: number): boolean =>
  (gte === undefined || n >= (gte as number)) &&
  (gt === undefined || n > (gt as number)) &&
  (lte === undefined || n <= (lte as number)) &&
  (lt === undefined || n < (lt as number))

describe('an iterator', function () {
  this.timeout(60_000)
  afterEach(cleanUp)

  it('does what a list of keys would do, whatever is asked of it in whatever order', () => {
    const engine = filled()
    const snapshot = engine.snapshot()
    const range = fc.record({
      gte: bound,
      gt: bound,
      lte: bound,
      lt: bound,
      reverse: fc.boolean(),
      limit: fc.option(fc.integer({ min: 0, max: 2 * KEYS }), { nil: undefined }),
    })
    const acts = fc.array(
      fc.oneof(
        fc.record({ seek: fc.integer({ min: -5, max: 2 * KEYS + 5 }) }),
        fc.record({ many: fc.oneof(fc.integer({ min: 1, max: 80 }), fc.constant(Infinity)) }),
        fc.constant({ next: true }),
      ),
      { maxLength: 12 },
    )
    fc.assert(
      fc.property(range, acts, (given: Range, todo) => {
        const model = keysOf(given)
        let at = 0
        let left = given.limit ?? Infinity
        const take = (n: number): number[] => {
          const taken = model.slice(at, at + Math.min(n, left))
          at += taken.length
          left -= taken.length
          return taken
        }
        const iterator = snapshot.range(given, 'keys')
        for (const act of todo) {
          if ('seek' in act) {
            iterator.seek(act.seek)
            const found = model.findIndex((n) => (given.reverse === true ? n <= act.seek : n >= act.seek))
            at = found < 0 || !isWithin(given, act.seek) ? model.length : found
          } else if ('many' in act) expect(iterator.nextMany(act.many)).to.deep.equal(take(act.many))
          else expect(iterator.next().value).to.equal(take(1)[0])
        }
        iterator.return()
        expect(iterator.nextMany(3)).to.deep.equal([])
      }),
      runs(300),
    )
    snapshot.close()
  })

  it('of a database lets go of its tree with its last entry, and cannot go back then; one of a snapshot can', () => {
    const engine = filled()
    const own = engine.range({ gte: 10, lte: 14 }, 'keys')
    own.seek(12)
    expect([...own]).to.deep.equal([12, 14])
    expect(engine.stats().readers.pinned).to.equal(0)
    expectError(() => own.seek(10), 'ERR_MMAPDB_CLOSED', /An iterator of a snapshot can/)

    for (const reverse of [false, true]) {
      const outside = engine.range({ gte: 10, lte: 14, reverse }, 'keys')
      for (const key of [0, 99]) {
        outside.seek(key)
        expect(outside.isDone || engine.stats().readers.pinned === 1, 'it may still go back').to.equal(true)
      }
      outside.seek(12)
      expect(outside.next().value, 'after it was outside of its range').to.equal(12)
      outside.seek(reverse ? 0 : 99)
      expect(outside.next().done).to.equal(true)
      expect(engine.stats().readers.pinned).to.equal(0)
      expectError(() => outside.seek(12), 'ERR_MMAPDB_CLOSED')
    }

    const snapshot = engine.snapshot()
    const its = snapshot.range({ gte: 10, lte: 14 }, 'keys')
    for (let i = 0; i < 3; i++) {
      its.seek(11)
      expect(its.nextMany(5)).to.deep.equal([12, 14])
      expect(its.next().done).to.equal(true)
    }
    its.return()
    expectError(() => its.seek(10), 'ERR_MMAPDB_CLOSED')
    const other = snapshot.range({}, 'keys')
    snapshot.close()
    expectError(() => other.seek(10), 'ERR_MMAPDB_CLOSED')
    expectError(() => other.nextMany(1), 'ERR_MMAPDB_CLOSED')
    engine.close()
    expectError(() => other.seek(10), 'ERR_MMAPDB_CLOSED')
  })

  it('takes no other number of entries than 1 or more, and no other key than what can be one', () => {
    const engine = filled()
    const iterator = engine.range({}, 'keys')
    for (const n of [0, -1, 1.5, Number.NaN, '3', undefined, null, 3n, {}])
      expectError(() => iterator.nextMany(n as number), 'ERR_MMAPDB_INVALID', /nextMany takes/)
    expectError(() => iterator.seek(undefined as never), 'ERR_MMAPDB_INVALID')
    expectError(() => iterator.seek([] as never), 'ERR_MMAPDB_INVALID')
    // None of that has moved it.
    expect(iterator.nextMany(2)).to.deep.equal([0, 2])
    // Reading the key runs users' code, which may use the iterator.
    const key = new Proxy([6], {
      get: (target, name) => {
        if (name === 'length') expect(iterator.next().value).to.equal(4)
        return Reflect.get(target, name) as unknown
      },
    })
    iterator.seek(key)
    // [6] lies between 6 and 8.
    expect(iterator.next().value).to.equal(8)
  })

  it('that meets a value that cannot be decoded hands out those before it first', () => {
    const engine = openEngine(scratchPath(), OPTIONS)
    for (const key of ['a', 'b', 'd', 'e']) engine.put(key, key)
    // As a program with another encoding would write it.
    const key = Buffer.alloc(KEY_BUFFER_BYTES)
    engine.write((frame) => frame.put(key, encodeKey('c', key), Buffer.from('no JSON')))
    const iterator = engine.range({}, 'entries')
    expect(iterator.nextMany(10)).to.deep.equal([
      ['a', 'a'],
      ['b', 'b'],
    ])
    expectError(() => iterator.nextMany(10), 'ERR_MMAPDB_ENCODING', /'c'/)
    expect(iterator.nextMany(10)).to.deep.equal([
      ['d', 'd'],
      ['e', 'e'],
    ])
    expect(iterator.nextMany(10)).to.deep.equal([])
  })
})

describe('a range with two bounds on one side', () => {
  afterEach(cleanUp)

  it('keeps to the tighter one, also in reverse and with a prefix', () => {
    const engine = openEngine(scratchPath(), OPTIONS)
    for (const key of ['a', 'b', 'ba', 'bb', 'bc', 'c']) engine.put(key, 1)
    const keys = (range: Range): string => [...engine.range(range, 'keys')].join(' ')
    expect(keys({ gte: 'b', gt: 'b' })).to.equal('ba bb bc c')
    expect(keys({ gte: 'bb', gt: 'b' })).to.equal('bb bc c')
    expect(keys({ gte: 'b', gt: 'bb' })).to.equal('bc c')
    expect(keys({ lte: 'bb', lt: 'bb' })).to.equal('a b ba')
    expect(keys({ lte: 'bb', lt: 'c' })).to.equal('a b ba bb')
    expect(keys({ lte: 'c', lt: 'bb' })).to.equal('a b ba')
    expect(keys({ lte: 'c', lt: 'bb', gte: 'a', gt: 'b', reverse: true })).to.equal('ba')
    expect(keys({ prefix: 'b', gte: 'a', gt: 'b', lt: 'bc', lte: 'z' })).to.equal('ba bb')
    expect(keys({ gte: undefined, gt: 'bb', lte: undefined, lt: undefined, prefix: undefined })).to.equal('bc c')
    expect(keys({ gt: 'c', lt: 'a' })).to.equal('')
  })
})
