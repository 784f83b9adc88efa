// put, get, del and scan, and what all commands share: exit codes, messages, --json, pipes.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'chai'
import { Engine } from '../../src/engine/engine.js'
import { resolveOptions } from '../../src/engine/options.js'
import { open } from '../../src/index.js'
import { posixStorage } from '../../src/storage/posix.js'
import {
  BIN,
  cleanEnv,
  fails,
  failsInJsonToo,
  hosted,
  json,
  mmapdb,
  ok,
  real,
  removeScratch,
  scratch,
  scratchDb,
} from '../support/cli.js'
import { FrameBuilder } from '../../src/wal/frame-builder.js'

describe('command line', function () {
  this.timeout(120_000)
  afterEach(removeScratch)

  describe('put, get, del', () => {
    it('stores strings, prints them as they are, and removes them', async () => {
      const db = scratchDb()
      expect(await real.ok(db, 'put', 'greeting', 'hello {"not":"parsed"}')).to.equal('')
      expect(await real.ok(db, 'get', 'greeting')).to.equal('hello {"not":"parsed"}\n')
      expect(await real.ok(db, 'del', 'greeting')).to.equal('')
      await failsInJsonToo(1, 'ERR_MMAPDB_ABSENT', /There is no key greeting/, 'get', 'greeting', '--db', db)
      await fails(1, /There is no key greeting/, 'del', 'greeting', '--db', db)
      expect(await mmapdb(['get', 'greeting', '--db', db, '--quiet'])).to.deep.equal({
        code: 1,
        signal: null,
        stdout: '',
        stderr: '',
      })
    })

    it('takes keys and values of every kind as JSON, and gives them back in the same notation', async () => {
      const db = scratchDb()
      const keys = [
        '5',
        '-0.5',
        '"5"',
        '"a\\tb"',
        '[1,"a",null]',
        'true',
        'null',
        '{"base64":"AAH/"}',
        '9007199254740993',
      ]
      // Three at once, each in its own process; the others meanwhile, one after another.
      await Promise.all(
        keys.map((key, i) =>
          (i < 3 ? real : { ok }).ok(
            db,
            'put',
            '--json-key',
            '--json-value',
            '--',
            key,
            `{"of":${JSON.stringify(key)}}`,
          ),
        ),
      )
      const values = await Promise.all(keys.map((key) => ok(db, 'get', '--json-key', '--', key)))
      expect(values.map((text) => JSON.parse(text) as unknown)).to.deep.equal(keys.map((key) => ({ of: key })))
      const lines = (await ok(db, 'scan', '--json'))
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as { key: unknown; value: unknown })
      expect(lines.map(({ key }) => key)).to.deep.equal([
        null,
        true,
        -0.5,
        [1, 'a', null],
        5,
        { bigint: '9007199254740993' },
        '5',
        'a\tb',
        { base64: 'AAH/' },
      ])
      const text = (await ok(db, 'scan', '--keys')).trim().split('\n')
      expect(text).to.include.members(['5', '"a\\tb"', '[1,"a",null]', '{"base64":"AAH/"}'])
      expect(await json(db, 'get', '--json-key', '--', '{"bigint":"9007199254740993"}')).to.deep.include({
        key: { bigint: '9007199254740993' },
        value: { of: '9007199254740993' },
      })
    })

    it('reads a value from stdin, byte for byte', async () => {
      const db = scratchDb()
      const bytes = Buffer.from([0, 1, 255, 10, 13, 200])
      const put = await mmapdb(['put', 'photo', '-', '--value-encoding', 'binary', '--db', db], { stdin: bytes })
      expect(put).to.include({ code: 0, stderr: '' })
      expect(await json(db, 'get', 'photo', '--value-encoding', 'binary')).to.deep.include({
        value: { base64: bytes.toString('base64') },
      })
      expect(await mmapdb(['put', 'x', '-', '--db', db], { stdin: bytes })).to.have.property('code', 0)
      const texts = scratchDb()
      expect((await mmapdb(['put', 'x', '-', '--db', texts], { stdin: bytes })).code).to.equal(2)
      await mmapdb(['put', 'text', '-', '--db', texts], { stdin: 'ein Wörtchen\n' })
      expect(await ok(texts, 'get', 'text')).to.equal('ein Wörtchen\n\n')
    })

    it('stores what other programs read, in each encoding', async () => {
      const db = scratchDb()
      await ok(db, 'put', 'n', '{"a":[1,2]}', '--json-value')
      const it = await open(db, { workers: 0 })
      expect(it.get('n')).to.deep.equal({ a: [1, 2] })
      // This process has it open now.
      await ok(db, 'put', 'm', 'from outside')
      expect(it.get('m')).to.equal('from outside')
      expect(await ok(db, 'get', 'n')).to.equal('{"a":[1,2]}\n')
      await it.close()
      for (const encoding of ['json', 'utf8']) {
        const other = scratchDb()
        await ok(other, 'put', 'k', 'v', '--value-encoding', encoding)
        expect(await ok(other, 'get', 'k', '--value-encoding', encoding)).to.equal('v\n')
      }
    })
  })

  it('takes the encoding of values that the database was created with', async () => {
    const db = scratchDb()
    await ok(db, 'put', 'k', 'text', '--value-encoding', 'binary')
    expect(await ok(db, 'get', 'k')).to.equal('text')
    await ok(db, 'put', 'l', 'more')
    expect(await ok(db, 'scan', '--values')).to.equal('{"base64":"dGV4dA=="}\n{"base64":"bW9yZQ=="}\n')
    await ok(db, 'load', '--ops', '10', '--workers', '1', '--quiet')
    expect(JSON.parse(await ok(db, 'stats', '--json'))).to.have.property('valueEncoding', 'binary')
    await fails(
      2,
      /created with valueEncoding "binary" and cannot be opened with "json"/,
      'get',
      'k',
      '--value-encoding',
      'json',
      '--db',
      db,
    )
  })

  it('scan goes on past values that cannot be decoded, if asked to', async () => {
    const db = scratchDb()
    const it = Engine.open(resolveOptions(db, { workers: 0, valueEncoding: 'json' }), posixStorage)
    for (const key of ['a', 'c']) it.put(key, key)
    const frame = new FrameBuilder()
    frame.put(Buffer.from('b'), 1, Buffer.from('{'))
    it.commit(frame.frame())
    it.close()
    const scan = ['--db', db, 'scan']
    await fails(2, /value of key 'b', in slot \d+, cannot be decoded/, ...scan)
    expect((await hosted(scan)).stdout, 'what came before it').to.equal('a\t"a"\n')
    const { code, stdout, stderr } = await hosted([...scan, '--skip-bad'])
    expect({ code, stdout }).to.deep.equal({ code: 0, stdout: 'a\t"a"\nc\t"c"\n' })
    expect(stderr).to.match(/^mmapdb: left out: The value of key 'b'.*\nmmapdb: 1 entry left out\n$/)
    expect((await hosted([...scan, '--skip-bad', '--json', '--reverse'])).stderr).to.match(
      /^\{"warning":\{"code":"ERR_MMAPDB_ENCODING".*\n\{"leftOut":1\}\n$/,
    )
    await ok(db, 'verify')
  })

  it('scan keeps to its range', async () => {
    const db = scratchDb()
    const it = await open(db, { workers: 0 })
    it.batchSync(['a', 'b1', 'b2', 'b3', 'c'].map((key, i) => ({ type: 'put', key, value: { i } })))
    await it.close()
    expect(await ok(db, 'scan')).to.equal('a\t{"i":0}\nb1\t{"i":1}\nb2\t{"i":2}\nb3\t{"i":3}\nc\t{"i":4}\n')
    const keys = async (...args: string[]): Promise<string> =>
      (await ok(db, 'scan', '--keys', ...args)).trim().replaceAll('\n', ' ')
    expect(await keys('--prefix', 'b')).to.equal('b1 b2 b3')
    expect(await keys('--prefix', 'b', '--reverse', '--limit', '2')).to.equal('b3 b2')
    expect(await keys('--gte', 'b1', '--lt', 'b3')).to.equal('b1 b2')
    expect(await keys('--gt', 'b1', '--lte', 'b3')).to.equal('b2 b3')
    expect(await keys('--limit', '0')).to.equal('')
    expect(await ok(db, 'scan', '--values', '--limit', '1')).to.equal('{"i":0}\n')
    expect(await ok(db, 'scan', '--json', '--limit', '1')).to.equal('{"key":"a","value":{"i":0}}\n')
    // Of two bounds on one side the tighter one counts.
    expect(await keys('--gte', 'b1', '--gt', 'b1', '--lt', 'c', '--lte', 'b2')).to.equal('b2')
    await fails(2, /cannot be used with option/, 'scan', '--keys', '--values', '--db', db)
  })

  it('ends quietly when the reader of its output has seen enough', async () => {
    const db = scratchDb()
    const it = await open(db, { workers: 0, valueEncoding: 'utf8' })
    it.batchSync(Array.from({ length: 5000 }, (_, i) => ({ type: 'put', key: i, value: 'x'.repeat(200) })))
    await it.close()
    const child = spawn(
      'sh',
      ['-c', `"${process.execPath}" "${BIN}" --db "${db}" scan --value-encoding utf8 | head -n 2; exit 0`],
      { env: cleanEnv() },
    )
    let stdout = ''
    let stderr = ''
    child.stdout.on('data', (text) => (stdout += String(text)))
    child.stderr.on('data', (text) => (stderr += String(text)))
    await once(child, 'close')
    expect(stdout.split('\n').length).to.equal(3)
    expect(stderr).to.equal('')
  })

  describe('what cannot be done', () => {
    it('is said in one line, with exit code 2: input', async () => {
      const db = scratchDb()
      await fails(2, /unknown command 'gte'.*Did you mean get/, 'gte')
      await failsInJsonToo(2, 'ERR_MMAPDB_INVALID', /unknown option '--nope'/, 'get', 'k', '--nope')
      await fails(2, /missing required argument 'value'/, 'put', 'k')
      await fails(2, /too many arguments/, 'get', 'a', 'b')
      await fails(
        2,
        /'--limit <n>' argument '1x' is invalid. It must be a whole number, 0 or more/,
        'scan',
        '--limit',
        '1x',
      )
      await fails(2, /argument 'yaml' is invalid. Allowed choices are msgpack/, 'get', 'k', '--value-encoding', 'yaml')
      await fails(2, /The key is not valid JSON/, 'put', 'k', 'v', '--json-key', '--db', db)
      await fails(2, /at most 1024 bytes/, 'put', 'k'.repeat(2000), 'v', '--db', db)
    })

    it('is said in one line, with exit code 2: no such database, and reading does not create one', async () => {
      const db = scratchDb()
      const commands = [
        ['get', 'k'],
        ['del', 'k'],
        ['scan'],
        ['recover'],
        ['recover', '--dry-run'],
        ['verify'],
        ['stats'],
        ['wal'],
        ['slots'],
      ]
      await Promise.all(commands.map((args) => fails(2, /^mmapdb: There is no database at /, ...args, '--db', db)))
      expect(existsSync(db)).to.equal(false)
      const file = join(scratch(), 'file')
      writeFileSync(file, 'x')
      await failsInJsonToo(
        2,
        'ERR_MMAPDB_NOT_A_DATABASE',
        /is a file; a database is a directory/,
        'put',
        'k',
        'v',
        '--db',
        file,
      )
      await fails(2, /does not exist\. Create it first/, 'put', 'k', 'v', '--db', join(file, '..', 'no', 'db'))
    })

    it('is called by its name, whichever command meets it', async () => {
      const foreign = scratch()
      writeFileSync(join(foreign, 'letter.txt'), 'x')
      const file = join(foreign, 'letter.txt')
      const commands = [
        ['get', 'k'],
        ['del', 'k'],
        ['scan'],
        ['recover'],
        ['recover', '--dry-run'],
        ['verify'],
        ['stats'],
        ['wal'],
        ['slots'],
      ]
      for (const args of commands) {
        await fails(2, /is not a database: it holds other files/, ...args, '--db', foreign)
        await fails(2, /is a file; a database is a directory/, ...args, '--db', file)
      }
    })

    it('names a data file that may not grow that far', async () => {
      const db = scratchDb()
      await ok(db, 'put', 'k', 'v', '--reserve-bytes', '2MiB', '--timeout', '5000')
      expect(await ok(db, 'get', 'k', '--reserve-bytes', '1MiB')).to.equal('v\n')
      await fails(
        2,
        /needs at least .* raise --reserve-bytes/,
        'load',
        '--ops',
        '100000',
        '--reserve-bytes',
        '2MiB',
        '--db',
        db,
      )
      const tooLong = await mmapdb(['--db', db, 'put', 'long', '-', '--reserve-bytes', '2MiB'], {
        stdin: 'x'.repeat(3e6),
      })
      expect(tooLong)
        .to.include({ code: 2 })
        .and.property('stderr')
        .to.match(/a larger --reserve-bytes\./)
      await fails(2, /'--reserve-bytes <n>' argument '1' is invalid/, 'get', 'k', '--reserve-bytes', '1', '--db', db)
      await fails(2, /'--timeout <ms>' argument 'soon' is invalid/, 'get', 'k', '--timeout', 'soon', '--db', db)
    })

    it('shows the stack with --verbose', async () => {
      const { stderr } = await hosted(['get', 'k', '--verbose', '--db', scratchDb()])
      expect(stderr).to.match(/^mmapdb: There is no database[^\n]*\nNotFoundError: .*\n {4}at /)
    })

    it('says so with exit code 4 while another process has the database open and it must be closed', async () => {
      const db = scratchDb()
      const it = await open(db, { workers: 0 })
      await failsInJsonToo(4, 'ERR_MMAPDB_LOCKED', /open elsewhere/, 'recover', '--dry-run', '--db', db)
      await it.close()
    })
  })

  it('looks for the database in --db, then $MMAPDB_PATH, then ./mmapdb-data', async () => {
    const [first, second] = [scratchDb(), scratchDb()]
    const cwd = scratch()
    await mmapdb(['put', 'k', 'by default'], { cwd })
    await mmapdb(['put', 'k', 'by environment'], { cwd, env: { MMAPDB_PATH: first } })
    await mmapdb(['put', 'k', 'by option', '--db', second], { cwd, env: { MMAPDB_PATH: first } })
    expect([
      await ok(join(cwd, 'mmapdb-data'), 'get', 'k'),
      await ok(first, 'get', 'k'),
      await ok(second, 'get', 'k'),
    ]).to.deep.equal(['by default\n', 'by environment\n', 'by option\n'])
  })

  it('helps: with --help on stdout, without a command on stderr', async () => {
    const help = await mmapdb(['--help'])
    expect(help).to.include({ code: 0, stderr: '' })
    const names = ['put', 'get', 'del', 'scan', 'load', 'recover', 'verify', 'stats', 'wal', 'slots', 'demo', 'lock']
    names.push('backup', 'restore', 'dump', 'compact')
    await Promise.all(
      names.map(async (name) => {
        expect(help.stdout).to.match(new RegExp(`^  ${name}\\b`, 'm'))
        expect((await hosted([name, '--help'])).stdout).to.contain(`Usage: mmapdb ${name}`)
      }),
    )
    expect(await hosted(['help', 'get'])).to.include({ code: 0, stderr: '' })
    expect(await hosted(['help', 'nope']))
      .to.include({ code: 2, stdout: '' })
      .and.have.property('stderr')
      .that.contains("unknown command 'nope'")
    const none = await mmapdb([])
    expect(none).to.include({ code: 2, stdout: '' })
    expect(none.stderr).to.contain('Usage: mmapdb')
    const noneInJson = await mmapdb(['--json'])
    expect(noneInJson).to.include({ code: 2, stdout: '' })
    expect(JSON.parse(noneInJson.stderr)).to.have.nested.property('error.code', 'ERR_MMAPDB_INVALID')
    const { version } = JSON.parse(readFileSync(join(BIN, '..', '..', 'package.json'), 'utf8')) as { version: string }
    expect((await mmapdb(['--version'])).stdout).to.equal(`${version}\n`)
  })

  it('says in one line, with exit code 2, that it cannot be loaded', async () => {
    const copy = scratch()
    mkdirSync(join(copy, 'bin'))
    mkdirSync(join(copy, 'dist', 'bundle'), { recursive: true })
    writeFileSync(join(copy, 'package.json'), '{"type":"module"}')
    writeFileSync(join(copy, 'dist', 'bundle', 'main.js'), "throw new Error('the native addon is not built')")
    copyFileSync(BIN, join(copy, 'bin', 'mmapdb'))
    const child = spawn(process.execPath, [join(copy, 'bin', 'mmapdb'), 'get', 'k'])
    let stderr = ''
    child.stderr.on('data', (text) => (stderr += String(text)))
    const [code] = (await once(child, 'close')) as [number]
    expect({ code, stderr }).to.deep.equal({
      code: 2,
      stderr: 'mmapdb: it cannot be started: the native addon is not built\n',
    })
  })

  it('says what to do if it was not built', async () => {
    const copy = join(scratch(), 'bin')
    mkdirSync(copy)
    writeFileSync(join(copy, '..', 'package.json'), '{"type":"module"}')
    copyFileSync(BIN, join(copy, 'mmapdb'))
    const child = spawn(process.execPath, [join(copy, 'mmapdb')])
    let stderr = ''
    child.stderr.on('data', (text) => (stderr += String(text)))
    const [code] = (await once(child, 'close')) as [number]
    expect(code).to.equal(2)
    expect(stderr).to.match(/^mmapdb: it has not been built yet; run "npm run build"/)
  })
})
