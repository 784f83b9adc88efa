// Backups and restores as programs make them: beside writers, with progress, and ended by a signal. If one of these
// failed, a program could not rely on what it was told.
import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import { InvalidError, MmapdbError, open, restore, type Database, type Progress } from '../../src/index.js'
import { cleanUp, scratchDirectory, scratchPath, stride } from '../support/engine.js'
import { expectNothingLeft, expectWhole, filledDatabase } from '../support/copies.js'

async function rejected(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise
  } catch (error) {
    return error
  }
  return expect.fail('it did not reject')
}

for (const workers of [0, 2]) {
  describe(`db.backup with ${workers} workers`, function () {
    this.timeout(120_000)
    let db: Database
    afterEach(async () => {
      await db.close()
      cleanUp()
    })

    it('is of one moment beside writers, who go on meanwhile', async () => {
      db = await filledDatabase(scratchPath(), workers, 20_000)
      await db.batch(['left', 'right'].map((key) => ({ type: 'put', key, value: 0 }) as const))
      let isOver = false
      let writes = 0
      const writer = async (): Promise<void> => {
        while (!isOver) {
          const value = ++writes
          await db.batch(['left', 'right'].map((key) => ({ type: 'put', key, value }) as const))
          // Without workers a write takes no turn of the event loop.
          await delay(0)
        }
      }
      const writing = writer()
      for (let round = 0; round < 3; round++) {
        const before = writes
        const target = scratchPath()
        const told: Progress[] = []
        const report = await db.backup(target, { onProgress: (progress) => told.push(progress) })
        expect(writes - before, 'writes meanwhile').to.be.above(5)
        const copy = await open(target, { workers: 0 })
        expect((await copy.verify()).ok).to.equal(true)
        expect(copy.stats().entries).to.equal(20_002).and.to.equal(report.entries)
        expect(copy.get('left'))
          .to.equal(copy.get('right'))
          .and.to.be.at.least(before - 1)
        await copy.close()
        for (const { phase, done, total } of told) {
          expect(['copying', 'verifying']).to.include(phase)
          expect(done).to.be.within(0, total)
        }
      }
      isOver = true
      await writing
    })

    it('ends with the reason of a signal at any moment, and leaves nothing', async () => {
      db = await filledDatabase(scratchPath(), workers, 50_000)
      const target = scratchPath()
      expect(await rejected(db.backup(target, { signal: AbortSignal.abort('before') }))).to.equal('before')
      let ended = 0
      for (let ms = 0; ms < 400; ms += 10 * stride) {
        const stop = new AbortController()
        const making = db.backup(target, { signal: stop.signal })
        const settled = making.catch((error: unknown) => error)
        await delay(ms)
        stop.abort(new Error('enough'))
        const result = await settled
        if (result instanceof Error) {
          expect(result.message).to.equal('enough')
          expectNothingLeft(target)
          ended++
        } else {
          expect(existsSync(target)).to.equal(true)
          rmSync(target, { recursive: true })
        }
      }
      expect(ended).to.be.above(2 / stride)
      await db.put('goes on', 1)
      expect((await db.verify()).ok).to.equal(true)
    })

    it('ends with what onProgress throws', async () => {
      db = await filledDatabase(scratchPath(), workers, 100_000)
      const target = scratchPath()
      const failure = new Error('of the user')
      const onProgress = (): never => {
        throw failure
      }
      expect(await rejected(db.backup(target, { onProgress }))).to.equal(failure)
      expectNothingLeft(target)
      const nothing = (): void => AbortSignal.abort(null).throwIfAborted()
      expect(await rejected(db.backup(target, { onProgress: nothing })), 'null').to.equal(null)
      expectNothingLeft(target)
    })

    it('is finished if onProgress closes the database, however early it does', async () => {
      db = await filledDatabase(scratchPath(), workers, 100_000)
      const target = scratchPath()
      let closing: Promise<void> | undefined
      const onProgress = (): void => void (closing ??= db.close())
      expect(await db.backup(target, { onProgress })).to.include({ path: target, entries: 100_000 })
      expect(closing, 'onProgress was called').to.not.equal(undefined)
      await closing
      await expectWhole(target, 100_000)
    })

    it('refuses what cannot be meant, and is waited for by close', async () => {
      db = await filledDatabase(scratchPath(), workers, 5000)
      for (const path of ['', 'a\0b', 5, undefined])
        expect(await rejected(db.backup(path as string))).to.be.instanceOf(InvalidError)
      for (const options of [{ none: 1 }, { signal: 5 }, { onProgress: 5 }, 5])
        expect(await rejected(db.backup(scratchPath(), options as never))).to.be.instanceOf(InvalidError)
      expect(((await rejected(db.backup(db.path))) as MmapdbError).code).to.equal('ERR_MMAPDB_INVALID')
      expect(((await rejected(db.backup(scratchDirectory()))) as MmapdbError).code).to.equal('ERR_MMAPDB_EXISTS')
      const target = scratchPath()
      const making = db.backup(target)
      await db.close()
      expect(existsSync(target)).to.equal(true)
      expect((await making).entries).to.equal(5000)
      expect(((await rejected(db.backup(scratchPath()))) as MmapdbError).code).to.equal('ERR_MMAPDB_CLOSED')
    })
  })
}

