// The data file's structures: what is written is read, and no damaged byte goes unnoticed.
import { expect } from 'chai'
import fc from 'fast-check'
import type { Engine } from '../../../src/engine/engine.js'
import { newState, STATE } from '../../../src/engine/shared/control.js'
import { findHeader } from '../../../src/engine/lifecycle/find-header.js'
import {
  decodeHeader,
  encodeHeader,
  FORMAT_VERSION,
  headerSlots,
  looksLikeHeader,
  type Header,
} from '../../../src/engine/format/header.js'
import { SLOT, TYPE, type SlotNo } from '../../../src/engine/format/layout.js'
import { Node } from '../../../src/engine/format/node.js'
import {
  freeListSlotsFor,
  linkFreeList,
  readStack,
  RUNS_PER_SLOT,
  writeFreeList,
} from '../../../src/engine/space/free-list.js'
import { eachSlot, mergedRuns, type Runs } from '../../../src/engine/format/runs.js'
import { SlotChecker } from '../../../src/engine/space/slot-checker.js'
import { SlotSpace } from '../../../src/engine/format/slot-space.js'
import { verify } from '../../../src/maintenance/verify.js'
import { MmapdbError } from '../../../src/errors.js'
import { posixStorage } from '../../../src/storage/posix.js'
import type { Lsn } from '../../../src/wal/lsn.js'
import {
  cleanUp,
  contents,
  crashCopy,
  dataFile,
  expectError,
  flipByte,
  openEngine,
  readBytes,
  runs,
  scratchPath,
  seeded,
  SLOT_BYTES,
  writeBytes,
} from '../../support/engine.js'
import { sealSlot, slotDamage, structureDamage } from '../../../src/engine/format/slot-damage.js'

const header = (over: Partial<Header> = {}): Header => ({
  version: FORMAT_VERSION,
  encodingNo: 1,
  uuid: Buffer.from('0123456789abcdef'),
  checkpointNumber: 7,
  lsn: (2 ** 47 + 8) as Lsn,
  root: 0xfffffffe as SlotNo,
  height: 5,
  entries: 2 ** 45 + 1,
  nextSlot: 2 ** 32 - 1,
  freeListHead: 0xfffffff0 as SlotNo,
  freeListSlots: 12345,
  leaves: 2 ** 31,
  branches: 2 ** 20,
  overflows: 2 ** 30,
  createdMs: 1.75e12 + 0.25,
  internalEntries: 2 ** 45,
  trashRoot: 0xfffffffd as SlotNo,
  trashHeight: 4,
  retention: { bytes: 2 ** 40, ms: Infinity },
  changedLsn: 2 ** 47 + 1,
  expiring: 2 ** 44,
  earliestExpiryMs: 1.8e12 + 0.5,
  clockMs: 1.75e12 + 1,
  ...over,
})

