// Record locks among threads and processes that are killed, stopped and ended at any moment. If this failed, two
// would have one lock at a time, or a lock would stay with a process that is gone.
import { appendFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import { LOCK_POINTS } from '../../src/crash-points.js'
import type { Grant } from '../../src/engine/locks/grant.js'
import { LOOK_AGAIN_MS } from '../../src/engine/locks/lock-seats.js'
import type { Engine } from '../../src/engine/engine.js'
import { MmapdbError } from '../../src/errors.js'
import {
  cleanUp,
  heard,
  inProcess,
  inThread,
  openEngine,
  type Peer,
  randomFrom,
  rounds,
  scratchDirectory,
  scratchPath,
  TINY,
} from '../support/engine.js'
import { problemsIn } from '../support/lock-table.js'

const KEY = Buffer.from('key')

/** What all peers can use: locks of their own engine, by text. */
const LOCKS = `
  const engine = open(), locks = engine.recordLocks
  const keysOf = names => [...new Set(names)].sort().map(name => Buffer.from(name))
  const acquire = (names, mode = 'exclusive', timeoutMs = 20000) =>
    locks.acquire(keysOf(names), { mode, timeoutMs, signal: undefined, nameOf: String })
  const tryAcquire = (names, mode = 'exclusive') => locks.tryAcquire(keysOf(names), mode)
  const pause = ms => new Promise(resolve => setTimeout(resolve, ms))
`

const acquire = (engine: Engine, names: string[], timeoutMs = 20_000): Promise<Grant> =>
  engine.recordLocks.acquire(
    names.map((name) => Buffer.from(name)),
    { mode: 'exclusive', timeoutMs, signal: undefined, nameOf: String },
  )

const tell = (engine: Engine): string[] =>
  engine.recordLocks.list().map(({ key, state }) => `${Buffer.from(key as Uint8Array).toString()} ${state}`)

async function until(holds: () => boolean, what: string): Promise<void> {
  for (const giveUpMs = performance.now() + 20_000; !holds(); await delay(2))
    if (performance.now() > giveUpMs) expect.fail(what)
}

const waitingIn = (engine: Engine): number => engine.recordLocks.counts().waiting

/**
 * Two turns at the same time would leave a number out or take one twice. The counter is overwritten in place, since a
 * process may be killed in the middle of that.
 */
const COUNTING = `
  const { appendFileSync, readFileSync, writeFileSync } = await import('node:fs')
  const count = async () => {
    const n = Number(readFileSync(counter, 'utf8'))
    if (n % 3 === 0) await pause(1)
    writeFileSync(counter, String(n + 1).padStart(8, '0'), { flag: 'r+' })
    appendFileSync(journal, (n + 1) + '\\n')
  }
`

describe('record locks among threads and processes', function () {
  this.timeout(120_000)
  afterEach(cleanUp)

  it('let one at a time in, however many are killed, ended and stopped meanwhile', async () => {
    const path = scratchPath()
    const engine = openEngine(path)
    const directory = scratchDirectory()
    const counter = join(directory, 'counter')
    const journal = join(directory, 'journal')
    writeFileSync(counter, '00000000')
    writeFileSync(journal, '')
    const lines = `${LOCKS}
      const counter = ${JSON.stringify(counter)}, journal = ${JSON.stringify(journal)}
      ${COUNTING}
      let isOver = false
      void (async () => { await hear(); isOver = true })()
      const run = async (other) => {
        while (!isOver) {
          const grant = await acquire(Math.random() < 0.3 ? [other, 'counter'] : ['counter'])
          await count()
          locks.release(grant)
          if (Math.random() < 0.2) await pause(1)
        }
      }
      say('runs')
      await Promise.all([run('a'), run('b'), run('zz')])
      engine.close()`
    const random = randomFrom(Date.now())
    const start = (): Peer => (random() < 0.5 ? inProcess(path, lines) : inThread(path, lines))
    const peers = [start(), start(), start(), start()]
    let kills = 0
    for (const peer of peers) await heard(peer, 'runs')
    while (kills <= rounds(10)) {
      await delay(20 + random() * 150)
      const at = Math.floor(random() * peers.length)
      await peers[at]!.kill()
      kills++
      // Nobody waits for the one that was killed.
      const before = Number(readFileSync(counter, 'utf8'))
      await until(() => Number(readFileSync(counter, 'utf8')) > before, 'nobody goes on')
      peers[at] = start()
      await heard(peers[at]!, 'runs')
    }
    for (const peer of peers) peer.tell('over')
    for (const peer of peers) expect(await peer.ended).to.equal(0)
    await until(() => tell(engine).length === 0, `locks are left: ${tell(engine).join()}`)
    const noted = readFileSync(journal, 'utf8').trim().split('\n').map(Number)
    expect(new Set(noted).size, 'no number was taken twice').to.equal(noted.length)
    expect(noted, 'each after the one before').to.deep.equal([...noted].sort((a, b) => a - b))
    const counted = Number(readFileSync(counter, 'utf8'))
    // Who was killed between the two writes has noted nothing.
    expect(counted - noted.length).to.be.within(0, kills)
    expect(counted).to.be.above(200)
  })

  for (const point of LOCK_POINTS) {
    it(`outlive a process that is killed at "${point}", and so does the table`, async () => {
      const path = scratchPath()
      const engine = openEngine(path)
      const held = engine.recordLocks.tryAcquire([KEY], 'exclusive')!
      // Nobody else has the first turn of the table: the numbers count points of the peer alone.
      for (const n of [1, 2, 3]) {
        const body = `${LOCKS}
          const waits = []
          say('runs')
          for (let i = 0; i < 3; i++) {
            const grant = tryAcquire(['own', 'more' + i])
            waits.push(acquire(['own']))
            await pause(1)
            locks.release(grant)
            locks.release(await waits.pop())
          }
          say('done')`
        const doomed =
          point === 'lock-table-rebuilding'
            ? await dyingInRebuild(path, body, n)
            : inProcess(path, body, TINY, { MMAPDB_CRASH_AT: `${point}:${n}` })
        if (point !== 'lock-table-rebuilding') await heard(doomed, 'runs')
        expect(await doomed.ended).to.equal('SIGKILL')
        const startedMs = performance.now()
        const grant = await acquire(engine, ['more0', 'own'], 10_000)
        expect(performance.now() - startedMs, 'found dead soon').to.be.below(20 * LOOK_AGAIN_MS)
        engine.recordLocks.release(grant)
        expect(tell(engine)).to.deep.equal(['key held'])
        expect(problemsIn(path)).to.deep.equal([])
      }
      engine.recordLocks.release(held)
      expect(engine.recordLocks.counts()).to.deep.equal({ held: 0, waiting: 0 })
    })
  }

  /** One dies in the middle of a change, and the next while it takes over. */
  async function dyingInRebuild(path: string, body: string, n: number): Promise<Peer> {
    const point = ['lock-requested', 'lock-granted', 'lock-removed'][n - 1]!
    const first = inProcess(path, body, TINY, { MMAPDB_CRASH_AT: `${point}:2` })
    await heard(first, 'runs')
    expect(await first.ended).to.equal('SIGKILL')
    const second = inProcess(path, body, TINY, { MMAPDB_CRASH_AT: 'lock-table-rebuilding' })
    await heard(second, 'runs')
    return second
  }

  it('are taken over by one of many when the holder of the table dies, again and again', async () => {
    const path = scratchPath()
    const engine = openEngine(path)
    const lines = `${LOCKS}
      let isOver = false, n = 0
      void (async () => { await hear(); isOver = true })()
      say('runs')
      while (!isOver) {
        const grant = await acquire(['common'])
        // Where nobody competes nothing is waited for, and messages would never come.
        if (++n % 50 === 0) await new Promise(setImmediate)
        locks.release(grant)
      }
      say(n)
      engine.close()`
    const peers = [inProcess(path, lines), inThread(path, lines), inProcess(path, lines)]
    for (const peer of peers) await heard(peer, 'runs')
    for (let round = 0; round < rounds(12); round++) {
      const point = ['lock-requested', 'lock-granted', 'lock-removed', 'lock-table-taken', 'lock-wake-up'][round % 5]!
      const doomed = inProcess(path, lines, TINY, { MMAPDB_CRASH_AT: `${point}:${3 + round * 7}` })
      expect(await doomed.ended).to.equal('SIGKILL')
    }
    for (const peer of peers) peer.tell('over')
    for (const peer of peers) {
      expect(await peer.next()).to.be.above(100)
      expect(await peer.ended).to.equal(0)
    }
    engine.recordLocks.release(await acquire(engine, ['common']))
    expect(engine.recordLocks.counts()).to.deep.equal({ held: 0, waiting: 0 })
  })

  it('are had by one that waits already when the one that grants them dies in the middle of it', async () => {
    const path = scratchPath()
    const engine = openEngine(path)
    for (const point of ['lock-removed', 'lock-granted', 'lock-wake-up']) {
      const peer = inProcess(
        path,
        `${LOCKS} const grant = tryAcquire(['one']); say('has'); await hear(); locks.release(grant)`,
        TINY,
        { MMAPDB_CRASH_AT: point },
      )
      await heard(peer, 'has')
      const waits = acquire(engine, ['one'], 10_000)
      // Its first look is over: nothing happens here but at intervals.
      await delay(3 * LOOK_AGAIN_MS)
      peer.tell('release')
      expect(await peer.ended).to.equal('SIGKILL')
      engine.recordLocks.release(await waits)
    }
    expect(engine.recordLocks.counts()).to.deep.equal({ held: 0, waiting: 0 })
  })

  it('of a thread that is ended, of a process that is killed, and of one that closes go to the next at once', async () => {
    const path = scratchPath()
    const engine = openEngine(path)
    for (const how of ['thread', 'process', 'closes']) {
      const body = `${LOCKS}
        tryAcquire(['one', 'two'])
        acquire(['mine'])
        say('has')
        await hear()
        engine.close()
        say('closed')
        await hear()`
      const mine = engine.recordLocks.tryAcquire([Buffer.from('mine')], 'exclusive')!
      const peer = how === 'process' ? inProcess(path, body) : inThread(path, body)
      await heard(peer, 'has')
      expect(engine.recordLocks.tryAcquire([Buffer.from('two')], 'shared')).to.equal(undefined)
      const waits = acquire(engine, ['one', 'two'])
      await delay(120)
      expect(tell(engine).sort()).to.deep.equal(['mine held', 'mine waiting', 'one held', 'one waiting', 'two held'])
      if (how === 'closes') peer.tell('close')
      else await peer.kill()
      const startedMs = performance.now()
      const grant = await waits
      expect(performance.now() - startedMs).to.be.below(20 * LOOK_AGAIN_MS)
      engine.recordLocks.release(mine)
      expect(tell(engine)).to.deep.equal(['one held', 'two held'])
      engine.recordLocks.release(grant)
      if (how === 'closes') await peer.kill()
    }
  })

  it('of one that is dead are had by one that does not wait', async () => {
    const path = scratchPath()
    const engine = openEngine(path)
    const peer = inProcess(path, `${LOCKS} tryAcquire(['one']); acquire(['one']); say('has'); await hear()`)
    await heard(peer, 'has')
    expect(engine.recordLocks.tryAcquire([Buffer.from('one')], 'exclusive')).to.equal(undefined)
    expect(engine.recordLocks.counts()).to.deep.equal({ held: 1, waiting: 1 })
    await peer.kill()
    expect(tell(engine)).to.deep.equal([])
    expect(engine.recordLocks.counts(), 'as nobody has wanted it since').to.deep.equal({ held: 0, waiting: 0 })
    expect(engine.recordLocks.tryAcquire([Buffer.from('one')], 'exclusive')).to.not.equal(undefined)
  })

  it('are given in turn, in whichever process those are that wait', async () => {
    const path = scratchPath()
    const engine = openEngine(path)
    const order = join(scratchDirectory(), 'order')
    writeFileSync(order, '')
    const held = engine.recordLocks.tryAcquire([KEY], 'exclusive')!
    const body = `${LOCKS}
      const { appendFileSync } = await import('node:fs')
      say('runs')
      for (let name; (name = await hear()) !== 'close';) {
        acquire(['key']).then(grant => { appendFileSync(${JSON.stringify(order)}, name + ' '); locks.release(grant); say(name) })
      }
      engine.close()`
    const peers = [inProcess(path, body), inThread(path, body), inProcess(path, body)]
    for (const peer of peers) await heard(peer, 'runs')
    const expected: string[] = []
    for (let i = 0; i < 12; i++) {
      const mine = i % 4 === 3
      if (mine) {
        void acquire(engine, ['key']).then((grant) => {
          appendFileSync(order, `${i} `)
          engine.recordLocks.release(grant)
        })
      } else peers[i % 4]!.tell(String(i))
      expected.push(String(i))
      await until(() => waitingIn(engine) === i + 1, `request ${i} does not wait`)
    }
    engine.recordLocks.release(held)
    await until(() => readFileSync(order, 'utf8').trim().split(' ').length === 12, 'not all had their turn')
    expect(readFileSync(order, 'utf8').trim().split(' ')).to.deep.equal(expected)
    for (const peer of peers) peer.tell('close')
    for (const peer of peers) await peer.ended
  })

  it('reach the next thread without waiting for its next look', async () => {
    const path = scratchPath()
    const engine = openEngine(path)
    const body = `${LOCKS}
      say('runs')
      for (let n = 0; n < 60; n++) {
        const key = n % 2 ? ['odd'] : ['even']
        const grant = await acquire(key)
        const hadMs = Number(process.hrtime.bigint()) / 1e6
        await pause(5)
        locks.release(grant)
        say(hadMs)
      }`
    const held = [0, 1].map((n) => engine.recordLocks.tryAcquire([Buffer.from(n ? 'odd' : 'even')], 'exclusive')!)
    const peer = inThread(path, body)
    await heard(peer, 'runs')
    const took: number[] = []
    for (let n = 0; n < 60; n++) {
      await until(() => waitingIn(engine) === 1, 'it does not wait')
      const key = n % 2 ? 'odd' : 'even'
      const releasedMs = Number(process.hrtime.bigint()) / 1e6
      engine.recordLocks.release(held[n % 2]!)
      took.push(((await peer.next()) as number) - releasedMs)
      held[n % 2] = await acquire(engine, [key])
    }
    took.sort((a, b) => a - b)
    expect(took[30], 'half of them').to.be.below(LOOK_AGAIN_MS / 4)
  })

  it('on several keys in any order are had by all in the end, in several processes', async () => {
    const path = scratchPath()
    const body = `${LOCKS}
      say('runs')
      const names = ['a', 'b', 'c', 'd', 'e']
      for (let n = 0; n < 150; n++) {
        const some = names.map(name => [Math.random(), name]).sort((x, y) => x[0] - y[0]).slice(0, 3).map(([, name]) => name)
        const grant = await acquire(some)
        if (n % 10 === 0) await pause(1)
        locks.release(grant)
      }
      engine.close()
      say('done')`
    const peers = [inProcess(path, body), inThread(path, body), inProcess(path, body)]
    for (const peer of peers) await heard(peer, 'runs')
    for (const peer of peers) await heard(peer, 'done')
  })

  it('do not block the event loop while a process stands still in the middle of a change', async () => {
    const path = scratchPath()
    const engine = openEngine(path)
    const mine = engine.recordLocks.tryAcquire([Buffer.from('mine')], 'exclusive')!
    const peer = inProcess(
      path,
      `${LOCKS} say('runs'); tryAcquire(['one']); say('has'); await hear(); engine.close()`,
      TINY,
      {
        MMAPDB_STOP_AT: 'lock-requested',
      },
    )
    await heard(peer, 'runs')
    await peer.stopped()
    let longestMs = 0
    let lastMs = performance.now()
    const ticks = setInterval(() => {
      longestMs = Math.max(longestMs, performance.now() - lastMs)
      lastMs = performance.now()
    }, 5)
    const waits = acquire(engine, ['other'], 20_000)
    const codes = await Promise.all(
      Array.from({ length: 20 }, async (_, i) => {
        try {
          await acquire(engine, [`other ${i}`], 300)
          return 'has it'
        } catch (error) {
          return (error as MmapdbError).code
        }
      }),
    )
    expect(codes).to.deep.equal(codes.map(() => 'ERR_MMAPDB_LOCKED'))
    expect(engine.recordLocks.tryAcquire([Buffer.from('more')], 'shared')).to.equal(undefined)
    engine.recordLocks.release(mine)
    expect(mine.isReleased).to.equal(true)
    clearInterval(ticks)
    expect(longestMs).to.be.below(1000)
    peer.goOn()
    await heard(peer, 'has')
    engine.recordLocks.release(await waits)
    await until(() => tell(engine).length === 1, `left: ${tell(engine).join()}`)
    expect(tell(engine), 'what was released and given up meanwhile is gone').to.deep.equal(['one held'])
    peer.tell('close')
    await peer.ended
    await until(() => engine.recordLocks.counts().held === 0, 'what was released later is not gone')
    expect(waitingIn(engine)).to.equal(0)
  })

  it('are not taken from a holder that is stopped', async () => {
    const path = scratchPath()
    const engine = openEngine(path)
    const peer = inProcess(
      path,
      `${LOCKS} tryAcquire(['one']); say('has'); await hear(); say('goes on'); engine.close()`,
    )
    await heard(peer, 'has')
    process.kill(peer.pid, 'SIGSTOP')
    await peer.stopped()
    let message = ''
    await acquire(engine, ['one'], 300).catch((error: unknown) => (message = (error as Error).message))
    expect(message).to.match(new RegExp(`process ${peer.pid} holds it`))
    expect(tell(engine)).to.deep.equal(['one held'])
    peer.goOn()
    peer.tell('go on')
    await heard(peer, 'goes on')
    engine.recordLocks.release(await acquire(engine, ['one']))
  })

  it('are waited for by a thousand with no more than one thread more', async () => {
    const path = scratchPath()
    const engine = openEngine(path)
    const other = openEngine(path)
    const held = other.recordLocks.tryAcquire([KEY], 'exclusive')!
    const threads = (): number => readdirSync('/proc/self/task').length
    const before = threads()
    const order: number[] = []
    const all = Array.from({ length: 1000 }, async (_, i) => {
      const grant = await acquire(engine, ['key'])
      order.push(i)
      engine.recordLocks.release(grant)
    })
    await delay(150)
    expect(threads() - before).to.be.at.most(1)
    expect(waitingIn(other)).to.equal(1000)
    other.recordLocks.release(held)
    await Promise.all(all)
    expect(order).to.deep.equal(order.map((_, i) => i))
    await until(() => threads() === before, 'the thread stays')
  })

  it('cost beside a hundred thousand what they cost alone', async () => {
    const engine = openEngine(scratchPath())
    const { recordLocks } = engine
    const medianMs = (): number => {
      const turns = Array.from({ length: 15 }, (_, turn) => {
        const startedMs = performance.now()
        for (let i = 0; i < 2000; i++)
          recordLocks.release(recordLocks.tryAcquire([Buffer.from(`key ${turn} ${i}`)], 'exclusive')!)
        return performance.now() - startedMs
      })
      return turns.sort((a, b) => a - b)[7]!
    }
    medianMs()
    const aloneMs = medianMs()
    const held = Array.from({ length: 100_000 }, (_, i) =>
      recordLocks.tryAcquire([Buffer.from(`held ${i}`)], 'shared')!,
    )
    const besideMs = medianMs()
    expect(besideMs / aloneMs, `${aloneMs} ms alone, ${besideMs} ms beside them`).to.be.below(5)
    expect(recordLocks.counts().held).to.equal(100_000)
    for (const grant of held) recordLocks.release(grant)
    expect(recordLocks.counts().held).to.equal(0)
  })

  it('keep a process alive while a call waits, and no longer', async () => {
    const path = scratchPath()
    const engine = openEngine(path)
    const held = engine.recordLocks.tryAcquire([KEY], 'exclusive')!
    const peer = inProcess(
      path,
      `${LOCKS}
       acquire(['key']).then(grant => locks.release(grant))
       await pause(20)
       say('waits')`,
    )
    await heard(peer, 'waits')
    let code: unknown
    void peer.ended.then((ended) => (code = ended))
    await delay(300)
    expect(code, 'it waits').to.equal(undefined)
    engine.recordLocks.release(held)
    expect(await peer.ended).to.equal(0)
  })
})
