// Snapshots and iterators that are never closed, and very many of them. If this failed, a program that forgets them
// would run out of places for readers, or closing many of them would make the next writes wait.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect } from 'chai'
import { STATE, newState } from '../../../src/engine/shared/control.js'
import type { Engine } from '../../../src/engine/engine.js'
import { cleanUp, expectSound, openEngine, randomFrom, scratchPath, TINY } from '../../support/engine.js'

const OPTIONS = { ...TINY, segmentBytes: 1 << 20, checkpointBytes: 1 << 30, reserveBytes: 512 * 1024 * 1024 }
const KEYS = 6000

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

const fill = (engine: Engine): void => {
  for (let n = 0; n < KEYS; n += 500)
    engine.batch(
      Array.from({ length: 500 }, (_, i) => ({ type: 'put' as const, key: n + i, value: Buffer.alloc(400) })),
    )
}

describe('readers that are forgotten', function () {
  this.timeout(60_000)
  afterEach(cleanUp)

  it('give their places back once they have been collected, and not before', async () => {
    const engine = openEngine(scratchPath(), OPTIONS)
    fill(engine)
    const kept = engine.snapshot()
    const ofKept = engine.snapshot().range(undefined, 'keys')
    ofKept.next()
    const forget = (): void => {
      for (let i = 0; i < 50; i++) {
        engine.put(i, Buffer.alloc(10))
        engine.snapshot()
        engine.range(undefined, 'entries')
        engine.range({ gt: 3 }, 'keys').next()
        engine.snapshot().range(undefined, 'values').next()
      }
    }
    forget()
    expect(engine.stats().readers.pinned).to.equal(202)
    for (let i = 0; i < 100 && engine.stats().readers.pinned > 2; i++) {
      collect()
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    expect(engine.stats().readers.pinned, 'those that are still known').to.equal(2)
    expect([...ofKept].length).to.equal(KEYS - 1)
    expect(kept.range(undefined, 'keys').count()).to.equal(KEYS)
    kept.close()
  })

  it('do no harm when they are collected after the database has been closed', async () => {
    const engine = openEngine(scratchPath(), OPTIONS)
    fill(engine)
    const forget = (): void => {
      for (let i = 0; i < 50; i++) engine.range(undefined, 'entries').next()
    }
    forget()
    engine.close()
    for (let i = 0; i < 5; i++) {
      collect()
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  })
})

describe('many snapshots', function () {
  this.timeout(60_000)
  afterEach(cleanUp)

  for (const order of ['first', 'last', 'any'] as const) {
    it(`that are closed one by one, ${order} first, cost the next group the same however much they held`, () => {
      const engine = openEngine(scratchPath(), OPTIONS)
      fill(engine)
      const { control } = engine.parts
      const field = (name: keyof typeof STATE): number => control.readState(newState())[STATE[name]]!
      const pinned = (): number => engine.parts.allocator.pinnedSlots
      const snapshots = Array.from({ length: 60 }, (_, round) => {
        const snapshot = engine.snapshot()
        engine.batch(
          Array.from({ length: 200 }, (_, i) => ({
            type: 'put' as const,
            key: (i * 31 + round) % KEYS,
            value: Buffer.alloc(400, round),
          })),
        )
        return snapshot
      })
      const random = randomFrom(7)
      expect(pinned()).to.be.greaterThan(5000)
      while (snapshots.length > 0) {
        const i =
          order === 'first' ? 0 : order === 'last' ? snapshots.length - 1 : Math.floor(random() * snapshots.length)
        snapshots.splice(i, 1)[0]!.close()
        const [before, dueBefore] = [pinned(), field('PINNED_DUE')]
        engine.put(1, Buffer.alloc(10))
        if (snapshots.length === 0) break
        // Either all are due for another look, or only those that were; and this group has taken at most its part.
        const due = field('PINNED_DUE')
        expect(
          due >= before - 1024 || due === Math.max(0, dueBefore - 1024),
          `${due} of ${before}, ${dueBefore} before`,
        ).to.equal(true)
      }
      for (let i = 0; i < 20; i++) engine.put(1, Buffer.alloc(10))
      expect(pinned(), 'slots that wait for nobody').to.equal(0)
      expect(engine.stats().readers).to.include({ pinned: 0, heldBytes: 0 })
      expectSound(engine)
    })
  }
})
