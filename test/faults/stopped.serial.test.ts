// A process is stopped (SIGSTOP) in the middle of some work, for longer than every time limit, and then goes
// on. If this failed, other processes would wait for it without end or read something wrong, or writes would
// be lost or applied twice after it goes on.
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import type { CrashPoint } from '../../src/crash-points.js'
import { newState, STATE } from '../../src/engine/shared/control.js'
import { Engine } from '../../src/engine/engine.js'
import { resolveOptions } from '../../src/engine/options.js'
import { Patience } from '../../src/engine/shared/patience.js'
import { MmapdbError, OutcomeUnknownError } from '../../src/errors.js'
import { posixStorage } from '../../src/storage/posix.js'
import type { Storage } from '../../src/storage/storage.js'
import { lsnBefore } from '../../src/wal/lsn.js'
import {
  cleanUp,
  expectError,
  expectSound,
  heard,
  inProcess,
  openEngine,
  scratchPath,
  TINY,
} from '../support/engine.js'
import { Faults, FaultyStorage } from '../support/faulty-storage.js'
import { FrameBuilder } from '../../src/wal/frame-builder.js'

const TIMEOUT_MS = 250
/** A put may wait for the checkpoint lock, the append lock and a leader; the machine may be busy. */
const BOUND_MS = 3 * TIMEOUT_MS + 3000
const OPTIONS = { ...TINY, timeoutMs: TIMEOUT_MS }

/** Some values are large; one is so large that the data file must grow. */
const lengthOf = (i: number): number => (i === 30 ? 2_500_000 : i % 10 === 5 ? 30_000 : 200)

/** Writes until it has passed the point, and reports which writes were acknowledged. */
const WRITER = `
  const db = open({ timeoutMs: 30000 })
  say('open')
  await hear()
  const acknowledged = []
  const lengthOf = ${lengthOf}
  for (let i = 0; i < 60; i++) {
    try {
      db.put(['theirs', i], Buffer.alloc(lengthOf(i), i + 1))
      acknowledged.push(i)
      if (i % 20 === 19) db.checkpoint(true)
    } catch (error) {
      if (error.code !== 'ERR_MMAPDB_LOCKED') throw error
    }
  }
  say(acknowledged)
  await hear()
  db.close()
  say('closed')`

/** The outcome of `act`; `lsn`: the LSN of a write whose outcome is unknown. */
function triedOut(act: () => void): { code: string; lsn: number | undefined } {
  const startedMs = performance.now()
  let code = 'ok'
  let lsn: number | undefined
  try {
    act()
  } catch (error) {
    expect(error).to.be.instanceOf(MmapdbError)
    code = (error as MmapdbError).code
    expect((error as MmapdbError).message).to.match(/stopped|slow|running|opened/)
    if (error instanceof OutcomeUnknownError) lsn = error.lsn
  }
  expect(performance.now() - startedMs, `ms until ${code}`).to.be.lessThan(BOUND_MS)
  return { code, lsn }
}
const outcomeOf = (act: () => void): string => triedOut(act).code

