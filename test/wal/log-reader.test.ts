// Where the log ends, and whether that is a torn tail (normal) or rot (damage to what had been
// acknowledged), after every kind of accident to a small log of four segments.
import { copyFileSync, renameSync, statSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect } from 'chai'
import { posixStorage } from '../../src/storage/posix.js'
import { StorageError, type Storage } from '../../src/storage/storage.js'
import { FRAME, sealFrame } from '../../src/wal/frame.js'
import { bytesBetween, FIRST_LSN, type Lsn, lsnAfter, paddedBytes } from '../../src/wal/lsn.js'
import { LogReader } from '../../src/wal/log-reader.js'
import { encodeSegmentHeader, filePosition, SEGMENT_HEADER_BYTES, segmentName } from '../../src/wal/segment.js'
import { ALL, Writer, openLog, countingReads, recover, rot, sample, copyOf } from '../support/small-log.js'
import { cleanUp, flipByte, writeBytes } from '../support/engine.js'
import { FrameBuilder } from '../../src/wal/frame-builder.js'
import { classifyEnd } from '../../src/wal/log-end.js'

describe('the end of the log', () => {
  afterEach(cleanUp)

  it('is where the last frame ends, and every frame before it is read', () => {
    const writer = sample()
    expect(new Set(writer.frames.map((f) => f.segment)).size).to.equal(4)
    expect(recover(writer.directory)).to.deep.equal({
      lsns: writer.frames.map((f) => f.lsn),
      end: writer.tail,
      tornBytes: 0,
    })
    for (const { lsn } of writer.frames) expect(recover(writer.directory, lsn).lsns[0]).to.equal(lsn)
    expect(recover(writer.directory, writer.tail).lsns).to.deep.equal([])
  })

  it('is not read beyond the limit that a reader was given', () => {
    const writer = sample()
    const log = openLog(writer.directory)
    for (const { lsn } of writer.frames) {
      const reader = new LogReader(log, FIRST_LSN)
      let last = 0
      while (reader.next(lsn as Lsn)) last = reader.position
      expect(last === 0 ? FIRST_LSN : last).to.equal(lsn)
    }
    log.close()
  })

  it('is a torn tail when any byte of the last frame is damaged, and rot when one of another frame is', function () {
    this.timeout(60_000)
    const writer = sample()
    const last = writer.frames.at(-1)!
    const path = copyOf(writer)
    for (const frame of writer.frames) {
      const step = frame === last ? 1 : 7
      for (let i = 0; i < frame.length; i += step) {
        const at = filePosition(frame.segment as Lsn, frame.lsn as Lsn) + i
        const mask = i % 2 === 0 ? 0xff : 1 << (i & 7)
        flipByte(path(frame.segment), at, mask)
        if (frame === last) {
          const { lsns, end } = recover(join(path(8), '..'))
          expect(end, `byte ${i} of the last frame`).to.equal(last.lsn)
          expect(lsns.length).to.equal(writer.frames.length - 1)
        } else {
          rot(join(path(FIRST_LSN), '..'), frame.lsn)
        }
        flipByte(path(frame.segment), at, mask)
      }
    }
    expect(recover(join(path(8), '..')).end).to.equal(writer.tail)
  })

  it('does not move when the padding after a frame is damaged', () => {
    const writer = sample()
    for (const frame of writer.frames) {
      for (let i = frame.length; i < paddedBytes(frame.length); i++) {
        flipByte(writer.path(frame.segment), filePosition(frame.segment as Lsn, frame.lsn as Lsn) + i)
      }
    }
    expect(recover(writer.directory).end).to.equal(writer.tail)
  })

  it('is rot when a frame is overwritten with zeros and another one follows, and a torn tail when no frame follows', () => {
    const writer = sample()
    for (const frame of writer.frames) {
      const path = copyOf(writer)
      writeBytes(path(frame.segment), filePosition(frame.segment as Lsn, frame.lsn as Lsn), Buffer.alloc(frame.length))
      if (frame === writer.frames.at(-1)) expect(recover(join(path(8), '..')).end).to.equal(frame.lsn)
      else rot(join(path(FIRST_LSN), '..'), frame.lsn)
    }
  })

  it('is where the file ends when its last segment is cut, and rot when an earlier one is', () => {
    const writer = sample()
    for (const frame of writer.frames) {
      for (const cut of [0, 1, 17, frame.length - 1]) {
        const path = copyOf(writer)
        truncateSync(path(frame.segment), filePosition(frame.segment as Lsn, frame.lsn as Lsn) + cut)
        if (frame.segment === writer.segment.startLsn) expect(recover(join(path(8), '..')).end).to.equal(frame.lsn)
        else rot(join(path(FIRST_LSN), '..'), frame.lsn)
      }
    }
  })

  it('is a torn tail when later frames are whole but none of them proves that the bad one had been on disk', () => {
    for (const damaged of [3, 4, 5]) {
      const writer = new Writer()
      for (let i = 0; i < 3; i++) writer.append(10)
      const group = writer.tail
      // Three writers appended and waited for one flush, which never came.
      for (let i = 0; i < 3; i++) writer.append(10, { watermark: group })
      writer.close()
      const frame = writer.frames[damaged]!
      flipByte(writer.path(), filePosition(FIRST_LSN, frame.lsn as Lsn) + 45)
      const found = recover(writer.directory)
      expect(found.end).to.equal(frame.lsn)
      expect(found.lsns.length).to.equal(damaged)
      expect(found.tornBytes).to.be.within(1, bytesBetween(frame.lsn, writer.tail))
    }
  })

  it('is rot when one frame of a group is bad and a frame after the group knows that it was flushed', () => {
    const writer = new Writer()
    const group = writer.tail
    for (let i = 0; i < 3; i++) writer.append(20, { watermark: group })
    writer.append(20)
    writer.close()
    for (const frame of writer.frames.slice(0, 3)) {
      const at = filePosition(FIRST_LSN, frame.lsn as Lsn) + 50
      flipByte(writer.path(), at)
      rot(writer.directory, frame.lsn)
      flipByte(writer.path(), at)
    }
  })

  it('is rot when a frame follows that proves it, wherever that begins', () => {
    const chunk = 64 * 1024
    for (let lengthBytes = chunk - 32; lengthBytes <= chunk + 32; lengthBytes += 8) {
      const writer = new Writer(4 * chunk)
      const over = writer.append(0).length
      const bad = writer.append(lengthBytes - over)
      expect(bad.length).to.be.within(lengthBytes - 8, lengthBytes + 8)
      writer.append(5)
      writer.close()
      flipByte(writer.path(), filePosition(FIRST_LSN, bad.lsn as Lsn) + 40)
      rot(writer.directory, bad.lsn)
    }
  })

  it('is rot when a segment is missing that a later one follows, or that the reading begins in', () => {
    const writer = sample()
    const starts = [...new Set(writer.frames.map((f) => f.segment))]
    for (const gone of starts.slice(0, 2)) {
      const path = copyOf(writer)
      unlinkSync(path(gone))
      rot(join(path(FIRST_LSN), '..'), gone)
    }
    const path = copyOf(writer)
    for (const gone of starts) unlinkSync(path(gone))
    rot(join(path(FIRST_LSN), '..'), FIRST_LSN)
  })

  it("is rot when any byte of a segment's header is damaged and frames depend on it", () => {
    const writer = sample()
    const starts = [...new Set(writer.frames.map((f) => f.segment))]
    for (const start of starts) {
      for (let at = 0; at < SEGMENT_HEADER_BYTES; at++) {
        flipByte(writer.path(start), at)
        rot(writer.directory, start)
        flipByte(writer.path(start), at)
      }
    }
  })

  it("is rot when segments have each other's names", () => {
    const writer = sample()
    const [first, second, third] = [...new Set(writer.frames.map((f) => f.segment))]
    const path = copyOf(writer)
    renameSync(path(second!), path(99))
    renameSync(path(third!), path(second!))
    renameSync(path(99), path(third!))
    rot(join(path(first!), '..'), second!)
  })

  it('is rot when the beginning of the newest segment is gone, header and first frames, and later frames are there', () => {
    const writer = sample()
    const start = writer.segment.startLsn
    const frames = writer.frames.filter(({ segment }) => segment === start)
    const last = frames.at(-1)!
    const lastAt = filePosition(start, last.lsn as Lsn)
    expect(frames.length).to.be.at.least(2)
    for (let lengthBytes = 4; lengthBytes <= lastAt; lengthBytes += 4) {
      for (const byte of [0, 0xff]) {
        const path = copyOf(writer)
        writeBytes(path(start), 0, Buffer.alloc(lengthBytes, byte))
        rot(dirname(path(start)), start)
        rot(dirname(path(start)), start, start)
      }
    }
    // Damage to the header, and the only frame has another length, or not all of it is left.
    const first = filePosition(start, start)
    for (const lengthBytes of [0, 39, 2 ** 31]) {
      const path = copyOf(writer)
      const word = Buffer.alloc(4)
      word.writeUInt32LE(lengthBytes)
      flipByte(path(start), 20)
      writeBytes(path(start), first + FRAME.LENGTH, word)
      truncateSync(path(start), lastAt)
      rot(dirname(path(start)), start)
    }
    for (let bytes = lastAt + FRAME.HEADER_BYTES; bytes <= lastAt + last.length; bytes++) {
      const path = copyOf(writer)
      writeBytes(path(start), 0, Buffer.alloc(lastAt))
      truncateSync(path(start), bytes)
      rot(dirname(path(start)), start)
    }
    // Without any frame it looks like one that was started and not finished.
    const path = copyOf(writer)
    writeBytes(path(start), 0, Buffer.alloc(lastAt + last.length))
    expect(recover(dirname(path(start))).end).to.equal(start)
  })

  it('is found in about the time that a pass takes, whatever the bytes of a torn frame look like', () => {
    const lengthBytes = 256 * 1024
    const writer = new Writer(2 * lengthBytes)
    const frame = writer.append(lengthBytes)
    writer.close()
    // Its value holds what may be frames of any length, all of them with a watermark that would prove something.
    const bytes = Buffer.alloc(lengthBytes)
    const at = filePosition(FIRST_LSN, frame.lsn as Lsn) + 64
    for (let i = 0; i + 24 <= lengthBytes; i += 24) {
      const lsn = frame.lsn + (64 + i) / 8
      bytes.writeUInt32LE(lengthBytes - i - 64 > 40 ? lengthBytes - i - 64 : 40, i + 4)
      bytes.writeUIntLE(lsn, i + 8, 6)
      bytes.writeUIntLE(lsn, i + 16, 6)
    }
    writeBytes(writer.path(), at, bytes)
    const reads = countingReads()
    const log = openLog(writer.directory, 2 * lengthBytes, reads.storage)
    const { lsn, tornBytes } = classifyEnd(log, frame.lsn as Lsn, log.segment(FIRST_LSN))
    expect({ lsn, tornBytes }).to.deep.equal({ lsn: frame.lsn, tornBytes: paddedBytes(frame.length) })
    // Two blocks and a header for each of them, and not all that each of them claims to have.
    expect(reads.readBytes()).to.be.lessThan((lengthBytes / 24) * 4096)
    log.close()
  })

  it('is not moved by a segment that was started and not finished', () => {
    for (const bytes of [Buffer.alloc(0), Buffer.alloc(512), Buffer.alloc(40, 7)]) {
      const writer = sample()
      const path = writer.path(writer.tail)
      copyFileSync(writer.path(FIRST_LSN), path)
      truncateSync(path, 0)
      writeBytes(path, 0, bytes)
      expect(recover(writer.directory).end).to.equal(writer.tail)
      // It is made again by the next who needs it.
      const log = openLog(writer.directory)
      log.createSegment(writer.tail as Lsn, 0)
      log.close()
      expect(recover(writer.directory)).to.include({ end: writer.tail, tornBytes: 0 })
    }
  })

  it('is not moved by a file that is too short for a header, which this user may not open', () => {
    const writer = sample()
    const path = writer.path(writer.tail)
    writeFileSync(path, Buffer.alloc(SEGMENT_HEADER_BYTES))
    const openFile: Storage['openFile'] = (opened, access, like) => {
      if (opened === path && statSync(path).size < SEGMENT_HEADER_BYTES) throw new StorageError('open', 'EACCES', path)
      return posixStorage.openFile(opened, access, like)
    }
    const storage = Object.assign(Object.create(posixStorage) as Storage, { openFile })
    for (const sizeBytes of [SEGMENT_HEADER_BYTES, SEGMENT_HEADER_BYTES - 1, 0]) {
      truncateSync(path, sizeBytes)
      expect(recover(writer.directory, FIRST_LSN, storage).end).to.equal(writer.tail)
    }
  })

  it('is not moved by a segment that still has the header of its former life', () => {
    const writer = sample()
    copyFileSync(writer.path(FIRST_LSN), writer.path(writer.tail))
    expect(recover(writer.directory).end).to.equal(writer.tail)
  })

  it('is rot when a segment exists that can only follow what is missing', () => {
    const writer = sample()
    const start = writer.tail + 20
    writeBytesNew(
      writer.path(start),
      encodeSegmentHeader({ ...writer.segment.header, startLsn: start as Lsn, limitLsn: (start + 56) as Lsn }),
    )
    rot(writer.directory, writer.tail)
  })

  it('is not moved by what a recycled segment still holds', () => {
    const writer = new Writer()
    while (writer.frames.at(-1)?.segment !== writer.segment.startLsn || writer.log.starts().length < 3)
      writer.append(50)
    const kept = writer.segment.startLsn
    expect(writer.log.releaseBefore(writer.tail as Lsn, writer.segment.startLsn)).to.equal(2)
    expect(posixStorage.list(writer.directory).filter((name) => name.startsWith('spare-')).length).to.equal(2)
    // Both spares are used again; old frames lie at the same places as the new ones will.
    for (let i = 0; i < 2; i++) {
      writer.switchSegment()
      expect(recover(writer.directory, kept), 'with an empty recycled segment').to.deep.include({
        end: writer.tail,
        tornBytes: 0,
      })
      writer.append(50)
      expect(recover(writer.directory, kept)).to.deep.include({ end: writer.tail, tornBytes: 0 })
    }
    expect(posixStorage.list(writer.directory).filter((name) => name.startsWith('spare-')).length).to.equal(0)
    writer.close()
  })

  it("does not lead over a dead appender's frame that a new segment has cut off", () => {
    for (const withFrame of [false, true]) {
      const writer = new Writer()
      writer.append(20)
      const dead = writer.append(100, { counted: false })
      expect(recover(writer.directory).lsns, 'before the switch it is as good as any').to.include(dead.lsn)
      writer.switchSegment()
      if (withFrame) writer.append(30)
      writer.close()
      const found = recover(writer.directory)
      expect(found).to.deep.equal({ lsns: writer.frames.map((f) => f.lsn), end: writer.tail, tornBytes: 0 })
    }
  })

  it('is found again by a reader that waits for it, across segments that appear meanwhile', () => {
    const writer = new Writer()
    const log = openLog(writer.directory)
    const reader = new LogReader(log, FIRST_LSN)
    for (let i = 0; i < 40; i++) {
      const frame = writer.append(50 + i)
      reader.seek(reader.position, writer.segment.startLsn)
      expect(reader.next(writer.tail as Lsn), `frame ${i}`).to.equal(true)
      expect(reader.lsn).to.equal(frame.lsn)
      expect(reader.next(writer.tail as Lsn)).to.equal(false)
    }
    log.close()
    writer.close()
  })

  it('is found again by a reader that asked too early, wherever the log goes on', () => {
    const writer = new Writer()
    const log = openLog(writer.directory)
    const reader = new LogReader(log, FIRST_LSN)
    for (let i = 0; i < 40; i++) {
      if (i % 3 > 0) expect(reader.next(ALL), `before frame ${i}`).to.equal(false)
      const frame = writer.append((i * 37) % 150)
      expect(reader.next(ALL), `frame ${i}`).to.equal(true)
      expect(reader.lsn).to.equal(frame.lsn)
    }
    log.close()
    writer.close()
  })

  it('is read once if nothing is there', () => {
    const writer = new Writer().close()
    const reads = countingReads()
    const log = openLog(writer.directory, 512, reads.storage)
    const reader = new LogReader(log, FIRST_LSN)
    expect(reader.next(ALL)).to.equal(false)
    // The header is read again: it would tell that the segment was restarted.
    expect(reads.readBytes()).to.be.within(512, 512 + SEGMENT_HEADER_BYTES)
    log.close()
  })

  it('is found by two readers of one log, one far ahead of the other, over more segments than stay open', () => {
    // Longer than what a reader reads at a time.
    const writer = new Writer(1_500_000)
    while (writer.log.starts().length < 12) writer.append(200_000)
    writer.close()
    const log = openLog(writer.directory)
    const [first, second] = [new LogReader(log, FIRST_LSN), new LogReader(log, FIRST_LSN)]
    const seen: number[] = []
    for (let i = 0; i < writer.frames.length; i += 10) {
      for (let k = 0; k < 11 && first.next(ALL); k++);
      while (second.next(first.position)) seen.push(second.lsn)
    }
    expect(seen).to.deep.equal(writer.frames.map((f) => f.lsn))
    expect(classifyEnd(log, first.position, first.segment).lsn).to.equal(writer.tail)
    log.close()
  })

  it('is found after frames that are longer than a segment', () => {
    const writer = new Writer()
    for (const bytes of [10, 2000, 10, 100_000, 3_000_000, 10]) writer.append(bytes)
    writer.close()
    expect(recover(writer.directory)).to.deep.equal({
      lsns: writer.frames.map((f) => f.lsn),
      end: writer.tail,
      tornBytes: 0,
    })
    const big = writer.frames[4]!
    flipByte(writer.path(big.segment), filePosition(big.segment as Lsn, big.lsn as Lsn) + 2_500_000)
    rot(writer.directory, big.lsn)
  })
})

