// What the databases in test/fixtures hold besides their default store: named stores, one that was dropped, entries
// that expire, and cleared ranges whose leaves were not freed. As with fixture-content.ts: never change this for a
// format that has been released.
import { expect } from 'chai'
import type { BatchOperation } from '../../src/engine/commit/batch.js'
import type { Engine } from '../../src/engine/engine.js'
import type { KeySpace } from '../../src/encoding/key-space.js'
import type { ValueEncoding } from '../../src/encoding/values/codec.js'

/** The latest time that there is. */
const LATE_MS = 8.64e15
const EXPIRED_MS = 5
const LONG = 'long '.repeat(2000)
const CLEARED = 300

function batch(engine: Engine, space: KeySpace, operations: readonly BatchOperation[]): void {
  engine.write((frame) => engine.operations.batch(frame, operations, space))
}

/** The last thing before the checkpoint, so that what it has cut out is not freed. */
export function writeStoresBefore(engine: Engine): void {
  const kept = engine.stores.open('kept', 'json')
  batch(engine, kept, [
    { type: 'put', key: 'a', value: [1, { b: null }] },
    { type: 'put', key: ['long', 1], value: LONG },
    { type: 'put', key: 'expires', value: 1, expiresAt: LATE_MS },
    { type: 'put', key: 'replaced', value: 1, expiresAt: LATE_MS - 1 },
    { type: 'put', key: 'expired', value: 1, expiresAt: EXPIRED_MS },
    ...Array.from({ length: CLEARED }, (_, i): BatchOperation => ({
      type: 'put',
      key: ['cleared', i],
      value: LONG.slice(0, 900),
    })),
  ])
  engine.stores.open('empty', 'binary')
  const gone = engine.stores.open('gone', 'utf8')
  batch(engine, gone, [{ type: 'put', key: 'gone', value: LONG }])
  engine.write((frame) => void engine.stores.drop(frame, 'gone'))
  engine.write((frame) => frame.clear(kept.encoded(['cleared', 0]), kept.encoded(['cleared', CLEARED])))
}

export function writeStoresAfter(engine: Engine): void {
  const kept = engine.stores.open('kept', undefined)
  batch(engine, kept, [
    { type: 'add', key: 'counter', delta: 2 },
    { type: 'put', key: 'replaced', value: 2 },
    { type: 'put', key: 'after', value: true, expiresAt: LATE_MS - 2 },
  ])
  const later = engine.stores.open('später', 'msgpack')
  batch(engine, later, [{ type: 'put', key: null, value: 5n }])
  engine.write((frame) => frame.clear(kept.encoded('a'), kept.encoded('b')))
}

const EXPECTED: readonly [name: string, ValueEncoding, entries: readonly [unknown, unknown, number?][]][] = [
  ['empty', 'binary', []],
  [
    'kept',
    'json',
    [
      ['counter', 2],
      ['expires', 1, LATE_MS],
      [['long', 1], LONG],
      ['replaced', 2],
    ],
  ],
  ['später', 'msgpack', [[null, 5n]]],
]

/** How many entries the named stores have, with one that has expired, until it is removed. */
export function storeEntries(engine: Engine): number {
  const isThere = engine.parts.control.earliestExpiry() === EXPIRED_MS
  return EXPECTED.reduce((sum, [, , entries]) => sum + entries.length, isThere ? 1 : 0)
}

/** Fails unless the engine has these stores, with all that is in them. */
export function expectStores(engine: Engine): void {
  expect(engine.stores.list().map(({ name, encoding }) => [name, encoding])).to.deep.equal(
    EXPECTED.map(([name, encoding]) => [name, encoding]),
  )
  expect(engine.stores.listDropped().map(({ name, encoding }) => [name, encoding])).to.deep.equal([['gone', 'utf8']])
  for (const [name, , entries] of EXPECTED) {
    const space = engine.stores.open(name, undefined)
    const found = [...engine.range(undefined, 'entries', space)] as [never, unknown][]
    expect(found, name).to.deep.equal(entries.map(([key, value]) => [key, value]))
    for (const [key, , expiresAt] of entries)
      expect(engine.getEntry(key as never, space)!.expiresAt, String(key)).to.equal(expiresAt)
  }
}
