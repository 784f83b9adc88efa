// What only a real file system shows. What every implementation of storage does: contract.test.ts.
import { expect } from 'chai'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { posixStorage as storage } from '../../src/storage/posix.js'
import { StorageError } from '../../src/storage/storage.js'
import {
  descriptorCount,
  inProcess,
  inThread,
  mountScratch,
  remountReadOnly,
  removeScratch,
  scratchDirectory,
  scratchFile,
  skip,
  thrownBy,
} from '../support/storage.js'

function expectCode(call: () => unknown, code: string): void {
  const error = thrownBy(call)
  expect(error).to.be.instanceOf(StorageError)
  expect(error.code).to.equal(code)
}

describe('storage: files', () => {
  afterEach(removeScratch)

  it('allocates blocks, keeps what is there, and shrinks only on truncate', () => {
    const path = scratchFile()
    const file = storage.openFile(path, 'create')
    file.write(Buffer.from('abc'), 0, 3, 0)
    file.allocate(1_000_000)
    expect(file.sizeBytes()).to.equal(1_000_000)
    expect(fs.statSync(path).blocks * 512).to.be.at.least(1_000_000)
    file.allocate(10)
    file.allocate(0)
    expect(file.sizeBytes()).to.equal(1_000_000)
    const into = Buffer.alloc(5, 1)
    file.read(into, 0, 5, 0)
    expect([...into]).to.deep.equal([0x61, 0x62, 0x63, 0, 0])
    file.truncate(2)
    expect(fs.readFileSync(path, 'utf8')).to.equal('ab')
    file.close()
  })

  it('reports a full disk from allocate and from write', function () {
    const mount = mountScratch('tmpfs', 'size=64k')
    if (mount === undefined) return skip(this, 'mounting takes root')
    const file = storage.openFile(join(mount, 'file'), 'create')
    expectCode(() => file.allocate(1_000_000), 'ENOSPC')
    expectCode(() => file.write(Buffer.alloc(1_000_000), 0, 1_000_000, 0), 'ENOSPC')
    file.truncate(0)
    file.write(Buffer.from('fits'), 0, 4, 0)
    file.close()
  })

  it('closes once, leaks no descriptor, and says EBADF afterwards', () => {
    const before = descriptorCount()
    const file = storage.openFile(scratchFile(), 'create')
    file.close()
    file.close()
    expect(descriptorCount()).to.equal(before)
    const bytes = Buffer.alloc(4)
    for (const call of [
      () => file.read(bytes, 0, 4, 0),
      () => file.write(bytes, 0, 4, 0),
      () => file.flush(),
      () => file.allocate(1),
      () => file.truncate(0),
      () => file.sizeBytes(),
    ]) {
      expectCode(call, 'EBADF')
    }
  })

  it('has its descriptor closed when its thread is terminated', async () => {
    const path = scratchFile()
    const peer = inThread(path, `const file = storage.openFile(path, 'create'); say('open'); for (;;) file.sizeBytes()`)
    await peer.next()
    const open = (): number =>
      fs.readdirSync('/proc/self/fd').filter((fd) => {
        try {
          return fs.readlinkSync(`/proc/self/fd/${fd}`) === path
        } catch {
          return false // the descriptor that lists the directory is gone by now
        }
      }).length
    expect(open()).to.equal(1)
    await peer.kill()
    expect(open()).to.equal(0)
  })

  it('leaves a wrong argument the programmer error that it is', () => {
    const file = storage.openFile(scratchFile(), 'create')
    expect(() => file.write(Buffer.alloc(4), 0, 5, 0)).to.throw(RangeError)
    expect(() => file.read(Buffer.alloc(4), 5, 1, 0)).to.throw(RangeError)
    expect(() => file.allocate(-1)).to.throw(RangeError)
    file.close()
  })
})