describe('restore', function () {
  this.timeout(120_000)
  afterEach(cleanUp)

  it('makes a database of a backup, or of a later moment of its source', async () => {
    const db = await open(scratchPath(), { checkpointBytes: 2 ** 30 })
    await db.put('key', 'in the backup')
    const backup = scratchPath()
    await db.backup(backup)
    await db.put('key', 'later')
    const { version } = db.getEntry('key')!
    await new Promise((resolve) => setTimeout(resolve, 5))
    const time = new Date()
    await new Promise((resolve) => setTimeout(resolve, 5))
    await db.put('key', 'latest')
    const valueIn = async (options?: Parameters<typeof restore>[2]): Promise<unknown> => {
      const to = scratchPath()
      await restore(backup, to, options)
      const copy = await open(to, { workers: 0, createIfMissing: false })
      const value: unknown = copy.get('key')
      await copy.close()
      return value
    }
    const log = db.path
    expect(await valueIn()).to.equal('in the backup')
    expect(await valueIn({ log, lsn: version })).to.equal('in the backup')
    expect(await valueIn({ log, lsn: version + 1 })).to.equal('later')
    expect(await valueIn({ log, time })).to.equal('later')
    expect(await valueIn({ log, time: time.getTime() })).to.equal('later')
    expect(await valueIn({ log, latest: true })).to.equal('latest')
    await db.close()
  })

  it('refuses what cannot be meant', async () => {
    const db = await open(scratchPath(), { workers: 0 })
    await db.put('key', 1)
    const backup = scratchPath()
    await db.backup(backup)
    const log = db.path
    const to = scratchPath()
    const refused: (readonly [unknown, unknown, unknown])[] = [
      [5, to, {}],
      [backup, '', {}],
      [backup, to, { lsn: 5 }],
      [backup, to, { log, lsn: 1.5 }],
      [backup, to, { log, lsn: 0 }],
      [backup, to, { log, lsn: '5' }],
      [backup, to, { log, time: Number.NaN }],
      [backup, to, { log, time: new Date(Number.NaN) }],
      [backup, to, { log, time: 'noon' }],
      [backup, to, { log, latest: 1 }],
      [backup, to, { log, latest: true, lsn: 100 }],
      [backup, to, { log: 5, latest: true }],
      [backup, to, { other: 1 }],
      [backup, join(backup, 'inside'), {}],
    ]
    for (const [from, target, options] of refused) {
      const error = await rejected(restore(from as string, target as string, options as never))
      expect((error as MmapdbError).code, String(error)).to.equal('ERR_MMAPDB_INVALID')
    }
    expect(await rejected(restore(backup, to, { signal: AbortSignal.abort('no') }))).to.equal('no')
    expectNothingLeft(to)
    await db.close()
  })
})
