// Salvage: all entries outside damaged parts come out, the list of losses covers the missing ones, and nothing
// comes out that was never there.
import { expect } from 'chai'
import { decodeKey, encodeKey, KEY_BUFFER_BYTES, type Key } from '../../src/encoding/keys.js'
import type { OperationWriter } from '../../src/engine/commit/operation-writer.js'
import { resolveOptions } from '../../src/engine/options.js'
import { salvage, type SalvageReport } from '../../src/maintenance/salvage.js'
import { FRAME, readLsn } from '../../src/wal/frame.js'
import { lsnAfter, paddedBytes } from '../../src/wal/lsn.js'
import { FrameBuilder, UNCONDITIONAL } from '../../src/wal/frame-builder.js'
import { OP_FLAG, operationsOf as operationsIn } from '../../src/wal/operation.js'
import { isOutcomeFrame } from '../../src/wal/outcomes.js'
import { SEGMENT_HEADER_BYTES, segmentStart } from '../../src/wal/segment.js'
import {
  DATA,
  DB,
  FULL,
  makeFixture,
  MemoryStorage,
  openIn,
  randomFrom,
  segmentsIn,
  slotCount,
  SLOT_BYTES,
  TINY,
  type Fixture,
} from '../support/hostile.js'

const buffer = Buffer.alloc(KEY_BUFFER_BYTES)
const bytesOf = (key: Key): Buffer => Buffer.from(buffer.subarray(0, encodeKey(key, buffer)))

