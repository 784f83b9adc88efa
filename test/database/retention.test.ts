// How much of the log is kept for its readers. If this failed, a consumer that may be away for an hour would come back
// to a log that is gone, or a log that nobody needs would fill the disk.
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'chai'
import { Schedule } from '../../crash-tests/sim/schedule.js'
import { World } from '../../crash-tests/sim/world.js'
import { open, type Database, type OpenOptions } from '../../src/index.js'
import { Engine } from '../../src/engine/engine.js'
import { keepLog } from '../../src/engine/lifecycle/keep-log.js'
import { resolveOptions } from '../../src/engine/options.js'
import { verify } from '../../src/maintenance/verify.js'
import { posixStorage } from '../../src/storage/posix.js'
import { newAppendFields } from '../../src/wal/append-state.js'
import { FrameBuilder } from '../../src/wal/frame-builder.js'
import type { Storage } from '../../src/storage/storage.js'
import { cleanUp, crashCopy, openEngine, scratchPath, TINY } from '../support/engine.js'
import { encodedName } from '../support/log-model.js'
import { SmallDisk } from '../support/small-disk.js'

const OPTIONS: OpenOptions = { ...TINY, valueEncoding: 'utf8', segmentBytes: 16 * 1024 }
const opened: Database[] = []
async function opening(path: string, options: OpenOptions = {}): Promise<Database> {
  const db = await open(path, { ...OPTIONS, ...options })
  opened.push(db)
  return db
}

/** Writes that many bytes of log, or a little more. */
function write(db: { putSync(key: string, value: string): unknown }, bytes: number): void {
  for (let done = 0; done < bytes; done += 1080) db.putSync(`key ${done % 20}`, 'x'.repeat(1000))
}
const tailOf = (db: Database): number => db.stats().log.tailLsn * 8
const keptBytes = (db: Database): number => tailOf(db) - db.stats().log.oldestLsn * 8

