// Reading the log while others change it under the reader: what an older segment still holds, segments that are
// recycled between two steps, outcomes that lie beyond what is visible.
import { mkdirSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'chai'
import { LsnGoneError } from '../../src/errors.js'
import { posixStorage } from '../../src/storage/posix.js'
import type { Storage } from '../../src/storage/storage.js'
import { ChangeReader, placeAfter, placeAt, type FollowedFrame, type LogPlace } from '../../src/wal/change-reader.js'
import { FrameBuilder } from '../../src/wal/frame-builder.js'
import { sealFrame } from '../../src/wal/frame.js'
import { Log, type OpenSegment } from '../../src/wal/log.js'
import { FIRST_LSN, lsnAfter, type Lsn } from '../../src/wal/lsn.js'
import { operationsOf } from '../../src/wal/operation.js'
import { outcomeFrames } from '../../src/wal/outcomes.js'
import { segmentName } from '../../src/wal/segment.js'
import { cleanUp, expectError, scratchDirectory } from '../support/engine.js'

const UUID = Buffer.from('fedcba9876543210')

/** A log that is written frame by frame. */
class Writer {
  readonly directory = join(scratchDirectory(), 'wal')
  readonly log: Log
  tail: Lsn = FIRST_LSN
  changedLsn = 0
  segment: OpenSegment

  constructor() {
    mkdirSync(this.directory)
    this.log = this.openLog(posixStorage, false)
    this.segment = this.log.createSegment(FIRST_LSN, 0)
  }

  openLog(storage: Storage, readOnly = true): Log {
    return new Log({ storage, directory: this.directory, uuid: UUID, segmentBytes: 512, readOnly })
  }

  reader(storage: Storage = posixStorage): ChangeReader {
    return new ChangeReader(this.openLog(storage), () => this.changedLsn)
  }

  put(key: string): Lsn {
    const builder = new FrameBuilder()
    builder.put(Buffer.from(key), key.length, Buffer.from('value'))
    return this.#append(builder.take())
  }
  del(key: string): Lsn {
    const builder = new FrameBuilder()
    builder.del(Buffer.from(key), key.length)
    return this.#append(builder.take())
  }
  outcome(lsn: number): void {
    const changed = this.changedLsn
    this.#append(outcomeFrames(new Map([[lsn, Buffer.from([1, 1])]]))[0]!)
    this.changedLsn = changed
  }

  #append(frame: Buffer): Lsn {
    const lsn = this.tail
    sealFrame(frame, lsn, lsn, 5, this.segment.header.salt)
    this.log.write(this.segment, frame, lsn)
    this.tail = lsnAfter(lsn, frame.length)
    return (this.changedLsn = lsn) as Lsn
  }

  /** Begins a segment at the tail, or where the tail was before somebody died. */
  switchSegment(at = this.tail): void {
    this.tail = at
    this.segment = this.log.createSegment(at, 0, this.changedLsn)
  }
}

const all = (): boolean => false
const read = (reader: ChangeReader, place: LogPlace, visible: Lsn, tail = visible): FollowedFrame[] =>
  reader.read(place, { visible, tail, isEnough: all })
const keysOf = (frames: readonly FollowedFrame[]): string[] =>
  frames.map(({ bytes }) => {
    const operation = operationsOf(bytes)
    operation.next()
    return operation.key.toString()
  })

