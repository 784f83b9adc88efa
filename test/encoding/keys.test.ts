import { runInNewContext } from 'node:vm'
import { expect } from 'chai'
import fc from 'fast-check'
import { decodeKey, encodeKey, KEY_BUFFER_BYTES, prefixBounds, type Key } from '../../src/encoding/keys.js'
import { expectError, runs } from '../support/engine.js'

type Part = string | number | bigint | boolean | null | Uint8Array

const buffer = Buffer.alloc(KEY_BUFFER_BYTES)
const encode = (key: Key): Buffer => Buffer.from(buffer.subarray(0, encodeKey(key, buffer)))
const decode = (bytes: Buffer): Key => decodeKey(bytes, 0, bytes.length)

/** The largest integer that a double holds. */
const MAX = BigInt(Number.MAX_VALUE)

// ---- the order, said once more and in another way ------------------------------------------------

const rank = (part: Part): number =>
  part === null
    ? 0
    : part === false
      ? 1
      : part === true
        ? 2
        : typeof part === 'string'
          ? 4
          : typeof part === 'object'
            ? 5
            : 3

function compareLists(a: readonly number[], b: readonly number[]): number {
  for (let i = 0; i < a.length && i < b.length; i++) if (a[i] !== b[i]) return a[i]! - b[i]!
  return a.length - b.length
}
const codePoints = (text: string): number[] => Array.from(text, (c) => c.codePointAt(0)!)

function compareParts(a: Part, b: Part): number {
  const ranks = rank(a) - rank(b)
  if (ranks !== 0) return ranks
  if (typeof a === 'string') return compareLists(codePoints(a), codePoints(b as string))
  if (a instanceof Uint8Array) return compareLists([...a], [...(b as Uint8Array)])
  // Number and bigint compare exactly in the language itself; of two that are equal the number comes first.
  if (typeof a === 'number' || typeof a === 'bigint')
    return a < (b as number) ? -1 : a > (b as number) ? 1 : typeof a === typeof b ? 0 : typeof a === 'number' ? -1 : 1
  return 0
}

function compareReference(a: Key, b: Key): number {
  const x = Array.isArray(a) ? (a as Part[]) : [a as Part]
  const y = Array.isArray(b) ? (b as Part[]) : [b as Part]
  for (let i = 0; i < x.length && i < y.length; i++) {
    const order = compareParts(x[i]!, y[i]!)
    if (order !== 0) return order
  }
  return x.length - y.length || Number(Array.isArray(a)) - Number(Array.isArray(b))
}

/** What a key is when it is read back: -0 is 0. */
function canonical(key: Key): Key {
  if (Array.isArray(key)) return (key as Part[]).map((part) => canonical(part) as Part)
  if (key === 0) return 0
  if (key instanceof Uint8Array) return Uint8Array.from(key)
  return key as Part
}

// ---- keys of every kind --------------------------------------------------------------------------

const unit = fc.oneof(
  fc.integer({ min: 0, max: 31 }),
  fc.integer({ min: 0x20, max: 0x7f }),
  fc.constantFrom(
    0,
    1,
    3,
    4,
    5,
    27,
    28,
    0x7f,
    0x80,
    0x7ff,
    0x800,
    0xd7ff,
    0xd800,
    0xdbff,
    0xdc00,
    0xdfff,
    0xe000,
    0xffff,
  ),
  fc.integer({ min: 0, max: 0xffff }),
)
const text = fc.oneof(
  fc.array(unit, { maxLength: 6 }).map((units) => String.fromCharCode(...units)),
  fc.array(unit, { minLength: 60, maxLength: 200 }).map((units) => String.fromCharCode(...units)),
  fc.string({ maxLength: 12 }),
)
const anyNumber = fc.oneof(
  fc.double({ noNaN: true }),
  fc.integer(),
  fc.constantFrom(
    0,
    -0,
    1,
    -1,
    Infinity,
    -Infinity,
    Number.MAX_VALUE,
    -Number.MAX_VALUE,
    Number.MIN_VALUE,
    -Number.MIN_VALUE,
    2 ** -1022,
    -(2 ** -1022),
  ),
  fc.integer({ min: -4, max: 4 }).map((n) => 2 ** 53 + 2 * n),
  fc.integer({ min: -4, max: 4 }).map((n) => -(2 ** 53) + 2 * n),
)
const anyBigint = fc.oneof(
  fc.bigInt({ min: -(2n ** 80n), max: 2n ** 80n }),
  fc.bigInt({ min: -MAX, max: MAX }),
  fc.bigInt({ min: 2n ** 53n - 6n, max: 2n ** 53n + 6n }),
  fc.bigInt({ min: -(2n ** 53n) - 6n, max: -(2n ** 53n) + 6n }),
  // Around powers of two, where the distance between doubles changes.
  fc
    .tuple(fc.integer({ min: 52, max: 1023 }), fc.bigInt({ min: -3n, max: 3n }), fc.boolean())
    .map(([power, more, negative]) => {
      const n = (1n << BigInt(power)) + more
      return negative ? -n : n
    }),
)
const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 8 }),
  fc.array(fc.constantFrom(0, 1, 2, 254, 255), { maxLength: 6 }).map((list) => Uint8Array.from(list)),
)
const part: fc.Arbitrary<Part> = fc.oneof(text, anyNumber, anyBigint, fc.boolean(), fc.constant(null), bytes)
const array = fc.array(part, { minLength: 1, maxLength: 4 })
const key: fc.Arbitrary<Key> = fc.oneof({ weight: 3, arbitrary: part }, { weight: 2, arbitrary: array })

