// Transactions as users see them: what they see, when they end, and what they refuse. If these failed, a program would
// lose its own writes, wait for ever, or write what it did not mean to.
import { join } from 'node:path'
import { expect } from 'chai'
import {
  ClosedError,
  ConflictError,
  InvalidError,
  LockedError,
  open,
  ReadOnlyError,
  type Database,
  type Transaction,
} from '../../src/index.js'
import { Engine } from '../../src/engine/engine.js'
import { transactionLockOf } from '../../src/engine/locks/transaction-names.js'
import { resolveOptions } from '../../src/engine/options.js'
import { posixStorage } from '../../src/storage/posix.js'
import { eachHasDatabase, failureOf, gate, pause, refused } from '../support/interleaving.js'

describe('transactions', function () {
  this.timeout(60_000)
  let directory: string
  let db: Database

  eachHasDatabase((its, path) => {
    db = its
    directory = path
  })

  describe('see their own writes', () => {
    it('in reads of single keys', async () => {
      await db.put('a', 1)
      await db.put('b', 2)
      await db.transaction((tx) => {
        tx.put('a', { n: 10 })
        tx.del('b')
        tx.put('c', 3)
        tx.put('c', 4)
        tx.add('n', 5)
        tx.add('n', 2)
        expect([tx.get('a'), tx.get('b'), tx.get('c'), tx.get('n')]).to.deep.equal([{ n: 10 }, undefined, 4, 7])
        expect([tx.has('a'), tx.has('b'), tx.has('c'), tx.has('n'), tx.has('d')]).to.deep.equal([
          true,
          false,
          true,
          true,
          false,
        ])
        expect(tx.getEntry('a')).to.deep.equal({ value: { n: 10 }, version: 0 })
        tx.del('c')
        tx.add('c', 1)
        expect(tx.get('c'), 'an add to nothing').to.equal(1)
        tx.put('c', 5n)
        tx.add('c', 2n)
        expect(tx.get('c')).to.equal(7n)
      })
      expect([...db.range()]).to.deep.equal([
        ['a', { n: 10 }],
        ['c', 7n],
        ['n', 7],
      ])
    })

    it('in ranges: put, replaced, removed and added to, forwards, backwards, with limits', async () => {
      for (const key of ['b', 'd', 'f', 'h']) await db.put(key, 1)
      await db.transaction((tx) => {
        tx.put('a', 2)
        tx.put('c', 2)
        tx.put('d', 2)
        tx.del('f')
        tx.del('g')
        tx.add('h', 10)
        tx.add('i', 10)
        const all = [
          ['a', 2],
          ['b', 1],
          ['c', 2],
          ['d', 2],
          ['h', 11],
          ['i', 10],
        ]
        expect([...tx.range()]).to.deep.equal(all)
        expect([...tx.range({ reverse: true })]).to.deep.equal([...all].reverse())
        expect([...tx.keys({ gt: 'a', lt: 'h' })]).to.deep.equal(['b', 'c', 'd'])
        expect([...tx.values({ gte: 'c', limit: 3 })]).to.deep.equal([2, 2, 11])
        expect([...tx.keys({ reverse: true, limit: 2 })]).to.deep.equal(['i', 'h'])
        expect([...tx.keys({ limit: 0 })]).to.deep.equal([])
        expect([tx.count(), tx.count({ prefix: 'c' }), tx.count({ gte: 'x' })]).to.deep.equal([6, 1, 0])
        // What comes later is not in a range that has begun.
        const keys: unknown[] = []
        for (const key of tx.keys({ gte: 'h' })) {
          keys.push(key)
          tx.put(`${key as string}+`, 1)
        }
        expect(keys).to.deep.equal(['h', 'i'])
        expect([...tx.keys({ gte: 'h' })]).to.deep.equal(['h', 'h+', 'i', 'i+'])
      })
    })

    it('copied when they were made', async () => {
      const value = { list: [1] }
      await db.transaction((tx) => {
        tx.put('a', value)
        value.list.push(2)
        expect(tx.get('a')).to.deep.equal({ list: [1] })
        ;(tx.get('a') as typeof value).list.push(3)
        expect(tx.get('a')).to.deep.equal({ list: [1] })
      })
      expect(db.get('a')).to.deep.equal({ list: [1] })
    })
  })

  it('take effect all at once, or not at all', async () => {
    expect(await db.transaction(() => 5), 'nothing at all').to.equal(5)
    const versions = await db.transaction((tx) => {
      tx.put('a', 1)
      tx.put('b', 2)
      tx.del('nothing')
      return 'done'
    })
    expect(versions).to.equal('done')
    expect(db.getEntry('a')!.version).to.equal(db.getEntry('b')!.version)
    await refused(
      () =>
        db.transaction((tx) => {
          tx.put('a', 2)
          tx.put('text', 'x')
          tx.add('a2', 1)
          tx.add('text', 1)
        }),
      InvalidError,
      /no number/,
    )
    await db.put('text', 'x')
    await refused(
      () =>
        db.transaction((tx) => {
          tx.put('a', 2)
          tx.add('text', 1)
        }),
      InvalidError,
      /is no number.*Nothing was changed/,
    )
    expect(db.get('a')).to.equal(1)
  })

  it('give up after that many conflicts with an error that says so', async () => {
    let runs = 0
    const always = (retries?: number): Promise<unknown> => {
      runs = 0
      return db.transaction(
        async (tx) => {
          runs++
          tx.get('n')
          await db.add('n', 1)
          tx.put('out', 1)
        },
        retries === undefined ? {} : { retries },
      )
    }
    await refused(() => always(2), ConflictError, /tried 3 times.*Nothing was written/)
    expect(runs).to.equal(3)
    await refused(() => always(0), ConflictError, /tried once/)
    await refused(() => always(), ConflictError, /tried 11 times/)
    expect(db.has('out')).to.equal(false)
    expect(db.stats().locks, 'no lock is left').to.deep.equal({ held: 0, waiting: 0 })
  })

  it('go on where others hold the locks of their keys', async () => {
    // A user may hold a lock for hours, and reads and writes do not look at it.
    using _lock = await db.lock('n')
    let runs = 0
    await db.transaction(async (tx) => {
      tx.get('n')
      if (++runs === 1) await db.put('n', 1)
      tx.put('n', 2)
    })
    expect([runs, db.get('n')]).to.deep.equal([2, 2])
  }).timeout(5000)

  it('go on without one that does not end, whose locks they would take', async () => {
    // Such a lock is held from the end of the function until the commit; here it is held by somebody who stands still.
    const engine = Engine.open(resolveOptions(join(directory, 'db')), posixStorage)
    const name = transactionLockOf(engine.main.encoded('n'))
    const grant = engine.recordLocks.tryAcquire([name], 'exclusive')!
    expect(grant).to.not.equal(undefined)
    const beganMs = performance.now()
    await db.transaction((tx) => tx.put('n', tx.get('n') ?? 1))
    expect(performance.now() - beganMs).to.be.within(4000, 12_000)
    engine.recordLocks.release(grant)
    engine.close()
  }).timeout(20_000)

  it('make entries that expire, and see when those that they read do', async () => {
    const soon = Date.now() + 60_000
    await db.put('session', { n: 1 }, { expiresAt: soon })
    await db.put('kept counter', 10)
    await db.transaction((tx) => {
      expect(tx.getEntry('session')!.expiresAt).to.equal(soon)
      tx.put('short', 1, { ttlMs: 20 })
      tx.put('kept', tx.get('session'), { expiresAt: soon })
      tx.put('gone', 1, { expiresAt: 5 })
      tx.put('counter', 1, { expiresAt: soon })
      tx.add('counter', 2)
      tx.put('session', { n: 2 })
      expect(tx.getEntry('kept')).to.deep.equal({ value: { n: 1 }, version: 0, expiresAt: soon })
      expect([tx.has('gone'), tx.has('short'), tx.getEntry('counter')!.expiresAt]).to.deep.equal([false, true, soon])
      expect(() => tx.put('x', 1, { ttlMs: -1 })).to.throw(InvalidError, /more than 0/)
      expect(() => tx.put('x', 1, { ifAbsent: true } as never)).to.throw(InvalidError, /no option "ifAbsent"/)
      expect(() => tx.add('x', 1, { ttlMs: -1 })).to.throw(InvalidError, /more than 0/)
      expect(() => tx.add('x', 1, { ttl: 1 } as never)).to.throw(InvalidError, /no option "ttl"/)
      // An add gives a time to an entry that it makes, and to no other.
      tx.add('visits', 1, { expiresAt: soon })
      tx.add('visits', 1)
      tx.add('kept counter', 1, { ttlMs: 5 })
      tx.add('gone counter', 1, { expiresAt: 5 })
      tx.del('session 2')
      tx.add('session 2', 7, { expiresAt: soon })
      expect(tx.getEntry('visits')).to.deep.equal({ value: 2, version: 0, expiresAt: soon })
      expect(tx.getEntry('kept counter')).to.deep.equal({ value: 11, version: 0 })
      expect(tx.getEntry('session 2')).to.deep.equal({ value: 7, version: 0, expiresAt: soon })
      expect([tx.has('gone counter'), tx.get('gone counter')]).to.deep.equal([false, undefined])
    })
    expect(db.getEntry('visits')).to.include({ value: 2, expiresAt: soon })
    expect(db.getEntry('session 2')).to.include({ value: 7, expiresAt: soon })
    expect(db.getEntry('kept counter')).to.not.have.property('expiresAt')
    expect([db.get('kept counter'), db.has('gone counter')]).to.deep.equal([11, false])
    expect(db.getEntry('kept')!.expiresAt).to.equal(soon)
    expect(db.getEntry('counter')).to.include({ value: 3, expiresAt: soon })
    expect(db.getEntry('session')).to.not.have.property('expiresAt')
    expect([db.has('gone'), db.has('x')]).to.deep.equal([false, false])
    for (const untilMs = performance.now() + 5000; db.has('short') && performance.now() < untilMs;) await pause(5)
    expect(db.has('short')).to.equal(false)
  })

  it('end when their time is over, while they run or between two tries', async () => {
    const never = gate()
    let tx: Transaction | undefined
    await refused(
      () =>
        db.transaction(
          async (it) => {
            tx = it
            it.put('a', 1)
            await never.reached
          },
          { timeoutMs: 20 },
        ),
      LockedError,
      /took longer than 20 ms/,
    )
    expect(() => tx!.get('a')).to.throw(InvalidError, /has ended/)
    never.open()
    await pause(5)
    expect(db.has('a')).to.equal(false)
    await refused(
      () =>
        db.transaction(
          // It does not wait, so its time is over between two tries.
          (it) => {
            it.get('n')
            db.addSync('n', 1)
            it.put('out', 1)
          },
          { retries: 1_000_000, timeoutMs: 100 },
        ),
      ConflictError,
      /others changed/,
    )
  })

  it('end with the reason of a signal, at any moment before the commit', async () => {
    const reason = new Error('enough')
    const aborted = AbortSignal.abort(reason)
    let runs = 0
    expect(await failureOf(() => db.transaction(() => runs++, { signal: aborted }))).to.equal(reason)
    expect(runs).to.equal(0)
    const controller = new AbortController()
    const late = db.transaction(
      (tx) => {
        tx.put('a', 1)
        controller.abort(reason)
      },
      { signal: controller.signal },
    )
    expect(await failureOf(() => late)).to.equal(reason)
    const while_ = new AbortController()
    const running = db.transaction(
      async (tx) => {
        tx.put('a', 1)
        await pause(60_000)
      },
      { signal: while_.signal, timeoutMs: Infinity },
    )
    setTimeout(() => while_.abort(reason), 5)
    expect(await failureOf(() => running)).to.equal(reason)
    expect(db.has('a')).to.equal(false)
  })

  it('refuse what is no part of them', async () => {
    let inner: Transaction | undefined
    let keys: IterableIterator<unknown> | undefined
    await db.transaction(async (tx) => {
      inner = tx
      keys = tx.keys()
      await refused(() => db.transaction(() => 1), InvalidError, /cannot be called within a transaction/)
      await pause(1)
      await refused(() => db.transaction(() => 1), InvalidError, /cannot be called within a transaction/)
      await refused(() => db.update('a', () => 1), InvalidError, /update cannot be called within a transaction/)
      tx.put('a', 1)
    })
    for (const late of [
      () => inner!.get('a'),
      () => inner!.put('b', 1),
      () => inner!.del('a'),
      () => inner!.add('n', 1),
      () => inner!.range(),
      () => keys!.next(),
    ])
      expect(late).to.throw(InvalidError, /has ended/)
    expect([...db.keys()]).to.deep.equal(['a'])
    // Of another database it is another matter.
    const other = await open(join(directory, 'other'), { workers: 0 })
    await db.transaction(async (tx) => {
      await other.transaction((its) => its.put('x', 1))
      tx.put('b', 1)
    })
    expect(other.get('x')).to.equal(1)
    await other.close()
    // What it has started may go on when it is over.
    const after = gate()
    await db.transaction(
      () =>
        void pause(5)
          .then(() => db.transaction((tx) => tx.put('later', 1)))
          .then(after.open),
    )
    await after.reached
    expect(db.get('later')).to.equal(1)
  })

  it('refuse what cannot be read or written, and stay usable', async () => {
    await db.transaction((tx) => {
      expect(() => tx.get({} as never)).to.throw(InvalidError)
      expect(() => tx.put('a', undefined)).to.throw(InvalidError, /undefined/)
      expect(() => tx.put('a', Symbol('x'))).to.throw(InvalidError)
      expect(() => tx.add('a', '1' as never)).to.throw(InvalidError, /number/)
      expect(() => tx.range({ gtee: 1 } as never)).to.throw(InvalidError, /gtee/)
      expect(() => tx.del('a', { ifVersion: 1 } as never)).to.throw(InvalidError, /takes no options/)
      expect(() => tx.store('s', { encoding: 'json' } as never)).to.throw(InvalidError, /no option "encoding"/)
      expect(tx.store('s', { valueEncoding: 'json' }).get('a')).to.equal(undefined)
      expect(() => tx.store('s', { valueEncoding: 'utf8' })).to.throw(InvalidError, /in json, not in utf8/)
      tx.put('a', 1)
    })
    expect([...db.range()]).to.deep.equal([['a', 1]])
    await refused(() => db.transaction(5 as never), InvalidError, /takes a function/)
    for (const [options, message] of [
      [{ retries: -1 }, /retries/],
      [{ retries: 1.5 }, /retries/],
      [{ timeoutMs: -1 }, /timeoutMs/],
      [{ signal: {} }, /signal/],
      [{ retry: 1 }, /no option "retry"/],
      [null, /Options must be/],
    ] as const)
      await refused(() => db.transaction(() => 1, options as never), InvalidError, message)
  })

  it('are limited in what they read and write', async () => {
    await refused(
      () =>
        db.transaction((tx) => {
          for (let n = 0; n <= 100_000; n++) tx.has(n)
        }),
      InvalidError,
      /at most 100000 keys/,
    )
    await refused(
      () =>
        db.transaction((tx) => {
          for (let n = 0; n <= 100_000; n++) tx.del(1)
        }),
      InvalidError,
      /at most 100000 changes/,
    )
    const large = Buffer.alloc(16 * 1024 * 1024)
    await refused(
      () =>
        db.transaction((tx) => {
          for (let n = 0; n < 4; n++) tx.put(n, large)
        }),
      InvalidError,
      /67108864 bytes in all/,
    )
    expect(db.count()).to.equal(0)
  })

  it('run users’ code that calls the database, or the transaction, in any way', async () => {
    await db.put('a', 1)
    await db.transaction((tx) => {
      const nested = {
        get it(): number {
          tx.put('b', {
            get more() {
              return tx.get('a') as number
            },
          })
          db.putSync('outside', 1)
          return 1
        },
      }
      tx.put('c', nested)
      const key = ['k', 1]
      Object.defineProperty(key, 1, { get: () => (tx.put('from a key', 1), 2), enumerable: true })
      tx.put(key, 1)
    })
    expect(Object.fromEntries(db.range({ gte: 'a', lt: 'd' }))).to.deep.equal({ a: 1, b: { more: 1 }, c: { it: 1 } })
    expect([db.get(['k', 2]), db.get('from a key'), db.get('outside')]).to.deep.equal([1, 1, 1])
    const ended = db.transaction(async (tx) => {
      tx.put('x', {
        get it() {
          void db.close()
          return 1
        },
      })
    })
    await refused(() => ended, ClosedError, /closed/)
  })

  it('read from a database that is read-only, and write nothing there', async () => {
    await db.put('a', 1)
    const reader = await open(join(directory, 'db'), { readOnly: true, workers: 0 })
    expect(await reader.transaction((tx) => [...tx.range()])).to.deep.equal([['a', 1]])
    await refused(() => reader.transaction((tx) => tx.put('a', 2)), ReadOnlyError, /readOnly/)
    await reader.close()
    await refused(() => reader.transaction(() => 1), ClosedError, /closed/)
  })
})
