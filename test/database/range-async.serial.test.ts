// Ranges that are read off the event loop, and lists of keys of snapshots. If this failed, a loop would see more than
// one moment, hold up the event loop, keep a moment for ever, or go on after it was told to end.
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { once } from 'node:events'
import { expect } from 'chai'
import { Engine } from '../../src/engine/engine.js'
import { resolveOptions } from '../../src/engine/options.js'
import {
  ClosedError,
  EncodingError,
  ExistsError,
  ExpiredError,
  InvalidError,
  open,
  type AsyncRangeOptions,
  type Database,
  type Key,
  type OpenOptions,
} from '../../src/index.js'
import { encodeKey, KEY_BUFFER_BYTES } from '../../src/encoding/keys.js'
import { compiledUrl } from '../../src/package-root.js'
import { posixStorage } from '../../src/storage/posix.js'

const KEYS = 5000

describe('reading off the event loop', function () {
  this.timeout(60_000)
  let directory: string
  const opened: Database[] = []
  const filled = async (options: OpenOptions = {}): Promise<Database> => {
    const db = await open(join(directory, 'db'), options)
    opened.push(db)
    await write(db, 0)
    return db
  }
  const write = (db: Database, round: number): Promise<unknown> =>
    db.batch(Array.from({ length: KEYS }, (_, n) => ({ type: 'put' as const, key: n, value: { n, round } })))
  const pinned = (db: Database): number => db.stats().readers.pinned
  const refusal = async (act: () => unknown): Promise<unknown> => {
    try {
      await act()
    } catch (error) {
      return error
    }
    throw new Error('nothing was thrown')
  }

  beforeEach(() => (directory = mkdtempSync(join(tmpdir(), 'mmapdb-range-async-'))))
  afterEach(async () => {
    for (const db of opened.splice(0)) await db.close()
    rmSync(directory, { recursive: true, force: true })
  })

  for (const workers of [0, 1, 3]) {
    describe(`with ${workers} workers`, () => {
      it('gives the entries of one moment, in order, whatever is written meanwhile', async () => {
        const db = await filled({ workers })
        const range = db.rangeAsync()
        const backwards = db.keysAsync({ reverse: true, gt: 9, lte: 4000 })
        const values = db.valuesAsync({ gte: 100, limit: 1500 })
        let count = 0
        for await (const [key, value] of range) {
          expect([key, value]).to.deep.equal([count, { n: count, round: 0 }])
          if (count++ % 1000 === 0) await write(db, count)
        }
        expect(count).to.equal(KEYS)
        const keys = []
        for await (const key of backwards) keys.push(key)
        expect(keys).to.deep.equal(Array.from({ length: 3991 }, (_, i) => 4000 - i))
        count = 0
        for await (const value of values) expect(value).to.deep.equal({ n: 100 + count++, round: 0 })
        expect(count).to.equal(1500)
        expect(pinned(db)).to.equal(0)
      })

      it('reads a snapshot as it was, also lists of keys, and ends with it', async () => {
        const db = await filled({ workers })
        const snapshot = db.snapshot()
        await write(db, 1)
        await db.del(3)
        const [old, now] = [snapshot, db]
        expect(await old.getMany([3, 4, -1])).to.deep.equal([{ n: 3, round: 0 }, { n: 4, round: 0 }, undefined])
        expect(await now.getMany([3, 4])).to.deep.equal([undefined, { n: 4, round: 1 }])
        expect(await Promise.all([old.hasMany([3, -1]), old.hasMany([]), old.getMany([5])])).to.deep.equal([
          [true, false],
          [],
          [{ n: 5, round: 0 }],
        ])
        expect(await now.hasMany([3, 4, 'x'])).to.deep.equal([false, true, false])
        const range = snapshot.rangeAsync()
        for (let n = 0; n < 1500; n++) expect((await range.next()).value).to.deep.equal([n, { n, round: 0 }])
        const pending = [snapshot.getMany([1]), range.next()] as const
        snapshot.close()
        expect(pinned(db)).to.equal(0)
        // What was under way may have been read before.
        const outcomes = await Promise.allSettled(pending)
        for (const one of outcomes) if (one.status === 'rejected') expect(one.reason).to.be.instanceOf(ClosedError)
        if (outcomes[1].status === 'fulfilled') expect(await refusal(() => range.next())).to.be.instanceOf(ClosedError)
        expect(await range.next()).to.deep.equal({ done: true, value: undefined })
        for (const act of [() => snapshot.getMany([1]), () => snapshot.hasMany([1]), () => snapshot.keysAsync()])
          expect(await refusal(act)).to.be.instanceOf(ClosedError)
      })

      it('lets go of its moment at once when it is left, aborted or at its end', async () => {
        const db = await filled({ workers })
        for await (const _ of db.rangeAsync()) break
        expect(pinned(db), 'after a break').to.equal(0)

        const controller = new AbortController()
        const aborted = db.keysAsync({}, { signal: controller.signal })
        await aborted.next()
        const waiting = Promise.allSettled(Array.from({ length: 3 }, () => aborted.next()))
        expect(pinned(db)).to.equal(1)
        controller.abort(new Error('enough'))
        expect(pinned(db), 'after an abort').to.equal(0)
        expect(
          (await waiting).map(({ status }) => status).filter((status) => status === 'rejected').length,
        ).to.be.below(2)
        await aborted.next().catch((error: Error) => expect(error.message).to.equal('enough'))
        expect((await aborted.next()).done).to.equal(true)

        // In the middle of a loop, from an own turn of the event loop.
        const loop = new AbortController()
        let seen = 0
        const error = await refusal(async () => {
          for await (const _ of db.rangeAsync({}, { signal: loop.signal })) {
            if (seen++ === 1200) loop.abort()
          }
        })
        expect(error).to.equal(loop.signal.reason)
        expect(seen).to.equal(1201)

        const never = db.valuesAsync({}, { signal: AbortSignal.abort('too late') })
        expect(pinned(db)).to.equal(0)
        expect(await refusal(() => never.next())).to.equal('too late')
        expect((await never.next()).done).to.equal(true)

        // With the last chunk, before its entries have been asked for.
        const short = db.rangeAsync({ limit: 5 })
        await short.next()
        expect(pinned(db)).to.equal(0)
        expect((await short.next()).value).to.deep.equal([1, { n: 1, round: 0 }])
        await short.return()
        expect((await db.rangeAsync({ limit: 0 }).next()).done).to.equal(true)
        expect((await db.rangeAsync({ gt: 'z' }).next()).done).to.equal(true)
      })

      it('answers calls of next in their order, also if they do not wait for each other', async () => {
        const db = await filled({ workers })
        const range = db.keysAsync({ limit: 3000 })
        const results = await Promise.all(Array.from({ length: 3002 }, () => range.next()))
        expect(results.map(({ value }) => value)).to.deep.equal([
          ...Array.from({ length: 3000 }, (_, n) => n),
          undefined,
          undefined,
        ])
        expect(results.slice(2999).map(({ done }) => done)).to.deep.equal([false, true, true])
      })

      it('ends with ClosedError when the database is closed, at whatever point, and closing waits for no user', async () => {
        for (const read of [0, 1, 1024, 1500]) {
          const db = await open(join(directory, 'db'), { workers })
          if (read === 0) await write(db, 0)
          const range = db.rangeAsync()
          for (let n = 0; n < read; n++) await range.next()
          const pending = range.next()
          const closing = db.close()
          const settled = await Promise.allSettled([pending])
          if (settled[0].status === 'rejected') expect(settled[0].reason).to.be.instanceOf(ClosedError)
          else {
            expect((settled[0].value as { value: unknown[] }).value[0]).to.equal(read)
            expect(await refusal(() => range.next())).to.be.instanceOf(ClosedError)
          }
          await closing
          expect((await range.next()).done).to.equal(true)
          expect(await refusal(() => db.rangeAsync())).to.be.instanceOf(ClosedError)
        }
      })

      it('lets the event loop turn between chunks', async () => {
        const db = await filled({ workers })
        let turns = 0
        let isOver = false
        const turn = (): void => {
          turns++
          if (!isOver) setImmediate(turn)
        }
        setImmediate(turn)
        const turnsOfChunks: number[] = []
        let n = 0
        for await (const _ of db.keysAsync()) if (n++ % 1024 === 0) turnsOfChunks.push(turns)
        isOver = true
        expect(turnsOfChunks.length).to.equal(Math.ceil(KEYS / 1024))
        for (const [i, at] of turnsOfChunks.entries()) if (i > 0) expect(at).to.be.above(turnsOfChunks[i - 1]!)
      })

      it('says with ExpiredError that a writer has ended it', async () => {
        const db = await filled({ workers, maxHeldBytes: 65_536 })
        const range = db.rangeAsync()
        await range.next()
        for (let round = 1; round < 8; round++) await write(db, round)
        const error = await refusal(async () => {
          for await (const _ of range);
        })
        expect(error).to.be.instanceOf(ExpiredError)
        expect((await range.next()).done).to.equal(true)
        expect(pinned(db)).to.equal(0)
      })

      it('goes on after a value that cannot be decoded', async () => {
        const path = join(directory, 'db')
        const db = await open(path, { workers, valueEncoding: 'json' })
        opened.push(db)
        await db.batch(['a', 'c'].map((key) => ({ type: 'put' as const, key, value: key })))
        // As a program with another encoding would write it.
        const engine = Engine.open(resolveOptions(path, { workers: 0 }), posixStorage)
        const key = Buffer.alloc(KEY_BUFFER_BYTES)
        engine.write((frame) => frame.put(key, encodeKey('b', key), Buffer.from('no JSON')))
        engine.close()
        const range = db.valuesAsync()
        expect((await range.next()).value).to.equal('a')
        const error = await refusal(() => range.next())
        expect(error).to.be.instanceOf(EncodingError).with.nested.property('site.key', 'b')
        expect((await range.next()).value).to.equal('c')
        expect((await range.next()).done).to.equal(true)
      })
    })
  }

  it('takes values longer than a chunk, and keys of bytes as Buffers', async () => {
    const db = await open(join(directory, 'db'), { valueEncoding: 'binary' })
    opened.push(db)
    for (let n = 0; n < 6; n++) await db.put(new Uint8Array([0, n]), Buffer.alloc(400_000, n))
    let n = 0
    for await (const [key, value] of db.rangeAsync()) {
      expect(Buffer.isBuffer(key) && key.equals(Buffer.from([0, n]))).to.equal(true)
      expect(Buffer.isBuffer(value) && value.equals(Buffer.alloc(400_000, n))).to.equal(true)
      n++
    }
    expect(n).to.equal(6)
    for (const key of [...db.keys(), ...db.keys({ reverse: true }).nextMany(2)])
      expect(Buffer.isBuffer(key)).to.equal(true)
  })

  it("refuses ranges, keys and options that are not such, and users' code in them may close the database", async () => {
    const db = await filled({ workers: 1 })
    for (const options of [null, 7, { signal: 7 }, { signal: null }, { abort: true }, { signal: { aborted: true } }])
      expect(() => db.rangeAsync({}, options as never)).to.throw(InvalidError)
    expect(() => db.rangeAsync({ limit: -1 })).to.throw(InvalidError)
    const throwing = {
      get signal(): AbortSignal {
        throw new Error('mine')
      },
    }
    expect(() => db.rangeAsync({}, throwing)).to.throw(InvalidError, /mine/)
    for (const keys of [undefined, 'ab', { length: 1 }, [Number.NaN], [undefined]]) {
      expect(await refusal(() => db.hasMany(keys as Key[]))).to.be.instanceOf(InvalidError)
      const snapshot = db.snapshot()
      expect(await refusal(() => snapshot.getMany(keys as Key[]))).to.be.instanceOf(InvalidError)
      snapshot.close()
    }
    expect(await refusal(() => db.hasMany('ab' as never))).to.have.property(
      'message',
      'hasMany takes an array of keys.',
    )
    const snapshot = db.snapshot()
    const closing = new Proxy([1], {
      get: (target, name) => {
        snapshot.close()
        return Reflect.get(target, name) as unknown
      },
    })
    expect(await refusal(() => snapshot.getMany([closing]))).to.be.instanceOf(ClosedError)
    const closes: AsyncRangeOptions = {
      get signal() {
        void db.close()
        return undefined
      },
    }
    expect(() => db.rangeAsync({}, closes)).to.throw(ClosedError)
  })
})

