// Slots of the data file that are wrong: lost, exchanged, or changed with a CRC that holds, as a bug or an attacker
// would leave them. The checks of the structure must find what a CRC cannot.
import { expect } from 'chai'
import { crc32c } from '../../src/encoding/crc32c.js'
import { SLOT, TYPE } from '../../src/engine/format/layout.js'
import {
  DATA,
  examine,
  examineLoosely,
  freeSlots,
  FULL,
  makeFixture,
  randomFrom,
  resealed,
  slotCount,
  slotIn,
  SLOT_BYTES,
  type Fixture,
} from '../support/hostile.js'

const EXTREMES_16 = [0, 1, 31, 32, 0x7fff, 0x8000, 0xffff, 4095, 4096]
const EXTREMES_32 = [0, 1, 2, 3, 4, 5, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff]

describe('a slot of the data file', function () {
  this.timeout(FULL ? 3_600_000 : 60_000)
  let fixture: Fixture
  let slots: number
  before(() => {
    fixture = makeFixture()
    slots = slotCount(fixture.storage)
  })
  const random = randomFrom(2)

  /** Replaces the bytes of slots, examines the database, and puts the old bytes back. */
  function having(what: string, changes: [number, Buffer][], examineIt: () => void = () => examine(fixture)): void {
    const { storage } = fixture
    const before = changes.map(([slotNo]) => [slotNo, Buffer.from(slotIn(storage, slotNo))] as const)
    for (const [slotNo, bytes] of changes) storage.poke(DATA, slotNo * SLOT_BYTES, bytes)
    try {
      examineIt()
    } catch (error) {
      throw new Error(`${what}: ${(error as Error).message}`, { cause: error })
    } finally {
      for (const [slotNo, bytes] of before) storage.poke(DATA, slotNo * SLOT_BYTES, bytes)
    }
  }
  const every = FULL ? 1 : 3
  const ofType = (...types: number[]): number[] =>
    Array.from({ length: slots }, (_, slotNo) => slotNo).filter((slotNo) => {
      const bytes = slotIn(fixture.storage, slotNo)
      return types.includes(bytes[SLOT.TYPE]!) && crc32c(bytes.subarray(4)) >>> 0 === bytes.readUInt32LE(0)
    })

  it('that is zeros, ones or noise is found out', () => {
    for (let slotNo = 0; slotNo < slots; slotNo++) {
      const noise = Buffer.from(Array.from({ length: SLOT_BYTES }, () => Math.floor(random() * 256)))
      for (const bytes of [Buffer.alloc(SLOT_BYTES), Buffer.alloc(SLOT_BYTES, 0xff), noise])
        having(`slot ${slotNo}`, [[slotNo, bytes]])
    }
  })

  it('that is noise, zeros or ones under a CRC that holds is found out', () => {
    for (let slotNo = 4; slotNo < slots; slotNo++) {
      const noise = Buffer.from(Array.from({ length: SLOT_BYTES }, () => Math.floor(random() * 256)))
      for (const bytes of [Buffer.alloc(SLOT_BYTES), Buffer.alloc(SLOT_BYTES, 0xff), noise]) {
        const own = resealed(bytes, (slot) => {
          slot.writeUInt32LE(slotNo, SLOT.NUMBER)
          slot.writeUInt16LE(slotIn(fixture.storage, slotNo).readUInt16LE(SLOT.TYPE), SLOT.TYPE)
        })
        having(`slot ${slotNo}`, [[slotNo, own]])
      }
    }
  })

  it('that holds what another one should is found out, as it is and renumbered under a good CRC', () => {
    const free = freeSlots(fixture.storage)
    for (let from = 4; from < slots; from++) {
      for (let to = 4; to < slots; to++) {
        if (from === to || (!FULL && random() > 0.06)) continue
        const bytes = slotIn(fixture.storage, from)
        having(`slot ${from} over ${to}`, [[to, Buffer.from(bytes)]])
        // An older content of a slot that is brought back and sealed again cannot be told from the present one.
        if (free.has(from) || (free.has(to) && from < to)) continue
        having(`slot ${from} over ${to}, renumbered`, [
          [to, resealed(bytes, (slot) => slot.writeUInt32LE(to, SLOT.NUMBER))],
        ])
        if (from < to) {
          const other = slotIn(fixture.storage, to)
          having(`slots ${from} and ${to} exchanged`, [
            [to, Buffer.from(bytes)],
            [from, Buffer.from(other)],
          ])
          having(`slots ${from} and ${to} exchanged and renumbered`, [
            [to, resealed(bytes, (slot) => slot.writeUInt32LE(to, SLOT.NUMBER))],
            [from, resealed(other, (slot) => slot.writeUInt32LE(from, SLOT.NUMBER))],
          ])
        }
      }
    }
  })

  it('whose own numbers are at their extremes under a CRC that holds is found out', () => {
    for (const slotNo of ofType(TYPE.BRANCH, TYPE.LEAF, TYPE.OVERFLOW, TYPE.FREE_LIST)) {
      const bytes = slotIn(fixture.storage, slotNo)
      for (const at of [4, 6, 8, 10, 12, 14, 16, 20, 24, 26, 28, 30]) {
        for (const value of EXTREMES_16) {
          if (!FULL && random() > 0.03) continue
          having(`slot ${slotNo}, ${value} at byte ${at}`, [
            [slotNo, resealed(bytes, (slot) => slot.writeUInt16LE(value, at))],
          ])
        }
      }
      for (const at of [16, 24, 28]) {
        for (const value of [...EXTREMES_32, slotNo])
          if (FULL || random() < 0.1)
            having(`slot ${slotNo}, ${value} at byte ${at}`, [
              [slotNo, resealed(bytes, (slot) => slot.writeUInt32LE(value, at))],
            ])
      }
    }
  })

  it('of a branch whose children are exchanged, or anything else, under a CRC that holds is found out', () => {
    const { storage } = fixture
    for (const slotNo of ofType(TYPE.BRANCH)) {
      const bytes = slotIn(storage, slotNo)
      const count = bytes.readUInt16LE(SLOT.COUNT)
      for (let i = 0; i < count; i++) {
        const at = SLOT.BODY + i * 12 + 8
        const own = bytes.readUInt32LE(at)
        const others = [
          ...Array.from({ length: slots + 2 }, (_, n) => n),
          255,
          256,
          1000,
          0x7fffffff,
          0x80000000,
          0xffffffff,
        ]
        for (const child of others) {
          if (child === own || (!FULL && random() > 0.1)) continue
          having(`slot ${slotNo}, child ${i} is ${child}`, [
            [slotNo, resealed(bytes, (slot) => slot.writeUInt32LE(child, at))],
          ])
        }
        for (let j = i + 1; j < count; j++) {
          const exchanged = resealed(bytes, (slot) => {
            slot.writeUInt32LE(bytes.readUInt32LE(SLOT.BODY + j * 12 + 8), at)
            slot.writeUInt32LE(own, SLOT.BODY + j * 12 + 8)
          })
          having(`slot ${slotNo}, children ${i} and ${j} exchanged`, [[slotNo, exchanged]])
        }
      }
    }
  })

  it('of a branch or leaf whose entries are at their extremes under a CRC that holds is found out', () => {
    for (const slotNo of ofType(TYPE.BRANCH, TYPE.LEAF)) {
      const bytes = slotIn(fixture.storage, slotNo)
      const words = bytes[SLOT.TYPE] === TYPE.LEAF ? 2 : 3
      for (let i = 0; i < bytes.readUInt16LE(SLOT.COUNT); i += every) {
        const entry = SLOT.BODY + i * words * 4
        for (const at of [entry + 4, entry + 6]) {
          for (const value of [
            ...EXTREMES_16,
            bytes.readUInt16LE(at) + 2,
            Math.max(0, bytes.readUInt16LE(at) - 2),
            bytes.readUInt16LE(at) ^ 1,
          ]) {
            if (!FULL && random() > 0.1) continue
            having(`slot ${slotNo}, entry ${i}, ${value} at ${at}`, [
              [slotNo, resealed(bytes, (slot) => slot.writeUInt16LE(value & 0xffff, at))],
            ])
          }
        }
        for (const value of FULL ? EXTREMES_32 : EXTREMES_32.slice(0, 1)) {
          having(`slot ${slotNo}, head ${i} is ${value}`, [
            [slotNo, resealed(bytes, (slot) => slot.writeUInt32LE(value, entry))],
          ])
        }
      }
    }
  })

  it('of a leaf whose pointers to long values lead elsewhere under a CRC that holds is found out', () => {
    let pointers = 0
    for (const slotNo of ofType(TYPE.LEAF)) {
      const bytes = slotIn(fixture.storage, slotNo)
      for (let i = 0; i < bytes.readUInt16LE(SLOT.COUNT); i++) {
        const offsets = bytes.readUInt32LE(SLOT.BODY + i * 8 + 4)
        if (offsets >>> 31 === 0) continue
        pointers++
        const at = (offsets & 0xffff) + 8 + ((offsets >>> 16) & 0x7ff) + ((offsets >>> 30) & 1) * 8
        for (const value of [
          ...EXTREMES_32,
          8999,
          4064,
          4065,
          8128,
          512 * 1024 * 1024,
          slotNo,
          ...ofType(TYPE.OVERFLOW, TYPE.FREE_LIST),
        ]) {
          for (const field of [0, 4, 8]) {
            if (bytes.readUInt32LE(at + field) === value) continue
            having(`slot ${slotNo}, pointer ${i}, ${value} at ${field}`, [
              [slotNo, resealed(bytes, (slot) => slot.writeUInt32LE(value, at + field))],
            ])
          }
        }
      }
    }
    expect(pointers).to.be.above(1)
  })

  it('of a leaf whose entries expire at times that are none under a CRC that holds is found out', () => {
    let times = 0
    for (const slotNo of ofType(TYPE.LEAF)) {
      const bytes = slotIn(fixture.storage, slotNo)
      for (let i = 0; i < bytes.readUInt16LE(SLOT.COUNT); i++) {
        const offsets = bytes.readUInt32LE(SLOT.BODY + i * 8 + 4)
        if ((offsets & 0x40000000) === 0) continue
        times++
        const at = (offsets & 0xffff) + 8 + ((offsets >>> 16) & 0x7ff)
        for (const value of [NaN, Infinity, -Infinity, -1, -1e300, 8.7e15])
          having(`slot ${slotNo}, entry ${i} expires at ${value}`, [
            [slotNo, resealed(bytes, (slot) => slot.writeDoubleLE(value, at))],
          ])
      }
    }
    expect(times).to.be.above(10)
  })

  it('of a free list that names slots in use, and itself, under a CRC that holds is found out before it does harm', () => {
    for (const slotNo of ofType(TYPE.FREE_LIST)) {
      const bytes = slotIn(fixture.storage, slotNo)
      const count = bytes.readUInt16LE(SLOT.COUNT)
      for (let n = 0; n < Math.max(1, count); n++) {
        for (const value of [...EXTREMES_32, slotNo, slots, slots - 1, 20]) {
          for (const at of [SLOT.BODY + n * 8, SLOT.BODY + n * 8 + 4]) {
            having(`slot ${slotNo}, ${value} at ${at}`, [
              [slotNo, resealed(bytes, (slot) => slot.writeUInt32LE(value, at))],
            ])
          }
        }
      }
    }
  })

  it('of a header whose fields are at their extremes under a CRC that holds is found out', () => {
    for (const slotNo of ofType(TYPE.HEADER)) {
      const bytes = slotIn(fixture.storage, slotNo)
      for (const at of [32, 40, 48, 80, 84, 104, 108]) {
        for (const value of EXTREMES_32) {
          having(
            `header ${slotNo}, ${value} at ${at}`,
            [[slotNo, resealed(bytes, (slot) => slot.writeUInt32LE(value, at))]],
            () => examine(fixture, ['ERR_MMAPDB_CORRUPT', 'ERR_MMAPDB_VERSION']),
          )
        }
      }
      for (const at of [64, 72, 88, 96, 112, 120, 128, 136, 160, 168, 176]) {
        for (const value of [...EXTREMES_32, 2 ** 53, 2 ** 53 - 1, 2 ** 63].map(BigInt).concat(2n ** 64n - 1n)) {
          having(`header ${slotNo}, ${value} at ${at}`, [
            [slotNo, resealed(bytes, (slot) => slot.writeBigUInt64LE(value, at))],
          ])
        }
      }
    }
  })

  it('of a header whose fields are at their extremes in both copies ends no process and no search', () => {
    const newest = ofType(TYPE.HEADER)
    for (const at of [40, 80, 84, 104, 108, 16, 72, 88, 96, 112, 120, 128, 136, 160, 168, 176]) {
      for (const value of [...EXTREMES_32, 2 ** 40, 2 ** 53, 2 ** 63].map(BigInt)) {
        const changes = newest.map((slotNo): [number, Buffer] => [
          slotNo,
          resealed(slotIn(fixture.storage, slotNo), (slot) => {
            if (at < 88 && at !== 72 && at !== 16) slot.writeUInt32LE(Number(BigInt.asUintN(32, value)), at)
            else slot.writeBigUInt64LE(value, at)
            if (at === 72) slot.writeBigUInt64LE(value, 16)
          }),
        ])
        having(`headers, ${value} at ${at}`, changes, () => examineLoosely(fixture.storage))
      }
    }
  })
})
