// Values of every kind that JavaScript has, nested in one another, from this realm and another one; whether an
// encoding carries one, and whether two are the same: all said once more here, apart from the encodings.
import fc from 'fast-check'
import types from 'node:util/types'
import { runInNewContext } from 'node:vm'
import type { ValueEncoding } from '../../src/encoding/values/codec.js'

type Realm = Record<string, new (...args: never[]) => object> & { Object: ObjectConstructor; Array: ArrayConstructor }
/** The classes of another realm. */
const other = runInNewContext(
  '({ Object, Array, Map, Set, Date, RegExp, Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError, Uint8Array, Float64Array, BigInt64Array, ArrayBuffer, DataView })',
) as Realm

/** Classes of errors that the language has, but for those that hold other errors. */
const here = { Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError }
const ERROR_NAMES = Object.keys(here) as (keyof typeof here)[]

class Plain {
  constructor(readonly a: unknown) {}
}
class Registry extends Map<unknown, unknown> {}
class Bytes extends Uint8Array {}
class List extends Array<unknown> {}
class OwnError extends Error {}

const TYPED = [
  Int8Array,
  Uint8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  BigUint64Array,
] as const

const text = fc.oneof(
  { weight: 30, arbitrary: fc.string({ maxLength: 8 }) },
  { weight: 30, arbitrary: fc.string({ unit: 'binary', maxLength: 40 }) },
  { weight: 1, arbitrary: fc.constant('y'.repeat(70_000)) },
  {
    weight: 10,
    arbitrary: fc.constantFrom(
      '\ud83d',
      'x'.repeat(100) + '\ude00',
      '\ufffd',
      'é'.repeat(20),
      'ä'.repeat(300),
      '😀'.repeat(20),
      '\u0000',
      '"\\\n\u2028',
    ),
  },
)
const name = fc.oneof(
  { weight: 6, arbitrary: fc.string({ maxLength: 6 }) },
  fc.constantFrom(
    '__proto__',
    'constructor',
    'toString',
    'hasOwnProperty',
    'length',
    'valueOf',
    '0',
    '17',
    'a\ud800',
    'é',
    'n'.repeat(40),
    '',
    'then',
  ),
)
const number = fc.oneof(
  fc.integer(),
  fc.double(),
  fc.integer({ min: -40, max: 300 }),
  fc.maxSafeInteger(),
  fc.constantFrom(
    0,
    -0,
    NaN,
    Infinity,
    -Infinity,
    2 ** 31,
    -(2 ** 31),
    2 ** 32,
    65_535,
    65_536,
    -32_769,
    2 ** 53 + 2,
    5e-324,
    1.1,
  ),
)
const bigint = fc.oneof(
  fc.bigInt({ min: -(2n ** 200n), max: 2n ** 200n }),
  fc.constantFrom(0n, -1n, 2n ** 63n, -(2n ** 63n), -(2n ** 63n) - 1n, 2n ** 64n, 2n ** 1000n),
)
const bytes = fc.oneof(
  { weight: 30, arbitrary: fc.uint8Array({ maxLength: 20 }) },
  { weight: 5, arbitrary: fc.constantFrom(new Uint8Array(255), new Uint8Array(256).fill(1)) },
  { weight: 1, arbitrary: fc.constant(new Uint8Array(70_000)) },
)

const date = fc
  .oneof(
    fc.date({ noInvalidDate: false }).map((d) => d.getTime()),
    fc.constantFrom(0, -1, -1500, 8.64e15, -8.64e15, NaN, 4294967296000, 1.5e12 + 1),
  )
  .chain((ms) => fc.constantFrom(new Date(ms), new (other['Date'] as DateConstructor)(ms)))

const regExp = fc
  .constantFrom(
    () => /a(b)?/giu,
    () => /[/\]]/,
    () => new RegExp(''),
    () => /x/y,
    () => Object.assign(/x/g, { lastIndex: 3 }),
    () => new (other['RegExp'] as RegExpConstructor)('y', 's'),
    () => new RegExp('\\p{L}', 'v'),
  )
  .map((make) => make())

