import { expect } from 'chai'
import fc from 'fast-check'
import { eachSlot, runsOf, unionOf, without } from '../../../src/engine/format/runs.js'
import { rounds } from '../../support/engine.js'

const slots = fc
  .uniqueArray(fc.constantFrom(0, 2 ** 31, 2 ** 32 - 40).chain((near) => fc.integer({ min: near, max: near + 39 })))
  .map((some) => new Set(some))

const ascending = (some: Iterable<number>): number[] => [...some].sort((a, b) => a - b)

/** Fails unless the runs hold these slots, in order, and no two of them are next to each other. */
function expectRuns(runs: Float64Array, expected: Iterable<number>): void {
  expect([...eachSlot(runs)]).to.deep.equal(ascending(expected))
  for (let i = 2; i < runs.length; i += 2) expect(runs[i]).to.be.greaterThan(runs[i - 2]! + runs[i - 1]!)
}

describe('two lists of runs', () => {
  it('unite, and are taken from each other, as sets are', () => {
    fc.assert(
      fc.property(slots, slots, (a, b) => {
        const [one, other] = [runsOf([...a]), runsOf([...b])]
        expectRuns(one, a)
        expectRuns(unionOf(one, other), new Set([...a, ...b]))
        expectRuns(
          without(one, other),
          [...a].filter((slot) => !b.has(slot)),
        )
      }),
      { numRuns: rounds(300) },
    )
  })
})
