// What a checkpoint looks at, and what it leaves sealed.
import { expect } from 'chai'
import { HEADER_SLOTS } from '../../../src/engine/format/layout.js'
import { Node } from '../../../src/engine/format/node.js'
import type { Engine } from '../../../src/engine/engine.js'
import { eachSlot } from '../../../src/engine/format/runs.js'
import { newState, STATE } from '../../../src/engine/shared/control.js'
import { verify } from '../../../src/maintenance/verify.js'
import { cleanUp, crashCopy, openEngine, randomFrom, scratchPath, TINY } from '../../support/engine.js'
import { slotDamage } from '../../../src/engine/format/slot-damage.js'

const OPTIONS = { ...TINY, segmentBytes: 1024 * 1024, checkpointBytes: 1024 * 1024 * 1024 }
const key = (n: number): string => `key:${String(n).padStart(8, '0')}`

/** How many slots are looked at while `act` runs. */
function lookedAt(engine: Engine, act: () => void): number {
  const { checker } = engine.parts
  const slots = new Set<number>()
  const expectAsEver = checker.require.bind(checker)
  const takeAsEver = checker.take.bind(checker)
  checker.require = (slot, ...rest) => {
    slots.add(slot)
    return expectAsEver(slot, ...rest)
  }
  checker.take = (into, slot, ...rest) => {
    slots.add(slot)
    return takeAsEver(into, slot, ...rest)
  }
  act()
  checker.require = expectAsEver
  checker.take = takeAsEver
  return slots.size
}

function fill(engine: Engine, entries: number, bytes: number): void {
  for (let n = 0; n < entries; n += 100) {
    engine.batch(
      Array.from({ length: 100 }, (_, i) => ({ type: 'put' as const, key: key(n + i), value: Buffer.alloc(bytes, n) })),
    )
  }
}

describe('checkpoints', () => {
  afterEach(cleanUp)

  it('look at what has been written since the last one and at nothing else, however much there is', () => {
    const path = scratchPath()
    const first = openEngine(path, OPTIONS)
    fill(first, 4000, 800)
    first.close()
    const engine = openEngine(path, OPTIONS)
    // All slots have been touched and verified: that alone does not keep a checkpoint from looking at them.
    expect(lookedAt(engine, () => engine.range({}, 'keys').count())).to.be.greaterThan(900)
    engine.put(key(1234), Buffer.alloc(800, 1))
    engine.put(key(3210), Buffer.alloc(800, 2))
    // Two leaves, their branches, and the free list.
    expect(lookedAt(engine, () => expect(engine.checkpoint(true)!.slotsWritten).to.be.lessThan(12))).to.be.lessThan(12)
    engine.close()
  })

  it('seal every slot that the tree reaches, also one that had been used, sealed and freed before', () => {
    const path = scratchPath()
    const engine = openEngine(path, OPTIONS)
    fill(engine, 1000, 300)
    for (let round = 0; round < 6; round++) {
      for (let n = round; n < 1000; n += 7) {
        if (n % 3 === 0) engine.del(key(n))
        else engine.put(key(n), Buffer.alloc(n % 5 === 0 ? 9000 : 300, round))
      }
      engine.checkpoint(true)
      const { space, control, allocator, log } = engine.parts
      expect(log.starts()).to.have.length.greaterThan(0)
      const free = new Set(eachSlot(allocator.waiting()))
      const { slots } = engine.stats()
      let sealed = 0
      for (let slot = HEADER_SLOTS; slot < HEADER_SLOTS + slots.total - slots.unused - slots.header; slot++) {
        if (free.has(slot)) continue
        expect(slotDamage(space, slot as never, new Node()), `slot ${slot} in round ${round}`).to.equal(undefined)
        expect(control.unsealed.mayHave(slot)).to.equal(false)
        sealed++
      }
      expect(sealed).to.be.greaterThan(100)
    }
    engine.close()
  })

  it('lists all free slots, however they are scattered, without merging them while writers wait', () => {
    const roomy = { ...OPTIONS, reserveBytes: 2 ** 30 }
    const path = scratchPath()
    const engine = openEngine(path, roomy)
    const random = randomFrom(5)
    const entries = 12_000
    fill(engine, entries, 900)
    let mostScattered = 0
    for (let round = 0; round < 5; round++) {
      for (let n = 0; n < 1500; n++) {
        const at = key(Math.floor(random() * entries))
        if (round % 4 === 3) engine.del(at)
        else engine.put(at, Buffer.alloc(900, round))
      }
      engine.checkpoint(true)
      const { allocator, control } = engine.parts
      const state = control.readState(newState())
      allocator.look(state)
      const merged = allocator.waiting().length / 2
      expect(allocator.mostRuns()).to.be.at.least(merged)
      mostScattered = Math.max(mostScattered, merged)
      const again = openEngine(crashCopy(path), roomy)
      expect(verify(again).damage).to.deep.equal([])
      expect(again.parts.control.readState(newState())[STATE.LOST]).to.equal(0)
      again.close()
    }
    expect(mostScattered, 'more than one slot of a list has room for').to.be.greaterThan(600)
    engine.close()
  })
})
