// Record locks as users see them, in one process: two Databases on one directory exclude each other as two processes
// do. With others, kills and stops: test/faults/record-locks.serial.test.ts.
import { copyFileSync, existsSync, readdirSync, renameSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import type { Database, Key, RecordLock } from '../../src/index.js'
import { MmapdbError, open } from '../../src/index.js'
import type { KeyPart } from '../../src/encoding/keys.js'
import type { Engine } from '../../src/engine/engine.js'
import { cleanUp, crashCopy, dataFile, openEngine, scratchPath, TINY } from '../support/engine.js'
import { collectGarbage } from '../support/storage.js'

const opened: Database[] = []
async function openBoth(options: object = {}): Promise<[Database, Database]> {
  const path = scratchPath()
  for (let i = 0; i < 2; i++) opened.push(await open(path, { ...TINY, ...options }))
  return opened.slice(-2) as [Database, Database]
}

async function rejection(promise: Promise<unknown>): Promise<MmapdbError> {
  try {
    await promise
  } catch (error) {
    return error as MmapdbError
  }
  throw new Error('it did not reject')
}
const codeOf = async (promise: Promise<unknown>): Promise<string> => (await rejection(promise)).code

/** Who has and who waits for what, short: `a=x` is held exclusively, `a?s` waited for to be shared. */
const shown = (db: Database): string[] =>
  db
    .locks()
    .map(({ key, mode, state }) => `${String(key)}${state === 'held' ? '=' : '?'}${mode === 'shared' ? 's' : 'x'}`)

/** Acquires in the background; notes in `order` when it got it. */
function queue(order: string[], name: string, promise: Promise<RecordLock>): Promise<RecordLock> {
  return promise.then((lock) => {
    order.push(name)
    return lock
  })
}

describe('record locks', function () {
  this.timeout(60_000)
  afterEach(async () => {
    for (const db of opened.splice(0)) await db.close()
    cleanUp()
  })

  it('are had by one call or shared by several, and by the next once they are released', async () => {
    const [a, b] = await openBoth()
    const first = await a.lock('key')
    expect([first.mode, first.keys, first.isHeld]).to.deep.equal(['exclusive', ['key'], true])
    expect(b.tryLock('key')).to.equal(undefined)
    expect(b.tryLock('key', { mode: 'shared' })).to.equal(undefined)
    const other = b.tryLock('another')!
    first.release()
    first.release()
    expect(first.isHeld).to.equal(false)
    const shared = [await b.lock('key', { mode: 'shared' }), a.tryLock('key', { mode: 'shared' })!]
    expect(a.tryLock('key')).to.equal(undefined)
    expect(shown(a)).to.deep.equal(['another=x', 'key=s', 'key=s'])
    for (const lock of [...shared, other]) lock.release()
    expect(shown(b)).to.deep.equal([])
    expect(a.tryLock('key')!.isHeld).to.equal(true)
  })

  it('are given in turn, and a shared request does not pass an exclusive one that waits', async () => {
    const [a, b] = await openBoth()
    const order: string[] = []
    const first = await a.lock('key', { mode: 'shared' })
    const waits = [
      queue(order, '1x', b.lock('key')),
      queue(order, '2s', a.lock('key', { mode: 'shared' })),
      queue(order, '3s', b.lock('key', { mode: 'shared' })),
      queue(order, '4x', a.lock('key')),
      queue(order, '5s', a.lock('key', { mode: 'shared' })),
    ]
    expect(a.tryLock('key', { mode: 'shared' }), 'behind those that wait').to.equal(undefined)
    expect(shown(b)).to.deep.equal(['key=s', 'key?x', 'key?s', 'key?s', 'key?x', 'key?s'])
    await delay(20)
    expect(order).to.deep.equal([])
    first.release()
    ;(await waits[0]!).release()
    const both = await Promise.all(waits.slice(1, 3))
    expect(shown(b)).to.deep.equal(['key=s', 'key=s', 'key?x', 'key?s'])
    for (const lock of both) lock.release()
    ;(await waits[3]!).release()
    ;(await waits[4]!).release()
    expect(order.map((name) => name[0]).join('')).to.match(/^1(23|32)45$/)
    expect(shown(b)).to.deep.equal([])
  })

  it('for one key by two calls of one Database wait for each other, without a deadlock', async () => {
    const [a] = await openBoth()
    const first = await a.lock('key')
    expect(a.tryLock('key')).to.equal(undefined)
    expect(await codeOf(a.lock('key', { timeoutMs: 5 }))).to.equal('ERR_MMAPDB_LOCKED')
    const second = a.lock('key')
    first.release()
    ;(await second).release()
  })

  it('on several keys are had on all of them or on none, whatever the order; a key named twice counts once', async () => {
    const [a, b] = await openBoth()
    const keys: Key[] = ['b', ['order', 17], 5, 'b', 'a']
    const lock = await a.lock(keys)
    expect(lock.keys).to.deep.equal([5, 'a', 'b', ['order', 17]])
    for (const key of ['a', 'b', 5]) expect(b.tryLock(key), String(key)).to.equal(undefined)
    expect(b.tryLock([['order', 17]])).to.equal(undefined)
    // A list of two keys, not the record ['order', 17].
    b.tryLock(['order', 17])!.release()
    lock.release()
    const held = b.tryLock('b')!
    expect(a.tryLock(['a', 'b', 'c'])).to.equal(undefined)
    expect(await codeOf(a.lock(['a', 'b', 'c'], { timeoutMs: 5 }))).to.equal('ERR_MMAPDB_LOCKED')
    expect(shown(a)).to.deep.equal(['b=x'])
    held.release()
    const many = Array.from({ length: 4096 }, (_, i) => i)
    a.tryLock(many)!.release()
    ;(await b.lock(many)).release()
    expect(shown(a)).to.deep.equal([])
  })

  it('on the same keys in any order are had by all callers in the end', async () => {
    const [a, b] = await openBoth()
    const names = ['a', 'b', 'c', 'd']
    let inside = 0
    const run = async (db: Database, turn: number): Promise<void> => {
      for (let i = 0; i < 30; i++) {
        const keys = [0, 1, 2].map((n) => names[(n * (turn % 2 ? 1 : 3) + turn + i) % 4]!)
        const lock = await db.lock(keys, { timeoutMs: 20_000 })
        // Any two sets of three of four have one in common.
        expect(++inside).to.equal(1)
        await (i % 5 === 0 ? delay(1) : Promise.resolve())
        inside--
        lock.release()
      }
    }
    await Promise.all([0, 1, 2, 3, 4, 5, 6, 7].map((turn) => run(turn < 4 ? a : b, turn)))
    expect(shown(a)).to.deep.equal([])
  })

  it('are given up when the time is over, by name of the record and of the holder', async () => {
    const [a, b] = await openBoth({ timeoutMs: 40 })
    const held = await a.lock([['order', 17, Buffer.from([1, 255]), 5n]])
    const startedMs = performance.now()
    const error = await rejection(b.lock([['order', 17, Buffer.from([1, 255]), 5n]]))
    expect(performance.now() - startedMs, 'the time limit of the database').to.be.within(30, 5000)
    expect(error.code).to.equal('ERR_MMAPDB_LOCKED')
    expect(error.message).to.match(/record \["order", 17, 0x01ff, 5n\] could not be acquired within 40 ms/)
    const key: [Key] = [['order', 17, Buffer.from([1, 255]), 5n]]
    expect((await rejection(b.lock(key, { timeoutMs: 0 }))).message).to.match(/at once: this process holds it/)
    const forEver = b.lock(key, { timeoutMs: Infinity })
    await delay(100)
    held.release()
    ;(await forEver).release()
    expect(shown(a)).to.deep.equal([])
  })

  it('are given up when the signal says so, with its reason', async () => {
    const [a, b] = await openBoth()
    const held = await a.lock('key')
    const reason = { of: 'the user' }
    const controller = new AbortController()
    const waits = b.lock(['a', 'key'], { signal: controller.signal })
    await delay(5)
    expect(shown(a)).to.deep.equal(['a=x', 'key=x', 'key?x'])
    controller.abort(reason)
    expect(await rejection(waits)).to.equal(reason)
    expect(shown(a)).to.deep.equal(['key=x'])
    expect(await rejection(b.lock('other', { signal: controller.signal }))).to.equal(reason)
    expect(shown(a), 'nothing was requested').to.deep.equal(['key=x'])
    const late = new AbortController()
    const lock = await b.lock('late', { signal: late.signal })
    late.abort()
    expect(lock.isHeld).to.equal(true)
    expect((await rejection(b.lock('key', { signal: AbortSignal.timeout(5) }))).name).to.equal('TimeoutError')
    held.release()
  })

  it('let go on what stood behind a request that is given up', async () => {
    const [a, b] = await openBoth()
    const shared = await a.lock('key', { mode: 'shared' })
    const controller = new AbortController()
    const exclusive = rejection(b.lock('key', { signal: controller.signal }))
    const behind = a.lock('key', { mode: 'shared' })
    await delay(5)
    controller.abort()
    await exclusive
    ;(await behind).release()
    shared.release()
  })

  it('are released by using, and by await using', async () => {
    const [a, b] = await openBoth()
    const lock = await a.lock('key')
    lock[Symbol.dispose]()
    expect(lock.isHeld).to.equal(false)
    const next = b.tryLock('key')!
    await next[Symbol.asyncDispose]()
    expect(shown(a)).to.deep.equal([])
  })

  it('end with the Database that has them, and calls that wait reject', async () => {
    const [a, b] = await openBoth({ workers: 1 })
    const lock = await a.lock(['one', 'two'])
    const waits = codeOf(a.lock('one'))
    const next = b.lock('one')
    const closed = a.close()
    expect(await waits).to.equal('ERR_MMAPDB_CLOSED')
    ;(await next).release()
    await closed
    expect(lock.isHeld).to.equal(false)
    lock.release()
    expect(shown(b)).to.deep.equal([])
    expect(await codeOf(a.lock('one'))).to.equal('ERR_MMAPDB_CLOSED')
    for (const call of [() => a.tryLock('one'), () => a.locks()])
      expect(call).to.throw(MmapdbError).with.property('code', 'ERR_MMAPDB_CLOSED')
  })

  it('that are forgotten are released, and those that are known are not', async () => {
    const [a, b] = await openBoth()
    const kept = await a.lock('kept')
    await (async () => {
      for (const key of ['x', 'y', 'z']) await a.lock(key)
      a.tryLock('w')
    })()
    for (let i = 0; i < 100 && b.locks().length > 1; i++) await collectGarbage()
    expect(shown(b)).to.deep.equal(['kept=x'])
    expect(kept.isHeld).to.equal(true)
  })

  it('refuse what cannot be locked, and change nothing', async () => {
    const [a] = await openBoth()
    const isInvalid = async (call: () => Promise<unknown>): Promise<void> => {
      expect(await codeOf(call()), String(call)).to.equal('ERR_MMAPDB_INVALID')
    }
    for (const keys of [[], [[]], undefined, {}, NaN, 'x'.repeat(1025), [undefined], Array(5000).fill(1)])
      await isInvalid(() => a.lock(keys as KeyPart))
    for (const options of [
      { mode: 'both' },
      { timeoutMs: -1 },
      { timeoutMs: NaN },
      { timeoutMs: 2 ** 31 },
      { wait: 1 },
    ])
      await isInvalid(() => a.lock('key', options as object))
    for (const options of [{ signal: {} }, null, 5, { timeoutMs: '5' }])
      await isInvalid(() => a.lock('key', options as never))
    expect(() => a.tryLock('key', { timeoutMs: 5 } as never)).to.throw(/no option "timeoutMs"/)
    const throwing = {
      get mode(): never {
        throw new Error('from the getter')
      },
    }
    expect((await rejection(a.lock('key', throwing))).message).to.match(/cannot be read: from the getter/)
    const closing = {
      get mode(): 'shared' {
        void a.close()
        return 'shared'
      },
    }
    expect(await codeOf(a.lock('key', closing))).to.equal('ERR_MMAPDB_CLOSED')
  })

  it('are in a file that the first who needs it makes, and the last closer removes', async () => {
    const [a, b] = await openBoth()
    const file = join(a.path, 'locks')
    expect(a.locks()).to.deep.equal([])
    expect(existsSync(file)).to.equal(false)
    const lock = await a.lock('key')
    expect(existsSync(file)).to.equal(true)
    await b.close()
    expect(lock.isHeld && existsSync(file)).to.equal(true)
    await a.close()
    expect(readdirSync(a.path).sort()).to.deep.equal(['control', 'data', 'wal'])
  })

  it('of an earlier life, or of a copy, are not those of this one', async () => {
    const path = scratchPath()
    const first = openEngine(path)
    const [key] = [Buffer.from('key')]
    expect(first.recordLocks.tryAcquire([key], 'exclusive')).to.not.equal(undefined)
    const copy = crashCopy(path)
    expect(existsSync(join(copy, 'locks'))).to.equal(true)
    const other = openEngine(copy)
    expect(other.recordLocks.list()).to.deep.equal([])
    expect(other.recordLocks.tryAcquire([key], 'exclusive')).to.not.equal(undefined)
    expect(first.recordLocks.tryAcquire([key], 'shared')).to.equal(undefined)
    expect(first.recordLocks.list().length).to.equal(1)
  })

  it('of a database whose files were replaced are not touched by those of the one in its place', () => {
    const path = scratchPath()
    const keys = (engine: Engine): string[] => engine.recordLocks.list().map(({ key }) => String(key))
    const first = openEngine(path)
    const held = first.recordLocks.tryAcquire([Buffer.from('key')], 'exclusive')!
    renameSync(dataFile(path), join(path, '..', 'data'))
    copyFileSync(join(path, '..', 'data'), dataFile(path))
    const second = openEngine(path)
    expect(second.recordLocks.tryAcquire([Buffer.from('other')], 'exclusive')).to.not.equal(undefined)
    expect([keys(first), keys(second)]).to.deep.equal([['key'], ['other']])
    first.recordLocks.release(held)
    expect([keys(first), keys(second)]).to.deep.equal([[], ['other']])
  })

  it('are had no more once their file was cut short, and nothing else is lost', async () => {
    const [a] = await openBoth()
    const lock = await a.lock('key')
    truncateSync(join(a.path, 'locks'), 0)
    for (let i = 0; i < 2; i++) {
      const error = await rejection(a.lock('other'))
      expect(error.code).to.equal('ERR_MMAPDB_IO')
      expect(error.message).to.match(/"locks" was cut short/)
    }
    lock.release()
    await a.put('key', Buffer.from('value'))
    expect(String(a.get('key'))).to.equal('value')
  })

  it('are refused to whom may not write, who still sees them', async () => {
    const path = scratchPath()
    const db = await open(path, TINY)
    opened.push(db)
    await db.put('key', Buffer.from('value'))
    const lock = await db.lock('key')
    const reader = await open(path, { ...TINY, readOnly: true })
    opened.push(reader)
    expect(reader.tryLock('key'), 'who could write may lock').to.equal(undefined)
    const copy = await open(crashCopy(path), { ...TINY, readOnly: true })
    opened.push(copy)
    expect(copy.tryLock('key')!.isHeld).to.equal(true)
    lock.release()
  })

  it('say how many there are', async () => {
    const [a, b] = await openBoth()
    expect(a.stats().locks).to.deep.equal({ held: 0, waiting: 0 })
    const lock = await a.lock(['one', 'two'])
    const waits = rejection(b.lock('one', { timeoutMs: 50 }))
    await delay(5)
    for (const db of [a, b]) expect(db.stats().locks).to.deep.equal({ held: 2, waiting: 1 })
    const [held] = b.locks()
    expect(held!.processId).to.equal(process.pid)
    expect(Date.now() - held!.sinceMs).to.be.within(0, 10_000)
    await waits
    lock.release()
    expect(a.stats().locks).to.deep.equal({ held: 0, waiting: 0 })
  })
})
