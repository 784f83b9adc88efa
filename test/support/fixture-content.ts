// What the databases in test/fixtures hold: keys of all kinds, values of all kinds that each encoding carries, and
// enough more for branches, overflow chains, free lists and several segments. Never change this for a format that has
// its fixture: the files were made from it.
import type { BatchOperation } from '../../src/engine/commit/batch.js'
import type { Conditions } from '../../src/engine/commit/conditions.js'
import { encodeKey, KEY_BUFFER_BYTES, type Key } from '../../src/encoding/keys.js'
import type { ValueEncoding } from '../../src/encoding/values/codec.js'
import { MAX_KEY_BYTES } from '../../src/limits.js'

/** How a database was left: closed by its last opener, or by a kill, with frames that no checkpoint has. */
export type Ending = 'closed' | 'killed'
export const ENDINGS: readonly Ending[] = ['closed', 'killed']

/** Each inner list is one batch; a checkpoint is made between the two parts. */
interface FixtureContent {
  readonly beforeCheckpoint: readonly (readonly BatchOperation[])[]
  readonly afterCheckpoint: readonly (readonly BatchOperation[])[]
}

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values)

const KEYS: readonly Key[] = [
  null,
  false,
  true,
  -Infinity,
  -1.5,
  0,
  Number.MIN_VALUE,
  1,
  Number.MAX_SAFE_INTEGER,
  Number.MAX_VALUE,
  Infinity,
  -(2n ** 70n) - 3n,
  -1n,
  0n,
  5n,
  2n ** 53n + 1n,
  2n ** 1000n + 1n,
  '',
  '\0',
  '\u0004',
  '\u001b',
  'a',
  'ä€😀',
  'k'.repeat(MAX_KEY_BYTES),
  bytes(),
  bytes(0),
  bytes(1),
  bytes(0, 1, 2, 254, 255),
  new Uint8Array(500).fill(7),
  ['a'],
  ['a', ''],
  ['a', 1],
  ['a', 1n],
  ['', ''],
  [null, false, true, -0.5, 3n, 'text', bytes(0, 255)],
]

/** Longest that is stored beside a short key, shortest that is not, and chains of several slots. */
const LENGTHS = [0, 1, 255, 256, 980, 1000, 4064, 4065, 20_000]
const textOf = (length: number): string => 'All work and no play. '.repeat(length / 22 + 1).slice(0, length)

function textValues(): string[] {
  return ['', 'text', '\0', 'ä€😀', ...LENGTHS.map(textOf), 'ö'.repeat(3000)]
}

function jsonValues(): unknown[] {
  return [
    null,
    true,
    false,
    0,
    -0,
    1.5,
    -1e300,
    Number.MAX_SAFE_INTEGER,
    'lone \ud800 surrogate',
    [],
    [1, [2, [3]], { a: null }],
    {},
    { name: 'Ada', tags: ['x', 'y'], in: { the: { end: true } }, '': 0 },
    JSON.parse('{"__proto__": {"own": 1}, "constructor": 2}'),
    Array.from({ length: 1000 }, (_, i) => i),
    ...textValues(),
  ]
}

/** Its stack would name files of the machine that makes the fixture. */
function errorOf(error: Error): Error {
  error.stack = `${error.name}: ${error.message}\n    at a place`
  return error
}

function msgpackValues(): unknown[] {
  const lastIndex = /a+/gi
  lastIndex.lastIndex = 3
  const holes: unknown[] = [1]
  holes[3] = undefined
  const { buffer } = bytes(1, 2, 3, 4, 5, 6, 7, 8)
  return [
    NaN,
    Infinity,
    -Infinity,
    0n,
    -1n,
    2n ** 63n,
    -(2n ** 63n),
    2n ** 64n,
    2n ** 5000n - 1n,
    { of: undefined },
    [undefined, null],
    holes,
    Object.assign(Object.create(null) as object, { a: 1, __proto__: 2 }),
    new Map<unknown, unknown>([
      ['a', 1],
      [{ key: 1 }, new Set([1, [2]])],
      [undefined, undefined],
    ]),
    new Set(['a', 1n, NaN]),
    new Date(0),
    new Date(-1),
    new Date(2 ** 42 + 1),
    new Date(NaN),
    /^a\/b$/u,
    lastIndex,
    errorOf(new Error('message')),
    Object.assign(errorOf(new TypeError('of a kind', { cause: [1] })), { code: 'E_OWN' }),
    ...[EvalError, RangeError, ReferenceError, SyntaxError, URIError].map((Class) => errorOf(new Class(''))),
    Buffer.from('a Buffer'),
    Buffer.alloc(10_000, 'long '),
    bytes(1, 2, 255),
    new Uint8ClampedArray([0, 255]),
    Int8Array.of(-1),
    Uint16Array.of(1, 65_535),
    Int16Array.of(-2),
    Uint32Array.of(2 ** 32 - 1),
    Int32Array.of(-(2 ** 31)),
    Float32Array.of(0.5, NaN),
    Float64Array.of(Math.PI, -0),
    BigInt64Array.of(-(2n ** 63n)),
    BigUint64Array.of(2n ** 64n - 1n),
    buffer,
    new DataView(buffer, 2, 4),
    { deep: [new Map([[new Date(1), { bytes: bytes(9), big: 10n }]])] },
    ...jsonValues(),
  ]
}

