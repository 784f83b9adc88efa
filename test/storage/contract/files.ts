// Files: read, written, allocated, cut, and told from others.
import { expect } from 'chai'
import { expectCode, SHARED, WINDOW_BYTES, type Test } from './setting.js'

export function files(test: Test): void {
  filesAreReadAndWritten(test)
  filesAreAllocatedAndCut(test)
  filesHaveAnIdentity(test)
}

function filesAreReadAndWritten(test: Test): void {
  test('read back what was written, at any offset of file and buffer', (place) => {
    const path = place.at('file')
    const file = place.storage.openFile(path, 'create')
    file.write(Buffer.from('..hello..'), 2, 5, 100_000)
    expect(file.sizeBytes()).to.equal(100_005)
    const into = Buffer.alloc(9, 0x2e)
    expect(file.read(into, 2, 6, 99_999)).to.equal(6)
    expect(into.toString('latin1')).to.equal('..\0hello.')
    file.flush()
    file.close()
    expect(place.storage.info(path)).to.include({ kind: 'file', sizeBytes: 100_005 })
  })

  test('say how many bytes there were where they end, and 0 beyond', (place) => {
    place.write(place.at('file'), 'abc')
    const file = place.storage.openFile(place.at('file'), 'write')
    const into = Buffer.alloc(10)
    expect(file.read(into, 0, 10, 1)).to.equal(2)
    for (const position of [3, 1000]) expect(file.read(into, 0, 10, position)).to.equal(0)
    expect(file.read(into, 0, 0, 0)).to.equal(0)
    file.write(into, 0, 0, 50)
    expect(file.sizeBytes(), 'after a write of nothing').to.equal(3)
    file.close()
  })

  test('are created only when that is asked for, and keep what they hold', (place) => {
    const path = place.at('file')
    for (const access of ['read', 'write'] as const) expectCode(() => place.storage.openFile(path, access), 'ENOENT')
    expectCode(() => place.storage.openFile(place.at('none', 'file'), 'create'), 'ENOENT')
    place.write(path, 'kept')
    for (const access of ['create', 'write', 'read'] as const) place.storage.openFile(path, access).close()
    expect(place.read(path)).to.equal('kept')
    for (const access of ['create', 'write'] as const)
      expectCode(() => place.storage.openFile(place.directory, access), 'EISDIR')
  })

  test('opened for reading are not changed', (place) => {
    place.write(place.at('file'), 'kept')
    const file = place.storage.openFile(place.at('file'), 'read')
    expectCode(() => file.write(Buffer.from('x'), 0, 1, 0), 'EBADF')
    expectCode(() => file.allocate(100), 'EBADF')
    expectCode(() => file.truncate(0), 'EINVAL')
    file.close()
    expect(place.read(place.at('file'))).to.equal('kept')
  })

  test('are closed once, and say EBADF afterwards', (place) => {
    const file = place.storage.openFile(place.at('file'), 'create')
    file.close()
    file.close()
    const bytes = Buffer.alloc(4)
    for (const call of [
      () => file.read(bytes, 0, 4, 0),
      () => file.write(bytes, 0, 4, 0),
      () => file.flush(),
      () => file.allocate(1),
      () => file.truncate(0),
      () => file.sizeBytes(),
      () => file.identity(),
    ])
      expectCode(call, 'EBADF')
  })
}

function filesAreAllocatedAndCut(test: Test): void {
  test('are allocated with zeros after what is there, and no shorter than they are', (place) => {
    place.write(place.at('file'), 'abc')
    const file = place.storage.openFile(place.at('file'), 'write')
    file.allocate(200_000)
    file.allocate(10)
    file.allocate(0)
    expect(file.sizeBytes()).to.equal(200_000)
    const into = Buffer.alloc(200_000, 1)
    expect(file.read(into, 0, 200_000, 0)).to.equal(200_000)
    expect(into.subarray(0, 3).toString()).to.equal('abc')
    expect(into.subarray(3).every((byte) => byte === 0)).to.equal(true)
    file.close()
  })

  test('are cut, and have zeros where they become longer again', (place) => {
    const file = place.storage.openFile(place.at('file'), 'create')
    file.write(Buffer.alloc(200_000, 7), 0, 200_000, 0)
    file.truncate(100_000)
    expect(file.sizeBytes()).to.equal(100_000)
    file.truncate(150_000)
    expect(file.sizeBytes()).to.equal(150_000)
    const into = Buffer.alloc(50_001, 1)
    expect(file.read(into, 0, 50_001, 99_999)).to.equal(50_001)
    expect(into[0]).to.equal(7)
    expect(into.subarray(1).every((byte) => byte === 0)).to.equal(true)
    file.truncate(0)
    expect(file.sizeBytes()).to.equal(0)
    file.close()
  })
}

function filesHaveAnIdentity(test: Test): void {
  test('have one identity, by whatever way they are opened and whatever they are called', (place) => {
    const { storage } = place
    const path = place.at('file')
    const region = storage.openRegion(path, SHARED)
    const locks = storage.openLocks(path)
    const file = storage.openFile(path, 'read')
    storage.rename(path, place.at('renamed'))
    place.write(path, 'another')
    const again = storage.openFile(place.at('renamed'), 'read')
    for (const each of [region, locks, file]) expect(each.identity()).to.deep.equal(again.identity())
    const another = storage.openFile(path, 'read')
    expect(another.identity()).not.to.deep.equal(again.identity())
    for (const each of [region, locks, file, again, another]) each.close()
  })

  test('are told from the one that took their place', (place) => {
    const { storage } = place
    const path = place.at('file')
    place.write(path, 'first')
    const file = storage.openFile(path, 'read')
    const identity = file.identity()
    expect(storage.leadsTo(path, identity)).to.equal(true)
    expect(storage.leadsTo(path, { ...identity, device: identity.device + 1 }), 'another device').to.equal(false)
    expect(storage.leadsTo(place.at('none'), identity)).to.equal(false)
    expect(storage.leadsTo(place.at('file', 'below'), identity)).to.equal(false)
    place.write(place.at('other'), 'second')
    storage.rename(place.at('other'), path)
    expect(storage.leadsTo(path, identity)).to.equal(false)
    storage.unlink(path)
    expect(storage.leadsTo(path, identity)).to.equal(false)
    file.close()
  })

  test('that are open stay readable and writable when their name is gone', (place) => {
    const { storage } = place
    const path = place.at('file')
    const region = storage.openRegion(path, SHARED)
    region.grow(WINDOW_BYTES)
    const file = storage.openFile(path, 'write')
    storage.unlink(path)
    file.write(Buffer.from('there'), 0, 5, 0)
    expect(Buffer.from(region.window(0), 0, 5).toString()).to.equal('there')
    region.grow(2 * WINDOW_BYTES)
    expect(file.sizeBytes()).to.equal(2 * WINDOW_BYTES)
    expect(place.kindOf(path)).to.equal('missing')
    for (const each of [region, file]) each.close()
  })
}
