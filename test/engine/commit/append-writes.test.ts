// If these fail, a write that has no room takes others of the same tick down with it, a batch is torn, or what
// was written is written twice or in another order.
import { expect } from 'chai'
import fc from 'fast-check'
import { appendWrites } from '../../../src/engine/commit/append-writes.js'
import { FullError, IoError, MmapdbError } from '../../../src/errors.js'
import { open } from '../../../src/index.js'
import { operationsOf } from '../../../src/wal/operation.js'
import { type Lsn, lsnAfter } from '../../../src/wal/lsn.js'
import { cleanUp, runs, scratchPath } from '../../support/engine.js'
import { FrameBuilder } from '../../../src/wal/frame-builder.js'

type Write = readonly number[]

/** A frame of writes. Each operation has a value of the given length, and its number as its key. */
function frameOf(writes: readonly Write[]): { frame: Buffer; keys: string[][] } {
  const builder = new FrameBuilder(64)
  let n = 0
  const keys = writes.map((write) => {
    const one = new FrameBuilder(64)
    const itsKeys = write.map((bytes) => {
      // All keys have one length, so that a write is as long alone as among others.
      const key = Buffer.from(`${n++}`.padStart(4, '0'))
      one.put(key, key.length, Buffer.alloc(bytes))
      return key.toString()
    })
    builder.append(one)
    return itsKeys
  })
  return { frame: builder.frame(), keys }
}

/** A log that has room for frames of this many bytes. */
class FakeLog {
  readonly keys: string[] = []
  end = 64
  calls = 0

  constructor(
    readonly roomBytes: number,
    readonly failAt = Infinity,
  ) {}

  readonly append = (frame: Buffer): Lsn => {
    if (++this.calls === this.failAt) throw new IoError('the disk is gone')
    if (frame.length > this.roomBytes) throw new FullError('no room')
    for (const operation = operationsOf(frame); operation.next();) this.keys.push(operation.key.toString('latin1'))
    return (this.end = lsnAfter(this.end, frame.length))
  }
}

const writes = fc.array(fc.array(fc.nat(300), { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 20 })

describe('writes that share a frame', () => {
  it('are appended apart where there is no room for all: in order, once, whole, and only what has no room alone is refused', () => {
    fc.assert(
      fc.property(writes, fc.integer({ min: 40, max: 2000 }), (list, roomBytes) => {
        const { frame, keys } = frameOf(list)
        const log = new FakeLog(roomBytes)
        const { parts, refused } = appendWrites(frame, log.append)
        const taken = list.map((write) => frameOf([write]).frame.length <= roomBytes)
        const refusedNow = new Set(
          refused.flatMap(({ first, count }) => Array.from({ length: count }, (_, i) => first + i)),
        )
        expect([...refusedNow]).to.have.length(refused.reduce((sum, { count }) => sum + count, 0))
        if (frame.length > roomBytes) expect(list.map((_, i) => !refusedNow.has(i))).to.deep.equal(taken)
        else expect(refusedNow.size).to.equal(0)
        expect(log.keys).to.deep.equal(keys.filter((_, i) => !refusedNow.has(i)).flat())
        // The LSNs of the parts say where they are.
        let lsn = 64
        for (const part of parts) {
          expect(part.lsn).to.equal(lsn)
          lsn = part.end
        }
        expect(lsn).to.equal(log.end)
        expect(parts.reduce((sum, { count }) => sum + count, 0)).to.equal(list.length - refusedNow.size)
      }),
      runs(500),
    )
  })

  it('that meet another failure are refused with all that come after them, and nothing before them is', () => {
    const { frame } = frameOf([[10], [500], [10], [10]])
    const log = new FakeLog(100, 5)
    // Tried in this order: all; the first half; the first; the second, which is too large; the second half.
    const { parts, refused } = appendWrites(frame, log.append)
    expect(parts.map(({ first, count }) => [first, count])).to.deep.equal([[0, 1]])
    expect(refused.map(({ first, count, error }) => [first, count, (error as MmapdbError).code])).to.deep.equal([
      [1, 1, 'ERR_MMAPDB_FULL'],
      [2, 2, 'ERR_MMAPDB_IO'],
    ])
    expect(log.calls).to.equal(5)
  })
})

describe('writes of one tick', function () {
  this.timeout(60_000)
  afterEach(cleanUp)

  for (const workers of [0, 2]) {
    it(`do not share the fate of one that has no room, nor is a batch torn by it (${workers} workers)`, async () => {
      const path = scratchPath()
      const db = await open(path, {
        workers,
        valueEncoding: 'binary',
        segmentBytes: 1 << 20,
        reserveBytes: 2 << 20,
        windowBytes: 1 << 16,
      })
      const small = Buffer.alloc(10, 1)
      // Short enough to share a frame.
      const huge = Buffer.alloc(3 << 20)
      const outcomes = await Promise.allSettled([
        db.put('a', small),
        db.put('huge', huge),
        db.batch([
          { type: 'put', key: 'b', value: small },
          { type: 'put', key: 'c', value: small },
        ]),
        db.batch([
          { type: 'put', key: 'torn', value: small },
          { type: 'put', key: 'huge', value: huge },
          { type: 'del', key: 'a' },
        ]),
        db.put('d', small),
        db.del('d'),
        db.put('d', Buffer.alloc(10, 2)),
      ])
      const codes = outcomes.map((outcome) =>
        outcome.status === 'rejected' ? (outcome.reason as MmapdbError).code : 'done',
      )
      expect(codes).to.deep.equal(['done', 'ERR_MMAPDB_FULL', 'done', 'ERR_MMAPDB_FULL', 'done', 'done', 'done'])
      const { frames, operations } = db.stats().commits
      expect(operations, 'each written once').to.equal(6)
      expect(frames).to.be.at.most(6)
      await db.close()
      const again = await open(path, { workers: 0 })
      expect([...again.keys()]).to.deep.equal(['a', 'b', 'c', 'd'])
      expect(again.get('d')).to.deep.equal(Buffer.alloc(10, 2))
      await again.close()
    })
  }
})
