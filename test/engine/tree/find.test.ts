// Looking up keys: what is found without a look at prefixes, and what is looked up with care.
import { expect } from 'chai'
import fc from 'fast-check'
import type { Engine } from '../../../src/engine/engine.js'
import { cleanUp, openEngine, runs, scratchPath, TINY } from '../../support/engine.js'

/** Keys that begin alike, so that slots have prefixes, and keys that begin like them and go on otherwise. */
const texts = fc
  .tuple(
    fc.constantFrom('', 'a', 'user:', 'user:000', 'user:0001', 'z'),
    fc.integer({ min: 0, max: 400 }),
    fc.constantFrom('', '\u0000', '!', 'long'.repeat(20)),
  )
  .map(([start, n, end]) => start + String(n) + end)

function filled(keys: Iterable<string>): Engine {
  const engine = openEngine(scratchPath(), TINY)
  engine.batch([...keys].map((key) => ({ type: 'put' as const, key, value: Buffer.from(key) })))
  return engine
}

describe('looking up a key', function () {
  this.timeout(60_000)
  afterEach(cleanUp)

  it('finds the keys that are there and no others, whatever they begin with', () => {
    fc.assert(
      fc.property(fc.uniqueArray(texts, { minLength: 1, maxLength: 800 }), fc.array(texts), (keys, others) => {
        const engine = filled(keys)
        const there = new Set(keys)
        for (const key of [...keys, ...others]) {
          expect(engine.has(key), key).to.equal(there.has(key))
          expect(engine.get(key)?.toString(), key).to.equal(there.has(key) ? key : undefined)
        }
        cleanUp()
      }),
      runs(25),
    )
  })

  it('does not look at slots that have not been verified without verifying them', () => {
    const keys = Array.from({ length: 2000 }, (_, i) => `key ${i}`)
    const first = filled(keys)
    first.close()
    const engine = openEngine(first.options.path, TINY)
    const { checker } = engine.parts
    const { require } = checker
    let verified = 0
    checker.require = function (...slot: Parameters<typeof require>) {
      verified++
      return require.apply(this, slot)
    }
    for (const key of keys) expect(engine.get(key)?.toString()).to.equal(key)
    const all = verified
    expect(all, 'slots looked at for the first time').to.be.above(10)
    for (const key of keys) expect(engine.get(key)?.toString()).to.equal(key)
    expect(verified, 'the second time').to.equal(all)
  })
})