describe('the header of the data file', () => {
  it('says what was written into it', () => {
    expect(decodeHeader(encodeHeader(header(), 1), 1)).to.deep.equal(header())
    expect(looksLikeHeader(encodeHeader(header(), 1))).to.equal(true)
  })

  it('is none any more when any of its 4096 bytes has changed, however little', () => {
    const bytes = encodeHeader(header(), 3)
    for (let at = 0; at < bytes.length; at++) {
      const mask = at % 2 === 0 ? 0xff : 1 << (at & 7)
      bytes[at]! ^= mask
      expect(decodeHeader(bytes, 3), `byte ${at} changed by ${mask}`).to.be.a('string')
      bytes[at]! ^= mask
    }
    expect(decodeHeader(bytes, 3)).to.deep.equal(header())
  })

  it('counts only in a slot that its checkpoint writes to', () => {
    for (let number = 0; number < 4; number++) {
      for (let slotNo = 0; slotNo < 4; slotNo++) {
        const decoded = decodeHeader(encodeHeader(header({ checkpointNumber: number }), slotNo), slotNo)
        expect(typeof decoded === 'object').to.equal(headerSlots(number).includes(slotNo))
      }
      expect(decodeHeader(encodeHeader(header({ checkpointNumber: number }), 0), 2)).to.be.a('string')
    }
  })

  const pair = (older: number, newer: number): Buffer[] => {
    const slots: Buffer[] = Array.from({ length: 4 }, () => Buffer.alloc(SLOT_BYTES))
    for (const number of [older, newer]) {
      for (const slotNo of headerSlots(number))
        slots[slotNo] = encodeHeader(header({ checkpointNumber: number }), slotNo)
    }
    return slots
  }

  it('is the newest good one, whichever of the four slots are destroyed', () => {
    for (const [older, newer] of [
      [6, 7],
      [7, 8],
      [8, 9],
      [0, 1],
    ] as const) {
      for (let destroyed = 0; destroyed < 16; destroyed++) {
        const slots = pair(older, newer).map((bytes, slotNo) => {
          if ((destroyed & (1 << slotNo)) !== 0) bytes[200 + slotNo]! ^= 1
          return bytes
        })
        const gone = (number: number): boolean =>
          headerSlots(number).every((slotNo) => (destroyed & (1 << slotNo)) !== 0)
        const read = () => findHeader((slotNo) => slots[slotNo]!, 'data')
        if (gone(newer) && gone(older)) {
          expectError(read, 'ERR_MMAPDB_CORRUPT')
        } else {
          expect(read().header!.checkpointNumber).to.equal(gone(newer) ? older : newer)
          expect(read().damage.length).to.equal(
            [0, 1, 2, 3].filter((slotNo) => (destroyed & (1 << slotNo)) !== 0).length,
          )
        }
      }
    }
  })

  it('is missing, not damaged, in a file in which nothing was ever written', () => {
    const { header: found, blank } = findHeader(() => Buffer.alloc(SLOT_BYTES), 'data')
    expect([found, blank]).to.deep.equal([undefined, true])
    expectError(() => findHeader(() => Buffer.alloc(SLOT_BYTES, 'other'), 'data'), 'ERR_MMAPDB_NOT_A_DATABASE')
  })

  it('is refused if it is of another format, or names an encoding that is not known', () => {
    const others: [Partial<Header>, RegExp][] = [
      [{ version: FORMAT_VERSION + 1 }, /Update/],
      [{ version: 1 }, /older version.*docs\/operations\.md/],
      [{ encodingNo: 5 }, /number 5/],
      [{ encodingNo: 0 }, /number 0/],
    ]
    for (const [over, message] of others) {
      const bytes = encodeHeader(header(over), 1)
      expectError(
        () => findHeader((n) => (n === 1 ? bytes : Buffer.alloc(SLOT_BYTES)), 'data'),
        'ERR_MMAPDB_VERSION',
        message,
      )
    }
  })
})

/** Slots in memory, without a file. */
function memory(slots: number): SlotSpace {
  const region = posixStorage.openRegion('', { mode: 'anonymous', reserveBytes: 4 * 1024 * 1024, windowBytes: 65536 })
  region.grow(slots * SLOT_BYTES)
  return new SlotSpace(region)
}

/** The slots of a list as runs. */
const single = (slots: number[]): Runs => mergedRuns(Float64Array.from(slots.flatMap((slot) => [slot, 1])))

