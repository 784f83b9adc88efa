import { expect } from 'chai'
import fc from 'fast-check'
import { MAX_EXPIRING_KEY_BYTES, NEVER } from '../../src/encoding/expiry-key.js'
import { FRAME, isExpiring, isFrameAt, readLsn, sealFrame } from '../../src/wal/frame.js'
import {
  OP_ADD,
  OP_CHECK,
  OP_DEL,
  OP_FLAG,
  OP_PUT,
  operationsOf as operationsIn,
  type OperationCursor,
} from '../../src/wal/operation.js'
import { type Lsn, paddedBytes } from '../../src/wal/lsn.js'
import { expectError, runs } from '../support/engine.js'
import { MAX_FRAME_ADDS, MAX_FRAME_BYTES } from '../../src/limits.js'
import { FrameBuilder } from '../../src/wal/frame-builder.js'
import { mostOutcomeBytes } from '../../src/wal/outcomes.js'

interface Op {
  kind: number
  key: string
  value: string
}

const put = (key: string, value: string): Op => ({ kind: OP_PUT, key, value })
const del = (key: string): Op => ({ kind: OP_DEL, key, value: '' })

function build(operations: Op[], builder = new FrameBuilder(64)): Buffer {
  for (const { kind, key, value } of operations) {
    const bytes = Buffer.from(key, 'latin1')
    if (kind === OP_PUT) builder.put(bytes, bytes.length, Buffer.from(value, 'latin1'))
    else builder.del(bytes, bytes.length)
  }
  return builder.take()
}

function sealed(operations: Op[], lsn: number, salt: number): Buffer {
  const frame = build(operations)
  sealFrame(frame, lsn as Lsn, Math.max(0, lsn - 1) as Lsn, 1234.5, salt)
  return frame
}

function* each(operations: OperationCursor): Generator<OperationCursor> {
  while (operations.next()) yield operations
}

function operationsOf(frame: Buffer, at = 0, length = frame.length): Op[] {
  const found: Op[] = []
  for (const { kind, key, value } of each(operationsIn(frame, at, length)))
    found.push({ kind, key: key.toString('latin1'), value: value.toString('latin1') })
  return found
}

const LSN = 2 ** 40 + 24
const SALT = 0x9abcdef0
const SOME = [put('key', 'value'), del('other'), put('k', ''), put('z'.repeat(1024), 'v'.repeat(3000))]

const TIME = 1.8e12 + 0.5

describe('a frame with times at which entries expire', () => {
  const key = Buffer.from('key')
  const EXPIRES = { flags: OP_FLAG.EXPIRES, version: 0, expiresAt: TIME }

  it('gives them back, beside versions, and says that it has some', () => {
    const builder = new FrameBuilder()
    builder.put(key, 3, Buffer.from('value'), EXPIRES)
    builder.put(key, 3, Buffer.from('other'))
    builder.put(key, 3, Buffer.from('third'), { ...EXPIRES, flags: OP_FLAG.EXPIRES | OP_FLAG.IF_VERSION, version: 77 })
    builder.add(key, 3, Buffer.from([5]), true, EXPIRES)
    builder.del(key, 3, { ...EXPIRES, flags: OP_FLAG.EXPIRES | OP_FLAG.IF_VERSION, version: 78 })
    const frame = builder.take()
    expect(isExpiring(frame, 0)).to.equal(true)
    expect(isExpiring(build(SOME), 0)).to.equal(false)
    const found = Array.from(each(operationsIn(frame)), ({ expiresAt, value, isSweep, at, end }) => ({
      expiresAt,
      value: value.toString('latin1'),
      isSweep,
      bytes: end - at,
    }))
    expect(found).to.deep.equal([
      { expiresAt: TIME, value: 'value', isSweep: false, bytes: 24 },
      { expiresAt: NEVER, value: 'other', isSweep: false, bytes: 16 },
      { expiresAt: TIME, value: 'third', isSweep: false, bytes: 32 },
      { expiresAt: TIME, value: '\x05', isSweep: false, bytes: 20 },
      { expiresAt: TIME, value: '', isSweep: true, bytes: 27 },
    ])
    const [, , third, , last] = Array.from(each(operationsIn(frame)), ({ flags }) => flags)
    expect([third! & 0x12, last! & 0x12]).to.deep.equal([0x12, 0x12])
  })

  it('is malformed if a time is none, the key is of no entry that can expire, or a sweep names no version', () => {
    const malformed = (edit: (frame: Buffer) => void, why: RegExp): void => {
      const builder = new FrameBuilder()
      builder.put(key, 3, Buffer.from('value'), EXPIRES)
      const frame = builder.take()
      edit(frame)
      expectError(() => [...each(operationsIn(frame))], 'ERR_MMAPDB_CORRUPT', why)
    }
    const at = FRAME.HEADER_BYTES
    for (const time of [NaN, Infinity, -1, 9e15])
      malformed((frame) => frame.writeDoubleLE(time, at + 8), /a time that is not one/)
    malformed((frame) => (frame[at + 16] = 1), /its key is of no entry that can/)
    malformed((frame) => (frame[at] = OP_CHECK), /unknown kind or flags/)
    malformed((frame) => {
      frame[FRAME.FLAGS] = 9
      frame[at] = OP_DEL
    }, /whatever that is/)
    malformed((frame) => (frame[FRAME.FLAGS] = 16), /flags are unknown/)
    const long = Buffer.alloc(MAX_EXPIRING_KEY_BYTES + 1, 5)
    expectError(() => new FrameBuilder().put(long, long.length, key, EXPIRES), 'ERR_MMAPDB_INVALID')
    expectError(() => new FrameBuilder().put(key, 3, key, { ...EXPIRES, expiresAt: NaN }), 'ERR_MMAPDB_INVALID')
  })
})

