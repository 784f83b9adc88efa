// If these fail, a key, value, batch or range that cannot be stored or read is not refused, is refused with another
// error, or leaves something behind.
import { expect } from 'chai'
import type { Key } from '../../src/encoding/keys.js'
import type { BatchOperation } from '../../src/engine/commit/batch.js'
import type { Engine } from '../../src/engine/engine.js'
import type { Range } from '../../src/engine/read/bounds.js'
import { InvalidError, type MmapdbErrorCode } from '../../src/errors.js'
import { MAX_VALUE_BYTES } from '../../src/limits.js'
import {
  cleanUp,
  contents,
  expectError,
  expectSound,
  filled,
  openEngine,
  scratchPath,
  TINY,
} from '../support/engine.js'

const some = Buffer.from('some value')

/** Runs what must be refused, and checks that the engine says what it said before, here and on disk. */
function refused(engine: Engine, code: MmapdbErrorCode, acts: (() => unknown)[], text?: RegExp): void {
  const before = contents(engine)
  const tail = engine.stats().log.tailLsn
  for (const act of acts) expectError(act, code, text)
  expect(contents(engine)).to.deep.equal(before)
  expect(engine.stats().log.tailLsn).to.equal(tail)
  expectSound(engine)
  engine.put('works', some)
  expect(engine.get('works')).to.deep.equal(some)
  engine.del('works')
}

