// Locks: shared and exclusive, on bytes of a file.
import { expect } from 'chai'
import type { LockTable as Locks } from '../../../src/storage/storage.js'
import { expectCode, type Test } from './setting.js'

export function locks(test: Test, testExclusion: Test): void {
  const BYTE = 7
  test('are on a file that is there already', (place) => {
    expectCode(() => place.storage.openLocks(place.at('file')), 'ENOENT')
    expectCode(() => place.storage.openLocks(place.directory), 'EISDIR')
    expect(place.storage.list(place.directory)).to.deep.equal([])
  })

  test('never stand in the way of their own holder, who may change how it holds them', (place) => {
    place.write(place.at('file'), '')
    const locks = place.storage.openLocks(place.at('file'))
    for (const mode of ['shared', 'exclusive', 'exclusive', 'shared'] as const) {
      expect(locks.tryLock(BYTE, mode)).to.equal(true)
      expect(locks.lock(BYTE, mode, 0)).to.equal(true)
      expect(locks.isHeldByOther(BYTE, 'exclusive')).to.equal(false)
      expect(locks.heldByOther(0, 100)).to.equal(-1)
    }
    locks.unlock(BYTE)
    locks.unlock(BYTE)
    locks.close()
  })

  testExclusion('let one exclusive holder or any number of shared ones have a byte', (place) => {
    place.write(place.at('file'), '')
    const [mine, other, third] = [0, 1, 2].map(() => place.storage.openLocks(place.at('file'))) as [Locks, Locks, Locks]
    expect(mine.tryLock(BYTE, 'exclusive')).to.equal(true)
    for (const mode of ['shared', 'exclusive'] as const) expect(other.tryLock(BYTE, mode)).to.equal(false)
    expect(other.tryLock(BYTE + 1, 'exclusive'), 'the byte after it').to.equal(true)
    expect(other.tryLock(BYTE - 1, 'exclusive'), 'the byte before it').to.equal(true)
    mine.unlock(BYTE)
    for (const each of [mine, other]) expect(each.tryLock(BYTE, 'shared')).to.equal(true)
    expect(third.tryLock(BYTE, 'exclusive')).to.equal(false)
    for (const each of [mine, other]) each.unlock(BYTE)
    expect(third.tryLock(BYTE, 'exclusive')).to.equal(true)
    for (const each of [mine, other, third]) each.close()
  })

  testExclusion('convert, and a conversion that fails keeps what was held', (place) => {
    place.write(place.at('file'), '')
    const [mine, other] = [0, 1].map(() => place.storage.openLocks(place.at('file'))) as [Locks, Locks]
    mine.tryLock(BYTE, 'exclusive')
    for (const each of [mine, other]) expect(each.tryLock(BYTE, 'shared')).to.equal(true)
    expect(mine.tryLock(BYTE, 'exclusive')).to.equal(false)
    expect(other.isHeldByOther(BYTE, 'exclusive')).to.equal(true)
    other.unlock(BYTE)
    expect(mine.tryLock(BYTE, 'exclusive')).to.equal(true)
    expect(other.tryLock(BYTE, 'shared')).to.equal(false)
    for (const each of [mine, other]) each.close()
  })

  testExclusion('are waited for no shorter than was said', (place) => {
    place.write(place.at('file'), '')
    const [mine, other] = [0, 1].map(() => place.storage.openLocks(place.at('file'))) as [Locks, Locks]
    other.tryLock(BYTE, 'exclusive')
    for (const timeoutMs of [0, 20]) {
      const start = place.storage.monotonicMs()
      expect(mine.lock(BYTE, 'shared', timeoutMs)).to.equal(false)
      expect(place.storage.monotonicMs() - start).to.be.at.least(timeoutMs)
    }
    other.unlock(BYTE)
    expect(mine.lock(BYTE, 'shared', 0)).to.equal(true)
    for (const each of [mine, other]) each.close()
  })

  testExclusion('tell how another holds a byte, and which bytes of a range others hold', (place) => {
    place.write(place.at('file'), '')
    const [mine, other] = [0, 1].map(() => place.storage.openLocks(place.at('file'))) as [Locks, Locks]
    mine.tryLock(BYTE, 'shared')
    expect(other.isHeldByOther(BYTE, 'exclusive')).to.equal(true)
    expect(other.isHeldByOther(BYTE, 'shared')).to.equal(false)
    expect(other.isHeldByOther(BYTE + 1, 'exclusive')).to.equal(false)
    mine.tryLock(BYTE, 'exclusive')
    expect(other.isHeldByOther(BYTE, 'shared')).to.equal(true)
    const far = 2 ** 40
    mine.tryLock(far, 'shared')
    expect(other.heldByOther(0, BYTE)).to.equal(-1)
    expect(other.heldByOther(0, BYTE + 1)).to.equal(BYTE)
    expect(other.heldByOther(BYTE, BYTE)).to.equal(-1)
    expect(other.heldByOther(BYTE + 1, Number.MAX_SAFE_INTEGER)).to.equal(far)
    expect(mine.heldByOther(0, Number.MAX_SAFE_INTEGER), 'its own').to.equal(-1)
    for (const each of [mine, other]) each.close()
  })

  testExclusion('of one file are not those of another', (place) => {
    for (const name of ['one', 'two']) place.write(place.at(name), '')
    const one = place.storage.openLocks(place.at('one'))
    const two = place.storage.openLocks(place.at('two'))
    for (const each of [one, two]) expect(each.tryLock(BYTE, 'exclusive')).to.equal(true)
    for (const each of [one, two]) expect(each.heldByOther(0, 100)).to.equal(-1)
    for (const each of [one, two]) each.close()
  })

  testExclusion('are dropped by close', (place) => {
    place.write(place.at('file'), '')
    const [mine, other] = [0, 1].map(() => place.storage.openLocks(place.at('file'))) as [Locks, Locks]
    mine.tryLock(BYTE, 'exclusive')
    mine.tryLock(BYTE + 1, 'shared')
    mine.close()
    for (const byte of [BYTE, BYTE + 1]) expect(other.tryLock(byte, 'exclusive')).to.equal(true)
    other.close()
  })

  test('are closed once, and say EBADF afterwards', (place) => {
    place.write(place.at('file'), '')
    const locks = place.storage.openLocks(place.at('file'))
    locks.close()
    locks.close()
    for (const call of [
      () => locks.identity(),
      () => locks.tryLock(BYTE, 'shared'),
      () => locks.lock(BYTE, 'shared', 1),
      () => locks.isHeldByOther(BYTE, 'shared'),
      () => locks.heldByOther(0, 1),
      () => locks.unlock(BYTE),
    ])
      expectCode(call, 'EBADF')
  })
}