describe('a reader that follows the log', () => {
  const logs: Log[] = []
  const made = (): [Writer, ChangeReader] => {
    const writer = new Writer()
    logs.push(writer.log)
    return [writer, writer.reader()]
  }
  afterEach(() => {
    for (const log of logs.splice(0)) log.close()
    cleanUp()
  })

  it('does not take what a dead appender left in the segment before for part of the log', () => {
    const [writer, reader] = made()
    const place = placeAfter(0)
    writer.put('a')
    writer.put('b')
    const { tail, changedLsn } = writer
    expect(keysOf(read(reader, place, tail))).to.deep.equal(['a', 'b'])
    // A whole frame, by an appender who died before it counted. The next one did not fit there any more.
    writer.put('x')
    writer.changedLsn = changedLsn
    writer.switchSegment(tail)
    writer.put('c')
    expect(keysOf(read(reader, place, writer.tail))).to.deep.equal(['c'])
  })

  it('passes a frame on with its outcome, also where that lies beyond what is visible, and not without', () => {
    const [writer, reader] = made()
    const del = writer.del('a')
    const visible = writer.tail
    writer.put('b')
    writer.switchSegment()
    writer.outcome(del)
    const place = placeAfter(0)
    expectError(() => read(reader, placeAfter(0), visible), 'ERR_MMAPDB_CORRUPT', /outcome, is missing/)
    const [frame] = read(reader, place, visible, writer.tail)
    expect(frame?.outcome).to.deep.equal(Buffer.from([1, 1]))
    expect(keysOf(read(reader, place, writer.tail))).to.deep.equal(['b'])
    expect(place.outcomes.size).to.equal(0)
  })

  it('stops when it has enough, and goes on where it stopped', () => {
    const [writer, reader] = made()
    const keys = Array.from('abcdefghij', (key) => key)
    const lsns = keys.map((key) => {
      if (key === 'd' || key === 'h') writer.switchSegment()
      return writer.put(key)
    })
    const place = placeAfter(lsns[0]!)
    const got: string[] = []
    for (let i = 0; i < 9; i++) {
      const frames = reader.read(place, { visible: writer.tail, tail: writer.tail, isEnough: () => true })
      expect(frames).to.have.lengthOf(1)
      got.push(...keysOf(frames))
    }
    expect(got).to.deep.equal(keys.slice(1))
    expect(keysOf(read(reader, placeAt(lsns[5]!), writer.tail))).to.deep.equal(keys.slice(5))
    // Where no frame begins: the next one counts.
    expect(keysOf(read(reader, placeAfter(lsns[5]! + 1), writer.tail))).to.deep.equal(keys.slice(6))
  })

  it('says what is gone when a segment is recycled at any step of it, and else reads on', () => {
    // At the n-th call into the storage, the first segments are recycled, or the last one is moved to the tail.
    for (const how of ['recycled', 'moved'] as const) {
      let wasGone = 0
      let wasRead = 0
      for (let step = 1; step < 40; step++) {
        const [writer] = made()
        const first = writer.put('a')
        writer.switchSegment()
        writer.put('b')
        if (how === 'recycled') writer.switchSegment()
        writer.put('c')
        const { tail } = writer
        let calls = 0
        const act = (): void => {
          if (++calls !== step) return
          if (how === 'recycled') writer.log.releaseBefore(tail, writer.segment.startLsn)
          else {
            writer.log.releaseBefore(tail, writer.segment.startLsn)
            writer.log.moveSegment(writer.segment.startLsn, tail, writer.changedLsn)
          }
        }
        const storage = stepping(act)
        const reader = writer.reader(storage)
        const place = placeAfter(0)
        let keys: string[] = []
        try {
          for (let i = 0; i < 3 && keys.length < 3; i++) keys = [...keys, ...keysOf(read(reader, place, tail))]
          wasRead++
          expect(keys, `step ${step}`).to.deep.equal(['a', 'b', 'c'])
        } catch (error) {
          if (!(error instanceof LsnGoneError)) throw error
          wasGone++
          expect(['a', 'b', 'c'].slice(0, keys.length), `step ${step}`).to.deep.equal(keys)
          expect(error.oldestLsn, `step ${step}`).to.be.at.least(first)
        }
        for (const log of logs.splice(0)) log.close()
      }
      expect([wasGone > 0, wasRead > 0], how).to.deep.equal([true, true])
    }
  })

  it('goes on where nothing is missing, while the only segment is being moved by one that may have died', () => {
    const [writer, reader] = made()
    const first = writer.put('a')
    const last = writer.del('a')
    writer.outcome(last)
    const inFull = placeAfter(0)
    expect(read(reader, inFull, writer.tail)).to.have.length(2)
    renameSync(join(writer.directory, segmentName(FIRST_LSN)), join(writer.directory, segmentName(writer.tail)))
    const places = [inFull, placeAfter(last)]
    for (const place of places) expect(read(reader, place, writer.tail)).to.deep.equal([])
    expect(() => read(reader, placeAfter(first), writer.tail))
      .to.throw(LsnGoneError)
      .with.property('oldestLsn', last)
    writer.switchSegment()
    writer.put('b')
    for (const place of places) expect(keysOf(read(reader, place, writer.tail))).to.deep.equal(['b'])
  })

  it('takes a missing segment in the middle of the log for damage', () => {
    const [writer, reader] = made()
    writer.put('a')
    writer.switchSegment()
    const { startLsn } = writer.segment
    writer.put('b')
    writer.switchSegment()
    writer.put('c')
    renameSync(join(writer.directory, segmentName(startLsn)), join(writer.directory, 'elsewhere'))
    const place = placeAfter(0)
    expect(keysOf(read(reader, place, writer.tail))).to.deep.equal(['a'])
    expectError(() => read(reader, place, writer.tail), 'ERR_MMAPDB_CORRUPT', new RegExp(`LSN ${startLsn}`))
  })
})

/** Calls `act` before each call that reads a file or looks for one. */
function stepping(act: () => void): Storage {
  return new Proxy(posixStorage, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name)
      if (typeof value !== 'function') return value
      const method = value as (...all: unknown[]) => unknown
      return (...all: unknown[]) => {
        act()
        const result = method.apply(target, all)
        if (name !== 'openFile') return result
        const file = result as { read: (...all: unknown[]) => unknown }
        const inner = file.read.bind(file)
        file.read = (...each) => {
          act()
          return inner(...each)
        }
        return file
      }
    },
  })
}
