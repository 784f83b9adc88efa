// mmapdb load: every record is there afterwards, whichever thread or process wrote it and whichever was
// killed; bad records of an input are named.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import { open } from '../../src/index.js'
import { syntheticValue } from '../../src/cli/load/synthetic-records.js'
import {
  BIN,
  CITIES,
  cleanEnv,
  fails,
  hosted,
  json,
  mmapdb,
  ok,
  real,
  removeScratch,
  scratch,
  scratchDb,
} from '../support/cli.js'

interface Report {
  operations: number
  skipped?: number
  seconds: number
  operationsPerSecond: number
  workers: number
  processes: number
  batch: number
  commits: number
  latencyUs: { p50: number; p90: number; p99: number; p999: number; max: number }
  flushes: number
  operationsPerFlush: number
  checked?: number
  lost?: number
  interrupted: boolean
}

const acknowledged = (path: string): string[] =>
  existsSync(path)
    ? readFileSync(path, 'utf8')
        .split('\n')
        .filter(Boolean)
        .flatMap((line) => line.split('\t'))
    : []

async function entries(db: string): Promise<[unknown, unknown][]> {
  const it = await open(db, { workers: 0, readOnly: true })
  try {
    return [...it.range()]
  } finally {
    await it.close()
  }
}

describe('mmapdb load', function () {
  this.timeout(120_000)
  afterEach(removeScratch)

  describe('of synthetic records', () => {
    it('writes each once, from several workers, and reports what that took', async () => {
      const db = scratchDb()
      const report = await real.json<Report>(
        db,
        'load',
        '--ops',
        '500',
        '--workers',
        '3',
        '--seed',
        '7',
        '--value-size',
        '33',
      )
      expect(report).to.deep.include({
        operations: 500,
        commits: 500,
        workers: 3,
        processes: 0,
        batch: 1,
        checked: 500,
        lost: 0,
        interrupted: false,
      })
      expect(report.flushes).to.be.within(1, 500)
      expect(report.operationsPerFlush).to.be.closeTo(500 / report.flushes, 0.01)
      expect(report.operationsPerSecond).to.be.closeTo(500 / report.seconds, 0.01)
      const { p50, p90, p99, p999, max } = report.latencyUs
      expect([p50, p90, p99, p999, max]).to.deep.equal([p50, p90, p99, p999, max].sort((a, b) => a - b))
      expect(p50).to.be.above(0)
      const found = await entries(db)
      expect(found.map(([key]) => key)).to.deep.equal(
        Array.from({ length: 500 }, (_, i) => `key:${String(i).padStart(11, '0')}`),
      )
      for (const [key, value] of found) expect(value).to.equal(syntheticValue(key as string, 7, 33, false))
    })

    it('writes in an order that looks random and that the seed determines', async () => {
      const order = async (seed: string): Promise<string[]> => {
        const log = join(scratch(), 'acks')
        await ok(
          scratchDb(),
          'load',
          '--ops',
          '200',
          '--workers',
          '1',
          '--seed',
          seed,
          '--batch',
          '7',
          '--ack-log',
          log,
          '--quiet',
        )
        return acknowledged(log)
      }
      const [one, again, other] = await Promise.all([order('1'), order('1'), order('2')])
      expect(one).to.have.length(200)
      expect(again).to.deep.equal(one)
      expect(other).to.have.members(one).and.not.deep.equal(one)
      expect(one).to.not.deep.equal([...one].sort())
    })

    it('spreads over processes, and counts and acknowledges what all of them did', async () => {
      const db = scratchDb()
      const log = join(scratch(), 'acks')
      const report = await real.json<Report>(
        db,
        'load',
        '--ops',
        '601',
        '--workers',
        '2',
        '--processes',
        '2',
        '--batch',
        '10',
        '--ack-log',
        log,
      )
      expect(report).to.deep.include({
        operations: 601,
        commits: 61,
        processes: 2,
        workers: 2,
        batch: 10,
        checked: 601,
        lost: 0,
      })
      expect(new Set(acknowledged(log)).size).to.equal(601)
      expect(await ok(db, 'verify')).to.match(/^Verified: 601 entries/)
    })

    it('says so when a process is killed, keeps what it had acknowledged, and exits with 2', async () => {
      const db = scratchDb()
      const log = join(scratch(), 'acks')
      const child = spawn(
        process.execPath,
        [BIN, '--db', db, 'load', '--ops', '200000', '--workers', '1', '--processes', '2', '--ack-log', log, '--quiet'],
        { env: cleanEnv() },
      )
      let stderr = ''
      child.stderr.on('data', (text) => (stderr += String(text)))
      const closed = once(child, 'close')
      while (acknowledged(log).length < 100) await delay(20)
      const [first] = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim().split(' ')
      process.kill(Number(first), 'SIGKILL')
      await delay(100)
      child.kill('SIGINT')
      const [code] = (await closed) as [number]
      expect(code).to.equal(2)
      expect(stderr).to.match(/^mmapdb: Process [12] of 2 \(pid \d+\) was killed by SIGKILL before it was done/)
      const keys = new Set((await entries(db)).map(([key]) => key as string))
      expect(acknowledged(log).filter((key) => !keys.has(key))).to.deep.equal([])
      expect(await ok(db, 'verify')).to.match(/No damage/)
    })

    it('has everything it acknowledged after being killed itself, at any point', async () => {
      const at = async (point: string): Promise<void> => {
        const db = scratchDb()
        const log = join(scratch(), 'acks')
        const { signal } = await mmapdb(
          ['--db', db, 'load', '--ops', '3000', '--workers', '2', '--ack-log', log, '--quiet'],
          { env: { MMAPDB_CRASH_AT: point } },
        )
        expect(signal, point).to.equal('SIGKILL')
        const known = acknowledged(log)
        const keys = new Set((await entries(db)).map(([key]) => key as string))
        expect(known.length, point).to.be.above(0)
        expect(
          known.filter((key) => !keys.has(key)),
          point,
        ).to.deep.equal([])
      }
      await Promise.all(['after-append:40', 'after-flush:40', 'mid-apply:300', 'before-publish:40'].map(at))
    })

    it('ends on Ctrl-C with what is acknowledged and exit code 130', async () => {
      const db = scratchDb()
      const log = join(scratch(), 'acks')
      const child = spawn(
        process.execPath,
        [BIN, '--db', db, 'load', '--ops', '10000000', '--workers', '2', '--ack-log', log, '--json'],
        { env: cleanEnv() },
      )
      let stdout = ''
      child.stdout.on('data', (text) => (stdout += String(text)))
      const closed = once(child, 'close')
      while (acknowledged(log).length < 10) await delay(20)
      child.kill('SIGINT')
      const [code] = (await closed) as [number]
      expect(code).to.equal(130)
      const report = JSON.parse(stdout) as Report
      expect(report.interrupted).to.equal(true)
      expect(report.operations).to.equal(acknowledged(log).length)
      expect((await entries(db)).length).to.equal(report.operations)
    })

    it('shows progress in lines if there is no terminal, and no progress with --quiet', async () => {
      const loud = await mmapdb(['--db', scratchDb(), 'load', '--ops', '300', '--workers', '2'])
      expect(loud.stderr).to.match(/written: 100% \(300\)\nread back: 100%/)
      expect(loud.stdout)
        .to.match(/^operations +300\n/)
        .and.to.match(/^lost records +0 \(of 300 read back\)$/m)
      expect(
        await mmapdb(['--db', scratchDb(), 'load', '--ops', '300', '--workers', '1', '--quiet', '--no-verify']),
      ).to.include({ code: 0, stdout: '', stderr: '' })
    })

    it('refuses options that make no sense, before it creates anything', async () => {
      const db = scratchDb()
      await fails(2, /whole number, from 1 to/, 'load', '--ops', '0', '--db', db)
      await real.fails(2, /whole number, from 1 to 64/, 'load', '--workers', '1000', '--db', db)
      await fails(2, /--ops or --input, not both/, 'load', '--ops', '5', '--input', 'x.csv', '--db', db)
      await fails(2, /There is no file \/no\/such.csv/, 'load', '--input', '/no/such.csv', '--db', db)
      await fails(2, /is a directory/, 'load', '--input', '/tmp', '--db', db)
      await fails(2, /give --format/, 'load', '--input', '/etc/passwd', '--db', db)
      await fails(2, /give --format/, 'load', '--input', '-', '--db', db)
      await fails(2, /needs --input/, 'load', '--key-field', 'x', '--db', db)
      expect(existsSync(db)).to.equal(false)
    })
  })

  describe('of an input', () => {
    const write = (name: string, text: string): string => {
      const path = join(scratch(), name)
      writeFileSync(path, text)
      return path
    }

    it('reads NDJSON, JSON, CSV and TSV, by the name of the file or by --format', async () => {
      const records = [
        { id: 'a', n: '1' },
        { id: 'b', n: 'zwei, "2"' },
        { id: 'ç', n: '' },
      ]
      const texts = {
        ndjson: `\ufeff${records.map((r) => JSON.stringify(r)).join('\r\n\n')}`,
        json: JSON.stringify(records, null, 2),
        csv: '\ufeffid,n\r\na,1\r\nb,"zwei, ""2"""\r\nç,\r\n',
        tsv: 'id\tn\na\t1\nb\tzwei, "2"\nç\t\n',
      }
      const each = async ([format, text]: [string, string]): Promise<void> => {
        const byName = scratchDb()
        const report = await json<Report>(byName, 'load', '--input', write(`x.${format}`, text), '--workers', '1')
        expect(report, format).to.deep.include({ operations: 3, checked: 3, lost: 0, skipped: 0 })
        expect(await entries(byName), format).to.deep.equal(records.map((r) => [r.id, r]))
        const piped = scratchDb()
        const { code } = await mmapdb(
          ['--db', piped, 'load', '--input', '-', '--format', format, '--quiet', '--workers', '1'],
          { stdin: text },
        )
        expect(code).to.equal(0)
        expect(await entries(piped), format).to.deep.equal(await entries(byName))
      }
      await Promise.all(Object.entries(texts).map(each))
    })

    it('takes keys from a field, inside others too, or numbers the records', async () => {
      const path = write('x.ndjson', '{"user":{"no":7},"a.b":"x"}\n\n{"user":{"no":8},"a.b":"y"}\n')
      const load = async (...args: string[]): Promise<unknown[]> => {
        const db = scratchDb()
        await ok(db, 'load', '--input', path, '--quiet', '--workers', '1', ...args)
        return (await entries(db)).map(([key]) => key)
      }
      expect(await load('--key-field', 'user.no')).to.deep.equal([7, 8])
      expect(await load('--key-field', 'a.b')).to.deep.equal(['x', 'y'])
      expect(await load()).to.deep.equal([1, 2])
    })

    it('lets the last of several records with the same key win, however many write', async () => {
      const lines = Array.from({ length: 3000 }, (_, i) => JSON.stringify({ key: `k${i % 50}`, i }))
      const path = write('x.ndjson', lines.join('\n'))
      for (const how of [['--processes', '2'], []]) {
        const db = scratchDb()
        const report = await json<Report>(db, 'load', '--input', path, '--workers', '3', '--batch', '20', ...how)
        expect(report).to.deep.include({ operations: 3000, checked: 3000, lost: 0 })
        for (const [key, value] of await entries(db))
          expect(value).to.deep.equal({ key, i: 2950 + Number((key as string).slice(1)) })
      }
      const db = scratchDb()
      const { stdout } = await mmapdb(
        ['--db', db, '--json', 'load', '--input', '-', '--format', 'ndjson', '--batch', '20'],
        { stdin: lines.join('\n') },
      )
      expect(JSON.parse(stdout)).to.deep.include({ operations: 3000, checked: 3000, lost: 0 })
      for (const [key, value] of await entries(db))
        expect(value).to.deep.equal({ key, i: 2950 + Number((key as string).slice(1)) })
    })

    const BAD: { name: string; text: string; why: RegExp; skipped: number; left: number }[] = [
      {
        name: 'x.ndjson',
        text: '{"id":1}\n\n{"id":2,}\n{"id":3}\n{"x":4}\n{"id":{}}\n',
        why: /x\.ndjson: line 3, column 9: /,
        skipped: 3,
        left: 2,
      },
      { name: 'x.ndjson', text: '{"id":1}\n{"id":2', why: /line 2, column 8: /, skipped: 1, left: 1 },
      { name: 'x.ndjson', text: '{"id":1}\n\u0000\n', why: /line 2, column 1: /, skipped: 1, left: 1 },
      {
        name: 'x.csv',
        text: 'id,n\n1,a\n2,b,c\n3,"x" y\n4,d\n',
        why: /line 3: it does not have as many fields as the header/,
        skipped: 2,
        left: 2,
      },
      {
        name: 'x.csv',
        text: 'id,n\n1,a\n2,"b\n',
        why: /line \d, field 2: a quote is opened and never closed/,
        skipped: 1,
        left: 1,
      },
      {
        name: 'x.tsv',
        text: 'id\tn\n1\ta\n2\n3\tc\n',
        why: /line 3: it does not have as many fields/,
        skipped: 1,
        left: 2,
      },
    ]
    for (const { name, text, why, skipped, left } of BAD) {
      it(`names what is bad in ${JSON.stringify(text)}, and stops or goes on`, async () => {
        const path = write(name, text)
        const stopped = scratchDb()
        await fails(2, why, 'load', '--input', path, '--quiet', '--workers', '1', '--db', stopped)
        expect(existsSync(stopped), 'before anything is written').to.equal(false)
        const skipping = scratchDb()
        const { code, stdout, stderr } = await hosted([
          '--db',
          skipping,
          '--json',
          'load',
          '--input',
          path,
          '--on-error',
          'skip',
          '--workers',
          '1',
        ])
        expect(code).to.equal(0)
        expect(JSON.parse(stdout)).to.deep.include({ skipped, operations: left, checked: left, lost: 0 })
        expect(stderr.trim().split('\n').length).to.equal(skipped)
        expect(JSON.parse(stderr.split('\n')[0]!).warning.message)
          .to.match(why)
          .and.to.match(/; skipped\.$/)
      })
    }

    it('names the record that ends a JSON array, after which nothing can be read', async () => {
      for (const [text, why] of [
        ['[{"id":1},\n{"id":2},\n{"id":3,},\n{"id":4}]', /record 3, line 3, column 9: /],
        ['[{"id":1},{"id":2}', /record 3, line 1: the file ends inside the array/],
        ['[{"id":1},{"id":2}] x', /something follows the end of the array/],
      ] as const) {
        const path = write('x.json', text)
        const both = ['stop', 'skip'].map(async (mode) => {
          const db = scratchDb()
          await fails(2, why, 'load', '--input', path, '--on-error', mode, '--quiet', '--workers', '1', '--db', db)
          if (mode === 'stop') expect(existsSync(db)).to.equal(false)
          else expect((await entries(db)).length).to.equal(2)
        })
        await Promise.all(both)
      }
      await fails(
        2,
        /must hold an array of records/,
        'load',
        '--input',
        write('y.json', '{"id":1}'),
        '--quiet',
        '--workers',
        '1',
        '--db',
        scratchDb(),
      )
      await fails(
        2,
        /the file is empty/,
        'load',
        '--input',
        write('z.json', ''),
        '--quiet',
        '--workers',
        '1',
        '--db',
        scratchDb(),
      )
      await fails(
        2,
        /the header names "id" twice/,
        'load',
        '--input',
        write('z.csv', 'id,id\n1,2\n'),
        '--quiet',
        '--workers',
        '1',
        '--db',
        scratchDb(),
      )
    })

    it('brings in all cities of the world and finds them equal', async () => {
      const cities = JSON.parse(readFileSync(CITIES, 'utf8')) as { name: string }[]
      const db = scratchDb()
      const report = await json<Report>(db, 'load', '--input', CITIES, '--key-field', 'name', '--workers', '2')
      expect(report).to.deep.include({ operations: cities.length, checked: cities.length, lost: 0, skipped: 0 })
      const last = new Map(cities.map((city) => [city.name, city]))
      let count = 0
      for (const [name, city] of await entries(db)) {
        count++
        if (JSON.stringify(city) !== JSON.stringify(last.get(name as string)))
          expect(city).to.deep.equal(last.get(name as string))
      }
      expect(count).to.equal(last.size)
    })
  })
})
