// What is fuzzed. A target takes any bytes; it throws only for what must never be. Each says in one
// line what would be broken.
import { Readable } from 'node:stream'
import { isDeepStrictEqual } from 'node:util'
import { BIG_INTEGERS } from '../../src/encoding/json-text.js'
import { readItems } from '../../src/cli/load/input.js'
import { parseKey, parseValue, plain, preview, showKey, toJson } from '../../src/encoding/notation.js'
import { Engine } from '../../src/engine/engine.js'
import { decodeHeader, encodeHeader, FORMAT_VERSION } from '../../src/engine/format/header.js'
import { decodeKey, encodeKey, KEY_BUFFER_BYTES, prefixBounds, type Key } from '../../src/encoding/keys.js'
import {
  LEAF_CELL_HEADER,
  SLOT,
  SLOT_BODY_BYTES,
  SLOT_BYTES,
  TYPE,
  type SlotNo,
} from '../../src/engine/format/layout.js'
import { Node } from '../../src/engine/format/node.js'
import { resolveOptions } from '../../src/engine/options.js'
import { overflowPointer } from '../../src/engine/space/overflow.js'
import { salvage } from '../../src/maintenance/salvage.js'
import { findChild, findInLeaf } from '../../src/engine/format/search.js'
import { SlotSpace } from '../../src/engine/format/slot-space.js'
import { valueCodec, VALUE_ENCODINGS } from '../../src/encoding/values/codec.js'
import { verify } from '../../src/maintenance/verify.js'
import { MmapdbError } from '../../src/errors.js'
import { FRAME, isFrameAt, readLsn } from '../../src/wal/frame.js'
import { OP_CHECK_RANGE, operationsOf } from '../../src/wal/operation.js'
import { forEachOutcome } from '../../src/wal/outcomes.js'
import { encodeRangeCheck, rangeCheckOf } from '../../src/wal/range-check.js'
import { FrameBuilder } from '../../src/wal/frame-builder.js'
import { Log } from '../../src/wal/log.js'
import { MAX_LSN } from '../../src/wal/lsn.js'
import { LogReader } from '../../src/wal/log-reader.js'
import { decodeSegmentHeader, encodeSegmentHeader } from '../../src/wal/segment.js'
import { damage, DATA, DB, OPTIONS, sample, sealSlot } from './database.js'
import { Input } from './input.js'
import type { MemoryStorage } from './memory-storage.js'
import { classifyEnd, isUnfinished } from '../../src/wal/log-end.js'
import { slotDamage } from '../../src/engine/format/slot-damage.js'
import { type InputFormat } from '../../src/cli/load/item.js'

interface Target {
  readonly run: (bytes: Buffer) => void | Promise<void>
  /** Inputs to begin with. */
  readonly seeds: () => Buffer[]
}

class Broken extends Error {}

function hold(condition: boolean, why: string): void {
  if (!condition) throw new Broken(why)
}

/** What `act` returns, or undefined if it throws one of these. Anything else it throws is a finding. */
function allowing<T>(codes: readonly string[], act: () => T): T | undefined {
  try {
    return act()
  } catch (error) {
    if (error instanceof MmapdbError && codes.includes(error.code)) return undefined
    throw error
  }
}

const CORRUPT = ['ERR_MMAPDB_CORRUPT']
/** Bytes whose CRC was made to fit may be no value. */
const UNREADABLE = [...CORRUPT, 'ERR_MMAPDB_ENCODING']
const OPENING = [
  ...CORRUPT,
  'ERR_MMAPDB_NOT_A_DATABASE',
  'ERR_MMAPDB_VERSION',
  'ERR_MMAPDB_NOT_FOUND',
  'ERR_MMAPDB_FULL',
  'ERR_MMAPDB_IO',
]
const keyBuffer = Buffer.alloc(KEY_BUFFER_BYTES)
const encoded = (key: Key): Buffer => Buffer.from(keyBuffer.subarray(0, encodeKey(key, keyBuffer)))
const fixture = sample()

// ---- codecs ------------------------------------------------------------------------------------