describe('bad input', function () {
  this.timeout(30_000)
  afterEach(cleanUp)

  const badKeys = [
    undefined,
    Number.NaN,
    [],
    [[1]],
    {},
    () => 1,
    Symbol('s'),
    new Date(),
    'x'.repeat(1025),
    [undefined],
    new Uint8Array(1024),
  ] as unknown as Key[]

  it('in a key is refused by everything that takes one', () => {
    const engine = filled()
    const snapshot = engine.snapshot()
    for (const key of badKeys) {
      refused(engine, 'ERR_MMAPDB_INVALID', [
        () => engine.get(key),
        () => engine.getEntry(key),
        () => engine.has(key),
        () => engine.put(key, some),
        () => engine.del(key),
        () =>
          engine.batch([
            { type: 'put', key: 'good', value: some },
            { type: 'del', key },
          ]),
        () => engine.batch([{ type: 'put', key, value: some }]),
        () => snapshot.get(key),
        () => snapshot.has(key),
      ])
    }
  })

  it('in a value is refused, whatever the encoding', () => {
    const bad: Record<string, unknown[]> = {
      msgpack: [undefined, () => 1, Symbol('s')],
      json: [undefined, () => 1, Symbol('s'), 1n, { n: 1n }],
      utf8: [undefined, 1, null, Buffer.from('x'), { a: 1 }],
      binary: [undefined, 'text', 1, null, [1], new Uint16Array(2), new ArrayBuffer(3)],
    }
    const good: Record<string, unknown[]> = {
      msgpack: [null, 0, -1.5, 2n ** 40n, 'text', { a: [1, { b: null }] }, Buffer.from('bytes'), true, '', []],
      json: [null, 0, -1.5, 'text', { a: [1, { b: null }] }, true, '', []],
      utf8: ['', 'text', '\u0000', 'ä€😀', 'x'.repeat(50_000)],
      binary: [new Uint8Array(0), Buffer.from('x'), Uint8Array.of(0, 255)],
    }
    for (const valueEncoding of ['msgpack', 'json', 'utf8', 'binary'] as const) {
      const engine = openEngine(scratchPath(), { ...TINY, valueEncoding })
      for (const value of bad[valueEncoding]!) {
        expectError(() => engine.put('k', value), 'ERR_MMAPDB_INVALID')
        expectError(
          () =>
            engine.batch([
              { type: 'put', key: 'a', value: good[valueEncoding]![0] },
              { type: 'put', key: 'k', value },
            ]),
          'ERR_MMAPDB_INVALID',
        )
      }
      expect(engine.stats().entries).to.equal(0)
      good[valueEncoding]!.forEach((value, i) => {
        engine.put(i, value)
        const got = engine.get(i)
        if (value instanceof Uint8Array)
          expect(Buffer.from(got as Uint8Array).equals(Buffer.from(value))).to.equal(true)
        else expect(got).to.deep.equal(value)
      })
      expectSound(engine)
    }
  })

  it('in the length of a value is refused', () => {
    // Never touched, so it takes no memory.
    const value = new Uint8Array(MAX_VALUE_BYTES + 1)
    for (const valueEncoding of ['msgpack', 'binary'] as const) {
      const engine = openEngine(scratchPath(), { ...TINY, valueEncoding })
      const tooLong = new RegExp(`\\b${MAX_VALUE_BYTES}\\b`)
      expectError(() => engine.put('k', value), 'ERR_MMAPDB_INVALID', tooLong)
      expectError(() => engine.batch([{ type: 'put', key: 'k', value }]), 'ERR_MMAPDB_INVALID', tooLong)
      expect(engine.stats().entries).to.equal(0)
    }
  })

  it('in a batch refuses all of it', () => {
    const engine = filled()
    const good: BatchOperation = { type: 'put', key: 'good', value: some }
    const bad = [
      { type: 'move', key: 'k' },
      {},
      null,
      undefined,
      { key: 'k', value: some },
      7,
    ] as unknown as BatchOperation[]
    for (const operation of bad)
      refused(engine, 'ERR_MMAPDB_INVALID', [() => engine.batch([good, operation]), () => engine.batch([operation])])
    const ones: [unknown, RegExp][] = [
      [{ type: 'delete', key: 'k' }, /operation 1 has "delete"/],
      [{ type: 'put', key: 'k' }, /^Operation 1 of the batch: .*, not undefined\. Delete the key instead/],
      [{ type: 'del', key: new Date(0) }, /^Operation 1 of the batch: A key must be .* not a Date; its getTime/],
    ]
    for (const [operation, message] of ones)
      expect(() => engine.batch([good, operation as BatchOperation])).to.throw(InvalidError, message)
    const failing = function* (): Generator<BatchOperation> {
      yield good
      throw new Error("the caller's own")
    }
    expect(() => engine.batch(failing())).to.throw("the caller's own")
    expect(engine.has('good')).to.equal(false)
    engine.batch([])
    expect(engine.stats().entries).to.equal(20)
  })

  it('in a range is refused', () => {
    const engine = filled()
    const bad = [
      { gte: 1, gt: {} },
      { lte: [], lt: 1 },
      { limit: -1 },
      { limit: 1.5 },
      { limit: Number.NaN },
      { limit: '3' },
      { reverse: 1 },
      { from: 1 },
      { prefix: 7 },
      { prefix: true },
      { prefix: [] },
      { gte: {} },
      { lt: Number.NaN },
      { prefix: null },
      7,
      'x',
    ] as unknown as Range[]
    for (const range of bad) {
      refused(engine, 'ERR_MMAPDB_INVALID', [
        () => engine.range(range, 'entries'),
        () => engine.range(range, 'keys').count(),
        () => {
          const snapshot = engine.snapshot()
          try {
            snapshot.range(range, 'values')
          } finally {
            snapshot.close()
          }
        },
      ])
    }
    expect([...engine.range({ gte: 'z', lt: 'a' }, 'keys')]).to.deep.equal([])
    expect([...engine.range({ limit: 0 }, 'keys')]).to.deep.equal([])
    expect(engine.stats().readers.pinned).to.equal(0)
  })

  it("is not kept by what was read: values and keys are the caller's own", () => {
    const engine = filled()
    const value = engine.get('key 1') as Buffer
    value.fill(0)
    for (const [, v] of contents(engine)) (v as Buffer).fill(0)
    expect(engine.get('key 1')).to.deep.equal(Buffer.from('1'))
    const bytes = Buffer.alloc(50, 1)
    engine.put('mine', bytes)
    bytes.fill(2)
    expect(engine.get('mine')).to.deep.equal(Buffer.alloc(50, 1))
  })
})
