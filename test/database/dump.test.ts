// Dumps: every key and every value comes back as it was, in every encoding; what was cut short or changed is noticed.
// If one of these failed, a dump would not be worth keeping.
import { execFileSync } from 'node:child_process'
import { lstatSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'chai'
import fc from 'fast-check'
import { dump, load, MmapdbError, open, type Database, type Key, type ValueEncoding } from '../../src/index.js'
import { DumpReader, DumpWriter } from '../../src/encoding/dump-lines.js'
import { VALUE_ENCODINGS } from '../../src/encoding/values/codec.js'
import { anyValue, isCarried, isSame } from '../../crash-tests/fuzz/any-value.js'
import { openEngine, cleanUp, runs, scratchPath, TINY } from '../support/engine.js'
import { mmapdb, ok, real, removeScratch, scratch, scratchDb } from '../support/cli.js'

const KEYS: Key[] = [
  'plain',
  '',
  ' spaces ',
  '{"json":1}',
  '5',
  'null',
  '\u0000\u0001\u2028',
  '\ud800 half',
  'ä😀',
  5,
  -5.5,
  0,
  1e300,
  2 ** 60,
  Number.MIN_VALUE,
  Infinity,
  -Infinity,
  5n,
  -(2n ** 200n),
  true,
  false,
  null,
  Buffer.from([0, 255, 1]),
  Buffer.alloc(0),
  ['array', 1, 5n, null, true, Buffer.from([7]), -Infinity],
  [null],
  [''],
]

const VALUES: Record<ValueEncoding, unknown[]> = {
  msgpack: [
    null,
    0,
    -0,
    Number.NaN,
    Infinity,
    2 ** 60,
    5n,
    -(2n ** 90n),
    'text',
    '\ud800 half',
    new Date(5.5),
    new Date(Number.NaN),
    new Map<unknown, unknown>([
      [{ a: 1 }, undefined],
      [Number.NaN, [5n]],
    ]),
    new Set([1, '1', 1n]),
    { a: undefined, b: [undefined, , 3], $date: 'x', __proto__: null }, // eslint-disable-line no-sparse-arrays
    { $base64: 'AAAA' },
    { base64: 'AAAA' },
    { $object: { $object: 1 } },
    JSON.parse('{"__proto__":{"x":1}}'),
    new Float64Array([1, -0, Number.NaN]),
    new BigInt64Array([5n]),
    new DataView(new ArrayBuffer(5)),
    new ArrayBuffer(3),
    Buffer.from('bytes'),
    /a\/b/giu,
    new TypeError('kept', { cause: 5 }),
    [[[]], {}, ''],
    Object.assign(Object.create(null) as object, { a: 1 }),
  ],
  json: [
    null,
    0,
    -5.5e-7,
    'text',
    '\u2028',
    { $date: 'x', a: [1, { base64: 'AAAA' }] },
    [],
    { $object: { a: 1 } },
    2 ** 60,
  ],
  utf8: ['', 'text', 'ä😀\u0000', '{"base64":"AAAA"}'],
  binary: [Buffer.alloc(0), Buffer.from([0, 1, 255]), Buffer.alloc(5000, 7)],
}

const linesOf = async (db: Database): Promise<string[]> => {
  const lines: string[] = []
  for await (const line of dump(db)) lines.push(line)
  return lines
}

/** Every key and value as bytes. */
function bytesOf(path: string): string[] {
  const engine = openEngine(path, { ...TINY, valueEncoding: undefined })
  const found: string[] = []
  for (const { key, value } of engine.range(undefined, 'encoded entries') as Iterable<{ key: Buffer; value: Buffer }>)
    found.push(`${key.toString('hex')} ${value.toString('hex')}`)
  engine.close()
  return found
}

async function code(promise: Promise<unknown>): Promise<string> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  return error instanceof MmapdbError ? `${error.code} ${error.message}` : String(error)
}

