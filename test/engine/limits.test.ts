// What is refused, with which error, and that nothing has changed afterwards.
import {
  chmodSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { verify } from '../../src/maintenance/verify.js'
import { expect } from 'chai'
import type { BatchOperation } from '../../src/engine/commit/batch.js'
import type { Engine } from '../../src/engine/engine.js'
import type { EngineSnapshot } from '../../src/engine/read/snapshot.js'
import { SLOTS_FOR_A_DELETE } from '../../src/engine/commit/slot-budget.js'
import { encodeHeader, decodeHeader, type Header } from '../../src/engine/format/header.js'
import type { Key } from '../../src/encoding/keys.js'
import { resolveOptions, type OpenOptions } from '../../src/engine/options.js'
import { InvalidError, MmapdbError, type MmapdbErrorCode } from '../../src/errors.js'
import {
  cleanUp,
  contents,
  crashCopy,
  dataFile,
  expectError,
  expectSound,
  mountScratch,
  openEngine,
  readBytes,
  remount,
  scratchDirectory,
  scratchPath,
  SLOT_BYTES,
  TINY,
  writeBytes,
} from '../support/engine.js'
import type { Range } from '../../src/engine/read/bounds.js'

const some = Buffer.from('some value')

function filled(path = scratchPath(), options: OpenOptions = TINY): Engine {
  const engine = openEngine(path, options)
  for (let i = 0; i < 20; i++) engine.put(`key ${i}`, Buffer.from(`${i}`))
  return engine
}

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

describe('what cannot be opened', function () {
  this.timeout(30_000)
  afterEach(cleanUp)

  it('is not created when it is only to be read, or may not be created', () => {
    const path = scratchPath()
    for (const options of [{ createIfMissing: false }, { readOnly: true }]) {
      expectError(() => openEngine(path, { ...TINY, ...options }), 'ERR_MMAPDB_NOT_FOUND')
      expect(readdirSync(join(path, '..'))).to.deep.equal([])
    }
    mkdirSync(path)
    expectError(() => openEngine(path, { ...TINY, createIfMissing: false }), 'ERR_MMAPDB_NOT_FOUND')
    expect(readdirSync(path)).to.deep.equal([])
    expectError(() => openEngine(join(path, 'no', 'parent')), 'ERR_MMAPDB_NOT_FOUND', /does not exist/)
    expect(readdirSync(path)).to.deep.equal([])
  })

  it('is left alone when it is no database', () => {
    const directory = scratchDirectory()
    writeFileSync(join(directory, 'file'), 'text')
    expectError(() => openEngine(join(directory, 'file')), 'ERR_MMAPDB_NOT_A_DATABASE', /is a file/)
    expectError(() => openEngine(directory), 'ERR_MMAPDB_NOT_A_DATABASE', /other files/)
    expect(readdirSync(directory)).to.deep.equal(['file'])
    for (const foreign of ['text', 'x'.repeat(100_000), '\0\0\0x']) {
      const other = scratchDirectory()
      writeFileSync(join(other, 'data'), foreign)
      expectError(() => openEngine(other), 'ERR_MMAPDB_NOT_A_DATABASE')
      expect(readFileSync(join(other, 'data'), 'latin1')).to.equal(foreign)
    }
    const odd = scratchDirectory()
    mkdirSync(join(odd, 'data'))
    expectError(() => openEngine(odd), 'ERR_MMAPDB_NOT_A_DATABASE')
    const dangling = join(scratchDirectory(), 'link')
    symlinkSync('/nowhere/at/all', dangling)
    expect(() => openEngine(dangling)).to.throw(MmapdbError)
  })

  it('was written by a newer version', () => {
    const engine = filled()
    const path = crashCopy(engine.options.path)
    for (let slotNo = 0; slotNo < 4; slotNo++) {
      const header = decodeHeader(readBytes(dataFile(path), slotNo * SLOT_BYTES, SLOT_BYTES), slotNo)
      if (typeof header === 'object')
        writeBytes(dataFile(path), slotNo * SLOT_BYTES, encodeHeader({ ...header, version: 99 } as Header, slotNo))
    }
    const before = readFileSync(dataFile(path))
    expectError(() => openEngine(path), 'ERR_MMAPDB_VERSION', /99/)
    expect(readFileSync(dataFile(path)).equals(before)).to.equal(true)
  })

  it('has a data file shorter than its header says, closed or crashed', () => {
    const engine = filled()
    for (let i = 0; i < 300; i++) engine.put(i, Buffer.alloc(900, i))
    engine.close()
    const { path } = engine.options
    // Without the room that is left to deletes.
    const size = readFileSync(dataFile(path)).length - SLOTS_FOR_A_DELETE * SLOT_BYTES
    for (const cut of [1, SLOT_BYTES, size / 2, size - 4 * SLOT_BYTES]) {
      const copy = crashCopy(path)
      truncateSync(dataFile(copy), size - Math.floor(cut))
      expectError(() => openEngine(copy), 'ERR_MMAPDB_CORRUPT', /cut short/)
      expectError(() => openEngine(copy, { ...TINY, readOnly: true }), 'ERR_MMAPDB_CORRUPT')
    }
    expect(openEngine(path).stats().entries).to.equal(320)
  })

  it('is cut short while it is open: no reader gets a value that was never written', () => {
    for (const selection of ['entries', 'keys', 'values'] as const) {
      for (const reverse of [false, true]) {
        const engine = openEngine(scratchPath())
        for (let i = 0; i < 200; i++) engine.put(`key ${String(i).padStart(4, '0')}`, Buffer.alloc(300, 65))
        const written = new Set([...engine.range(undefined, selection)].map(String))
        const snapshot = engine.snapshot()
        const iterator = engine.range({ reverse }, selection)
        for (let i = 0; i < 3; i++) iterator.next()
        truncateSync(dataFile(engine.options.path), 4 * SLOT_BYTES)
        for (const act of [
          () => {
            for (const got of iterator) expect(written.has(String(got))).to.equal(true)
          },
          () => snapshot.get('key 0100'),
          () => snapshot.has('key 0100'),
          () => engine.get('key 0100'),
          () => engine.range(undefined, 'keys').count(),
        ]) {
          expect(act).to.throw(MmapdbError).with.property('code').that.is.oneOf(['ERR_MMAPDB_IO', 'ERR_MMAPDB_CORRUPT'])
        }
      }
    }
  })

  it('would make the data file longer than reserveBytes allows', () => {
    const small = { ...TINY, reserveBytes: 1024 * 1024 }
    const path = scratchPath()
    const engine = filled(path, small)
    const fill = (): void => {
      for (let i = 0; i < 2000; i++) engine.put(['fill', i], Buffer.alloc(900, i))
    }
    expectError(fill, 'ERR_MMAPDB_FULL', /reserveBytes/)
    // Nothing of it was written, and everything before it is there.
    const entries = engine.stats().entries
    expect(engine.get(['fill', entries - 21])).to.deep.equal(Buffer.alloc(900, entries - 21))
    expect(engine.has(['fill', entries - 20])).to.equal(false)
    expect(engine.stats().failure).to.equal(undefined)
    expectSound(engine)
    // There is room again once something has been deleted and brought to disk.
    const recovered = openEngine(crashCopy(path))
    expect(recovered.stats().entries).to.equal(entries)
    engine.close()
    const larger = openEngine(path)
    expect(larger.stats().entries).to.equal(entries)
    larger.put('more', Buffer.alloc(100_000))
    expectSound(larger)
  })
})

describe('options', () => {
  afterEach(cleanUp)

  it('out of their limits, of another type or unknown are refused, and those at the limits taken', () => {
    const bad: Record<string, unknown>[] = [
      { workers: -1 },
      { workers: 65 },
      { workers: 1.5 },
      { workers: '2' },
      { workers: Number.NaN },
      { windowBytes: 65535 },
      { windowBytes: 3 * 65536 },
      { windowBytes: 2 ** 31 },
      { reserveBytes: 65536 },
      { reserveBytes: 2 ** 45 },
      { segmentBytes: 4095 },
      { segmentBytes: 2 ** 35 },
      { checkpointBytes: 65535 },
      { checkpointBytes: 2 ** 41 },
      { timeoutMs: 0 },
      { timeoutMs: 3_600_001 },
      { timeoutMs: Infinity },
      { maxInFlightBytes: 1 },
      { maxInFlightBytes: null },
      { maxHeldBytes: 65_535 },
      { maxHeldBytes: '1' },
      { valueEncoding: 'xml' },
      { valueEncoding: '' },
      { createIfMissing: 1 },
      { readOnly: 'yes' },
      { allowNetworkFileSystem: 0 },
      { unknown: 1 },
      { path: '/x' },
    ]
    for (const options of bad) expectError(() => resolveOptions('/p', options as OpenOptions), 'ERR_MMAPDB_INVALID')
    expectError(
      () => resolveOptions('/p', { workers: '2' } as unknown as OpenOptions),
      'ERR_MMAPDB_INVALID',
      /from 0 to 64, not "2"/,
    )
    for (const path of ['', undefined, 7, null]) expectError(() => resolveOptions(path as string), 'ERR_MMAPDB_INVALID')
    for (const options of [null, 7, 'x'])
      expectError(() => resolveOptions('/p', options as unknown as OpenOptions), 'ERR_MMAPDB_INVALID')
    for (const good of [
      {},
      { workers: 0 },
      { workers: 64 },
      { windowBytes: 65536 },
      { windowBytes: 2 ** 30 },
      { segmentBytes: 4096 },
      { segmentBytes: 2 ** 34 },
      { reserveBytes: 2 ** 20 },
      { reserveBytes: 2 ** 20 + 1 },
      { reserveBytes: 2 ** 44 },
      { checkpointBytes: 2 ** 40 },
      { timeoutMs: 1 },
      { workers: undefined },
    ]) {
      resolveOptions('/p', good as OpenOptions)
    }
    expect(resolveOptions('/p', { readOnly: true }).createIfMissing).to.equal(false)
    expect(resolveOptions('/p', { readOnly: true, createIfMissing: true }).createIfMissing).to.equal(false)
  })
})

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
      { gte: 1, gt: 1 },
      { lte: 1, lt: 1 },
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

describe('what is closed', () => {
  afterEach(cleanUp)

  it('refuses everything but being closed again', () => {
    const engine = filled()
    const snapshot = engine.snapshot()
    const [iterator, ofSnapshot] = [engine.range(undefined, 'entries'), snapshot.range(undefined, 'keys')]
    iterator.next()
    ofSnapshot.next()
    engine.close()
    engine.close()
    expect(engine.isClosed).to.equal(true)
    for (const act of [
      () => engine.get('k'),
      () => engine.getEntry('k'),
      () => engine.has('k'),
      () => engine.range(undefined, 'keys'),
      () => engine.snapshot(),
      () => engine.put('k', some),
      () => engine.del('k'),
      () => engine.batch([]),
      () => engine.checkpoint(true),
      () => engine.stats(),
      () => verify(engine),
      () => snapshot.get('k'),
      () => snapshot.has('k'),
      () => snapshot.range(undefined, 'keys'),
      () => iterator.next(),
      () => ofSnapshot.next(),
    ]) {
      expectError(act, 'ERR_MMAPDB_CLOSED')
    }
    snapshot.close()
    expect(iterator.next()).to.deep.equal({ done: true, value: undefined })
  })

  it('stops the iterators of a closed snapshot, and lets go of what it held', () => {
    const engine = filled()
    const snapshot = engine.snapshot()
    const iterator = snapshot.range(undefined, 'keys')
    iterator.next()
    expect(engine.stats().readers.pinned).to.equal(1)
    snapshot.close()
    snapshot.close()
    expect(engine.stats().readers.pinned).to.equal(0)
    expectError(() => iterator.next(), 'ERR_MMAPDB_CLOSED')
    expectError(() => snapshot.get('k'), 'ERR_MMAPDB_CLOSED')
    for (const key of engine.range(undefined, 'keys')) {
      expect(engine.stats().readers.pinned).to.equal(1)
      if (key === 'key 3') break
    }
    expect(engine.stats().readers.pinned, 'after a loop was left').to.equal(0)
  })

  it('makes room for others: snapshots of too many trees are refused until one is closed, and nothing else is', function () {
    this.timeout(60_000)
    const engine = filled()
    const snapshots: EngineSnapshot[] = []
    expectError(
      () => {
        for (let n = 0; ; n++) {
          snapshots.push(engine.snapshot())
          engine.put('n', Buffer.from([n]))
        }
      },
      'ERR_MMAPDB_TOO_MANY_READERS',
      /close/,
    )
    expect(snapshots.length).to.equal(4095)
    expect(engine.get('key 1')).to.deep.equal(Buffer.from('1'))
    // Who comes now opens, reads and writes.
    const late = openEngine(engine.options.path)
    const mine = late.get('key 1')
    expect(mine).to.deep.equal(Buffer.from('1'))
    expect([late.has('key 1'), late.has('never'), late.get('never')]).to.deep.equal([true, false, undefined])
    expect(late.getEntry('key 2')).to.deep.equal(engine.getEntry('key 2'))
    late.put('still', some)
    expect(engine.get('still')).to.deep.equal(some)
    expectError(() => late.snapshot(), 'ERR_MMAPDB_TOO_MANY_READERS', /close/)
    snapshots.pop()!.close()
    snapshots.pop()!.close()
    engine.snapshot().close()
    for (const snapshot of snapshots) snapshot.close()
    late.snapshot().close()
    expectSound(engine)
  })

  it('costs one place for all who read the same tree', () => {
    const engine = filled()
    const snapshots = Array.from({ length: 5000 }, () => engine.snapshot())
    const iterators = Array.from({ length: 5000 }, () => engine.range(undefined, 'keys'))
    expect(engine.stats().readers.pinned).to.equal(10_000)
    engine.put('k', some)
    expect(engine.parts.pins.older(engine.parts.control.visibleLsn(), false)).to.have.lengthOf(1)
    for (const snapshot of snapshots) snapshot.close()
    for (const iterator of iterators) iterator.return()
    expect(engine.stats().readers.pinned).to.equal(0)
  })

  it('is done with the last entry or the limit, if that can be told', () => {
    const engine = filled()
    const pinned = (): number => engine.stats().readers.pinned
    const held = engine.snapshot()
    for (const [range, count] of [
      [{ limit: 0 }, 0],
      [{ limit: 1 }, 1],
      [{ limit: 2, reverse: true }, 2],
      [{}, 20],
      [{ reverse: true }, 20],
      [{ gte: 'key 5', lt: 'key 7' }, 2],
      [{ gt: 'key 5', lte: 'key 7', reverse: true }, 2],
      [{ prefix: 'key 1' }, 11],
    ] as const) {
      const iterator = engine.range(range, 'entries')
      for (let i = 0; i < count; i++) {
        expect(pinned()).to.equal(2)
        expect(iterator.next().done).to.equal(false)
      }
      expect(pinned(), JSON.stringify(range)).to.equal(1)
      expect(iterator.next().done).to.equal(true)
      expect(engine.range(range, 'keys').count()).to.equal(count)
      expect(engine.count(range)).to.equal(count)
      expect([...held.range(range, 'keys')].length).to.equal(count)
    }
    expect(pinned()).to.equal(1)
    held.close()
    expect(pinned()).to.equal(0)
  })
})

describe('a database that is only read', function () {
  this.timeout(30_000)
  afterEach(cleanUp)

  const refuses = (engine: Engine): void => {
    for (const act of [
      () => engine.put('k', some),
      () => engine.del('key 1'),
      () => engine.batch([]),
      () => engine.checkpoint(true),
    ]) {
      expectError(act, 'ERR_MMAPDB_READ_ONLY')
    }
    expect(engine.stats().entries).to.equal(20)
    expect(engine.get('key 7')).to.deep.equal(Buffer.from('7'))
  }

  it('refuses writes, and sees those of others', () => {
    const writer = filled()
    const reader = openEngine(writer.options.path, { ...TINY, readOnly: true })
    refuses(reader)
    writer.put('new', some)
    expect(reader.get('new')).to.deep.equal(some)
    reader.close()
    writer.close()
    const alone = openEngine(writer.options.path, { ...TINY, readOnly: true })
    expectError(() => alone.put('k', some), 'ERR_MMAPDB_READ_ONLY')
    expect(alone.stats().entries).to.equal(21)
  })

  it('is seen as it would be after recovery where the file system cannot be written', function () {
    const mount = mountScratch('size=32m')
    if (mount === undefined) this.skip()
    const writer = filled()
    const path = crashCopy(writer.options.path)
    const there = join(mount, 'db')
    cpSync(path, there, { recursive: true })
    if (!remount(mount, 'ro')) this.skip()
    const reader = openEngine(there, { ...TINY, readOnly: true })
    expect(reader.isPrivate).to.equal(true)
    refuses(reader)
    expectSound(reader)
    const second = openEngine(there, { ...TINY, readOnly: true })
    refuses(second)
    expect(() => openEngine(there))
      .to.throw(MmapdbError)
      .with.property('code')
      .that.is.oneOf(['ERR_MMAPDB_READ_ONLY', 'ERR_MMAPDB_PERMISSION'])
    reader.close()
    second.close()
  })

  it('that is full refuses writes and stays whole', function () {
    const mount = mountScratch('size=3m')
    if (mount === undefined) this.skip()
    const engine = filled(join(mount, 'db'))
    expectError(() => {
      for (let i = 0; ; i++) engine.put(['fill', i], Buffer.alloc(2000, i))
    }, 'ERR_MMAPDB_FULL')
    const entries = engine.stats().entries
    expect(engine.get(['fill', entries - 21])).to.deep.equal(Buffer.alloc(2000, entries - 21))
    expect(engine.has(['fill', entries - 20])).to.equal(false)
    expectSound(engine)
    expectSound(openEngine(crashCopy(join(mount, 'db'))))
    engine.close()
    rmSync(join(mount, 'db', 'control'))
    expect(openEngine(join(mount, 'db'), { ...TINY, readOnly: true }).stats().entries).to.equal(entries)
  })

  it('cannot be opened by somebody without the right to', function () {
    if (process.getuid?.() === 0) this.skip()
    const engine = filled()
    engine.close()
    chmodSync(dataFile(engine.options.path), 0)
    expectError(() => openEngine(engine.options.path), 'ERR_MMAPDB_PERMISSION')
  })
})
