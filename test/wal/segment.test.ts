import { expect } from 'chai'
import { APPEND_STATE_BYTES, AppendState, newAppendFields } from '../../src/wal/append-state.js'
import type { Lsn } from '../../src/wal/lsn.js'
import {
  decodeSegmentHeader,
  encodeSegmentHeader,
  filePosition,
  SEGMENT_HEADER_BYTES,
  SEGMENT_VERSION,
  segmentName,
  segmentStart,
  type SegmentHeader,
} from '../../src/wal/segment.js'

const header: SegmentHeader = {
  version: SEGMENT_VERSION,
  salt: 0xfedcba98,
  uuid: Buffer.from('0123456789abcdef'),
  startLsn: (2 ** 47 + 8) as Lsn,
  limitLsn: (2 ** 47 + 4040) as Lsn,
  changedLsn: 2 ** 47 + 3,
}

describe('the header of a segment', () => {
  it('says what was written into it', () => {
    const bytes = encodeSegmentHeader(header)
    expect(bytes.length).to.equal(SEGMENT_HEADER_BYTES)
    expect(decodeSegmentHeader(bytes)).to.deep.equal(header)
  })

  it('is refused when any bit of it has changed', () => {
    const bytes = encodeSegmentHeader(header)
    for (let at = 0; at < bytes.length; at++) {
      for (const mask of [0xff, 1 << (at & 7)]) {
        bytes[at]! ^= mask
        expect(decodeSegmentHeader(bytes), `byte ${at} changed by ${mask}`).to.equal(undefined)
        bytes[at]! ^= mask
      }
    }
    for (let length = 0; length < bytes.length; length++)
      expect(decodeSegmentHeader(bytes.subarray(0, length))).to.equal(undefined)
    expect(decodeSegmentHeader(Buffer.alloc(64))).to.equal(undefined)
  })

  it('gives every frame a place after it', () => {
    expect(filePosition(header.startLsn, header.startLsn)).to.equal(SEGMENT_HEADER_BYTES)
    expect(filePosition(header.startLsn, (header.startLsn + 40) as Lsn)).to.equal(SEGMENT_HEADER_BYTES + 320)
  })

  it('goes with a file name that says where the segment begins, and no other name does', () => {
    for (const lsn of [1, 8, 2 ** 32 + 16, 2 ** 53 - 2 ** 43])
      expect(segmentStart(segmentName(lsn as Lsn))).to.equal(lsn)
    for (const name of [
      '8.wal',
      'spare-0000000000000008',
      '0000000000000008.wal~',
      'x000000000000008.wal',
      '0000000000000008.WAL',
      '',
    ]) {
      expect(segmentStart(name), name).to.equal(undefined)
    }
  })
})

describe("the state of the log's end", () => {
  it('is read as it was published, again and again', () => {
    const buffer = new ArrayBuffer(64 + APPEND_STATE_BYTES)
    const writer = new AppendState(buffer, 64)
    const reader = new AppendState(buffer, 64)
    for (let i = 1; i < 10; i++) {
      const fields = {
        tailLsn: 8 * i,
        segmentStartLsn: 8,
        segmentSalt: 2 ** 32 - 1 - i,
        segmentDevice: i % 3,
        segmentInode: 2 ** 52 + i,
        segmentLimitLsn: 2 ** 40 + i,
        reservedSlots: i,
        outcomeBytes: 7 * i,
        frames: 2 * i,
        operations: 3 * i,
        changedLsn: 2 ** 48 + i,
        expiring: 4 * i,
        storesGeneration: 1 + 5 * i,
      }
      writer.publish(fields)
      expect(reader.read(newAppendFields())).to.deep.equal(fields)
    }
  })

  it('does not change when a writer dies before it has published', () => {
    const buffer = new ArrayBuffer(APPEND_STATE_BYTES)
    const state = new AppendState(buffer, 0)
    const fields = {
      tailLsn: 80,
      segmentStartLsn: 8,
      segmentSalt: 7,
      segmentDevice: 3,
      segmentInode: 4,
      segmentLimitLsn: 4040,
      reservedSlots: 5,
      outcomeBytes: 6,
      frames: 1,
      operations: 2,
      changedLsn: 70,
      expiring: 1,
      storesGeneration: 3,
    }
    state.publish({ ...fields, tailLsn: 40 })
    state.publish(fields)
    // All a writer does before the last store: fill the copy that does not hold.
    const before = Buffer.from(buffer.slice(0))
    state.publish({ ...fields, tailLsn: 120, segmentStartLsn: 80 })
    const word = before.readInt32LE(0)
    new Int32Array(buffer)[0] = word
    expect(state.read(newAppendFields())).to.deep.equal(fields)
    state.publish({ ...fields, tailLsn: 160 })
    expect(state.read(newAppendFields()).tailLsn).to.equal(160)
  })
})
