// Keys and values as text: printed text can be given back as input, and nothing in it steers a terminal.
import { expect } from 'chai'
import type { Key } from '../../src/encoding/keys.js'
import { InvalidError } from '../../src/errors.js'
import {
  jsonText,
  parseKey,
  parseValue,
  plain,
  plainKey,
  showKey,
  shownText,
  toJson,
} from '../../src/encoding/notation.js'
import { fails, ok, removeScratch, scratchDb } from '../support/cli.js'

/** The key that a user would give back after seeing this text. */
const givenBack = (text: string): Key =>
  parseKey(text, /^["[{]|^-?\d+(\.\d+)?([eE][+-]?\d+)?$|^(true|false|null)$/.test(text))

describe('notation of keys and values', () => {
  afterEach(removeScratch)

  it('tells every key apart, and takes it back as it was printed', () => {
    const keys: Key[] = [
      'user:1',
      '2026-11-25',
      '17',
      17,
      '-0.5',
      -0.5,
      '1e5',
      1e5,
      'true',
      true,
      'null',
      null,
      '',
      ' a',
      'a ',
      'a b',
      '"a"',
      '[1]',
      [1],
      ['a', 1n, true],
      '{"bigint":"5"}',
      12345678901234567890n,
      5n,
      5,
      2 ** 53,
      -(2 ** 60),
      1e21,
      1e300,
      2n ** 53n,
      Buffer.from([0, 200]),
      [Buffer.from([1])],
      '0x11',
      '日本',
      '\u001b[2J',
      'a\nb',
      '\u009b',
      '\u202eabc',
      '\u007f',
      'NaN',
      '-',
      Infinity,
      -Infinity,
      'Infinity',
      ['a', Infinity, -Infinity],
      '{"number":"Infinity"}',
      '\ud800',
      ['a\udc00'],
    ]
    const texts = keys.map((key) => showKey(key))
    expect(new Set(texts).size).to.equal(keys.length)
    texts.forEach((text, i) => {
      expect(text, 'printable').to.match(/^[^\p{Cc}\u202e]+$/u)
      expect(givenBack(text), text).to.deep.equal(keys[i])
      expect(parseKey(jsonText(plainKey(keys[i])), true)).to.deep.equal(keys[i])
    })
    expect(texts.slice(0, 4)).to.deep.equal(['user:1', '2026-11-25', '"17"', '17'])
  })

  it('takes every value back as it was printed', () => {
    const values = [
      null,
      true,
      -0,
      0,
      2 ** 53,
      { a: [-(2 ** 60), '1234567890123456', 1e21] },
      Number.NaN,
      Infinity,
      '\u001b',
      'x',
      5n,
      Buffer.from([1]),
      [5n, Buffer.from([2]), -0, undefined, new Date(0)],
      { bigint: '5' },
      { base64: 'AAA=' },
      { a: { bigint: '5', b: 5n } },
      { a: { base64: 'AAA=' } },
      { $bigint: '5' },
      { $object: { $x: 1 } },
      { $any: null },
      { base64: 'no!' },
      new Map<unknown, unknown>([
        [1, new Set(['a', 2n])],
        [{ $a: 1 }, new Map()],
      ]),
      { d: new Date(Number.NaN) },
      new Float64Array([1.5, -0]),
      { u: new BigInt64Array([5n]) },
      new Uint8Array([1, 2, 3]).buffer,
      { view: new DataView(new Uint8Array([1, 2]).buffer), none: new ArrayBuffer(0) },
      [/a\/b/gi, { $regexp: ['(', ''] }, { $regexp: [{ $bigint: '5' }] }],
      [1, , 3, , { at: [, new Date(5)] }], // eslint-disable-line no-sparse-arrays
      new Array(5),
      Object.assign(/x/g, { lastIndex: 3 }),
      { $holes: [-1, []] },
      { $holes: [2, [[2, 0]]] },
      { number: 'Infinity' },
      JSON.parse('{"__proto__":{"a":1}}') as unknown,
    ]
    for (const value of values) {
      const text = toJson(value)
      expect(text).to.match(/^[^\p{Cc}]+$/u)
      expect(parseValue(text, true), text).to.deep.equal(value)
      expect(JSON.parse(text)).to.deep.equal(
        plain(value) === undefined ? null : JSON.parse(JSON.stringify(plain(value))),
      )
    }
    // Values that JSON has a notation for stay as they are, whatever their fields are called.
    for (const text of [
      '{"date":"2026-01-01","map":[],"number":"NaN"}',
      '{"a":{"base64":"AAA="}}',
      '[{"bigint":"5"}]',
    ]) {
      expect(parseValue(text, true)).to.deep.equal(JSON.parse(text))
      expect(toJson(JSON.parse(text))).to.equal(text)
    }
  })

  it('shows text with its lines and without what steers the terminal', () => {
    expect(shownText('a\tb\nc\u001b[31m\r\u009b\u202e')).to.equal('a\tb\nc\\u001b[31m\\u000d\\u009b\\u202e')
  })

  it('refuses numbers that would be rounded, and says what to look for instead of an absent key', async () => {
    const db = scratchDb()
    await fails(
      2,
      /The value cannot be kept: 9007199254740993 in "a\[0\]" is too large.*\{"\$bigint":"9007199254740993"\}/,
      'put',
      'k',
      '{"a":[9007199254740993]}',
      '--json-value',
      '--db',
      db,
    )
    await ok(db, 'put', 'k', '{"a":[{"$bigint":"9007199254740993"}]}', '--json-value')
    expect(await ok(db, 'get', 'k')).to.equal('{"a":[{"$bigint":"9007199254740993"}]}\n')
    await ok(db, 'put', '[9007199254740993]', 'x', '--json-key')
    expect(await ok(db, 'scan', '--keys')).to.equal('[{"bigint":"9007199254740993"}]\nk\n')
    await fails(
      1,
      /There is no key "17"\. This is a string; for a key that is not a string give --json-key\./,
      'get',
      '17',
      '--db',
      db,
    )
    expect(await ok(db, 'get', '--json-key', '[{"bigint":"9007199254740993"}]')).to.equal('x\n')
  })

  it('refuses a value that is nested deeper than any database takes, in words and not by running out of stack', () => {
    expect(() => parseValue('['.repeat(60_000) + ']'.repeat(60_000), true)).to.throw(InvalidError, /levels deep/)
  })
})
