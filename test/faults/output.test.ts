// Output and arguments: a full disk, a reader that has closed the pipe, a slow one, arguments that are not text.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { expect } from 'chai'
import { open } from '../../src/index.js'
import { BIN, cleanEnv, mmapdb, ok, removeScratch, scratchDb, type Outcome } from '../support/cli.js'

/** Runs a shell command in which $M is the command line. */
async function shell(command: string): Promise<Outcome> {
  const child = spawn('bash', ['-c', command], { env: cleanEnv({ M: `${process.execPath} ${BIN}` }) })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (text) => (stdout += String(text)))
  child.stderr.on('data', (text) => (stderr += String(text)))
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null]
  return { code, signal, stdout, stderr }
}

describe('output of the command line', function () {
  this.timeout(120_000)
  afterEach(removeScratch)

  it('that cannot be written is an error like any other: one line, exit code 2', async function () {
    if (!existsSync('/dev/full')) this.skip()
    const db = scratchDb()
    await ok(db, 'put', 'k', 'v')
    const commands = [
      'get k',
      'scan',
      'stats',
      'verify',
      'wal',
      'slots',
      'slots 4',
      '--help',
      'load --ops 5 --quiet --json',
      'del k --json',
    ]
    for (const command of commands) {
      const { code, stderr } = await shell(`$M --db ${db} ${command} >/dev/full`)
      expect({ command, code }).to.deep.equal({ command, code: 2 })
      expect(stderr).to.match(
        command.includes('--json')
          ? /^\{"error":\{"code":"ERR_MMAPDB_IO",[^\n]*\}\}\n$/
          : /^mmapdb: The output cannot be written: ENOSPC[^\n]*\n$/,
      )
    }
    // The error cannot be printed either; the exit codes stay what they are.
    expect((await shell(`$M --db ${db} get none 2>/dev/full`)).code).to.equal(1)
    expect((await shell(`$M --db ${db} get 2>/dev/full`)).code).to.equal(2)
  })

  it('ends quietly when its reader has gone, and waits for a slow one', async () => {
    const db = scratchDb()
    const it = await open(db, { workers: 0 })
    it.batchSync(Array.from({ length: 5000 }, (_, i) => ({ type: 'put', key: i, value: 'x'.repeat(200) })))
    await it.close()
    expect(await shell(`$M --db ${db} scan | head -n 0; echo "\${PIPESTATUS[0]}"`)).to.include({
      stdout: '0\n',
      stderr: '',
    })
    expect(await shell(`$M --db ${db} stats | true; echo "\${PIPESTATUS[0]}"`)).to.include({
      stdout: '0\n',
      stderr: '',
    })
    expect((await shell(`$M --db ${db} scan | (sleep 0.3; wc -l)`)).stdout.trim()).to.equal('5000')
  })

  it('does not take arguments that are not UTF-8 for something else', async () => {
    const db = scratchDb()
    for (const command of [
      `put $'K\\xf6ln' 1`,
      `put k $'\\xe4'`,
      `get $'K\\xf6ln'`,
      `del $'\\xff'`,
      `scan --prefix $'\\xff'`,
    ]) {
      const { code, stderr } = await shell(`$M --db ${db} ${command}`)
      expect({ command, code }).to.deep.equal({ command, code: 2 })
      expect(stderr).to.match(/^mmapdb: Argument \d is not UTF-8 text: [^\n]*\n$/)
    }
    expect(existsSync(db)).to.equal(false)
    // U+FFFD itself is a character like any other.
    expect(await mmapdb(['--db', db, 'put', '\ufffd', '1'])).to.include({ code: 0, stderr: '' })
  })
})