describe('segments', () => {
  afterEach(cleanUp)

  it('are dropped once a checkpoint has passed them, and never one that is still needed', () => {
    const writer = new Writer()
    while (writer.log.starts().length < 8) writer.append(100)
    const starts = writer.log.starts()
    expect(writer.log.releaseBefore((starts[3]! - 1) as Lsn, writer.segment.startLsn)).to.equal(2)
    expect(writer.log.starts()).to.deep.equal(starts.slice(2))
    writer.log.releaseBefore(writer.tail as Lsn, writer.segment.startLsn)
    expect(writer.log.starts()).to.deep.equal([writer.segment.startLsn])
    const left = posixStorage.list(writer.directory)
    expect(left.length, 'the last one and two spares').to.equal(3)
    writer.close()
  })

  it('are not dropped because of one that was started after the middle of them and given up', () => {
    const writer = new Writer()
    writer.append(60)
    // Left unfinished by a crash; after recovery the segment before it is written on.
    const unfinished = writer.tail
    writeBytesNew(writer.path(unfinished), Buffer.alloc(512))
    writer.append(60)
    const checkpoint = writer.tail
    while (writer.segment.startLsn === FIRST_LSN) writer.append(60)
    writer.log.releaseBefore(checkpoint as Lsn, writer.segment.startLsn)
    writer.close()
    const needed = writer.frames.map((f) => f.lsn).filter((lsn) => lsn >= checkpoint)
    expect(recover(writer.directory, checkpoint)).to.deep.equal({ lsns: needed, end: writer.tail, tornBytes: 0 })
  })

  it('are not dropped while the append state names them, even if the next one is there', () => {
    const writer = new Writer()
    writer.append(60)
    writer.switchSegment()
    writer.log.releaseBefore(writer.tail as Lsn, FIRST_LSN)
    expect(writer.log.starts()).to.deep.equal([FIRST_LSN, writer.tail])
    writer.close()
  })

  it('are cut down to one header by a clean close, and take appends again afterwards', () => {
    const writer = new Writer()
    for (let i = 0; i < 20; i++) writer.append(100)
    writer.log.restartAt(writer.tail as Lsn, FIRST_LSN)
    writer.close()
    expect(posixStorage.list(writer.directory)).to.deep.equal([segmentName(writer.tail as Lsn)])
    expect(statSync(writer.path(writer.tail)).size).to.be.at.most(4096)
    expect(recover(writer.directory, writer.tail)).to.deep.equal({ lsns: [], end: writer.tail, tornBytes: 0 })
  })
})

