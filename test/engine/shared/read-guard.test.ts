// What a reader does that is ended in the middle of a read. If this failed, it would return what was never written,
// call a sound database damaged, make its process unable to write, or write what others see.
import { expect } from 'chai'
import { STATE, newState } from '../../../src/engine/shared/control.js'
import type { Engine } from '../../../src/engine/engine.js'
import { observeReads } from '../../../src/engine/shared/read-guard.js'
import { HEADER_SLOTS, SLOT, TYPE } from '../../../src/engine/format/layout.js'
import type { EngineSnapshot } from '../../../src/engine/read/snapshot.js'
import {
  cleanUp,
  expectError,
  expectSound,
  openEngine,
  randomFrom,
  scratchPath,
  SLOT_BYTES,
  TINY,
} from '../../support/engine.js'

const KEYS = 400
/** Kinds of garbage that are tried at each step. */
const TRIES = 5
const key = (n: number): string => `key:${String(n).padStart(6, '0')}`
/** One window, so that the bytes that a search reaches by mistake are mapped. */
const OPTIONS = { ...TINY, windowBytes: 64 * 1024 * 1024, segmentBytes: 1 << 20, checkpointBytes: 1 << 20 }

const fill = (engine: Engine, round: number): unknown =>
  engine.batch(
    Array.from({ length: KEYS }, (_, n) => ({
      type: 'put' as const,
      key: key(n),
      value: Buffer.alloc(n % 50 === 7 ? 9000 : 180, round),
    })),
  )

/** Every way to read, each with the result that it must have. */
const READS: [string, (snapshot: EngineSnapshot) => unknown, unknown][] = [
  ['get', (s) => (s.get(key(3)) as Buffer).equals(Buffer.alloc(180, 1)), true],
  ['get, of the last leaf', (s) => (s.get(key(KEYS - 1)) as Buffer).length, 180],
  ['get, of nothing', (s) => s.get(key(KEYS + 1)), undefined],
  ['get, of a long value', (s) => (s.get(key(57)) as Buffer).equals(Buffer.alloc(9000, 1)), true],
  ['getEntry', (s) => (s.getEntry(key(107))!.value as Buffer).length, 9000],
  ['has', (s) => [s.has(key(9)), s.has('no')].join(), 'true,false'],
  ['entries', (s) => [...s.range({ limit: 60 }, 'entries')].length, 60],
  [
    'entries, backwards',
    (s) => [...s.range({ reverse: true, limit: 60 }, 'values')].map((v) => (v as Buffer)[0]).join(''),
    '1'.repeat(60),
  ],
  ['keys', (s) => [...s.range({ gte: key(100), lt: key(160) }, 'keys')].length, 60],
  ['count', (s) => s.range({}, 'keys').count(), KEYS],
  ['count, with bounds', (s) => s.range({ gt: key(20), lte: key(300) }, 'keys').count(), 280],
  ['count, backwards', (s) => s.range({ reverse: true, lte: key(300) }, 'keys').count(), 301],
]

/** What a slot holds after it has been reused: sometimes nearly what it held before. */
function garbage(slot: Buffer, random: () => number): void {
  const word = slot.readInt32LE(SLOT.TYPE)
  const how = Math.floor(random() * 6)
  const from = how === 0 ? 0 : SLOT.PREFIX
  for (let i = from; i < slot.length; i += 4)
    slot.writeInt32LE(how === 1 ? -1 : how === 2 ? 0 : (random() * 2 ** 32) | 0, i)
  if (how === 0) return
  // A hurried look still takes it for what it should be, with as many entries as the field can say.
  slot.writeInt32LE(word, SLOT.TYPE)
  if (random() < 0.6) slot.writeUInt16LE(0, SLOT.PREFIX)
  if (how > 2) slot.writeUInt16LE(how === 3 ? 0xffff : how === 4 ? 0 : Math.floor(random() * 600), SLOT.COUNT)
}

