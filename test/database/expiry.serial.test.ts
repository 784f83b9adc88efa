// Entries that expire, as users see them: through every way to write and to read, with and without workers. If these
// failed, a session would outlive its time, a rate limit would never end, or the file would fill up with what is gone.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'chai'
import { open, type BatchOperation, type Database, type PutOptions } from '../../src/index.js'
import { inPackage } from '../../src/package-root.js'
import { refusedAsInvalid } from '../support/interleaving.js'

const FAR = 4e12
const PAST = 1

async function collected<T>(from: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const one of from) all.push(one)
  return all
}

for (const workers of [0, 2]) {
  describe(`entries that expire, ${workers} workers`, function () {
    this.timeout(60_000)
    let directory: string
    let db: Database

    beforeEach(async () => {
      directory = mkdtempSync(join(tmpdir(), 'mmapdb-expiry-'))
      db = await open(join(directory, 'db'), { workers })
    })
    afterEach(async () => {
      await db.close()
      rmSync(directory, { recursive: true, force: true })
    })

    it('have the time that each way to write gives them', async () => {
      const before = Date.now()
      await db.put('a', 1, { ttlMs: 1e6 })
      db.putSync('b', 1, { ttlMs: 1e6 })
      await db.batch([
        { type: 'put', key: 'c', value: 1, ttlMs: 1e6 },
        { type: 'add', key: 'd', delta: 1, ttlMs: 1e6 },
      ])
      await db.add('e', 1, { ttlMs: 1e6 })
      db.addSync('f', 1, { ttlMs: 1e6 })
      const after = Date.now()
      for (const key of ['a', 'b', 'c', 'd', 'e', 'f'])
        expect(db.getEntry(key)!.expiresAt, key).to.be.within(before + 1e6, after + 1e6 + 2)
      for (const key of ['a', 'b', 'e']) await db.put(key, 2, { expiresAt: FAR })
      for (const key of ['a', 'b', 'e']) expect(db.getEntry(key)).to.deep.include({ value: 2, expiresAt: FAR })
      expect(db.stats().expiring).to.equal(6)
      await db.put('a', 3)
      expect(db.getEntry('a')).to.have.all.keys('value', 'version')
      expect(await db.put('b', 3, { expiresAt: FAR, ifAbsent: true })).to.equal(false)
      expect(await db.put('b', 3, { expiresAt: FAR + 1, ifVersion: db.getEntry('b')!.version })).to.equal(true)
      expect(db.getEntry('b')).to.deep.include({ value: 3, expiresAt: FAR + 1 })
      expect((await db.verify()).damage).to.deep.equal([])
    })

    it('are absent from their time on, however they are read', async () => {
      const operations: BatchOperation[] = []
      for (let i = 0; i < 3000; i++)
        operations.push({ type: 'put', key: i, value: i, expiresAt: i % 3 === 0 ? PAST : FAR })
      await db.batch(operations)
      const alive = Array.from({ length: 3000 }, (_, i) => i).filter((i) => i % 3 !== 0)
      expect(db.get(0)).to.equal(undefined)
      expect(db.getEntry(3)).to.equal(undefined)
      expect(db.has(6)).to.equal(false)
      expect(await db.getMany([0, 1, 3, 4])).to.deep.equal([undefined, 1, undefined, 4])
      expect(await db.hasMany([0, 1, 3, 4])).to.deep.equal([false, true, false, true])
      expect([...db.keys()]).to.deep.equal(alive)
      expect([...db.values({ reverse: true })]).to.deep.equal([...alive].reverse())
      expect(await collected(db.keysAsync())).to.deep.equal(alive)
      expect(await collected(db.valuesAsync({ reverse: true, limit: 5 }))).to.deep.equal(
        [...alive].reverse().slice(0, 5),
      )
      expect((await collected(db.rangeAsync({ gte: 0, lt: 7 }))).map(([key]) => key)).to.deep.equal([1, 2, 4, 5])
      expect(db.count()).to.equal(2000)
      expect(await db.countAsync()).to.equal(2000)
      expect(await db.countAsync({ gte: 0, lt: 6, reverse: true })).to.equal(4)
      const snapshot = db.snapshot()
      expect(snapshot.count()).to.equal(2000)
      expect(await snapshot.getMany([0, 1])).to.deep.equal([undefined, 1])
      expect(await snapshot.hasMany([0, 1])).to.deep.equal([false, true])
      expect(await collected(snapshot.keysAsync({ limit: 2 }))).to.deep.equal([1, 2])
      snapshot.close()
      expect(await db.del(0)).to.equal(false)
      expect(await db.add(3, 5)).to.equal(5)
      expect(await db.put(6, 1, { ifPresent: true })).to.equal(false)
      expect(await db.batch([{ type: 'check', key: 9, ifAbsent: true }])).to.equal(true)
    })

    it('are removed after a while, without anybody asking', async () => {
      const operations: BatchOperation[] = []
      for (let i = 0; i < 1000; i++) operations.push({ type: 'put', key: i, value: 'v'.repeat(100), ttlMs: 1 + i / 10 })
      operations.push({ type: 'put', key: 'stays', value: 1 }, { type: 'put', key: 'later', value: 1, ttlMs: 1e6 })
      await db.batch(operations)
      expect(db.stats().expiring).to.equal(1001)
      for (let i = 0; i < 200 && db.stats().expiring > 1; i++) await sleep(100)
      const { expiring, entries } = db.stats()
      expect({ expiring, entries }).to.deep.equal({ expiring: 1, entries: 2 })
      expect([...db.keys()]).to.deep.equal(['later', 'stays'])
      expect((await db.verify()).damage).to.deep.equal([])
    })

    it('are refused with a time that makes no sense, and nothing is changed', async () => {
      const wrong: [unknown, RegExp][] = [
        [{ ttlMs: 1, expiresAt: FAR }, /give one of them/],
        [{ ttlMs: 0 }, /ttlMs must be a number of milliseconds, more than 0/],
        [{ ttlMs: -5 }, /ttlMs must be/],
        [{ ttlMs: NaN }, /ttlMs must be/],
        [{ ttlMs: '1000' }, /ttlMs must be/],
        [{ ttlMs: null }, /ttlMs must be/],
        [{ ttlMs: Infinity }, /at a time that no Date can have/],
        [{ ttlMs: 9e15 }, /at a time that no Date can have/],
        [{ expiresAt: NaN }, /expiresAt must be a time in milliseconds since 1970/],
        [{ expiresAt: -1 }, /expiresAt must be/],
        [{ expiresAt: Infinity }, /expiresAt must be/],
        [{ expiresAt: new Date() }, /expiresAt must be/],
        [{ ttl: 5 }, /no option "ttl"/],
      ]
      for (const [options, message] of wrong) {
        const given = options as PutOptions
        await refusedAsInvalid(() => db.put('a', 1, given), message)
        await refusedAsInvalid(() => db.putSync('a', 1, given), message)
        await refusedAsInvalid(() => db.add('a', 1, given as never), message)
        if (!('ttl' in given))
          await refusedAsInvalid(() => db.batch([{ type: 'put', key: 'a', value: 1, ...given }]), message)
      }
      await refusedAsInvalid(() => db.del('a', { ttlMs: 5 } as never), /no option "ttlMs"/)
      await refusedAsInvalid(() => db.add('a', 1, { ifAbsent: true } as never), /no option "ifAbsent"/)
      await refusedAsInvalid(() => db.batch([{ type: 'del', key: 'a', ttlMs: 5 } as never]), /Only a put or an add/)
      await refusedAsInvalid(
        () => db.batch([{ type: 'check', key: 'a', ifAbsent: true, expiresAt: 5 } as never]),
        /Only a put/,
      )
      expect(db.count()).to.equal(0)
      expect(db.stats().log.tailLsn).to.equal(1)
      // A time that has come already is one all the same.
      expect(await db.put('a', 1, { expiresAt: PAST })).to.equal(true)
      expect(db.has('a')).to.equal(false)
      expect(await db.put('b', 1, { ttlMs: undefined, expiresAt: undefined })).to.equal(true)
      expect(db.getEntry('b')).to.not.have.property('expiresAt')
    })
  })
}

describe('a program that has put entries that expire', function () {
  this.timeout(60_000)

  it('ends when it has nothing else to do', () => {
    const directory = mkdtempSync(join(tmpdir(), 'mmapdb-expiry-'))
    const program = `
      import { open } from ${JSON.stringify(inPackage('dist/bundle/index.js'))}
      const db = await open(${JSON.stringify(join(directory, 'db'))})
      await db.put('a', 1, { ttlMs: 1e6 })
      await db.put('b', 1, { ttlMs: 1 })`
    const { status, signal } = spawnSync(process.execPath, ['--input-type=module', '-e', program], { timeout: 30_000 })
    rmSync(directory, { recursive: true, force: true })
    expect({ status, signal }).to.deep.equal({ status: 0, signal: null })
  })
})
