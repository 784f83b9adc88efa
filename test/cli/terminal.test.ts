// Output in a terminal: no line is wider than it, and nothing in keys and values steers it.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { expect } from 'chai'
import { progressLine, startProgress } from '../../src/cli/load/progress.js'
import { BIN, cleanEnv, ok, removeScratch, scratchDb } from '../support/cli.js'

/** Runs a command in a terminal of that many columns; prints what the terminal was sent. */
const IN_TERMINAL = `
import fcntl, os, pty, struct, sys, termios
pid, fd = pty.fork()
if pid == 0:
    sys.stdin.readline()
    os.execvp(sys.argv[2], sys.argv[2:])
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', 24, int(sys.argv[1]), 0, 0))
os.write(fd, b'\\n')
sent = b''
while True:
    try:
        some = os.read(fd, 65536)
    except OSError:
        break
    if not some:
        break
    sent += some
os.write(1, sent)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`

const hasPython = spawnSync('python3', ['-c', 'import pty']).status === 0

async function inTerminal(columns: number, args: readonly string[], env: Record<string, string> = {}): Promise<string> {
  const child = spawn('python3', ['-c', IN_TERMINAL, String(columns), process.execPath, BIN, ...args], {
    env: cleanEnv({ LANG: 'C.UTF-8', LC_ALL: '', TERM: 'xterm', ...env }),
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const parts: Buffer[] = []
  child.stdout.on('data', (part: Buffer) => parts.push(part))
  const [code] = (await once(child, 'close')) as [number]
  expect(code, args.join(' ')).to.equal(0)
  return Buffer.concat(parts).toString()
}

/** The lines as they were drawn, one over the other, without what steers the terminal. */
const drawn = (sent: string): string[] =>
  // eslint-disable-next-line no-control-regex
  sent.split(/\r\n|\r|\u001b\[1G/).map((line) => line.replace(/\u001b(\[[0-9;?]*[a-zA-Z]|[78])/g, ''))

describe('command line in a terminal', function () {
  this.timeout(120_000)
  afterEach(removeScratch)
  before(function () {
    if (!hasPython) this.skip()
  })

  it('keeps to the width of the terminal', async () => {
    const db = scratchDb()
    for (const columns of [20, 40]) {
      for (const args of [['load', '--ops', '60', '--workers', '2'], ['stats'], ['slots']]) {
        const lines = drawn(await inTerminal(columns, ['--db', db, ...args]))
        // Sentences are left to the terminal, and so are words that are longer than a line.
        const ours = args[0] === 'slots' ? lines.filter((line) => /^ *\d+ {2}[A-Za-z._!]+$/.test(line)) : lines
        const tooLong = ours.filter((line) => line.length > columns && line.trim().includes(' '))
        expect(tooLong, `${args[0]} at ${columns}`).to.deep.equal([])
        if (args[0] === 'load') expect(lines.some((line) => line.includes('100%'))).to.equal(true)
      }
    }
  })

  it('breaks the lines of help where words end', async () => {
    for (const args of [['--help'], ['load', '--help'], ['wal', '--help'], ['help', 'verify']]) {
      const help = await inTerminal(70, args)
      // Examples are left as they are: they can be copied.
      const tooLong = drawn(help).filter((line) => line.length > 70 && !/^ {2}(mmapdb|zcat) /.test(line))
      expect(tooLong, args.join(' ')).to.deep.equal([])
    }
    expect(await inTerminal(70, ['--help'])).to.match(/^ {2}2 {4}invalid input.*\r\n {7}\S/m)
  })

  it('draws in ASCII, and without colours, if asked to', async () => {
    const db = scratchDb()
    const load = await inTerminal(80, ['--db', db, 'load', '--ops', '60', '--workers', '1'], { LC_ALL: 'C' })
    const other = [...load].filter((c) => c > '\u007f')
    expect(other).to.deep.equal([])
    expect(load).to.match(/written #+ 100%/)
    const escape = '\u001b['
    expect(await inTerminal(80, ['--db', db, 'slots'])).to.contain(escape)
    expect(await inTerminal(80, ['--db', db, 'slots'], { NO_COLOR: '1' })).to.not.contain(escape)
    expect(await inTerminal(80, ['--db', db, 'load', '--ops', '20'], { TERM: 'dumb' })).to.not.contain(escape)
    expect(await ok(db, 'slots')).to.not.contain(escape)
  })

  it('has the percentage in every line of progress, however narrow', () => {
    for (let columns = 5; columns <= 200; columns++) {
      for (const share of [0, 0.005, 0.5, 0.999, 1]) {
        const line = progressLine('read back', share, ['1,234,567', '12,345/s', '1h0m left'], columns, '#', '-')
        expect(line.length, line).to.be.below(columns)
        expect(line).to.contain(`${Math.floor(share * 100)}%`)
      }
    }
  })

  it('prints a line at least every five seconds where there is no terminal, and no more of them', async () => {
    const { stderr } = process
    const was = { write: stderr.write, isTTY: stderr.isTTY, now: performance.now }
    const written: string[] = []
    let laterMs = 0
    stderr.isTTY = false
    stderr.write = ((text: string) => written.push(text) > 0) as typeof stderr.write
    performance.now = () => was.now.call(performance) + laterMs
    const twoIntervals = () => new Promise((resolve) => setTimeout(resolve, 250))
    const progress = startProgress('written', 1000, () => ({ done: 30, operations: 30 }), false)
    try {
      await twoIntervals()
      expect(written).to.deep.equal([])
      laterMs += 5000
      await twoIntervals()
      expect(written).to.deep.equal(['written: 3% (30)\n'])
      laterMs += 5000
      await twoIntervals()
      expect(written).to.have.length(2)
    } finally {
      progress.stop(false)
      Object.assign(stderr, { write: was.write, isTTY: was.isTTY })
      performance.now = was.now
    }
  })
})