describe('a reader that is ended while it reads', function () {
  this.timeout(120_000)
  afterEach(() => {
    observeReads(undefined)
    cleanUp()
  })

  for (const [isFresh, what] of [
    [true, 'as it came from disk'],
    [false, 'made since'],
  ] as const) {
    it(`hands out nothing wrong, judges nothing, and changes nothing, at whatever step: of a tree ${what}`, () => {
      const path = scratchPath()
      let engine = openEngine(path, OPTIONS)
      fill(engine, 1)
      if (isFresh) {
        engine.close()
        engine = openEngine(path, OPTIONS)
      }
      const { space, control, pins, checker } = engine.parts
      const nextSlot = control.readState(newState())[STATE.NEXT_SLOT]!
      const all = (): Buffer => space.buffers[0]!.subarray(HEADER_SLOTS * SLOT_BYTES, nextSlot * SLOT_BYTES)
      const bits = (): number[] => Array.from({ length: nextSlot }, (_, slot) => Number(checker.isUnverified(slot)))
      let steps = 0
      for (const [name, read, expected] of READS) {
        for (let turn = 0, isOver = false; !isOver; turn++) {
          const step = 1 + Math.floor(turn / TRIES)
          const snapshot = engine.snapshot()
          const sound = Buffer.from(all())
          let bitsThen: number[] = []
          let left = step
          isOver = true
          observeReads(() => {
            if (--left !== 0) return
            // Everything that others could have done to it since the last step.
            isOver = false
            pins.expire(snapshot.lsn)
            const random = randomFrom(turn * 7919 + name.length)
            for (let at = 0; at < all().length; at += SLOT_BYTES) garbage(all().subarray(at, at + SLOT_BYTES), random)
            bitsThen = bits()
            steps++
          })
          let got: unknown
          try {
            got = read(snapshot)
          } catch (error) {
            expect(error, `${name}, step ${step}`).to.have.property('code', 'ERR_MMAPDB_EXPIRED')
            got = expected
          }
          observeReads(undefined)
          expect(got, `${name}, step ${step}`).to.equal(expected)
          // It may still mark as verified the one slot that it had copied before, while the pin stood.
          const changes = isOver
            ? []
            : bits()
                .map((bit, slot) => bit - bitsThen[slot]!)
                .filter((change) => change !== 0)
          if (changes.length > 0) expect(changes, `${name}, step ${step}: what has been verified`).to.deep.equal([-1])
          expect(engine.stats().failure).to.equal(undefined)
          expect(space.region.faultCount(), `${name}, step ${step}: pages lost`).to.equal(0)
          all().set(sound)
          snapshot.close()
        }
      }
      expect(steps, 'steps at which something happened').to.be.greaterThan(150)
      fill(engine, 2)
      expectSound(engine)
      engine.close()
      expectSound(openEngine(path, OPTIONS))
    })
  }

  it('leaves a leaf that it found out of place to be found so by all others, and nothing else', () => {
    const path = scratchPath()
    const engine = openEngine(path, OPTIONS)
    fill(engine, 1)
    engine.checkpoint(true)
    const { space, control, checker } = engine.parts
    const state = control.readState(newState())
    const slot = state[STATE.ROOT]!
    expect(space.u8[0]![slot * SLOT_BYTES + SLOT.TYPE]).to.equal(TYPE.BRANCH)
    // A bit that has been cleared is never set again: whether a checkpoint seals a slot does not depend on what
    // readers say.
    for (let n = HEADER_SLOTS; n < state[STATE.NEXT_SLOT]!; n++) expect(checker.isUnverified(n)).to.equal(false)
    checker.misplacedError(slot)
    expect(checker.isUnverified(slot)).to.equal(false)
    fill(engine, 2)
    engine.checkpoint(true)
    expectSound(engine)
  })

  it('starts a count again, which nobody asked it to hold anything for, but not for ever', () => {
    const path = scratchPath()
    const engine = openEngine(path, OPTIONS)
    const hasty = openEngine(path, { ...OPTIONS, timeoutMs: 20 })
    fill(engine, 1)
    const { control, pins } = engine.parts
    let times = 0
    let most = 3
    observeReads(() => {
      if (times < most && pins.expire(control.visibleLsn())) times++
    })
    expect(engine.count(undefined)).to.equal(KEYS)
    expect(times).to.equal(3)
    most = Infinity
    expectError(() => hasty.count(undefined), 'ERR_MMAPDB_EXPIRED')
    expect(engine.stats().readers.pinned).to.equal(0)
  })

  it('is told so, whatever it does with what it has', () => {
    const engine = openEngine(scratchPath(), { ...OPTIONS, maxHeldBytes: 65536 })
    fill(engine, 1)
    const [one, two] = [engine.snapshot(), engine.snapshot()]
    for (let round = 2; round < 8; round++) fill(engine, round)
    // They read the same tree, and so are ended together.
    for (const snapshot of [one, two]) expectError(() => snapshot.get(key(1)), 'ERR_MMAPDB_EXPIRED')
    const next = engine.snapshot()
    expect((next.get(key(1)) as Buffer)[0]).to.equal(7)
    for (const snapshot of [one, two, next]) snapshot.close()
    expect(engine.stats().readers.pinned).to.equal(0)
  })
})