describe('storage: directories', () => {
  afterEach(removeScratch)

  it('are made, listed, flushed; their files renamed and removed', () => {
    const directory = join(scratchDirectory(), 'db')
    storage.makeDirectory(directory)
    storage.makeDirectory(directory)
    expect(storage.list(directory)).to.deep.equal([])
    fs.writeFileSync(join(directory, 'a'), 'xyz')
    fs.writeFileSync(join(directory, 'b'), '')
    storage.rename(join(directory, 'a'), join(directory, 'b'))
    storage.flushDirectory(directory)
    expect(storage.list(directory)).to.deep.equal(['b'])
    expect(storage.info(join(directory, 'b'))).to.include({ kind: 'file', sizeBytes: 3 })
    expect(storage.info(directory).kind).to.equal('directory')
    expect(storage.info('/dev/null').kind).to.equal('other')
    storage.unlink(join(directory, 'b'))
    expect(storage.info(join(directory, 'b'))).to.deep.equal({ kind: 'missing', sizeBytes: 0 })
    expect(storage.info(join(directory, 'none', 'file')).kind).to.equal('missing')
  })

  it('tell a file from the one that took its place', () => {
    const file = scratchFile()
    fs.writeFileSync(file, '')
    const open = storage.openFile(file, 'read')
    const identity = open.identity()
    expect(identity.inode).to.equal(fs.statSync(file).ino)
    expect(storage.leadsTo(file, identity)).to.equal(true)
    expect(storage.leadsTo(file, { ...identity, device: identity.device + 1 }), 'another device').to.equal(false)
    fs.writeFileSync(`${file}-other`, '')
    storage.rename(`${file}-other`, file)
    expect(storage.leadsTo(file, identity)).to.equal(false)
    storage.unlink(file)
    expect(storage.leadsTo(file, identity)).to.equal(false)
    expect(storage.leadsTo(join(scratchFile(), 'below'), identity)).to.equal(false)
    expectCode(() => storage.leadsTo('x'.repeat(5000), identity), 'ENAMETOOLONG')
    open.close()
  })

  it('are the same by whatever way they were opened', () => {
    const file = scratchFile()
    const region = storage.openRegion(file, { mode: 'shared', reserveBytes: 65536, windowBytes: 65536, create: true })
    const locks = storage.openLocks(file)
    const open = storage.openFile(file, 'read')
    expect(locks.identity()).to.deep.equal(region.identity())
    expect(open.identity()).to.deep.equal(region.identity())
    for (const each of [region, locks, open]) each.close()
    for (const each of [region, locks, open]) expectCode(() => each.identity(), 'EBADF')
  })

  it('that are not there, or are no directories, are refused with their code', () => {
    const file = scratchFile()
    fs.writeFileSync(file, '')
    expectCode(() => storage.list(`${file}-none`), 'ENOENT')
    expectCode(() => storage.list(file), 'ENOTDIR')
    expectCode(() => storage.makeDirectory(file), 'EEXIST')
    expectCode(() => storage.makeDirectory(join(`${file}-none`, 'x')), 'ENOENT')
    expectCode(() => storage.rename(`${file}-none`, file), 'ENOENT')
    expectCode(() => storage.unlink(`${file}-none`), 'ENOENT')
    expectCode(() => storage.flushDirectory(`${file}-none`), 'ENOENT')
    expectCode(() => storage.flushDirectory(file), 'ENOTDIR')
    expectCode(() => storage.fileSystem(`${file}-none`), 'ENOENT')
    expect(storage.info(join(file, 'below')).kind).to.equal('missing')
  })

  it('say which file system they are on, and whether it can be written', function () {
    const here = storage.fileSystem(scratchDirectory())
    expect(here.networked).to.equal(false)
    expect(here.readOnly).to.equal(false)
    expect(storage.fileSystem('/proc').name).to.equal('proc')
    const mount = mountScratch('tmpfs', 'size=64k')
    if (mount === undefined) return skip(this, 'mounting takes root')
    expect(storage.fileSystem(mount)).to.deep.equal({ name: 'tmpfs', networked: false, readOnly: false })
    remountReadOnly(mount)
    expect(storage.fileSystem(mount).readOnly).to.equal(true)
  })
})

describe('storage: time and chance', () => {
  it('sleeps as long as it was told', () => {
    const start = storage.monotonicMs()
    storage.sleep(20)
    expect(storage.monotonicMs() - start).to.be.within(19, 1000)
    expect(Math.abs(storage.now() - Date.now())).to.be.below(1000)
  })

  it('has one monotonic clock for all threads and processes', async () => {
    const before = storage.monotonicMs()
    const peers = [inThread('', 'say(storage.monotonicMs())'), inProcess('', 'say(storage.monotonicMs())')]
    const there = (await Promise.all(peers.map((peer) => peer.next()))) as number[]
    const after = storage.monotonicMs()
    for (const ms of there) expect(ms).to.be.within(before, after)
    await Promise.all(peers.map((peer) => peer.ended))
  })

  it('gives different bytes each time', () => {
    expect(storage.randomBytes(16)).to.have.length(16)
    expect(storage.randomBytes(16)).to.not.deep.equal(storage.randomBytes(16))
  })
})
