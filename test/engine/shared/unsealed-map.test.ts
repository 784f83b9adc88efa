import { expect } from 'chai'
import fc from 'fast-check'
import { UNSEALED_MAP_BYTES, UnsealedMap } from '../../../src/engine/shared/unsealed-map.js'
import { rounds } from '../../support/engine.js'

const SLOTS = UNSEALED_MAP_BYTES * 8
const newMap = (): UnsealedMap => new UnsealedMap(new Int32Array(1 + (2 * UNSEALED_MAP_BYTES) / 4), 0, 1)

describe('the map of unsealed slots', () => {
  it('has a slot from when it is marked until a checkpoint that began later is on disk', () => {
    const map = newMap()
    map.mark(5)
    map.turn()
    map.mark(6)
    expect([5, 6, 7].map((slot) => map.mayHave(slot))).to.deep.equal([true, true, false])
    map.clear(100)
    expect([5, 6, 7].map((slot) => map.mayHave(slot))).to.deep.equal([false, true, false])
  })

  it('has one bit for slots that lie the same distance from each other', () => {
    const map = newMap()
    map.mark(SLOTS + 5)
    map.mark(2 ** 32 - 1)
    expect(map.mayHave(5)).to.equal(true)
    expect(map.mayHave(SLOTS - 1)).to.equal(true)
    map.turn()
    map.clear(2 ** 32)
    expect(map.mayHave(5)).to.equal(false)
    expect(map.mayHave(2 ** 32 - 1)).to.equal(false)
  })

  it('loses no mark, whichever checkpoints end and whichever do not', () => {
    const slot = fc.integer({ min: 4, max: 2 * SLOTS })
    const step = fc.oneof(
      fc.record({ mark: slot }),
      fc.constant('begin' as const),
      fc.constant('end' as const),
      fc.constant('crash' as const),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const map = newMap()
        /** Slots that no checkpoint on disk has sealed; and those of them that the one that is running will seal. */
        const unsealed = new Set<number>()
        let running: number[] | undefined
        for (const step of steps) {
          if (typeof step === 'object') {
            map.mark(step.mark)
            unsealed.add(step.mark)
            // It was reused: the checkpoint has not sealed this.
            running = running?.filter((other) => other !== step.mark)
          } else if (step === 'begin' && running === undefined) {
            map.turn()
            running = [...unsealed]
          } else if (step === 'end' && running !== undefined) {
            map.clear(2 * SLOTS + 1)
            for (const slot of running) unsealed.delete(slot)
            running = undefined
          } else if (step === 'crash') running = undefined
          for (const slot of unsealed) expect(map.mayHave(slot), String(slot)).to.equal(true)
        }
      }),
      { numRuns: rounds(200) },
    )
  })
})
