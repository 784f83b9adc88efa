// A data file of 10 TiB costs what is in it, not its length: what is counted here would be thousands of times as much
// if anything went through free slots one by one, or through what did not change.
import { expect } from 'chai'
import { statSync } from 'node:fs'
import type { Engine } from '../../../src/engine/engine.js'
import { newState, STATE } from '../../../src/engine/shared/control.js'
import { verify } from '../../../src/maintenance/verify.js'
import { cleanUp, dataFile, openEngine, scratchPath } from '../../support/engine.js'
import { sparseCrashCopy, spreadOut } from '../../support/vast.js'

const TIB = 2 ** 40
const OPTIONS = { workers: 0, valueEncoding: 'binary', reserveBytes: 12 * TIB } as const
const ISLANDS = 1500
const ENTRIES = 20_000
const keyOf = (n: number): string => `key ${(n * 7919) % ENTRIES}`

/** Fills a vast database: all leaves lie far apart. */
function fill(engine: Engine): void {
  for (let n = 0; n < ENTRIES; n += 1000) {
    engine.batch(
      Array.from({ length: 1000 }, (_, i) => ({ type: 'put', key: keyOf(n + i), value: Buffer.alloc(100, n) })),
    )
  }
}

describe('a data file of 10 TiB', function () {
  this.timeout(60_000)
  afterEach(cleanUp)

  function vast(test: Mocha.Context): Engine {
    const engine = openEngine(scratchPath(), OPTIONS)
    engine.put('first', Buffer.alloc(100))
    if (!spreadOut(engine, 10 * TIB, ISLANDS)) test.skip()
    fill(engine)
    return engine
  }

  it('is opened after a crash without touching more memory than a small one, and verified', function () {
    const engine = vast(this)
    engine.checkpoint(true)
    const copy = sparseCrashCopy(engine.options.path)
    const before = process.memoryUsage().rss
    const again = openEngine(copy, OPTIONS)
    for (let n = 0; n < 1000; n++) expect(again.get(keyOf(n))).to.have.lengthOf(100)
    // A bit for each slot would be 320 MiB.
    expect(process.memoryUsage().rss - before).to.be.below(100 * 2 ** 20)
    again.put('more', Buffer.alloc(1))
    const report = verify(again)
    expect(report.damage).to.deep.equal([])
    expect(report.entries).to.equal(ENTRIES + 2)
    again.close()
    expect(statSync(dataFile(copy)).size).to.be.below(64 * 2 ** 20)
    expect(openEngine(copy, OPTIONS).has('more')).to.equal(true)
  })

  it('is checkpointed by looking at what changed', function () {
    const engine = vast(this)
    engine.checkpoint(true)
    engine.put(keyOf(1), Buffer.alloc(100))
    const { checker, control } = engine.parts
    const height = control.readState(newState())[STATE.HEIGHT]!
    expect(height).to.be.greaterThan(2)
    const looks = spyOn(checker, 'require')
    const { slotsWritten } = engine.checkpoint(true)!
    // The way to the leaf; a few slots that share their bits with others; two free lists.
    expect(slotsWritten).to.be.below(height + 40)
    expect(looks.count).to.be.below(height + 60)
  })
})

function spyOn<K extends string>(object: Record<K, (...args: never[]) => unknown>, name: K): { count: number } {
  const spy = { count: 0 }
  const original = object[name]
  object[name] = function (this: unknown, ...args: never[]) {
    spy.count++
    return original.apply(this, args)
  }
  return spy
}
