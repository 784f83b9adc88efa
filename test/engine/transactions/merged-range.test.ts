// Ranges of transactions over snapshots that cannot be read to their end. If these failed, what cannot be read would
// pass for what is not there, and a transaction would commit what follows from that.
import { NEVER } from '../../../src/encoding/expiry-key.js'
import { KeySpace } from '../../../src/encoding/key-space.js'
import { valueCodec } from '../../../src/encoding/values/codec.js'
import { expect } from 'chai'
import type { EncodedEntry, RangeIterator } from '../../../src/engine/read/range-iterator.js'
import { MergedRange } from '../../../src/engine/transactions/merged-range.js'
import { NotedReads } from '../../../src/engine/transactions/noted-reads.js'
import { boundsOf } from '../../../src/engine/read/bounds.js'
import { CorruptError } from '../../../src/errors.js'
import { FrameBuilder } from '../../../src/wal/frame-builder.js'
import { operationsOf } from '../../../src/wal/operation.js'
import { rangeCheckOf } from '../../../src/wal/range-check.js'

/** Gives these entries, then fails once, and has ended from then on, as an iterator over damage does. */
function failing(keys: readonly string[]): RangeIterator<EncodedEntry> {
  let next = 0
  return {
    next() {
      if (next < keys.length) return { done: false, value: { key: Buffer.from(keys[next++]!), value: undefined } }
      if (next++ === keys.length) throw new CorruptError('damaged')
      return { done: true, value: undefined }
    },
    return: () => ({ done: true, value: undefined }),
  } as unknown as RangeIterator<EncodedEntry>
}

describe('ranges of a transaction', () => {
  it('do not end where the snapshot cannot be read', () => {
    const reads = new NotedReads()
    const range = new MergedRange({
      entries: failing(['a', 'b']),
      own: [{ kind: 'put', key: Buffer.from('a5'), value: Buffer.from('1'), expiresAt: NEVER }],
      noted: reads.noteRange(boundsOf(new KeySpace(valueCodec('binary')))),
      reverse: false,
      limit: Infinity,
      isOfKeys: true,
      sum: () => expect.fail('nothing is added'),
    })
    expect([range.next(), range.next(), range.next()].map((entry) => entry?.key.toString())).to.deep.equal([
      'a',
      'a5',
      'b',
    ])
    for (let i = 0; i < 3; i++) expect(() => range.next()).to.throw(CorruptError)
    const frame = new FrameBuilder()
    reads.checkIn(frame, 9, new Map())
    const operation = operationsOf(frame.take())
    operation.next()
    const { to, toInclusive, entries } = rangeCheckOf(operation.key, operation.value)
    expect([to?.toString(), toInclusive, entries], 'it has read up to b').to.deep.equal(['b', true, 2])
  })
})
