// mmapdb lock: exit codes, what it does when it has to wait, and signals.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import { open } from '../../src/index.js'
import { BIN, cleanEnv, mmapdb, removeScratch, scratch } from '../support/cli.js'

async function makeDatabase(): Promise<string> {
  const db = join(scratch(), 'db')
  expect((await mmapdb(['--db', db, 'put', 'key', 'value'])).code).to.equal(0)
  return db
}

async function until(holds: () => boolean): Promise<void> {
  for (const giveUpMs = performance.now() + 20_000; !holds(); await delay(5))
    if (performance.now() > giveUpMs) expect.fail(`never came true: ${String(holds)}`)
}

describe('mmapdb lock', function () {
  this.timeout(60_000)
  afterEach(removeScratch)

  it('passes on what the command prints, reads and ends with', async () => {
    const db = await makeDatabase()
    const lock = (...args: string[]): ReturnType<typeof mmapdb> =>
      mmapdb(['--db', db, 'lock', ...args], { stdin: 'the input' })
    const cat = await lock('key', '--', 'sh', '-c', 'cat; echo -n err >&2; exit 7')
    expect(cat).to.deep.equal({ code: 7, signal: null, stdout: 'the input', stderr: 'err' })
    expect((await lock('[1,"a"]', '--json-key', '--', 'true')).code).to.equal(0)
    expect((await lock('key', '--', 'sh', '-c', 'kill -TERM $$')).code).to.equal(128 + 15)
    expect((await lock('key', '--', '/nowhere/command')).code).to.equal(127)
    const dashed = await lock('--', '-key', '--', 'sh', '-c', 'exit 5')
    expect(dashed.code, 'a key that begins with a dash').to.equal(5)
    const file = join(scratch(), 'no-command')
    writeFileSync(file, '')
    expect((await lock('key', '--', file)).code).to.equal(126)
    for (const args of [['key'], ['key', '--'], ['{', '--json-key', '--', 'true'], ['key', '--', '']])
      expect((await lock(...args)).code, args.join(' ')).to.equal(2)
    const missing = await mmapdb(['--db', `${db}-none`, 'lock', 'key', '--', 'true'])
    expect([missing.code, existsSync(`${db}-none`)]).to.deep.equal([2, false])
  })

  it('ends with 4 if the lock could not be acquired in time, and runs nothing', async () => {
    const path = await makeDatabase()
    const db = await open(path, { workers: 0 })
    try {
      const held = await db.lock('key', { mode: 'shared' })
      const lock = (...args: string[]): ReturnType<typeof mmapdb> =>
        mmapdb(['--db', path, 'lock', 'key', ...args, '--', 'echo', 'ran'])
      for (const args of [['--no-wait'], ['--timeout', '30'], ['--no-wait', '--json']]) {
        const { code, stdout, stderr } = await lock(...args)
        expect([code, stdout], args.join(' ')).to.deep.equal([4, ''])
        expect(stderr).to.match(new RegExp(`process ${process.pid} holds it`))
      }
      expect(await lock('--shared', '--no-wait')).to.deep.include({ code: 0, stdout: 'ran\n' })
      const stats = JSON.parse((await mmapdb(['--db', path, 'stats', '--json'])).stdout) as { locks: object }
      expect(stats.locks).to.deep.include({ held: 1, waiting: 0 })
      expect(JSON.stringify(stats.locks)).to.match(
        new RegExp(`"key":"key","mode":"shared".*"processId":${process.pid}`),
      )
      expect((await mmapdb(['--db', path, 'stats'])).stdout).to.match(/record locks .* held .* 1/)
      const waits = lock()
      await until(() => db.stats().locks.waiting === 1)
      held.release()
      expect(await waits).to.deep.include({ code: 0, stdout: 'ran\n' })
    } finally {
      await db.close()
    }
  })

  it('gives the command the signals that it gets, and keeps the lock until that has ended', async () => {
    const path = await makeDatabase()
    const db = await open(path, { workers: 0 })
    try {
      const said = join(scratch(), 'said')
      writeFileSync(said, '')
      const script = `trap 'echo got >> ${said}; sleep 0.3; exit 9' TERM; echo runs >> ${said}; while :; do sleep 0.05; done`
      const child = spawn(process.execPath, [BIN, '--db', path, 'lock', 'key', '--', 'sh', '-c', script], {
        env: cleanEnv(),
        stdio: 'ignore',
      })
      await until(() => readFileSync(said, 'utf8') === 'runs\n')
      expect(db.tryLock('key')).to.equal(undefined)
      child.kill('SIGTERM')
      await until(() => readFileSync(said, 'utf8') === 'runs\ngot\n')
      expect(db.tryLock('key'), 'the command has not ended yet').to.equal(undefined)
      const [code] = (await once(child, 'exit')) as [number]
      expect(code).to.equal(9)
      expect(db.tryLock('key')).to.not.equal(undefined)
    } finally {
      await db.close()
    }
  })
})
