// If these fail, databases of users who update cannot be read any more, or read differently: the code has left the
// format that test/fixtures/format-N holds. Never repair that by making the fixture again.
//
// When the format is to change: raise FORMAT_VERSION (format/header.ts; SEGMENT_VERSION too if the log changes), say in
// docs what changed and how users come from the old format to the new one, run `node
// dist/test/support/make-fixture.js`, and commit the new folder. The old folders stay: as long as this version reads,
// converts or refuses their format, a test here says which.
import { expect } from 'chai'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { isSame } from '../../crash-tests/fuzz/any-value.js'
import { VALUE_ENCODINGS, type ValueEncoding } from '../../src/encoding/values/codec.js'
import type { Key } from '../../src/encoding/keys.js'
import { Engine } from '../../src/engine/engine.js'
import {
  decodeHeader,
  FORMAT_VERSION,
  headerSlots,
  OLDEST_FORMAT_VERSION,
  type Header,
} from '../../src/engine/format/header.js'
import { resolveOptions, type OpenOptions } from '../../src/engine/options.js'
import { posixStorage } from '../../src/storage/posix.js'
import { cleanUp, dataFile, expectSound, openEngine, readBytes, scratchPath, SLOT_BYTES } from '../support/engine.js'
import { ENDINGS, expectedEntries, fixtureContent, type Ending } from '../support/fixture-content.js'
import { fixturesOf, folderOf, unpack, type Made } from '../support/fixture-files.js'
import { expectStores, storeEntries } from '../support/fixture-stores.js'

const OPTIONS: OpenOptions = { workers: 0 }

/** Equal in kind and in content. */
const isEqual = (put: unknown, got: unknown): boolean =>
  put instanceof Error && Object.keys(put).length === 0
    ? got instanceof Error &&
      Object.getPrototypeOf(put) === Object.getPrototypeOf(got) &&
      [got.message, got.stack].join() === [put.message, put.stack].join()
    : isSame(put, got)

/** A key as it comes back: bytes are a Buffer then. */
function asRead(key: Key): Key {
  if (Array.isArray(key)) return key.map(asRead) as Key
  return key instanceof Uint8Array ? Buffer.from(key) : key
}

/** Every file of a database but `control`, by name. */
const bytesOf = (path: string): Map<string, Buffer> =>
  new Map(
    ['data', ...readdirSync(join(path, 'wal')).map((name) => `wal/${name}`)].map((name) => [
      name,
      readFileSync(join(path, name)),
    ]),
  )

/** Fails unless the engine holds exactly what the fixture was made of, by every way of reading. */
function expectContent(engine: Engine, made: Made, expected: readonly [Key, unknown][]): void {
  const stats = engine.stats()
  expect(stats.formatVersion).to.equal(FORMAT_VERSION)
  expect(stats.uuid).to.equal(made.uuid)
  expect(stats.entries).to.equal(expected.length + storeEntries(engine))

  const entries = [...engine.range(undefined, 'entries')] as [Key, unknown][]
  expect(entries.length).to.equal(expected.length)
  for (const [i, [key, value]] of expected.entries()) {
    const [gotKey, gotValue] = entries[i]!
    expect(isSame(asRead(key), gotKey), `key ${i}`).to.equal(true)
    expect(isEqual(value, gotValue), `value ${i}`).to.equal(true)
    expect(isEqual(value, engine.get(key)), `get of key ${i}`).to.equal(true)
    expect(engine.getEntry(key)!.version, `version ${i}`).to.equal(made.versions[i])
    expect(engine.has(key)).to.equal(true)
  }
  const reversed = [...engine.range({ reverse: true }, 'keys')] as Key[]
  expect(isSame(entries.map(([key]) => key).reverse(), reversed)).to.equal(true)
  for (const key of [['gone', 0], ['late', 0], 'never there']) expect(engine.has(key)).to.equal(false)
  expectStores(engine)
  expectSound(engine)
}

for (let version = OLDEST_FORMAT_VERSION; version <= FORMAT_VERSION; version++) {
  describe(`a database of format ${version}`, function () {
    this.timeout(30_000)
    afterEach(cleanUp)

    const fixture = (encoding: ValueEncoding, ending: Ending) => {
      const path = scratchPath()
      const made = unpack(folderOf(version, encoding, ending), path)
      return { path, made, expected: expectedEntries(fixtureContent(encoding, ending)) }
    }

    it('is in test/fixtures', () => {
      expect(
        existsSync(fixturesOf(version)),
        `${fixturesOf(version)}: make it, as the head of this file says`,
      ).to.equal(true)
    })

    for (const encoding of VALUE_ENCODINGS) {
      for (const ending of ENDINGS) {
        it(`is read in full when it was ${ending}, with values as ${encoding}`, () => {
          const { path, made, expected } = fixture(encoding, ending)
          const engine = openEngine(path, OPTIONS)
          expect(engine.valueEncoding).to.equal(encoding)
          expect(engine.recovery!.needed).to.equal(ending === 'killed')
          if (ending === 'killed') {
            expect(engine.recovery).to.deep.include({
              checkpointNumber: made.checkpointNumber,
              fromLsn: made.replay.fromLsn,
              toLsn: made.replay.toLsn,
              framesReplayed: made.replay.frames,
              operationsReplayed: made.replay.operations,
              tornTailBytes: 0,
              headersDamaged: 0,
            })
          }
          expectContent(engine, made, expected)

          // It can be written to, and be opened again.
          engine.put('a', expected[0]![1])
          engine.del('last')
          engine.close()
          const again = openEngine(path, OPTIONS)
          expect(again.recovery!.needed).to.equal(false)
          expect(isSame(expected[0]![1], again.get('a'))).to.equal(true)
          expect(again.stats().entries).to.equal(expected.length + storeEntries(again) - 1)
          expectStores(again)
          expectSound(again)
        })
      }

      it(`is read in full, and not changed, by an inspection, with values as ${encoding}`, () => {
        const { path, made, expected } = fixture(encoding, 'killed')
        const before = bytesOf(path)
        const engine = Engine.inspect(resolveOptions(path, OPTIONS), posixStorage)
        expect(engine.isPrivate).to.equal(true)
        expectContent(engine, made, expected)
        engine.close()
        expect(bytesOf(path)).to.deep.equal(before)
      })
    }

    it('has a tree of several levels, chains of overflow slots, a free list, trash and segments', () => {
      let mostListSlots = 0
      for (const encoding of VALUE_ENCODINGS) {
        const { path, made } = fixture(encoding, 'killed')
        const headers = headerSlots(made.checkpointNumber).map((slot) =>
          decodeHeader(readBytes(dataFile(path), slot * SLOT_BYTES, SLOT_BYTES), slot),
        )
        for (const header of headers) expect((header as Header).trashHeight).to.be.above(0)
        expect(made.height).to.be.at.least(3)
        expect(made.slots.overflow).to.be.at.least(5)
        mostListSlots = Math.max(mostListSlots, made.slots.freeList)
        expect(made.segments).to.be.at.least(2)
      }
      // From format 5 on it is a stack.
      expect(mostListSlots).to.be.at.least(version < 5 ? 1 : 2)
    })
  })
}
