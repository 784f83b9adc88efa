// Values that are gathered in one piece of memory.
import { expect } from 'chai'
import fc from 'fast-check'
import { Packing } from '../../src/encoding/packed-list.js'
import { runs } from '../support/engine.js'

describe('packing', () => {
  it('has the bytes that were added, in their order, however long they are', () => {
    const lengths = fc.oneof(fc.nat(40), fc.nat(5000), fc.nat(100_000))
    fc.assert(
      fc.property(fc.array(lengths, { maxLength: 20 }), (list) => {
        const packing = new Packing()
        const parts = list.map((length, i) => Buffer.alloc(length, i + 1))
        for (const part of parts) {
          const within = Buffer.concat([Buffer.from('before'), part, Buffer.from('after')])
          packing.add(within, 6, part.length)
        }
        expect(Buffer.from(packing.bytes).equals(Buffer.concat(parts))).to.equal(true)
      }),
      runs(100),
    )
  })
})
