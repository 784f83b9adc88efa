// A database whose file is longer than `readAheadBytes` requests slots before it reads them, and otherwise
// works like any other. If this failed, reads of large databases would be slow, or their contents wrong.
import { expect } from 'chai'
import { Engine } from '../../../src/engine/engine.js'
import { encodeKey, KEY_BUFFER_BYTES } from '../../../src/encoding/keys.js'
import { resolveOptions } from '../../../src/engine/options.js'
import { posixStorage } from '../../../src/storage/posix.js'
import type { FileIdentity, HeldDirectory, Region, RegionOptions, Storage } from '../../../src/storage/storage.js'
import { newState } from '../../../src/engine/shared/control.js'
import { TreeReader } from '../../../src/engine/tree/reader.js'
import { cleanUp, contents, crashCopy, expectSound, randomFrom, scratchPath, TINY } from '../../support/engine.js'
import { FrameBuilder } from '../../../src/wal/frame-builder.js'
import { Cursor } from '../../../src/engine/tree/reader.js'

const ENTRIES = 1500
const keyOf = (n: number): string => `key:${String(n).padStart(6, '0')}`

/** Notes the pages of the data file that were requested. */
function listening(asked: Set<number>): Storage {
  const openRegion = (around: Storage, path: string, options: RegionOptions): Region => {
    const region = around.openRegion(path, options)
    if (!path.endsWith('data')) return region
    return new Proxy(region, {
      get: (target, name) => {
        if (name === 'willNeed')
          return (pages: Uint32Array) => (pages.forEach((page) => asked.add(page)), target.willNeed(pages))
        const value = Reflect.get(target, name, target) as unknown
        return typeof value === 'function' ? (value as () => unknown).bind(target) : value
      },
    })
  }
  const openDirectory = (path: string, expected?: FileIdentity): HeldDirectory => {
    const opened = posixStorage.openDirectory(path, expected)
    const { storage } = opened
    return {
      identity: opened.identity,
      storage: new Proxy(storage, {
        get: (target, name) => {
          if (name === 'openRegion')
            return (inside: string, options: RegionOptions) => openRegion(storage, inside, options)
          return (Reflect.get(target, name, target) as () => unknown).bind(target)
        },
      }),
      close: () => opened.close(),
    }
  }
  return Object.assign(Object.create(posixStorage) as Storage, { openDirectory })
}

function open(path: string, readAheadBytes: number, asked = new Set<number>()): Engine {
  return Engine.open(resolveOptions(path, { ...TINY, readAheadBytes }), listening(asked))
}

function fill(engine: Engine): void {
  const random = randomFrom(1)
  const value = (): Buffer => Buffer.alloc(random() < 0.02 ? 9000 : 1 + Math.floor(random() * 900), 'v')
  for (let n = 0; n < ENTRIES; n += 100) {
    engine.batch(Array.from({ length: 100 }, (_, i) => ({ type: 'put' as const, key: keyOf(n + i), value: value() })))
  }
  for (let n = 0; n < ENTRIES; n += 7) engine.put(keyOf(Math.floor(random() * ENTRIES)), value())
  for (let n = 0; n < ENTRIES; n += 11) engine.del(keyOf(n))
}

/** The pages of all leaves, found without a request. */
function leaves(engine: Engine): Set<number> {
  const { space, control, checker } = engine.parts
  const found = new Set<number>()
  const cursor = new Cursor(new TreeReader(space, control, checker), control.readState(newState()))
  for (cursor.first(); cursor.valid;) {
    found.add(cursor.leaf.slot)
    for (const leaf = cursor.leaf.slot; cursor.valid && cursor.leaf.slot === leaf;) cursor.next()
  }
  return found
}

describe('a database longer than the system reads ahead', () => {
  afterEach(cleanUp)

  it('ends up as one that is not', () => {
    const [small, large] = [scratchPath(), scratchPath()].map((path, i) => {
      const engine = open(path, i === 0 ? Infinity : 0)
      fill(engine)
      expectSound(engine)
      return { engine, path }
    })
    expect(contents(large!.engine)).to.deep.equal(contents(small!.engine))
    const copy = crashCopy(large!.path)
    large!.engine.close()
    for (const path of [copy, large!.path]) {
      const again = open(path, 0)
      expectSound(again)
      expect(contents(again)).to.deep.equal(contents(small!.engine))
      again.close()
    }
    small!.engine.close()
  })

  it('asks for the leaves of a list of keys, of a frame, and of what a cursor comes to', () => {
    const path = scratchPath()
    open(path, 0).close()
    const asked = new Set<number>()
    const engine = open(path, 0, asked)
    fill(engine)
    const all = leaves(engine)
    const keys = Array.from({ length: ENTRIES }, (_, n) => {
      const buffer = Buffer.alloc(KEY_BUFFER_BYTES)
      return new Uint8Array(buffer.subarray(0, encodeKey(keyOf(n), buffer)))
    })

    asked.clear()
    const list = { bytes: new Uint8Array(Buffer.concat(keys)), lengths: Int32Array.from(keys, (key) => key.length) }
    engine.getManyEncoded(list, 'values')
    expect(
      [...all].filter((page) => !asked.has(page)),
      'of a list',
    ).to.deep.equal([])

    asked.clear()
    const frame = new FrameBuilder()
    for (const key of keys) frame.del(key, key.length)
    engine.commits.prepare(frame.frame())
    expect(
      [...all].filter((page) => !asked.has(page)),
      'of a frame',
    ).to.deep.equal([])

    for (const reverse of [false, true]) {
      asked.clear()
      expect([...engine.range({ reverse }, 'entries')]).to.have.length(engine.stats().entries)
      const missed = [...all].filter((page) => !asked.has(page))
      // The first leaf below each branch is reached on the way down, without a request.
      expect(missed.length).to.be.lessThan(all.size / 10)
    }
    engine.close()
  })

  it('asks for nothing while the system does', () => {
    const asked = new Set<number>()
    const engine = open(scratchPath(), Infinity, asked)
    fill(engine)
    expect([...engine.range({}, 'entries')]).to.have.length(engine.stats().entries)
    engine.close()
    expect(asked.size).to.equal(0)
  })
})
