// If these fail, opening takes what is no sound database for one, or damages it, or readers get bytes of a file that
// was cut short.
import { mkdirSync, readdirSync, readFileSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'chai'
import { SLOTS_FOR_A_DELETE } from '../../../src/engine/commit/slot-budget.js'
import { encodeHeader, decodeHeader, type Header } from '../../../src/engine/format/header.js'
import { MmapdbError } from '../../../src/errors.js'
import {
  cleanUp,
  crashCopy,
  dataFile,
  expectError,
  expectSound,
  filled,
  openEngine,
  readBytes,
  scratchDirectory,
  scratchPath,
  TINY,
  SLOT_BYTES,
  writeBytes,
} from '../../support/engine.js'

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
