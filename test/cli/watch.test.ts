// mmapdb watch: what it prints and when, where it goes on, and how it ends.
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import { open, type Database } from '../../src/index.js'
import { BIN, cleanEnv, mmapdb, removeScratch, scratch } from '../support/cli.js'

const opened: Database[] = []
async function makeDatabase(): Promise<[Database, string]> {
  const path = join(scratch(), 'db')
  const db = await open(path, { workers: 0, retain: { bytes: 2 ** 30 } })
  opened.push(db)
  return [db, path]
}

interface Watching {
  readonly child: ChildProcess
  readonly lines: string[]
  readonly errors: string[]
  /** Resolves once there are that many lines. */
  has(count: number): Promise<string[]>
  readonly ended: Promise<unknown[]>
}

function watching(db: string, ...args: string[]): Watching {
  const child = spawn(process.execPath, [BIN, '--db', db, 'watch', ...args], { env: cleanEnv() })
  const lines: string[] = []
  const errors: string[] = []
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (piece: string) => {
    const parts = (text + piece).split('\n')
    text = parts.pop()!
    lines.push(...parts)
  })
  child.stderr.setEncoding('utf8').on('data', (piece: string) => void errors.push(piece))
  const has = async (count: number): Promise<string[]> => {
    for (const giveUpMs = performance.now() + 20_000; lines.length < count; await delay(5))
      if (performance.now() > giveUpMs) expect.fail(`${lines.length} lines of ${count}: ${errors.join('')}`)
    return lines
  }
  return { child, lines, errors, has, ended: once(child, 'close') }
}

/** Writes until the command has begun to print. */
async function begun(db: Database, watch: Watching): Promise<void> {
  for (let i = 0; watch.lines.length === 0; i++) {
    await db.put('begun', i)
    await delay(20)
  }
}

describe('mmapdb watch', function () {
  this.timeout(60_000)
  afterEach(async () => {
    for (const db of opened.splice(0)) await db.close()
    removeScratch()
  })

  it('prints each change as it happens, and ends with 0 when it is told to', async () => {
    const [db, path] = await makeDatabase()
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      const watch = watching(path)
      await begun(db, watch)
      await delay(50)
      const before = watch.lines.length
      await db.put('key', { a: 1 })
      await db.put('5', 'text')
      await db.del('key')
      await db.del('key')
      await db.put(['a', 5], 6n)
      expect((await watch.has(before + 4)).slice(before)).to.deep.equal([
        'put\tkey\t{"a":1}',
        'put\t"5"\t"text"',
        'del\tkey',
        'put\t["a",5]\t{"bigint":"6"}',
      ])
      watch.child.kill(signal)
      expect(await watch.ended, signal).to.deep.equal([0, null])
      expect(watch.errors).to.deep.equal([])
    }
  })

  it('goes on after a cursor or an LSN, takes a prefix and a limit, and prints JSON', async () => {
    const [db, path] = await makeDatabase()
    await db.batch([
      { type: 'put', key: 'user:1', value: 1 },
      { type: 'put', key: 'user:2', value: 2 },
      { type: 'put', key: ['order', 1], value: 3 },
    ])
    await db.del('user:1')
    const watch = async (...args: string[]): Promise<string[]> => {
      const { code, stdout, stderr } = await mmapdb(['--db', path, 'watch', ...args])
      expect([code, stderr]).to.deep.equal([0, ''])
      return stdout.split('\n').slice(0, -1)
    }
    expect(await watch('--since', '0', '--limit', '4')).to.deep.equal([
      'put\tuser:1\t1',
      'put\tuser:2\t2',
      'put\t["order",1]\t3',
      'del\tuser:1',
    ])
    expect(await watch('--since', '0', '--prefix', 'user:', '--limit', '3')).to.have.lengthOf(3)
    const order = await watch('--since', '0', '--prefix', '["order"]', '--json-key', '--limit', '1', '--json')
    const change = JSON.parse(order[0]!) as { lsn: number; cursor: string; timeMs: number }
    expect(change).to.deep.include({ type: 'put', key: ['order', 1], value: 3, lsn: db.getEntry('user:2')!.version })
    const rest = await watch('--since', change.cursor, '--limit', '1', '--json')
    expect(JSON.parse(rest[0]!)).to.deep.include({ type: 'del', key: 'user:1' })
    expect(rest[0]).to.not.match(/value/)
    const verbose = await watch('--since', String(change.lsn), '--limit', '1', '--verbose')
    expect(verbose[0]).to.match(/^[0-9a-f]{8}-\d+\t\d{4}-.*Z\tdel\tuser:1$/)
  })

  it('ends with 0 when the reader of its output has gone', async () => {
    const [db, path] = await makeDatabase()
    for (let i = 0; i < 100; i++) await db.put(`key ${i}`, i)
    const shell = spawn(
      'sh',
      ['-c', `"${process.execPath}" "${BIN}" --db "${path}" watch --since 0 | head -n 3; true`],
      {
        env: cleanEnv(),
      },
    )
    let text = ''
    shell.stdout.on('data', (piece: Buffer) => (text += piece.toString()))
    const ended = once(shell, 'close')
    for (let isOver = false; !isOver;) {
      await db.put('more', 1)
      isOver = await Promise.race([ended.then(() => true), delay(20).then(() => false)])
    }
    expect(text).to.equal('put\tkey 0\t0\nput\tkey 1\t1\nput\tkey 2\t2\n')
  })

  it('says what is wrong with what it was given, and makes no database', async () => {
    const [db, path] = await makeDatabase()
    await db.put('a', 1)
    const cases: [string[], number, RegExp][] = [
      [['--since', 'soon'], 2, /not a cursor/],
      [['--since', '99999999'], 2, /ahead of the log/],
      [['--since', '99999999999999999999'], 2, /too large/],
      [['--limit', '0'], 2, /1 or more/],
      [['--prefix', '{', '--json-key'], 2, /JSON/],
      [['--since', '0', '--json'], 2, /ERR_MMAPDB_LSN_GONE/],
    ]
    await db.close()
    // Nothing is kept from here on.
    const again = await open(path, { workers: 0, retain: { bytes: 0 } })
    opened.push(again)
    await again.put('b', 1)
    await again.close()
    opened.push(await open(path, { workers: 0 }))
    for (const [args, code, message] of cases) {
      const result = await mmapdb(['--db', path, 'watch', ...args])
      expect([result.code, result.stdout], args.join(' ')).to.deep.equal([code, ''])
      expect(result.stderr).to.match(message)
    }
    expect((await mmapdb(['--db', `${path}-none`, 'watch'])).stderr).to.match(/no database/)
  })
})
