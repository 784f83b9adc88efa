import { expect } from 'chai'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { runInNewContext } from 'node:vm'
import { InvalidError } from '../../src/errors.js'
import { valueCodec, VALUE_ENCODINGS, type ValueEncoding } from '../../src/encoding/values/codec.js'
import { isSame } from '../../crash-tests/fuzz/any-value.js'
import { checkDatabase, checkRoundTrips } from '../../crash-tests/fuzz/round-trips.js'

function through(value: unknown, encoding: ValueEncoding = 'msgpack'): unknown {
  const codec = valueCodec(encoding)
  const bytes = Buffer.from(codec.encode(value))
  return codec.decode(bytes, 0, bytes.length)
}

function refusal(value: unknown, encoding: ValueEncoding = 'msgpack'): string {
  try {
    valueCodec(encoding).encode(value)
  } catch (error) {
    expect(error).to.be.instanceOf(InvalidError)
    return (error as Error).message
  }
  throw new Error('it was taken')
}

function nested(levels: number): unknown {
  let value: unknown = {}
  for (let i = 1; i < levels; i++) value = i % 2 ? [value] : { in: value }
  return value
}

/** By version 2.1.3, with moreTypes. */
const WRITTEN_BY_MSGPACKR =
  '3gAKoW6cAH/MyM4AARFwy0HyoF8gAAAA/9Cc0v//Y8DLweZaC8AAAADLP/gAAAAAAADLf/gAAAAAAADLf/AAAAAAAAChYpXT' +
  'AAAAAAAAAAXT//////////vPgAAAAAAAAADYQgAAABAAAAAAAAAAAAAAAADYQv////AAAAAAAAAAAAAAAAChc5agoWGiw6mk' +
  '8J+YgNkoeHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eNlQw6nDqcOpw6nDqcOpw6nDqcOpw6nDqcOp' +
  'w6nDqcOpw6nDqcOpw6nDqcOpw6nDqcOpw6nDqcOpw6nDqcOpw6nDqcOpw6nDqcOpw6nDqcOpw6mhdZPUAADAw6Fkltb/AAAA' +
  'ANf/dzWUAAAAAAHX/wA9CQBlU/EAxwz/AAAAAP/////////71P//xwz/AAAAAAAAB9uoIYAAo3NldNRzAJIBoWGhctR4AJKl' +
  'YVsvXWKiZ2mhZZLUZQCTqVR5cGVFcnJvcqF41AAA1GUAk6NPd26jb3du1AAAoXSWxwJ0AAHHAnQBAscJdAgAAAAAAAD4P8cJ' +
  'dAkDAAAAAAAAAMcCdBAJxwN0EQAAo2J1ZsQCaGk='

