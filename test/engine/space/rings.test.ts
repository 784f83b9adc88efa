// The rings of freed slots beside plain lists. If this failed, a slot would be allocated twice, or never
// again, or while it is still being read; and a long free list would cost memory, disk and time.
import { expect } from 'chai'
import fc from 'fast-check'
import {
  Control,
  CONTROL_RESERVE_BYTES,
  controlWindowBytes,
  newState,
  STATE,
} from '../../../src/engine/shared/control.js'
import { MIN_RING_ENTRIES, Rings, type Ring } from '../../../src/engine/space/rings.js'
import { eachSlot, longestRuns, mergedRuns, runsBelow, slotsIn } from '../../../src/engine/format/runs.js'
import { posixStorage } from '../../../src/storage/posix.js'
import { StorageError, type Region } from '../../../src/storage/storage.js'
import { runs } from '../../support/engine.js'

const MEMORY = { mode: 'anonymous', reserveBytes: CONTROL_RESERVE_BYTES, windowBytes: controlWindowBytes(0) } as const

function withRings(act: (rings: Rings, region: Region, control: Control) => void): void {
  const region = posixStorage.openRegion('', MEMORY)
  const control = new Control(region)
  control.format(Buffer.alloc(16), 0, 8)
  try {
    act(new Rings(control), region, control)
  } finally {
    region.close()
  }
}

function freshState(): Float64Array {
  const state = newState()
  state[STATE.CONTROL_END] = Control.endOfBitmap(0)
  return state
}

/** Makes the disk full from now on. */
const fill = (region: Region): void => {
  region.grow = () => {
    throw new StorageError('fallocate', 'ENOSPC', 'control')
  }
}