describe('a frame of the log', () => {
  it('gives back the operations that were put into it, in order', () => {
    const op = fc.oneof(
      fc
        .tuple(fc.string({ unit: 'binary', minLength: 1, maxLength: 40 }), fc.string({ maxLength: 200 }))
        .map(([k, v]) => put(Buffer.from(k).toString('latin1'), Buffer.from(v).toString('latin1'))),
      fc.string({ minLength: 1, maxLength: 40 }).map((k) => del(Buffer.from(k).toString('latin1'))),
    )
    fc.assert(
      fc.property(fc.array(op, { maxLength: 20 }), fc.nat({ max: 2 ** 31 }), (operations, salt) => {
        const frame = sealed(operations, LSN, salt)
        const around = Buffer.concat([Buffer.alloc(13, 1), frame, Buffer.alloc(5, 2)])
        expect(isFrameAt(around, 13, 13 + frame.length, LSN as Lsn, salt)).to.equal(true)
        expect(operationsOf(around, 13, frame.length)).to.deep.equal(operations)
        expect(frame.readUInt32LE(FRAME.OP_COUNT)).to.equal(operations.length)
        expect(readLsn(frame, FRAME.WATERMARK)).to.equal(LSN - 1)
        expect(paddedBytes(frame.length) % 8).to.equal(0)
        expect(paddedBytes(frame.length) - frame.length).to.be.within(0, 7)
      }),
      runs(300),
    )
  })

  it('is no frame any more when any of its bytes has changed, however little', () => {
    const frame = sealed(SOME.slice(0, 3), LSN, SALT)
    for (let at = 0; at < frame.length; at++) {
      for (const mask of [0xff, 1 << (at & 7)]) {
        frame[at]! ^= mask
        expect(isFrameAt(frame, 0, frame.length, LSN as Lsn, SALT), `byte ${at} changed by ${mask}`).to.equal(false)
        frame[at]! ^= mask
      }
    }
    expect(isFrameAt(frame, 0, frame.length, LSN as Lsn, SALT)).to.equal(true)
  })

  it('is no frame where it does not belong: moved, cut, or from another life of its segment', () => {
    const frame = sealed(SOME, LSN, SALT)
    expect(isFrameAt(frame, 0, frame.length, (LSN + 1) as Lsn, SALT)).to.equal(false)
    expect(isFrameAt(frame, 0, frame.length, LSN as Lsn, SALT + 1)).to.equal(false)
    for (let end = 0; end < frame.length; end += end < 100 ? 1 : 97) {
      expect(isFrameAt(frame, 0, end, LSN as Lsn, SALT)).to.equal(false)
    }
    expect(isFrameAt(Buffer.alloc(4096), 0, 4096, 0 as Lsn, 0), 'zeros').to.equal(false)
  })

  it('never lets a malformed inside reach beyond its end', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 120 }), fc.nat({ max: 6 }), (inside, count) => {
        const frame = Buffer.concat([Buffer.alloc(FRAME.HEADER_BYTES), inside, Buffer.alloc(64, 7)])
        frame.writeUInt32LE(count, FRAME.OP_COUNT)
        const end = FRAME.HEADER_BYTES + inside.length
        try {
          for (const { kind, keyAt, keyLength, valueAt, valueLength } of each(operationsIn(frame, 0, end))) {
            expect(kind).to.be.within(OP_PUT, OP_ADD)
            expect(keyLength).to.be.within(1, 1024)
            expect(valueAt).to.equal(keyAt + keyLength)
            expect(valueAt + valueLength).to.be.at.most(end)
          }
        } catch (error) {
          expect((error as Error).message).to.match(/frame/)
        }
      }),
      runs(2000),
    )
  })

  it('is refused if it would be longer than a frame may be, and the builder stays usable', () => {
    const builder = new FrameBuilder()
    const big = Buffer.allocUnsafe(MAX_FRAME_BYTES)
    expectError(() => builder.put(Buffer.from('k'), 1, big), 'ERR_MMAPDB_INVALID', /split/)
    expect(builder.opCount).to.equal(0)
    expect(operationsOf(build([put('a', 'b')], builder))).to.deep.equal([put('a', 'b')])
  })

  it('decides no more than another frame can say', () => {
    const mostBytesOf = (add: (builder: FrameBuilder) => void): number => {
      const builder = new FrameBuilder()
      const one = new FrameBuilder()
      for (let i = 0; i < 1000; i++) {
        one.reset()
        add(one)
        builder.append(one)
      }
      return mostOutcomeBytes(builder.frame()) / 1000
    }
    const key = Buffer.from('k')
    const adds = MAX_FRAME_ADDS * mostBytesOf((builder) => builder.add(key, 1, Buffer.alloc(1), false))
    // Nothing but an add decides more for its length than a delete.
    const shortest = build([del('k')]).length - FRAME.HEADER_BYTES
    const dels = (MAX_FRAME_BYTES / shortest) * mostBytesOf((builder) => builder.del(key, 1))
    expect(adds + dels).to.be.below(MAX_FRAME_BYTES)
  })

  it('is refused if it would add to more counters than a frame may, and the builder stays usable', () => {
    const builder = new FrameBuilder()
    const key = Buffer.from('k')
    const one = Buffer.from([1])
    for (let i = 0; i < MAX_FRAME_ADDS; i++) builder.add(key, 1, one, false)
    expectError(() => builder.add(key, 1, one, false), 'ERR_MMAPDB_INVALID', /3900000 counters; split/)
    const other = new FrameBuilder()
    other.add(key, 1, one, false)
    expectError(() => builder.append(other), 'ERR_MMAPDB_INVALID', /split/)
    expect(builder.opCount).to.equal(MAX_FRAME_ADDS)
    builder.put(key, 1, one)
    builder.reset()
    builder.append(other)
    expect(builder.opCount).to.equal(1)
  })

  it('takes all operations of another, after its own', () => {
    const builder = new FrameBuilder(64)
    const other = new FrameBuilder(64)
    builder.append(other)
    builder.put(Buffer.from('a'), 1, Buffer.from('first'))
    other.put(Buffer.from('b'), 1, Buffer.alloc(5000, 9))
    other.del(Buffer.from('c'), 1)
    builder.append(other)
    builder.del(Buffer.from('d'), 1)
    const expected = [put('a', 'first'), put('b', Buffer.alloc(5000, 9).toString('latin1')), del('c'), del('d')]
    expect(operationsOf(builder.frame())).to.deep.equal(expected)
    builder.reset()
    expect(operationsOf(builder.frame())).to.deep.equal([])
  })

  it('belongs to the caller that took it: the builder does not write into it again', () => {
    const builder = new FrameBuilder(64)
    const first = build([put('a', '1')], builder)
    build([put('b', '2'), put('c', '3')], builder)
    expect(operationsOf(first)).to.deep.equal([put('a', '1')])
  })
})
