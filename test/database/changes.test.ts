// The change feed as its users see it, in one process: what it tells, where it goes on, how it ends. Two Databases on
// one directory are to each other what two processes are. With others and kills: test/faults/changes.serial.test.ts.
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import {
  open,
  type Change,
  type ChangeFeed,
  type ChangeOptions,
  type Database,
  type OpenOptions,
} from '../../src/index.js'
import { ClosedError, EncodingError, LsnGoneError, MmapdbError } from '../../src/errors.js'
import { Control } from '../../src/engine/shared/control.js'
import { cleanUp, crashCopy, openEngine, randomFrom, scratchPath, TINY } from '../support/engine.js'
import { collectGarbage } from '../support/storage.js'

const OPTIONS: OpenOptions = { ...TINY, valueEncoding: 'json', retain: { bytes: 2 ** 30 } }
const opened: Database[] = []
async function opening(path: string, options: OpenOptions = OPTIONS): Promise<Database> {
  const db = await open(path, options)
  opened.push(db)
  return db
}

async function rejection(promise: Promise<unknown>): Promise<MmapdbError> {
  try {
    await promise
  } catch (error) {
    return error as MmapdbError
  }
  throw new Error('it did not reject')
}

/** What a feed has to tell by now. */
async function told(db: Database, options: ChangeOptions = { since: 0 }): Promise<Change[]> {
  const end = `the end ${Math.random()}`
  await db.put(end, 0)
  const changes: Change[] = []
  for await (const change of db.changes(options)) {
    if (change.key === end) break
    if (!String(change.key).startsWith('the end')) changes.push(change)
  }
  return changes
}

/** Short: `a=1` for a put, `a-` for a del. */
const shown = (changes: readonly Change[]): string[] =>
  changes.map(({ type, key, value }) => `${String(key)}${type === 'put' ? `=${JSON.stringify(value)}` : '-'}`)

/** Everything that is a change or is none, in batches and out of them. */
async function writeSome(db: Database, rounds = 3): Promise<void> {
  for (let i = 0; i < rounds; i++) {
    await db.put('a', i)
    await db.put('a', 'refused', { ifAbsent: true })
    await db.del('nothing there')
    await db.add('n', 2)
    await db.batch([
      { type: 'put', key: 'b', value: 1 },
      { type: 'check', key: 'a', ifPresent: true },
      { type: 'del', key: 'b' },
      { type: 'del', key: 'b too' },
      { type: 'add', key: 'n', delta: -1 },
      { type: 'put', key: 'b', value: i },
    ])
    await db.batch([
      { type: 'put', key: 'c', value: 1 },
      { type: 'check', key: 'a', ifAbsent: true },
    ])
    await Promise.all([db.put('d', i), db.put('d', 'refused', { ifAbsent: true }), db.del('d')])
  }
}
const SOME = ['a=0', 'n=2', 'b=1', 'b-', 'n=1', 'b=0', 'd=0', 'd-']

const untilEnd = async (feed: AsyncIterable<Change>): Promise<void> => {
  for await (const change of feed) void change
}