describe('a dump', function () {
  this.timeout(120_000)
  afterEach(() => {
    cleanUp()
    removeScratch()
  })

  for (const valueEncoding of VALUE_ENCODINGS) {
    it(`gives back every key and value, byte by byte: ${valueEncoding}`, async () => {
      const path = scratchPath()
      const db = await open(path, { workers: 0, valueEncoding })
      const values = VALUES[valueEncoding]
      for (const [i, key] of KEYS.entries()) await db.put(key, values[i % values.length] as never)
      for (const [i, value] of values.entries()) await db.put(['value', i], value as never)
      const lines = await linesOf(db as Database)
      expect(lines).to.have.length(KEYS.length + values.length + 2)
      for (const line of lines) expect(line).to.not.match(/[\n\r]/)
      const copyPath = scratchPath()
      const copy = await open(copyPath, { workers: 0, valueEncoding })
      expect(await load(copy as Database, lines)).to.deep.equal({ entries: KEYS.length + values.length })
      await copy.close()
      await db.close()
      expect(bytesOf(copyPath)).to.deep.equal(bytesOf(path))
    })
  }

  it('has every named store, with the encoding of each, also one without entries', async () => {
    const from = await open(scratchPath(), { workers: 0 })
    const to = await open(scratchPath(), { workers: 0 })
    try {
      await from.put('a', new Date(5))
      await from.store('json', { valueEncoding: 'json' }).put(['k', 1], { n: 1 })
      await from.store('bytes', { valueEncoding: 'binary' }).put(null, Buffer.alloc(9, 7))
      from.store('empty', { valueEncoding: 'utf8' })
      const lines = []
      for await (const line of dump(from)) lines.push(line)
      expect(await load(to, lines)).to.deep.equal({ entries: 3 })
      expect(to.stores()).to.deep.equal(['bytes', 'empty', 'json'])
      expect([...to.range()]).to.deep.equal([['a', new Date(5)]])
      expect([...to.store('json', { valueEncoding: 'json' }).range()]).to.deep.equal([[['k', 1], { n: 1 }]])
      expect(to.store('bytes').get(null)).to.deep.equal(Buffer.alloc(9, 7))
      expect(to.store('empty').valueEncoding).to.equal('utf8')
      const again = []
      for await (const line of dump(to)) again.push(line)
      expect(again.slice(1, -1)).to.deep.equal(lines.slice(1, -1))
      using snapshot = from.snapshot()
      const ofOne = []
      for await (const line of dump(snapshot.store('json'))) ofOne.push(line)
      expect(ofOne.length).to.equal(3)
    } finally {
      await from.close()
      await to.close()
    }
  })

  it('keeps when entries expire, in every store, and has none that have', async () => {
    const from = await open(scratchPath(), { workers: 0 })
    const to = await open(scratchPath(), { workers: 0 })
    try {
      const later = Date.now() + 3_600_000
      const long = 'x'.repeat(13 * 1024 * 1024)
      await from.batch([
        { type: 'put', key: 'stays', value: 1 },
        { type: 'put', key: 'expires', value: 2, expiresAt: later },
        { type: 'put', key: 'long', value: long, expiresAt: later + 1 },
        { type: 'put', key: 'expired', value: 3, expiresAt: Date.now() - 1 },
      ])
      await from.store('sessions').put(['s', 1], { user: 1 }, { expiresAt: later + 2 })
      await load(to, dump(from))
      expect([...to.keys()]).to.deep.equal(['expires', 'long', 'stays'])
      const timeOf = (key: string): number | undefined => to.getEntry(key)!.expiresAt
      expect([timeOf('expires'), timeOf('long'), timeOf('stays')]).to.deep.equal([later, later + 1, undefined])
      expect(to.get('long')).to.equal(long)
      expect(to.store('sessions').getEntry(['s', 1])!.expiresAt).to.equal(later + 2)
    } finally {
      await from.close()
      await to.close()
    }
  })

  it('gives back values of any kind', () => {
    const value = anyValue(1).filter((one) => isCarried(one, 'msgpack'))
    fc.assert(
      fc.property(fc.array(value, { maxLength: 20 }), (values) => {
        const writer = new DumpWriter({ valueEncoding: 'msgpack', lsn: 1 })
        const lines = [writer.head()]
        for (const [i, one] of values.entries()) lines.push(...writer.entry(i, one))
        lines.push(writer.end())
        const reader = new DumpReader()
        let count = 0
        for (const line of lines) {
          const entry = reader.take(line)
          if (entry === undefined) continue
          expect(entry.key).to.equal(count)
          expect(isSame(values[count++], entry.value), line).to.equal(true)
        }
        expect(reader.finish()).to.equal(values.length).and.to.equal(count)
      }),
      runs(300),
    )
  })

  it('takes a value that is too long for a line apart', async () => {
    const db = await open(scratchPath(), { workers: 0, valueEncoding: 'binary' })
    const value = Buffer.alloc(30 * 1024 * 1024, 'some bytes')
    await db.put('long', value)
    await db.put('short', Buffer.from('x'))
    const lines = await linesOf(db as Database)
    expect(lines).to.have.length(2 + 1 + 3 + 1)
    const copy = await open(scratchPath(), { workers: 0, valueEncoding: 'binary' })
    await load(copy as Database, lines)
    expect(copy.get('long')!.equals(value)).to.equal(true)
    expect(copy.get('short')!.toString()).to.equal('x')
    const incomplete = [...lines.slice(0, 3), ...lines.slice(4)]
    expect(await code(load(copy as Database, incomplete))).to.match(/INVALID Line \d .*part|parts/)
    await copy.close()
    await db.close()
  })

  it('is of one moment, and can be made of a snapshot', async () => {
    const db = await open(scratchPath(), { workers: 0 })
    for (let i = 0; i < 5000; i++) db.putSync(i, 'before')
    const snapshot = db.snapshot()
    const lines = dump(db)
    await lines.next()
    for (let i = 0; i < 5000; i++) db.putSync(i, 'after')
    let count = 0
    for await (const line of lines) if (line.includes('before')) count++
    expect(count).to.equal(5000)
    count = 0
    for await (const line of dump(snapshot)) if (line.includes('before')) count++
    expect(count).to.equal(5000)
    expect(snapshot.get(1), 'which is not closed').to.equal('before')
    snapshot.close()
    expect(db.stats().readers.pinned).to.be.at.most(1)
    const stop = new AbortController()
    const ended = dump(db, { signal: stop.signal })
    await ended.next()
    stop.abort(new Error('enough'))
    expect(
      await code(
        (async () => {
          for await (const line of ended) void line
        })(),
      ),
    ).to.match(/enough/)
    await db.close()
  })

  it('that was cut short or changed is noticed', async () => {
    const db = await open(scratchPath(), { workers: 0 })
    for (let i = 0; i < 50; i++) await db.put(`key ${i}`, { i })
    const lines = await linesOf(db)
    const changed = (at: number, change: (line: string) => string): string[] =>
      lines.map((line, i) => (i === at ? change(line) : line))
    const cases: [RegExp, string[]][] = [
      [/CORRUPT .*cut short/, lines.slice(0, -1)],
      [/CORRUPT .*cut short/, lines.slice(0, 1)],
      [/CORRUPT .*cut short/, []],
      [/CORRUPT .*damaged/, [...lines.slice(0, 10), ...lines.slice(11)]],
      [/CORRUPT .*damaged/, changed(5, (line) => line.replace('"i":', '"j":'))],
      [/INVALID Line 6 .*not JSON/, changed(5, (line) => line.slice(1))],
      [/INVALID Line 6 .*not an object/, changed(5, () => '[1]')],
      [/INVALID Line 6 .*keyBase64/, changed(5, () => '{"value":1}')],
      [/INVALID Line 6 .*valueBase64/, changed(5, () => '{"key":1}')],
      [/INVALID Line 6 .*base64/, changed(5, () => '{"key":1,"valueBase64":"%"}')],
      [/INVALID Line 6/, changed(5, () => '{"key":{},"value":1}')],
      [/INVALID Line 6/, changed(5, () => '{"keyBase64":"","value":1}')],
      [/INVALID Line 6/, changed(5, () => '{"key":1,"valueBase64":"wQ=="}')],
      [/INVALID Line 6 .*expiresAt.* not a time/, changed(5, () => '{"key":1,"expiresAt":"5","value":1}')],
      [/INVALID Line 6 .*expiresAt.* not a time/, changed(5, () => '{"key":1,"expiresAt":-5,"value":1}')],
      [/INVALID Line 6 .*number of parts/, changed(5, () => '{"key":1,"parts":0}')],
      [/INVALID Line 1 .*begins with/, lines.slice(1)],
      [/INVALID Line 53 .*follows the end/, [...lines, lines[1]!]],
      [/VERSION .*version 9/, changed(0, (line) => line.replace('"version":1', '"version":9'))],
      [/VERSION .*other/, changed(0, (line) => line.replace('msgpack', 'other'))],
      [/INVALID .*valueEncoding "json"/, changed(0, (line) => line.replace('msgpack', 'json'))],
    ]
    for (const [what, wrong] of cases) {
      const copy = await open(scratchPath(), { workers: 0 })
      expect(await code(load(copy, wrong))).to.match(what)
      expect(await load(copy, lines), 'loaded after that').to.deep.equal({ entries: 50 })
      expect(copy.stats().entries).to.be.within(50, 51)
      await copy.close()
    }
    await db.close()
  })

  it('goes through files and pipes of the command line', async () => {
    const from = scratchDb()
    const db = await open(from, { workers: 0, valueEncoding: 'msgpack' })
    for (const [i, key] of KEYS.entries()) await db.put(key, VALUES.msgpack[i % VALUES.msgpack.length])
    await db.close()
    const file = join(scratch(), 'all.txt')
    await ok(from, 'dump', '--output', file)
    const { stdout } = await mmapdb(['--db', from, 'dump'])
    expect(readFileSync(file, 'utf8')).to.equal(stdout)
    const to = scratchDb()
    expect(await real.ok(to, 'load', '--input', file)).to.match(/^27 entries loaded in [\d.]+ s\.\n$/)
    expect(bytesOf(to)).to.deep.equal(bytesOf(from))
    const piped = scratchDb()
    expect(
      (await mmapdb(['--db', piped, 'load', '--input', '-', '--format', 'dump'], { stdin: stdout })).code,
    ).to.equal(0)
    expect(bytesOf(piped)).to.deep.equal(bytesOf(from))

    const none = scratchDb()
    writeFileSync(file, stdout.slice(0, -30))
    await real.fails(2, /Line 29 /, '--db', none, 'load', '--input', file)
    writeFileSync(file, stdout.split('\n').slice(0, -2).join('\n'))
    await real.fails(3, /cut short/, '--db', none, 'load', '--input', file)
    await real.fails(2, /no meaning for a dump/, '--db', none, 'load', '--input', file, '--key-field', 'a')
    await real.fails(2, /no database/, '--db', none, 'get', 'plain')
    await real.fails(2, /is no directory/, '--db', from, 'dump', '--output', join(file, 'none'))
    await real.fails(2, /is a directory/, '--db', from, 'dump', '--output', scratch())

    // What is no file stays what it is, and so does a link.
    expect((await mmapdb(['--db', from, 'dump', '--output', '-'])).stdout).to.equal(stdout)
    const link = join(scratch(), 'link')
    for (const [target, isThere] of [
      [join(scratch(), 'linked'), true],
      [join(scratch(), 'made'), false],
    ] as const) {
      if (isThere) writeFileSync(target, 'old')
      symlinkSync(target, link)
      await ok(from, 'dump', '--output', link)
      expect([lstatSync(link).isSymbolicLink(), readFileSync(target, 'utf8')]).to.deep.equal([true, stdout])
      rmSync(link)
    }
    const pipe = join(scratch(), 'pipe')
    execFileSync('mkfifo', [pipe])
    await real.fails(2, /a pipe or a device/, '--db', from, 'dump', '--output', pipe)
    expect(lstatSync(pipe).isFIFO()).to.equal(true)
  })
})
