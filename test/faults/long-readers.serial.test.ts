// Readers that never finish. If this failed, their cost could not be seen or limited, or a reader that was
// ended would read something that was never there.
import { expect } from 'chai'
import type { Engine } from '../../src/engine/engine.js'
import {
  cleanUp,
  expectError,
  expectSound,
  heard,
  inProcess,
  inThread,
  openEngine,
  scratchPath,
  TINY,
} from '../support/engine.js'

const KEYS = 600
const OPTIONS = { ...TINY, segmentBytes: 1024 * 1024, checkpointBytes: 512 * 1024, reserveBytes: 256 * 1024 * 1024 }
/** Less than the tree of all keys takes. */
const LIMITED = { ...OPTIONS, maxHeldBytes: 128 * 1024 }
const SLOT_BYTES = 4096
/** More than one leaf can hold, and a fraction of the whole. */
const ENTRIES_OF_A_LEAF = 30

/** All values of a round are alike and written in one batch: a reader that sees two rounds sees a wrong tree. */
const write = (engine: Engine, round: number): unknown =>
  engine.batch(
    Array.from({ length: KEYS }, (_, i) => ({
      type: 'put' as const,
      key: i,
      value: Buffer.alloc(i % 60 === 0 ? 9000 : 150, round),
    })),
  )

const READER = `
  const check = (values) => {
    const rounds = new Set()
    let count = 0
    for (const value of values) {
      for (const byte of value) rounds.add(byte)
      count++
    }
    if (rounds.size !== 1 || count !== ${KEYS}) throw new Error('wrong: ' + count + ' values of rounds ' + [...rounds])
  }`

