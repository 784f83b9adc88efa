// Backups: what they hold, what they refuse, and what is left when one is not finished. If one of these failed, a
// copy that is relied on would not be what it was made of.
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { expect } from 'chai'
import fc from 'fast-check'
import { crc32c } from '../../src/encoding/crc32c.js'
import { Engine } from '../../src/engine/engine.js'
import { SLOT, TYPE } from '../../src/engine/format/layout.js'
import { resolveOptions } from '../../src/engine/options.js'
import { backup } from '../../src/maintenance/backup.js'
import { posixStorage } from '../../src/storage/posix.js'
import type { RandomFile, Storage } from '../../src/storage/storage.js'
import {
  cleanUp,
  contents,
  dataFile,
  expectError,
  expectSound,
  filled,
  flipByte,
  openEngine,
  randomFrom,
  runs,
  scratchDirectory,
  scratchPath,
  SLOT_BYTES,
  TINY,
} from '../support/engine.js'
import { backUp, contentAt, contentOf, endedAfter, expectNothingLeft, finished } from '../support/copies.js'

/** Values of all lengths that matter: none, short, almost too long for a leaf, one slot and several of them. */
const LENGTHS = [0, 1, 7, 100, 900, 990, 1000, 1016, 4063, 4064, 4065, 20_000]

/** Puts and deletes entries of all lengths; some keys are long. */
function fill(engine: Engine, count: number, random: () => number): void {
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!
  for (let i = 0; i < count; i++) {
    const key =
      random() < 0.1 ? `${'long'.repeat(200)} ${Math.floor(random() * 50)}` : `key ${Math.floor(random() * count)}`
    if (random() < 0.2) engine.del(key)
    else engine.put(key, Buffer.alloc(pick(LENGTHS), i))
  }
}

