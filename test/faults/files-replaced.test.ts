// Files cut short, removed or replaced while the database is open. If this failed, a write would be
// acknowledged that no reader can find again, a reader would get a value that was never written, or a new
// opener would harm the processes that still run on the old files.
import { expect } from 'chai'
import { copyFileSync, readdirSync, renameSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Engine } from '../../src/engine/engine.js'
import { MmapdbError, type MmapdbErrorCode } from '../../src/errors.js'
import {
  cleanUp,
  crashCopy,
  dataFile,
  expectError,
  expectSound,
  heard,
  inProcess,
  openEngine,
  scratchPath,
  segmentStarts,
  TINY,
  walFile,
} from '../support/engine.js'

const OPTIONS = { ...TINY, timeoutMs: 500 }
const valueOf = (i: number): Buffer => Buffer.alloc(i % 10 === 3 ? 9000 : 120, i)

/** Fails unless each key is read as it was written, or refused as lost. Returns how many were read. */
function expectNothingWrong(engine: Engine, count: number): number {
  let read = 0
  for (let i = 0; i < count; i++) {
    try {
      expect((engine.get(i) as Buffer | undefined)?.equals(valueOf(i)), `the value of ${i}`).to.equal(true)
      read++
    } catch (error) {
      if (!(error instanceof MmapdbError)) throw error
      expect(error.code).to.be.oneOf(['ERR_MMAPDB_IO', 'ERR_MMAPDB_CORRUPT'])
    }
  }
  return read
}

/** A database that this process and another have open, with 100 acknowledged writes. */
async function running(path: string) {
  const engine = openEngine(path, OPTIONS)
  for (let i = 0; i < 100; i++) {
    engine.put(i, valueOf(i))
    if (i === 50) engine.checkpoint(true)
  }
  const peer = inProcess(
    path,
    `const db = open()
     for (;;) {
       say('ready')
       const heard = await hear()
       if (heard === 'close') break
       if (heard === 'put') {
         try { db.put('theirs', Buffer.from('1')); say('ok') } catch (error) { say(error.code) }
       }
       if (heard === 'get') {
         try { say(db.get(40).equals(Buffer.alloc(120, 40))) } catch (error) { say(error.code) }
       }
     }
     try { db.close(); say('closed') } catch (error) { say(error.code) }`,
    OPTIONS,
  )
  await heard(peer, 'ready')
  const ask = async (what: string): Promise<unknown> => {
    peer.tell(what)
    const answer = await peer.next()
    await heard(peer, 'ready')
    return answer
  }
  return { engine, peer, ask }
}

const codeOf = (act: () => void): MmapdbErrorCode | 'ok' => {
  try {
    act()
    return 'ok'
  } catch (error) {
    expect(error).to.be.instanceOf(MmapdbError)
    return (error as MmapdbError).code
  }
}
const opening = (path: string): MmapdbErrorCode | 'open' => {
  const code = codeOf(() => openEngine(path, OPTIONS).close())
  return code === 'ok' ? 'open' : code
}

