// A small database in memory to be damaged, and damage to it as an input asks for: structures are
// aimed at, and CRCs mended, so that what is wrong gets past the first check.
import { basename } from 'node:path'
import { crc32c } from '../../src/encoding/crc32c.js'
import { FRAME } from '../../src/wal/frame.js'
import { paddedBytes } from '../../src/wal/lsn.js'
import { decodeSegmentHeader, SEGMENT_HEADER_BYTES, segmentStart } from '../../src/wal/segment.js'
import { Engine } from '../../src/engine/engine.js'
import { SLOT, SLOT_BYTES, TYPE } from '../../src/engine/format/layout.js'
import { resolveOptions, type OpenOptions } from '../../src/engine/options.js'
import { EXTREMES, type Input } from './input.js'
import { MemoryStorage } from './memory-storage.js'

export const DB = '/db'
export const DATA = '/db/data'

export const OPTIONS: OpenOptions = {
  workers: 0,
  windowBytes: 65536,
  reserveBytes: 64 * 1024 * 1024,
  segmentBytes: 4096,
  checkpointBytes: 1 << 20,
  timeoutMs: 1000,
}

/** Three levels, long values, a free list, two generations of headers and some log to replay. */
export function sample(): MemoryStorage {
  const storage = new MemoryStorage()
  const engine = Engine.open(resolveOptions(DB, OPTIONS), storage)
  const key = (i: number): string => `key ${String(i).padStart(3, '0')} ${'x'.repeat(300)}`
  for (let i = 0; i < 120; i++) engine.put(key((i * 7) % 120), { i, text: 'y'.repeat(i % 9 === 0 ? 500 : 10) })
  engine.put(['long', 1], 'z'.repeat(9000))
  engine.checkpoint(true)
  for (let i = 0; i < 120; i++) if (i % 3 !== 0) engine.del(key(i))
  for (let i = 0; i < 20; i++) engine.put(i, [i, null, true, new Date(i)])
  engine.put(Buffer.from('bytes'), Buffer.alloc(5000, 7))
  engine.checkpoint(true)
  for (let i = 60; i < 75; i++) engine.put(key(i), -i)
  engine.batch([
    { type: 'put', key: 'batch', value: 1.5 },
    { type: 'del', key: 3 },
  ])
  writeInTransaction(engine)
  const left = storage.copy()
  engine.close()
  let end = left.bytes(DATA).length
  const data = left.bytes(DATA)
  while (end > 4 * SLOT_BYTES && data.subarray(end - SLOT_BYTES, end).every((byte) => byte === 0)) end -= SLOT_BYTES
  left.openFile(DATA, 'write').truncate(end)
  return left
}

/** A frame that checks ranges and keys, and what it came to. */
function writeInTransaction(engine: Engine): void {
  const transaction = engine.beginTransaction()
  const { main } = engine
  for (const range of [{ gte: 0, lt: 10 }, { prefix: 'key 06' }, {}]) {
    const entries = transaction.range(main, range, 'keys')
    while (entries.next() !== undefined);
  }
  transaction.find(main, 'batch')
  transaction.put(main, 'transaction', true)
  transaction.end()
  engine.write((frame) => transaction.writeTo(frame))
}

export const sealSlot = (slot: Buffer): Buffer => {
  slot.writeUInt32LE(crc32c(slot.subarray(SLOT.TYPE, SLOT_BYTES)) >>> 0, SLOT.CRC)
  return slot
}

/** Carries out the changes that an input asks for. */
export function damage(storage: MemoryStorage, input: Input): void {
  for (let n = 1 + input.below(4); n > 0 && !input.isAtEnd; n--) {
    if (input.u8() < 176) damageSlot(storage, input)
    else damageLog(storage, input)
  }
}

function damageSlot(storage: MemoryStorage, input: Input): void {
  const data = storage.bytes(DATA)
  const slots = Math.max(1, Math.floor(data.length / SLOT_BYTES))
  const slotNo = input.below(slots)
  const slot = Buffer.alloc(SLOT_BYTES)
  data.copy(slot, 0, slotNo * SLOT_BYTES, (slotNo + 1) * SLOT_BYTES)
  const what = input.below(8)
  const seal = input.u8() < 208
  if (what === 0) {
    const other = input.below(slots)
    data.copy(slot, 0, other * SLOT_BYTES, (other + 1) * SLOT_BYTES)
    if (seal) slot.writeUInt32LE(slotNo, SLOT.NUMBER)
  } else if (what === 1) {
    slot.fill(input.u8(), input.below(64))
  } else if (what === 2) {
    storage.openFile(DATA, 'write').truncate(input.below(data.length))
    return
  } else {
    for (let n = 1 + input.below(4); n > 0; n--) edit(slot, input, slots)
  }
  if (seal) sealSlot(slot)
  storage.poke(DATA, slotNo * SLOT_BYTES, slot)
}

