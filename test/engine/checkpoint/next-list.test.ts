// The free list on disk as a stack of what checkpoints have changed: it says the same as a list of all that is free,
// and costs what was written.
import { expect } from 'chai'
import type { Engine } from '../../../src/engine/engine.js'
import { SLOT } from '../../../src/engine/format/layout.js'
import { CorruptError } from '../../../src/errors.js'
import { findHeaderIn } from '../../../src/engine/lifecycle/find-header.js'
import { databasePaths } from '../../../src/engine/lifecycle/paths.js'
import { newState, STATE } from '../../../src/engine/shared/control.js'
import { deriveFreeList } from '../../../src/engine/space/derive-free-list.js'
import { lostSlots, readFreeList, slotsOfFreeList } from '../../../src/engine/space/free-list.js'
import type { SlotChecker } from '../../../src/engine/space/slot-checker.js'
import { FrameBuilder } from '../../../src/wal/frame-builder.js'
import { cleanUp, crashCopy, openEngine, randomFrom, scratchPath, TINY } from '../../support/engine.js'

/** So little log between checkpoints that a list of more than eight runs is not a small one. */
const OPTIONS = { ...TINY, segmentBytes: 1024 * 1024, checkpointBytes: 64 * 1024 }
const KEYS = 4000
const key = (n: number): string => `key:${String(n).padStart(8, '0')}`

function put(engine: Engine, keys: readonly number[], bytes: number): void {
  for (let i = 0; i < keys.length; i += 100) {
    engine.batch(
      keys.slice(i, i + 100).map((n) => ({ type: 'put' as const, key: key(n), value: Buffer.alloc(bytes, n) })),
    )
  }
}

function clear(engine: Engine, from: number): void {
  const { main } = engine
  engine.write((frame) => frame.clear(main.encoded(key(from)), main.encoded(key(from + 400))))
}

/** Free slots all over the file. */
function scatter(engine: Engine): void {
  put(
    engine,
    Array.from({ length: KEYS }, (_, n) => n),
    800,
  )
  engine.checkpoint(true)
  for (let n = 0; n < KEYS; n += 40) for (let i = 0; i < 8; i++) engine.del(key(n + i))
  engine.checkpoint(true)
}

/** The free list on disk: its slots from the top down, and what it names. */
function listOnDisk({ parts }: Engine) {
  const { space, checker, storage, options } = parts
  const header = findHeaderIn(space.region, storage, databasePaths(options.path)).header!
  const slots = slotsOfFreeList(space, checker, header.freeListHead, header.freeListSlots)
  return { header, slots, ...readFreeList(space, checker, header) }
}

/** Fails unless the list on disk names what the tree on disk does not reach. Returns the slots of the list. */
function expectRight(engine: Engine): readonly number[] {
  const { header, slots, free } = listOnDisk(engine)
  expect(lostSlots(header, free), 'lost slots').to.equal(0)
  // The checker of the engine would note what this walk has reached.
  const trusting = { require: () => false } as unknown as SlotChecker
  expect([...free]).to.deep.equal([...deriveFreeList(engine.parts.space, trusting, header, slots)])
  return slots
}

const growsOn = (slots: readonly number[], before: readonly number[]): boolean =>
  slots.slice(-before.length).join() === before.join()