describe('files changed beneath those who have them open', function () {
  this.timeout(60_000)
  afterEach(cleanUp)

  const lost: Record<string, (path: string) => void> = {
    'the segment of the log removed': (path) => rmSync(walFile(path, segmentStarts(path).at(-1)!)),
    'the segment of the log renamed': (path) =>
      renameSync(walFile(path, segmentStarts(path).at(-1)!), join(path, 'elsewhere')),
    'the segment of the log replaced by a copy': (path) => {
      const file = walFile(path, segmentStarts(path).at(-1)!)
      copyFileSync(file, join(path, 'copy'))
      renameSync(join(path, 'copy'), file)
    },
    'the segment of the log emptied': (path) => truncateSync(walFile(path, segmentStarts(path).at(-1)!), 0),
    'the segment of the log overwritten with zeros': (path) => {
      const file = walFile(path, segmentStarts(path).at(-1)!)
      writeFileSync(file, Buffer.alloc(statSync(file).size), { flag: 'r+' })
    },
    'the whole log removed': (path) => rmSync(join(path, 'wal'), { recursive: true }),
  }
  for (const [what, change] of Object.entries(lost)) {
    it(`${what}: nothing is acknowledged any more, and what was is saved by the last to close`, async () => {
      const path = scratchPath()
      const { engine, peer, ask } = await running(path)
      change(path)
      // The first writer to notice has its write in a log that may come back; after it, no process writes any more.
      expectError(() => engine.put('mine', Buffer.from('1')), 'ERR_MMAPDB_OUTCOME_UNKNOWN', /Writes are refused|gone/)
      expectError(() => engine.put('mine', Buffer.from('2')), 'ERR_MMAPDB_CORRUPT', /Writes are refused|gone/)
      expect(await ask('put')).to.equal('ERR_MMAPDB_CORRUPT')
      expect(await ask('get')).to.equal(true)
      expect(expectNothingWrong(engine, 100)).to.equal(100)
      peer.tell('close')
      await heard(peer, 'closed')
      engine.close()
      const again = openEngine(path, OPTIONS)
      expect(expectNothingWrong(again, 100)).to.equal(100)
      expectSound(again)
      again.put('afterwards', Buffer.from('works'))
    })
  }

  it('the segment of the log cut short: typed errors at the latest when it is opened again, and salvage helps', async () => {
    const path = scratchPath()
    const { engine, peer, ask } = await running(path)
    truncateSync(walFile(path, segmentStarts(path).at(-1)!), 64)
    // The tree is safe: whether this write is accepted or not, closing loses nothing that was acknowledged.
    const outcome = await ask('put')
    expect(outcome).to.be.oneOf(['ok', 'ERR_MMAPDB_CORRUPT', 'ERR_MMAPDB_IO', 'ERR_MMAPDB_OUTCOME_UNKNOWN'])
    expect(expectNothingWrong(engine, 100)).to.equal(100)
    peer.tell('close')
    await heard(peer, 'closed')
    engine.close()
    const again = openEngine(path, OPTIONS)
    expect(expectNothingWrong(again, 100)).to.equal(100)
    if (outcome === 'ok') expect(again.get('theirs')).to.deep.equal(Buffer.from('1'))
    expectSound(again)
  })

  it('the data file removed: writes are refused, reads go on, nobody creates another in its place', async () => {
    const path = scratchPath()
    const { engine, peer, ask } = await running(path)
    renameSync(dataFile(path), `${path}.elsewhere`)
    expect(opening(path)).to.equal('ERR_MMAPDB_CORRUPT')
    expectError(
      () => engine.put('mine', Buffer.from('1')),
      'ERR_MMAPDB_OUTCOME_UNKNOWN',
      /Writes are refused.*data was removed or replaced/,
    )
    expect(await ask('put')).to.equal('ERR_MMAPDB_CORRUPT')
    expect(await ask('get')).to.equal(true)
    expect(expectNothingWrong(engine, 100)).to.equal(100)
    engine.close()
    // With the file back in its place, the database has everything that was acknowledged.
    await peer.kill()
    renameSync(`${path}.elsewhere`, dataFile(path))
    const again = openEngine(path, OPTIONS)
    expect(expectNothingWrong(again, 100)).to.equal(100)
    expectSound(again)
  })

  it('the data file replaced by an older copy: those who run on and whoever opens it do each other no harm', async () => {
    const path = scratchPath()
    const first = openEngine(path, OPTIONS)
    for (let i = 0; i < 30; i++) first.put(i, valueOf(i))
    first.close()
    const old = crashCopy(path)
    const { engine, peer, ask } = await running(path)
    copyFileSync(dataFile(old), join(path, 'copy'))
    renameSync(join(path, 'copy'), dataFile(path))
    // The log that the old copy needs has been recycled, or it is still there and restores everything.
    const opened = opening(path)
    expect(opened).to.be.oneOf(['ERR_MMAPDB_CORRUPT', 'open'])
    expect(expectNothingWrong(engine, 100)).to.equal(100)
    expect(await ask('get')).to.equal(true)
    expectError(() => engine.put('mine', Buffer.from('1')), 'ERR_MMAPDB_OUTCOME_UNKNOWN', /Writes are refused/)
    expect(await ask('put')).to.equal('ERR_MMAPDB_CORRUPT')
    expectError(() => engine.checkpoint(true), 'ERR_MMAPDB_CORRUPT')
    peer.tell('close')
    await heard(peer, 'closed')
    engine.close()
    expect(opening(path)).to.equal(opened)
  })

  for (const to of [0, 4 * 4096, 16 * 4096]) {
    it(`the data file cut to ${to} bytes: no wrong value, no write, a typed error from every operation`, async () => {
      const path = scratchPath()
      const { engine, ask } = await running(path)
      const snapshot = engine.snapshot()
      truncateSync(dataFile(path), to)
      const read = expectNothingWrong(engine, 100)
      expect(read).to.be.lessThan(100)
      for (const act of [
        () => engine.put('mine', Buffer.from('1')),
        () => [...engine.range(undefined, 'entries')],
        () => engine.range(undefined, 'keys').count(),
        () => [...snapshot.range(undefined, 'values')],
        () => engine.checkpoint(true),
      ]) {
        expect(act)
          .to.throw(MmapdbError)
          .with.property('code')
          .that.is.oneOf(['ERR_MMAPDB_IO', 'ERR_MMAPDB_CORRUPT', 'ERR_MMAPDB_OUTCOME_UNKNOWN'])
      }
      expect(await ask('get')).to.be.oneOf([true, 'ERR_MMAPDB_IO', 'ERR_MMAPDB_CORRUPT'])
      expect(opening(path)).to.be.oneOf(['ERR_MMAPDB_IO', 'ERR_MMAPDB_CORRUPT', 'ERR_MMAPDB_NOT_FOUND', 'open'])
      snapshot.close()
    })
  }

  const controls: Record<string, (control: string) => void> = {
    removed: (control) => rmSync(control),
    'cut to nothing': (control) => truncateSync(control, 0),
    'cut to one page': (control) => truncateSync(control, 4096),
    'replaced by zeros': (control) => {
      writeFileSync(`${control}.new`, Buffer.alloc(2 ** 20))
      renameSync(`${control}.new`, control)
    },
    'replaced by a copy of itself': (control) => {
      copyFileSync(control, `${control}.new`)
      renameSync(`${control}.new`, control)
    },
  }
  for (const [what, change] of Object.entries(controls)) {
    it(`control ${what}: no wrong value and no opener; all is there when it has been closed and opened`, async () => {
      const path = scratchPath()
      const { engine, peer, ask } = await running(path)
      const entries = readdirSync(path).length
      change(join(path, 'control'))
      expect(opening(path)).to.equal('ERR_MMAPDB_CORRUPT')
      expectNothingWrong(engine, 100)
      // Processes that have the file open lose what is cut off, but not what is removed or replaced.
      const isCut = what.startsWith('cut')
      const outcomes = {
        mine: codeOf(() => engine.put('mine', Buffer.from('1'))),
        theirs: await ask('put'),
      }
      for (const outcome of Object.values(outcomes)) {
        expect(outcome).to.be.oneOf(isCut ? ['ERR_MMAPDB_IO', 'ERR_MMAPDB_OUTCOME_UNKNOWN'] : ['ok'])
      }
      expect(await ask('get')).to.equal(isCut ? 'ERR_MMAPDB_IO' : true)
      expectNothingWrong(engine, 100)
      peer.tell('close')
      await peer.next()
      try {
        engine.close()
      } catch (error) {
        expect(error).to.be.instanceOf(MmapdbError)
      }
      const again = openEngine(path, OPTIONS)
      expect(expectNothingWrong(again, 100)).to.equal(100)
      for (const [key, outcome] of Object.entries(outcomes)) {
        const found = again.get(key) as Buffer | undefined
        if (outcome === 'ok') expect(found).to.deep.equal(Buffer.from('1'))
        else if (outcome === 'ERR_MMAPDB_IO') expect(found, 'a write that was refused').to.equal(undefined)
        else expect([undefined, '1']).to.include(found?.toString())
      }
      expectSound(again)
      again.put('afterwards', Buffer.from('works'))
      expect(readdirSync(path).length).to.be.at.most(entries + 1)
    })
  }
})
