// If these fail, an opener that may only read writes, is kept out, or sees another state than recovery would make.
import { chmodSync, cpSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'chai'
import type { Engine } from '../../src/engine/engine.js'
import { MmapdbError } from '../../src/errors.js'
import {
  cleanUp,
  crashCopy,
  dataFile,
  expectError,
  expectSound,
  filled,
  mountScratch,
  openEngine,
  remount,
  TINY,
} from '../support/engine.js'

const some = Buffer.from('some value')

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