/** Pairs that are close to each other, since chance alone seldom makes them. */
const pair: fc.Arbitrary<[Key, Key]> = fc.oneof(
  fc.tuple(key, key),
  fc.tuple(part, part, fc.array(part, { maxLength: 2 })).map(([a, b, rest]): [Key, Key] => [
    [a, ...rest],
    [b, ...rest],
  ]),
  fc.tuple(array, array).map(([a, b]): [Key, Key] => [a, [...a, ...b]]),
  part.map((p): [Key, Key] => [p, [p]]),
  fc.tuple(text, unit).map(([t, u]): [Key, Key] => [t, t + String.fromCharCode(u)]),
  fc.tuple(bytes, fc.constantFrom(0, 1, 2, 255)).map(([b, more]): [Key, Key] => [b, Uint8Array.from([...b, more])]),
  fc
    .tuple(anyBigint, fc.bigInt({ min: -300n, max: 300n }))
    .filter(([n, d]) => n + d <= MAX && n + d >= -MAX)
    .map(([n, d]): [Key, Key] => [n, n + d]),
  fc.tuple(anyBigint, part).map(([n, p]): [Key, Key] => [Number(n), [n, p]]),
)

const reject = (value: unknown, message?: RegExp): void => {
  expectError(() => encodeKey(value as Key, buffer), 'ERR_MMAPDB_INVALID', message)
}