/** Changes one field of a slot: of its beginning, an entry, a cell, a pointer, a run, or any byte. */
function edit(slot: Buffer, input: Input, slots: number): void {
  const type = slot[SLOT.TYPE]!
  const count = slot.readUInt16LE(SLOT.COUNT)
  const value = (): number => {
    const how = input.below(4)
    return how === 0 ? input.pick(EXTREMES) : how === 1 ? input.below(slots + 2) : how === 2 ? input.u32() : input.u8()
  }
  const write = (at: number, bytes: number, n: number): void => {
    if (at + bytes <= SLOT_BYTES) slot.writeUIntLE(n % 2 ** (8 * bytes), at, bytes)
  }
  const where = input.below(6)
  if (where === 0) write(4 + 2 * input.below(14), input.pick([1, 2, 4]), value())
  else if (where === 1 && type === TYPE.HEADER) write(32 + 4 * input.below(28), input.pick([1, 4]), value())
  else if (where === 2 && type === TYPE.BRANCH)
    write(SLOT.BODY + input.below(count) * 12 + 4 * input.below(3), input.pick([2, 4]), value())
  else if (where === 2) write(SLOT.BODY + input.below(count) * 8 + 2 * input.below(4), input.pick([2, 4]), value())
  else if (where === 3 && type === TYPE.LEAF && count > 0) {
    // Inside a cell: version, value length, key, value or pointer.
    const cell = slot.readUInt16LE(Math.min(SLOT.BODY + input.below(count) * 8 + 4, SLOT_BYTES - 2))
    write(cell + input.below(40), input.pick([1, 2, 4]), value())
  } else if (where === 4) slot[input.below(SLOT_BYTES)]! ^= 1 << input.below(8)
  else input.take(1 + input.below(32)).copy(slot, input.below(SLOT_BYTES))
}

function damageLog(storage: MemoryStorage, input: Input): void {
  const names = [...storage.files().keys()].filter((path) => segmentStart(basename(path)) !== undefined).sort()
  if (names.length === 0) return
  const path = input.pick(names)
  const bytes = storage.bytes(path)
  const what = input.below(8)
  if (what === 0) storage.unlink(path)
  else if (what === 1) storage.openFile(path, 'write').truncate(input.below(bytes.length + 1))
  else if (what === 2) storage.put(path, storage.bytes(input.pick(names)))
  else if (what === 3) storage.put(`${DB}/wal/${(input.pick(EXTREMES) * 8).toString(16).padStart(16, '0')}.wal`, bytes)
  else if (what === 4 && bytes.length >= SEGMENT_HEADER_BYTES) {
    bytes.writeUIntLE(input.pick(EXTREMES), 4 + input.below(56), input.pick([4, 6]))
    if (input.u8() < 208) bytes.writeUInt32LE(crc32c(bytes.subarray(4, SEGMENT_HEADER_BYTES)) >>> 0, 0)
    storage.put(path, bytes)
  } else if (what === 5) storage.poke(path, input.below(bytes.length + 8), input.take(1 + input.below(16)))
  else {
    damageFrame(bytes, input)
    storage.put(path, bytes)
  }
}

/** Changes a frame of a segment and mends its CRC. */
function damageFrame(bytes: Buffer, input: Input): void {
  const salt = bytes.length >= SEGMENT_HEADER_BYTES ? decodeSegmentHeader(bytes)?.salt : undefined
  const frames: number[] = []
  for (let at = SEGMENT_HEADER_BYTES; at + FRAME.HEADER_BYTES <= bytes.length;) {
    const length = bytes.readUInt32LE(at + FRAME.LENGTH)
    if (length < FRAME.HEADER_BYTES || at + length > bytes.length) break
    frames.push(at)
    at += paddedBytes(length)
  }
  if (salt === undefined || frames.length === 0) return
  const at = input.pick(frames)
  const length = bytes.readUInt32LE(at + FRAME.LENGTH)
  for (let n = 1 + input.below(3); n > 0; n--) {
    const field = at + (input.u8() < 128 ? input.below(FRAME.HEADER_BYTES + 8) : input.below(length))
    const size = input.pick([1, 2, 4])
    if (field + size <= bytes.length)
      bytes.writeUIntLE((input.u8() < 128 ? input.pick(EXTREMES) : input.u32()) % 2 ** (8 * size), field, size)
  }
  const now = Math.min(Math.max(bytes.readUInt32LE(at + FRAME.LENGTH), 8), bytes.length - at)
  bytes.writeUInt32LE(crc32c(bytes.subarray(at + FRAME.LENGTH, at + now), salt) >>> 0, at)
}
