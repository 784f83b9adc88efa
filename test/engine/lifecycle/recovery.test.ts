// What an opener does with what a crash, a power cut or an accident left.
import {
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { expect } from 'chai'
import type { Engine } from '../../../src/engine/engine.js'
import { Engine as EngineClass } from '../../../src/engine/engine.js'
import { resolveOptions } from '../../../src/engine/options.js'
import { posixStorage } from '../../../src/storage/posix.js'
import { FRAME, readLsn, sealFrame } from '../../../src/wal/frame.js'
import { FIRST_LSN, lsnAfter, paddedBytes, type Lsn } from '../../../src/wal/lsn.js'
import { decodeSegmentHeader, filePosition, SEGMENT_HEADER_BYTES } from '../../../src/wal/segment.js'
import {
  cleanUp,
  contents,
  crashCopy,
  dataFile,
  expectError,
  expectSound,
  flipByte,
  inProcess,
  openEngine,
  readBytes,
  scratchPath,
  seeded,
  segmentStarts,
  SLOT_BYTES,
  TINY,
  walFile,
  writeBytes,
} from '../../support/engine.js'
import { FrameBuilder } from '../../../src/wal/frame-builder.js'

const value = (n: number, lengthBytes = 20): Buffer => Buffer.alloc(lengthBytes, `${n};`)

/** A database that was never closed, with this many puts of `key n`, each acknowledged by itself. */
function abandoned(puts: number, options = TINY): { path: string; engine: Engine } {
  const path = scratchPath()
  const engine = openEngine(path, options)
  for (let i = 0; i < puts; i++) engine.put(`key ${i}`, value(i))
  return { path: crashCopy(path), engine }
}

/** The frames of a segment's file, as LSN and length. */
function framesOf(path: string, start: number): { lsn: number; length: number }[] {
  const bytes = readFileSync(walFile(path, start))
  const frames: { lsn: number; length: number }[] = []
  for (let lsn = start; ;) {
    const at = filePosition(start as Lsn, lsn as Lsn)
    if (at + FRAME.HEADER_BYTES > bytes.length || readLsn(bytes, at + FRAME.LSN) !== lsn) return frames
    const length = bytes.readUInt32LE(at + FRAME.LENGTH)
    frames.push({ lsn, length })
    lsn = lsnAfter(lsn, length)
  }
}

/** Writes a frame into a segment, as an appender does that dies before any leader flushes it. */
function writeFrame(path: string, start: number, lsn: number, key: string, bytes: Buffer): number {
  const header = decodeSegmentHeader(readBytes(walFile(path, start), 0, SEGMENT_HEADER_BYTES))!
  const builder = new FrameBuilder()
  const encoded = Buffer.from(key)
  builder.put(encoded, encoded.length, bytes)
  const frame = builder.take()
  sealFrame(frame, lsn as Lsn, start as Lsn, 0, header.salt)
  writeBytes(walFile(path, start), filePosition(start as Lsn, lsn as Lsn), frame)
  return lsnAfter(lsn, frame.length)
}

describe('recovery', function () {
  this.timeout(60_000)
  afterEach(cleanUp)

  it('brings back every acknowledged write, says what it did, and has nothing to do the next time', () => {
    const { path } = abandoned(100)
    const engine = openEngine(path)
    expect(engine.recovery).to.include({
      needed: true,
      framesReplayed: 100,
      operationsReplayed: 100,
      tornTailBytes: 0,
      headersDamaged: 0,
    })
    for (let i = 0; i < 100; i++) expect(engine.get(`key ${i}`)).to.deep.equal(value(i))
    expectSound(engine)
    engine.close()
    const again = openEngine(path)
    expect(again.recovery).to.include({ needed: false, framesReplayed: 0 })
    expect(again.stats().entries).to.equal(100)
    expectSound(again)
  })

  it('keeps the version of every entry', () => {
    const { path, engine } = abandoned(30)
    const versions = Array.from({ length: 30 }, (_, i) => engine.getEntry(`key ${i}`)!.version)
    const recovered = openEngine(path)
    expect(Array.from({ length: 30 }, (_, i) => recovered.getEntry(`key ${i}`)!.version)).to.deep.equal(versions)
    recovered.close()
    const again = openEngine(path)
    expect(Array.from({ length: 30 }, (_, i) => again.getEntry(`key ${i}`)!.version)).to.deep.equal(versions)
    again.put('key 0', value(99))
    expect(again.getEntry('key 0')!.version).to.be.greaterThan(versions.at(-1)!)
  })

  it('can be interrupted and restarted any number of times', () => {
    const { path } = abandoned(200)
    let copy = path
    for (let i = 0; i < 5; i++) {
      const engine = openEngine(copy)
      expect(engine.stats().entries).to.equal(200 + i)
      engine.put(`more ${i}`, value(i))
      copy = crashCopy(copy)
    }
    expectSound(openEngine(copy))
  })

  it('drops what was started at the end of the log and never acknowledged, and says how much', () => {
    const { path } = abandoned(10)
    const start = segmentStarts(path).at(-1)!
    const last = framesOf(path, start).at(-1)!
    flipByte(walFile(path, start), filePosition(start as Lsn, last.lsn as Lsn) + last.length - 1)
    const engine = openEngine(path)
    expect(engine.recovery!.tornTailBytes).to.equal(paddedBytes(last.length))
    expect(engine.stats().entries).to.equal(9)
    engine.put('key 9', value(1))
    engine.close()
    expect(openEngine(path).get('key 9')).to.deep.equal(value(1))
  })

  it('takes a whole frame at the end that was not acknowledged, and then keeps it', () => {
    const { path } = abandoned(3)
    const start = segmentStarts(path).at(-1)!
    const last = framesOf(path, start).at(-1)!
    writeFrame(path, start, lsnAfter(last.lsn, last.length), '!late', value(77))
    const engine = openEngine(path)
    expect(engine.get('!late')).to.deep.equal(value(77))
    expect(openEngine(crashCopy(path)).get('!late')).to.deep.equal(value(77))
  })

  for (const clean of [true, false]) {
    it(`never brings back what it has dropped: a later frame at the beginning of ${clean ? 'a fresh' : 'a used'} segment`, () => {
      let path = scratchPath()
      const engine = openEngine(path)
      engine.put('first', value(1))
      if (clean) engine.close()
      else path = crashCopy(path)
      const start = segmentStarts(path).at(-1)!
      const frames = framesOf(path, start)
      const end = frames.length === 0 ? start : lsnAfter(frames.at(-1)!.lsn, frames.at(-1)!.length)
      // Two writers, no flush, power cut: the first frame was lost, the second one got to the disk.
      const second = writeFrame(path, start, end, 'a', value(1))
      writeFrame(path, start, second, 'b', value(2))
      flipByte(walFile(path, start), filePosition(start as Lsn, end as Lsn) + 50)

      const recovered = openEngine(path)
      expect(recovered.recovery!.tornTailBytes).to.be.greaterThan(0)
      expect([recovered.has('a'), recovered.has('b')]).to.deep.equal([false, false])
      // A frame as long as the one that was lost ends just where the dropped one begins.
      recovered.put('c', value(3))
      const again = openEngine(crashCopy(path))
      expect([again.has('a'), again.has('b'), again.has('c')]).to.deep.equal([false, false, true])
      expect(again.get('first')).to.deep.equal(value(1))
    })
  }

  it('reads a log of more and longer segments than stay open at a time', () => {
    const options = { ...TINY, segmentBytes: 1_300_000, checkpointBytes: 64 * 1024 * 1024 }
    const path = scratchPath()
    const engine = openEngine(path, options)
    for (let i = 0; i < 60; i++) engine.put(`key ${i}`, value(i, 300_000))
    expect(segmentStarts(path).length).to.be.greaterThan(12)
    const recovered = openEngine(crashCopy(path), options)
    expect(recovered.recovery!.framesReplayed).to.equal(60)
    for (let i = 0; i < 60; i++) expect((recovered.get(`key ${i}`) as Buffer).equals(value(i, 300_000))).to.equal(true)
    expectSound(recovered)
  })

  for (const point of ['segment-created', 'segment-linked']) {
    it(`keeps what others appended after a process had died in beginning a segment, at ${point}`, async () => {
      const path = scratchPath()
      const engine = openEngine(path)
      for (let i = 0; i < 10; i++) engine.put(`key ${i}`, value(i))
      const dying = inProcess(path, `open().put('long', Buffer.alloc(5000))`, TINY, { MMAPDB_CRASH_AT: point })
      expect(await dying.ended).to.equal('SIGKILL')
      for (let i = 10; i < 20; i++) engine.put(`key ${i}`, value(i))
      const expected = contents(engine)
      expect(expected.length).to.equal(20)
      expect(contents(openEngine(crashCopy(path)))).to.deep.equal(expected)
      engine.checkpoint(true)
      engine.put('more', value(1))
      const recovered = openEngine(crashCopy(path))
      expect(recovered.stats().entries).to.equal(21)
      expectSound(recovered)
    })
  }

  for (const point of ['segment-created', 'segment-linked', 'before-append']) {
    it(`leaves a database that opens when the last one closes after a process has died at ${point}`, async () => {
      const path = scratchPath()
      const engine = openEngine(path)
      for (let i = 0; i < 10; i++) engine.put(`key ${i}`, value(i))
      expect(
        await inProcess(path, `open().put('long', Buffer.alloc(5000))`, TINY, { MMAPDB_CRASH_AT: point }).ended,
      ).to.equal('SIGKILL')
      engine.close()
      const again = openEngine(path)
      expect(again.recovery!.needed).to.equal(false)
      expect(again.stats().entries).to.equal(10)
    })
  }

  it('does not drop a segment that is still written to because of one that was started after it and given up', () => {
    // The machine stopped while a long frame made a new segment; shorter ones go on in the old one.
    const { path } = abandoned(10)
    const start = segmentStarts(path).at(-1)!
    const last = framesOf(path, start).at(-1)!
    writeFileSync(walFile(path, lsnAfter(last.lsn, last.length)), Buffer.alloc(4096))
    const engine = openEngine(path)
    for (let i = 0; i < 5; i++) engine.put(`more ${i}`, value(i))
    engine.checkpoint(true)
    for (let i = 5; i < 10; i++) engine.put(`more ${i}`, value(i))
    expect(contents(openEngine(crashCopy(path)))).to.deep.equal(contents(engine))
    expect(openEngine(path).stats().entries).to.equal(20)
  })

  it('replays a frame longer than a segment, and than what is applied as one group', () => {
    const path = scratchPath()
    const engine = openEngine(path)
    engine.batch(Array.from({ length: 90 }, (_, i) => ({ type: 'put' as const, key: i, value: value(i, 100_000) })))
    engine.put('after', value(1))
    const recovered = openEngine(crashCopy(path))
    expect(recovered.stats().entries).to.equal(91)
    expect((recovered.get(89) as Buffer).equals(value(89, 100_000))).to.equal(true)
    expectSound(recovered)
  })

  it('stops at rot with an error that says where, and loses nothing by it', () => {
    const { path } = abandoned(20)
    const start = segmentStarts(path)[0]!
    const frame = framesOf(path, start)[5]!
    flipByte(walFile(path, start), filePosition(start as Lsn, frame.lsn as Lsn) + 47)
    // Free slots of the data file may have been written to by the replay up to there; the log may not.
    const before = filesOf(path, false)
    for (let i = 0; i < 2; i++) {
      const error = expectError(() => openEngine(path), 'ERR_MMAPDB_CORRUPT', /salvage/)
      expect((error as unknown as { site: { lsn: number } }).site.lsn).to.equal(frame.lsn)
    }
    expect(filesOf(path, false)).to.deep.equal(before)
    flipByte(walFile(path, start), filePosition(start as Lsn, frame.lsn as Lsn) + 47)
    expect(openEngine(path).stats().entries).to.equal(20)
  })

  it('goes back to the checkpoint before if both copies of the newest header are torn and the log still reaches', () => {
    // The moment between the writing of the headers and the recycling of the log.
    const path = scratchPath()
    const engine = openEngine(path, { ...TINY, checkpointBytes: 1 << 20 })
    for (let i = 0; i < 150; i++) engine.put(`key ${i}`, value(i))
    const before = crashCopy(path)
    engine.checkpoint(true)
    const number = engine.stats().checkpoint.number
    copyFileSync(dataFile(path), dataFile(before))
    for (const slot of [number % 2, 2 + (number % 2)])
      writeBytes(dataFile(before), slot * SLOT_BYTES + 100, Buffer.alloc(2000, 9))
    const recovered = openEngine(before)
    expect(recovered.recovery!.checkpointNumber).to.equal(number - 1)
    expect(recovered.stats().entries).to.equal(150)
    expectSound(recovered)
  })

  it('does not take a database whose headers are all gone for a new one', () => {
    for (const [puts, close] of [
      [3, false],
      [200, false],
      [3, true],
    ] as const) {
      const { path, engine } = abandoned(puts)
      const at = close ? (engine.close(), engine.options.path) : path
      writeBytes(dataFile(at), 0, Buffer.alloc(4 * SLOT_BYTES))
      const before = filesOf(at)
      expectError(() => openEngine(at), 'ERR_MMAPDB_CORRUPT')
      expect(filesOf(at)).to.deep.equal(before)
    }
  })

  it('does not take a database whose data file was emptied for a new one', () => {
    for (const puts of [3, 200]) {
      const { path } = abandoned(puts)
      truncateSync(dataFile(path), 0)
      const before = filesOf(path)
      expectError(() => openEngine(path), 'ERR_MMAPDB_CORRUPT')
      expect(filesOf(path)).to.deep.equal(before)
    }
  })

  it('finishes a creation that was cut short anywhere', () => {
    const whole = scratchPath()
    openEngine(whole)
    const steps: ((path: string) => void)[] = [
      () => undefined,
      (path) => writeFileSync(dataFile(path), ''),
      (path) => (writeFileSync(dataFile(path), ''), mkdirSync(join(path, 'wal'))),
      (path) => (
        writeFileSync(dataFile(path), ''),
        mkdirSync(join(path, 'wal')),
        writeFileSync(walFile(path, FIRST_LSN), '')
      ),
      (path) => (
        writeFileSync(dataFile(path), ''),
        mkdirSync(join(path, 'wal')),
        copyFileSync(walFile(whole, FIRST_LSN), walFile(path, FIRST_LSN))
      ),
      (path) => (
        writeFileSync(dataFile(path), Buffer.alloc(1 << 20)),
        mkdirSync(join(path, 'wal')),
        copyFileSync(walFile(whole, FIRST_LSN), walFile(path, FIRST_LSN))
      ),
    ]
    for (const step of steps) {
      const path = scratchPath()
      mkdirSync(path)
      step(path)
      const engine = openEngine(path)
      engine.put('a', value(1))
      engine.close()
      expect(openEngine(path).get('a')).to.deep.equal(value(1))
    }
  })

  it('uses a data file that a crash left longer or shorter than it might be', () => {
    const { path } = abandoned(50)
    truncateSync(dataFile(path), 64 * SLOT_BYTES)
    const engine = openEngine(path)
    expect(engine.stats().entries).to.equal(50)
    engine.close()
    truncateSync(dataFile(path), readFileSync(dataFile(path)).length + 3 * SLOT_BYTES + 100)
    const longer = openEngine(path)
    for (let i = 0; i < 500; i++) longer.put(i, value(i, 900))
    expectSound(longer)
    expect(longer.stats().entries).to.equal(550)
  })

  it('changes no file when it only inspects, and sees what an opener would', () => {
    const { path } = abandoned(120)
    const before = filesOf(path)
    const seen = EngineClass.inspect(resolveOptions(path, TINY), posixStorage)
    expect(seen.isPrivate).to.equal(true)
    expect(contents(seen).length).to.equal(120)
    expectError(() => seen.put('a', value(1)), 'ERR_MMAPDB_READ_ONLY')
    seen.close()
    expect(filesOf(path)).to.deep.equal(before)
    const engine = openEngine(path)
    expectError(() => EngineClass.inspect(resolveOptions(path, TINY), posixStorage), 'ERR_MMAPDB_LOCKED')
    expect(engine.stats().entries).to.equal(120)
  })

  it('does not trust what a dead process left in the control file', () => {
    seeded((random) => {
      const { path } = abandoned(40)
      const control = readFileSync(join(path, 'control'))
      for (let i = 0; i < control.length; i++) if (random() < 0.3) control[i] = Math.floor(random() * 256)
      writeFileSync(join(path, 'control'), control)
      expect(openEngine(path).stats().entries).to.equal(40)
      const second = abandoned(40).path
      unlinkSync(join(second, 'control'))
      expect(openEngine(second).stats().entries).to.equal(40)
    })
  })

  it('tells a log that is not there, or that is of another database, from one that is empty', () => {
    const mine = abandoned(5).path
    const other = abandoned(5).path
    const swapped = crashCopy(mine)
    rmSync(join(swapped, 'wal'), { recursive: true })
    expectError(() => openEngine(swapped), 'ERR_MMAPDB_CORRUPT')
    mkdirSync(join(swapped, 'wal'))
    expectError(() => openEngine(swapped), 'ERR_MMAPDB_CORRUPT')
    for (const name of readdirSync(join(other, 'wal')))
      copyFileSync(join(other, 'wal', name), join(swapped, 'wal', name))
    expectError(() => openEngine(swapped), 'ERR_MMAPDB_CORRUPT', /does not belong/)
    const withoutData = crashCopy(mine)
    renameSync(dataFile(withoutData), join(withoutData, '..', 'elsewhere'))
    expectError(() => openEngine(withoutData), 'ERR_MMAPDB_CORRUPT', /log but no data/)
    expect(openEngine(mine).stats().entries).to.equal(5)
  })
})

/** Every file of a database but `control`, which is volatile. */
function filesOf(path: string, withData = true): Record<string, string> {
  const files: Record<string, string> = {}
  for (const name of [...(withData ? ['data'] : []), ...readdirSync(join(path, 'wal')).map((n) => join('wal', n))]) {
    files[name] = readFileSync(join(path, name)).toString('latin1')
  }
  return files
}