describe('keys', () => {
  it('come back as they were stored, whatever their kind', () => {
    fc.assert(
      fc.property(key, (k) => {
        expect(decode(encode(k))).to.deep.equal(canonical(k))
      }),
      runs(6000),
    )
  })

  it('are read back from between other bytes, as they lie in a slot', () => {
    fc.assert(
      fc.property(key, fc.uint8Array({ minLength: 1, maxLength: 12 }), (k, around) => {
        const bytes = Buffer.concat([around, encode(k), around])
        expect(decodeKey(bytes, around.length, bytes.length - around.length)).to.deep.equal(canonical(k))
      }),
      runs(2000),
    )
  })

  it('have bytes in the documented order, and no two of them the same bytes', () => {
    fc.assert(
      fc.property(pair, ([a, b]) => {
        expect(Math.sign(encode(a).compare(encode(b)))).to.equal(Math.sign(compareReference(a, b)))
      }),
      runs(12_000),
    )
  })

  it('keep numbers and bigints in one order where doubles grow sparse', () => {
    const near: (number | bigint)[] = []
    for (const base of [0n, 2n ** 53n, 2n ** 54n, 2n ** 60n, 2n ** 64n, 2n ** 100n, 2n ** 1023n]) {
      for (let d = -9n; d <= 9n; d++) for (const n of [base + d, -(base + d)]) near.push(n, Number(n))
    }
    near.push(MAX, -MAX, MAX - 1n, 1n - MAX, Infinity, -Infinity, 0.5, -0.5, Number.MIN_VALUE, -Number.MIN_VALUE)
    near.sort(compareParts)
    for (let i = 1; i < near.length; i++) {
      const order = encode(near[i - 1]!).compare(encode(near[i]!))
      expect(order, `${near[i - 1]} and ${near[i]}`).to.equal(compareParts(near[i - 1]!, near[i]!))
      expect(decode(encode(near[i]!))).to.equal(canonical(near[i]!))
    }
  })

  it('keep their kind: a bigint comes back as one, whether a double holds it or not', () => {
    for (const n of [
      0n,
      5n,
      -5n,
      2n ** 53n - 1n,
      2n ** 53n,
      2n ** 53n + 1n,
      2n ** 53n + 2n,
      2n ** 53n + 3n,
      -(2n ** 60n),
      MAX,
      -MAX,
    ]) {
      expect(decode(encode(n))).to.equal(n)
      expect(decode(encode([n, 'a', n]))).to.deep.equal([n, 'a', n])
      expect(encode(n).equals(encode(Number(n)))).to.equal(false)
    }
    const sorted: Key[] = [4, 4n, 4.5, 5, [5], [5, 'z'], 5n, [5n], 6]
    expect([...sorted].reverse().sort((a, b) => encode(a).compare(encode(b)))).to.deep.equal(sorted)
  })

  it('may be bytes of another realm or of a subclass, and are what these hold', () => {
    class Liar extends Uint8Array {
      override get length(): number {
        return 1
      }
      override *[Symbol.iterator](): ArrayIterator<number> {
        yield 9
      }
    }
    const foreign = runInNewContext('[new Uint8Array([1, 2]), [1, new Uint8Array([3])], "a", 5n]') as Key[]
    expect(foreign.map((k) => decode(encode(k)))).to.deep.equal([Uint8Array.of(1, 2), [1, Uint8Array.of(3)], 'a', 5n])
    expect(decode(encode(new Liar([7, 8, 9])))).to.deep.equal(Uint8Array.of(7, 8, 9))
    expect(decode(encode(Buffer.from([1])))).to.deep.equal(Uint8Array.of(1))
    expect(decode(encode(Uint8Array.of()))).to.deep.equal(Uint8Array.of())
    const gone = new Uint8Array(2)
    structuredClone(gone.buffer, { transfer: [gone.buffer] })
    for (const wrong of [
      gone,
      new String('a'),
      new Number(1),
      Object(1n),
      new DataView(new ArrayBuffer(1)),
      new Int8Array(1),
    ])
      reject(wrong)
  })

  it('make no difference between -0 and 0', () => {
    expect(encode(-0).equals(encode(0))).to.equal(true)
    expect(Object.is(decode(encode(-0)), 0)).to.equal(true)
  })

  it('do not alias the bytes they were read from', () => {
    const bytes = encode(Uint8Array.of(2, 3, 4))
    const read = decode(bytes) as Uint8Array
    bytes.fill(0)
    expect([...read]).to.deep.equal([2, 3, 4])
  })

  const startsWith = (k: Key, prefix: Key): boolean => {
    const parts = Array.isArray(k) ? (k as Part[]) : [k as Part]
    if (Array.isArray(prefix)) {
      const p = prefix as Part[]
      return Array.isArray(k) && p.length <= parts.length && p.every((x, i) => compareParts(x, parts[i]!) === 0)
    }
    // A prefix of a scalar also covers arrays whose first element begins with it: they sort in between.
    const first = parts[0]!
    if (rank(first) !== rank(prefix as Part)) return false
    const [list, start] =
      typeof prefix === 'string'
        ? [codePoints(first as string), codePoints(prefix)]
        : [[...(first as Uint8Array)], [...(prefix as Uint8Array)]]
    return start.every((x, i) => list[i] === x)
  }
  const within = (k: Key, prefix: Key): boolean => {
    const { from, to } = prefixBounds(prefix)
    const bytes = encode(k)
    return bytes.compare(from) >= 0 && bytes.compare(to) < 0
  }

  it('are covered by the bounds of their prefixes and by no others', () => {
    const prefixed: fc.Arbitrary<[Key, Key]> = fc.oneof(
      fc.tuple(key, fc.oneof(text, bytes, array)),
      fc.tuple(array, fc.nat(3)).map(([a, n]): [Key, Key] => [a, a.slice(0, Math.max(1, Math.min(n, a.length)))]),
      fc.tuple(array, array).map(([a, b]): [Key, Key] => [[...a, ...b], a]),
      fc.tuple(text, text).map(([a, b]): [Key, Key] => [a + b, a]),
      fc.tuple(bytes, bytes).map(([a, b]): [Key, Key] => [Uint8Array.from([...a, ...b]), a]),
      fc.tuple(text, part).map(([a, b]): [Key, Key] => [[a, b], a]),
    )
    fc.assert(
      fc.property(prefixed, ([k, prefix]) => {
        expect(within(k, prefix)).to.equal(startsWith(k, prefix))
      }),
      runs(12_000),
    )
  })

  it('are covered by a prefix whose bytes are all 255, which has no successor', () => {
    for (const k of [[], [255], [255, 255], [255, 255, 255], [255, 255, 255, 255, 255], [255, 255, 254]]) {
      for (let n = 0; n <= k.length; n++) {
        expect(
          within(Uint8Array.from(k), Uint8Array.from(k.slice(0, n))),
          `${k} begins with ${k.slice(0, n)}`,
        ).to.equal(true)
      }
    }
    expect(within(Uint8Array.of(254, 255, 255), Uint8Array.of(255))).to.equal(false)
    expect(within(new Uint8Array(1000).fill(255), Uint8Array.of(255, 255))).to.equal(true)
  })

  it('are refused if they have no place in the order', () => {
    reject(Number.NaN, /NaN/)
    reject([1, Number.NaN], /NaN/)
    for (const wrong of [
      undefined,
      {},
      { a: 1 },
      () => 1,
      Symbol('x'),
      new Date(),
      new Map(),
      new Uint16Array(2),
      new ArrayBuffer(4),
    ]) {
      reject(wrong)
      reject(['a', wrong])
    }
    reject([], /empty array/)
    reject([[1]], /array/)
    reject(['a', ['b']], /array/)
    reject(MAX + 1n, /range of a double/)
    reject(-MAX - 1n, /range of a double/)
    reject([2n ** 5000n], /range of a double/)
    reject(new Array(3))
  })

  it('are refused beyond 1024 bytes, and taken up to there', () => {
    const limit = 1024
    expect(encode('x'.repeat(limit)).length).to.equal(limit)
    reject('x'.repeat(limit + 1), /1024/)
    expect(encode('ä'.repeat(limit / 2)).length).to.equal(limit)
    reject('ä'.repeat(limit / 2) + 'x', /1024/)
    expect(encode(new Uint8Array(limit - 1).fill(7)).length).to.equal(limit)
    reject(new Uint8Array(limit).fill(7), /1024/)
    reject(new Uint8Array(limit - 1), /1024/)
    reject('\u0000'.repeat(limit), /1024/)
    reject('\u0001'.repeat(limit - 1), /1024/)
    reject('\ud83d\ude00'.repeat(limit), /1024/)
    reject('x'.repeat(1_000_000), /1024/)
    reject(new Uint8Array(1_000_000), /1024/)
    reject(new Array(2000).fill(null), /1024/)
    reject(new Array(200).fill(1.5), /1024/)
    reject(['x'.repeat(1000), 'y'.repeat(1000)], /1024/)
    reject(new Array(8).fill(MAX - 1n), /1024/)
    expect(encode(new Array(512).fill(null)).length).to.equal(1023)
    reject(new Array(513).fill(null), /1024/)
    expect(encode(['x'.repeat(limit - 1)]).length).to.equal(limit)
    reject(['x'.repeat(limit)], /1024/)
  })

  it('that are damaged are read as some key or refused, never a crash', () => {
    fc.assert(
      fc.property(
        key,
        fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 3 }),
        fc.nat(),
        (k, damage, cut) => {
          const bytes = encode(k)
          for (const [at, byte] of damage) bytes[at % bytes.length] = byte
          const end = Math.max(1, bytes.length - (cut % 4))
          try {
            decodeKey(bytes, 0, end)
          } catch (error) {
            expect((error as { code?: string }).code).to.equal('ERR_MMAPDB_INVALID')
          }
        },
      ),
      runs(6000),
    )
  })

  it('that nothing can begin with are refused as a prefix', () => {
    for (const prefix of [1, 1n, null, true]) expectError(() => prefixBounds(prefix), 'ERR_MMAPDB_INVALID')
  })
})
