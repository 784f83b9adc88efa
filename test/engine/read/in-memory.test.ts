// Keys are looked up on the thread that asks only if no disk has to be waited for: the event loop would wait, too.
import { expect } from 'chai'
import type { Engine } from '../../../src/engine/engine.js'
import { cleanUp, openEngine, scratchPath } from '../../support/engine.js'

const OPTIONS = { workers: 0, valueEncoding: 'binary' } as const
const ENTRIES = 2000
const key = (n: number): string => `key:${String(n).padStart(8, '0')}`
const KEYS = [key(1), key(ENTRIES / 2), key(ENTRIES - 1), 'absent', key(1)]

function filled(options: object = OPTIONS): Engine {
  const engine = openEngine(scratchPath(), options)
  engine.batch(Array.from({ length: ENTRIES }, (_, n) => ({ type: 'put', key: key(n), value: Buffer.alloc(800, n) })))
  return engine
}

function listOf({ main }: Engine, keys: readonly string[]) {
  const encoded = keys.map((each) => Buffer.from(main.encoded(each)))
  return { bytes: Buffer.concat(encoded), lengths: Int32Array.from(encoded, ({ length }) => length) }
}

describe('keys whose leaves are in memory', () => {
  afterEach(cleanUp)

  it('are looked up, with the same answer as ever', () => {
    const engine = filled()
    const list = listOf(engine, KEYS)
    for (const wanted of ['values', 'presence'] as const)
      expect(engine.getManyInMemory(list, wanted)).to.deep.equal(engine.getManyEncoded(list, wanted))
  })

  it('are not looked up if a leaf, or a branch above the first, is on disk', () => {
    const engine = filled()
    const list = listOf(engine, KEYS)
    const { region } = engine.parts.space
    const asked: number[][] = []
    region.areInMemory = (pages) => (asked.push([...pages]), true)
    expect(engine.getManyInMemory(list, 'values')).to.not.equal(undefined)
    // The root, branches, and then a leaf for each key.
    const [last] = asked.slice(-1)
    expect(last).to.have.lengthOf(KEYS.length)
    for (const pages of asked.slice(0, -1)) expect(pages).to.have.lengthOf(1)
    for (const cold of new Set(asked.flat())) {
      region.areInMemory = (pages) => !pages.includes(cold)
      expect(engine.getManyInMemory(list, 'values'), `slot ${cold} is on disk`).to.equal(undefined)
    }
  })

  it('are not looked up if a value lies elsewhere, unless only its presence is asked for', () => {
    const engine = filled()
    engine.put('long', Buffer.alloc(100_000))
    const list = listOf(engine, [key(1), 'long'])
    expect(engine.getManyInMemory(list, 'values')).to.equal(undefined)
    expect(engine.getManyInMemory(list, 'presence')!.lengths).to.deep.equal(Int32Array.of(0, 0))
  })

  it('are not looked up in a file that need not fit into memory', () => {
    const engine = filled({ ...OPTIONS, readAheadBytes: 0 })
    expect(engine.getManyInMemory(listOf(engine, KEYS), 'values')).to.equal(undefined)
  })
})