describe('a process that is stopped', function () {
  this.timeout(60_000)
  afterEach(cleanUp)

  // Where the process stops, and what other processes' writes get meanwhile. While it appends, their frames do not
  // get into the log; while it leads, their frames are in the log and wait there.
  const points: [CrashPoint, number, 'ok' | 'ERR_MMAPDB_LOCKED' | 'ERR_MMAPDB_OUTCOME_UNKNOWN'][] = [
    ['before-append', 20, 'ERR_MMAPDB_LOCKED'],
    ['after-append', 20, 'ERR_MMAPDB_LOCKED'],
    ['after-flush', 20, 'ERR_MMAPDB_OUTCOME_UNKNOWN'],
    ['mid-apply', 20, 'ERR_MMAPDB_OUTCOME_UNKNOWN'],
    ['before-publish', 20, 'ERR_MMAPDB_OUTCOME_UNKNOWN'],
    ['segment-created', 2, 'ERR_MMAPDB_LOCKED'],
    ['growing-data', 1, 'ERR_MMAPDB_LOCKED'],
    ['checkpoint-begun', 1, 'ERR_MMAPDB_OUTCOME_UNKNOWN'],
    ['mid-checkpoint', 1, 'ok'],
    ['before-headers', 1, 'ok'],
    ['recycling-segment', 1, 'ok'],
  ]
  for (const [point, arrival, expected] of points) {
    it(`at ${point} makes others wait for so long and no longer, and goes on without doing harm`, async () => {
      const path = scratchPath()
      const engine = openEngine(path, OPTIONS)
      for (let i = 0; i < 50; i++) engine.put(['mine', i], Buffer.alloc(100, i))
      const peer = inProcess(path, WRITER, OPTIONS, { MMAPDB_STOP_AT: `${point}:${arrival}` })
      await heard(peer, 'open')
      peer.tell('go')
      await peer.stopped()
      // Reads work as usual.
      for (let i = 0; i < 50; i++) expect(engine.get(['mine', i])).to.deep.equal(Buffer.alloc(100, i))
      expect(engine.range({ prefix: ['mine'] }, 'keys').count()).to.equal(50)
      const outcomes = [0, 1].map((i) => triedOut(() => engine.put(['meanwhile', i], Buffer.from(`${i}`))))
      expect(outcomes.map(({ code }) => code)).to.deep.equal([expected, expected])
      if (expected === 'ok') expect(outcomeOf(() => void engine.checkpoint(true))).to.equal('ERR_MMAPDB_LOCKED')
      expect(engine.stats().failure).to.equal(undefined)

      peer.goOn()
      const theirs = (await peer.next()) as number[]
      expect(theirs.length).to.be.greaterThan(50)
      engine.put('afterwards', Buffer.from('works'))
      const check = (db: Engine): void => {
        for (const i of theirs)
          expect(db.get(['theirs', i])).to.satisfy((b: Buffer) => b.equals(Buffer.alloc(lengthOf(i), i + 1)))
        for (let i = 0; i < 50; i++) expect(db.get(['mine', i])).to.deep.equal(Buffer.alloc(100, i))
        outcomes.forEach(({ code, lsn }, i) => {
          const entry = db.getEntry(['meanwhile', i])
          if (code === 'ERR_MMAPDB_LOCKED') return void expect(entry, 'a write that was refused').to.equal(undefined)
          expect(entry?.value).to.deep.equal(Buffer.from(`${i}`))
          if (lsn !== undefined) expect(entry?.version).to.equal(lsn)
        })
        expect(db.get('afterwards')).to.deep.equal(Buffer.from('works'))
        expectSound(db)
      }
      check(engine)
      // Each appended frame was applied exactly once.
      const { frames } = engine.parts.control.append.read({} as never)
      expect(engine.stats().commits.frames).to.equal(frames)
      peer.tell('close')
      await heard(peer, 'closed')
      engine.close()
      check(openEngine(path))
    })
  }

  it('while it recovers the database makes openers wait for so long and no longer', async () => {
    const path = scratchPath()
    const dying = inProcess(
      path,
      `const db = open(); for (let i = 0; i < 30; i++) db.put(i, Buffer.from(String(i))); say('written'); await hear()`,
      OPTIONS,
    )
    await heard(dying, 'written')
    await dying.kill()
    const peer = inProcess(path, `const db = open(); say('open'); await hear(); db.close(); say('closed')`, OPTIONS, {
      MMAPDB_STOP_AT: 'mid-recovery',
    })
    await peer.stopped()
    for (const options of [OPTIONS, { ...OPTIONS, readOnly: true }]) {
      expect(outcomeOf(() => openEngine(path, options))).to.equal('ERR_MMAPDB_LOCKED')
    }
    peer.goOn()
    await heard(peer, 'open')
    const engine = openEngine(path, OPTIONS)
    for (let i = 0; i < 30; i++) expect(engine.get(i)).to.deep.equal(Buffer.from(String(i)))
    engine.put('works', Buffer.from('yes'))
    peer.tell('close')
    await heard(peer, 'closed')
    expectSound(engine)
  })
})

describe('a writer that is stopped itself while it waits', function () {
  this.timeout(60_000)
  afterEach(cleanUp)

  const write = `const db = open(); say('open'); await hear()
    try { db.put(await hear(), Buffer.from('1')); say('ok') } catch (error) { say(error.code) }
    await hear(); db.close()`

  it('for longer than the time limit is told of the success that it finds when it goes on', async () => {
    const path = scratchPath()
    const patient = { ...OPTIONS, timeoutMs: 30_000 }
    const engine = openEngine(path, patient)
    const leader = inProcess(path, write, patient, { MMAPDB_STOP_AT: 'before-publish' })
    await heard(leader, 'open')
    const waiter = inProcess(path, write, { ...OPTIONS, timeoutMs: 800 })
    await heard(waiter, 'open')
    leader.tell('go')
    leader.tell('first')
    await leader.stopped()
    const { tailLsn } = engine.stats().log
    waiter.tell('go')
    waiter.tell('second')
    while (engine.stats().log.tailLsn === tailLsn) await delay(1)
    // By now it has looked, and waits.
    await delay(100)
    process.kill(waiter.pid, 'SIGSTOP')
    await waiter.stopped()
    leader.goOn()
    await heard(leader, 'ok')
    // The next leader applies the rest.
    engine.put('third', Buffer.from('1'))
    expect(engine.get('second')).to.deep.equal(Buffer.from('1'))
    await delay(1000)
    waiter.goOn()
    await heard(waiter, 'ok')
    for (const peer of [leader, waiter]) {
      peer.tell('close')
      await peer.ended
    }
    expectSound(engine)
  })

  it('counts hardly any of that time as waiting', () => {
    let nowMs = 5000
    const patience = new Patience({ monotonicMs: () => nowMs } as Storage, 10_000)
    nowMs += 3_600_000
    expect(patience.isOver()).to.equal(false)
    for (let n = 0; n < 500; n++) {
      expect(patience.isOver(), `after ${n} looks`).to.equal(n >= 450)
      nowMs += 20
    }
  })
})

