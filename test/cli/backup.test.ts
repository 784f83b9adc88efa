// mmapdb backup and mmapdb restore: what they print, their exit codes, and Ctrl-C.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import { open } from '../../src/index.js'
import { BIN, cleanEnv, failsInJsonToo, json, ok, real, removeScratch, scratch, scratchDb } from '../support/cli.js'

describe('mmapdb backup and restore', function () {
  this.timeout(60_000)
  afterEach(removeScratch)

  it('make a backup, and a database of it', async () => {
    const db = scratchDb()
    await ok(db, 'load', '--ops', '3000', '--batch', '100', '--quiet', '--workers', '1')
    const backup = join(scratch(), 'b')
    expect(await real.ok(db, 'backup', backup)).to.match(/b: 3,000 entries as of LSN \d+, [\d.]+ KiB, in [\d.]+ s\.\n$/)
    const to = join(scratch(), 'r')
    const { lsn, entries } = await json(db, 'restore', backup, '--to', to)
    expect({ lsn, entries }).to.deep.include({ entries: 3000 })
    expect(await ok(to, 'scan')).to.equal(await ok(db, 'scan'))
    expect(await ok(to, 'verify')).to.match(/^Intact|No damage|intact/i)
    const again = await json(to, 'backup', join(scratch(), 'again'))
    expect(again).to.include({ entries: 3000, lsn })
  })

  it('restore a later moment by the log of the database that --db names', async () => {
    const path = scratchDb()
    const db = await open(path, { workers: 0, checkpointBytes: 2 ** 30 })
    await db.put('key', 'first')
    const backup = join(scratch(), 'b')
    await ok(path, 'backup', backup)
    await db.put('key', 'second')
    const { version } = db.getEntry('key')!
    const time = new Date(Date.now() + 2).toISOString()
    await new Promise((resolve) => setTimeout(resolve, 20))
    await db.put('key', 'third')
    const valueOf = async (...args: string[]): Promise<string> => {
      const to = join(scratch(), 'r')
      await ok(path, 'restore', backup, '--to', to, ...args)
      return ok(to, 'get', 'key')
    }
    expect(await valueOf()).to.equal('first\n')
    expect(await valueOf('--lsn', `${version}`)).to.equal('first\n')
    expect(await valueOf('--lsn', `${version + 1}`)).to.equal('second\n')
    expect(await valueOf('--time', time)).to.equal('second\n')
    expect(await valueOf('--latest')).to.equal('third\n')
    await db.close()
  })

  it('fail with a message and an exit code', async () => {
    const db = scratchDb()
    await ok(db, 'put', 'key', 'value')
    const backup = join(scratch(), 'b')
    await ok(db, 'backup', backup)
    const to = join(scratch(), 'r')
    const at = ['--db', db]
    await failsInJsonToo(2, 'ERR_MMAPDB_EXISTS', /already/, ...at, 'backup', backup)
    await failsInJsonToo(2, 'ERR_MMAPDB_NOT_FOUND', /no database/, '--db', `${db}-none`, 'backup', to)
    await failsInJsonToo(2, 'ERR_MMAPDB_NOT_A_DATABASE', /not a backup/, ...at, 'restore', db, '--to', to)
    await failsInJsonToo(2, 'ERR_MMAPDB_INVALID', /earlier/, ...at, 'restore', backup, '--to', to, '--lsn', '1')
    await failsInJsonToo(2, 'ERR_MMAPDB_INVALID', /--to/, ...at, 'restore', backup)
    for (const wrong of [
      ['--lsn', 'x'],
      ['--time', 'noon'],
      ['--time', '99999'],
      ['--time', '12'],
      ['--time', '-5'],
      ['--lsn', '5', '--latest'],
    ])
      await failsInJsonToo(2, 'ERR_MMAPDB_INVALID', /./, ...at, 'restore', backup, '--to', to, ...wrong)
    expect(existsSync(to)).to.equal(false)
    await failsInJsonToo(2, 'ERR_MMAPDB_INVALID', /non-empty/, ...at, 'backup', '')
    await failsInJsonToo(2, 'ERR_MMAPDB_INVALID', /is empty/, ...at, 'dump', '--output', '')
  })

  it('take back what they have done when they are interrupted', async () => {
    const path = scratchDb()
    await ok(path, 'load', '--ops', '60000', '--batch', '1000', '--quiet', '--workers', '1')
    const directory = scratch()
    let interrupted = 0
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      const target = join(directory, signal)
      const child = spawn(process.execPath, [BIN, '--db', path, 'backup', target], { env: cleanEnv() })
      const ended = once(child, 'exit')
      while (!existsSync(`${target}.unfinished`) && child.exitCode === null) await delay(2)
      child.kill(signal)
      const [code] = (await ended) as [number]
      if (code === 0) continue
      interrupted++
      expect(code).to.equal(130)
      // It may have been done just before: then the backup is whole.
      const left = readdirSync(directory)
      if (left.length > 0) await ok(join(directory, left[0]!), 'verify')
      expect(left.filter((name) => name !== signal)).to.deep.equal([])
    }
    expect(interrupted).to.be.above(0)
  })
})