function binaryValues(): Buffer[] {
  const every = Buffer.from(Array.from({ length: 256 }, (_, i) => i))
  return [every, ...LENGTHS.map((length) => Buffer.alloc(length, 'bytes '))]
}

const VALUES = { msgpack: msgpackValues, json: jsonValues, utf8: textValues, binary: binaryValues }

/** Enough long keys for a tree with several levels of branches. */
const FILLERS = 220
const fillerKey = (i: number): Key => ['filler', `${'f'.repeat(500)}${String(i).padStart(4, '0')}`]

/** What a database of this encoding and ending is made of. The values are made for each call. */
export function fixtureContent(encoding: ValueEncoding, ending: Ending): FixtureContent {
  const values = VALUES[encoding]()
  const value = (i: number): unknown => values[i % values.length]
  const put = (key: Key, i: number, only: Conditions = {}): BatchOperation => ({
    type: 'put',
    key,
    value: value(i),
    ...only,
  })
  const del = (key: Key): BatchOperation => ({ type: 'del', key })
  const add = (key: Key, delta: number): BatchOperation => ({ type: 'add', key, delta })
  const fillers = Array.from({ length: FILLERS }, (_, i) => put(fillerKey(i), 0))
  const beforeCheckpoint = [
    ...KEYS.map((key, i) => [put(key, i)]),
    values.map((_, i) => put(['value', i], i)),
    ...[0, 1, 2, 3].map((part) => fillers.filter((_, i) => i % 4 === part)),
    // Overwritten by a value of another length, and deleted.
    values.flatMap((_, i) => [put(['again', i], i), put(['again', i], i + 1), put(['gone', i], i)]),
    values.map((_, i) => del(['gone', i])),
    fillers.slice(60, 100).map(({ key }) => del(key)),
  ]
  const afterCheckpoint: BatchOperation[][] = [
    [put('after', 0), put(['after', 1], 1)],
    values.map((_, i) => put(['value', i], i)),
    values.map((_, i) => put(['again', i], i + 2)),
    ...values.map((_, i) => [put(['late', i], i)]),
    [del('never there'), del('a'), put('a', 1), del(['late', 0])],
    fillers.slice(120, 140).map(({ key }) => del(key)),
    // Writes whose outcome is decided when they are applied: some take effect, and some do not.
    [put('absent', 1, { ifAbsent: true })],
    [put('absent', 2, { ifAbsent: true })],
    [
      { type: 'check', key: 'after', ifPresent: true },
      { type: 'del', key: 'last', ifPresent: true },
      put('not put', 1),
    ],
    [put('versioned', 1, { ifVersion: 5 })],
    ...(encoding === 'msgpack' || encoding === 'json'
      ? [[add('counter', 5)], [add('counter', -2), add('counter', 0.5)]]
      : []),
    [put('last', ENDINGS.indexOf(ending))],
  ]
  return { beforeCheckpoint, afterCheckpoint }
}

/** The entries that are there in the end, in the order of their keys. */
export function expectedEntries({ beforeCheckpoint, afterCheckpoint }: FixtureContent): [Key, unknown][] {
  const entries = new Map<string, [Key, unknown]>()
  const into = Buffer.alloc(KEY_BUFFER_BYTES)
  const nameOf = (key: Key): string => into.toString('latin1', 0, encodeKey(key, into))
  for (const batch of [...beforeCheckpoint, ...afterCheckpoint]) {
    const holds = batch.every(({ key, ifVersion, ifAbsent, ifPresent }) => {
      const isThere = entries.has(nameOf(key))
      // No entry has the version that a condition of these batches names.
      return ifVersion === undefined && !(ifAbsent === true && isThere) && !(ifPresent === true && !isThere)
    })
    for (const operation of holds ? batch : []) {
      const { key } = operation
      const name = nameOf(key)
      if (operation.type === 'put') entries.set(name, [key, operation.value])
      else if (operation.type === 'del') entries.delete(name)
      else if (operation.type === 'add')
        entries.set(name, [key, Number(entries.get(name)?.[1] ?? 0) + Number(operation.delta)])
    }
  }
  return [...entries].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, entry]) => entry)
}
