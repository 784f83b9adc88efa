// What a load refuses: text that is not UTF-8, numbers that would be rounded, compressed files, disks that are
// too small. The message names the place, before anything is written.
import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { expect } from 'chai'
import { open } from '../../src/index.js'
import { NumberError, parseJson } from '../../src/encoding/json-text.js'
import { readItems } from '../../src/cli/load/input.js'
import { fails, hosted, json, mmapdb, ok, real, removeScratch, scratch, scratchDb } from '../support/cli.js'
import { type InputFormat, type Item } from '../../src/cli/load/item.js'

/** The items of an input that comes in pieces of `step` bytes. */
async function items(text: string | Buffer, format: InputFormat, step = 1 << 20): Promise<Item[]> {
  const bytes = Buffer.from(text as string)
  async function* pieces(): AsyncGenerator<Buffer> {
    for (let at = 0; at < bytes.length; at += step) yield bytes.subarray(at, at + step)
  }
  const list: Item[] = []
  for await (const some of readItems(pieces(), format, 'refuse')) list.push(...some)
  return list
}
const told = (list: Item[]): string[] => list.map((item) => ('why' in item ? item.why : JSON.stringify(item.value)))

function file(name: string, content: string | Buffer): string {
  const path = join(scratch(), name)
  writeFileSync(path, content)
  return path
}