/** Bytes that are read as a key are that key's bytes, or else are not a key's at all. */
function keys(bytes: Buffer): void {
  const padded = Buffer.concat([Buffer.alloc(3, 0x41), bytes, Buffer.alloc(5, 0x42)])
  const key = allowing(['ERR_MMAPDB_INVALID'], () => decodeKey(padded, 3, 3 + bytes.length))
  if (key === undefined) return
  const again = allowing(['ERR_MMAPDB_INVALID'], () => encoded(key))
  if (again === undefined) return
  hold(encoded(decodeKey(again, 0, again.length)).equals(again), 'a key comes back as another one')
  allowing(['ERR_MMAPDB_INVALID'], () => {
    const { from, to } = prefixBounds(key)
    hold(from.compare(to) < 0, 'a prefix has nothing in it')
    hold(Array.isArray(key) || (from.compare(again) <= 0 && to.compare(again) > 0), 'a prefix does not cover itself')
  })
}

/** What a value is read as does not depend on what is around it, and reading it ends. */
function values(bytes: Buffer): void {
  const encoding = VALUE_ENCODINGS[(bytes[0] ?? 0) % VALUE_ENCODINGS.length]!
  const body = bytes.subarray(1)
  const around = (fill: number): unknown => {
    const padded = Buffer.concat([Buffer.alloc(16, fill), body, Buffer.alloc(300, fill)])
    return allowing(['ERR_MMAPDB_ENCODING'], () => ({
      value: valueCodec(encoding).decode(padded, 16, 16 + body.length),
    }))
  }
  const one = around(0x41)
  // As text: an invalid date is not equal to itself, and an error brings its stack.
  hold(toJson(one) === toJson(around(0xc6)), 'a value depends on the bytes around it')
  if (one !== undefined) preview((one as { value: unknown }).value, 60)
}

/** A frame is walked within its bounds. */
function frame(bytes: Buffer): void {
  if (bytes.length < FRAME.HEADER_BYTES) return
  isFrameAt(bytes, 0, bytes.length, readLsn(bytes, FRAME.LSN), 7)
  let end = FRAME.HEADER_BYTES
  allowing(CORRUPT, () => {
    for (const operation = operationsOf(bytes); operation.next();) {
      const { keyAt, keyLength, valueAt, valueLength } = operation
      hold(
        keyAt >= end && keyAt + keyLength === valueAt && valueAt + valueLength <= bytes.length,
        'an operation reaches outside',
      )
      end = valueAt + valueLength
      if (operation.kind !== OP_CHECK_RANGE) continue
      const { key, value } = operation
      hold(encodeRangeCheck(rangeCheckOf(key, value)).equals(value), 'a check of a range comes back as another one')
    }
  })
  allowing(CORRUPT, () =>
    forEachOutcome(bytes, 0, bytes.length, (_lsn, { byteOffset, length }) =>
      hold(byteOffset + length <= bytes.byteOffset + bytes.length, 'an outcome reaches outside'),
    ),
  )
}

/** A header that is taken for one says the same when it is written again. */
function header(bytes: Buffer): void {
  const input = new Input(bytes)
  const slotNo = input.below(4)
  const slot = Buffer.alloc(SLOT_BYTES)
  fixture.bytes(DATA).copy(slot, 0, slotNo * SLOT_BYTES, (slotNo + 1) * SLOT_BYTES)
  while (!input.isAtEnd) {
    const at = 4 + input.below(144)
    input.take(1 + input.below(8)).copy(slot, at)
  }
  const found = decodeHeader(sealSlot(slot), slotNo)
  if (typeof found === 'string') return
  if (found.version !== FORMAT_VERSION) return
  hold(
    isDeepStrictEqual(decodeHeader(encodeHeader(found, slotNo), slotNo), found),
    'a header comes back as another one',
  )
  hold(
    found.nextSlot >= 4 &&
      found.height < 32 &&
      (found.height === 0 || (found.root >= 4 && found.root < found.nextSlot)),
    'a header says what cannot be',
  )
}

// ---- slots -------------------------------------------------------------------------------------

const workspace = ((): { space: SlotSpace; storage: MemoryStorage } => {
  const storage = fixture.copy()
  return {
    storage,
    space: new SlotSpace(storage.openRegion(DATA, { mode: 'private', windowBytes: 65536, reserveBytes: 1 << 26 })),
  }
})()

