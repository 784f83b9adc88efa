// Record locks on a full disk. If this failed, a lock that nobody else sees would be taken for one, or the table would
// be left half made.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'chai'
import { Engine } from '../../src/engine/engine.js'
import type { Grant } from '../../src/engine/locks/grant.js'
import { resolveOptions } from '../../src/engine/options.js'
import { posixStorage } from '../../src/storage/posix.js'
import { cleanUp, expectError, inProcess, openEngine, scratchPath, TINY } from '../support/engine.js'
import { Faults, FaultyStorage } from '../support/faulty-storage.js'
import { problemsIn } from '../support/lock-table.js'

const FULL = { calls: ['grow control'], code: 'ENOSPC', n: 1, lasting: true } as const
const tryAcquire = (engine: Engine, name: string): Grant | undefined =>
  engine.recordLocks.tryAcquire([Buffer.from(name)], 'exclusive')

describe('record locks on a full disk', function () {
  this.timeout(60_000)
  afterEach(cleanUp)

  const opened: Engine[] = []
  const open = (path: string, faults: Faults): Engine => {
    const engine = Engine.open(resolveOptions(path, TINY), new FaultyStorage(posixStorage, faults))
    opened.push(engine)
    return engine
  }
  afterEach(() => {
    for (const engine of opened.splice(0)) engine.close()
  })

  it('are refused if there is no room for their table, which is made once there is', async () => {
    const path = scratchPath()
    const faults = new Faults()
    const engine = open(path, faults)
    const other = openEngine(path)
    faults.arm(FULL)
    expectError(() => tryAcquire(engine, 'key'), 'ERR_MMAPDB_FULL', /Free some space/)
    expect(existsSync(join(path, 'locks')), 'nothing is left of it').to.equal(false)
    const options = { mode: 'exclusive', timeoutMs: 1000, signal: undefined, nameOf: String } as const
    let code: unknown
    await engine.recordLocks.acquire([Buffer.from('key')], options).catch((error: unknown) => (code = error))
    expect(code).to.have.property('code', 'ERR_MMAPDB_FULL')
    engine.put('key', Buffer.from('value'))
    faults.heal()
    const grant = tryAcquire(engine, 'key')!
    expect(tryAcquire(other, 'key')).to.equal(undefined)
    engine.recordLocks.release(grant)
    expect(tryAcquire(other, 'key')).to.not.equal(undefined)
  })

  it('are refused if the table cannot grow, and those that are held stay', () => {
    const path = scratchPath()
    const faults = new Faults()
    const engine = open(path, faults)
    const grants = [tryAcquire(engine, 'first')!]
    faults.arm(FULL)
    const error = expectError(() => {
      for (let i = 0; i < 100_000; i++) grants.push(tryAcquire(engine, `key ${i}`)!)
    }, 'ERR_MMAPDB_FULL')
    expect(error.message).to.match(/record lock/)
    expect(grants.length).to.be.within(10, 99_999)
    const keys = ['more 1', 'more 2', 'more 3', 'more 4'].map((name) => Buffer.from(name))
    expectError(() => engine.recordLocks.tryAcquire(keys, 'exclusive'), 'ERR_MMAPDB_FULL')
    expect(engine.recordLocks.counts().held, 'all of several, or none').to.equal(grants.length)
    for (const grant of grants.slice(0, 5)) engine.recordLocks.release(grant)
    expect(engine.recordLocks.tryAcquire(keys, 'exclusive')).to.not.equal(undefined)
    expect(problemsIn(path)).to.deep.equal([])
  })

  it('lie in the memory of the process if `control` does, for all of its threads', async () => {
    const path = scratchPath()
    openEngine(path).close()
    const faults = new Faults()
    faults.arm(FULL)
    const engine = open(path, faults)
    expect(engine.parts.control.isInMemory).to.equal(true)
    const grant = tryAcquire(engine, 'key')!
    const other = openEngine(path)
    expect(tryAcquire(other, 'key')).to.equal(undefined)
    expect(other.recordLocks.list().length).to.equal(1)
    const waits = other.recordLocks.acquire([Buffer.from('key')], {
      mode: 'exclusive',
      timeoutMs: 10_000,
      signal: undefined,
      nameOf: String,
    })
    engine.recordLocks.release(grant)
    await waits
    const peer = inProcess(path, `try { open() } catch (error) { say(error.code) }`)
    expect(await peer.next()).to.equal('ERR_MMAPDB_FULL')
    other.close()
    engine.close()
    expect(existsSync(join(path, 'locks'))).to.equal(false)
    faults.heal()
    const next = openEngine(path)
    expect(next.recordLocks.list()).to.deep.equal([])
    expect(tryAcquire(next, 'key')).to.not.equal(undefined)
  })
})
