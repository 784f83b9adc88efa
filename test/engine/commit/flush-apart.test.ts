// Writes that are finished without waiting for them on the thread. If this failed, a write would be acknowledged that
// is not on disk, or an event loop would be held up.
import { expect } from 'chai'
import { Engine } from '../../../src/engine/engine.js'
import type { BegunWrites } from '../../../src/engine/commit-path.js'
import { FrameBuilder } from '../../../src/wal/frame-builder.js'
import { cleanUp, openEngine, scratchPath, TINY } from '../../support/engine.js'
import { Faults, FaultyStorage } from '../../support/faulty-storage.js'
import { posixStorage } from '../../../src/storage/posix.js'
import { resolveOptions } from '../../../src/engine/options.js'

function begin(engine: Engine, key: string, value = 'value'): BegunWrites {
  const frame = new FrameBuilder()
  engine.operations.batch(frame, [{ type: 'put', key, value: Buffer.from(value) }])
  return engine.commits.beginWritesSoon(Buffer.from(frame.frame()))!
}
const endOf = (begun: BegunWrites) => begun.parts.at(-1)!.end

describe('a write that nobody waits for on its thread', () => {
  afterEach(cleanUp)

  it('is on disk and visible when that is told, and so are those that came while it was flushed', async () => {
    const engine = openEngine(scratchPath())
    const first = begin(engine, 'first')
    const isDone = engine.apart.bring(endOf(first))
    const second = begin(engine, 'second')
    expect(engine.get('first')).to.equal(undefined)
    expect(await isDone).to.equal(true)
    expect(String(engine.get('first'))).to.equal('value')
    const { durableLsn, visibleLsn } = engine.stats().log
    expect(durableLsn).to.be.at.least(endOf(first))
    expect(visibleLsn, 'only what was flushed is applied').to.equal(endOf(first))
    expect(await engine.apart.bring(endOf(second))).to.equal(true)
    for (const begun of [first, second]) expect(engine.commits.finishWrites(begun).failed).to.deep.equal([])
  })

  it('is left to others if there is much to apply, or if another thread leads', async () => {
    const path = scratchPath()
    const [engine, leader] = [openEngine(path, {}), openEngine(path, {})]
    const long = begin(engine, 'long', 'x'.repeat(20_000))
    expect(await engine.apart.bring(endOf(long))).to.equal(false)
    engine.commits.finishWrites(long)
    const begun = begin(engine, 'key')
    leader.parts.leaderLock.tryTake()
    expect(await engine.apart.bring(endOf(begun))).to.equal(false)
    leader.parts.leaderLock.release()
    expect(engine.commits.finishWrites(begun).failed).to.deep.equal([])
  })

  it('is finished by a thread that finds its own number in the lock: its JavaScript was ended while it led', async () => {
    const engine = openEngine(scratchPath())
    const begun = begin(engine, 'key')
    engine.parts.leaderLock.tryTake()
    expect(await engine.apart.bring(endOf(begun))).to.equal(true)
    expect(engine.parts.leaderLock.isFree).to.equal(true)
    expect(engine.commits.finishWrites(begun).failed).to.deep.equal([])
  })

  it('is not begun if it would have to wait: another thread appends, or the file must grow', () => {
    const path = scratchPath()
    const [engine, other] = [openEngine(path), openEngine(path)]
    engine.put('key', Buffer.from('value'))
    other.parts.appendLock.tryTake()
    const { tailLsn } = engine.stats().log
    expect(begin(engine, 'another')).to.equal(undefined)
    other.parts.appendLock.release()
    const { control } = engine.parts
    const { fileSlots } = control
    control.fileSlots = 5
    expect(begin(engine, 'another')).to.equal(undefined)
    expect(engine.stats().log.tailLsn).to.equal(tailLsn)
    control.fileSlots = fileSlots
    expect(engine.commits.finishWrites(begin(engine, 'another')).failed).to.deep.equal([])
  })

  it('ends in an unknown outcome if the flush fails, and everybody is refused from then on', async () => {
    const path = scratchPath()
    const faults = new Faults()
    const engine = Engine.open(resolveOptions(path, TINY), new FaultyStorage(posixStorage, faults))
    const other = openEngine(path)
    engine.put('key', Buffer.from('value'))
    const begun = begin(engine, 'lost')
    faults.arm({ calls: ['flush log'], code: 'EIO', n: 1, lasting: false })
    expect(await engine.apart.bring(endOf(begun))).to.equal(false)
    faults.heal()
    for (const each of [engine, other])
      expect(() => each.put('key', Buffer.from('new')))
        .to.throw(/Flushing the log/)
        .with.property('code', 'ERR_MMAPDB_IO')
    const { failed } = engine.commits.finishWrites(begun)
    expect(failed[0]?.error).to.have.property('code', 'ERR_MMAPDB_OUTCOME_UNKNOWN')
    expect(engine.get('lost')).to.equal(undefined)
    engine.close()
  })

  it('does not count as on disk if another flush fails meanwhile', async () => {
    const path = scratchPath()
    const engine = openEngine(path)
    const begun = begin(engine, 'lost')
    const isDone = engine.apart.bring(endOf(begun))
    // As a flush in another process that says nothing more.
    const { control } = engine.parts
    control.fail({ code: 'ERR_MMAPDB_IO', message: '', lsn: 1 })
    expect(await isDone).to.equal(false)
    expect(engine.commits.finishWrites(begun).failed[0]?.error)
      .to.have.property('message')
      .that.matches(/a flush of the log failed in a thread or process that has not said more/)
    expect(engine.get('lost')).to.equal(undefined)
  })
})