describe('input of mmapdb load', function () {
  this.timeout(120_000)
  afterEach(removeScratch)

  it('is refused where it is not UTF-8, by line and byte, in every format and however it is cut', async () => {
    const bad = (text: string): Buffer => Buffer.from(text, 'latin1')
    for (const step of [1, 3, 1 << 20]) {
      expect(told(await items(bad('{"id":1}\n{"id":"K\xf6ln"}\n'), 'ndjson', step))[1]).to.match(
        /^line 2, byte 9: it is not UTF-8/,
      )
      expect(told(await items(bad('[{"id":1},\n\n{"id":"K\xf6ln"}]'), 'json', step))[1]).to.match(
        /^record 2, line 3, byte 9: it is not UTF-8/,
      )
      for (const [format, comma] of [
        ['csv', ','],
        ['tsv', '\t'],
      ] as const) {
        const text = 'id,n\nGr\xfcn,1\nBlau,2\nRot,\xe4'.replaceAll(',', comma)
        const list = told(await items(bad(text), format, step))
        expect(list[0], format).to.match(/^line 2, byte 3: it is not UTF-8/)
        expect(list[1]).to.equal('{"id":"Blau","n":"2"}')
        expect(list[2]).to.match(/^line 4, byte 5: it is not UTF-8/)
        expect(list.length).to.equal(3)
        expect(told(await items(bad(`K\xf6${comma}n\n1${comma}2\n`), format, step))[0]).to.match(/^line 1, byte 2: /)
      }
      // In a field of several lines, and where lines end with CR alone.
      expect(told(await items(bad('id,n\n1,"a\nb\xe4"\n2,c\n'), 'csv', step))).to.deep.equal([
        told(await items(bad('id,n\n1,"a\nb\xe4"\n2,c\n'), 'csv'))[0],
        '{"id":"2","n":"c"}',
      ])
      expect(
        told(await items(bad('id,n\r1,\xe4\r2,c\r'), 'csv', step)).some((why) => why.includes('not UTF-8')),
      ).to.equal(true)
      // UTF-8 text stays as it is.
      expect(told(await items('id,n\nKöln,€\n日本,😀\n', 'csv', step))).to.deep.equal([
        '{"id":"Köln","n":"€"}',
        '{"id":"日本","n":"😀"}',
      ])
    }
  })

  it('of CSV names the line that a record begins in, and loses no column', async () => {
    expect(told(await items('id,n\n1,a\n2,"b\nc\nd\n', 'csv')).at(-1)).to.match(
      /^line 3, field 2: a quote is opened and never closed/,
    )
    const [first] = await items('__proto__,constructor\r\n1,2\r\n', 'csv')
    expect(Object.entries((first as { value: object }).value)).to.deep.equal([
      ['__proto__', '1'],
      ['constructor', '2'],
    ])
    expect((await items('id,n\n1,"a\nb"\n2,c\n', 'csv')).map((item) => (item as { line: number }).line)).to.deep.equal([
      2, 4,
    ])
    expect(told(await items('', 'csv'))[0]).to.match(/the file is empty; it must begin with a header line/)
    expect(await items('id,n\n', 'csv')).to.deep.equal([])
  })

  it('of a JSON array is cut into records at the right commas', async () => {
    const records = [{ a: '],[{"\\' }, [1, [2, '}']], 'x,"y', null, {}, -1.5e3, { ['__proto__']: { b: 1 } }]
    const text = ` \n[${records.map((record) => JSON.stringify(record, null, 2)).join(' ,\n')}\n] \n`
    for (const step of [1, 2, 7, 1 << 20]) {
      const list = await items(text, 'json', step)
      expect(told(list)).to.deep.equal(records.map((record) => JSON.stringify(record)))
      const lines = text.split('\n')
      for (const item of list) expect(lines[(item as { line: number }).line - 1]!.trim()).to.not.equal('')
    }
    expect(told(await items('[]', 'json'))).to.deep.equal([])
    for (const [wrong, why] of [
      ['[1,]', /nothing follows the last comma/],
      ['[,1]', /nothing before a comma/],
      ['[1 2]', /line 1, column/],
      ['[1}]', /brace/],
      ['["a]', /quote is never closed/],
      ['[1', /ends inside/],
      ['[1]]', /something follows/],
    ] as const) {
      expect(told(await items(wrong, 'json')).at(-1), wrong).to.match(why)
    }
  })

  it('keeps every number of JSON, or refuses it by name', () => {
    for (const same of [
      '1',
      '-0.5',
      '9007199254740991',
      '-9007199254740991',
      '1e300',
      '0.1234567890123456789',
      '"12345678901234567890"',
      '{"a":"\\"9007199254740993"}',
      '0.00000000000000000000001',
    ]) {
      expect(parseJson(same, 'refuse'), same).to.deep.equal(JSON.parse(same))
    }
    const lost: [string, string][] = [
      ['9007199254740993', '9007199254740993 is too large'],
      ['-9007199254740992', '-9007199254740992 is too large'],
      ['{"id":9007199254740993}', '9007199254740993 in "id"'],
      ['{"a":"x,\\"","user":{"ids":[1,{"b":[]},12345678901234567890]}}', '12345678901234567890 in "user.ids[2]"'],
      ['[1e400]', '1e400 in "[0]"'],
      [`{"n":${'9'.repeat(400)}.5}`, `${'9'.repeat(400)}.5 in "n"`],
      ['-1e-400', '-1e-400 is too small'],
    ]
    for (const [text, why] of lost) expect(() => parseJson(text, 'refuse'), text).to.throw(NumberError, why)
    expect(parseJson('{"id":9007199254740993,"x":[-18446744073709551616,1]}', 'bigint')).to.deep.equal({
      id: 9007199254740993n,
      x: [-18446744073709551616n, 1],
    })
    expect(parseJson('{"id":9007199254740993,"id":1}', 'bigint')).to.deep.equal({ id: 1 })
    expect(parseJson('9007199254740993', 'string')).to.equal('9007199254740993')
    expect(() => parseJson('1e400', 'bigint')).to.throw(NumberError)
  })

  it('creates no database when it is bad, and exits with 2', async () => {
    const db = scratchDb()
    const bad: [string, string | Buffer, RegExp][] = [
      [
        'towns.csv',
        Buffer.from('id,n\nK\xf6ln,1\nK\xe4ln,2\n', 'latin1'),
        /towns\.csv: line 2, byte 2: it is not UTF-8.*Nothing was written/,
      ],
      [
        'tweets.ndjson',
        '{"id":1}\n{"id":9007199254740993}\n',
        /line 2: 9007199254740993 in "id" is too large.*--big-integers/,
      ],
      ['tweets.json', '[{"id":1},\n{"id":2,"n":1e999}]', /record 2, line 2: 1e999 in "n" is too large for a number\. /],
      ['packed.ndjson', gzipSync('{"id":1}\n'), /packed\.ndjson is compressed by gzip: unpack it first/],
      ['wide.csv', Buffer.from('\ufeffid,n\n1,2\n', 'utf16le'), /wide\.csv is UTF-16 text: give --encoding utf-16le/],
      ['empty.csv', '', /header line/],
      ['long-key.ndjson', `{"id":1}\n{"id":"${'k'.repeat(2000)}"}\n`, /line 2: .*1024/],
    ]
    for (const [name, content, why] of bad)
      await fails(2, why, 'load', '--input', file(name, content), '--quiet', '--db', db)
    // If an input is not read to its end, no line of progress says that it was.
    expect(
      (await mmapdb(['load', '--input', file('half.ndjson', '{"id":1}\n{\n{"id":2}\n'), '--db', db])).stderr,
    ).to.match(/^mmapdb: \S*half\.ndjson: line 2/)
    // The same from a pipe.
    const piped = await mmapdb(['load', '--input', '-', '--format', 'ndjson', '--quiet', '--db', db], {
      stdin: '{"id":1}\n{"id":9007199254740993}\n',
    })
    expect(piped.code).to.equal(2)
    expect(piped.stderr).to.match(/^mmapdb: stdin: line 2: .*Nothing was written/)
    expect(existsSync(db)).to.equal(false)
  })

  it('is taken in other encodings, with large integers, and with a byte order mark, when asked to', async () => {
    const db = scratchDb()
    await ok(
      db,
      'load',
      '--input',
      file('a.csv', Buffer.from('id,n\nK\xf6ln,1\n', 'latin1')),
      '--encoding',
      'latin1',
      '--quiet',
    )
    await ok(
      db,
      'load',
      '--input',
      file('b.csv', Buffer.from('\ufeffid,n\nä,1\n', 'utf16le')),
      '--encoding',
      'utf-16le',
      '--quiet',
    )
    await ok(db, 'load', '--input', file('c.ndjson', '\ufeff{"id":"bom"}\n'), '--quiet')
    await ok(
      db,
      'load',
      '--input',
      file('d.ndjson', '{"id":9007199254740993}\n{"id":9007199254740995}\n'),
      '--big-integers',
      'bigint',
      '--quiet',
    )
    await ok(db, 'load', '--input', file('e.json', '[{"id":9007199254740993}]'), '--big-integers', 'string', '--quiet')
    const it = await open(db, { workers: 0, readOnly: true })
    expect([...it.keys()]).to.have.deep.members([
      9007199254740995n,
      9007199254740993n,
      '9007199254740993',
      'Köln',
      'bom',
      'ä',
    ])
    expect(it.get(9007199254740993n)).to.deep.equal({ id: 9007199254740993n })
    await it.close()
    await fails(
      2,
      /There is no text encoding "utf-9"/,
      'load',
      '--input',
      file('x.csv', 'id\n1\n'),
      '--encoding',
      'utf-9',
      '--db',
      db,
    )
    await fails(2, /--big-integers needs --input/, 'load', '--big-integers', 'bigint', '--db', db)
  })

  it('says how much of a long pipe is in the database when something is wrong at its end', async () => {
    const db = scratchDb()
    const filler = 'x'.repeat(1024 * 1024)
    const stdin = `${Array.from({ length: 66 }, (_, id) => `{"id":${id},"filler":"${filler}"}\n`).join('')}{"id":9007199254740993}\n`
    const { code, stderr } = await mmapdb(['load', '--input', '-', '--format', 'ndjson', '--quiet', '--db', db], {
      stdin,
    })
    expect(code).to.equal(2)
    expect(stderr).to.match(/^mmapdb: stdin: line 67: 9007199254740993 .* 66 records before it are in the database\./)
    expect((await ok(db, 'scan', '--keys')).trim().split('\n').length).to.equal(66)
  })

  it('says how many records took the place of others, and if there are no records', async () => {
    const db = scratchDb()
    const path = file('twice.ndjson', '{"id":1,"n":1}\n{"id":2}\n{"id":1,"n":2}\n')
    expect(await json(db, 'load', '--input', path)).to.deep.include({
      operations: 3,
      created: 2,
      replaced: 1,
      lost: 0,
    })
    const again = await hosted(['load', '--input', path, '--db', db])
    expect(again.stdout).to.match(/^new entries +0; 3 took the place of entries with the same key$/m)
    const none = await hosted(['load', '--input', file('none.ndjson', '\n'), '--db', db])
    expect(none).to.include({ code: 0 })
    expect(none.stdout).to.match(/^There are no records in .*none\.ndjson: nothing was written\.\n$/)
  })

  it('and an ack log that cannot be written: reported first, or with what was written', async function () {
    const db = scratchDb()
    const directory = scratch()
    mkdirSync(join(directory, 'log'))
    for (const path of [join(directory, 'no', 'log'), join(directory, 'log')]) {
      await real.fails(
        2,
        /^mmapdb: The ack log \/.*log cannot be written: E[A-Z]+: .* Nothing was written\./,
        'load',
        '--ops',
        '10',
        '--quiet',
        '--ack-log',
        path,
        '--db',
        db,
      )
    }
    if (existsSync('/dev/full')) {
      const nowhere = ['load', '--ops', '10', '--quiet', '--db', db, '--ack-log', '/dev/full']
      await real.fails(
        2,
        /^mmapdb: The ack log \/dev\/full cannot be written: ENOSPC.* Nothing was written\./,
        ...nowhere,
      )
    }
    expect(existsSync(db)).to.equal(false)
    const records = Array.from({ length: 20_000 }, (_, id) => `{"id":${id}}\n`).join('')
    for (const args of [
      ['--ops', '20000'],
      ['--input', file('a.ndjson', records), '--batch', '1'],
    ]) {
      // Its reader leaves after the first lines.
      const pipe = join(directory, `pipe ${args[0]}`)
      execFileSync('mkfifo', [pipe])
      const reader = spawn('head', ['-c', '100', pipe], { stdio: 'ignore' })
      const { code, stdout, stderr } = await hosted([
        'load',
        ...args,
        '--workers',
        '1',
        '--ack-log',
        pipe,
        '--json',
        '--db',
        db,
      ])
      reader.kill()
      expect(code).to.equal(2)
      expect((JSON.parse(stdout) as { operations: number }).operations).to.be.within(1, 19_999)
      expect(
        (JSON.parse(stderr.trim().split('\n').at(-1)!) as { error: { code: string; message: string } }).error,
      ).to.include({ code: 'ERR_MMAPDB_IO' })
      expect(stderr).to.match(/The ack log .*pipe.* cannot be written: EPIPE/)
    }
  })

  it('says how far it has come in bytes of the file, also where these are not those of its text', async () => {
    const csv = `id,n\n${Array.from({ length: 3000 }, (_, id) => `${id},${id}\n`).join('')}`
    for (const [name, bytes, ...args] of [
      ['mark.csv', Buffer.from(`\ufeff${csv}`)],
      ['wide.csv', Buffer.from(csv, 'utf16le'), '--encoding', 'utf-16le'],
    ] as const) {
      const { code, stderr } = await hosted(['load', '--input', file(name, bytes), '--db', scratchDb(), ...args])
      expect(code).to.equal(0)
      for (const what of ['checked', 'loaded', 'read back']) expect(stderr, name).to.contain(`${what}: 100%`)
    }
  })

  it('asks whether synthetic records fit before it writes them', async () => {
    const db = scratchDb()
    await fails(
      2,
      /needs at least 10\.\d+ TiB|needs at least 9\.\d+ TiB/,
      'load',
      '--ops',
      '1000000',
      '--value-size',
      '10MB',
      '--db',
      db,
    )
    await fails(
      2,
      /A batch may hold at most 1\.00 GiB.*lower --batch or --value-size/,
      'load',
      '--ops',
      '1000',
      '--batch',
      '1000',
      '--value-size',
      '10MB',
      '--db',
      db,
    )
    expect(existsSync(db)).to.equal(false)
  })

  it('counts what it reads back exactly', async () => {
    const { stderr } = await mmapdb(['load', '--ops', '2500', '--batch', '100', '--workers', '2', '--db', scratchDb()])
    expect(stderr).to.match(/^read back: 100% \(2,500\)$/m)
    expect([...stderr.matchAll(/\(([\d,]+)\)/g)].every(([, n]) => Number(n!.replaceAll(',', '')) <= 2500)).to.equal(
      true,
    )
  })
})