/** What passes for a sound slot can be read, searched and edited without a look or a step outside. */
function slot(bytes: Buffer): void {
  const { space } = workspace
  const input = new Input(bytes)
  const original = fixture.bytes(DATA)
  const slotNo = (4 + input.below(original.length / SLOT_BYTES - 4)) as SlotNo
  const changed = Buffer.alloc(SLOT_BYTES)
  original.copy(changed, 0, slotNo * SLOT_BYTES, (slotNo + 1) * SLOT_BYTES)
  while (!input.isAtEnd) {
    const at = input.u8() < 160 ? 4 + input.below(60) : input.below(SLOT_BYTES)
    input.take(1 + input.below(4)).copy(changed, at)
  }
  sealSlot(changed)
  const base = space.byteOf(slotNo)
  const buffer = space.buffers[space.windowOf(slotNo)]!
  changed.copy(buffer, base)
  if (slotDamage(space, slotNo, new Node()) !== undefined) return
  const type = changed[SLOT.TYPE]!
  if (type !== TYPE.LEAF && type !== TYPE.BRANCH) return
  const node = new Node().at(space, slotNo)
  for (let i = node.firstCompared; i < node.count; i++) {
    const at = node.keyAt(i)
    const length = node.keyLength(i)
    hold(at >= base + SLOT.BODY && at + length <= base + SLOT_BYTES, 'a key is outside of its slot')
    const key = node.u8.slice(at, at + length)
    const find = node.isLeaf ? findInLeaf : findChild
    hold(find(node.u8, node.u16, node.i32, node.base, node.count, key, length) === i, `key ${i} is not found`)
    if (node.isLeaf)
      hold(at + length + node.payloadBytes(i) <= base + SLOT_BYTES, 'a value reaches outside of its slot')
    if (node.isLeaf && node.overflows(i)) overflowPointer(node, i)
  }
  // Edited in memory of its own, between two slots that must stay as they are.
  const guarded = Node.scratch()
  guarded.copyFrom(node)
  const limit = node.count
  for (let n = 0; n < 8 && guarded.count > 1; n++) {
    if (n % 3 === 0) guarded.compact()
    else if (n % 3 === 1) guarded.remove(guarded.count - 1)
    else guarded.tighten()
    hold(
      guarded.usedBytes <= SLOT_BODY_BYTES &&
        guarded.freeBytes >= 0 &&
        guarded.heap >= SLOT.BODY &&
        guarded.count <= limit,
      'an edited slot overflows',
    )
  }
  const key = Buffer.from('zzzzzzzz')
  const cell = node.isLeaf ? LEAF_CELL_HEADER + key.length : key.length
  if (guarded.freeBytes >= cell + guarded.words * 4) {
    guarded.insert(guarded.count, key, 0, key.length, 0, cell)
    hold(guarded.heap >= SLOT.BODY + guarded.count * guarded.words * 4, 'an insertion overwrites entries')
  }
}

// ---- the log -----------------------------------------------------------------------------------

/** A log of any bytes is read to an end, which is called torn, rotten or sound. */
function log(bytes: Buffer): void {
  const storage = fixture.copy()
  const input = new Input(bytes)
  const count = 1 + input.below(4)
  for (let n = 0; n < count; n++) damage(storage, inLogOnly(input))
  readLog(storage)
}

const inLogOnly = (input: Input): Input => new Input(Buffer.concat([Buffer.of(0, 255), input.take(40)]))

function readLog(storage: MemoryStorage): void {
  const uuid = Buffer.alloc(16)
  const it = new Log({ storage, directory: `${DB}/wal`, uuid, segmentBytes: 4096, readOnly: true })
  const codes = [...CORRUPT, 'ERR_MMAPDB_VERSION']
  allowing(codes, () => {
    for (const start of it.starts()) {
      isUnfinished(it, start)
      const found = it.segment(start)
      if (found !== undefined)
        hold(
          isDeepStrictEqual(decodeSegmentHeader(encodeSegmentHeader(found.header)), found.header),
          'a segment header comes back as another one',
        )
      const reader = new LogReader(it, start)
      let last = 0
      while (reader.next(MAX_LSN)) {
        hold(reader.lsn >= last && reader.position > reader.lsn, 'a log that goes backwards')
        last = reader.position
      }
      allowing(CORRUPT, () => classifyEnd(it, reader.position, reader.segment))
    }
  })
  it.close()
}

// ---- databases ---------------------------------------------------------------------------------

