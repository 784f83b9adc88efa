// The bytes of the data file are changed, one at a time: each operation gives the right answer or throws, and
// `verify` finds all damage that a read could meet.
import { expect } from 'chai'
import {
  DATA,
  examine,
  FULL,
  makeFixture,
  randomFrom,
  segmentsIn,
  slotCount,
  SLOT_BYTES,
  type Fixture,
} from '../support/hostile.js'

const HEADER_BYTES = 4 * SLOT_BYTES
const EVERY_BIT = [1, 2, 4, 8, 16, 32, 64, 128]

describe('a byte of a file that has changed', function () {
  this.timeout(FULL ? 3_600_000 : 60_000)
  let fixture: Fixture
  before(() => {
    fixture = makeFixture()
  })
  const random = randomFrom(1)
  const oneBit = (): number[] => [1 << Math.floor(random() * 8)]

  it('begins with a database that has every structure in it', () => {
    expect(slotCount(fixture.storage)).to.be.within(55, 110)
    expect(segmentsIn(fixture.storage).length).to.be.above(4)
    expect(examine(fixture)).to.deep.equal({ opened: true, error: undefined, refused: 0, verified: true })
  })

  /** Changes every `stride`th byte of [from, to) by each mask that `masks` gives, and examines the database. */
  function sweep(
    path: string,
    from: number,
    to: number,
    stride: number,
    masks: () => number[],
    codes?: string[],
  ): { flips: number; found: number } {
    const { storage } = fixture
    const before = storage.bytes(path)
    let flips = 0
    let found = 0
    for (let at = from; at < Math.min(to, before.length); at += stride) {
      for (const mask of masks()) {
        storage.poke(path, at, Buffer.of(before[at]! ^ mask))
        try {
          if (!examine(fixture, codes).verified) found++
        } catch (error) {
          throw new Error(`byte ${at} of ${path}, changed by 0x${mask.toString(16)}: ${(error as Error).message}`, {
            cause: error,
          })
        } finally {
          storage.poke(path, at, before.subarray(at, at + 1))
        }
        flips++
      }
    }
    return { flips, found }
  }

  it('in a header slot is no matter for readers, and verify finds it', () => {
    const { flips, found } = sweep(DATA, 0, HEADER_BYTES, FULL ? 1 : 97, FULL ? () => EVERY_BIT : oneBit)
    // Readers no longer need the headers of the checkpoint before, but verify reports damage to them, too.
    expect(found).to.equal(flips)
  })

  it('anywhere in the slots of the data file gives the right answer or an error', () => {
    const end = slotCount(fixture.storage) * SLOT_BYTES
    sweep(DATA, HEADER_BYTES, end, FULL ? 1 : 797, FULL ? () => [...oneBit(), 0xff] : oneBit)
  })

  it('in the first bytes of a slot, which say what it is, gives the right answer or an error', () => {
    const end = slotCount(fixture.storage)
    for (let slot = 4; slot < end; slot += FULL ? 1 : 5) {
      sweep(DATA, slot * SLOT_BYTES, slot * SLOT_BYTES + 40, FULL ? 1 : 3, FULL ? () => EVERY_BIT : oneBit)
    }
  })
})