function writeBytesNew(path: string, bytes: Buffer): void {
  const file = posixStorage.openFile(path, 'create')
  file.write(bytes, 0, bytes.length, 0)
  file.close()
}

describe('a frame that its own thread has appended', () => {
  afterEach(cleanUp)

  /**
   * A reader that has read the first of two frames, and the second one with another value than it has in the file.
   */
  function betweenTwo(): { reader: LogReader; other: Buffer; second: Lsn; end: Lsn } {
    const writer = new Writer()
    writer.append(8)
    const written = writer.append(8)
    const reader = new LogReader(writer.log, FIRST_LSN)
    expect(reader.next(ALL)).to.equal(true)
    const builder = new FrameBuilder()
    builder.put(Buffer.from('key 1'), 5, Buffer.alloc(8, 99))
    const other = builder.take()
    sealFrame(other, written.lsn as Lsn, written.lsn as Lsn, 0, writer.segment.header.salt)
    return { reader, other, second: written.lsn as Lsn, end: lsnAfter(written.lsn, written.length) }
  }
  const valueIn = (reader: LogReader): number => reader.bytes[reader.at + reader.lengthBytes - 1]!

  it('is not read from the file if it is the next one', () => {
    const { reader, other, second, end } = betweenTwo()
    reader.offer(second, other)
    expect(reader.next(ALL)).to.equal(true)
    expect(valueIn(reader)).to.equal(99)
    expect(reader.position).to.equal(end)
    expect(reader.next(ALL)).to.equal(false)
  })

  it('is read from the file if it is not, or the reader begins again', () => {
    const { reader, other, second, end } = betweenTwo()
    reader.offer(end, other)
    expect(reader.next(ALL)).to.equal(true)
    expect(valueIn(reader)).to.equal(2)
    reader.restart(second)
    reader.offer(second, other)
    reader.restart(second)
    expect(reader.next(ALL)).to.equal(true)
    expect(valueIn(reader)).to.equal(2)
  })

  for (const where of ['the same segment', 'a newer segment']) {
    it(`is followed by one in ${where}`, () => {
      const writer = new Writer()
      writer.append(8)
      const log = openLog(writer.directory)
      const reader = new LogReader(log, FIRST_LSN)
      expect(reader.next(ALL)).to.equal(true)
      const own = writer.append(8)
      const bytes = Buffer.alloc(own.length)
      writer.segment.file.read(bytes, 0, own.length, filePosition(writer.segment.startLsn, own.lsn as Lsn))
      reader.offer(own.lsn as Lsn, bytes)
      expect(reader.next(ALL)).to.equal(true)
      if (where === 'a newer segment') writer.switchSegment()
      const next = writer.append(8)
      expect(reader.next(ALL)).to.equal(true)
      expect(reader.lsn).to.equal(next.lsn)
      log.close()
      writer.close()
    })
  }
})
