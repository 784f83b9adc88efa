// Directories that were copied by hand while the database was open. If one of these failed, a copy that holds files
// of different moments would pass for a database without a word.
import { appendFileSync, copyFileSync, cpSync, existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import { Engine } from '../../src/engine/engine.js'
import { keepLog } from '../../src/engine/lifecycle/keep-log.js'
import { MmapdbError } from '../../src/errors.js'
import { verify } from '../../src/maintenance/verify.js'
import {
  cleanUp,
  contents,
  crashCopy,
  expectError,
  filled,
  flipByte,
  heard,
  inProcess,
  openEngine,
  readBytes,
  rounds,
  scratchPath,
  segmentStarts,
  TINY,
  walFile,
  writeBytes,
} from '../support/engine.js'
import { ok, removeScratch } from '../support/cli.js'

/** Copies parts of a database one after the other, as a tool does that knows nothing of it. It takes some time. */
async function copyInOrder(from: string, parts: readonly string[]): Promise<string> {
  const to = scratchPath()
  mkdirSync(join(to, 'wal'), { recursive: true })
  for (const part of parts) {
    if (part === 'data') await copyInPieces(join(from, part), join(to, part))
    else if (part === 'control') copyFileSync(join(from, part), join(to, part))
    else {
      for (const name of readdirSync(join(from, 'wal'))) {
        try {
          copyFileSync(join(from, 'wal', name), join(to, 'wal', name))
        } catch (error) {
          // It has been recycled meanwhile: a tool would complain, and go on.
          if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
        }
      }
    }
    await delay(20)
  }
  return to
}

async function copyInPieces(from: string, to: string): Promise<void> {
  const bytes = statSync(from).size
  const pieces = 4
  for (let i = 0; i < pieces; i++) {
    const at = Math.floor((bytes * i) / pieces)
    appendFileSync(to, readBytes(from, at, Math.floor((bytes * (i + 1)) / pieces) - at))
    await delay(20)
  }
}

describe('a directory that was copied by hand', function () {
  this.timeout(120_000)
  afterEach(() => {
    cleanUp()
    removeScratch()
  })

  it('while the database was open is named so by recovery, and one that was closed is not', async () => {
    const engine = filled()
    const { path } = engine.options
    const copy = crashCopy(path)
    const opened = openEngine(copy)
    expect(opened.recovery!.copiedWhileOpen).to.equal(true)
    opened.close()
    const again = crashCopy(path)
    expect(await ok(again, 'recover')).to.match(/WARNING: the directory is a copy/)
    engine.detach()
    expect(openEngine(path).recovery!.copiedWhileOpen, 'itself, after a crash').to.equal(false)
    openEngine(path).close()
    const ofClosed = crashCopy(copy)
    expect(openEngine(ofClosed).recovery!.copiedWhileOpen).to.equal(false)
  })

  it('is refused if its log is older than its data file', () => {
    for (const hasControl of [true, false]) {
      for (const overwrites of [5, 400]) {
        const engine = filled()
        const { path } = engine.options
        const log = crashCopy(path)
        for (let i = 0; i < overwrites; i++) engine.put(`key ${i % 20}`, Buffer.alloc(200, i))
        engine.checkpoint(true)
        const copy = crashCopy(path)
        rmSync(join(copy, 'wal'), { recursive: true })
        cpSync(join(log, 'wal'), join(copy, 'wal'), { recursive: true })
        if (!hasControl) rmSync(join(copy, 'control'))
        // Behind by less than a segment, it is noticed only if it is known to be a copy.
        if (!hasControl && overwrites === 5) openEngine(copy)
        else expectError(() => openEngine(copy), 'ERR_MMAPDB_CORRUPT', /newer than the log/)
        engine.close()
      }
    }
  })

  it('is opened although the log has damage in parts that its data file includes', () => {
    const engine = filled()
    engine.checkpoint(true)
    const copy = crashCopy(engine.options.path)
    const last = segmentStarts(copy).at(-1)!
    expect(last).to.be.below(engine.stats().log.tailLsn)
    // The first frame after the header.
    flipByte(walFile(copy, last), 64 + 20)
    expect(contents(openEngine(copy))).to.deep.equal(contents(engine))
    engine.close()
  })

  it('is not what a database is whose newest segment was being made when all ended', () => {
    const engine = filled()
    keepLog(engine.parts, { bytes: Infinity, ms: Infinity })
    for (let i = 0; i < 400; i++) engine.put(`key ${i % 20}`, Buffer.alloc(200, i))
    const before = contents(engine)
    const { path } = engine.options
    engine.close()
    const starts = segmentStarts(path)
    expect(starts).to.have.length.above(2)
    // Not even its header had come to the disk.
    writeBytes(walFile(path, starts.at(-1)!), 0, Buffer.alloc(64))
    expect(contents(openEngine(path))).to.deep.equal(before)
  })

  it('is refused if its log begins after what its data file holds', () => {
    const engine = filled()
    const { path } = engine.options
    const older = crashCopy(path)
    for (let i = 0; i < 400; i++) engine.put(`key ${i % 20}`, Buffer.alloc(200, i))
    engine.checkpoint(true)
    expect(segmentStarts(path)[0]).to.be.above(segmentStarts(older)[0]!)
    rmSync(join(older, 'wal'), { recursive: true })
    cpSync(join(path, 'wal'), join(older, 'wal'), { recursive: true })
    expectError(() => openEngine(older), 'ERR_MMAPDB_CORRUPT', /damaged at LSN/)
  })

  it('under load, in whatever order, is refused, or named, or found damaged, or holds one moment', async () => {
    const path = scratchPath()
    const writer = inProcess(
      path,
      `const db = open({ checkpointBytes: 65536 })
       for (let n = 0; n < 300; n++) db.put('key ' + n, Buffer.alloc(100))
       say('writing')
       for (let n = 1; ; n++) {
         // All keys of a batch say the same.
         db.batch(Array.from({ length: 20 }, (_, i) => ({ type: 'put', key: 'key ' + (i * 15 + n % 15), value: Buffer.from(String(n)) })))
         if (n % 50 === 0) await new Promise(setImmediate)
       }`,
    )
    await heard(writer, 'writing')
    const seen = { refused: 0, damaged: 0, whole: 0 }
    const orders = [
      ['data', 'wal', 'control'],
      ['wal', 'data', 'control'],
      ['control', 'data', 'wal'],
      ['control', 'wal', 'data'],
      ['wal', 'control', 'data'],
    ]
    for (let round = 0; round < rounds(40); round++) {
      await delay(round % 7)
      const copy = await copyInOrder(path, orders[round % orders.length]!)
      let engine: Engine | undefined
      try {
        engine = openEngine(copy, TINY)
        expect(engine.recovery!.copiedWhileOpen).to.equal(true)
        if (!verify(engine).ok) seen.damaged++
        else {
          seen.whole++
          expectOneMoment(engine)
        }
      } catch (error) {
        expect(error).to.be.instanceOf(MmapdbError)
        expect((error as MmapdbError).code).to.equal('ERR_MMAPDB_CORRUPT')
        seen.refused++
      } finally {
        engine?.detach()
      }
      expect(existsSync(join(copy, 'data'))).to.equal(true)
    }
    await writer.kill()
    expect(seen.refused + seen.damaged + seen.whole).to.equal(rounds(40))
    expect(seen.refused + seen.damaged, JSON.stringify(seen)).to.be.above(0)
  })
})

/** Every batch is there whole or not at all. */
function expectOneMoment(engine: Engine): void {
  const newest = new Map<number, Set<string>>()
  for (const [key, value] of contents(engine) as [string, Buffer][]) {
    if (value.length === 100) continue
    const lane = Number(key.slice(4)) % 15
    const values = newest.get(lane) ?? new Set()
    newest.set(lane, values.add(value.toString()))
  }
  for (const [lane, values] of newest) expect([...values], `keys of batch ${lane}`).to.have.length(1)
}
