// Slots that are set aside for a write before it is in the log. If they are too few, applying the write fails. If a
// delete sets aside more than it can need, it is refused on a full disk.
import { expect } from 'chai'
import fc from 'fast-check'
import type { BatchOperation } from '../../../src/engine/commit/batch.js'
import { slotsForDeletes } from '../../../src/engine/commit/slot-budget.js'
import { newState, STATE } from '../../../src/engine/shared/control.js'
import { FullError } from '../../../src/errors.js'
import { newAppendFields } from '../../../src/wal/append-state.js'
import type { Engine } from '../../../src/engine/engine.js'
import type { SlotNo } from '../../../src/engine/format/layout.js'
import { cleanUp, openEngine, runs, scratchPath, TINY } from '../../support/engine.js'

/** How many slots `write` sets aside, and how many it then takes. */
function measure(engine: Engine, write: () => void): { reserved: number; taken: number } {
  const { allocator, control } = engine.parts
  const released = (): number => control.readState(new Float64Array(256))[STATE.RELEASED]!
  const before = released()
  let taken = 0
  const counting = Object.assign(allocator, {
    allocate(this: typeof allocator): SlotNo {
      taken++
      return Object.getPrototypeOf(this).allocate.call(this) as SlotNo
    },
  })
  write()
  delete (counting as { allocate?: unknown }).allocate
  return { reserved: released() - before, taken }
}

const key = fc
  .tuple(fc.nat({ max: 150 }), fc.constantFrom(3, 300, 900))
  .map(([n, length]) => `${n} `.padEnd(length, 'k'))
const value = fc.constantFrom(0, 500, 1500, 100_000).map((length) => Buffer.alloc(length))
/** Some expire: the index of these changes with them. */
const expiresAt = fc.constantFrom(undefined, undefined, 1, 4e12, 4e12 + 1)
const put = fc.record({ type: fc.constant('put' as const), key, value, expiresAt })
const del = fc.record({ type: fc.constant('del' as const), key })
const writes = fc.array(fc.array(fc.oneof(put, del, del), { minLength: 1, maxLength: 3 }), { maxLength: 60 })

describe('slots set aside for a write', function () {
  this.timeout(60_000)
  afterEach(cleanUp)

  it('are as many as it takes, whatever the tree looks like', () => {
    fc.assert(
      fc.property(fc.array(put, { minLength: 100, maxLength: 300 }), writes, (entries, batches) => {
        const engine = openEngine(scratchPath(), TINY)
        for (const entry of entries) engine.batch([entry])
        for (const [n, batch] of batches.entries()) {
          // From here on every slot has to be copied before it is written to.
          if (n % 2 === 0) engine.checkpoint(true)
          const { reserved, taken } = measure(engine, () => engine.batch(batch))
          expect(taken).to.be.at.most(reserved)
        }
        engine.close()
      }),
      runs(30),
    )
  })

  it('are as many as it takes for long values, which take most of them', () => {
    const engine = openEngine(scratchPath(), TINY)
    const value = Buffer.alloc(100_000)
    const { reserved, taken } = measure(engine, () => engine.put('long', value))
    expect(taken).to.be.above(24).and.at.most(reserved)
    engine.checkpoint(true)
    const puts = Array.from({ length: 20 }, (_, n) => ({ type: 'put' as const, key: n, value }))
    const several = measure(engine, () => engine.batch([{ type: 'check', key: 'long', ifPresent: true }, ...puts]))
    expect(several.taken)
      .to.be.above(20 * 24)
      .and.at.most(several.reserved)
  })

  it('are more for a put where nothing else could be deleted any more', () => {
    const engine = openEngine(scratchPath(), { ...TINY, reserveBytes: 4 * 1024 * 1024 })
    for (let n = 0, isFull = false; !isFull; n++) {
      try {
        engine.put(n, Buffer.alloc(100))
      } catch (error) {
        expect(error).to.be.instanceOf(FullError)
        isFull = true
      }
    }
    const { control } = engine.parts
    const state = control.readState(newState())
    const promised = control.append.read(newAppendFields()).reservedSlots - state[STATE.RELEASED]!
    const available = control.fileSlots - state[STATE.NEXT_SLOT]! + state[STATE.ELIGIBLE]! - promised
    expect(available).to.be.at.least(slotsForDeletes(state) - 2)
    for (const key of [...engine.range(undefined, 'keys')] as number[]) expect(engine.del(key)).to.equal(true)
  })

  it('are none for what only checks', () => {
    const engine = openEngine(scratchPath(), TINY)
    for (let n = 0; n < 500; n++) engine.put(n, Buffer.alloc(100))
    engine.checkpoint(true)
    const checks = Array.from({ length: 400 }, (_, n) => ({ type: 'check' as const, key: n, ifPresent: true }))
    const put = { type: 'put' as const, key: 1, value: Buffer.alloc(10) }
    const alone = measure(engine, () => engine.batch([put]))
    engine.checkpoint(true)
    const { reserved, taken } = measure(engine, () => engine.batch([...checks, put]))
    expect(reserved).to.equal(alone.reserved)
    expect(taken).to.be.at.most(reserved)
  })

  it('are as many as it takes when a batch gives entries all over the tree other times', () => {
    const engine = openEngine(scratchPath(), TINY)
    const ENTRIES = 2000
    /** In an order in which neighbours are far apart. */
    const spread = (n: number, by: number): number => (n * by) % ENTRIES
    const puts = (from: number, to: number, time: number, by: number): BatchOperation<Buffer>[] =>
      Array.from({ length: to - from }, (_, i) => ({
        type: 'put',
        key: `${spread(from + i, 743)} `.padEnd(900, 'k'),
        value: Buffer.alloc(0),
        expiresAt: time + spread(from + i, by),
      }))
    for (let n = 0; n < ENTRIES; n += 50) engine.batch(puts(n, n + 50, 4e12, 1187))
    engine.checkpoint(true)
    // Each of them changes three leaves, some of which are split.
    const { reserved, taken } = measure(engine, () => engine.batch(puts(0, 130, 4e12 + 0.5, 619)))
    expect(taken).to.be.above(3 * 130)
    expect(taken).to.be.at.most(reserved)
  })

  it('are hardly any for a delete in a small tree', () => {
    const engine = openEngine(scratchPath(), TINY)
    for (let n = 0; n < 20; n++) engine.put(n, Buffer.alloc(100))
    engine.checkpoint(true)
    const { reserved, taken } = measure(engine, () => engine.del(3))
    expect(taken).to.equal(1)
    expect(reserved).to.be.at.most(3)
  })
})
