// The public Database, as `open` gives it to a program that embeds it.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { tmpdir } from 'node:os'
import { Worker } from 'node:worker_threads'
import { expect } from 'chai'
import { Engine } from '../../src/engine/engine.js'
import { ClosedError, InvalidError, MmapdbError, open, ReadOnlyError, type Database } from '../../src/index.js'
import { inPackage } from '../../src/package-root.js'

const root = inPackage('.')

describe('a database', () => {
  let directory: string
  let path: string
  const opened: Database[] = []
  const keep = <D extends Database>(db: D): D => {
    opened.push(db)
    return db
  }

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'mmapdb-database-'))
    path = join(directory, 'db')
  })
  afterEach(async () => {
    for (const db of opened.splice(0)) await db.close()
    rmSync(directory, { recursive: true, force: true })
  })

  it('lets no unforeseen exception out, and no exception of a checkpoint that a write had asked for', async () => {
    const { checkpoint } = Engine.prototype
    const openEngine = Engine.open
    const fault = (): never => {
      throw new RangeError('out of range')
    }
    const db = keep(
      await open(path, { workers: 0, valueEncoding: 'binary', segmentBytes: 65536, checkpointBytes: 65536 }),
    )
    const refusal = async (act: () => Promise<unknown>): Promise<unknown> =>
      act().then(
        () => undefined,
        (error: unknown) => error,
      )
    try {
      Object.assign(Engine.prototype, { checkpoint: fault })
      Object.assign(Engine, { open: fault })
      for (const act of [() => db.checkpoint(), () => open(path)]) {
        expect(await refusal(act))
          .to.be.an.instanceOf(MmapdbError)
          .and.include({ code: 'ERR_MMAPDB_IO' })
          .and.have.property('cause')
          .that.is.an.instanceOf(RangeError)
      }
      for (let i = 0; i < 20; i++) db.putSync(i, Buffer.alloc(10_000))
      expect(db.count()).to.equal(20)
    } finally {
      Object.assign(Engine.prototype, { checkpoint })
      Object.assign(Engine, { open: openEngine })
    }
  })

  for (const workers of [0, 2]) {
    describe(`with ${workers} workers`, () => {
      it('shows a write to all readers as soon as it is acknowledged, and still after it was closed', async () => {
        const db = keep(await open(path, { workers }))
        const other = keep(await open(path, { workers: 0 }))
        await db.put('a', { n: 1 })
        expect(db.get('a')).to.deep.equal({ n: 1 })
        expect(other.get('a')).to.deep.equal({ n: 1 })
        await db.batch([
          { type: 'put', key: 'b', value: [2] },
          { type: 'del', key: 'a' },
        ])
        expect([other.get('a'), other.get('b')]).to.deep.equal([undefined, [2]])
        await db.close()
        await other.close()
        const again = keep(await open(path, { workers }))
        expect([...again.range()]).to.deep.equal([['b', [2]]])
        expect(again.recovery?.needed).to.equal(false)
      })

      it('lets writes that are made together share a flush', async () => {
        const db = keep(await open(path, { workers }))
        await db.put('first', 0)
        const before = db.stats().commits
        await Promise.all(Array.from({ length: 1000 }, (_, i) => db.put(i, i)))
        const after = db.stats().commits
        expect(after.operations - before.operations).to.equal(1000)
        expect(after.flushes - before.flushes).to.be.at.most(10)
        expect(db.count({ gte: 0, lt: 1000 })).to.equal(1000)
      })

      it('answers every call, however many are made at the same time', async () => {
        const db = keep(await open(path, { workers }))
        await db.put('a', 1)
        const reads = Array.from({ length: 50 }, () => db.getMany(['a']))
        const counts = Array.from({ length: 50 }, () => db.countAsync())
        const rest = [db.put('b', 2), db.checkpoint(), db.verify(), db.put('c', 3)]
        expect((await Promise.all(reads)).flat()).to.deep.equal(Array.from({ length: 50 }, () => 1))
        expect(await Promise.all(counts)).to.satisfy((all: number[]) => all.every((n) => n >= 1 && n <= 3))
        await Promise.all(rest)
        expect([db.get('b'), db.get('c')]).to.deep.equal([2, 3])
      })

      it('applies the writes of one caller in the order in which they were made', async () => {
        const db = keep(await open(path, { workers }))
        const writes = []
        for (let i = 0; i < 500; i++) writes.push(i % 3 === 2 ? db.del('k') : db.put('k', i))
        await Promise.all(writes)
        expect(db.get('k')).to.equal(499)
      })

      it('applies them in that order also when they go to different workers', async () => {
        const db = keep(await open(path, { workers: workers * 2 }))
        const writes = []
        for (let i = 0; i < 300; i++) {
          writes.push(db.put('k', i), db.put(`filler${i}`, 'x'.repeat(i % 7 === 0 ? 20_000 : 1)))
          // Each tick has a frame of its own.
          await new Promise(setImmediate)
        }
        await Promise.all(writes)
        expect(db.get('k')).to.equal(299)
        const versions = Array.from({ length: 300 }, (_, i) => db.getEntry(`filler${i}`)!.version)
        expect(versions).to.deep.equal([...versions].sort((a, b) => a - b))
      })

      it('refuses one bad write of many and keeps the others', async () => {
        const db = keep(await open(path, { workers }))
        const results = await Promise.allSettled([
          db.put('a', 1),
          db.put(Number.NaN, 2),
          db.put('c', undefined),
          db.put('d', 4),
        ])
        expect(results.map((r) => r.status)).to.deep.equal(['fulfilled', 'rejected', 'rejected', 'fulfilled'])
        expect((results[1] as PromiseRejectedResult).reason).to.be.instanceOf(InvalidError)
        expect([...db.keys()]).to.deep.equal(['a', 'd'])
        const half = db.batch([
          { type: 'put', key: 'x', value: 1 },
          { type: 'put', key: [], value: 2 },
        ])
        expect(await half.catch((error: MmapdbError) => error.code)).to.equal('ERR_MMAPDB_INVALID')
        expect(db.has('x')).to.equal(false)
      })

      it('holds no more in flight than it is allowed to, and loses nothing by it', async () => {
        const db = keep(await open(path, { workers, maxInFlightBytes: 65_536, valueEncoding: 'binary' }))
        await Promise.all(Array.from({ length: 300 }, (_, i) => db.put(i, Buffer.alloc(5000, i))))
        let sum = 0
        for (const [key, value] of db.range())
          sum += value.every((byte: number) => byte === (key as number) % 256) ? 1 : 0
        expect(sum).to.equal(300)
      })

      it('writes what was still on its way when it is closed, and refuses what comes after', async () => {
        const db = await open(path, { workers })
        const writes = Array.from({ length: 200 }, (_, i) => db.put(i, i))
        const closing = db.close()
        await Promise.all([...writes, closing])
        expect(await db.put('late', 1).catch((error: Error) => error)).to.be.instanceOf(ClosedError)
        expect(() => db.get(1)).to.throw(ClosedError)
        expect(() => db.putSync(1, 1)).to.throw(ClosedError)
        expect(keep(await open(path)).count()).to.equal(200)
      })

      it('finishes what was asked of it before it closes', async () => {
        const db = keep(await open(path, { workers }))
        await db.batch(Array.from({ length: 300 }, (_, i) => ({ type: 'put', key: i, value: i })))
        const asked = [
          ...Array.from({ length: 20 }, () => db.getMany([1, 2])),
          db.countAsync(),
          db.verify().then((report) => report.ok),
        ]
        const closing = db.close()
        expect(await Promise.all(asked)).to.deep.equal([...Array.from({ length: 20 }, () => [1, 2]), 300, true])
        await closing
        expect(await db.getMany([1]).catch((error: unknown) => error)).to.be.instanceOf(ClosedError)
      })

      it('reads many keys as of one moment, in their order', async () => {
        const db = keep(await open(path, { workers }))
        await db.batch([
          { type: 'put', key: 'a', value: 1 },
          { type: 'put', key: ['b', 2], value: 'x'.repeat(10_000) },
        ])
        const found = await db.getMany([['b', 2], 'missing', 'a'])
        expect(found).to.deep.equal(['x'.repeat(10_000), undefined, 1])
        expect(await db.countAsync({ prefix: ['b'] })).to.equal(1)
        expect(await db.getMany([])).to.deep.equal([])
      })

      it('gives each of many lists its own values, and the error of one list to no other', async () => {
        const db = keep(await open(path, { workers }))
        await db.batch(Array.from({ length: 500 }, (_, i) => ({ type: 'put', key: i, value: i })))
        const lists = Array.from({ length: 200 }, (_, n) => Array.from({ length: n % 7 }, (__, i) => n * 2 + i))
        const found = lists.map((list) => db.getMany(list))
        const wrong = [db.getMany([1, {} as never]), db.getMany(['x'.repeat(5000)])].map((one) =>
          one.catch((error: unknown) => error),
        )
        for (const [n, list] of lists.entries())
          expect(await found[n], String(n)).to.deep.equal(list.map((i) => (i < 500 ? i : undefined)))
        for (const one of wrong) expect(await one).to.be.instanceOf(InvalidError)
      })

      it('makes checkpoints while it goes on, so that the log stays short', async () => {
        const db = keep(
          await open(path, { workers, checkpointBytes: 65_536, segmentBytes: 65_536, valueEncoding: 'utf8' }),
        )
        for (let i = 0; i < 60; i++)
          await db.batch(Array.from({ length: 50 }, (_, n) => ({ type: 'put', key: n, value: `${i}`.padEnd(200) })))
        expect(db.stats().checkpoint.made).to.be.greaterThan(2)
        expect(db.stats().log.replayBytes).to.be.at.most(4 * 65_536)
        expect((await db.verify()).damage).to.deep.equal([])
      })
    })
  }

  it('keeps a snapshot as it was while others write', async () => {
    const db = keep(await open(path, { workers: 2 }))
    await Promise.all(Array.from({ length: 100 }, (_, i) => db.put(i, 'old')))
    const snapshot = db.snapshot()
    await Promise.all(Array.from({ length: 100 }, (_, i) => (i % 2 ? db.del(i) : db.put(i, 'new'))))
    expect([...snapshot.values()]).to.deep.equal(Array.from({ length: 100 }, () => 'old'))
    expect(snapshot.get(1)).to.equal('old')
    expect(db.count()).to.equal(50)
    snapshot.close()
    expect(() => snapshot.get(1)).to.throw(ClosedError)
  })

  it('lets go of its moment when a loop over it is left early', async () => {
    const db = keep(await open(path, { workers: 0 }))
    await db.batch(Array.from({ length: 100 }, (_, i) => ({ type: 'put', key: i, value: i })))
    for (const [key] of db.range()) if (key === 5) break
    const spent = db.range({ limit: 3 })
    expect([...spent]).to.have.length(3)
    expect(db.stats().readers.pinned).to.equal(0)
  })

  it('refuses writes if it was opened to read', async () => {
    await (await open(path)).close()
    const db = keep(await open(path, { readOnly: true }))
    expect(await db.put('a', 1).catch((error: Error) => error)).to.be.instanceOf(ReadOnlyError)
    expect(() => db.putSync('a', 1)).to.throw(ReadOnlyError)
  })

  it('infers what values are from their encoding', async () => {
    const text = keep(await open(join(directory, 'text'), { valueEncoding: 'utf8', workers: 0 }))
    await text.put('a', 'b')
    const value: string | undefined = text.get('a')
    expect(value).to.equal('b')
    // @ts-expect-error a number is not a string
    const refused = text.put('a', 1)
    expect(await refused.catch((error: Error) => error)).to.be.instanceOf(InvalidError)
    const bytes = keep(await open(join(directory, 'bytes'), { valueEncoding: 'binary', workers: 0 }))
    await bytes.put('a', Uint8Array.of(1, 2))
    const buffer: Buffer | undefined = bytes.get('a')
    expect(buffer?.toString('hex')).to.equal('0102')
  })

  it('can be required by CommonJS, and imported, by its name', () => {
    const script = `const { open } = require('mmapdb'); import('mmapdb').then(async (m) => {
      if (m.open !== open) throw new Error('two copies')
      const db = await open(${JSON.stringify(path)}, { workers: 0 }); db.putSync('a', 1); console.log(db.get('a')); await db.close() })`
    const run = spawnSync(process.execPath, ['-e', script], { cwd: root, encoding: 'utf8' })
    expect(run.stderr).to.equal('')
    expect(run.stdout).to.equal('1\n')
  })

  it('is written to by worker threads of its user, each durable on its own', async () => {
    const db = keep(await open(path, { workers: 2 }))
    const script = `
      const { workerData } = require('node:worker_threads')
      const { open } = require('mmapdb')
      open(workerData.path, { workers: 0 }).then(async (db) => {
        for (let i = 0; i < 50; i++) await db.put([workerData.name, i], i)
        await db.close()
      })`
    await Promise.all(
      ['a', 'b', 'c'].map(
        (name) =>
          new Promise<void>((resolve, reject) => {
            const worker = new Worker(
              script.replaceAll("require('mmapdb')", `require(${JSON.stringify(join(root, 'dist/bundle/index.js'))})`),
              {
                eval: true,
                workerData: { path, name },
              },
            )
            worker.on('error', reject)
            worker.on('exit', () => resolve())
          }),
      ),
    )
    for (const name of ['a', 'b', 'c']) expect(db.count({ prefix: [name] })).to.equal(50)
  })
})