describe('a change feed', function () {
  this.timeout(60_000)
  afterEach(async () => {
    for (const db of opened.splice(0)) await db.close()
    cleanUp()
  })

  it('tells of named stores, of what is cleared, and of stores that are dropped', async () => {
    const db = await open(scratchPath(), { workers: 0 })
    try {
      const feed = db.changes()
      const a = db.store('a', { valueEncoding: 'json' })
      await a.put('x', [1])
      await db.put('x', 2)
      const ofA = db.changes({ since: 0, store: 'a' })
      await a.clear({ gte: 'b', lt: 'y' })
      await db.store('b').put('gone', 3)
      await db.dropStore('b')
      await db.clear()
      const told = []
      for (let i = 0; i < 6; i++) told.push((await feed.next()).value!)
      expect(told.map(({ store, type, key, value }) => [store, type, key, value])).to.deep.equal([
        ['a', 'put', 'x', [1]],
        [undefined, 'put', 'x', 2],
        ['a', 'clear', undefined, undefined],
        ['b', 'put', 'gone', 3],
        ['b', 'drop', undefined, undefined],
        [undefined, 'clear', undefined, undefined],
      ])
      const cleared = told.filter((change) => change.type === 'clear')
      expect(cleared.map(({ covers }) => [covers('a'), covers('b'), covers('x'), covers('y')])).to.deep.equal([
        [false, true, true, false],
        [true, true, true, true],
      ])
      expect([(await ofA.next()).value!.type, (await ofA.next()).value!.type]).to.deep.equal(['put', 'clear'])
      const resumed = db.changes({ since: told[3]!.cursor })
      expect((await resumed.next()).value!.type).to.equal('drop')
      expect(() => db.changes({ store: 'none' })).to.throw(/no store "none"/)
      const watch = a.watch(['x', 'z'])
      expect((await watch.next()).value).to.deep.equal({ key: 'x', value: undefined, version: 0 })
      expect((await watch.next()).value).to.deep.equal({ key: 'z', value: undefined, version: 0 })
      const next = watch.next()
      await a.put('z', 'new')
      expect((await next).value).to.include({ key: 'z', value: 'new' })
      for (const each of [feed, ofA, resumed, watch]) await each.return()
    } finally {
      await db.close()
    }
  })

  it('tells of a store that is gone by now, whenever it began to read', async () => {
    const path = scratchPath()
    let db = await open(path, { workers: 0, retain: { bytes: 2 ** 20 } })
    try {
      const store = db.store('gone', { valueEncoding: 'json' })
      await store.put('first', 1)
      const since = store.getEntry('first')!.version
      const lazy = db.changes()
      await store.put('second', { n: 2 })
      await store.clear({ gte: 'second' })
      await db.dropStore('gone')
      await db.store('gone').put('third', 3)
      await db.dropStore('gone')
      const types = ['put second', 'clear undefined', 'drop undefined', 'put third', 'drop undefined']
      const tellsAll = async (feed: ChangeFeed): Promise<void> => {
        for (const expected of types) {
          const { type, key, store } = (await feed.next()).value!
          expect([`${type} ${String(key)}`, store]).to.deep.equal([expected, 'gone'])
        }
        await feed.return()
      }
      await tellsAll(lazy)
      await tellsAll(db.changes({ since }))
      await tellsAll(db.changes({ since, store: 'gone' }))
      await db.close()
      db = await open(path, { workers: 0 })
      await tellsAll(db.changes({ since }))
    } finally {
      await db.close()
    }
  })

  it('tells what took effect, each operation of a batch by itself, and nothing that was refused or found nothing', async () => {
    const db = await opening(scratchPath())
    await writeSome(db, 1)
    const changes = await told(db)
    expect(shown(changes)).to.deep.equal(SOME)
    expect(changes.find(({ key }) => key === 'a')).to.deep.include({ lsn: db.getEntry('a')!.version, store: undefined })
    for (const { timeMs } of changes) expect(Math.abs(Date.now() - timeMs)).to.be.below(60_000)
    const versions = changes.map(({ lsn }) => lsn)
    expect(versions).to.deep.equal([...versions].sort((x, y) => x - y))
  })

  it('begins with what comes after its call, also if it is asked later', async () => {
    const path = scratchPath()
    const [db, other] = [await opening(path), await opening(path)]
    await db.put('before', 1)
    const feed = db.changes()
    await other.put('after', 2)
    await db.put('then', 3)
    expect(shown([(await feed.next()).value!, (await feed.next()).value!])).to.deep.equal(['after=2', 'then=3'])
    const next = feed.next()
    other.putSync('live', 4)
    expect((await next).value).to.deep.include({ key: 'live', value: 4 })
    await feed.return()
    expect(await feed.next()).to.deep.equal({ done: true, value: undefined })
  })

  it('goes on right after each cursor, in a batch, after a close, after a crash, and in another life', async () => {
    const path = scratchPath()
    let db = await opening(path)
    await writeSome(db)
    const all = await told(db)
    expect(new Set(all.map(({ cursor }) => cursor)).size).to.equal(all.length)
    const check = async (at: Database): Promise<void> => {
      for (const [i, { cursor }] of all.entries())
        expect(shown(await told(at, { since: cursor })), cursor).to.deep.equal(shown(all.slice(i + 1)))
    }
    await check(db)
    const crashed = crashCopy(path)
    await db.close()
    db = await opening(path, TINY_AGAIN)
    await check(db)
    await check(await opening(crashed, TINY_AGAIN))
  })

  it('goes on after an LSN with what came later, whether that is the LSN of a write or lies between two', async () => {
    const db = await opening(scratchPath())
    await writeSome(db)
    const all = await told(db)
    const last = all.at(-1)!.lsn
    for (let lsn = 0; lsn <= last + 3; lsn += lsn < 40 ? 1 : 7)
      expect(shown(await told(db, { since: lsn })), `${lsn}`).to.deep.equal(
        shown(all.filter((change) => change.lsn > lsn)),
      )
    for (const { lsn } of all)
      expect(shown(await told(db, { since: lsn })), `${lsn}`).to.deep.equal(
        shown(all.filter((change) => change.lsn > lsn)),
      )
  })

  it('tells keys of a prefix only, and its own cursor moves on over all others', async () => {
    const db = await opening(scratchPath())
    await db.put('user:1', 1)
    const feed = db.changes({ since: 0, prefix: 'user:' })
    await db.put(['user:', 5], 2)
    for (let i = 0; i < 300; i++) await db.put(`other ${i}`, i)
    await db.put('user:2', 3)
    for (let i = 0; i < 300; i++) await db.put(`other ${i}`, i)
    const { cursor } = feed
    expect(shown(await told(db, { since: cursor })).length).to.equal(603)
    expect((await feed.next()).value).to.deep.include({ key: 'user:1' })
    expect((await feed.next()).value).to.deep.include({ key: ['user:', 5] })
    expect((await feed.next()).value).to.deep.include({ key: 'user:2' })
    const waits = feed.next()
    while (Number(feed.cursor.split('-')[1]) < db.getEntry('other 299')!.version) await delay(1)
    expect(shown(await told(db, { since: feed.cursor }))).to.deep.equal([])
    await feed.return()
    expect(await waits).to.deep.equal({ done: true, value: undefined })
  })

  it('refuses what cannot be: a place ahead of the log, cursors that are none or of another database, other options', async () => {
    const [db, other] = [await opening(scratchPath()), await opening(scratchPath())]
    await writeSome(db)
    await writeSome(other)
    const foreign = (await told(other))[0]!.cursor
    const own = (await told(db))[0]!.cursor
    const visible = db.stats().log.visibleLsn
    const wrong: [object, RegExp][] = [
      [{ since: visible }, /ahead of the log/],
      [{ since: Number.MAX_SAFE_INTEGER }, /ahead of the log/],
      [{ since: `${own.split('-')[0]}-${visible + 100}` }, /ahead of the log/],
      [{ since: foreign }, /another database/],
      [{ since: 'soon' }, /not a cursor/],
      [{ since: '5' }, /not a cursor/],
      [{ since: -1 }, /since must be/],
      [{ since: 1.5 }, /since must be/],
      [{ since: null }, /since must be/],
      [{ since: 5n }, /since must be/],
      [{ from: 5 }, /no option "from"/],
      [{ prefix: 5 }, /prefix/],
      [{ signal: 5 }, /AbortSignal/],
      [{ store: 'none' }, /no store "none"/],
      [{ store: 5 }, /store/],
      [[] as never, /./],
    ]
    for (const [options, message] of wrong.slice(0, -1))
      expect(() => db.changes(options as never), JSON.stringify(Object.keys(options))).to.throw(MmapdbError, message)
    expect(() => db.changes(5 as never)).to.throw(MmapdbError, /must be an object/)
    const inside = db.changes({ since: `${own.split('-')[0]}-2-0` })
    expect((await rejection(inside.next())).message).to.match(/no change at LSN 2/)
  })

  it('says which LSN is the oldest where the log was recycled, and goes on from there', async () => {
    const path = scratchPath()
    const db = await opening(path, { ...OPTIONS, retain: undefined })
    await writeSome(db, 20)
    const first = (await told(db))[0]!.cursor
    const slow = db.changes({ since: 0 })
    for (let i = 0; i < 100; i++) await db.put(`filler ${i % 7}`, 'x'.repeat(100))
    await db.checkpoint()
    for (const since of [0, 1, first]) {
      const error = (await rejection(db.changes({ since }).next())) as LsnGoneError
      expect([error.code, error instanceof LsnGoneError]).to.deep.equal(['ERR_MMAPDB_LSN_GONE', true])
      expect(error.oldestLsn).to.be.above(1)
      const rest = await told(db, { since: error.oldestLsn })
      // It is the least: what comes before it is gone.
      expect(rest.every(({ lsn }) => lsn > error.oldestLsn)).to.equal(true)
      expect((await rejection(db.changes({ since: error.oldestLsn - 1 }).next())).code).to.equal('ERR_MMAPDB_LSN_GONE')
    }
    expect((await rejection(slow.next())).code).to.equal('ERR_MMAPDB_LSN_GONE')
    expect(await slow.next()).to.deep.equal({ done: true, value: undefined })
  })

  it('tells what it had read, and never anything else, when the log is recycled under it', async () => {
    const db = await opening(scratchPath(), { ...OPTIONS, retain: undefined })
    const feed = db.changes()
    let n = 0
    const write = async (count: number): Promise<void> => {
      for (const end = n + count; n < end; n++) await db.put(`k${n % 5}`, [n, 'x'.repeat(n % 200)])
    }
    await write(10)
    const seen: number[] = []
    for (let i = 0; i < 5; i++) seen.push(((await feed.next()).value!.value as [number])[0])
    // Segments become spares and then other segments, several times over.
    for (let i = 0; i < 4; i++) {
      await write(300)
      await db.checkpoint()
    }
    const error = await rejection(
      (async () => {
        for await (const { value } of feed) seen.push((value as [number])[0])
      })(),
    )
    expect(error.code).to.equal('ERR_MMAPDB_LSN_GONE')
    expect(seen).to.deep.equal(seen.map((_, i) => i))
    expect(seen.length).to.be.within(10, 1200)
  })

  it('misses nothing and says so where only frames are gone that it has seen', async () => {
    const path = scratchPath()
    let db = await opening(path, { ...OPTIONS, retain: undefined })
    for (let life = 0; life < 4; life++) {
      const feed = db.changes()
      await writeSome(db, 1)
      await db.put('last', life)
      let cursor = ''
      for await (const change of feed) {
        cursor = change.cursor
        if (change.key === 'last') break
      }
      if (life % 2 === 1) await db.checkpoint()
      // A clean close leaves nothing of the log.
      await db.close()
      db = await opening(path, TINY_AGAIN)
      expect(shown(await told(db, { since: cursor }))).to.deep.equal([])
      expect((await rejection(db.changes({ since: 1 }).next())).code).to.equal('ERR_MMAPDB_LSN_GONE')
    }
  })

  it('ends with the reason of its signal, at any moment', async () => {
    const db = await opening(scratchPath())
    await writeSome(db)
    const stop = new Error('stop')
    for (const calls of [0, 1, 5, 1000]) {
      const abort = new AbortController()
      const feed = db.changes({ since: 0, signal: abort.signal })
      const results = Promise.allSettled(Array.from({ length: calls }, () => feed.next()))
      if (calls % 2 === 1) await delay(2)
      abort.abort(stop)
      const rejected = (await results).filter(({ status }) => status === 'rejected') as PromiseRejectedResult[]
      const after = await Promise.allSettled([feed.next()])
      const reasons = [...rejected, ...after].filter(({ status }) => status === 'rejected') as PromiseRejectedResult[]
      expect(reasons.map(({ reason }) => reason as unknown)).to.deep.equal([stop])
      expect(await feed.next()).to.deep.equal({ done: true, value: undefined })
    }
    const aborted = db.changes({ since: 0, signal: AbortSignal.abort(stop) })
    expect(await rejection(aborted.next())).to.equal(stop)
  })

  it('ends with ClosedError when its database is closed, also while it waits', async () => {
    const db = await opening(scratchPath())
    const waiting = [db.changes(), db.changes()].map((feed) => rejection(untilEnd(feed)))
    const idle = db.changes({ since: 0 })
    await db.put('a', 1)
    await delay(5)
    await db.close()
    for (const error of await Promise.all(waiting)) expect(error).to.be.instanceOf(ClosedError)
    expect(await rejection(idle.next())).to.be.instanceOf(ClosedError)
    expect(() => db.changes()).to.throw(ClosedError)
    expect(() => db.watch('a')).to.throw(ClosedError)
  })

  it('tells a value that cannot be decoded as an error, and goes on after it', async () => {
    const path = scratchPath()
    const db = await opening(path)
    const feed = db.changes()
    await db.put('good', 1)
    const engine = openEngine(path, TINY_AGAIN)
    engine.write((frame) => frame.put(Buffer.from('bad'), 3, Buffer.from('{')))
    engine.close()
    await db.put('good too', 2)
    expect((await feed.next()).value).to.deep.include({ key: 'good' })
    expect(await rejection(feed.next())).to.be.instanceOf(EncodingError)
    expect((await feed.next()).value).to.deep.include({ key: 'good too' })
  })

  it('answers calls of next in their order, however many are made at once', async () => {
    const db = await opening(scratchPath())
    const feed = db.changes()
    const calls = Array.from({ length: 50 }, () => feed.next())
    for (let i = 0; i < 50; i++) await db.put(i, i)
    expect((await Promise.all(calls)).map(({ value }) => value!.key)).to.deep.equal(calls.map((_, i) => i))
  })

  it('wakes nobody while nobody waits, and then once for all who do', async () => {
    const db = await opening(scratchPath())
    const wakes = countWakes()
    for (let i = 0; i < 20; i++) await db.put('a', i)
    expect(wakes()).to.equal(0)
    const feeds = [db.changes(), db.changes(), db.changes()]
    const calls = feeds.map((feed) => feed.next())
    await delay(20)
    db.putSync('a', 1)
    await Promise.all(calls)
    expect(wakes()).to.equal(1)
    for (const feed of feeds) await feed.return()
    for (let i = 0; i < 20; i++) await db.put('a', i)
    expect(wakes()).to.equal(1)
  })

  it('holds the event loop for a few milliseconds at a time, however much there is', async () => {
    const db = await opening(scratchPath(), { ...OPTIONS, segmentBytes: 16 * 1024 * 1024, checkpointBytes: 2 ** 30 })
    const operations = Array.from({ length: 1000 }, (_, i) => ({ type: 'put' as const, key: `key ${i}`, value: i }))
    for (let i = 0; i < 40; i++) db.batchSync(operations)
    await db.put('last', 1)
    // Time of the processor: others may have it meanwhile.
    const busyMs = (): number => (process.cpuUsage().user + process.cpuUsage().system) / 1000
    for (const options of [{ since: 0 }, { since: 0, prefix: 'last' }, { since: db.getEntry('last')!.version - 5 }]) {
      const held: number[] = []
      // The collector of garbage counts, too, and may come at any time: so the best of three counts.
      for (let tries = 0; tries < 3; tries++) {
        let turns = 0
        let longest = 0
        let before = Infinity
        const turn = (): void => {
          longest = Math.max(longest, busyMs() - before)
          before = busyMs()
          turns++
          timer = setImmediate(turn)
        }
        let timer = setImmediate(turn)
        let count = 0
        for await (const { key } of db.changes(options)) {
          count++
          if (key === 'last') break
        }
        clearImmediate(timer)
        expect(count).to.equal('prefix' in options || options.since > 0 ? 1 : 40_001)
        if (options.since === 0) expect(turns).to.be.above(1)
        held.push(longest)
      }
      // More than is promised, and less than all of it takes.
      expect(Math.min(...held)).to.be.below(60)
    }
  })

  it('is collected when nobody refers to it any more, and so is its database', async () => {
    const path = scratchPath()
    const refs: WeakRef<object>[] = []
    const forget = async (): Promise<void> => {
      const db = await open(path, OPTIONS)
      await writeSome(db)
      for (const feed of [
        db.changes({ since: 0 }),
        db.changes({ signal: new AbortController().signal }),
        db.watch('a'),
      ]) {
        refs.push(new WeakRef(feed))
        if (feed !== undefined && refs.length !== 2) await feed.next()
      }
      refs.push(new WeakRef(db))
    }
    await forget()
    // Without a look at the references in between: each keeps what it leads to for a while.
    for (let i = 0; i < 30; i++) await collectGarbage()
    expect(refs.map((ref) => ref.deref())).to.deep.equal([undefined, undefined, undefined, undefined])
  })

  it('of many at random places, each tells the same', async () => {
    const seed = Math.floor(Math.random() * 2 ** 31)
    const random = randomFrom(seed)
    const db = await opening(scratchPath())
    const live = told(db, {})
    for (let i = 0; i < 100; i++) {
      const key = `k${Math.floor(random() * 5)}`
      const roll = random()
      if (roll < 0.3) await db.put(key, i)
      else if (roll < 0.5) await db.del(key)
      else if (roll < 0.7) await db.put(key, 'x'.repeat(random() * 5000), { ifAbsent: true })
      else
        await db.batch(
          Array.from({ length: 1 + random() * 5 }, (_, j) =>
            random() < 0.5
              ? { type: 'put' as const, key: `k${j}`, value: i, ...(random() < 0.2 && { ifAbsent: true }) }
              : { type: 'del' as const, key: `k${j}` },
          ),
        )
      if (random() < 0.1) await db.checkpoint()
    }
    void live
    const all = await told(db)
    const state = new Map<string, unknown>()
    for (const { type, key, value } of all) {
      if (type === 'put') state.set(key as string, value)
      else expect(state.delete(key as string), `seed ${seed}: ${String(key)}`).to.equal(true)
    }
    const entries = [...db.range({ prefix: 'k' })] as [string, unknown][]
    expect([...state].sort(), `seed ${seed}`).to.deep.equal(entries.sort())
    for (let i = 0; i < 30; i++) {
      const at = Math.floor(random() * all.length)
      const rest = await told(db, { since: all[at]!.cursor })
      expect(rest, `seed ${seed}`).to.deep.equal(all.slice(at + 1))
    }
  })
})

const TINY_AGAIN: OpenOptions = { ...OPTIONS, retain: undefined }

/** Counts from now on how often those are woken who watch the tree. */
function countWakes(): () => number {
  let wakes = 0
  const before = Control.prototype.publishState
  Control.prototype.publishState = function (this: Control, from) {
    const { region } = this
    const wakeAll = region.wakeAll.bind(region)
    region.wakeAll = (offset: number) => {
      if (offset === Control.SEQUENCE_BYTE) wakes++
      wakeAll(offset)
    }
    try {
      before.call(this, from)
    } finally {
      delete (region as { wakeAll?: unknown }).wakeAll
    }
  }
  restore = () => (Control.prototype.publishState = before)
  return () => wakes
}
let restore: (() => void) | undefined
afterEach(() => {
  restore?.()
  restore = undefined
})