describe('a ring of freed slots', () => {
  it('gives slots back in their order, and counts those freed up to an LSN, through groups that are given up', () => {
    const push = fc.record({
      slot: fc.integer({ min: 4, max: 60 }),
      length: fc.integer({ min: 1, max: 5 }),
      newer: fc.boolean(),
    })
    const step = fc.oneof(
      push,
      push,
      fc.record({ take: fc.integer({ min: 1, max: 12 }) }),
      fc.constant('publish'),
      fc.constant('give up'),
    )
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 400 }), (steps) => {
        withRings((rings) => {
          let published = freshState()
          let publishedModel: [number, number][] = []
          let state = published.slice()
          let model: [number, number][] = []
          let lsn = 8
          rings.begin(state)
          for (const step of steps) {
            if (step === 'publish' || step === 'give up') {
              if (step === 'publish') [published, publishedModel] = [state.slice(), [...model]]
              state = published.slice()
              model = [...publishedModel]
              rings.begin(state)
            } else if ('take' in step) {
              for (let n = 0; n < step.take && model.length > 0; n++) {
                expect(rings.freedAtLsn(STATE.RING_CHECKPOINTED)).to.equal(model[0]![1])
                expect(rings.first(STATE.RING_CHECKPOINTED)).to.equal(model[0]![0])
                expect(rings.take(STATE.RING_CHECKPOINTED)).to.equal(model.shift()![0])
              }
            } else {
              if (step.newer) lsn += 8
              rings.push(STATE.RING_CHECKPOINTED, step.slot, lsn, step.length)
              for (let n = 0; n < step.length; n++) model.push([step.slot + n, lsn])
            }
            expect(rings.slots(STATE.RING_CHECKPOINTED)).to.equal(model.length)
            const upTo = lsn - 24
            expect(rings.slotsUpTo(STATE.RING_CHECKPOINTED, upTo)).to.equal(
              model.filter(([, freed]) => freed <= upTo).length,
            )
            const seen: number[] = []
            rings.forEachRun(STATE.RING_CHECKPOINTED, upTo, (first, length) =>
              seen.push(...Array.from({ length }, (_, n) => first + n)),
            )
            expect(seen).to.deep.equal(model.filter(([, freed]) => freed <= upTo).map(([slot]) => slot))
          }
          expect(state[STATE.LOST]).to.equal(0)
        })
      }),
      runs(60),
    )
  })

  it('keeps the entries that a group took from it until the group is published, even if it is full', () => {
    withRings((rings) => {
      const ring = STATE.RING_CHECKPOINTED
      const state = freshState()
      rings.begin(state)
      // Not neighbours of each other: an entry for each.
      const slots = Array.from({ length: MIN_RING_ENTRIES }, (_, n) => 10 + 2 * n)
      for (const slot of slots) rings.push(ring, slot, 8)
      const published = state.slice()
      rings.begin(state)
      // A group takes some and frees as many others, and its leader dies.
      for (const slot of slots.slice(0, 100)) expect(rings.take(ring)).to.equal(slot)
      for (let n = 0; n < 100; n++) rings.push(ring, 100_001 + 2 * n, 16)
      rings.begin(published)
      expect(slots.map(() => rings.take(ring))).to.deep.equal(slots)
      expect(rings.slots(ring)).to.equal(0)
    })
  })

  it('grows as it is filled, in small steps of its own', () => {
    withRings((rings) => {
      const state = freshState()
      rings.begin(state)
      for (let n = 0; n < 10_000; n++) rings.push(STATE.RING_NOT_CHECKPOINTED, 10 + 2 * n, 8 + n)
      rings.begin(state)
      for (let n = 0; n < 10_000; n++) expect(rings.take(STATE.RING_NOT_CHECKPOINTED)).to.equal(10 + 2 * n)
      expect(rings.slots(STATE.RING_NOT_CHECKPOINTED)).to.equal(0)
    })
  })

  it('takes the room of one entry for a billion neighbours', () => {
    withRings((rings, region) => {
      const state = freshState()
      rings.begin(state)
      rings.push(STATE.RING_REUSABLE, 4, 0, 2 ** 30)
      for (let n = 0; n < 1000; n++) rings.push(STATE.RING_REUSABLE, 4 + 2 ** 30 + n, 0)
      expect(rings.runs(STATE.RING_REUSABLE)).to.equal(1)
      expect(rings.slots(STATE.RING_REUSABLE)).to.equal(2 ** 30 + 1000)
      expect(region.sizeBytes()).to.be.at.most(Control.endOfBitmap(0) + 64 * 1024)
      for (let n = 0; n < 10; n++) expect(rings.take(STATE.RING_REUSABLE)).to.equal(4 + n)
      expect(rings.slotsUpTo(STATE.RING_REUSABLE, 0)).to.equal(2 ** 30 + 990)
    })
  })

  it('counts on when more slots than 32 bits can count have gone through it', () => {
    withRings((rings) => {
      const state = freshState()
      rings.begin(state)
      for (let n = 0; n < 10; n++) {
        rings.push(STATE.RING_NOT_CHECKPOINTED, 4, 8 + n, 2 ** 30)
        rings.push(STATE.RING_NOT_CHECKPOINTED, 9, 9 + n)
        rings.begin(state)
        rings.dropUpTo(STATE.RING_NOT_CHECKPOINTED, 8 + n)
        expect(rings.slots(STATE.RING_NOT_CHECKPOINTED)).to.equal(1)
        expect(rings.take(STATE.RING_NOT_CHECKPOINTED)).to.equal(9)
      }
    })
  })

  it('loses slots on a full disk only once it is full itself, and says how many', () => {
    withRings((rings, region) => {
      const state = freshState()
      rings.begin(state)
      for (const ring of [
        STATE.RING_REUSABLE,
        STATE.RING_NOT_CHECKPOINTED,
        STATE.RING_CHECKPOINTED,
        STATE.RING_PINNED,
      ] as Ring[])
        rings.enlargeFor(ring, 0)
      fill(region)
      for (let n = 0; n < 10; n++) rings.push(STATE.RING_NOT_CHECKPOINTED, 10 + 2 * n, 8)
      expect(rings.keepRoom(STATE.RING_NOT_CHECKPOINTED), 'no need to grow yet').to.equal(true)
      for (let n = 10; n < MIN_RING_ENTRIES * 2; n++) rings.push(STATE.RING_NOT_CHECKPOINTED, 10 + 2 * n, 8)
      expect(rings.keepRoom(STATE.RING_NOT_CHECKPOINTED)).to.equal(false)
      expect(state[STATE.LOST]! + rings.slots(STATE.RING_NOT_CHECKPOINTED)).to.equal(MIN_RING_ENTRIES * 2)
      expect(rings.slots(STATE.RING_NOT_CHECKPOINTED)).to.be.at.least(MIN_RING_ENTRIES)
      for (let n = 0; rings.slots(STATE.RING_NOT_CHECKPOINTED) > 0; n++)
        expect(rings.take(STATE.RING_NOT_CHECKPOINTED)).to.equal(10 + 2 * n)
    })
  })
})

describe('runs of slots', () => {
  it('name the same slots merged, and part of them when they are cut', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.integer({ min: 4, max: 300 }), { maxLength: 150 }),
        fc.integer({ min: 0, max: 310 }),
        (slots, end) => {
          const merged = mergedRuns(Float64Array.from(slots.flatMap((slot) => [slot, 1])))
          const sorted = [...slots].sort((a, b) => a - b)
          expect([...eachSlot(merged)]).to.deep.equal(sorted)
          expect(slotsIn(merged)).to.equal(slots.length)
          for (let i = 2; i < merged.length; i += 2)
            expect(merged[i]!).to.be.greaterThan(merged[i - 2]! + merged[i - 1]!)
          expect([...eachSlot(runsBelow(merged, end))]).to.deep.equal(sorted.filter((slot) => slot < end))
          const longest = longestRuns(merged, 3)
          expect(longest.length).to.equal(Math.min(6, merged.length))
          const lengths = [...merged].filter((_, i) => i % 2 === 1).sort((a, b) => b - a)
          expect(slotsIn(longest)).to.equal(lengths.slice(0, 3).reduce((sum, length) => sum + length, 0))
          expect([...eachSlot(longest)]).to.deep.equal([...eachSlot(longest)].sort((a, b) => a - b))
        },
      ),
      runs(200),
    )
  })
})
