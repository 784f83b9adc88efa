import { expect } from 'chai'
import fc from 'fast-check'
import { gapsBetween, hasSlot } from '../../../src/engine/format/runs.js'
import { SlotSet } from '../../../src/engine/format/slot-set.js'
import { rounds } from '../../support/engine.js'

/** Slots that lie close together, at the borders of pages, and at the end of the largest file. */
const slot = fc
  .tuple(fc.constantFrom(0, 32, 2 ** 15, 2 ** 16, 2 ** 31, 2 ** 32 - 80), fc.integer({ min: 0, max: 79 }))
  .map(([near, offset]) => near + offset)

describe('a set of slots', () => {
  it('is what a Set is', () => {
    fc.assert(
      fc.property(fc.array(slot), slot, slot, (slots, a, b) => {
        const model = new Set<number>()
        const set = new SlotSet()
        for (const each of slots) {
          expect(set.add(each)).to.equal(!model.has(each))
          model.add(each)
        }
        expect(set.size).to.equal(model.size)
        expect(set.has(a)).to.equal(model.has(a))
        const [from, to] = [Math.min(a, b), Math.max(a, b)]
        const within = [...model].filter((each) => each >= from && each < to).sort((x, y) => x - y)
        expect([...set.within(from, to)]).to.deep.equal(within)
        const singles = Float64Array.from(within.flatMap((each) => [each, 1]))
        expect(set.runsOutside(from, to)).to.deep.equal(gapsBetween(singles, from, to))
        expect(hasSlot(singles, a)).to.equal(within.includes(a))
      }),
      { numRuns: rounds(1000) },
    )
  })

  it('costs nothing for what is not in it', () => {
    const set = new SlotSet()
    set.add(2 ** 31)
    expect(set.runsOutside(4, 2 ** 32 - 1)).to.deep.equal(Float64Array.of(4, 2 ** 31 - 4, 2 ** 31 + 1, 2 ** 31 - 2))
  })
})