const binary = bytes
  .chain((b) =>
    fc.constantFrom(
      () => Buffer.from(b),
      () => new Uint8Array(b),
      () => b.slice().buffer,
      () => new DataView(b.slice().buffer, 0),
      () => new (other['Uint8Array'] as Uint8ArrayConstructor)(b),
      () => new (other['ArrayBuffer'] as ArrayBufferConstructor)(7),
      () => new (other['DataView'] as DataViewConstructor)(new ArrayBuffer(5), 1),
      () => new Float64Array([-0, NaN, 1.5]).subarray(1),
      () => Buffer.from(b).subarray(1),
      () => new BigUint64Array([2n ** 64n - 1n]),
      () => new (other['Float64Array'] as Float64ArrayConstructor)([1.5]),
      () => new Uint8Array(new SharedArrayBuffer(3)),
      ...TYPED.map((Class) => () => new Class(b.length)),
    ),
  )
  .map((make) => make())

/** What no encoding carries. */
const refused = fc
  .constantFrom<() => unknown>(
    () => () => 1,
    () => class {},
    () => Symbol('s'),
    () => new Plain(1),
    () => new Registry([['a', 1]]),
    () => new Bytes(3),
    () => List.of(1),
    () => new OwnError('x'),
    () => new Number(5),
    () => new String('x'),
    () => Object(1n) as unknown,
    () => Object(Symbol('x')) as unknown,
    () => Promise.resolve(1),
    () => new WeakMap(),
    () => new WeakSet(),
    () => new Blob(['x']),
    () => new Headers({ a: '1' }),
    () => new SharedArrayBuffer(4),
    () => new URL('http://a/'),
    () => new URLSearchParams('a=1'),
    () => Math,
    () => JSON,
    () => Object.assign([1, 2], { named: 1 }),
    () => Object.assign(new Array<number>(100).fill(1), { named: 1 }),
    () => 'abc'.match(/b/),
    () => ({ [Symbol('key')]: 1 }),
    () => Object.assign(new Map(), { x: 1 }),
    () => Object.assign(new Date(0), { x: 1 }),
    () => [1][Symbol.iterator](),
    () => new Map([[1, 2]]).entries(),
    () =>
      (function* () {
        yield 1
      })(),
    () => new WeakRef({}),
    () => new Intl.NumberFormat('en'),
    () => new AbortController(),
    () => globalThis,
    () => process.versions.node.split,
    (...args: unknown[]) =>
      (function (..._: unknown[]) {
        // eslint-disable-next-line prefer-rest-params
        return arguments
      })(...args, 1, 2),
    () => Object.create({ inherited: 1 }),
    () => Object.create(Plain.prototype),
    () => new Proxy(new Map(), {}),
    () => Object.assign(new Uint8Array(3), { x: 1 }),
    () => Object.assign(new Uint8Array(300), { x: 1 }),
    () => detached(),
    () => new DOMException('x'),
    () => ({ toJSON: () => Symbol('x') }),
    () => {
      const ring: unknown[] = []
      ring.push({ ring })
      return ring
    },
    () => {
      const map = new Map()
      map.set('self', map)
      return map
    },
    () => nested(1001),
    () => new (class extends URL {})('http://b/'),
    () => new AggregateError([new Error('inner')], 'outer'),
    () => new TextEncoder(),
    () =>
      new (class Pair {
        #a = 1
        toString() {
          return String(this.#a)
        }
      })(),
  )
  .map((make) => make())

function detached(): ArrayBuffer {
  const buffer = new ArrayBuffer(3)
  structuredClone(buffer, { transfer: [buffer] })
  return buffer
}
function nested(levels: number): unknown[] {
  let list: unknown[] = []
  for (let i = 1; i < levels; i++) list = [list]
  return list
}

/** `share` of leaves are such as no encoding carries: in parts per thousand. */
export function anyValue(share: number): fc.Arbitrary<unknown> {
  const leaf = fc.oneof(
    { weight: share, arbitrary: refused },
    { weight: 250, arbitrary: text },
    { weight: 250, arbitrary: number },
    { weight: 100, arbitrary: fc.constantFrom(null, true, false) },
    { weight: 40, arbitrary: fc.constant(undefined) },
    { weight: 60, arbitrary: bigint },
    { weight: 60, arbitrary: date },
    { weight: 30, arbitrary: regExp },
    { weight: 100, arbitrary: binary },
  )
  const { value } = fc.letrec<{ value: unknown }>((tie) => {
    const some = fc.array(tie('value'), { maxLength: 4, depthIdentifier: 'value' })
    const named = fc.array(fc.tuple(name, tie('value')), { maxLength: 4, depthIdentifier: 'value' })
    const fields = (object: object, list: [string, unknown][]): object => {
      for (const [key, of] of list)
        Object.defineProperty(object, key, { value: of, writable: true, enumerable: true, configurable: true })
      return object
    }
    return {
      value: fc.oneof(
        { depthIdentifier: 'value', depthSize: 'small', maxDepth: 4 },
        { weight: 6, arbitrary: leaf },
        { weight: 4, arbitrary: named.map((list) => fields({}, list)) },
        { weight: 1, arbitrary: named.map((list) => fields(new other.Object(), list)) },
        { weight: 1, arbitrary: named.map((list) => fields(Object.create(null) as object, list)) },
        { weight: 3, arbitrary: some },
        { weight: 1, arbitrary: some.map((list) => other.Array.from(list)) },
        {
          weight: 1,
          arbitrary: some.map((list) => {
            const sparse: unknown[] = []
            list.forEach((e, i) => (sparse[i * i * 40] = e))
            sparse.length += 2
            return sparse
          }),
        },
        {
          weight: 1,
          arbitrary: fc
            .array(fc.tuple(tie('value'), tie('value')), { maxLength: 3, depthIdentifier: 'value' })
            .map((pairs) => new Map(pairs)),
        },
        {
          weight: 1,
          arbitrary: fc
            .array(fc.tuple(tie('value'), tie('value')), { maxLength: 3, depthIdentifier: 'value' })
            .map((pairs) => new (other['Map'] as MapConstructor)(pairs)),
        },
        { weight: 1, arbitrary: some.map((list) => new Set(list)) },
        {
          weight: 1,
          arbitrary: fc
            .tuple(
              text,
              tie('value'),
              named,
              fc.constantFrom(...ERROR_NAMES.flatMap((name) => [here[name], other[name] as ErrorConstructor])),
            )
            .map(([message, cause, list, Class]) =>
              fields(
                new Class(message, { cause }),
                list.filter(([key]) => !RESERVED.has(key)),
              ),
            ),
        },
        { weight: 1, arbitrary: named.map((list) => Object.freeze(fields({}, list))) },
        {
          weight: 1,
          arbitrary: tie('value').map((of) => ({
            get read() {
              return of
            },
          })),
        },
        { weight: 1, arbitrary: named.map((list) => new Proxy(fields({}, list), {})) },
        { weight: 1, arbitrary: tie('value').map((of) => ({ twice: of, again: [of] })) },
      ),
    }
  })
  return value
}
const RESERVED = new Set(['stack', 'message', 'cause', '__proto__'])

/** What kind a value is, with the realm left out of account. */
function kindOf(value: unknown): string {
  if (value === null) return 'null'
  if (typeof value !== 'object') return typeof value
  const prototype = Object.getPrototypeOf(value) as object | null
  if (prototype === null) return 'no prototype'
  if (Array.isArray(value))
    return prototype === Array.prototype || prototype === other.Array.prototype ? 'Array' : 'other'
  if (prototype === Object.prototype || prototype === other.Object.prototype) {
    return Object.prototype.toString.call(value) === '[object Object]' ? 'Object' : 'other'
  }
  if (prototype === Buffer.prototype) return 'Buffer'
  for (const [brand, names] of KINDS) {
    if (!types[brand](value)) continue
    const found = names.find(
      (each) => prototype === (globalThis as unknown as Realm)[each]?.prototype || prototype === other[each]?.prototype,
    )
    if (found !== undefined) return found
  }
  return 'other'
}
const KINDS = [
  ['isDate', ['Date']],
  ['isRegExp', ['RegExp']],
  ['isMap', ['Map']],
  ['isSet', ['Set']],
  ['isNativeError', [...ERROR_NAMES]],
  ['isArrayBuffer', ['ArrayBuffer']],
  ['isDataView', ['DataView']],
  ['isTypedArray', TYPED.map((Class) => Class.name)],
] as const satisfies readonly (readonly [keyof typeof types, readonly string[]])[]

const hasNames = (value: object): boolean =>
  Reflect.ownKeys(value).some(
    (key) => typeof key === 'symbol' || Object.prototype.propertyIsEnumerable.call(value, key),
  )
const hasOthers = (list: object): boolean => Object.keys(list).some((key) => String(Number(key) >>> 0) !== key)
const isDetached = (buffer: ArrayBuffer): boolean => {
  try {
    return new Uint8Array(buffer).length < 0
  } catch {
    return true
  }
}

/** Whether `encoding` must take a value; if not, it must refuse it. Never asked about what contains itself too deep. */
export function isCarried(value: unknown, encoding: ValueEncoding, depth = 0): boolean {
  if (encoding === 'utf8') return typeof value === 'string' && value.isWellFormed()
  const kind = kindOf(value)
  if (encoding === 'binary') return kind === 'Buffer' || types.isUint8Array(value)
  const all = (list: Iterable<unknown>): boolean => [...list].every((each) => isCarried(each, encoding, depth + 1))
  const fieldsOf = (object: object): unknown[] =>
    Object.keys(object).map((key) => (object as Record<string, unknown>)[key])
  if (typeof value === 'object' && value !== null && depth >= 1000) return false
  if (encoding === 'json') {
    if (kind === 'number') return Number.isFinite(value)
    if (kind === 'Array')
      return (
        !hasOthers(value as object) &&
        Object.keys(value as object).length === (value as unknown[]).length &&
        all(value as unknown[])
      )
    if (kind === 'Object') return Object.getOwnPropertySymbols(value).length === 0 && all(fieldsOf(value as object))
    return kind === 'string' || kind === 'boolean' || kind === 'null'
  }
  const object = value as object
  switch (kind) {
    case 'other':
    case 'function':
    case 'symbol':
      return false
    case 'undefined':
      return depth > 0
    case 'Array':
      return !hasOthers(object) && all(Object.values(object))
    case 'Object':
    case 'no prototype':
      return Object.getOwnPropertySymbols(object).length === 0 && all(fieldsOf(object))
    case 'Map':
      return (
        !hasNames(object) &&
        [...(object as Map<unknown, unknown>)].every(
          ([k, v]) => isCarried(k, encoding, depth + 1) && isCarried(v, encoding, depth + 1),
        )
      )
    case 'Set':
      return !hasNames(object) && all(object as Set<unknown>)
    case 'Error':
    case 'EvalError':
    case 'RangeError':
    case 'ReferenceError':
    case 'SyntaxError':
    case 'TypeError':
    case 'URIError':
      return (
        Object.getOwnPropertySymbols(object).length === 0 &&
        all(fieldsOf(object)) &&
        (!Object.hasOwn(object, 'cause') || isCarried((object as Error).cause, encoding, depth + 2))
      )
    case 'ArrayBuffer':
      return !isDetached(object as ArrayBuffer)
    case 'Date':
    case 'RegExp':
      return !hasNames(object)
    default:
      return ArrayBuffer.isView(object) ? !(types.isTypedArray(object) && hasOthers(object)) : true
  }
}

/** True if `got` is equal to `put` in kind and in content, and is of this realm throughout. */
export function isSame(put: unknown, got: unknown): boolean {
  if (typeof put !== 'object' || put === null) return Object.is(put, got)
  if (typeof got !== 'object' || got === null) return false
  const kind = kindOf(put)
  if (kindOf(got) !== kind) return false
  if (kind !== 'no prototype' && Object.getPrototypeOf(got) !== (globalThis as unknown as Realm)[kind]!.prototype)
    return false
  if (types.isMap(put))
    return sameLists(
      [...put].map((pair) => pair as unknown[]),
      [...(got as Map<unknown, unknown>)].map((pair) => pair as unknown[]),
    )
  if (types.isSet(put)) return sameLists([...put], [...(got as Set<unknown>)])
  if (types.isDate(put)) return Object.is(put.getTime(), (got as Date).getTime())
  if (types.isRegExp(put)) return String(put) === String(got) && put.lastIndex === (got as RegExp).lastIndex
  if (types.isArrayBuffer(put)) return Buffer.from(put).equals(Buffer.from(got as ArrayBuffer))
  if (ArrayBuffer.isView(put)) return viewed(put).equals(viewed(got as ArrayBufferView))
  // Arrays with their holes, and how long they are; errors with what is not enumerable.
  if (Array.isArray(put) && put.length !== (got as unknown[]).length) return false
  const names = types.isNativeError(put) ? Object.getOwnPropertyNames(put).sort() : Object.keys(put)
  const others = types.isNativeError(got) ? Object.getOwnPropertyNames(got).sort() : Object.keys(got)
  return (
    names.length === others.length &&
    names.every(
      (key, i) =>
        key === others[i] && isSame((put as Record<string, unknown>)[key], (got as Record<string, unknown>)[key]),
    ) &&
    Object.keys(put).length === Object.keys(got).length
  )
}
const viewed = (view: ArrayBufferView): Buffer => Buffer.from(view.buffer, view.byteOffset, view.byteLength)
const sameLists = (put: unknown[], got: unknown[]): boolean =>
  put.length === got.length && put.every((each, i) => isSame(each, got[i]))
