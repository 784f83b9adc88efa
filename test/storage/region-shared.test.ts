// A region over a file that threads and processes share. If one of these failed, writers would miss what others
// stored or let grow, or a store would meet a full disk, where it ends the process.
import { expect } from 'chai'
import * as fs from 'node:fs'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { posixStorage as storage } from '../../src/storage/posix.js'
import { StorageError } from '../../src/storage/storage.js'
import {
  firstBytes,
  inProcess,
  inThread,
  MIB,
  mountScratch,
  PAGE_BYTES,
  PRIVATE,
  removeScratch,
  scratchDirectory,
  scratchFile,
  SHARED,
  skip,
  thrownBy,
} from '../support/storage.js'

describe('storage: regions, shared', () => {
  afterEach(removeScratch)

  it('carries a store to the file, to other threads and to other processes, and theirs back', async () => {
    const path = scratchFile()
    const region = storage.openRegion(path, SHARED)
    region.grow(MIB)
    const words = new Int32Array(region.window(0))
    words[10] = 1234
    const body = (at: number): string => `
      const region = storage.openRegion(path, ${JSON.stringify(SHARED)})
      const words = new Int32Array(region.window(0))
      say(words[10])
      words[${at}] = ${at}
      say('stored')
      await hear()
      region.close()`
    const peers = [inThread(path, body(20)), inThread(path, body(21)), inProcess(path, body(22))]
    for (const peer of peers) {
      expect(await peer.next()).to.equal(1234)
      expect(await peer.next()).to.equal('stored')
    }
    expect([...words.subarray(20, 23)]).to.deep.equal([20, 21, 22])
    expect(fs.readFileSync(path).readInt32LE(40)).to.equal(1234)
    for (const peer of peers) peer.tell('go')
    await Promise.all(peers.map((peer) => peer.ended))
    region.close()
  })

  it('shows the growth that a thread or a process made to all who had it mapped before', async () => {
    const path = scratchFile()
    const region = storage.openRegion(path, SHARED)
    region.grow(PAGE_BYTES)
    const words = new Int32Array(region.window(0))
    let sizeBytes = PAGE_BYTES
    for (const run of [inThread, inProcess]) {
      sizeBytes *= 16
      const peer = run(
        path,
        `const region = storage.openRegion(path, ${JSON.stringify(SHARED)})
         region.grow(${sizeBytes})
         new Int32Array(region.window(0))[${sizeBytes / 4 - 1}] = 77
         say('grown')
         region.close()`,
      )
      expect(await peer.next()).to.equal('grown')
      expect(region.sizeBytes()).to.equal(sizeBytes)
      expect(words[sizeBytes / 4 - 1]).to.equal(77)
      await peer.ended
    }
    expect(region.faultCount()).to.equal(0)
    region.close()
  })

  it('reads single pages only, once the file is longer than the limit, whichever process grew it', async () => {
    const path = scratchFile()
    /** The flags that the kernel keeps for the mapping: `rr` is random reading. */
    const readsAhead = (): boolean => {
      const mapping = fs
        .readFileSync('/proc/self/smaps', 'utf8')
        .split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m)
        .find((m) => m.includes(path))!
      return !/^VmFlags:.* rr/m.test(mapping)
    }
    const options = { ...SHARED, readAheadBytes: 2 * MIB }
    const region = storage.openRegion(path, options)
    region.grow(2 * MIB)
    expect(readsAhead()).to.equal(true)
    region.grow(4 * MIB)
    expect(readsAhead()).to.equal(false)
    region.close()
    const again = storage.openRegion(path, options)
    expect(readsAhead()).to.equal(false)
    again.close()
    const always = storage.openRegion(path, SHARED)
    expect(readsAhead()).to.equal(true)
    always.close()
    const other = storage.openRegion(path, { ...options, readAheadBytes: 8 * MIB })
    const peer = inProcess(path, `storage.openRegion(path, ${JSON.stringify(SHARED)}).grow(16 * 2 ** 20); say('grown')`)
    await peer.next()
    await peer.ended
    expect(readsAhead()).to.equal(true)
    other.window(1)
    expect(readsAhead()).to.equal(false)
    other.close()
  })

  it('grows with real blocks, so that no later store meets a full disk', () => {
    const path = scratchFile()
    const region = storage.openRegion(path, SHARED)
    region.grow(8 * MIB)
    expect(fs.statSync(path).blocks * 512).to.be.at.least(8 * MIB)
    region.close()
  })

  it('allocates what is new when it grows, and nothing else', () => {
    const path = scratchFile()
    fs.writeFileSync(path, '')
    fs.truncateSync(path, 2 ** 40)
    const region = storage.openRegion(path, SHARED)
    region.grow(2 ** 40 + 4 * MIB)
    const { blocks, size } = fs.statSync(path)
    expect(size).to.equal(2 ** 40 + 4 * MIB)
    expect(blocks * 512).to.be.within(4 * MIB, 5 * MIB)
    region.close()
  })

  it('keeps what is there when it grows, adds zeros, and never shrinks', () => {
    const path = scratchFile()
    fs.writeFileSync(path, Buffer.alloc(5000, 7))
    const region = storage.openRegion(path, SHARED)
    expect(region.sizeBytes()).to.equal(5000)
    region.grow(20_000)
    expect(firstBytes(region, 4998, 4)).to.deep.equal([7, 7, 0, 0])
    expect(firstBytes(region, 19_998, 2)).to.deep.equal([0, 0])
    region.grow(100)
    region.grow(0)
    expect(region.sizeBytes()).to.equal(20_000)
    region.close()
  })

  it('cuts the file, and gives zeros where it grows again', () => {
    const path = scratchFile()
    const region = storage.openRegion(path, SHARED)
    region.grow(4 * PAGE_BYTES)
    new Uint8Array(region.window(0)).fill(9, 0, 4 * PAGE_BYTES)
    region.truncate(PAGE_BYTES)
    expect(fs.statSync(path).size).to.equal(PAGE_BYTES)
    region.grow(4 * PAGE_BYTES)
    expect(firstBytes(region, PAGE_BYTES - 1, 2)).to.deep.equal([9, 0])
    expect(region.faultCount()).to.equal(0)
    expect(() => region.truncate(5 * PAGE_BYTES)).to.throw(RangeError, /longer/)
    region.close()
  })

  it('has its stores on disk after flush, as far as a read past the map can tell', () => {
    const path = scratchFile()
    const region = storage.openRegion(path, SHARED)
    region.grow(PAGE_BYTES)
    new Uint8Array(region.window(0))[0] = 5
    region.flush()
    expect(fs.readFileSync(path)[0]).to.equal(5)
    region.close()
  })

  it('reports a full disk as ENOSPC from grow, and stays usable', function () {
    const mount = mountScratch('tmpfs', 'size=1m')
    if (mount === undefined) return skip(this, 'mounting takes root')
    const region = storage.openRegion(join(mount, 'file'), SHARED)
    region.grow(PAGE_BYTES)
    new Uint8Array(region.window(0))[1] = 3
    const error = thrownBy(() => region.grow(2 * MIB))
    expect(error).to.be.instanceOf(StorageError)
    expect(error.code).to.equal('ENOSPC')
    expect(error.syscall).to.equal('fallocate')
    expect(firstBytes(region, 0, 2)).to.deep.equal([0, 3])
    region.grow(2 * PAGE_BYTES)
    expect(region.sizeBytes()).to.be.at.least(2 * PAGE_BYTES)
    expect(region.faultCount()).to.equal(0)
    region.close()
  })

  it('grows on file systems without fallocate, too, and leaves what is there alone', function () {
    const mount = mountScratch('ramfs', 'mode=0777')
    if (mount === undefined) return skip(this, 'mounting takes root')
    const path = join(mount, 'file')
    fs.writeFileSync(path, Buffer.alloc(100, 1))
    const region = storage.openRegion(path, SHARED)
    region.grow(300_000)
    expect(region.sizeBytes()).to.equal(300_000)
    expect(firstBytes(region, 98, 4)).to.deep.equal([1, 1, 0, 0])
    new Uint8Array(region.window(0))[299_999] = 8
    region.grow(300_000)
    expect(firstBytes(region, 299_998, 2)).to.deep.equal([0, 8])
    region.close()
  })

  it('creates a missing file only when asked to', () => {
    const path = scratchFile()
    const error = thrownBy(() => storage.openRegion(path, { ...SHARED, create: false }))
    expect(error).to.be.instanceOf(StorageError)
    expect(error.code).to.equal('ENOENT')
    expect(fs.existsSync(path)).to.equal(false)
    storage.openRegion(path, SHARED).close()
    expect(fs.existsSync(path)).to.equal(true)
  })

  it('refuses a directory and a FIFO instead of hanging on them', () => {
    const directory = scratchDirectory()
    expect(thrownBy(() => storage.openRegion(directory, SHARED)).code).to.equal('EISDIR')
    const fifo = join(directory, 'fifo')
    expect(spawnSync('mkfifo', [fifo]).status).to.equal(0)
    for (const options of [SHARED, PRIVATE]) {
      expect(thrownBy(() => storage.openRegion(fifo, options)).code).to.equal('ENODEV')
    }
  })
})
