// A thread that reads under the pin of another. If this failed, it would go on after that pin was released, and hand
// out what was written into reused slots, or a part of another tree.
import { expect } from 'chai'
import { Engine } from '../../../src/engine/engine.js'
import { PATIENT } from '../../../src/engine/lifecycle/not-now.js'
import { resolveOptions } from '../../../src/engine/options.js'
import { posixStorage } from '../../../src/storage/posix.js'
import { MmapdbError } from '../../../src/errors.js'
import type { RangeChunk } from '../../../src/engine/read/range-chunk.js'
import type { EngineSnapshot } from '../../../src/engine/read/snapshot.js'
import { boundsOf } from '../../../src/engine/read/bounds.js'
import { observeReads } from '../../../src/engine/shared/read-guard.js'
import { KeySpace } from '../../../src/encoding/key-space.js'
import { valueCodec } from '../../../src/encoding/values/codec.js'
import { encodeKey, KEY_BUFFER_BYTES } from '../../../src/encoding/keys.js'
import { cleanUp, expectError, expectSound, openEngine, scratchPath, TINY } from '../../support/engine.js'

const KEYS = 400
const OPTIONS = { ...TINY, windowBytes: 64 * 1024 * 1024, segmentBytes: 1 << 20, checkpointBytes: 1 << 20 }

/** All values of a round are alike: a reader that sees two rounds sees a wrong tree. */
const fill = (engine: Engine, round: number): unknown =>
  engine.batch(
    Array.from({ length: KEYS }, (_, n) => ({
      type: 'put' as const,
      key: n,
      value: Buffer.alloc(n % 50 === 7 ? 9000 : 180, round),
    })),
  )

const everyKey = (): { bytes: Uint8Array<ArrayBuffer>; lengths: Int32Array<ArrayBuffer> } => {
  const buffer = Buffer.alloc(KEY_BUFFER_BYTES)
  const keys = Array.from({ length: KEYS }, (_, n) => Buffer.from(buffer.subarray(0, encodeKey(n, buffer))))
  return { bytes: new Uint8Array(Buffer.concat(keys)), lengths: Int32Array.from(keys, ({ length }) => length) }
}

/** The rounds that the values of a chunk are of. */
function roundsOf({ bytes, lengths }: RangeChunk): number[] {
  const rounds = new Set<number>()
  let at = 0
  for (let i = 0; i < lengths.length; i += 2) {
    at += lengths[i]!
    for (const end = at + lengths[i + 1]!; at < end; at++) rounds.add(bytes[at]!)
  }
  return [...rounds]
}

const SPACE = new KeySpace(valueCodec('binary'))

const READS: [string, (snapshot: EngineSnapshot) => unknown][] = [
  ['a chunk', (s) => roundsOf(s.readChunk(boundsOf(SPACE), 'encoded entries'))],
  ['a chunk backwards', (s) => roundsOf(s.readChunk(boundsOf(SPACE, { reverse: true }), 'encoded entries'))],
  ['a list of keys', (s) => [...new Set(s.getManyEncoded(everyKey(), 'values').bytes)]],
]

describe('a pin that is lent', function () {
  this.timeout(120_000)
  afterEach(() => {
    observeReads(undefined)
    cleanUp()
  })

  it('gives the borrower the tree of the lender, whatever has been written since', () => {
    const path = scratchPath()
    const lender = openEngine(path, OPTIONS)
    const borrower = openEngine(path, OPTIONS)
    fill(lender, 1)
    const snapshot = lender.snapshot()
    for (let round = 2; round < 10; round++) fill(lender, round)
    for (const [what, read] of READS) expect(read(borrower.borrow(snapshot.lend())), what).to.deep.equal([1])
    const present = borrower.borrow(snapshot.lend()).getManyEncoded(everyKey(), 'presence')
    expect([present.bytes.length, ...new Set(present.lengths)]).to.deep.equal([0, 0])
    snapshot.close()
    expectSound(lender)
  })

  // While the borrower reads, the lender ends, its pin is used for another tree, and its slots are reused.
  for (const [what, read] of READS) {
    it(`ends the borrower at whatever step it is released: ${what}`, () => {
      const path = scratchPath()
      const lender = openEngine(path, OPTIONS)
      const borrower = openEngine(path, OPTIONS)
      let round = 1
      let ended = 0
      for (let step = 1; ; step = Math.ceil(step * 1.3)) {
        fill(lender, round)
        const snapshot = lender.snapshot()
        const its = borrower.borrow(snapshot.lend())
        let steps = 0
        let next: EngineSnapshot | undefined
        observeReads(() => {
          if (++steps !== step) return
          observeReads(undefined)
          snapshot.close()
          // Two groups free the slots of the old tree, and the third uses them.
          for (let n = 0; n < 4; n++) {
            round = (round % 250) + 1
            fill(lender, round)
            // The same pin, of this thread, for a newer tree.
            next?.close()
            next = lender.snapshot()
          }
        })
        let found: unknown
        try {
          found = read(its)
        } catch (error) {
          expect((error as MmapdbError).code, `at step ${step}`).to.equal('ERR_MMAPDB_CLOSED')
          ended++
        }
        observeReads(undefined)
        next?.close()
        if (found === undefined) continue
        // It was done before: that step does not come any more.
        expect(steps, `a read that was not ended at step ${step}`).to.be.below(step)
        break
      }
      expect(ended).to.be.above(10)
      expectSound(lender)
    })
  }

  it('ends the borrower when the lender is ended for what it holds back, with the same error', () => {
    const path = scratchPath()
    const lender = openEngine(path, { ...OPTIONS, maxHeldBytes: 128 * 1024 })
    const borrower = openEngine(path, OPTIONS)
    fill(lender, 1)
    const snapshot = lender.snapshot()
    const its = borrower.borrow(snapshot.lend())
    for (let round = 2; round < 12; round++) fill(lender, round)
    for (const [, read] of READS) expectError(() => read(its), 'ERR_MMAPDB_EXPIRED', /Take a new one/)
    snapshot.close()
    for (const [, read] of READS) expectError(() => read(its), 'ERR_MMAPDB_CLOSED', /has been closed/)
    expectError(() => snapshot.lend(), 'ERR_MMAPDB_CLOSED')
  })

  it('is a lock where the lender cannot write a pin, and the same holds', () => {
    const path = scratchPath()
    const writer = openEngine(path, { ...OPTIONS, maxHeldBytes: 128 * 1024 })
    fill(writer, 1)
    const onlooker = (): Engine =>
      Engine.openToRead(resolveOptions(path, { ...OPTIONS, readOnly: true }), posixStorage, PATIENT)
    const lender = onlooker()
    const borrower = onlooker()
    try {
      expect([lender.parts.isOnlooker, borrower.parts.isOnlooker]).to.deep.equal([true, true])
      const snapshot = lender.snapshot()
      const its = borrower.borrow(snapshot.lend())
      fill(writer, 2)
      for (const [what, read] of READS) expect(read(its), what).to.deep.equal([1])
      for (let round = 3; round < 12; round++) fill(writer, round)
      for (const [, read] of READS) expectError(() => read(its), 'ERR_MMAPDB_EXPIRED')
      const later = lender.snapshot()
      const late = borrower.borrow(later.lend())
      for (const [what, read] of READS) expect(read(late), what).to.deep.equal([11])
      later.close()
      for (const [, read] of READS) expectError(() => read(late), 'ERR_MMAPDB_CLOSED')
      // What is closed after its database has no lock to give back any more.
      const last = lender.snapshot()
      lender.close()
      last.close()
    } finally {
      lender.close()
      borrower.close()
    }
  })
})