describe('opening with errorIfExists', function () {
  this.timeout(60_000)
  let directory: string
  beforeEach(() => (directory = mkdtempSync(join(tmpdir(), 'mmapdb-exists-'))))
  afterEach(() => rmSync(directory, { recursive: true, force: true }))

  const code = (promise: Promise<unknown>): Promise<unknown> =>
    promise.then(
      () => 'opened',
      (error: { code: unknown }) => error.code,
    )

  for (const workers of [0, 2]) {
    it(`creates a database, and refuses one that is there, open or not (${workers} workers)`, async () => {
      const path = join(directory, 'db')
      const db = await open(path, { errorIfExists: true, workers })
      await Promise.all(Array.from({ length: 20 }, (_, n) => db.put(n, n)))
      expect(await db.countAsync()).to.equal(20)
      const refused = await open(path, { errorIfExists: true, workers }).catch((error: unknown) => error)
      expect(refused).to.be.instanceOf(ExistsError).with.property('message').that.includes('already')
      await db.close()
      expect(await code(open(path, { errorIfExists: true, workers }))).to.equal('ERR_MMAPDB_EXISTS')
      const again = await open(path, { errorIfExists: false, workers })
      expect(again.count()).to.equal(20)
      await again.close()
    })
  }

  it('contradicts what creates nothing', async () => {
    const path = join(directory, 'db')
    for (const other of [{ createIfMissing: false }, { readOnly: true }])
      expect(await code(open(path, { errorIfExists: true, ...other }))).to.equal('ERR_MMAPDB_INVALID')
    expect(await code(open(path, { errorIfExists: 'yes' as never }))).to.equal('ERR_MMAPDB_INVALID')
    expect(await code(open(path, { createIfMissing: false }))).to.equal('ERR_MMAPDB_NOT_FOUND')
  })

  it('lets one of many openers win, in this process and in others', async () => {
    for (let n = 0; n < 4; n++) {
      const path = join(directory, `db${n}`)
      const program = `
        import { open } from ${JSON.stringify(compiledUrl('src/index.js'))}
        const results = await Promise.allSettled([1, 2].map(() => open(${JSON.stringify(path)}, { errorIfExists: true })))
        console.log(JSON.stringify(results.map(({ reason }) => reason?.code ?? 'opened')))
        // Until all of them have tried: who closes it leaves it there all the same.
        process.exit()`
      const others = Array.from({ length: 2 }, () =>
        spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: ['ignore', 'pipe', 'inherit'] }),
      )
      const said = others.map(async (child) => {
        let text = ''
        child.stdout.on('data', (data: Buffer) => (text += data.toString()))
        await once(child, 'close')
        return JSON.parse(text) as string[]
      })
      const here = await Promise.allSettled([0, 1, 2].map((w) => open(path, { errorIfExists: true, workers: w })))
      const results = [
        ...here.map((r) => (r.status === 'fulfilled' ? 'opened' : (r.reason as { code: string }).code)),
        ...(await Promise.all(said)).flat(),
      ]
      for (const r of here) if (r.status === 'fulfilled') await r.value.close()
      expect(results.filter((result) => result === 'opened')).to.have.lengthOf(1)
      expect(results.filter((result) => result === 'ERR_MMAPDB_EXISTS')).to.have.lengthOf(6)
    }
  })
})
