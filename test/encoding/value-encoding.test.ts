// Which encoding a database's values have: said when it is created, kept in its header, and taken by all who open it.
import { expect } from 'chai'
import { readdirSync } from 'node:fs'
import { Engine } from '../../src/engine/engine.js'
import { encodeHeader, decodeHeader, type Header } from '../../src/engine/format/header.js'
import { encodeKey, KEY_BUFFER_BYTES } from '../../src/encoding/keys.js'
import { resolveOptions } from '../../src/engine/options.js'
import { salvage } from '../../src/maintenance/salvage.js'
import { VALUE_ENCODINGS } from '../../src/encoding/values/codec.js'
import { verify } from '../../src/maintenance/verify.js'
import { EncodingError } from '../../src/errors.js'
import { open } from '../../src/index.js'
import { posixStorage } from '../../src/storage/posix.js'
import {
  cleanUp,
  crashCopy,
  dataFile,
  expectError,
  openEngine,
  readBytes,
  scratchPath,
  SLOT_BYTES,
  TINY,
  writeBytes,
} from '../support/engine.js'
import { FrameBuilder } from '../../src/wal/frame-builder.js'

const { valueEncoding: _none, ...UNNAMED } = TINY
const VALUES = {
  msgpack: new Map([[1, 'x']]),
  json: { a: [1, -0] },
  utf8: 'text',
  binary: Buffer.from('bytes'),
} as const

/** What no `put` of this database writes. */
function putBytes(engine: Engine, key: string, bytes: Buffer): void {
  const frame = new FrameBuilder()
  const keyBytes = Buffer.alloc(KEY_BUFFER_BYTES)
  frame.put(keyBytes, encodeKey(key, keyBytes), bytes)
  engine.commit(frame.frame())
}

