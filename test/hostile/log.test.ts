// Segments of the log that are missing, doubled, cut short, or from another database or another time; frames whose
// CRC holds and whose fields contradict each other; and files of different moments put together.
import { expect } from 'chai'
import { crc32c } from '../../src/encoding/crc32c.js'
import { FRAME, readLsn } from '../../src/wal/frame.js'
import { FIRST_LSN, lsnAfter, paddedBytes } from '../../src/wal/lsn.js'
import { SEGMENT_HEADER_BYTES, decodeSegmentHeader, segmentStart } from '../../src/wal/segment.js'
import {
  DATA,
  examine,
  examineLoosely,
  FULL,
  makeFixture,
  MemoryStorage,
  randomFrom,
  segmentsIn,
  SLOT_BYTES,
  type Fixture,
} from '../support/hostile.js'

describe('a log', function () {
  this.timeout(FULL ? 3_600_000 : 60_000)
  let fixture: Fixture
  before(() => {
    fixture = makeFixture()
  })
  const random = randomFrom(7)
  const startOf = (path: string): number => segmentStart(path.slice(path.lastIndexOf('/') + 1))!

  function having(what: string, damage: (storage: MemoryStorage) => void, loosely = false, codes?: string[]): void {
    const storage = fixture.storage.copy()
    damage(storage)
    try {
      if (loosely) examineLoosely(storage)
      else examine({ ...fixture, storage }, codes)
    } catch (error) {
      throw new Error(`${what}: ${(error as Error).message}`, { cause: error })
    }
  }

  /** Positions of the frames of a segment in its file. */
  function framesOf(path: string): number[] {
    const bytes = fixture.storage.bytes(path)
    const frames: number[] = []
    for (
      let at = SEGMENT_HEADER_BYTES, lsn = startOf(path);
      at + FRAME.HEADER_BYTES <= bytes.length && readLsn(bytes, at + FRAME.LSN) === lsn;
    ) {
      frames.push(at)
      const length = bytes.readUInt32LE(at + FRAME.LENGTH)
      at += paddedBytes(length)
      lsn = lsnAfter(lsn, length)
    }
    return frames
  }

  it('with one byte changed is replayed rightly or refused, but for the last frame, which may be torn', () => {
    const paths = segmentsIn(fixture.storage)
    for (const path of paths) {
      const bytes = fixture.storage.bytes(path)
      const last = path === paths.at(-1) ? framesOf(path).at(-1)! : Infinity
      const end = path === paths.at(-1) ? last : bytes.length
      for (let at = 0; at < end; at += FULL ? 1 : at < SEGMENT_HEADER_BYTES ? 7 : 173) {
        for (const mask of FULL && at < SEGMENT_HEADER_BYTES
          ? [1, 2, 4, 8, 16, 32, 64, 128]
          : [1 << Math.floor(random() * 8)]) {
          having(`byte ${at} of ${path}`, (storage) => storage.poke(path, at, Buffer.of(bytes[at]! ^ mask)))
        }
      }
    }
  })

  it('of which a segment is missing, cut short, doubled or foreign is replayed rightly or refused', () => {
    const paths = segmentsIn(fixture.storage)
    for (const path of paths) {
      const bytes = fixture.storage.bytes(path)
      const foreign = Buffer.from(bytes)
      foreign[20]! ^= 1
      foreign.writeUInt32LE(crc32c(foreign.subarray(4, SEGMENT_HEADER_BYTES)) >>> 0, 0)
      // If the log ends in the newest segment, nothing shows that it went on.
      const newest = path === paths.at(-1)
      having(`${path} missing`, (storage) => storage.unlink(path), newest)
      for (let length = 0; length < bytes.length; length += FULL ? 1 : 211)
        having(`${path} of ${length} bytes`, (storage) => storage.openFile(path, 'write').truncate(length), newest)
      for (const other of [FIRST_LSN, startOf(path) + 1, startOf(paths.at(-1)!) + 512, 2 ** 47]) {
        const name = `/db/wal/${other.toString(16).padStart(16, '0')}.wal`
        if (!paths.includes(name)) having(`${path} doubled as ${name}`, (storage) => storage.put(name, bytes))
      }
      for (const name of ['ffffffffffffffff', '0000000000000009', '0000000000000000']) {
        having(`${path} doubled as ${name}`, (storage) => storage.put(`/db/wal/${name}.wal`, bytes))
      }
      having(`${path} of another database`, (storage) => storage.put(path, foreign))
      having('of another database beside it', (storage) =>
        storage.put(`/db/wal/${(8).toString(16).padStart(16, '0')}.wal`, foreign),
      )
      for (const other of paths)
        if (other !== path)
          having(`${other} in place of ${path}`, (storage) => storage.put(path, storage.bytes(other)), newest)
    }
  })

  it('whose frames and segments are at their extremes under CRCs that hold ends no process and no search', () => {
    for (const path of segmentsIn(fixture.storage).slice(FULL ? 0 : -2)) {
      const bytes = fixture.storage.bytes(path)
      const { salt } = decodeSegmentHeader(bytes)!
      for (const value of [0, 1, 39, 40, 48, 0x7fff, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff]) {
        for (const at of framesOf(path).slice(FULL ? 0 : -2)) {
          const length = bytes.readUInt32LE(at + FRAME.LENGTH)
          for (const field of [4, 8, 12, 14, 16, 20, 22, 24, 28, 32, 36, 40, 42, 44]) {
            having(
              `frame at ${at}, ${value} at ${field}`,
              (storage) => {
                const frame = Buffer.from(bytes.subarray(at, at + length))
                frame.writeUIntLE(value % 2 ** 16, field, 2)
                if (field !== 14 && field !== 22 && field !== 42) frame.writeUInt32LE(value, field)
                frame.writeUInt32LE(
                  crc32c(
                    frame.subarray(FRAME.LENGTH, Math.max(8, Math.min(length, frame.readUInt32LE(FRAME.LENGTH)))),
                    salt,
                  ) >>> 0,
                  0,
                )
                storage.poke(path, at, frame)
              },
              true,
            )
          }
        }
        for (const field of [8, 12, 32, 36, 40, 44]) {
          having(
            `segment, ${value} at ${field}`,
            (storage) => {
              const header = Buffer.from(bytes.subarray(0, SEGMENT_HEADER_BYTES))
              header.writeUInt32LE(value, field)
              header.writeUInt32LE(crc32c(header.subarray(4)) >>> 0, 0)
              storage.poke(path, 0, header)
            },
            true,
          )
        }
      }
    }
  })

  it('or a header of another moment than the rest gives the state of some moment, or is refused', () => {
    const moments = [...fixture.moments, fixture]
    const read = (storage: MemoryStorage, slotNo: number): Buffer =>
      storage.bytes(DATA).subarray(slotNo * SLOT_BYTES, (slotNo + 1) * SLOT_BYTES)
    let opened = 0
    for (let mix = 0; mix < moments.length ** 4; mix += FULL ? 1 : 7) {
      for (const body of moments) {
        const storage = body.storage.copy()
        for (let slotNo = 0; slotNo < 4; slotNo++) {
          const from = moments[Math.floor(mix / moments.length ** slotNo) % moments.length]!
          storage.poke(DATA, slotNo * SLOT_BYTES, read(from.storage, slotNo))
        }
        // If a slot was written twice and the disk kept the older version, it cannot be told from the newer one.
        if (examineLoosely(storage).opened) opened++
      }
    }
    expect(opened).to.be.above(0)
    // The log is of another moment than the data file.
    for (const data of moments) {
      for (const log of moments) {
        const storage = log.storage.copy()
        storage.put(DATA, data.storage.bytes(DATA))
        const newer = moments.indexOf(data) > moments.indexOf(log)
        if (newer) examineLoosely(storage)
        else examine({ storage, model: log.model })
      }
    }
  })
})