describe('the free list of a checkpoint', function () {
  this.timeout(30_000)
  afterEach(cleanUp)

  it('costs what was written: it is added to', () => {
    const engine = openEngine(scratchPath(), OPTIONS)
    scatter(engine)
    const before = expectRight(engine)
    put(engine, [1717], 10)
    engine.checkpoint(true)
    const after = expectRight(engine)
    expect(after).to.have.lengthOf(before.length + 1)
    expect(growsOn(after, before)).to.equal(true)
    // A frame without operations changes nothing.
    engine.parts.committer.catchUp(engine.parts.committer.append(new FrameBuilder().frame()))
    engine.checkpoint(true)
    expect(growsOn(expectRight(engine), after)).to.equal(true)
  })

  it('names what the tree does not reach, whatever is written, and is written again as a whole now and then', () => {
    const path = scratchPath()
    let engine = openEngine(path, OPTIONS)
    scatter(engine)
    const random = randomFrom(4)
    const below = (n: number): number => Math.floor(random() * n)
    let before = expectRight(engine)
    let [added, asWhole] = [0, 0]
    for (let round = 0; round < 120; round++) {
      for (let i = below(12); i >= 0; i--) {
        const n = below(KEYS)
        if (below(3) === 0) engine.del(key(n))
        else put(engine, [n], [5, 800, 9000, 60_000][below(4)]!)
      }
      if (below(20) === 0) clear(engine, below(KEYS))
      engine.checkpoint(true)
      const slots = expectRight(engine)
      if (growsOn(slots, before)) added++
      else asWhole++
      before = slots
      if (round % 10 !== 9) continue
      // What another opener reads of it, after a crash.
      engine = openEngine(crashCopy(engine.options.path), OPTIONS)
      expect(engine.recovery?.freeListDamage).to.equal(undefined)
      before = expectRight(engine)
    }
    expect(added).to.be.greaterThan(20)
    expect(asWhole).to.be.greaterThan(2)
  })

  it('names what was freed before a checkpoint that failed, and goes on from the list before that', () => {
    const engine = openEngine(scratchPath(), OPTIONS)
    scatter(engine)
    const { checker } = engine.parts
    for (let round = 0; round < 10; round++) {
      const before = expectRight(engine)
      put(engine, [round * 131, round * 17], 800)
      // The last thing before the headers are written.
      checker.assertWhole = () => {
        throw new Error('stopped')
      }
      expect(() => engine.checkpoint(true)).to.throw('stopped')
      delete (checker as { assertWhole?: unknown }).assertWhole
      put(engine, [round * 73], 5)
      engine.checkpoint(true)
      expect(growsOn(expectRight(engine), before)).to.equal(true)
    }
  })

  it('is detected as damaged, or as leaving slots out, if any slot of it says something else under a good CRC', () => {
    const engine = openEngine(scratchPath(), OPTIONS)
    scatter(engine)
    for (let n = 0; n < 5; n++) {
      put(engine, [n * 317, n * 711], 800)
      engine.del(key(n * 501))
      engine.checkpoint(true)
    }
    const { space, checker } = engine.parts
    const { header, slots, free } = listOnDisk(engine)
    expect(slots).to.have.lengthOf.at.least(5)
    /** What a reader makes of the list as it is now. */
    const outcome = (): string => {
      try {
        const read = readFreeList(space, checker, header).free
        return lostSlots(header, read) > 0 ? 'leaves slots out' : String(read) === String(free) ? 'same' : 'believed'
      } catch (error) {
        return error instanceof CorruptError ? 'detected' : `threw ${String(error)}`
      }
    }
    expect(outcome()).to.equal('same')
    const tried = new Map<string, number>()
    for (const slot of slots) {
      const words = space.i32[space.windowOf(slot)]!
      const at = space.byteOf(slot) >> 2
      const count = words[at + (SLOT.TYPE >> 2)]! >>> 16
      const taken = words[at + (SLOT.TAKEN >> 2)]!
      const changes: [number, number][] = [
        ...[taken - 1, taken + 1, 0, count, count + 1].map((n): [number, number] => [SLOT.TAKEN, n]),
        ...[0, slots[0]!, slot, header.root].map((n): [number, number] => [SLOT.NEXT, n]),
        ...[8, header.lsn - 1, header.lsn + 1].map((n): [number, number] => [SLOT.LSN, n]),
        [SLOT.TYPE, words[at + (SLOT.TYPE >> 2)]! - 0x10000],
        [SLOT.BODY, header.root],
        [SLOT.BODY + 4, words[at + (SLOT.BODY >> 2) + 1]! + 1],
        [SLOT.BODY + 4, 0],
      ]
      for (const [offset, value] of changes) {
        const word = at + (offset >> 2)
        const before = words[word]!
        if (before === value) continue
        words[word] = value
        const found = outcome()
        words[word] = before
        tried.set(found, (tried.get(found) ?? 0) + 1)
        // Of the same set of slots there may be another wording: an LSN that only says which checkpoint it was.
        const isHarmless = found === 'detected' || found === 'leaves slots out' || found === 'same'
        expect(isHarmless, `word ${offset} of slot ${slot} is ${value}: ${found}`).to.equal(true)
      }
    }
    expect(tried.get('detected')).to.be.greaterThan(slots.length * 4)
    expect(outcome()).to.equal('same')
  })

  it('is written as a whole after a full disk, and until it lists all that is free', () => {
    const engine = openEngine(scratchPath(), OPTIONS)
    scatter(engine)
    const { control } = engine.parts
    const state = control.readState(newState())
    expect(state[STATE.FREE_LIST_ROOM]).to.be.greaterThan(0)
    // As if a ring had had no room for a slot.
    state[STATE.LOST] = 1
    control.publishState(state)
    const before = listOnDisk(engine).slots
    for (const n of [1, 2]) {
      put(engine, [n], 10)
      engine.checkpoint(true)
      expect(growsOn(listOnDisk(engine).slots, before)).to.equal(false)
      expect(control.readState(newState())[STATE.FREE_LIST_ROOM]).to.equal(0)
    }
  })
})