describe('the free list', () => {
  it('gives back the slots that were written into it', () => {
    const space = memory(256)
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.integer({ min: 20, max: 5000 }), { maxLength: 3000 }),
        fc.boolean(),
        (list, dense) => {
          const slots = dense ? list.map((_, i) => 100 + i) : list
          const listed = single(slots)
          const chain = Array.from({ length: freeListSlotsFor(listed.length / 2) }, (_, i) => (4 + i) as SlotNo)
          linkFreeList(space, chain, 88)
          writeFreeList(space, chain, listed)
          expect([...eachSlot(readStack(space, chain, 6000).free)]).to.deep.equal(slots.sort((a, b) => a - b))
        },
      ),
      runs(100),
    )
    const every = single(Array.from({ length: RUNS_PER_SLOT * 2 }, (_, i) => 100 + 2 * i))
    const two = [4, 5] as SlotNo[]
    linkFreeList(space, two, 88)
    writeFreeList(space, two, every)
    expect([...readStack(space, two, 6000).free]).to.deep.equal([...every])
    expect(() =>
      writeFreeList(space, two, single(Array.from({ length: RUNS_PER_SLOT * 2 + 1 }, (_, i) => 100 + 2 * i))),
    ).to.throw(/fit/)
    space.region.close()
  })

  it('is refused if a slot in it is out of range, a header, or there twice', () => {
    const space = memory(16)
    const chain = [4 as SlotNo]
    for (const [first, length] of [
      [3, 1],
      [0, 5],
      [90, 11],
      [50, 0],
      [2 ** 31, 2 ** 31 - 1],
    ] as const) {
      linkFreeList(space, chain, 88)
      writeFreeList(space, chain, single([20]))
      const w = (space.byteOf(4) + SLOT.BODY) >> 2
      space.i32[0]![w] = first
      space.i32[0]![w + 1] = length
      expectError(() => readStack(space, chain, 100), 'ERR_MMAPDB_CORRUPT')
    }
    writeFreeList(space, chain, single([20, 30, 40]))
    const w = (space.byteOf(4) + SLOT.BODY) >> 2
    space.i32[0]![w + 2] = 20
    expectError(() => readStack(space, chain, 100), 'ERR_MMAPDB_CORRUPT')
    space.region.close()
  })
})

/** A closed database with slots of every type: several levels, overflowing values, a free list. */
function varied(): { path: string; expected: [unknown, unknown][] } {
  const path = scratchPath()
  const engine = openEngine(path)
  for (let i = 0; i < 60; i++) {
    engine.batch(
      Array.from({ length: 10 }, (_, k) => ({
        type: 'put' as const,
        key: `key ${String((i * 7919 + k * 104729) % 5000).padStart(4, '0')} ${'x'.repeat(i % 3 === 0 ? 400 : 10)}`,
        value: Buffer.alloc(k === 0 && i % 8 === 0 ? 9000 + i : 20 + i, i + 1),
      })),
    )
  }
  engine.checkpoint(true)
  for (const key of [...engine.range({ limit: 120 }, 'keys')]) engine.del(key as string)
  engine.checkpoint(true)
  engine.put('last', Buffer.from('one'))
  engine.checkpoint(true)
  const expected = contents(engine)
  // The files are as a crash right after a checkpoint leaves them, with the free list.
  return { path: crashCopy(path), expected }
}

/** One slot of each type that the newest tree of an engine uses. */
function slotsByType(engine: Engine): Map<number, SlotNo[]> {
  const { space, control } = engine.parts
  const found = new Map<number, SlotNo[]>()
  const state = control.readState(newState())
  for (let slot = 4; slot < state[STATE.NEXT_SLOT]!; slot++) {
    const type = space.u8[space.windowOf(slot)]![space.byteOf(slot) + SLOT.TYPE]!
    if (slotDamage(space, slot as SlotNo, new Node()) !== undefined) continue
    found.set(type, [...(found.get(type) ?? []), slot as SlotNo])
  }
  return found
}

