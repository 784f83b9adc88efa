// Record locks where something is cut short: a change of the table by an error, the file itself, the search for dead
// owners, and a write by the death of the holder under whose lock it was made. If this failed, two would have one lock,
// a lock would stay for ever, or its next holder would read what was there before.
import { truncateSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import { observeCrashPoints } from '../../src/crash-points.js'
import type { Engine } from '../../src/engine/engine.js'
import type { Grant } from '../../src/engine/locks/grant.js'
import { AT } from '../../src/engine/locks/lock-layout.js'
import { LOOK_AGAIN_MS } from '../../src/engine/locks/lock-seats.js'
import { LOCK } from '../../src/engine/shared/lock-bytes.js'
import { ownerOf } from '../../src/engine/shared/seats.js'
import type { MmapdbError } from '../../src/errors.js'
import { open, type Database } from '../../src/index.js'
import { cleanUp, expectError, heard, inProcess, openEngine, scratchPath, TINY, writeBytes } from '../support/engine.js'
import { problemsIn } from '../support/lock-table.js'

const keysOf = (names: readonly string[]): Buffer[] => names.map((name) => Buffer.from(name))
const tryAcquire = (engine: Engine, ...names: string[]): Grant | undefined =>
  engine.recordLocks.tryAcquire(keysOf(names), 'exclusive')
const acquire = (engine: Engine, names: string[], timeoutMs = 20_000): Promise<Grant> =>
  engine.recordLocks.acquire(keysOf(names), { mode: 'exclusive', timeoutMs, signal: undefined, nameOf: String })
const codeOf = async (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'has it',
    (error: unknown) => (error as MmapdbError).code,
  )
const held = (engine: Engine): string[] =>
  engine.recordLocks.list().map(({ key }) => Buffer.from(key as Uint8Array).toString())

async function until(holds: () => boolean, what: string): Promise<void> {
  for (const giveUpMs = performance.now() + 10_000; !holds(); await delay(2))
    if (performance.now() > giveUpMs) expect.fail(what)
}

/** What V8 throws if the stack is used up: it is thrown at these points, and may be anywhere. */
const NO_STACK = new RangeError('Maximum call stack size exceeded')
function throwAt(...points: string[]): void {
  observeCrashPoints((point) => {
    if (points.includes(point)) throw NO_STACK
  })
}

const MUTEX_BYTES = (owner: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32LE(owner)
  return bytes
}
const setMutex = (path: string, owner: number): void => writeBytes(join(path, 'locks'), AT.MUTEX, MUTEX_BYTES(owner))
/** The owner that sits on the first seat. */
const firstOwner = (engine: Engine): number => ownerOf(0, engine.parts.control.seatGeneration(0))

const HOLDS = `
  const engine = open()
  engine.recordLocks.tryAcquire([Buffer.from('one')], 'exclusive')
  say('has')
  await hear()`

describe('record locks, cut short', function () {
  this.timeout(60_000)
  const databases: Database[] = []
  afterEach(async () => {
    observeCrashPoints(undefined)
    for (const db of databases.splice(0)) await db.close()
    cleanUp()
  })

  it('stay with a thread that cannot make the table whole, until it can', async () => {
    const path = scratchPath()
    const [first, other] = [openEngine(path), openEngine(path)]
    tryAcquire(first, 'one', 'two')
    tryAcquire(other, 'three')
    throwAt('lock-requested', 'lock-table-rebuilding')
    expect(() => tryAcquire(first, 'four', 'five')).to.throw(NO_STACK)
    observeCrashPoints(undefined)
    expect(tryAcquire(other, 'six'), 'the table is half made').to.equal(undefined)
    expect(tryAcquire(other, 'one'), 'the table is half made').to.equal(undefined)
    await until(() => tryAcquire(other, 'six') !== undefined, 'nobody makes it whole')
    expect(held(other).sort(), 'what the call that failed had is gone').to.deep.equal(['one', 'six', 'three', 'two'])
    expect(problemsIn(path)).to.deep.equal([])
    expect(other.recordLocks.counts()).to.deep.equal({ held: 4, waiting: 0 })
    for (const name of ['one', 'two']) expect(tryAcquire(other, name), name).to.equal(undefined)
    expect(tryAcquire(first, 'four', 'five')).to.not.equal(undefined)
  })

  it('that a call had when an error ended it are gone, and none that others had', async () => {
    const path = scratchPath()
    const [first, other] = [openEngine(path), openEngine(path)]
    for (const point of ['lock-table-taken', 'lock-requested', 'lock-removed', 'lock-wake-up', 'lock-granted']) {
      const mine = tryAcquire(first, 'one')!
      const waits = acquire(other, ['one'])
      throwAt(point)
      let had: Grant | undefined
      try {
        had = tryAcquire(first, 'two', 'three')
      } catch (error) {
        expect(error).to.equal(NO_STACK)
      }
      first.recordLocks.release(mine)
      if (had !== undefined) first.recordLocks.release(had)
      observeCrashPoints(undefined)
      other.recordLocks.release(await waits)
      await until(() => held(other).length === 0, `after "${point}" there is left: ${held(other).join()}`)
      expect(problemsIn(path), point).to.deep.equal([])
    }
  })

  it('are released later if that fails, also if no timer can be made then', async () => {
    const path = scratchPath()
    const [first, other] = [openEngine(path), openEngine(path)]
    const { setInterval, setImmediate } = globalThis
    const noStack = (): never => {
      throw NO_STACK
    }
    for (const canMakeTimers of [true, false]) {
      const grants = ['one', 'two'].map((name) => tryAcquire(first, name)!)
      throwAt('lock-table-taken')
      if (!canMakeTimers) Object.assign(globalThis, { setInterval: noStack, setImmediate: noStack })
      try {
        for (const grant of grants) first.recordLocks.release(grant)
      } finally {
        Object.assign(globalThis, { setInterval, setImmediate })
        observeCrashPoints(undefined)
      }
      expect(grants.map(({ isReleased }) => isReleased)).to.deep.equal([true, true])
      await until(() => held(other).length === 0, 'they are not released')
      expect(tryAcquire(other, 'one', 'two')).to.not.equal(undefined)
      other.recordLocks.close()
      await until(() => held(first).length === 0, 'closing does not release them')
      expect(problemsIn(path)).to.deep.equal([])
      if (canMakeTimers) Object.assign(other.parts, { recordLocks: openEngine(path).recordLocks })
    }
  })

  it('are waited for no longer once their file was cut short', async () => {
    const path = scratchPath()
    const [first, second] = [await open(path, TINY), await open(path, TINY)]
    databases.push(first, second)
    await first.lock('key')
    const waits = [
      second.lock('key', { timeoutMs: 30 }),
      second.lock('key', { timeoutMs: 5000 }),
      second.lock('key', { timeoutMs: Infinity }),
      second.lock(['another', 'key'], { signal: new AbortController().signal }),
    ].map((promise) => codeOf(promise))
    await delay(3 * LOOK_AGAIN_MS)
    // Nothing that it touches while it waits is gone.
    truncateSync(join(path, 'locks'), AT.CELLS + 4096)
    const codes = await Promise.all(waits)
    expect(codes).to.deep.equal(['ERR_MMAPDB_LOCKED', 'ERR_MMAPDB_IO', 'ERR_MMAPDB_IO', 'ERR_MMAPDB_IO'])
    await first.put('key', Buffer.from('value'))
    expect(String(second.get('key'))).to.equal('value')
  })

  it('are waited for no longer once a page is gone, whatever the event loop comes to first', async () => {
    for (const length of [0, AT.CELLS]) {
      const path = scratchPath()
      const [first, second] = [await open(path, TINY), await open(path, TINY)]
      databases.push(first, second)
      const lock = await first.lock('key')
      const controller = new AbortController()
      const waits = [
        codeOf(second.lock('key', { timeoutMs: 1 })),
        codeOf(first.lock('key', { timeoutMs: 1 })),
        codeOf(first.lock('key', { timeoutMs: Infinity })),
        codeOf(second.lock('key', { signal: controller.signal })),
      ]
      truncateSync(join(path, 'locks'), length)
      lock.release()
      controller.abort()
      const codes = await Promise.all(waits)
      expect(codes.slice(0, 3)).to.deep.equal(['ERR_MMAPDB_IO', 'ERR_MMAPDB_IO', 'ERR_MMAPDB_IO'])
      expect(codes[3]).to.not.equal('has it')
    }
  })

  it('let the database be closed once a page is gone', async () => {
    // In a process of its own, since this is about one that hangs.
    const peer = inProcess(
      scratchPath(),
      `const { truncateSync } = await import('node:fs')
       const engines = [open(), open()]
       const [first, second] = engines.map(({ recordLocks }) => recordLocks)
       const how = { mode: 'exclusive', timeoutMs: Infinity, nameOf: String }
       first.tryAcquire([Buffer.from('key')], 'exclusive')
       const waits = second.acquire([Buffer.from('key')], how).catch(error => error.code)
       await new Promise(resolve => setTimeout(resolve, 100))
       truncateSync(path + '/locks', 0)
       say(await waits)
       for (const engine of engines) engine.close()
       say('closed')`,
    )
    await heard(peer, 'ERR_MMAPDB_IO')
    const last = await Promise.race([peer.next(), delay(10_000, 'hangs')])
    if (last === 'hangs') await peer.kill()
    expect(last).to.equal('closed')
  })

  it('of a dead thread are had though the next one on its seat could not clear up', async () => {
    const path = scratchPath()
    const engine = openEngine(path)
    tryAcquire(engine, 'mine')
    const peer = inProcess(path, HOLDS)
    await heard(peer, 'has')
    await peer.kill()
    setMutex(path, firstOwner(engine))
    const next = openEngine(path)
    expect(tryAcquire(next, 'two'), 'the table is being changed').to.equal(undefined)
    setMutex(path, 0)
    next.recordLocks.release(await acquire(next, ['two']))
    const more = tryAcquire(next, 'three')!
    // It looks at intervals already when it begins to wait for the lock of the dead one.
    const waits = codeOf(acquire(engine, ['mine'], 20 * LOOK_AGAIN_MS))
    engine.recordLocks.release(await acquire(engine, ['one'], 20 * LOOK_AGAIN_MS))
    next.recordLocks.release(more)
    expect(await waits).to.equal('ERR_MMAPDB_LOCKED')
    expect(held(engine)).to.deep.equal(['mine'])
    expect(problemsIn(path)).to.deep.equal([])
  })

  it('of a dead thread are had though another has its seat and stands still', async () => {
    const path = scratchPath()
    const engine = openEngine(path)
    tryAcquire(engine, 'mine')
    const peer = inProcess(path, HOLDS)
    await heard(peer, 'has')
    await peer.kill()
    const { locks, control } = openEngine(path).parts
    expect(locks.tryLock(LOCK.SEATS + 1, 'exclusive')).to.equal(true)
    control.setSeatGeneration(1, control.seatGeneration(1) + 1)
    // It looks at intervals already when it begins to wait for the lock of the dead one.
    const waits = codeOf(acquire(engine, ['mine'], 20 * LOOK_AGAIN_MS))
    engine.recordLocks.release(await acquire(engine, ['one'], 20 * LOOK_AGAIN_MS))
    expect(await waits).to.equal('ERR_MMAPDB_LOCKED')
  })

  it('are looked at by one thread for all that wait, and a little at a time', async () => {
    const path = scratchPath()
    const engine = openEngine(path)
    tryAcquire(engine, 'mine')
    const engines = Array.from({ length: 40 }, () => openEngine(path))
    let asked = 0
    let slowMs = 0
    for (const each of engines) {
      const { locks } = each.parts
      const isHeldByOther = locks.isHeldByOther.bind(locks)
      locks.isHeldByOther = (byte, mode) => {
        asked++
        for (const untilMs = performance.now() + slowMs; performance.now() < untilMs;);
        return isHeldByOther(byte, mode)
      }
    }
    const waits = engines.map((each) => codeOf(acquire(each, ['mine'], 10_000)))
    await delay(6 * LOOK_AGAIN_MS)
    const before = asked
    await delay(20 * LOOK_AGAIN_MS)
    // Once or twice in this time for each of them; not for each of them by each.
    expect(asked - before).to.be.within(5 * 40, 45 * 40)
    // One look does not come to the end of them any more.
    slowMs = 1
    const peer = inProcess(path, HOLDS)
    await heard(peer, 'has')
    const wait = codeOf(acquire(engines[0]!, ['one'], 10_000))
    await peer.kill()
    expect(await wait).to.equal('has it')
    slowMs = 0
    for (const each of engines) each.recordLocks.close()
    expect(new Set(await Promise.all(waits))).to.deep.equal(new Set(['ERR_MMAPDB_CLOSED']))
  })

  const WRITES = `
    const engine = open()
    engine.recordLocks.tryAcquire([Buffer.from('one')], 'exclusive')
    say('has')
    await hear()
    engine.put('one', Buffer.from('new'))`

  /** A process that dies when its write is in the log and not yet in the tree. */
  async function deadWriter(path: string): Promise<void> {
    const peer = inProcess(path, WRITES, TINY, { MMAPDB_CRASH_AT: 'after-append' })
    await heard(peer, 'has')
    peer.tell('write')
    expect(await peer.ended).to.equal('SIGKILL')
  }

  it('of a dead holder show the next one what that wrote', async () => {
    const path = scratchPath()
    const engine = openEngine(path)
    tryAcquire(engine, 'mine')
    for (const way of ['at once', 'waiting', 'from the queue', 'by the next on its seat']) {
      engine.put('one', Buffer.from('old'))
      const peer = inProcess(path, WRITES, TINY, { MMAPDB_CRASH_AT: 'after-append' })
      await heard(peer, 'has')
      const queued = way === 'from the queue' ? acquire(engine, ['one']) : undefined
      if (queued !== undefined) await delay(3 * LOOK_AGAIN_MS)
      peer.tell('write')
      expect(await peer.ended).to.equal('SIGKILL')
      // Taking the seat removes the lock of the dead one.
      const other = openEngine(path)
      if (way === 'by the next on its seat') tryAcquire(other, 'two')
      const grant = way === 'waiting' ? await acquire(engine, ['one']) : ((await queued) ?? tryAcquire(engine, 'one')!)
      expect(String(engine.get('one')), way).to.equal('new')
      engine.recordLocks.release(grant)
      other.close()
    }
  })

  it('of a dead holder are not had while what that wrote cannot be brought into the tree', async () => {
    const path = scratchPath()
    const [engine, leader] = [openEngine(path), openEngine(path)]
    engine.put('one', Buffer.from('old'))
    await deadWriter(path)
    leader.parts.leaderLock.tryTake()
    expect(tryAcquire(engine, 'one')).to.equal(undefined)
    const options = { mode: 'exclusive', timeoutMs: 200, signal: undefined, nameOf: String } as const
    let message = ''
    await engine.recordLocks
      .acquire(keysOf(['one']), { ...options, catchUp: async () => new Promise(() => undefined) })
      .catch((error: unknown) => (message = (error as Error).message))
    expect(message).to.match(/record one could not be acquired within 200 ms: what its last holder wrote/)
    expect(held(engine)).to.deep.equal([])
    const failing = acquire(engine, ['one'], 5000)
    engine.parts.committer.catchUp = () => {
      throw new Error('met something')
    }
    expect(await codeOf(failing)).to.equal('ERR_MMAPDB_IO')
    expect(held(engine)).to.deep.equal([])
    leader.parts.leaderLock.release()
    expect(tryAcquire(engine, 'one')).to.not.equal(undefined)
    expect(String(engine.get('one'))).to.equal('new')
  })

  it('of a dead holder are had where nothing can take effect any more', async () => {
    const path = scratchPath()
    const engine = openEngine(path)
    engine.put('one', Buffer.from('old'))
    await deadWriter(path)
    engine.parts.control.fail({ code: 'ERR_MMAPDB_IO', message: 'the disk failed', lsn: 0 })
    expect(tryAcquire(engine, 'one')).to.not.equal(undefined)
    expectError(() => engine.put('one', Buffer.from('newer')), 'ERR_MMAPDB_IO')
  })

  it('of a dead holder show its writes to a Database, by a worker', async () => {
    const path = scratchPath()
    const db = await open(path, { ...TINY, workers: 2 })
    databases.push(db)
    await db.put('one', Buffer.from('old'))
    const peer = inProcess(
      path,
      `const { open: openDatabase } = await import(${JSON.stringify(new URL('../../src/index.js', import.meta.url).href)})
       const db = await openDatabase(path, { ...options, workers: 0 })
       await db.lock('one')
       say('has')
       await hear()
       db.putSync('one', Buffer.from('new'))`,
      TINY,
      { MMAPDB_CRASH_AT: 'after-append' },
    )
    await heard(peer, 'has')
    const waits = db.lock('one')
    peer.tell('write')
    const lock = await waits
    expect(String(db.get('one'))).to.equal('new')
    lock.release()
  })
})
