// If these fail, something that was closed can still be used, or keeps the slots that it held.
import { expect } from 'chai'
import type { EngineSnapshot } from '../../src/engine/read/snapshot.js'
import { verify } from '../../src/maintenance/verify.js'
import { cleanUp, expectError, expectSound, filled, openEngine } from '../support/engine.js'

const some = Buffer.from('some value')

describe('what is closed', () => {
  afterEach(cleanUp)

  it('refuses everything but being closed again', () => {
    const engine = filled()
    const snapshot = engine.snapshot()
    const [iterator, ofSnapshot] = [engine.range(undefined, 'entries'), snapshot.range(undefined, 'keys')]
    iterator.next()
    ofSnapshot.next()
    engine.close()
    engine.close()
    expect(engine.isClosed).to.equal(true)
    for (const act of [
      () => engine.get('k'),
      () => engine.getEntry('k'),
      () => engine.has('k'),
      () => engine.range(undefined, 'keys'),
      () => engine.snapshot(),
      () => engine.put('k', some),
      () => engine.del('k'),
      () => engine.batch([]),
      () => engine.checkpoint(true),
      () => engine.stats(),
      () => verify(engine),
      () => snapshot.get('k'),
      () => snapshot.has('k'),
      () => snapshot.range(undefined, 'keys'),
      () => iterator.next(),
      () => ofSnapshot.next(),
    ]) {
      expectError(act, 'ERR_MMAPDB_CLOSED')
    }
    snapshot.close()
    expect(iterator.next()).to.deep.equal({ done: true, value: undefined })
  })

  it('stops the iterators of a closed snapshot, and lets go of what it held', () => {
    const engine = filled()
    const snapshot = engine.snapshot()
    const iterator = snapshot.range(undefined, 'keys')
    iterator.next()
    expect(engine.stats().readers.pinned).to.equal(1)
    snapshot.close()
    snapshot.close()
    expect(engine.stats().readers.pinned).to.equal(0)
    expectError(() => iterator.next(), 'ERR_MMAPDB_CLOSED')
    expectError(() => snapshot.get('k'), 'ERR_MMAPDB_CLOSED')
    for (const key of engine.range(undefined, 'keys')) {
      expect(engine.stats().readers.pinned).to.equal(1)
      if (key === 'key 3') break
    }
    expect(engine.stats().readers.pinned, 'after a loop was left').to.equal(0)
  })

  it('makes room for others: snapshots of too many trees are refused until one is closed, and nothing else is', function () {
    this.timeout(60_000)
    const engine = filled()
    const snapshots: EngineSnapshot[] = []
    expectError(
      () => {
        for (let n = 0; ; n++) {
          snapshots.push(engine.snapshot())
          engine.put('n', Buffer.from([n]))
        }
      },
      'ERR_MMAPDB_TOO_MANY_READERS',
      /close/,
    )
    expect(snapshots.length).to.equal(4095)
    expect(engine.get('key 1')).to.deep.equal(Buffer.from('1'))
    // A new opener can still open, read and write.
    const late = openEngine(engine.options.path)
    const mine = late.get('key 1')
    expect(mine).to.deep.equal(Buffer.from('1'))
    expect([late.has('key 1'), late.has('never'), late.get('never')]).to.deep.equal([true, false, undefined])
    expect(late.getEntry('key 2')).to.deep.equal(engine.getEntry('key 2'))
    late.put('still', some)
    expect(engine.get('still')).to.deep.equal(some)
    expectError(() => late.snapshot(), 'ERR_MMAPDB_TOO_MANY_READERS', /close/)
    snapshots.pop()!.close()
    snapshots.pop()!.close()
    engine.snapshot().close()
    for (const snapshot of snapshots) snapshot.close()
    late.snapshot().close()
    expectSound(engine)
  })
})