describe('a backup', function () {
  this.timeout(60_000)
  afterEach(cleanUp)

  it('has the same entries with the same versions, whatever they are, in as few slots as they need', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 600 }), fc.integer(), (count, seed) => {
        const engine = openEngine(scratchPath())
        fill(engine, count, randomFrom(seed))
        const target = scratchPath()
        const report = backUp(engine, target)
        const content = contentOf(engine)
        expect(contentAt(target)).to.deep.equal(content)
        expect(report).to.include({ path: target, lsn: engine.stats().log.visibleLsn, entries: content.length })
        const copy = openEngine(target)
        const { slots, dataBytes } = copy.stats()
        expect(slots.free + slots.freeList, 'free slots').to.equal(0)
        expect(dataBytes).to.be.at.most(Math.max(report.bytes, 1024 * 1024))
        expect(slots.leaf).to.be.at.most(engine.stats().slots.leaf)
        copy.close()
        engine.close()
      }),
      runs(25),
    )
  })

  it('can be written to like any other database, and its versions go on from there', () => {
    const engine = filled()
    fill(engine, 2000, randomFrom(1))
    const target = scratchPath()
    const { lsn } = backUp(engine, target)
    const copy = openEngine(target)
    const model = new Map(contents(copy))
    for (let i = 0; i < 2000; i++) {
      const key = `key ${(i * 7) % 2500}`
      if (i % 3 === 0) {
        copy.del(key)
        model.delete(key)
      } else {
        copy.put(key, Buffer.alloc(i % 1200, i))
        model.set(key, Buffer.alloc(i % 1200, i))
      }
    }
    expectSound(copy)
    expect(new Map(contents(copy))).to.deep.equal(model)
    copy.put('last', Buffer.from('one'))
    expect(copy.getEntry('last')!.version).to.be.above(lsn)
  })

  it('keeps the encoding, and the permissions of the files', () => {
    for (const valueEncoding of ['msgpack', 'json', 'utf8'] as const) {
      const engine = openEngine(scratchPath(), { ...TINY, valueEncoding })
      engine.put('key', 'value')
      const target = scratchPath()
      chmodSync(dataFile(engine.options.path), 0o640)
      backUp(engine, target)
      expect(statSync(dataFile(target)).mode & 0o777).to.equal(0o640)
      const copy = openEngine(target, { ...TINY, valueEncoding: undefined })
      expect([copy.valueEncoding, copy.get('key')]).to.deep.equal([valueEncoding, 'value'])
    }
  })

  it('is of one moment, whatever is written meanwhile', () => {
    const engine = openEngine(scratchPath())
    fill(engine, 3000, randomFrom(2))
    const content = contentOf(engine)
    const target = scratchPath()
    let writes = 0
    finished(backup(engine, target), () => {
      for (let i = 0; i < 50; i++) engine.put(`key ${writes++ * 13}`, Buffer.alloc(500, writes))
      engine.checkpoint(true)
    })
    expect(writes).to.be.above(100)
    expect(contentAt(target)).to.deep.equal(content)
    expectSound(engine)
  })

  it('is made of a database that this process may only read, too', () => {
    const engine = filled()
    const reader = openEngine(engine.options.path, { ...TINY, readOnly: true })
    backUp(reader, scratchPath())
    const { path } = engine.options
    engine.close()
    reader.close()
    const inspecting = Engine.inspect(resolveOptions(path, TINY), posixStorage)
    const target = scratchPath()
    backUp(inspecting, target)
    inspecting.close()
    expect(contentAt(target)).to.have.length(20)
  })

  it('is refused where there is something, and changes nothing there', () => {
    const engine = filled()
    const directory = scratchDirectory()
    mkdirSync(join(directory, 'empty'))
    writeFileSync(join(directory, 'file'), 'text')
    symlinkSync('nowhere', join(directory, 'link'))
    for (const name of ['empty', 'file', 'link'])
      expectError(() => backUp(engine, join(directory, name)), 'ERR_MMAPDB_EXISTS', /already/)
    expect(readdirSync(directory).sort()).to.deep.equal(['empty', 'file', 'link'])
    expect(readFileSync(join(directory, 'file'), 'utf8')).to.equal('text')
    const { path } = engine.options
    expectError(() => backUp(engine, path), 'ERR_MMAPDB_INVALID', /lies inside/)
    expectError(() => backUp(engine, join(path, 'backup')), 'ERR_MMAPDB_INVALID', /lies inside/)
    expectError(() => backUp(engine, join(directory, 'none', 'backup')), 'ERR_MMAPDB_NOT_FOUND', /Create it first/)
    expectError(() => backUp(engine, join(directory, 'file', 'backup')), 'ERR_MMAPDB_NOT_A_DATABASE', /is a file/)
    expect(readdirSync(path).sort()).to.deep.equal(['control', 'data', 'wal'])
  })

  it('leaves nothing, at whatever step it is ended', () => {
    const engine = openEngine(scratchPath())
    fill(engine, 3000, randomFrom(3))
    const target = scratchPath()
    let steps = 0
    while (endedAfter(backup(engine, target), steps)) {
      expectNothingLeft(target)
      steps++
    }
    expect(steps).to.be.above(5)
    expect(existsSync(target), 'made when it was not ended').to.equal(true)
    expect(engine.stats().readers.pinned).to.equal(0)
  })

  it('is made by one at a time, and the next one takes over what a dead one has left', () => {
    const engine = openEngine(scratchPath())
    fill(engine, 500, randomFrom(4))
    const target = scratchPath()
    const first = backup(engine, target)
    first.next()
    expectError(() => backUp(engine, target), 'ERR_MMAPDB_LOCKED', /Another backup/)
    finished(first)
    expectError(() => backUp(engine, target), 'ERR_MMAPDB_EXISTS')

    const other = scratchPath()
    const left = `${other}.unfinished`
    mkdirSync(join(left, 'wal', 'deep'), { recursive: true })
    const outside = scratchDirectory()
    writeFileSync(join(outside, 'kept'), '')
    symlinkSync(outside, join(left, 'control'))
    for (const name of ['data', 'backup', 'wal/0000000000000001.wal', 'wal/deep/file'])
      writeFileSync(join(left, name), 'what was there before')
    backUp(engine, other)
    expect(contentAt(other)).to.deep.equal(contentOf(engine))
    expect(readdirSync(outside), 'behind a link').to.deep.equal(['kept'])
    expect(existsSync(left)).to.equal(false)
  })

  it('does not take for its own what no backup has left', () => {
    const engine = openEngine(scratchPath())
    fill(engine, 100, randomFrom(4))
    const victim = openEngine(scratchPath())
    victim.put('key', Buffer.from('kept'))
    const cases: [RegExp, (path: string) => void][] = [
      [/something else/, (path) => writeFileSync(path, 'kept')],
      [/holds "kept"/, (path) => (mkdirSync(path), writeFileSync(join(path, 'kept'), ''))],
      [/symbolic link/, (path) => symlinkSync(victim.options.path, path)],
      [/symbolic link/, (path) => symlinkSync('/nowhere/at/all', path)],
      [/data file in it/, (path) => (mkdirSync(path), symlinkSync(dataFile(victim.options.path), join(path, 'data')))],
    ]
    for (const [message, make] of cases) {
      const target = scratchPath()
      make(`${target}.unfinished`)
      expectError(() => backUp(engine, target), 'ERR_MMAPDB_EXISTS', message)
      expect(existsSync(target), String(message)).to.equal(false)
      expect(existsSync(`${target}.unfinished.new`)).to.equal(false)
      expect(lstatSync(`${target}.unfinished`), 'is left alone').to.not.equal(undefined)
    }
    expect(victim.get('key')).to.deep.equal(Buffer.from('kept'))
    expectSound(victim)
  })

  it('of a damaged database is refused, and leaves nothing', () => {
    const engine = openEngine(scratchPath())
    for (let i = 0; i < 500; i++) engine.put(`key ${i}`, Buffer.alloc(50))
    const { path } = engine.options
    engine.close()
    for (const slot of [5, 6, 9]) {
      flipByte(dataFile(path), slot * SLOT_BYTES + 3000)
      const damaged = openEngine(path)
      const target = scratchPath()
      expectError(() => backUp(damaged, target), 'ERR_MMAPDB_CORRUPT', /damaged/)
      expectNothingLeft(target)
      damaged.detach()
      flipByte(dataFile(path), slot * SLOT_BYTES + 3000)
    }
  })

  it('is read back before it counts: a disk that keeps something else is detected', () => {
    const engine = openEngine(scratchPath())
    fill(engine, 1000, randomFrom(5))
    const changes: Record<string, (slot: Buffer) => boolean> = {
      'a byte': (slot) => (slot[2000]! ^= 1) >= 0,
      'a version, under a CRC that is right': (slot) => {
        if (slot[SLOT.TYPE] !== TYPE.LEAF) return false
        slot[slot.readUInt16LE(SLOT.BODY + 4)]! ^= 1
        slot.writeUInt32LE(crc32c(slot.subarray(SLOT.TYPE)) >>> 0, SLOT.CRC)
        return true
      },
      'a whole slot': (slot) => slot.fill(0).length > 0,
    }
    for (const [what, change] of Object.entries(changes)) {
      for (const slotNo of [4, 5, 40]) {
        const target = scratchPath()
        const lying = changingWrites(posixStorage, `${target}.unfinished/data`, slotNo, change)
        const copying = openEngine(engine.options.path)
        Object.defineProperty(copying.parts, 'storage', { value: lying })
        expectError(() => backUp(copying, target), 'ERR_MMAPDB_CORRUPT', /[Cc]opy/)
        expect(existsSync(target), what).to.equal(false)
        expectNothingLeft(target)
        copying.detach()
      }
    }
  })

  it('can be made again and again of a database that goes on', () => {
    const engine = openEngine(scratchPath())
    const random = randomFrom(6)
    for (let round = 0; round < 6; round++) {
      fill(engine, 200, random)
      const target = scratchPath()
      backUp(engine, target)
      expect(contentAt(target)).to.deep.equal(contentOf(engine))
    }
  })
})

/** A storage that changes what is written to one slot of a file, from `first` on: the first one that `change` takes. */
function changingWrites(inner: Storage, path: string, first: number, change: (slot: Buffer) => boolean): Storage {
  let isDone = false
  const changed = (file: RandomFile): RandomFile =>
    overridden(file, {
      write: (from: Uint8Array, offset: number, length: number, position: number) => {
        const bytes = Buffer.from(from.subarray(offset, offset + length))
        for (let at = 0; at < length && !isDone; at += SLOT_BYTES)
          if (position + at >= first * SLOT_BYTES) isDone = change(bytes.subarray(at, at + SLOT_BYTES))
        file.write(bytes, 0, length, position)
      },
    })
  return overridden(inner, {
    openFile: (name: string, ...rest: [never]) =>
      name === path ? changed(inner.openFile(name, ...rest)) : inner.openFile(name, ...rest),
  })
}

function overridden<T extends object>(object: T, methods: Partial<T>): T {
  return new Proxy(object, {
    get(target, name) {
      const own = methods[name as keyof T]
      if (own !== undefined) return own
      const value = target[name as keyof T]
      return typeof value === 'function' ? (value as () => unknown).bind(target) : value
    },
  })
}