describe('a leader that lacks room which had been promised', function () {
  this.timeout(60_000)
  afterEach(cleanUp)

  /**
   * An engine with a frame in the log whose group needs the file to grow: the frame was promised freed slots, and
   * a reader that stood still for a long time while it took its pin holds them back.
   */
  function withStalledReader(engine: Engine): { finish: () => void; large: Buffer; letGo: () => void } {
    const values = (round: number) =>
      Array.from({ length: 100 }, (_, i) => ({ type: 'put' as const, key: i, value: Buffer.alloc(4000, round) }))
    engine.batch(values(1))
    const { control, pins } = engine.parts
    const old = control.readState(newState())[STATE.VISIBLE_LSN]!
    engine.batch(values(2))
    // Slots that a group frees count as free from the next group on.
    engine.put('tick', Buffer.alloc(1))
    const { total, unused } = engine.stats().slots
    const frame = new FrameBuilder()
    const large = Buffer.alloc((unused + 30) * 4064, 7)
    engine.operations.put(frame, 'large', large)
    const end = engine.parts.committer.append(frame.frame())
    expect(engine.stats().slots.total, 'slots of the file, which has not grown').to.equal(total)
    const pin = pins.acquire()
    control.f64[pin.lsnAt] = old
    Atomics.store(control.i32, pin.flagAt, 1)
    const finish = (): void => engine.parts.committer.wait(lsnBefore(end, frame.lengthBytes), end)
    return { finish, large, letGo: () => pins.giveBack(pin) }
  }
  const WIDE = { ...TINY, segmentBytes: 4 * 1024 * 1024, checkpointBytes: 64 * 1024 * 1024, timeoutMs: TIMEOUT_MS }

  it('gives up that group only, if an appender that is stopped keeps the file from growing', async () => {
    const path = scratchPath()
    const engine = openEngine(path, WIDE)
    const peer = inProcess(
      path,
      `const db = open(); say('open'); await hear(); db.put('theirs', Buffer.from('1')); say('put'); await hear(); db.close()`,
      {
        ...WIDE,
        timeoutMs: 30_000,
      },
      { MMAPDB_STOP_AT: 'before-append' },
    )
    await heard(peer, 'open')
    const { finish, large, letGo } = withStalledReader(engine)
    peer.tell('go')
    await peer.stopped()
    for (let i = 0; i < 2; i++) {
      const startedMs = performance.now()
      expectError(finish, 'ERR_MMAPDB_OUTCOME_UNKNOWN', /could not grow.*in the log.*may still take effect/)
      expect(performance.now() - startedMs).to.be.lessThan(BOUND_MS)
    }
    expect(engine.stats().failure).to.equal(undefined)
    expect(engine.get(5)).to.deep.equal(Buffer.alloc(4000, 2))
    peer.goOn()
    await heard(peer, 'put')
    // The next leader has applied it.
    expect(large.equals(engine.get('large') as Buffer)).to.equal(true)
    expect(engine.get('theirs')).to.deep.equal(Buffer.from('1'))
    letGo()
    engine.put('afterwards', Buffer.from('works'))
    expectSound(engine)
    peer.tell('close')
    await peer.ended
  })

  it('gives up that group only, if the disk is full; later writes are refused before they are in the log', () => {
    const faults = new Faults()
    const engine = Engine.open(resolveOptions(scratchPath(), WIDE), new FaultyStorage(posixStorage, faults))
    const { finish, large, letGo } = withStalledReader(engine)
    faults.arm({ calls: ['grow data'], code: 'ENOSPC', n: 1, lasting: true })
    expectError(finish, 'ERR_MMAPDB_OUTCOME_UNKNOWN', /Free some space.*in the log.*may still take effect/)
    const { tailLsn } = engine.stats().log
    expectError(() => engine.put('more', Buffer.alloc(1000)), 'ERR_MMAPDB_FULL', /Nothing was written/)
    expect(engine.stats().log.tailLsn).to.equal(tailLsn)
    expect(engine.stats().failure).to.equal(undefined)
    expect(engine.get(5)).to.deep.equal(Buffer.alloc(4000, 2))
    // Room, or the end of the reader: either is enough.
    letGo()
    finish()
    expect(large.equals(engine.get('large') as Buffer)).to.equal(true)
    engine.put('more', Buffer.alloc(1000))
    faults.heal()
    engine.put('afterwards', Buffer.alloc(500_000))
    expectSound(engine)
    engine.close()
    expect(faults.open).to.equal(0)
  })
})