describe('a reader that never finishes', function () {
  this.timeout(60_000)
  afterEach(cleanUp)

  it('is seen in the figures: its age, what it reads, and what it holds back; and gone when it ends', async () => {
    const engine = openEngine(scratchPath(), OPTIONS)
    write(engine, 1)
    expect(engine.stats().readers).to.include({ pinned: 0, oldestMs: 0, heldBytes: 0 })
    const snapshot = engine.snapshot()
    const iterator = engine.range(undefined, 'keys')
    iterator.next()
    for (let round = 2; round < 8; round++) write(engine, round)
    await new Promise((resolve) => setTimeout(resolve, 30))
    const { readers } = engine.stats()
    expect(readers.pinned).to.equal(2)
    expect(readers.oldestLsn).to.equal(snapshot.lsn)
    expect(readers.oldestMs).to.be.within(30, 60_000)
    // The tree that it sees takes at least this much, and all of it has been replaced.
    expect(readers.heldBytes).to.be.at.least((KEYS * 150 * 9) / 10)
    snapshot.close()
    iterator.return()
    write(engine, 8)
    write(engine, 9)
    const { total } = engine.stats().slots
    expect(engine.stats().readers).to.include({ pinned: 0, oldestMs: 0, heldBytes: 0 })
    for (let round = 10; round < 30; round++) write(engine, round)
    expect(engine.stats().slots.total, 'slots of a file that is to grow no more').to.equal(total)
    expectSound(engine)
  })

  it('lasts as long as it likes where there is no limit', () => {
    const engine = openEngine(scratchPath(), OPTIONS)
    write(engine, 1)
    const snapshot = engine.snapshot()
    for (let round = 2; round < 30; round++) write(engine, round)
    expect(
      [...snapshot.range(undefined, 'values')].every((value) => (value as Buffer).every((byte) => byte === 1)),
    ).to.equal(true)
    snapshot.close()
  })

  it('is ended once it holds back more than a writer allows, whatever it does next', () => {
    const engine = openEngine(scratchPath(), LIMITED)
    write(engine, 1)
    const snapshot = engine.snapshot()
    const iterators = (['entries', 'keys', 'values'] as const).map((selection) => snapshot.range({}, selection))
    const own = engine.range({ reverse: true }, 'entries')
    for (const iterator of [...iterators, own]) iterator.next()
    for (let round = 2; round < 12; round++) write(engine, round % 256)
    for (const act of [
      () => snapshot.get(1),
      () => snapshot.get('never there'),
      () => snapshot.getEntry(0),
      () => snapshot.has(5),
      () => [...snapshot.range(undefined, 'keys')],
      () => snapshot.range(undefined, 'keys').count(),
    ]) {
      expectError(act, 'ERR_MMAPDB_EXPIRED', /maxHeldBytes.*Take a new one/)
    }
    for (const iterator of [...iterators, own]) {
      // The entries that it has copied already are right, and come first.
      let left = 0
      expectError(
        () => {
          while (!iterator.next().done) left++
        },
        'ERR_MMAPDB_EXPIRED',
        /maxHeldBytes.*Take a new one/,
      )
      expect(left, 'entries from then on').to.be.below(ENTRIES_OF_A_LEAF)
    }
    expect(own.next(), 'an iterator that was ended').to.deep.equal({ done: true, value: undefined })
    snapshot.close()
    expect(engine.get(1)).to.deep.equal(Buffer.alloc(150, 11))
    const again = engine.snapshot()
    expect(again.get(1)).to.deep.equal(Buffer.alloc(150, 11))
    again.close()
    expect(engine.stats().readers.pinned).to.equal(0)
    expectSound(engine)
  })

  it('costs the file no more than the limit, and what one group frees', () => {
    const engine = openEngine(scratchPath(), LIMITED)
    write(engine, 1)
    for (let round = 2; round < 6; round++) write(engine, round)
    const { leaf, branch, overflow } = engine.stats().slots
    const tree = leaf + branch + overflow
    // One more snapshot after another is forgotten.
    const snapshots = []
    let afterTen = 0
    for (let round = 6; round < 60; round++) {
      snapshots.push(engine.snapshot())
      write(engine, round)
      if (round === 16) afterTen = engine.stats().slots.total
      expect(engine.stats().readers.heldBytes).to.be.at.most(LIMITED.maxHeldBytes + 3 * tree * SLOT_BYTES)
    }
    expect(engine.stats().slots.total, 'slots of a file that is to grow no more').to.equal(afterTen)
    for (const snapshot of snapshots) snapshot.close()
    expectSound(engine)
  })

  for (const [kind, start] of [
    ['process', inProcess],
    ['thread', inThread],
  ] as const) {
    it(`reads nothing wrong when it is ended from another ${kind}, in the middle of what it reads`, async () => {
      const path = scratchPath()
      const engine = openEngine(path, LIMITED)
      write(engine, 1)
      // The reader's own process has no limit set.
      const peer = start(
        path,
        `${READER}
        const db = open()
        say('open')
        let expired = 0, whole = 0, stop = false
        hear().then(() => { stop = true })
        while (!stop) {
          const snapshot = db.snapshot()
          try {
            for (let i = 0; i < 4; i++) check(snapshot.range(undefined, 'values'))
            await new Promise(resolve => setTimeout(resolve, whole % 3))
            check(snapshot.range({ reverse: true }, 'values'))
            check(Array.from({ length: ${KEYS} }, (_, i) => snapshot.get(i)))
            whole++
          } catch (error) {
            if (error.code !== 'ERR_MMAPDB_EXPIRED') throw error
            expired++
          } finally {
            snapshot.close()
          }
          await new Promise(resolve => setImmediate(resolve))
        }
        say({ expired, whole })
        db.close()`,
        OPTIONS,
      )
      await heard(peer, 'open')
      const endMs = performance.now() + 1500
      for (let round = 2; performance.now() < endMs; round++) write(engine, (round % 250) + 1)
      // At some time it succeeds.
      await new Promise((resolve) => setTimeout(resolve, 200))
      peer.tell('stop')
      const said = (await peer.next()) as { expired: number; whole: number }
      expect(said, JSON.stringify(said)).to.have.property('expired').that.is.greaterThan(0)
      await peer.ended
      expectSound(engine)
    })
  }
})
