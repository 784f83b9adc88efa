// Refusals of the real system: a shim makes calls fail, descriptors run out, address space is limited,
// permissions are taken away, a clock jumps. If this failed, an error of the system would reach a caller
// untyped, lose something that was acknowledged, or last longer than its cause.
import { expect } from 'chai'
import { spawnSync } from 'node:child_process'
import { chmodSync, chownSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { OpenOptions } from '../../src/engine/options.js'
import {
  cleanUp,
  expectError,
  expectSound,
  inProcess,
  openEngine,
  scratchDirectory,
  scratchPath,
  TINY,
  type ProcessPeer,
} from '../support/engine.js'
import { compiledFile, compiledUrl, inPackage } from '../../src/package-root.js'

const SHIM_SOURCE = inPackage('test/support/failing-calls.c')
const OPTIONS = { ...TINY, timeoutMs: 3000 }
const EIO = '5'
const isRoot = process.getuid?.() === 0
const NOBODY = 65534

/** Does what it is told, one operation after another, and reports the outcome of each. */
const SERVANT = `
  let db
  const code = (act) => { try { const r = act(); return r === undefined || r === true ? 'ok' : r } catch (error) { return error.code ?? String(error.stack) } }
  for (let n = 0;;) {
    const what = await hear()
    if (what === 'open') say(code(() => { db = open() }))
    else if (what === 'put') say(code(() => db.put(['theirs', n++], Buffer.alloc(300, 7))))
    else if (what === 'get') say(code(() => db.get('mine').toString()))
    else if (what === 'checkpoint') say(code(() => { db.checkpoint(true) }))
    else if (what === 'range') say(code(() => db.range(undefined, 'keys').count()))
    else if (what === 'verify') say(code(() => verify(db).ok))
    else if (what === 'failure') say(db.stats().failure ?? 'none')
    else if (what === 'descriptors') say((await import('node:fs')).readdirSync('/proc/self/fd').length)
    else if (what === 'drop rights') { process.setgroups([]); process.setgid(${NOBODY}); process.setuid(${NOBODY}); say('ok') }
    else if (what.descriptors !== undefined) {
      const { closeSync, openSync } = await import('node:fs')
      globalThis.taken ??= []
      for (const fd of taken.splice(0)) closeSync(fd)
      if (what.descriptors >= 0) {
        try { for (;;) taken.push(openSync('/dev/null')) } catch (error) { if (error.code !== 'EMFILE') throw error }
        for (let i = 0; i < what.descriptors; i++) closeSync(taken.pop())
      }
      say('ok')
    }
    else if (what === 'close') say(code(() => { db.close() }))
    else break
  }`

class Servant {
  constructor(readonly peer: ProcessPeer) {}
  async ask(what: unknown): Promise<unknown> {
    this.peer.tell(what)
    return this.peer.next()
  }
}

const servant = (path: string, options: OpenOptions = OPTIONS, environment: Record<string, string> = {}): Servant =>
  new Servant(inProcess(path, SERVANT, options, environment))

describe('the system', function () {
  this.timeout(60_000)
  let shim: string
  let shimDirectory: string
  before(function () {
    shimDirectory = mkdtempSync(join(tmpdir(), 'mmapdb-shim-'))
    shim = join(shimDirectory, 'shim.so')
    const built = spawnSync('cc', ['-shared', '-fPIC', '-O1', '-o', shim, SHIM_SOURCE, '-ldl'], { encoding: 'utf8' })
    expect(built.status, built.stderr).to.equal(0)
  })
  after(() => rmSync(shimDirectory, { recursive: true, force: true }))
  afterEach(cleanUp)

  /** A process in which calls fail once `arm` has been called, beside an engine in which they do not. */
  async function withShim(fault: { call: string; path: string; from?: number; count?: number }) {
    const path = scratchPath()
    const engine = openEngine(path, OPTIONS)
    engine.put('mine', Buffer.from('value'))
    const armed = join(dirname(path), 'armed')
    const log = join(dirname(path), 'calls')
    writeFileSync(log, '')
    const there = servant(path, OPTIONS, {
      LD_PRELOAD: shim,
      FAULT_CALL: fault.call,
      FAULT_PATH: fault.path,
      FAULT_ERRNO: EIO,
      FAULT_FROM: String(fault.from ?? 1),
      FAULT_COUNT: String(fault.count ?? 1),
      FAULT_ARMED: armed,
      FAULT_LOG: log,
    })
    expect(await there.ask('open')).to.equal('ok')
    return { path, engine, there, arm: () => writeFileSync(armed, ''), calls: () => readFileSync(log, 'latin1') }
  }

  // When its flush fails, a frame is in the log already; when its new segment cannot be made, it is not.
  const flushes: Record<string, { call: string; path: string; act: string; code: string }> = {
    'of the log': { call: 'fdatasync', path: '.wal', act: 'put', code: 'ERR_MMAPDB_OUTCOME_UNKNOWN' },
    'of the data file': { call: 'fdatasync', path: '/data', act: 'checkpoint', code: 'ERR_MMAPDB_IO' },
    'of the directory of the log': { call: 'fsync', path: '/wal', act: 'put', code: 'ERR_MMAPDB_IO' },
  }
  for (const [what, { act, code, ...fault }] of Object.entries(flushes)) {
    it(`fails a flush ${what}: every process refuses writes, none tries again, reads go on, the next opener recovers`, async () => {
      const { path, engine, there, arm, calls } = await withShim(fault)
      expect(await there.ask('put')).to.equal('ok')
      arm()
      // A segment is full after a few puts.
      let outcome: unknown
      let acknowledged = 1
      for (let i = 0; i < 40 && (outcome = await there.ask(act)) === 'ok'; i++) if (act === 'put') acknowledged++
      expect(outcome).to.equal(code)
      for (let i = 0; i < 3; i++) {
        expect(await there.ask('put')).to.equal('ERR_MMAPDB_IO')
        expect(await there.ask('checkpoint')).to.equal('ERR_MMAPDB_IO')
      }
      expectError(
        () => engine.put('more', Buffer.from('1')),
        'ERR_MMAPDB_IO',
        /Writes are refused.*EIO.*close the database everywhere/,
      )
      expectError(() => engine.checkpoint(true), 'ERR_MMAPDB_IO', /Writes are refused/)
      expect(engine.stats().failure).to.match(/Writes are refused/)
      expect(await there.ask('get')).to.equal('value')
      expect(engine.get('mine')).to.deep.equal(Buffer.from('value'))
      expectSound(engine)
      // A process that opens it now is refused as well.
      const late = openEngine(path, OPTIONS)
      expectError(() => late.put('more', Buffer.from('1')), 'ERR_MMAPDB_IO', /Writes are refused/)
      expect(await there.ask('close')).to.equal('ok')
      expect(calls(), 'one call failed, and none of its kind came after it').to.equal('F')
      late.close()
      engine.close()
      const again = openEngine(path, OPTIONS)
      expect(again.stats().failure).to.equal(undefined)
      for (let i = 0; i < acknowledged; i++) expect(again.get(['theirs', i])).to.deep.equal(Buffer.alloc(300, 7))
      again.put('afterwards', Buffer.from('works'))
      expectSound(again)
    })
  }

  for (const [call, outcomes] of [
    ['pwrite', ['ERR_MMAPDB_IO']],
    ['pread', ['ERR_MMAPDB_IO']],
  ] as const) {
    it(`fails a ${call} of the log: that write is refused and no other, here and elsewhere`, async () => {
      const { engine, there, arm, calls } = await withShim({ call, path: '.wal', count: 2 })
      arm()
      for (let i = 0; i < 2; i++) expect(await there.ask('put')).to.be.oneOf(outcomes)
      expect(await there.ask('get')).to.equal('value')
      engine.put('more', Buffer.from('1'))
      expect(await there.ask('put')).to.equal('ok')
      expect(await there.ask('failure')).to.equal('none')
      expect(calls()).to.match(/^FF/)
      expectSound(engine)
    })
  }

  it('has a clock that jumps by years: writes go on, and time limits are kept', async () => {
    for (const years of [-30, 10]) {
      const path = scratchPath()
      const engine = openEngine(path, OPTIONS)
      const armed = join(dirname(path), 'armed')
      const there = servant(
        path,
        { ...OPTIONS, timeoutMs: 800 },
        {
          LD_PRELOAD: shim,
          FAULT_ARMED: armed,
          FAULT_CLOCK: String(years * 365 * 86_400),
        },
      )
      expect(await there.ask('open')).to.equal('ok')
      expect(await there.ask('put')).to.equal('ok')
      const { appendLock } = engine.parts
      expect(appendLock.tryTake()).to.equal(true)
      const startedMs = performance.now()
      const waiting = there.ask('put')
      await delay(200)
      writeFileSync(armed, '')
      expect(await waiting).to.equal('ERR_MMAPDB_LOCKED')
      expect(performance.now() - startedMs).to.be.within(750, 8000)
      appendLock.release()
      expect(await there.ask('put')).to.equal('ok')
      expect(await there.ask('checkpoint')).to.equal('ok')
      engine.put('mine', Buffer.from('value'))
      expectSound(engine)
    }
  })

  it('has no descriptors left: opening is refused and leaks none; who is open reads on, and writes again later', async () => {
    const path = scratchPath()
    const engine = openEngine(path, OPTIONS)
    engine.put('mine', Buffer.from('value'))
    const there = servant(path)
    const before = await there.ask('descriptors')
    const outcomes: unknown[] = []
    for (let free = 0; ; free++) {
      await there.ask({ descriptors: free })
      const outcome = await there.ask('open')
      outcomes.push(outcome)
      if (outcome === 'ok') break
      expect(outcome, `with ${free} descriptors`).to.equal('ERR_MMAPDB_IO')
      await there.ask({ descriptors: -1 })
      expect(await there.ask('descriptors'), `after an opening with ${free} descriptors`).to.equal(before)
    }
    expect(outcomes.length, outcomes.join(' ')).to.be.greaterThan(2)
    // It keeps the files that it has open; a new segment of the log cannot be opened.
    await there.ask({ descriptors: 0 })
    let outcome: unknown = 'ok'
    for (let i = 0; i < 30 && outcome === 'ok'; i++) outcome = await there.ask('put')
    expect(outcome).to.equal('ERR_MMAPDB_IO')
    expect(await there.ask('get')).to.equal('value')
    engine.put('more', Buffer.from('1'))
    await there.ask({ descriptors: -1 })
    expect(await there.ask('put')).to.equal('ok')
    expect(await there.ask('failure')).to.equal('none')
    expectSound(engine)
  })

  it('limits the address space: opening makes do with less, or says so and what to do', () => {
    const path = scratchPath()
    const script = `
      const { open } = await import(${JSON.stringify(compiledUrl('src/index.js'))})
      const fs = await import('node:fs')
      const dbs = []
      let before
      try {
        for (;;) {
          before = fs.readdirSync('/proc/self/fd').length
          const db = await open(${JSON.stringify(path)} + dbs.length, { workers: 0, segmentBytes: 65536 })
          dbs.push(db)
          db.putSync('a', dbs.length)
        }
      } catch (error) { console.log(error.code, error.message, fs.readdirSync('/proc/self/fd').length - before) }
      console.log(dbs.length > 20, dbs.every((db, i) => db.get('a') === i + 1))
      for (const db of dbs) await db.close()`
    const { stdout, stderr } = spawnSync(
      'sh',
      ['-c', 'ulimit -v 6000000 && exec "$0" --input-type=module -e "$1"', process.execPath, script],
      { encoding: 'utf8' },
    )
    expect(stdout, stderr).to.match(/^ERR_MMAPDB_IO .*ENOMEM.*ulimit -v.* 0\ntrue true\n$/)
  })

  const rights: [string, (path: string) => string, number][] = [
    ['the directory', (path) => path, 0o555],
    ['the directory, even to look', (path) => path, 0o000],
    ['the data file', (path) => join(path, 'data'), 0o444],
    ['the data file, even to look', (path) => join(path, 'data'), 0o000],
    ['the directory of the log', (path) => join(path, 'wal'), 0o000],
    ['the segment', (path) => join(path, 'wal', readdirSync(join(path, 'wal')).sort().at(-1)!), 0o444],
  ]
  for (const [what, locate, mode] of rights) {
    it(`takes the right to ${what} away: opening is refused, and works when it is given back`, async () => {
      const path = scratchPath()
      const engine = openEngine(path, OPTIONS)
      engine.put('mine', Buffer.from('value'))
      engine.close()
      giveAway(path)
      const file = locate(path)
      const before = statSync(file).mode & 0o777
      const there = servant(path)
      if (isRoot) expect(await there.ask('drop rights')).to.equal('ok')
      const descriptors = await there.ask('descriptors')
      chmodSync(file, mode)
      expect(await there.ask('open')).to.equal('ERR_MMAPDB_PERMISSION')
      expect(await there.ask('descriptors')).to.equal(descriptors)
      chmodSync(file, before)
      expect(await there.ask('open')).to.equal('ok')
      expect(await there.ask('get')).to.equal('value')
      expect(await there.ask('put')).to.equal('ok')
      expect(await there.ask('close')).to.equal('ok')
    })
  }

  it('takes the right to the log away while it is open: writes are refused until it is given back, reads are not', async () => {
    const path = scratchPath()
    const engine = openEngine(path, OPTIONS)
    engine.put('mine', Buffer.from('value'))
    engine.close()
    giveAway(path)
    const there = servant(path)
    if (isRoot) await there.ask('drop rights')
    expect(await there.ask('open')).to.equal('ok')
    chmodSync(join(path, 'wal'), 0o555)
    let outcome: unknown = 'ok'
    for (let i = 0; i < 30 && outcome === 'ok'; i++) outcome = await there.ask('put')
    expect(outcome).to.equal('ERR_MMAPDB_PERMISSION')
    expect(await there.ask('get')).to.equal('value')
    chmodSync(join(path, 'wal'), 0o755)
    for (let i = 0; i < 30; i++) expect(await there.ask('put')).to.equal('ok')
    expect(await there.ask('failure')).to.equal('none')
    expect(await there.ask('close')).to.equal('ok')
  })

  /** Gives the database to the user that `servant` becomes when it drops its rights. */
  function giveAway(path: string): void {
    chmodSync(dirname(path), 0o755)
    if (!isRoot) return
    for (const name of ['', 'data', 'control', 'wal', ...readdirSync(join(path, 'wal')).map((n) => join('wal', n))]) {
      try {
        chownSync(join(path, name), NOBODY, NOBODY)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      }
    }
  }

  it('has a disk that is full, for several processes: all go on when there is room again, without reopening', function () {
    const mount = scratchDirectory()
    const scene = compiledFile('test/support/full-disk-scene.js')
    const command = 'mount -t tmpfs -o size=9m mmapdb-test "$1" || exit 77; exec "$2" "$3" "$1"'
    const run = spawnSync(
      'unshare',
      [isRoot ? '-m' : '-Urm', 'sh', '-c', command, 'sh', mount, process.execPath, scene],
      { encoding: 'utf8' },
    )
    if (run.error !== undefined || run.status === 77 || /unshare/.test(run.stderr)) {
      console.log(`      SKIPPED: no file system can be mounted here: ${run.error?.message ?? run.stderr}`)
      this.skip()
    }
    expect(run.status, run.stderr + run.stdout).to.equal(0)
  })
})