/** A damaged database is opened, verified, read, written and salvaged; what verify passes agrees with itself. */
function database(bytes: Buffer): void {
  const storage = fixture.copy()
  const input = new Input(bytes)
  damage(storage, input)
  const engine = allowing(OPENING, () => Engine.inspect(resolveOptions(DB, OPTIONS), storage))
  if (engine !== undefined) {
    readAll(engine)
    engine.close()
  }
  salvageIt(storage)
  const writer = allowing(OPENING, () =>
    Engine.open(resolveOptions(DB, { ...OPTIONS, createIfMissing: false }), storage),
  )
  if (writer === undefined) return
  write(writer, input)
  readAll(writer)
  allowing([...OPENING], () => writer.close())
  const again = allowing(OPENING, () =>
    Engine.open(resolveOptions(DB, { ...OPTIONS, createIfMissing: false }), storage),
  )
  if (again === undefined) return
  readAll(again)
  allowing(OPENING, () => again.close())
}

function readAll(engine: Engine): void {
  const ok = allowing(CORRUPT, () => verify(engine).ok) === true
  const entries = allowing(UNREADABLE, () => [...engine.range(undefined, 'entries')] as [Key, unknown][])
  const backwards = allowing(CORRUPT, () => [...engine.range({ reverse: true }, 'keys')] as Key[])
  const count = allowing(CORRUPT, () => engine.range(undefined, 'keys').count())
  for (let i = 0; i < 20; i++)
    allowing(UNREADABLE, () => engine.get(`key ${String(i * 6).padStart(3, '0')} ${'x'.repeat(300)}`))
  for (const key of ['a', 5, null, ['long', 1], 'zzz']) allowing(UNREADABLE, () => engine.getEntry(key as Key))
  // A value can be damaged in ways that only who decodes it can tell.
  const keys = allowing(CORRUPT, () => [...engine.range(undefined, 'keys')] as Key[])
  if (!ok) return
  hold(keys !== undefined && backwards !== undefined && count === keys.length, 'verify finds nothing, and a read does')
  hold(isDeepStrictEqual(backwards!.reverse(), keys), 'both directions differ')
  for (const key of keys!) hold(engine.has(key), 'a key of the range is not found')
  for (const [key, value] of entries ?? []) hold(toJson(engine.get(key)) === toJson(value), 'get and range differ')
}

function write(engine: Engine, input: Input): void {
  const refusing = [...CORRUPT, 'ERR_MMAPDB_OUTCOME_UNKNOWN', 'ERR_MMAPDB_FULL', 'ERR_MMAPDB_IO', 'ERR_MMAPDB_LOCKED']
  const put = (key: Key, value: unknown): void => {
    const done = allowing(refusing, () => {
      engine.put(key, value)
      return true
    })
    if (done)
      hold(
        isDeepStrictEqual(allowing(UNREADABLE, () => [engine.get(key)]) ?? [value], [value]),
        'what was put is not what is got',
      )
  }
  for (let i = 0; i < 24; i++) {
    const n = input.below(150)
    const key = i % 3 === 0 ? n : `key ${String(n).padStart(3, '0')} ${'x'.repeat(300)}`
    if (i % 4 === 3) {
      const done = allowing(refusing, () => {
        engine.del(key)
        return true
      })
      if (done)
        hold(
          (allowing(CORRUPT, () => [engine.get(key)]) ?? [undefined])[0] === undefined,
          'what was deleted is still there',
        )
    } else put(key, i % 7 === 0 ? 'w'.repeat(6000) : i)
  }
  allowing(refusing, () => engine.del(['long', 1]))
  allowing(refusing, () => engine.checkpoint(true))
}

function salvageIt(storage: MemoryStorage): void {
  const codes = [...OPENING, 'ERR_MMAPDB_INVALID']
  allowing(codes, () => {
    const report = salvage(resolveOptions(DB, OPTIONS), resolveOptions('/out', OPTIONS), storage)
    const engine = Engine.open(resolveOptions('/out', OPTIONS), storage)
    const { ok, damage: found } = verify(engine)
    const keys = engine.stats().entries
    engine.close()
    hold(
      ok || found.every(({ why }) => why.includes('none that can be read back')),
      `what was salvaged is damaged: ${found[0]?.why}`,
    )
    hold(keys <= report.entries + report.operationsReplayed, 'more was salvaged than there is')
  })
}

// ---- the command line --------------------------------------------------------------------------

const FORMATS: readonly InputFormat[] = ['ndjson', 'json', 'csv', 'tsv']

