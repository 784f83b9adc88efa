// Restoring: a backup, or a later moment of its source by the log. If one of these failed, what is restored would not
// be what there was at that moment, or two histories would be mixed.
import { cpSync, existsSync, readdirSync, renameSync, rmSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'chai'
import type { Engine } from '../../src/engine/engine.js'
import type { OpenOptions } from '../../src/engine/options.js'
import type { LogLimit } from '../../src/maintenance/log-copy.js'
import { restore } from '../../src/maintenance/restore.js'
import { posixStorage } from '../../src/storage/posix.js'
import {
  cleanUp,
  crashCopy,
  dataFile,
  expectError,
  filled,
  flipByte,
  openEngine,
  scratchPath,
  seeded,
  segmentStarts,
  TINY,
  walFile,
} from '../support/engine.js'
import {
  backUp,
  contentAt,
  contentOf,
  endedAfter,
  expectNothingLeft,
  restored,
  type Content,
} from '../support/copies.js'

/** Small segments, and no checkpoint that recycles them. */
const KEEPS_LOG: OpenOptions = { ...TINY, valueEncoding: 'msgpack', checkpointBytes: 2 ** 30 }

interface Moment {
  readonly lsn: number
  readonly timeMs: number
  readonly content: Content
}

const momentOf = (engine: Engine): Moment => ({
  lsn: engine.stats().log.visibleLsn,
  timeMs: Date.now(),
  content: contentOf(engine),
})

const upTo = (lsn: number): LogLimit => ({ lsn, timeMs: undefined })
const LATEST: LogLimit = { lsn: undefined, timeMs: undefined }

/** Every kind of write, on few keys. */
function writeSomething(engine: Engine, random: () => number): void {
  const any = (n: number): number => Math.floor(random() * n)
  const key = `key ${any(60)}`
  switch (any(7)) {
    case 0:
      engine.del(key)
      break
    case 1:
      engine.put(key, 'if absent', { ifAbsent: true } as never)
      break
    case 2:
      engine.add(`counter ${any(3)}`, any(100))
      break
    case 3:
      engine.batch([
        { type: 'put', key, value: any(1000) },
        { type: 'del', key: `key ${any(60)}` },
        { type: 'check', key: `key ${any(60)}`, ifPresent: true },
      ])
      break
    default:
      engine.put(key, 'x'.repeat(any(2) === 0 ? any(100) : any(9000)))
  }
}

/** A database, a backup of it, and what it held at some moments after that. */
function history(random: () => number, moments: number) {
  const engine = openEngine(scratchPath(), KEEPS_LOG)
  const write = (count: number): void => {
    for (let i = 0; i < count; i++) writeSomething(engine, random)
  }
  write(100)
  const backup = scratchPath()
  backUp(engine, backup)
  const at = [momentOf(engine)]
  for (let i = 1; i < moments; i++) {
    write(1 + Math.floor(random() * 40))
    at.push(momentOf(engine))
  }
  return { engine, backup, source: engine.options.path, moments: at }
}

describe('restoring', function () {
  this.timeout(120_000)
  afterEach(cleanUp)

  it('gives what there was at each of 20 LSNs, while the source is in use', () => {
    seeded((random) => {
      const { backup, source, moments } = history(random, 20)
      for (const { lsn, content } of moments) {
        const target = scratchPath()
        const report = restored({ backup, target, source, until: upTo(lsn) })
        expect(contentAt(target)).to.deep.equal(content)
        expect(report).to.include({ path: target, lsn, entries: content.length })
      }
    })
  })

  it('gives the moment of the backup without a log, and all of the log if that is wanted', () => {
    seeded((random) => {
      const { engine, backup, source, moments } = history(random, 3)
      const plain = scratchPath()
      expect(restored({ backup, target: plain }).framesReplayed).to.equal(0)
      expect(contentAt(plain)).to.deep.equal(moments[0]!.content)
      const latest = scratchPath()
      restored({ backup, target: latest, source, until: LATEST })
      expect(contentAt(latest)).to.deep.equal(moments.at(-1)!.content)
      // All but the log may be gone, and the last process may have been killed.
      const crashed = crashCopy(source)
      unlinkSync(dataFile(crashed))
      const again = scratchPath()
      restored({ backup, target: again, source: crashed, until: LATEST })
      expect(contentAt(again)).to.deep.equal(moments.at(-1)!.content)
      engine.put('more', 1)
    })
  })

  it('includes a frame that begins before the LSN as a whole, and none that begins there', () => {
    const { engine, backup, source } = history(() => 0.99, 1)
    engine.batch([
      { type: 'put', key: 'one', value: 'x'.repeat(100) },
      { type: 'put', key: 'two', value: 'x'.repeat(100) },
    ])
    const { version } = engine.getEntry('one')!
    const keysAt = (lsn: number): unknown[] => {
      const target = scratchPath()
      restored({ backup, target, source, until: upTo(lsn) })
      return contentAt(target)
        .map(([key]) => key)
        .filter((key) => key === 'one' || key === 'two')
    }
    expect(keysAt(version)).to.deep.equal([])
    expect(keysAt(version + 1)).to.deep.equal(['one', 'two'])
  })

  it('gives what there was at a time', async () => {
    const { engine, backup, source } = history(() => 0.5, 1)
    const moments: Moment[] = []
    for (let i = 0; i < 5; i++) {
      engine.put('key', i)
      moments.push(momentOf(engine))
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    for (const { timeMs, content } of moments) {
      const target = scratchPath()
      restored({ backup, target, source, until: { lsn: undefined, timeMs } })
      expect(contentAt(target)).to.deep.equal(content)
    }
    const before = { lsn: undefined, timeMs: Date.now() - 3_600_000 }
    expectError(
      () => restored({ backup, target: scratchPath(), source, until: before }),
      'ERR_MMAPDB_INVALID',
      /earlier/,
    )
  })

  it('makes a database of its own: neither log is taken for that of the other', () => {
    seeded((random) => {
      const { engine, backup, source, moments } = history(random, 4)
      const target = scratchPath()
      restored({ backup, target, source, until: upTo(moments[2]!.lsn) })
      const copy = openEngine(target, KEEPS_LOG)
      copy.put('only in the copy', 1)
      expect(contentOf(copy).length).to.equal(moments[2]!.content.length + 1)
      copy.detach()
      engine.close()
      for (const one of [backup, target]) {
        for (const [from, to] of [
          [source, crashCopy(one)],
          [one, crashCopy(source)],
          [backup, crashCopy(target)],
        ] as const) {
          for (const start of segmentStarts(from)) cpSync(walFile(from, start), walFile(to, start))
          expectError(() => openEngine(to, KEEPS_LOG), 'ERR_MMAPDB_CORRUPT', /another database/)
        }
      }
    })
  })

  it('replays no other log than that of the source, and nothing onto a backup that was written to', () => {
    const { engine, backup, source, moments } = history(() => 0.7, 3)
    const until = upTo(moments.at(-1)!.lsn)
    const target = scratchPath()
    const other = filled().options.path
    expectError(() => restored({ backup, target, source: other, until }), 'ERR_MMAPDB_INVALID', /is not that of/)
    expectError(() => restored({ backup, target, source: `${other}-none`, until }), 'ERR_MMAPDB_INVALID', /no log/)
    expectError(() => restored({ backup: source, target }), 'ERR_MMAPDB_NOT_A_DATABASE', /not a backup/)
    const opened = openEngine(backup, KEEPS_LOG)
    opened.close()
    restored({ backup, target, source, until })
    expect(contentAt(target), 'of a backup that was only opened').to.deep.equal(moments.at(-1)!.content)

    for (const isClosed of [false, true]) {
      const written = crashCopy(backup)
      const writer = openEngine(written, KEEPS_LOG)
      writer.put('written', 1)
      if (isClosed) writer.close()
      else writer.detach()
      const place = scratchPath()
      expectError(() => restored({ backup: written, target: place }), 'ERR_MMAPDB_INVALID', /written to/)
      expectNothingLeft(place)
    }
    engine.put('goes on', 1)
  })

  it('notices that the source was put back to an older moment, and went on from there', () => {
    for (const closed of [true, false]) {
      const engine = openEngine(scratchPath(), KEEPS_LOG)
      const { path } = engine.options
      for (let i = 0; i < 30; i++) engine.put(`key ${i}`, i)
      if (closed) engine.close()
      const older = crashCopy(path)
      const source = closed ? openEngine(path, KEEPS_LOG) : engine
      for (let i = 0; i < 10; i++) source.put(`key ${i}`, 'first history')
      const backup = scratchPath()
      const { lsn } = backUp(source, backup)
      source.detach()
      rmSync(path, { recursive: true })
      renameSync(older, path)
      const again = openEngine(path, KEEPS_LOG)
      for (let i = 0; i < 100; i++) again.put(`key ${i}`, 'other history')
      expect(again.stats().log.tailLsn).to.be.above(lsn)
      const target = scratchPath()
      expectError(() => restored({ backup, target, source: path, until: LATEST }), 'ERR_MMAPDB_INVALID', /not the one/)
      expectNothingLeft(target)
    }
  })

  it('names what the log has if it does not have what is wanted', () => {
    const { engine, backup, source, moments } = history(() => 0.6, 4)
    const { lsn } = moments[0]!
    const end = engine.stats().log.tailLsn
    const target = scratchPath()
    const tryTo =
      (until: LogLimit, from = source) =>
      () =>
        restored({ backup, target, source: from, until })
    expectError(tryTo(upTo(lsn - 1)), 'ERR_MMAPDB_INVALID', new RegExp(`earlier than .* LSN is ${lsn}`))
    expectError(tryTo(upTo(end + 1)), 'ERR_MMAPDB_INVALID', new RegExp(`ends at LSN ${end}`))
    // A segment in the middle is gone, or damaged.
    const starts = segmentStarts(source)
    const middle = starts.find((start) => start > lsn)!
    const gap = crashCopy(source)
    unlinkSync(walFile(gap, middle))
    expectError(tryTo(LATEST, gap), 'ERR_MMAPDB_CORRUPT', /later segment/)
    const rotten = crashCopy(source)
    flipByte(walFile(rotten, middle), 64 + 20)
    expectError(tryTo(LATEST, rotten), 'ERR_MMAPDB_CORRUPT')
    engine.checkpoint(true)
    engine.put('after', 1)
    const oldest = segmentStarts(source)[0]!
    expectError(tryTo(upTo(end)), 'ERR_MMAPDB_LSN_GONE', new RegExp(`begins at LSN ${oldest}`))
    expectNothingLeft(target)
  })

  it('refuses a damaged backup', () => {
    const { backup } = history(() => 0.4, 1)
    const target = scratchPath()
    const damage: Record<string, (path: string) => void> = {
      'a slot': (path) => flipByte(dataFile(path), 4 * 4096 + 4000),
      'the record': (path) => flipByte(join(path, 'backup'), 20, 1),
      'all headers': (path) => [0, 1, 2, 3].forEach((slot) => flipByte(dataFile(path), slot * 4096 + 70)),
    }
    for (const [what, change] of Object.entries(damage)) {
      const copy = crashCopy(backup)
      change(copy)
      expectError(() => restored({ backup: copy, target }), 'ERR_MMAPDB_CORRUPT')
      expect(existsSync(target), what).to.equal(false)
      expectNothingLeft(target)
    }
    const short = crashCopy(backup)
    writeFileSync(dataFile(short), '')
    expectError(() => restored({ backup: short, target }), 'ERR_MMAPDB_CORRUPT', /empty/)
    expectNothingLeft(target)
  })

  it('leaves nothing, at whatever step it is ended', () => {
    const { backup, source } = history(() => 0.8, 3)
    const target = scratchPath()
    let steps = 0
    const work = () => restore(posixStorage, { backup, target, source, until: LATEST, options: {} })
    while (endedAfter(work(), steps)) {
      expectNothingLeft(target)
      steps++
    }
    expect(steps).to.be.above(2)
    rmSync(target, { recursive: true })
    const phases = Array.from(work(), ({ phase }) => phase)
    expect([...new Set(phases)], 'in which it was ended').to.deep.equal(['copying', 'replaying', 'verifying'])
    expect(steps, 'after each').to.equal(phases.length + 1)
    expect(readdirSync(join(target, '..')).sort()).to.deep.equal(['db'])
  })
})