describe('values', function () {
  this.timeout(60_000)

  it('of every kind come back as they were put, or are refused', () => {
    checkRoundTrips(4000, (Math.random() * 2 ** 31) | 0)
  })

  it('are equal only if kind, order, holes and signs are', () => {
    const pairs: [unknown, unknown][] = [
      [0, -0],
      [{}, Object.create(null)],
      [[undefined], new Array(1)],
      [new Map([[1, 2]]), new Map([['1', 2]])],
      ['\ud800', '\ufffd'],
      [new Uint8Array(2), Buffer.alloc(2)],
      [
        { a: 1, b: 2 },
        { b: 2, a: 1 },
      ],
      [{ a: undefined }, {}],
      [new Date(NaN), new Date(0)],
      [1n, 1],
      [new Error('a'), new TypeError('a')],
      [/a/g, /a/],
      [new Set([1]), new Set([2])],
      [new Float64Array([-0]), new Float64Array([0])],
      [JSON.parse('{"__proto__":1}'), {}],
      [{ at: 1 }, runInNewContext('({ at: 1 })')],
    ]
    for (const [put, got] of pairs) expect(isSame(put, got), `${String(put)}`).to.equal(false)
  })

  it('that are refused say where', () => {
    const places: [unknown, ValueEncoding, RegExp][] = [
      [{ items: [1, 2, 3, { onClick: () => 1 }] }, 'msgpack', /value\.items\[3\]\.onClick is a function/],
      [new Map([['a', { b: Symbol('x') }]]), 'msgpack', /value\.get\("a"\)\.b is a symbol/],
      [new Map([[Symbol('x'), 1]]), 'msgpack', /value\.keys\(\) no\. 0 is a symbol/],
      [new Set([1, new WeakMap()]), 'msgpack', /value\.values\(\) no\. 1 is a WeakMap/],
      [{ 'a b': { ['x'.repeat(100)]: new Number(5) } }, 'msgpack', /value\["a b"\]\["x{40}…"\] is a boxed primitive/],
      [[Promise.resolve()], 'msgpack', /value\[0\] is a Promise/],
      [{ cache: new (class Registry extends Map {})() }, 'msgpack', /value\.cache is an instance of Registry/],
      [new Error('x', { cause: { f: () => 1 } }), 'msgpack', /value\.cause\.f is a function/],
      [{ a: { when: new Date(0) } }, 'json', /value\.a\.when is a Date.*toISOString/],
      [{ a: [undefined] }, 'json', /value\.a\[0\] is undefined/],
      [{ a: undefined }, 'json', /value\.a is undefined/],
      [[1, , 3], 'json', /value\[1\] is a hole/], // eslint-disable-line no-sparse-arrays
      [{ n: [NaN] }, 'json', /value\.n\[0\] is NaN/],
      [{ n: 10n }, 'json', /value\.n is a bigint/],
      ['abc\ud800d', 'utf8', /at index 3 /],
      ['😀\ude00', 'utf8', /at index 2 /],
      [
        [new Proxy([], { get: (array, name) => (name === 'length' ? 1.5 : Reflect.get(array, name)) as unknown })],
        'msgpack',
        /value\[0\] is an array whose length/,
      ],
      [Object.assign(new ArrayBuffer(2), { a: 1 }), 'msgpack', /field of its own \("a"\)/],
      [Object.assign(new DataView(new ArrayBuffer(2)), { a: 1 }), 'msgpack', /field of its own \("a"\)/],
      [
        { a: Object.setPrototypeOf(new Map([[1, 2]]), Object.prototype) as unknown },
        'msgpack',
        /value\.a is an object/,
      ],
      [Object.setPrototypeOf(new Set([1]), null), 'msgpack', /value is an object without/],
      [[Object.setPrototypeOf(Promise.resolve(), Object.prototype)], 'json', /value\[0\] is an object/],
      [
        {
          get a() {
            throw Object.create(null)
          },
        },
        'msgpack',
        /reading value\.a failed: an object/,
      ],
      [new ArrayBuffer(2), 'binary', /new Uint8Array\(it\)/],
      [new Uint16Array(2), 'binary', /it\.buffer/],
      [new String('x'), 'utf8', /boxed/],
      [Buffer.alloc(2), 'utf8', /not an instance of Buffer\. Bytes need valueEncoding "binary"/],
      [new Uint8Array(2), 'utf8', /not a Uint8Array\. Bytes need/],
      [{ a: 1 }, 'utf8', /not an object\. Other data needs valueEncoding "msgpack" or "json"\.$/],
      ['text', 'binary', /not a string\. Store Buffer\.from\(it\)\.$/],
      [{ m: new Map() }, 'json', /value\.m is a Map\. JSON cannot hold it: store Array\.from\(it\)/],
      [Buffer.alloc(2), 'json', /base64/],
      [new (class Registry extends Map {})(), 'json', /Registry\. Store plain data/],
    ]
    for (const [value, encoding, message] of places) expect(refusal(value, encoding)).to.match(message)
  })

  it('that contain themselves, or are nested too deep, are refused and no more', () => {
    const ring: Record<string, unknown> = { a: [1] }
    ;(ring['a'] as unknown[]).push({ back: ring })
    const pair: Record<string, unknown> = {}
    pair['x'] = pair['y'] = { pair }
    const set = new Set<unknown>()
    set.add([set])
    for (const encoding of ['msgpack', 'json'] as const) {
      expect(refusal(ring, encoding)).to.match(/value(\.a|\.a\[1\])? contains itself/)
      expect(refusal({ deep: [ring] }, encoding)).to.match(/value\.deep\[0\](\.a|\.a\[1\])? contains itself/)
      expect(refusal(pair, encoding)).to.match(/contains itself/)
      expect(refusal(nested(1001), encoding)).to.match(/more than 1000 levels deep/)
      expect(refusal(nested(100_000), encoding)).to.match(/more than 1000 levels deep/)
      // No stricter than it says.
      let depth = 0
      for (let at: unknown = through(nested(1000), encoding); typeof at === 'object'; depth++)
        at = Array.isArray(at) ? at[0] : (at as { in: unknown }).in
      expect(depth).to.equal(1000)
    }
    expect(refusal(set)).to.match(/contains itself/)
    const shared = [1]
    expect(through({ a: shared, b: shared })).to.deep.equal({ a: [1], b: [1] })
  })

  it('may have more fields, elements and digits than 16 bits count', () => {
    const index = Object.fromEntries(Array.from({ length: 70_000 }, (_, i) => [`word${i}`, i]))
    for (const value of [
      index,
      Array.from({ length: 70_000 }, (_, i) => i),
      new Map(Object.entries(index)),
      new Set(Object.keys(index)),
      1n << 70_000n,
      -(1n << 9000n),
    ]) {
      expect(isSame(value, through(value))).to.equal(true)
    }
    expect(isSame(index, through(index, 'json'))).to.equal(true)
    const sparse: number[] = []
    sparse[4_000_000_000] = 1
    expect(isSame(sparse, through(sparse))).to.equal(true)
  })

  for (const encoding of VALUE_ENCODINGS) {
    it(`of every kind come back out of a database: ${encoding}`, async () => {
      const directory = mkdtempSync(join(tmpdir(), 'mmapdb-values-'))
      try {
        await checkDatabase(join(directory, 'db'), encoding, 150, (Math.random() * 2 ** 31) | 0)
      } finally {
        rmSync(directory, { recursive: true, force: true })
      }
    })
  }

  it('that msgpackr 2 wrote are read', () => {
    const codec = valueCodec('msgpack')
    const own = Object.defineProperty(new Error('own'), 'name', { value: 'Own' })
    const expected = {
      n: [0, 127, 200, 70000, 5e9, -1, -100, -40000, -3e9, 1.5, NaN, Infinity],
      b: [5n, -5n, 2n ** 63n, 2n ** 100n, -(2n ** 100n)],
      s: ['', 'a', 'é', '😀', 'x'.repeat(40), 'é'.repeat(40)],
      u: [undefined, null, true],
      d: [0, 1500, 1.7e12 + 1, -5000, NaN, 8.64e15].map((ms) => new Date(ms)),
      set: new Set([1, 'a']),
      r: /a[/]b/gi,
      e: [],
      t: [
        new Int8Array([1]),
        new Uint8Array([2]),
        new Float64Array([1.5]),
        new BigInt64Array([3n]),
        Uint8Array.of(9).buffer,
        new DataView(new ArrayBuffer(2)),
      ],
      buf: Buffer.from('hi'),
    }
    const bytes = Buffer.from(WRITTEN_BY_MSGPACKR, 'base64')
    const { e: errors, ...got } = codec.decode(bytes, 0, bytes.length) as { e: Error[] }
    for (const [name, value] of Object.entries(got)) expect(isSame(expected[name as 'n'], value), name).to.equal(true)
    expect(errors.map((error) => [error instanceof TypeError, error.name, error.message])).to.deep.equal([
      [true, 'TypeError', 'x'],
      [false, own.name, own.message],
    ])
  })

  it('set no prototype and run nothing of what they hold', () => {
    for (const encoding of ['msgpack', 'json'] as const) {
      const got = through(
        JSON.parse('{"__proto__": {"polluted": true}, "constructor": {"prototype": {"polluted": true}}}'),
        encoding,
      ) as object
      expect(Object.keys(got)).to.deep.equal(['__proto__', 'constructor'])
      expect(Object.getPrototypeOf(got)).to.equal(Object.prototype)
      expect(({} as { polluted?: boolean }).polluted).to.equal(undefined)
    }
  })

  it('are what their class says with toJSON, also where that is of a parent', () => {
    class Money {
      constructor(readonly cents: number) {}
      toJSON(name: string): unknown {
        return { [name]: this.cents }
      }
    }
    class Euro extends Money {}
    class Bag extends Map<string, number> {
      toJSON(): unknown {
        return Object.fromEntries(this)
      }
    }
    for (const encoding of ['msgpack', 'json'] as const) {
      expect(through({ price: new Euro(5), list: [new Money(1)] }, encoding)).to.deep.equal({
        price: { price: 5 },
        list: [{ 0: 1 }],
      })
      expect(through(new Bag([['a', 1]]), encoding)).to.deep.equal({ a: 1 })
      expect(through({ a: 1, toJSON: () => [1] }, encoding)).to.deep.equal([1])
      expect(refusal({ toJSON: () => undefined }, encoding)).to.match(/undefined/)
      expect(refusal([new URL('http://a/')], encoding)).to.match(/value\[0\] is (a URL|an instance of URL)/)
      const thrown = new Error('no')
      try {
        valueCodec(encoding).encode({
          a: {
            get b() {
              throw thrown
            },
          },
        })
        expect.fail('it was taken')
      } catch (error) {
        expect((error as Error).message).to.match(/reading value\.a\.b failed: no/)
        expect((error as Error).cause).to.equal(thrown)
      }
    }
  })

  it('whose toJSON makes keys of a Map or elements of a Set the same are refused, and those that stay apart are not', () => {
    class As {
      constructor(readonly it: unknown) {}
      toJSON(): unknown {
        return this.it
      }
    }
    const pairs: [unknown, unknown][] = [
      [1, 1],
      ['a', 'a'],
      [0, -0],
      [NaN, NaN],
      [null, null],
      [undefined, undefined],
      [5n, 5n],
      ['\ud800', '\ud800'],
      [2 ** 60, 2 ** 60],
    ]
    for (const [one, other] of pairs) {
      for (const [a, b] of [
        [new As(one), new As(other)],
        [new As(one), Object.is(other, -0) ? 0 : other],
        [Object.is(one, -0) ? 0 : one, new As(other)],
      ]) {
        expect(
          refusal(
            {
              in: new Map([
                [a, 1],
                [b, 2],
              ]),
            },
            'msgpack',
          ),
        ).to.match(/value\.in is a Map of which a toJSON makes two keys the same/)
        expect(refusal([new Set([3, a, b])], 'msgpack')).to.match(
          /value\[0\] is a Set of which a toJSON makes two elements the same/,
        )
      }
    }
    expect(
      through(
        new Map([
          [new As(1), new As(3)],
          [new As(2), new As(3)],
        ]),
        'msgpack',
      ),
    ).to.deep.equal(
      new Map([
        [1, 3],
        [2, 3],
      ]),
    )
    expect(
      through(new Set([new As('1'), 1, new As(1n), new As([1]), new As([1]), { a: new As(1) }]), 'msgpack'),
    ).to.deep.equal(new Set(['1', 1, 1n, [1], [1], { a: 1 }]))
  })

  it('are read once, and may be stored while others are written', () => {
    for (const encoding of ['msgpack', 'json'] as const) {
      const codec = valueCodec(encoding)
      let reads = 0
      const inner = (): unknown => {
        reads++
        expect(() => codec.encode({ bad: () => 1 })).to.throw(InvalidError)
        const bytes = Buffer.from(codec.encode({ other: 'x'.repeat(5000) }))
        return (codec.decode(bytes, 0, bytes.length) as { other: string }).other.length
      }
      const kept = codec.encode('kept')
      const bytes = codec.encode({
        first: 'a'.repeat(300),
        get second() {
          return inner()
        },
        third: [{ toJSON: inner }],
        fourth: 'z',
      })
      codec.encode('what comes later')
      expect(codec.decode(Buffer.from(bytes), 0, bytes.length)).to.deep.equal({
        first: 'a'.repeat(300),
        second: 5000,
        third: [5000],
        fourth: 'z',
      })
      expect(codec.decode(Buffer.from(kept), 0, kept.length)).to.equal('kept')
      expect(reads).to.equal(2)
    }
  })

  it('that were refused leave no trace', () => {
    for (const encoding of VALUE_ENCODINGS) {
      const codec = valueCodec(encoding)
      const good = encoding === 'binary' ? Buffer.from('good') : 'good'
      refusal({ a: 'x'.repeat(100_000), b: () => 1 }, encoding)
      for (let i = 0; i < 3; i++)
        expect(() => codec.encode({ a: 'x'.repeat(100_000), b: () => 1 })).to.throw(InvalidError)
      const bytes = codec.encode(good)
      expect(codec.decode(Buffer.from(bytes), 0, bytes.length)).to.deep.equal(good)
    }
  })

  it('that are damaged are read as some value or refused, and allocate no more than they are long', () => {
    const codec = valueCodec('msgpack')
    const bodies = [
      [0xdd, 0xff, 0xff, 0xff, 0xff],
      [0xdf, 0xff, 0xff, 0xff, 0xff],
      [0xc6, 0xff, 0xff, 0xff, 0xff],
      [0xdb, 0x7f, 0xff, 0xff, 0xff],
      [0xc9, 0xff, 0xff, 0xff, 0xff, 0x74],
      [0xd4, 0x4d, 0, 0xdf, 0x40, 0, 0, 0],
      [0xc1],
      [],
      [0xd4, 0x72, 0x40, 0x91, 0xa1, 0x61, 1],
      Array<number>(5000).fill(0x91),
      Array<number>(5000).fill(0x81),
      [0xc7, 0, 0x42],
      [0xd4, 0x78, 0, 0x92, 0xa1, 0x28, 0xa0],
      [0xa2, 0xc3, 0x28],
      [0xd4, 0x45, 0, 0x93, 0xa5, 0x45, 0x72, 0x72, 0x6f, 0x72, 0x80, 0xc0],
      [0xd4, 0x73, 0, 0x92, 1, 1],
      [0xd4, 0x48, 0, 0x93, 1, 5, 1],
      [0xd7, 0x74, 11, 0, 0, 0, 0, 0, 0, 0],
      [0x92, 1],
      [1, 1],
      [0x81, 1, 1],
    ]
    for (const body of bodies) {
      const bytes = Buffer.from(body)
      expect(() => codec.decode(bytes, 0, bytes.length), String(body.slice(0, 9)))
        .to.throw()
        .with.property('code', 'ERR_MMAPDB_ENCODING')
    }
    // A hole is two bytes; an array of 4 thousand million of them is not set aside.
    const sparse = Buffer.from([0xd4, 0x48, 0, 0x91, 0xce, 0xff, 0xff, 0xff, 0xfe])
    expect((codec.decode(sparse, 0, sparse.length) as unknown[]).length).to.equal(2 ** 32 - 2)
  })
})
