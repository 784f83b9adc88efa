// What is said to be in memory is, and what is on disk is not: the event loop would wait for it.
import { spawnSync } from 'node:child_process'
import { expect } from 'chai'
import type { Engine } from '../../../src/engine/engine.js'
import { cleanUp, dataFile, openEngine, scratchPath } from '../../support/engine.js'

const OPTIONS = { workers: 0, valueEncoding: 'binary' } as const
const ENTRIES = 20_000
const key = (n: number): string => `key:${String(n).padStart(8, '0')}`

function listOf({ main }: Engine, ...keys: string[]) {
  const encoded = keys.map((each) => Buffer.from(main.encoded(each)))
  return { bytes: Buffer.concat(encoded), lengths: Int32Array.from(encoded, ({ length }) => length) }
}

describe('keys that are looked up', () => {
  afterEach(cleanUp)

  it('are in memory once they have been read, and not after the kernel has been made to forget their pages', function () {
    const path = scratchPath()
    const first = openEngine(path, OPTIONS)
    for (let n = 0; n < ENTRIES; n += 1000)
      first.batch(
        Array.from({ length: 1000 }, (_, i) => ({ type: 'put', key: key(n + i), value: Buffer.alloc(800, n) })),
      )
    const present = listOf(first, key(1), key(ENTRIES / 2), key(ENTRIES - 1), 'absent')
    expect(first.areInMemory(present)).to.equal(true)
    first.put('long', Buffer.alloc(100_000))
    expect(first.areInMemory(listOf(first, key(1), 'long')), 'a long value').to.equal(false)
    first.close()
    const { status } = spawnSync('dd', [
      `of=${dataFile(path)}`,
      'oflag=nocache',
      'conv=notrunc,fdatasync',
      'count=0',
      'status=none',
    ])
    const engine = openEngine(path, { ...OPTIONS, windowBytes: 1024 * 1024 })
    // On tmpfs, and without dd, there is nothing to forget.
    if (status !== 0 || engine.areInMemory(present)) this.skip()
    for (const each of [key(1), key(ENTRIES / 2), key(ENTRIES - 1), 'absent']) engine.get(each)
    expect(engine.areInMemory(present)).to.equal(true)
  })

  it('count as on disk in a file that need not fit into memory', () => {
    const engine = openEngine(scratchPath(), { ...OPTIONS, readAheadBytes: 0 })
    engine.put('a', Buffer.alloc(1))
    expect(engine.areInMemory(listOf(engine, 'a'))).to.equal(false)
  })
})
