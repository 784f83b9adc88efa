// Helpers for the tests of hostile files: a small database that has every structure in it and has crashed, damage to
// its files, and the oracle that decides whether the results are right.
//
// The oracle compares each read with the model: a read gives the model's answer or throws `CorruptError`. If a read
// does not give the model's answer, `verify` must report damage. No other error may be thrown.
//
// Files lie in memory, which makes whole sweeps possible. `writeOut` brings them to disk for tests of
// the command line and of the kernel's part.
import { mkdirSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { expect } from 'chai'
import { MemoryStorage } from '../../crash-tests/fuzz/memory-storage.js'
import { headerDamage, type DataFile } from '../../src/inspect/offline-files.js'
import { Engine } from '../../src/engine/engine.js'
import { findHeader } from '../../src/engine/lifecycle/find-header.js'
import { readFreeList } from '../../src/engine/space/free-list.js'
import { eachSlot } from '../../src/engine/format/runs.js'
import type { Key } from '../../src/encoding/keys.js'
import { SLOT, SLOT_BYTES } from '../../src/engine/format/layout.js'
import { resolveOptions, type OpenOptions } from '../../src/engine/options.js'
import { verify } from '../../src/maintenance/verify.js'
import { CorruptError, MmapdbError } from '../../src/errors.js'
import { crc32c } from '../../src/encoding/crc32c.js'
import { segmentStart } from '../../src/wal/segment.js'
import { OP_FLAG } from '../../src/wal/operation.js'
import { TINY } from './engine.js'

export { SLOT_BYTES, MemoryStorage }
export { randomFrom, TINY } from './engine.js'

/** The whole of each sweep instead of a sample; minutes instead of seconds. */
export const FULL = process.env['MMAPDB_HOSTILE'] === 'full'

type Model = ReadonlyMap<Key, Buffer>

interface Moment {
  readonly storage: MemoryStorage
  readonly model: Model
}

export interface Fixture extends Moment {
  /** Keys that are missing: before, between and after the keys that are there. */
  readonly absent: readonly Key[]
  /** The database right after each of its checkpoints, oldest first, including the log. */
  readonly moments: readonly Moment[]
}

export const DB = '/db'
export const DATA = '/db/data'

export const openIn = (storage: MemoryStorage, options: OpenOptions = {}): Engine =>
  Engine.open(resolveOptions(DB, { ...TINY, ...options }), storage)
const inspectIn = (storage: MemoryStorage, options: OpenOptions = {}): Engine =>
  Engine.inspect(resolveOptions(DB, { ...TINY, ...options }), storage)

const LONG = 'x'.repeat(300)
const keyOf = (i: number): string => `key ${String(i).padStart(3, '0')} ${LONG}`
const valueOf = (i: number, lengthBytes: number): Buffer => Buffer.alloc(lengthBytes, `${i};`)

/**
 * A database of some 64 slots, three levels high, with values that overflow, a free list, two
 * generations of headers, and half a dozen segments of log to replay. No process has it open. The bytes are the same
 * each time.
 */
export function makeFixture(): Fixture {
  const storage = new MemoryStorage()
  // Checkpoints only when the test asks for them.
  const engine = openIn(storage, { checkpointBytes: 1 << 20 })
  const model = new Map<Key, Buffer>()
  const put = (key: Key, value: Buffer): void => {
    // Some expire, but in a later century.
    const expiresAt = 4e12 + model.size
    engine.put(key, value, model.size % 4 === 0 ? { flags: OP_FLAG.EXPIRES, version: 0, expiresAt } : undefined)
    model.set(key, value)
  }
  const del = (key: Key): void => {
    engine.del(key)
    model.delete(key)
  }
  const moments: Moment[] = []
  const checkpoint = (): void => {
    engine.checkpoint(true)
    moments.push({ storage: storage.copy(), model: new Map(model) })
  }
  const array: Key = ['an', 'array', 5]
  for (let i = 0; i < 150; i++) put(keyOf((i * 7) % 150), valueOf(i, i % 9 === 0 ? 600 : 30))
  put('short', valueOf(1, 9000))
  put(array, valueOf(2, 13_000))
  checkpoint()
  for (let i = 0; i < 150; i++) if (i % 3 !== 0) del(keyOf(i))
  put(array, valueOf(3, 5000))
  put(17, valueOf(4, 1))
  checkpoint()
  for (let i = 0; i < 20; i++) put(i, valueOf(i, 40))
  for (let i = 30; i < 60; i++) del(keyOf(i))
  checkpoint()
  const before = new Map(model)
  for (let i = 60; i < 75; i++) put(keyOf(i), valueOf(-i, 100))
  for (let i = 0; i < 6; i++) del(i)
  put('short', valueOf(9, 4100))
  engine.batch([
    { type: 'put', key: 'batch', value: valueOf(5, 12) },
    { type: 'del', key: keyOf(120) },
  ])
  model.set('batch', valueOf(5, 12))
  model.delete(keyOf(120))
  const left = storage.copy()
  engine.close()
  expect(before.size).to.be.above(0)
  const absent: Key[] = [
    null,
    false,
    -1,
    5.5,
    3,
    100,
    'aaa',
    'key 001',
    keyOf(31),
    keyOf(121),
    `${keyOf(149)}!`,
    'short!',
    'zzz',
    ['an'],
    new Uint8Array(3),
  ]
  const cut = ({ storage: files, model: entries }: Moment): Moment => {
    cutToSize(files)
    return { storage: files, model: sorted(files, entries) }
  }
  return { ...cut({ storage: left, model }), absent, moments: moments.map(cut) }
}

/** The model in the order of keys, as the sound database has it. */
function sorted(storage: MemoryStorage, model: Model): Model {
  const engine = inspectIn(storage)
  try {
    const entries = [...engine.range(undefined, 'entries')] as [Key, Buffer][]
    expect(entries.length, 'entries of the sound database').to.equal(model.size)
    const byName = new Map([...model].map(([key, value]) => [name(key), value]))
    for (const [key, value] of entries) expect(byName.get(name(key))?.equals(value), name(key)).to.equal(true)
    expect(verify(engine).damage).to.deep.equal([])
    return new Map(entries)
  } finally {
    engine.close()
  }
}

const name = (key: Key): string =>
  typeof key === 'string'
    ? key.replace(LONG, '...')
    : JSON.stringify(key instanceof Uint8Array ? ['bytes', ...key] : key)

/** Slots that the newest header counts. */
export const slotCount = (storage: MemoryStorage): number => headersIn(storage).header!.nextSlot

/** Slots that the free list names. */
export function freeSlots(storage: MemoryStorage): Set<number> {
  const engine = inspectIn(storage)
  try {
    const { space, checker } = engine.parts
    return new Set(eachSlot(readFreeList(space, checker, headersIn(storage).header!).free))
  } finally {
    engine.close()
  }
}

export const slotIn = (storage: MemoryStorage, slotNo: number): Buffer =>
  storage.bytes(DATA).subarray(slotNo * SLOT_BYTES, (slotNo + 1) * SLOT_BYTES)

/** The file ends with the last slot that the headers count, as it may after a crash. */
function cutToSize(storage: MemoryStorage): void {
  storage.openFile(DATA, 'write').truncate(slotCount(storage) * SLOT_BYTES)
}

const headersIn = (storage: MemoryStorage) =>
  findHeader((slotNo) => {
    const bytes = Buffer.alloc(SLOT_BYTES)
    return bytes.subarray(0, storage.openFile(DATA, 'read').read(bytes, 0, SLOT_BYTES, slotNo * SLOT_BYTES))
  }, DATA)

/** The names of all segments, in the order of the log. */
export const segmentsIn = (storage: MemoryStorage): string[] =>
  [...storage.files().keys()].filter((path) => segmentStart(basename(path)) !== undefined).sort()

/** Writes the files to a directory, which it makes. */
export function writeOut(storage: MemoryStorage, to: string): void {
  mkdirSync(to)
  mkdirSync(join(to, 'wal'))
  for (const [path, bytes] of storage.files()) writeFileSync(join(to, path.slice(DB.length)), bytes)
}

// ---- the oracle --------------------------------------------------------------------------------

interface Verdict {
  /** Why it could not be opened, or the message of the first read that threw. */
  readonly error: MmapdbError | undefined
  readonly opened: boolean
  /** Reads that threw. */
  readonly refused: number
  /** True if `mmapdb verify` would end with exit code 0. */
  readonly verified: boolean
}

/**
 * Reads everything in every way and compares with the model. Throws an assertion error for anything that must not
 * happen. `codes`: errors that opening may throw instead of `ERR_MMAPDB_CORRUPT`.
 */
export function examine(
  fixture: { storage: MemoryStorage; model: Model; absent?: readonly Key[] },
  codes: readonly string[] = ['ERR_MMAPDB_CORRUPT'],
): Verdict {
  let engine: Engine
  try {
    engine = inspectIn(fixture.storage)
  } catch (error) {
    expectTyped(error, codes, 'opening')
    return { error: error as MmapdbError, opened: false, refused: 0, verified: false }
  }
  try {
    return { opened: true, ...examineOpen(engine, fixture) }
  } finally {
    engine.close()
  }
}

/** The same for an engine that is open, which may have been written to since. */
export function examineOpen(
  engine: Engine,
  { storage, model, absent = [] }: { storage: MemoryStorage; model: Model; absent?: readonly Key[] },
): Omit<Verdict, 'opened'> {
  let first: MmapdbError | undefined
  let refused = 0
  const attempt = (what: string, read: () => void): void => {
    try {
      read()
    } catch (error) {
      if (isAssertion(error)) throw error
      expectTyped(error, ['ERR_MMAPDB_CORRUPT'], what)
      first ??= error as MmapdbError
      refused++
    }
  }
  const entries = [...model] as [Key, Buffer][]
  for (const [key, value] of entries) attempt('get', () => same(engine.get(key), value, () => `get ${name(key)}`))
  for (const [key] of entries) attempt('has', () => mustBe(engine.has(key) === true, () => `has ${name(key)} is false`))
  for (const key of absent)
    attempt('get of an absent key', () =>
      mustBe(engine.get(key) === undefined, () => `get of an absent key, ${name(key)}, is not undefined`),
    )
  attempt('the count', () => expect(engine.range(undefined, 'keys').count(), 'count').to.equal(model.size))
  attempt('the range', () =>
    sameEntries(engine.range(undefined, 'entries') as Iterable<[Key, Buffer]>, entries, 'range'),
  )
  attempt('the range backwards', () =>
    sameEntries(
      engine.range({ reverse: true }, 'entries') as Iterable<[Key, Buffer]>,
      entries.slice().reverse(),
      'range backwards',
    ),
  )
  for (const i of [1, Math.floor(entries.length / 3), entries.length - 2]) {
    const [from] = entries[i]!
    const [to] = entries[Math.min(entries.length - 1, i + 9)]!
    const part = entries.slice(i, i + 9).filter(([key]) => key !== to)
    attempt(`a part, ${i}`, () =>
      sameEntries(engine.range({ gte: from, lt: to }, 'entries') as Iterable<[Key, Buffer]>, part, `part ${i}`),
    )
    attempt(`a part backwards, ${i}`, () =>
      sameEntries(
        engine.range({ gte: from, lt: to, reverse: true }, 'entries') as Iterable<[Key, Buffer]>,
        part.slice().reverse(),
        `part ${i} backwards`,
      ),
    )
    attempt(`the count of a part, ${i}`, () =>
      expect(engine.range({ gte: from, lt: to }, 'keys').count(), `count of part ${i}`).to.equal(part.length),
    )
  }
  let ok = false
  attempt('verify', () => {
    const report = verify(engine)
    ok = report.ok
  })
  if (refused > 0) expect(ok, `verify, where a read said: ${first?.message}`).to.equal(false)
  return {
    error: first,
    refused,
    verified: ok && headerDamage({ headers: headersIn(storage), inUse: false } as DataFile).length === 0,
  }
}

const isAssertion = (error: unknown): boolean => error instanceof Error && error.name === 'AssertionError'

function expectTyped(error: unknown, codes: readonly string[], what: string): void {
  if (isAssertion(error)) throw error
  if (!(error instanceof MmapdbError)) throw new Error(`${what} threw ${String(error)}`, { cause: error })
  expect(codes, `${what}: ${error.message}`).to.include(error.code)
  if (error instanceof CorruptError) {
    const { slotNo, lsn, path } = error.site
    expect(slotNo ?? lsn ?? path, `a place in "${error.message}"`).to.not.equal(undefined)
  }
}

class Wrong extends Error {
  override readonly name = 'AssertionError'
}

// Chai builds its messages even if they are not needed: too slow for a sweep.
function mustBe(condition: boolean, why: () => string): void {
  if (!condition) throw new Wrong(why())
}

function same(found: unknown, value: Buffer, what: () => string): void {
  mustBe(Buffer.isBuffer(found) && found.equals(value), () => `${what()} is not what was written`)
}

/** The entries that an iterator gives before it throws must be the model's, too. */
function sameEntries(found: Iterable<[Key, Buffer]>, expected: readonly [Key, Buffer][], what: string): void {
  let i = 0
  for (const [key, value] of found) {
    mustBe(i < expected.length, () => `${what} has more entries than there are`)
    const [wanted, wantedValue] = expected[i]!
    mustBe(
      key === wanted || name(key) === name(wanted),
      () => `${what}: key ${i} is ${name(key)} and not ${name(wanted)}`,
    )
    same(value, wantedValue, () => `${what}: value ${i}`)
    i++
  }
  mustBe(i === expected.length, () => `${what} ends after ${i} entries`)
}

// ---- damage ------------------------------------------------------------------------------------

/** A slot's bytes changed by `edit` and sealed again with a CRC that holds. */
export function resealed(bytes: Buffer, edit: (slot: Buffer) => void): Buffer {
  const slot = Buffer.from(bytes)
  edit(slot)
  slot.writeUInt32LE(crc32c(slot.subarray(SLOT.TYPE)) >>> 0, SLOT.CRC)
  return slot
}

// ---- where there is no model -------------------------------------------------------------------

/**
 * For bytes that differ from what was written, with CRCs that hold: every operation ends and throws only typed
 * errors, and if `verify` finds nothing wrong, the answers agree with each other.
 */
export function examineLoosely(
  storage: MemoryStorage,
  options: OpenOptions = {},
): { opened: boolean; verified: boolean } {
  let engine: Engine
  try {
    engine = inspectIn(storage, options)
  } catch (error) {
    expectTyped(error, OPENING_CODES, 'opening')
    return { opened: false, verified: false }
  }
  try {
    return { opened: true, verified: agreesWithItself(engine) }
  } finally {
    engine.close()
  }
}

const OPENING_CODES = [
  'ERR_MMAPDB_CORRUPT',
  'ERR_MMAPDB_NOT_A_DATABASE',
  'ERR_MMAPDB_VERSION',
  'ERR_MMAPDB_NOT_FOUND',
  'ERR_MMAPDB_FULL',
]

export function agreesWithItself(engine: Engine): boolean {
  let refused = 0
  const attempt = <T>(what: string, read: () => T): T | undefined => {
    try {
      return read()
    } catch (error) {
      expectTyped(error, ['ERR_MMAPDB_CORRUPT'], what)
      refused++
      return undefined
    }
  }
  const ok = attempt('verify', () => verify(engine).ok) === true
  const forwards = attempt('the range', () => [...engine.range(undefined, 'entries')] as [Key, unknown][])
  const backwards = attempt(
    'the range backwards',
    () => [...engine.range({ reverse: true }, 'entries')] as [Key, unknown][],
  )
  const count = attempt('the count', () => engine.range(undefined, 'keys').count())
  const keys = forwards?.map(([key]) => key) ?? Array.from({ length: 20 }, (_, i) => keyOf(i * 8))
  for (const [i, key] of keys.entries()) {
    const value = attempt(`get ${name(key)}`, () => engine.get(key))
    attempt(`has ${name(key)}`, () => engine.has(key))
    if (i % 9 === 0) attempt('the rest of the range', () => engine.range({ gt: key, limit: 3 }, 'entries').next())
    if (ok && refused === 0)
      expect(sameValue(value, forwards![i]![1]), `get ${name(key)} and the range agree`).to.equal(true)
  }
  if (ok) {
    expect(refused, 'reads that threw where verify found no damage').to.equal(0)
    expect(count).to.equal(forwards!.length)
    expect(
      backwards!
        .reverse()
        .every(([key, value], i) => name(key) === name(forwards![i]![0]) && sameValue(value, forwards![i]![1])),
      'both directions',
    ).to.equal(true)
  }
  return ok
}

const sameValue = (a: unknown, b: unknown): boolean =>
  Buffer.isBuffer(a) && Buffer.isBuffer(b) ? a.equals(b) : JSON.stringify(a) === JSON.stringify(b)