describe('a slot of the data file', function () {
  this.timeout(60_000)
  afterEach(cleanUp)

  it('is noticed as damaged whichever of its 4096 bytes has changed, whatever its type', () => {
    const engine = openEngine(varied().path)
    const { space } = engine.parts
    const byType = slotsByType(engine)
    expect([...byType.keys()].sort()).to.deep.equal([TYPE.BRANCH, TYPE.LEAF, TYPE.OVERFLOW, TYPE.FREE_LIST])
    const scratch = new Node()
    for (const [type, [slot]] of byType) {
      const u8 = space.u8[space.windowOf(slot!)]!
      const base = space.byteOf(slot!)
      const before = u8.slice(base, base + SLOT_BYTES)
      for (let at = 0; at < SLOT_BYTES; at++) {
        const mask = at % 2 === 0 ? 0xff : 1 << (at & 7)
        u8[base + at]! ^= mask
        expect(slotDamage(space, slot!, scratch), `type ${type}, byte ${at}`).to.be.a('string')
        u8[base + at]! ^= mask
      }
      u8.set(before, base)
      expect(slotDamage(space, slot!, scratch)).to.equal(undefined)
    }
  })

  it("is noticed as damaged when it is another slot's sound bytes", () => {
    const engine = openEngine(varied().path)
    const { space } = engine.parts
    const [one, other] = slotsByType(engine).get(TYPE.LEAF)!
    const copy = space.u8[space.windowOf(one!)]!.slice(space.byteOf(one!), space.byteOf(one!) + SLOT_BYTES)
    space.u8[space.windowOf(other!)]!.set(copy, space.byteOf(other!))
    expect(slotDamage(space, other!, new Node())).to.match(/it says that it is slot/)
  })

  it('answers rightly or throws when it is damaged on disk, and verification names it', () => {
    seeded((random) => {
      const { path, expected } = varied()
      const slots = slotsByType(openEngine(crashCopy(path)))
      for (const type of [TYPE.LEAF, TYPE.BRANCH, TYPE.OVERFLOW, TYPE.FREE_LIST]) {
        for (let i = 0; i < 6; i++) {
          const copy = crashCopy(path)
          const slot = slots.get(type)![Math.floor(random() * slots.get(type)!.length)]!
          flipByte(dataFile(copy), slot * SLOT_BYTES + Math.floor(random() * SLOT_BYTES), 1 << Math.floor(random() * 8))
          let engine: Engine
          try {
            engine = openEngine(copy)
          } catch (error) {
            expect((error as MmapdbError).code).to.equal('ERR_MMAPDB_CORRUPT')
            continue
          }
          let thrown = false
          for (const [key, value] of expected) {
            try {
              expect((engine.get(key as string) as Buffer).equals(value as Buffer)).to.equal(true)
            } catch (error) {
              if (!(error instanceof MmapdbError)) throw error
              expect(error.code).to.equal('ERR_MMAPDB_CORRUPT')
              thrown = true
            }
          }
          if (thrown) expect(verify(engine).ok).to.equal(false)
          try {
            expect(contents(engine)).to.deep.equal(expected)
          } catch (error) {
            if (!(error instanceof MmapdbError)) throw error
            expect(error.code).to.equal('ERR_MMAPDB_CORRUPT')
          }
        }
      }
    })
  })

  it('ends no process and no search when it is nonsense under a good CRC', () => {
    seeded((random) => {
      const { path } = varied()
      const slots = [...slotsByType(openEngine(crashCopy(path))).values()].flat()
      for (let i = 0; i < 60; i++) {
        const copy = crashCopy(path)
        // Damage, with a CRC that matches it.
        const space = new SlotSpace(
          posixStorage.openRegion(dataFile(copy), {
            mode: 'shared',
            reserveBytes: 4 * 1024 * 1024,
            windowBytes: 65536,
          }),
        )
        for (let n = 0; n < 3; n++) {
          const slot = slots[Math.floor(random() * slots.length)]!
          const u8 = space.u8[space.windowOf(slot)]!
          const span = random() < 0.7 ? 300 : SLOT_BYTES
          for (let k = 0; k < 4; k++)
            u8[space.byteOf(slot) + 4 + Math.floor(random() * (span - 4))] = Math.floor(random() * 256)
          sealSlot(space, slot)
        }
        space.region.close()
        const attempt = (act: (engine: Engine) => unknown, engine: Engine): void => {
          try {
            act(engine)
          } catch (error) {
            if (!(error instanceof MmapdbError)) throw error
          }
        }
        let engine: Engine
        try {
          engine = openEngine(copy)
        } catch (error) {
          if (!(error instanceof MmapdbError)) throw error
          continue
        }
        attempt((e) => contents(e), engine)
        attempt((e) => [...e.range({ reverse: true }, 'entries')], engine)
        attempt((e) => e.range(undefined, 'keys').count(), engine)
        for (let k = 0; k < 5000; k += 250)
          attempt((e) => e.get(`key ${String(k).padStart(4, '0')} xxxxxxxxxx`), engine)
        cleanUpOf(engine)
      }
    })
  })

  it('is known to be sound or not by its inside alone', () => {
    const engine = openEngine(varied().path)
    const { space } = engine.parts
    const leaf = slotsByType(engine).get(TYPE.LEAF)![0]!
    const node = new Node().at(space, leaf)
    const u8 = space.u8[space.windowOf(leaf)]!
    const base = space.byteOf(leaf)
    const before = u8.slice(base, base + SLOT_BYTES)
    const scratch = new Node()
    const damages: [string, () => void][] = [
      ['count', () => (node.count = 2000)],
      ['heap above', () => (node.heap = 5000)],
      ['heap below', () => (node.heap = 40)],
      ['garbage', () => (node.garbage += 2)],
      ['prefix', () => (node.prefix += 60)],
      ['level', () => (u8[base + SLOT.LEVEL] = 1)],
      ['type', () => (u8[base + SLOT.TYPE] = 9)],
      ['head', () => (node.i32[node.entry(1)]! ^= 1)],
      ['order', () => node.i32.copyWithin(node.entry(0), node.entry(1), node.entry(2))],
      ['cell outside', () => (node.i32[node.entry(0) + 1] = (node.i32[node.entry(0) + 1]! & ~0xffff) | 4094)],
      ['odd cell', () => (node.i32[node.entry(0) + 1]! |= 1)],
      ['key length', () => (node.i32[node.entry(0) + 1]! |= 0x7000 << 16)],
      ['value length', () => (node.u16[(base + node.cellOffset(0) + 6) >> 1] = 4000)],
    ]
    for (const [what, damage] of damages) {
      damage()
      expect(structureDamage(space, leaf, scratch), what).to.be.a('string')
      u8.set(before, base)
      expect(structureDamage(space, leaf, scratch)).to.equal(undefined)
    }
  })

  it('is verified once for everybody, and again after the next recovery', () => {
    const { path } = varied()
    const engine = openEngine(path)
    const { checker } = engine.parts
    const root = engine.parts.control.readState(newState())[STATE.ROOT]!
    expect(checker.isUnverified(root)).to.equal(true)
    engine.get('last')
    expect(checker.isUnverified(root)).to.equal(false)
    const second = openEngine(path)
    expect(second.parts.checker.isUnverified(root)).to.equal(false)
    expect(new SlotChecker(second.parts.space, second.parts.control).isUnverified(root)).to.equal(false)
    expect(openEngine(crashCopy(path)).parts.checker.isUnverified(root)).to.equal(true)
  })

  it('of zeros among the headers is told apart from the header that it was', () => {
    const { path, expected } = varied()
    for (let slotNo = 0; slotNo < 4; slotNo++) {
      const copy = crashCopy(path)
      writeBytes(dataFile(copy), slotNo * SLOT_BYTES, Buffer.alloc(SLOT_BYTES))
      const engine = openEngine(copy)
      expect(contents(engine)).to.deep.equal(expected)
      engine.close()
      const again = openEngine(copy)
      expect(contents(again)).to.deep.equal(expected)
    }
    for (let slotNo = 0; slotNo < 4; slotNo++) {
      const copy = crashCopy(path)
      flipByte(dataFile(copy), slotNo * SLOT_BYTES + 70)
      expect(contents(openEngine(copy))).to.deep.equal(expected)
      // The twin of the newest header was written again, so the database survives a second accident.
      const number = openEngine(copy).stats().checkpoint.number
      for (const n of headerSlots(number))
        expect(decodeHeader(readBytes(dataFile(copy), n * SLOT_BYTES, SLOT_BYTES), n)).to.be.an('object')
    }
  })
})

function cleanUpOf(engine: Engine): void {
  try {
    engine.close()
  } catch (error) {
    if (!(error instanceof MmapdbError)) throw error
  }
}