describe('the log that is kept', () => {
  afterEach(async () => {
    for (const db of opened.splice(0)) await db.close()
    cleanUp()
  })

  it('is the newest bytes that were asked for, and not much more, through checkpoints and closes', async () => {
    const path = scratchPath()
    let db = await opening(path, { retain: { bytes: 200_000 } })
    for (let i = 0; i < 12; i++) {
      write(db, 60_000)
      await db.checkpoint()
      if (i % 3 === 2) {
        await db.close()
        db = await opening(path)
      }
      const wanted = Math.min(200_000, tailOf(db) - 8)
      expect(keptBytes(db), `round ${i}`).to.be.within(wanted, wanted + 2 * 16 * 1024 + 1100)
    }
    expect((await db.verify()).ok).to.equal(true)
  })

  it('is what the last opener who said so asked for, for all who have it open, also after a crash', async () => {
    const path = scratchPath()
    const first = await opening(path, { retain: { bytes: 2 ** 30 } })
    write(first, 300_000)
    const other = await opening(path)
    await other.checkpoint()
    await other.close()
    expect(first.stats().log.oldestLsn).to.equal(0)
    // A crash, and openers who say nothing of it.
    const crashed = crashCopy(path)
    for (let i = 0; i < 2; i++) {
      const engine = openEngine(crashed, OPTIONS)
      engine.put('a', 'b')
      engine.checkpoint(true)
      expect(engine.stats().log.oldestLsn).to.equal(0)
      engine.close()
    }
    const less = await opening(path, { retain: { bytes: 50_000 } })
    write(first, 10_000)
    await first.checkpoint()
    expect(keptBytes(first)).to.be.below(100_000)
    await less.close()
    await first.close()
    const none = await opening(path, { retain: { bytes: 0 } })
    await none.close()
    const again = await opening(path)
    // The last write itself lies before what is there.
    expect(keptBytes(again)).to.be.below(1200)
  })

  it('goes when it is older than was asked for', () => {
    let nowMs = 1_800_000_000_000
    const storage = new Proxy(posixStorage, {
      get: (target, name) => {
        if (name === 'now') return () => nowMs
        const value: unknown = Reflect.get(target, name)
        return typeof value === 'function' ? (value as (...all: unknown[]) => unknown).bind(target) : value
      },
    }) as Storage
    const path = scratchPath()
    const held: Storage = { ...bound(storage), openDirectory: (...all) => ({ ...heldBy(all), storage: held }) }
    const heldBy = (all: Parameters<Storage['openDirectory']>) => {
      const home = posixStorage.openDirectory(...all)
      return { identity: home.identity, close: () => home.close() }
    }
    const engine = Engine.open(resolveOptions(path, OPTIONS), held)
    keepLog(engine.parts, { bytes: Infinity, ms: 60_000 })
    const lsns: number[] = []
    for (let i = 0; i < 10; i++) {
      for (let j = 0; j < 30; j++) engine.put(`key ${j}`, 'x'.repeat(1000))
      lsns.push(engine.lastCommit)
      engine.checkpoint(true)
      nowMs += 10_000
    }
    const { oldestLsn } = engine.stats().log
    // It is 100 s later: what was written up to 40 s after the beginning is too old, but for the rest of a segment.
    expect(oldestLsn).to.be.within(lsns[1]!, lsns[4]!)
    engine.close()
  })

  it('does not become more files with each opening and closing', async () => {
    const path = scratchPath()
    for (let i = 0; i < 30; i++) {
      const db = await opening(path, { retain: { bytes: 2 ** 30, ms: 1e9 } })
      write(db, 500)
      await db.close()
    }
    const files = readdirSync(join(path, 'wal'))
    expect(files.length).to.be.below(6)
    for (const file of files) expect(statSync(join(path, 'wal', file)).size).to.be.below(33 * 1024)
    const db = await opening(path)
    expect(db.stats().log.oldestLsn).to.equal(0)
    let count = 0
    for await (const { type } of db.changes({ since: 0 })) if (type === 'put' && ++count === 30) break
  })

  it('is counted from what is on disk: a power cut may take the rest', () => {
    const engine = openEngine(scratchPath(), { ...TINY, segmentBytes: 16 * 1024 })
    keepLog(engine.parts, { bytes: 40 * 1024, ms: Infinity })
    const segmentStart = (): number => engine.parts.control.append.read(newAppendFields()).segmentStartLsn
    for (let i = 0; i < 100; i++) engine.put(`key ${i % 20}`, Buffer.alloc(1000))
    for (const start = segmentStart(); segmentStart() === start;) engine.put('last', Buffer.alloc(1000))
    // Most of a segment is appended, and not flushed.
    const start = segmentStart()
    for (let i = 0; i < 13; i++) {
      const builder = new FrameBuilder()
      const key = Buffer.from(encodedName(`key ${i}`), 'latin1')
      builder.put(key, key.length, Buffer.alloc(1000))
      engine.parts.committer.append(builder.frame())
    }
    expect(segmentStart()).to.equal(start)
    engine.checkpoint(true)
    const { oldestLsn, durableLsn, tailLsn } = engine.stats().log
    expect((tailLsn - durableLsn) * 8).to.be.above(12_000)
    expect((durableLsn - oldestLsn) * 8).to.be.at.least(40 * 1024)
    engine.close()
  })

  it('is given up on a full disk, before a write is refused', () => {
    const { engine, disk } = keepingAll(16 * 1024, 20)
    disk.fill()
    // As much as was kept is written once more.
    for (let i = 0; i < 800; i++) engine.put(`key ${i % 20}`, 'y'.repeat(1000))
    expect(engine.stats().log.oldestLsn).to.be.above(0)
    expect(engine.get('key 3')).to.equal('y'.repeat(1000))
    expect(verify(engine).ok).to.equal(true)
    engine.close()
  })

  it('is given up on a full disk for the data file, too', () => {
    const { engine, disk } = keepingAll(512 * 1024, 800)
    disk.fill()
    // The current segment has room for these; the data file has not.
    const { dataBytes } = engine.stats()
    for (let i = 0; i < 200; i++) engine.put(`new ${i}`, 'y'.repeat(1000))
    expect(engine.stats().dataBytes).to.be.above(dataBytes)
    expect(engine.stats().log.oldestLsn).to.be.above(0)
    expect(engine.get('new 199')).to.equal('y'.repeat(1000))
    expect(verify(engine).ok).to.equal(true)
    engine.close()
  })
})

/** A database on a small disk whose log has 800 values, all of which is kept. */
function keepingAll(segmentBytes: number, keys: number): { engine: Engine; disk: SmallDisk } {
  const world = new World(new Schedule(7))
  const disk = new SmallDisk(world.storageFor({ name: 'one', dead: false }), 16 * 1024 * 1024, false)
  const options = resolveOptions('/db', { ...OPTIONS, segmentBytes, windowBytes: 65536, timeoutMs: 1 })
  const engine = Engine.open(options, disk.storage())
  keepLog(engine.parts, { bytes: Infinity, ms: Infinity })
  for (let i = 0; i < 800; i++) engine.put(`key ${i % keys}`, 'x'.repeat(1000))
  engine.checkpoint(true)
  expect(engine.stats().log.oldestLsn).to.equal(0)
  return { engine, disk }
}

/** All methods of a storage, as an object of its own. */
function bound(storage: Storage): Storage {
  const names = new Set<string>()
  for (
    let at: object | null = posixStorage;
    at !== null && at !== Object.prototype;
    at = Object.getPrototypeOf(at) as object | null
  )
    for (const name of Object.getOwnPropertyNames(at)) names.add(name)
  return Object.fromEntries([...names].map((name) => [name, storage[name as keyof Storage]])) as unknown as Storage
}