/** Input files of any bytes come to an end as records and complaints. */
async function records(bytes: Buffer): Promise<void> {
  const format = FORMATS[(bytes[0] ?? 0) % FORMATS.length]!
  const body = bytes.subarray(2)
  const step = 1 + ((bytes[1] ?? 0) % 64)
  const pieces: Buffer[] = []
  for (let at = 0; at < body.length; at += step) pieces.push(body.subarray(at, at + step))
  let count = 0
  for await (const items of readItems(Readable.from(pieces, { objectMode: true }), format, BIG_INTEGERS[step % 3]!)) {
    for (const item of items) {
      count++
      hold('why' in item ? item.why.length > 0 : 'value' in item, 'an item is neither a record nor a complaint')
    }
  }
  hold(count <= body.length + 1, 'more records than bytes')
}

/** Keys and values as text are taken or refused, and shown. */
function notation(bytes: Buffer): void {
  const text = bytes.subarray(1).toString()
  const asJson = ((bytes[0] ?? 0) & 1) === 1
  const key = allowing(['ERR_MMAPDB_INVALID'], () => {
    const it = parseKey(text, asJson)
    encoded(it)
    return { it }
  })
  if (key !== undefined) showKey(key.it)
  const value = allowing(['ERR_MMAPDB_INVALID'], () => ({ it: parseValue(text, asJson) }))
  if (value !== undefined) plain(value.it)
}

const keySeeds = (): Buffer[] =>
  ['a', '', 5, -1.5, 2n ** 70n, null, true, ['a', 1, null], new Uint8Array([0, 1, 255]), '\u0001\ud800é€😀', ['x']].map(
    (key) => encoded(key as Key),
  )
const random = (): Buffer[] =>
  Array.from({ length: 16 }, (_, i) =>
    Buffer.from(Array.from({ length: 48 }, (_unused, n) => (n * 37 + i * 101) & 255)),
  )
const texts = (list: string[]): Buffer[] =>
  list.flatMap((text) => FORMATS.map((_, i) => Buffer.concat([Buffer.of(i, 9), Buffer.from(text)])))

export const TARGETS: Readonly<Record<string, Target>> = {
  keys: { run: keys, seeds: keySeeds },
  values: {
    run: values,
    seeds: () =>
      [
        { a: 1, b: ['x', null, 1.5] },
        new Map([[1, 2]]),
        new Set([1]),
        new Date(5),
        /x/g,
        new Error('e', { cause: [1] }),
        2n ** 64n,
        Buffer.alloc(20),
        'text'.repeat(20),
        { u: undefined, s: '\ud800é', z: -0 },
        Object.assign(Object.create(null) as object, { a: 1 }),
        Object.assign([], { 3: 'x' }),
        new Float64Array(2),
        new ArrayBuffer(3),
        new Map([[{}, new Map()]]),
      ].map((value) => Buffer.concat([Buffer.of(0), valueCodec('msgpack').encode(value)])),
  },
  frame: { run: frame, seeds: () => [frameSeed(), transactionSeed()] },
  header: { run: header, seeds: random },
  slot: { run: slot, seeds: random },
  log: { run: log, seeds: random },
  database: { run: database, seeds: random },
  records: {
    run: records,
    seeds: () =>
      texts(['{"id":1}\n{"id":2}\n', '[{"id":1},{"id":"x\\n"}]', 'id,name\n1,"a ""b"""\n2,c\n', 'id\tname\n1\tx\n']),
  },
  notation: {
    run: notation,
    seeds: () =>
      ['5', '[1,"a",{"base64":"AAE="}]', '{"bigint":"12345678901234567890"}', 'text', '1e400'].map((text) =>
        Buffer.from(`\x01${text}`),
      ),
  },
}

/** A frame with checks of keys and of a range, and changes. */
function transactionSeed(): Buffer {
  const frame = new FrameBuilder()
  const bound = encoded('b')
  frame.checkRange({ from: encoded('a'), fromAfter: true, to: bound, toInclusive: true, entries: 2, lsn: 9 })
  frame.checkRange({ from: undefined, fromAfter: false, to: undefined, toInclusive: false, entries: 0, lsn: 9 })
  frame.check(bound, bound.length, { flags: 2, version: 5 })
  frame.put(bound, bound.length, Buffer.from('value'))
  return frame.take()
}

function frameSeed(): Buffer {
  const [path] = [...fixture.files().keys()].filter((name) => name.endsWith('.wal')).sort()
  const bytes = fixture.bytes(path!)
  return bytes.subarray(64, 64 + bytes.readUInt32LE(64 + FRAME.LENGTH))
}