describe('the encoding of values', function () {
  this.timeout(30_000)
  afterEach(cleanUp)

  for (const valueEncoding of VALUE_ENCODINGS) {
    it(`is remembered: ${valueEncoding}`, async () => {
      const path = scratchPath()
      const engine = openEngine(path, { ...TINY, valueEncoding })
      engine.put('k', VALUES[valueEncoding])
      const crashed = crashCopy(path)
      engine.checkpoint(true)
      engine.close()
      for (const at of [path, crashed]) {
        const again = openEngine(at, UNNAMED)
        expect(again.valueEncoding).to.equal(valueEncoding)
        expect(again.stats().valueEncoding).to.equal(valueEncoding)
        expect(again.get('k')).to.deep.equal(VALUES[valueEncoding])
        again.put('l', VALUES[valueEncoding])
        again.close()
        openEngine(at, { ...UNNAMED, valueEncoding }).close()
        expect(openEngine(at, { ...UNNAMED, readOnly: true }).get('l')).to.deep.equal(VALUES[valueEncoding])
      }
      const inspected = Engine.inspect(resolveOptions(crashCopy(crashed), UNNAMED), posixStorage)
      expect(inspected.get('k')).to.deep.equal(VALUES[valueEncoding])
      inspected.close()
      for (const workers of [0, 2]) {
        const db = await open(path, { workers })
        try {
          expect(db.valueEncoding).to.equal(valueEncoding)
          await db.put('m', VALUES[valueEncoding])
          expect(await db.getMany(['k', 'none', 'm'])).to.deep.equal([
            VALUES[valueEncoding],
            undefined,
            VALUES[valueEncoding],
          ])
        } finally {
          await db.close()
        }
      }
    })
  }

  it('is named by no other name: both are in the message, and nothing changes', async () => {
    const path = scratchPath()
    openEngine(path, { ...TINY, valueEncoding: 'json' }).close()
    for (const valueEncoding of VALUE_ENCODINGS) {
      if (valueEncoding === 'json') continue
      for (const options of [{}, { readOnly: true }]) {
        expectError(
          () => openEngine(path, { ...TINY, ...options, valueEncoding }),
          'ERR_MMAPDB_INVALID',
          new RegExp(`"json".*"${valueEncoding}"`),
        )
      }
      const refused = await open(path, { valueEncoding, workers: 1 }).catch((error: Error) => error)
      expect(refused).to.have.property('code', 'ERR_MMAPDB_INVALID')
      const first = openEngine(path, UNNAMED)
      expectError(() => openEngine(path, { ...TINY, valueEncoding }), 'ERR_MMAPDB_INVALID')
      first.put('k', valueEncoding)
      first.close()
    }
    expect(readdirSync(path).sort()).to.deep.equal(['control', 'data', 'wal'])
  })

  it('is msgpack if the creator names no other', () => {
    expect(openEngine(scratchPath(), UNNAMED).valueEncoding).to.equal('msgpack')
  })

  it('that a later version brought is refused as such', () => {
    const path = scratchPath()
    openEngine(path, TINY).close()
    for (let slotNo = 0; slotNo < 4; slotNo++) {
      const header = decodeHeader(readBytes(dataFile(path), slotNo * SLOT_BYTES, SLOT_BYTES), slotNo)
      if (typeof header === 'object')
        writeBytes(dataFile(path), slotNo * SLOT_BYTES, encodeHeader({ ...header, encodingNo: 9 } as Header, slotNo))
    }
    expectError(() => openEngine(path, UNNAMED), 'ERR_MMAPDB_VERSION', /number 9/)
  })

  it('goes along when a database is salvaged; where no header is left it is what the caller says', () => {
    const path = scratchPath()
    const engine = openEngine(path, { ...TINY, valueEncoding: 'json' })
    engine.put('k', { a: 1 })
    engine.close()
    const out = scratchPath()
    salvage(resolveOptions(path, UNNAMED), resolveOptions(out, UNNAMED), posixStorage)
    expect(openEngine(out, UNNAMED).get('k')).to.deep.equal({ a: 1 })
    expectError(
      () =>
        salvage(
          resolveOptions(path, UNNAMED),
          resolveOptions(scratchPath(), { ...UNNAMED, valueEncoding: 'utf8' }),
          posixStorage,
        ),
      'ERR_MMAPDB_INVALID',
      /"json"/,
    )
    for (let slotNo = 0; slotNo < 4; slotNo++)
      writeBytes(dataFile(path), slotNo * SLOT_BYTES + 100, Buffer.from('damage'))
    const told = scratchPath()
    salvage(resolveOptions(path, UNNAMED), resolveOptions(told, { ...UNNAMED, valueEncoding: 'json' }), posixStorage)
    expect(openEngine(told, UNNAMED).get('k')).to.deep.equal({ a: 1 })
  })

  it('may be unlike a value that some program wrote: that is no damage, and others are read past it', async () => {
    const path = scratchPath()
    const engine = openEngine(path, { ...TINY, valueEncoding: 'json' })
    for (const key of ['a', 'c', 'e']) engine.put(key, key)
    putBytes(engine, 'b', Buffer.from('{"never closed": '))
    putBytes(engine, 'd', Buffer.from(`[${'"long", '.repeat(1000)}`))
    for (const key of ['b', 'd']) {
      const named = new RegExp(`value of key '${key}', in slot \\d+, cannot be decoded`)
      expectError(() => engine.get(key), 'ERR_MMAPDB_ENCODING', named)
      expectError(() => engine.getEntry(key), 'ERR_MMAPDB_ENCODING', named)
      expect(engine.has(key)).to.equal(true)
      const snapshot = engine.snapshot()
      expectError(() => snapshot.get(key), 'ERR_MMAPDB_ENCODING', named)
      snapshot.close()
    }
    for (const reverse of [false, true]) {
      const seen: unknown[] = []
      const walk = engine.range({ reverse }, 'entries') as Iterator<[string, string]>
      for (let done = false; !done;) {
        try {
          const next = walk.next()
          done = next.done === true
          if (!next.done) seen.push(next.value[0])
        } catch (error) {
          expect(error).to.be.instanceOf(EncodingError)
          const { site } = error as EncodingError
          expect(site.slotNo).to.be.a('number')
          seen.push(`(${String(site.key)})`)
        }
      }
      const all = ['a', '(b)', 'c', '(d)', 'e']
      expect(seen).to.deep.equal(reverse ? all.reverse() : all)
    }
    expect([...engine.range({}, 'keys')]).to.have.length(5)
    expect(engine.stats().readers.pinned).to.equal(0)
    expect(verify(engine).ok).to.equal(true)
    engine.close()
    const db = await open(path)
    try {
      expect(await db.getMany(['a', 'c'])).to.deep.equal(['a', 'c'])
      const refused = await db.getMany(['a', 'b']).catch((error: unknown) => error)
      expect(refused)
        .to.be.instanceOf(EncodingError)
        .with.property('message')
        .match(/value of key 'b' cannot/)
      await db.put('b', 'good again')
      await db.del('d')
      expect(await db.verify()).to.have.property('ok', true)
      expect([...db.values()]).to.deep.equal(['a', 'good again', 'c', 'e'])
    } finally {
      await db.close()
    }
  })
})