describe('salvage', function () {
  this.timeout(FULL ? 3_600_000 : 60_000)
  let fixture: Fixture
  let files: Map<string, Buffer>
  /** Encoded keys and values of the model, and for each key every value that the log ever gave it. */
  let entries: [string, Buffer][]
  let everWritten: Map<string, Set<string>>
  let inLog: Map<string, { lsn: number; segment: string }[]>
  before(() => {
    fixture = makeFixture()
    files = fixture.storage.files()
    entries = [...fixture.model].map(([key, value]) => [bytesOf(key).toString('latin1'), value])
    inLog = operationsOf(fixture.storage)
    everWritten = new Map()
    for (const moment of [...fixture.moments, fixture]) {
      for (const [key, value] of moment.model) {
        const name = bytesOf(key).toString('latin1')
        everWritten.set(name, (everWritten.get(name) ?? new Set()).add(value.toString('latin1')))
      }
    }
  })
  const random = randomFrom(5)

  function salvaged(storage: MemoryStorage): { report: SalvageReport; found: Map<string, Buffer> } {
    const copy = storage.copy()
    const report = salvage(resolveOptions(DB, TINY), resolveOptions('/out', TINY), copy)
    for (const [path, bytes] of storage.files())
      expect(copy.bytes(path).equals(bytes), `${path} unchanged`).to.equal(true)
    const out = new MemoryStorage()
    for (const [path, bytes] of copy.files())
      if (path.startsWith('/out/')) out.put(path.replace('/out/', '/db/'), bytes)
    out.makeDirectory('/db')
    out.makeDirectory('/db/wal')
    const engine = openIn(out)
    try {
      const found = new Map<string, Buffer>()
      for (const [key, value] of engine.range(undefined, 'entries') as Iterable<[Key, Buffer]>)
        found.set(bytesOf(key).toString('latin1'), value)
      return { report, found }
    } finally {
      engine.close()
    }
  }

  /** As a power cut does that comes before a frame of outcomes has been flushed. */
  function eraseLastOutcomes(storage: MemoryStorage, segment: string): void {
    const bytes = storage.bytes(segment)
    let last = 0
    for (let at = SEGMENT_HEADER_BYTES, lsn = startOf(segment); ;) {
      if (at + FRAME.HEADER_BYTES >= bytes.length || readLsn(bytes, at + FRAME.LSN) !== lsn) break
      const length = bytes.readUInt32LE(at + FRAME.LENGTH)
      if (isOutcomeFrame(bytes, at)) last = at
      at += paddedBytes(length)
      lsn = lsnAfter(lsn, length)
    }
    if (last > 0) storage.poke(segment, last, Buffer.alloc(FRAME.HEADER_BYTES))
  }

  /** Positions of the operations on each key in the log that is to be replayed. */
  function operationsOf(storage: MemoryStorage): Map<string, { lsn: number; segment: string }[]> {
    const all = new Map<string, { lsn: number; segment: string }[]>()
    for (const segment of segmentsIn(storage)) {
      const bytes = storage.bytes(segment)
      let lsn = startOf(segment)
      for (
        let at = SEGMENT_HEADER_BYTES;
        at + FRAME.HEADER_BYTES < bytes.length && readLsn(bytes, at + FRAME.LSN) === lsn;
      ) {
        const length = bytes.readUInt32LE(at + FRAME.LENGTH)
        if (!isOutcomeFrame(bytes, at)) {
          for (const operation = operationsIn(bytes, at, length); operation.next();) {
            const name = operation.key.toString('latin1')
            all.set(name, [...(all.get(name) ?? []), { lsn, segment }])
          }
        }
        at += paddedBytes(length)
        lsn = lsnAfter(lsn, length)
      }
    }
    return all
  }

  /**
   * Compares the salvaged entries with the model and the list of losses. From LSN `tail` on, no later frame is left
   * to prove that there was one: a log that ends there looks the same.
   */
  function judge(
    what: string,
    { report, found }: { report: SalvageReport; found: Map<string, Buffer> },
    tail: number,
  ): void {
    const inTail = (name: string): boolean => (inLog.get(name) ?? []).some(({ lsn }) => lsn >= tail)
    const lostByLog = (name: string): boolean =>
      (inLog.get(name) ?? []).some(({ lsn }) =>
        report.logGaps.some(({ fromLsn, toLsn }) => lsn >= fromLsn && (toLsn === undefined || lsn < toLsn)),
      )
    const lostByTree = (name: string): boolean => {
      const key = Buffer.from(name, 'latin1')
      return (
        report.lostValues.some((lost) => key.equals(lost)) ||
        report.lostRanges.some(
          ({ from, to }) => (from === undefined || key.compare(from) >= 0) && (to === undefined || key.compare(to) < 0),
        )
      )
    }
    for (const [name, value] of entries) {
      const it = found.get(name)
      if (it?.equals(value) === true || inTail(name)) continue
      const key = String(decodeKey(Buffer.from(name, 'latin1'), 0, name.length)).slice(0, 12)
      expect(report.complete, `${what}: ${key} is missing, and nothing is said to be`).to.equal(false)
      expect(lostByLog(name) || lostByTree(name), `${what}: ${key} is missing, and not among the losses`).to.equal(true)
      if (it !== undefined)
        expect(
          everWritten.get(name)?.has(it.toString('latin1')),
          `${what}: the value of ${key} was never written`,
        ).to.equal(true)
    }
    const names = new Set(entries.map(([name]) => name))
    for (const [name, value] of found) {
      if (names.has(name) || inTail(name)) continue
      expect(lostByLog(name) || report.mayBeStale, `${what}: a deleted key is back`).to.equal(true)
      expect(everWritten.get(name)?.has(value.toString('latin1')), `${what}: a value that was never written`).to.equal(
        true,
      )
    }
  }

  function having(what: string, damage: (storage: MemoryStorage) => void, tail = lastFrame()): SalvageReport {
    const storage = fixture.storage.copy()
    damage(storage)
    const outcome = salvaged(storage)
    judge(what, outcome, tail)
    return outcome.report
  }

  const lastFrame = (): number => Math.max(...[...inLog.values()].flat().map(({ lsn }) => lsn))
  const startOf = (path: string): number => segmentStart(path.slice(path.lastIndexOf('/') + 1))!

  it('of a sound database brings out all of it and lists no loss', () => {
    const report = having('nothing', () => undefined)
    expect(report).to.deep.include({ complete: true, lostRanges: [], lostValues: [], logGaps: [], mayBeStale: false })
  })

  it('loses what one damaged slot held and no more, whichever it is', () => {
    for (let slotNo = 0; slotNo < slotCount(fixture.storage); slotNo++) {
      for (const bytes of [Buffer.alloc(SLOT_BYTES), Buffer.from([random() * 256])]) {
        having(`slot ${slotNo}`, (storage) =>
          storage.poke(DATA, slotNo * SLOT_BYTES + (bytes.length === 1 ? Math.floor(random() * SLOT_BYTES) : 0), bytes),
        )
        if (!FULL) break
      }
    }
  })

  it('loses of the log what one damaged place held and no more, wherever it is', () => {
    for (const path of segmentsIn(fixture.storage)) {
      const { length } = files.get(path)!
      for (let at = SEGMENT_HEADER_BYTES; at < length; at += FULL ? 1 : 401) {
        having(`byte ${at} of ${path}`, (storage) => storage.poke(path, at, Buffer.of(files.get(path)![at]! ^ 0x40)))
      }
    }
  })

  it('loses one segment that is missing, empty, cut short or of another database, and no other', () => {
    const other = makeFixture().storage
    const paths = segmentsIn(fixture.storage)
    for (const path of paths) {
      const tail = path === paths.at(-1) ? startOf(path) : lastFrame()
      having(`${path} missing`, (storage) => storage.unlink(path), tail)
      having(`${path} empty`, (storage) => storage.put(path, Buffer.alloc(0)), tail)
      having(
        `${path} cut short`,
        (storage) => storage.openFile(path, 'write').truncate(Math.floor(random() * 4096)),
        tail,
      )
      having(
        `${path} of another`,
        (storage) => {
          const bytes = Buffer.from(other.bytes(segmentsIn(other)[0]!))
          bytes[20]! ^= 1
          storage.put(path, bytes)
        },
        tail,
      )
    }
    having('all of the log', (storage) => segmentsIn(storage).forEach((path) => storage.unlink(path)))
  })

  it('brings out what nothing had to be decided about, if the log does not say what was', () => {
    const value = Buffer.from('value')
    const ifAbsent = { flags: OP_FLAG.IF_ABSENT, version: 0 }
    type Write = (frame: FrameBuilder, operations: OperationWriter) => void
    const losingOutcomes = (...writes: Write[]): ReturnType<typeof salvaged> => {
      const storage = new MemoryStorage()
      const engine = openIn(storage)
      for (const key of ['a', 'e', 'f', 'g']) engine.put(key, value)
      const builder = new FrameBuilder()
      for (const write of writes) {
        const one = new FrameBuilder()
        write(one, engine.operations)
        builder.append(one)
      }
      expect(engine.commits.finishWrites(engine.commits.beginWrites(builder.take())).failed).to.deep.equal([])
      const left = storage.copy()
      engine.close()
      eraseLastOutcomes(left, segmentsIn(left).at(-1)!)
      return salvaged(left)
    }
    const keysIn = ({ found }: ReturnType<typeof salvaged>): unknown[] =>
      [...found.keys()].map((key) => decodeKey(Buffer.from(key, 'latin1'), 0, key.length)).sort()
    const certain = losingOutcomes(
      (frame, operations) => operations.del(frame, 'a'),
      (frame, operations) => operations.del(frame, 'never there'),
    )
    expect(certain.report).to.deep.include({ complete: true, logGaps: [] })
    expect(keysIn(certain)).to.deep.equal(['e', 'f', 'g'])
    const some = losingOutcomes(
      (frame, operations) => operations.put(frame, 'b', value, UNCONDITIONAL),
      (frame, operations) => operations.put(frame, 'c', value, ifAbsent),
      (frame, operations) =>
        operations.batch(frame, [
          { type: 'put', key: 'd', value },
          { type: 'del', key: 'e' },
        ]),
      (frame, operations) =>
        operations.batch(frame, [
          { type: 'del', key: 'f' },
          { type: 'put', key: 'h', value, ifPresent: true },
        ]),
      (frame, operations) => operations.del(frame, 'g'),
    )
    expect(some.report.complete).to.equal(false)
    expect(some.report.logGaps.map(({ why }) => why)).to.deep.equal([
      'the log does not say what became of 2 of its writes',
    ])
    expect(keysIn(some)).to.deep.equal(['a', 'b', 'd', 'f'])
  })

  it('brings out of a file cut short what is left of it', () => {
    for (let slots = 4; slots < slotCount(fixture.storage); slots += FULL ? 1 : 7) {
      having(`${slots} slots`, (storage) => storage.openFile(DATA, 'write').truncate(slots * SLOT_BYTES + 100))
    }
  })
})
