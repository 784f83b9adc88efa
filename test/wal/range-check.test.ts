// Checks of ranges in frames. If these failed, a frame that makes no sense would be applied, or one that does would
// stop all writers.
import { expect } from 'chai'
import fc from 'fast-check'
import { FRAME } from '../../src/wal/frame.js'
import { FrameBuilder } from '../../src/wal/frame-builder.js'
import { OP, OP_CHECK_RANGE, OP_FLAG, operationsOf } from '../../src/wal/operation.js'
import { rangeCheckOf } from '../../src/wal/range-check.js'
import { expectError, runs } from '../support/engine.js'

const bound = fc.uint8Array({ minLength: 1, maxLength: 1024 }).map((bytes) => Buffer.from(bytes))
const range = fc.record({
  from: bound,
  fromAfter: fc.boolean(),
  to: bound,
  toInclusive: fc.boolean(),
  entries: fc.nat({ max: 2 ** 32 - 1 }),
  lsn: fc.nat({ max: Number.MAX_SAFE_INTEGER }),
})

function frameOf(check: Parameters<FrameBuilder['checkRange']>[0]): Buffer {
  const builder = new FrameBuilder()
  builder.checkRange(check)
  return builder.take()
}

const SOME = { from: Buffer.from('b'), fromAfter: true, to: Buffer.from('x'), toInclusive: true, entries: 3, lsn: 77 }
const VALUE = FRAME.HEADER_BYTES + OP.HEADER_BYTES + 1

describe('a check of a range in a frame', () => {
  it('comes back as it was', () => {
    fc.assert(
      fc.property(range, (check) => {
        const operation = operationsOf(frameOf(check))
        expect(operation.next()).to.equal(true)
        expect(operation.kind).to.equal(OP_CHECK_RANGE)
        expect(rangeCheckOf(operation.key, operation.value)).to.deep.equal(check)
        expect(operation.next()).to.equal(false)
      }),
      runs(200),
    )
  })

  it('has no bounds where none are given', () => {
    const operation = operationsOf(frameOf({ ...SOME, from: undefined, to: undefined, toInclusive: false }))
    operation.next()
    const { from, to } = rangeCheckOf(operation.key, operation.value)
    expect(from, 'below every key').to.deep.equal(Buffer.of(0))
    expect(to).to.equal(undefined)
  })

  it('is damage if it makes no sense', () => {
    const wrong: Record<string, (frame: Buffer) => void> = {
      'unknown flags': (frame) => (frame[VALUE] = 8),
      'no upper bound, and one': (frame) => (frame[VALUE] = 4),
      'something where there are zeros': (frame) => (frame[VALUE + 2] = 1),
      'a number that cannot be an LSN': (frame) => frame.fill(0xff, VALUE + 8, VALUE + 16),
      'a condition': (frame) => (frame[FRAME.HEADER_BYTES + OP.FLAGS] = OP_FLAG.IF_PRESENT),
      'no value': (frame) => {
        frame.writeUInt32LE(0, FRAME.HEADER_BYTES + OP.VALUE_LENGTH)
      },
      'no bound': (frame) => {
        frame.writeUInt32LE(16, FRAME.HEADER_BYTES + OP.VALUE_LENGTH)
      },
      'a frame that decides nothing': (frame) => (frame[FRAME.FLAGS] = 0),
    }
    for (const damage of Object.values(wrong)) {
      const frame = frameOf(SOME)
      damage(frame)
      expectError(() => operationsOf(frame).next(), 'ERR_MMAPDB_CORRUPT', /makes no sense|decides something/)
    }
    const long = frameOf({ ...SOME, to: Buffer.alloc(1041, 1) })
    expectError(() => operationsOf(long).next(), 'ERR_MMAPDB_CORRUPT', /makes no sense/)
  })
})
