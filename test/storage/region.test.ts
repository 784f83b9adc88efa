import { expect } from 'chai'
import * as fs from 'node:fs'
import { link } from 'node:fs/promises'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { posixStorage as storage } from '../../src/storage/posix.js'
import { StorageError, type Region } from '../../src/storage/storage.js'
import {
  collectGarbage,
  descriptorCount,
  inBareProcess,
  inProcess,
  inThread,
  mappingCount,
  mappingsOf,
  MIB,
  mountScratch,
  PAGE_BYTES,
  removeScratch,
  scratchDirectory,
  scratchFile,
  skip,
  thrownBy,
  until,
} from '../support/storage.js'
import { compiledUrl, inPackage } from '../../src/package-root.js'

const RESERVE_BYTES = 2 ** 40
const WINDOW_BYTES = 2 ** 30
const SHARED = { mode: 'shared', reserveBytes: RESERVE_BYTES, windowBytes: WINDOW_BYTES, create: true } as const
const PRIVATE = { mode: 'private', reserveBytes: RESERVE_BYTES, windowBytes: WINDOW_BYTES } as const
const ANONYMOUS = { mode: 'anonymous', reserveBytes: RESERVE_BYTES, windowBytes: WINDOW_BYTES } as const

function bytes(region: Region, from: number, count: number): number[] {
  return [...new Uint8Array(region.window(0), from, count)]
}

describe('storage: regions', () => {
  afterEach(removeScratch)

  describe('shared', () => {
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

    it('shows the growth that a thread or a process made to everybody who had it mapped before', async () => {
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

    it('reads single pages only, once the file is longer than was said, whoever grew it', async () => {
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
      const peer = inProcess(
        path,
        `storage.openRegion(path, ${JSON.stringify(SHARED)}).grow(16 * 2 ** 20); say('grown')`,
      )
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

    it('fills holes that are there already when it grows over them', () => {
      const path = scratchFile()
      fs.writeFileSync(path, '')
      fs.truncateSync(path, 4 * MIB)
      const region = storage.openRegion(path, SHARED)
      region.grow(4 * MIB)
      expect(fs.statSync(path).blocks * 512).to.be.at.least(4 * MIB)
      region.close()
    })

    it('keeps what is there when it grows, adds zeros, and never shrinks', () => {
      const path = scratchFile()
      fs.writeFileSync(path, Buffer.alloc(5000, 7))
      const region = storage.openRegion(path, SHARED)
      expect(region.sizeBytes()).to.equal(5000)
      region.grow(20_000)
      expect(bytes(region, 4998, 4)).to.deep.equal([7, 7, 0, 0])
      expect(bytes(region, 19_998, 2)).to.deep.equal([0, 0])
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
      expect(bytes(region, PAGE_BYTES - 1, 2)).to.deep.equal([9, 0])
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
      expect(bytes(region, 0, 2)).to.deep.equal([0, 3])
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
      expect(bytes(region, 98, 4)).to.deep.equal([1, 1, 0, 0])
      new Uint8Array(region.window(0))[299_999] = 8
      region.grow(300_000)
      expect(bytes(region, 299_998, 2)).to.deep.equal([0, 8])
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

  describe('windows', () => {
    it('follow each other without gap or overlap, down to windows of one page', () => {
      const region = storage.openRegion(scratchFile(), { ...SHARED, windowBytes: PAGE_BYTES })
      const wide = storage.openRegion(scratchFile(), SHARED)
      region.grow(16 * PAGE_BYTES)
      for (let index = 0; index < 16; index++) new Uint8Array(region.window(index)).fill(index)
      for (let index = 0; index < 16; index++) {
        const window = region.window(index)
        expect(window.byteLength).to.equal(PAGE_BYTES)
        expect(new Uint8Array(window).every((byte) => byte === index)).to.equal(true)
      }
      expect(region.window(16).byteLength, 'after the end').to.equal(PAGE_BYTES)
      expect(() => region.window(-1)).to.throw(RangeError)
      wide.close()
      region.close()
    })

    it('see the same bytes whatever their size', () => {
      const path = scratchFile()
      const narrow = storage.openRegion(path, { ...SHARED, windowBytes: PAGE_BYTES })
      const wide = storage.openRegion(path, SHARED)
      narrow.grow(3 * PAGE_BYTES)
      new Uint8Array(narrow.window(1))[PAGE_BYTES - 1] = 1
      new Uint8Array(narrow.window(2))[0] = 2
      expect(bytes(wide, 2 * PAGE_BYTES - 1, 2)).to.deep.equal([1, 2])
      narrow.close()
      wide.close()
    })

    it('are the same buffer each time, and full length where the file is shorter', () => {
      const region = storage.openRegion(scratchFile(), SHARED)
      region.grow(PAGE_BYTES)
      expect(region.window(0)).to.equal(region.window(0))
      expect(region.window(1023).byteLength).to.equal(WINDOW_BYTES)
      region.close()
    })

    it('are mapped when they are first needed, and no sooner', () => {
      const path = scratchFile()
      const region = storage.openRegion(path, { ...SHARED, windowBytes: MIB })
      region.grow(16 * MIB)
      expect(mappingsOf(path)).to.equal(1)
      for (const index of [9, 9, 3]) region.window(index)
      const twin = storage.openRegion(path, { ...SHARED, windowBytes: MIB })
      twin.window(9)
      expect(mappingsOf(path)).to.equal(3)
      region.close()
      twin.close()
      expect(mappingsOf(path)).to.equal(0)
    })

    it('become smaller where address space is limited', () => {
      const path = scratchFile()
      const script = `
        const { posixStorage: storage } = await import(${JSON.stringify(compiledUrl('src/storage/posix.js'))})
        const open = (n) => storage.openRegion(${JSON.stringify(path)} + n, ${JSON.stringify(SHARED)})
        const regions = []
        try { for (let n = 0; n < 1000; n++) regions.push(open(n)) } catch (error) { console.log(error.code) }
        for (const region of regions) { region.grow(4096); new Uint8Array(region.window(0))[0] = 1 }
        console.log(regions.map((region) => region.windowBytes / 2 ** 20).filter((size, i, all) => size !== all[i - 1]).join())`
      const limited = spawnSync(
        'sh',
        ['-c', 'ulimit -v 8000000 && exec "$0" --input-type=module -e "$1"', process.execPath, script],
        { encoding: 'utf8' },
      )
      expect(limited.stdout, limited.stderr).to.match(/^ENOMEM\n1024,(256,)?(64,)?16\n$/)
    })

    it('reach the last byte of a large file', () => {
      const region = storage.openRegion('', ANONYMOUS)
      region.grow(RESERVE_BYTES)
      const last = new Uint8Array(region.window(1023))
      last[WINDOW_BYTES - 1] = 6
      expect(last[WINDOW_BYTES - 1]).to.equal(6)
      region.close()
    })
  })

  describe('private', () => {
    it('keeps its stores and its growth from the file and from every other region', () => {
      const path = scratchFile()
      fs.writeFileSync(path, Buffer.alloc(5000, 7))
      const first = storage.openRegion(path, PRIVATE)
      const second = storage.openRegion(path, PRIVATE)
      const shared = storage.openRegion(path, SHARED)
      new Uint8Array(first.window(0))[0] = 1
      first.grow(3 * PAGE_BYTES)
      expect(first.sizeBytes()).to.equal(3 * PAGE_BYTES)
      // The page that the file ends in, the first of the new ones, and the last byte of all.
      expect(bytes(first, 4999, 2)).to.deep.equal([7, 0])
      expect(bytes(first, 2 * PAGE_BYTES, 1)).to.deep.equal([0])
      const view = new Uint8Array(first.window(0))
      for (const at of [5000, 2 * PAGE_BYTES, 3 * PAGE_BYTES - 1]) view[at] = 2
      first.grow(5 * PAGE_BYTES)
      expect(view[3 * PAGE_BYTES - 1]).to.equal(2)
      expect(view[3 * PAGE_BYTES]).to.equal(0)
      view[4 * PAGE_BYTES] = 3
      first.flush()
      expect(first.faultCount()).to.equal(0)
      expect(second.sizeBytes()).to.equal(5000)
      expect(bytes(second, 0, 1)).to.deep.equal([7])
      expect(bytes(shared, 0, 1)).to.deep.equal([7])
      first.close()
      expect(fs.readFileSync(path).equals(Buffer.alloc(5000, 7))).to.equal(true)
      second.close()
      shared.close()
    })

    it('works over an empty file, and over one on a read-only file system', function () {
      const path = scratchFile()
      fs.writeFileSync(path, '')
      const region = storage.openRegion(path, PRIVATE)
      region.grow(2 * PAGE_BYTES)
      new Uint8Array(region.window(0))[PAGE_BYTES] = 4
      expect(bytes(region, PAGE_BYTES, 1)).to.deep.equal([4])
      region.close()
      expect(fs.statSync(path).size).to.equal(0)

      const mount = mountScratch('tmpfs', 'size=1m')
      if (mount === undefined) return skip(this, 'mounting takes root')
      fs.writeFileSync(join(mount, 'file'), 'abc')
      expect(spawnSync('mount', ['-o', 'remount,ro', mount]).status).to.equal(0)
      expect(thrownBy(() => storage.openRegion(join(mount, 'file'), SHARED)).code).to.equal('EROFS')
      expect(storage.fileSystem(mount)).to.deep.equal({ name: 'tmpfs', networked: false, readOnly: true })
      const onReadOnly = storage.openRegion(join(mount, 'file'), PRIVATE)
      new Uint8Array(onReadOnly.window(0))[0] = 0x7a
      onReadOnly.grow(PAGE_BYTES * 2)
      expect(bytes(onReadOnly, 0, 3)).to.deep.equal([0x7a, 0x62, 0x63])
      onReadOnly.close()
      expect(fs.readFileSync(join(mount, 'file'), 'utf8')).to.equal('abc')
    })

    it('has no file to cut and none to create', () => {
      const path = scratchFile()
      fs.writeFileSync(path, 'abc')
      const region = storage.openRegion(path, PRIVATE)
      expect(thrownBy(() => region.truncate(0)).code).to.equal('EINVAL')
      region.close()
      expect(() => storage.openRegion(path, { ...PRIVATE, create: true })).to.throw(RangeError)
    })
  })

  describe('anonymous', () => {
    it('is zeroed memory of its own that grows and touches no file', () => {
      const before = descriptorCount()
      const region = storage.openRegion('/no/such/path', ANONYMOUS)
      const other = storage.openRegion('/no/such/path', ANONYMOUS)
      expect(region.sizeBytes()).to.equal(0)
      region.grow(MIB)
      expect(region.sizeBytes()).to.equal(MIB)
      const view = new Uint8Array(region.window(0))
      expect(view[MIB - 1]).to.equal(0)
      view[MIB - 1] = 1
      region.grow(2 * MIB)
      expect(view[MIB - 1]).to.equal(1)
      other.grow(MIB)
      expect(bytes(other, MIB - 1, 1)).to.deep.equal([0])
      region.flush()
      expect(descriptorCount()).to.equal(before)
      region.close()
      other.close()
    })
  })

  describe('one mapping per file and process', () => {
    it('is shared by all threads, whatever name they open it by, and gone with the last of them', async () => {
      const path = scratchFile()
      const region = storage.openRegion(path, SHARED)
      region.grow(MIB)
      const alias = `${path}.alias`
      await link(path, alias)
      const again = storage.openRegion(alias, SHARED)
      const peers = [path, alias, path].map((name) =>
        inThread(
          name,
          `const region = storage.openRegion(path, ${JSON.stringify(SHARED)})
           say(new Int32Array(region.window(0))[0])
           await hear()
           region.close()
           say('closed')
           await hear()`,
        ),
      )
      for (const peer of peers) await peer.next()
      expect(mappingsOf(path)).to.equal(1)
      region.close()
      again.close()
      expect(mappingsOf(path)).to.equal(1)
      for (const peer of peers) peer.tell('close')
      for (const peer of peers) expect(await peer.next()).to.equal('closed')
      // At once, while the threads still run.
      expect(mappingsOf(path)).to.equal(0)
      for (const peer of peers) peer.tell('end')
      await Promise.all(peers.map((peer) => peer.ended))
    })

    it('is let go by threads that end, are terminated or exit without closing it', async () => {
      const path = scratchFile()
      const open = `const region = storage.openRegion(path, ${JSON.stringify(SHARED)})
                    region.grow(4096)
                    const words = new Int32Array(region.window(0))
                    say('open')`
      const ends = inThread(path, open)
      const exits = inThread(path, `${open}; await hear(); process.exit(3)`)
      const spins = inThread(path, `${open}; for (;;) words[0]++`)
      for (const peer of [ends, exits, spins]) expect(await peer.next()).to.equal('open')
      expect(mappingsOf(path)).to.be.at.most(1)
      exits.tell('go')
      await spins.kill()
      expect(await ends.ended).to.equal(0)
      expect(await exits.ended).to.equal(3)
      expect(mappingsOf(path)).to.equal(0)
    })

    it('is a new one for a new file of the same name, and for other windows', () => {
      const path = scratchFile()
      const small = { ...SHARED, reserveBytes: MIB, windowBytes: MIB }
      const old = storage.openRegion(path, small)
      old.grow(PAGE_BYTES)
      new Uint8Array(old.window(0))[0] = 1
      const wider = storage.openRegion(path, { ...small, windowBytes: 2 * MIB })
      expect(bytes(wider, 0, 1)).to.deep.equal([1])
      wider.grow(2 * MIB)
      new Uint8Array(wider.window(0))[MIB] = 2
      // It grew beyond what this one would let it grow to.
      expect(new Uint8Array(old.window(1))[0]).to.equal(2)
      fs.renameSync(path, `${path}.old`)
      const next = storage.openRegion(path, small)
      expect(next.sizeBytes()).to.equal(0)
      for (const region of [old, wider, next]) region.close()
      expect(mappingsOf(path)).to.equal(0)
    })

    it('is released when a forgotten region is collected, but not under a window still in use', async () => {
      const path = scratchFile()
      const window = (() => {
        const region = storage.openRegion(path, SHARED)
        region.grow(PAGE_BYTES)
        return { view: new Uint8Array(region.window(0)) as Uint8Array | undefined }
      })()
      for (let round = 0; round < 5; round++) await collectGarbage()
      expect(mappingsOf(path)).to.equal(1)
      window.view![7] = 7
      expect(window.view![7]).to.equal(7)
      window.view = undefined
      for (let round = 0; round < 50 && mappingsOf(path) > 0; round++) await collectGarbage()
      expect(mappingsOf(path)).to.equal(0)
    })
  })

  describe('close', () => {
    it('makes arrays over the region empty instead of letting them reach unmapped memory', () => {
      const path = scratchFile()
      const region = storage.openRegion(path, SHARED)
      region.grow(MIB)
      const window = region.window(0)
      const view = new Uint8Array(window)
      const words = new Int32Array(window, 64, 4)
      const data = new DataView(window, 0, 100)
      const buffer = Buffer.from(window, 0, 100)
      view[0] = 1
      region.close()
      expect(mappingsOf(path)).to.equal(0)
      expect([window.byteLength, view.length, words.length, buffer.length]).to.deep.equal([0, 0, 0, 0])
      expect(view[0]).to.equal(undefined)
      view[0] = 2
      expect(() => Atomics.store(words, 0, 1)).to.throw()
      expect(() => data.getUint8(0)).to.throw(TypeError)
      expect(fs.readFileSync(path)[0]).to.equal(1)
    })

    it('is idempotent, and everything else says EBADF afterwards', () => {
      const region = storage.openRegion(scratchFile(), SHARED)
      region.grow(PAGE_BYTES)
      region.window(0)
      region.close()
      region.close()
      const calls = [
        () => region.sizeBytes(),
        () => region.window(0),
        () => region.grow(MIB),
        () => region.truncate(0),
        () => region.flush(),
        () => region.faultCount(),
        () => region.wait(0, 0, 1),
        () => region.wakeAll(0),
      ]
      for (const call of calls) {
        const error = thrownBy(call)
        expect(error, String(call)).to.be.instanceOf(StorageError)
        expect(error.code).to.equal('EBADF')
      }
    })

    it('leaves the other regions of the same thread alone', () => {
      const path = scratchFile()
      const first = storage.openRegion(path, SHARED)
      const second = storage.openRegion(path, SHARED)
      first.grow(PAGE_BYTES)
      new Uint8Array(first.window(0))[3] = 3
      const view = new Uint8Array(second.window(0))
      first.close()
      expect(view[3]).to.equal(3)
      expect(mappingsOf(path)).to.equal(1)
      second.close()
    })

    it('leaves a window that was transferred away readable', function () {
      const path = scratchFile()
      const region = storage.openRegion(path, { ...SHARED, windowBytes: PAGE_BYTES })
      region.grow(PAGE_BYTES)
      const window = region.window(0) as ArrayBuffer & { transfer?: () => ArrayBuffer }
      new Uint8Array(window)[9] = 9
      if (window.transfer === undefined) {
        region.close()
        return skip(this, 'ArrayBuffer.prototype.transfer came with Node.js 22')
      }
      const moved = new Uint8Array(window.transfer())
      region.close()
      expect(moved[9]).to.equal(9)
      expect(mappingsOf(path)).to.equal(1)
    })

    it('leaks neither descriptors nor mappings over 10,000 rounds in one go', () => {
      const path = scratchFile()
      const options = { ...SHARED, reserveBytes: MIB, windowBytes: MIB }
      const round = (): void => {
        const region = storage.openRegion(path, options)
        const locks = storage.openLocks(path)
        region.window(0)
        locks.tryLock(1, 'exclusive')
        locks.close()
        region.close()
      }
      storage.openRegion(path, options).close()
      const descriptors = descriptorCount()
      const mappings = mappingCount()
      for (let count = 0; count < 10_000; count++) round()
      expect(descriptorCount()).to.equal(descriptors)
      expect(mappingsOf(path)).to.equal(0)
      // The heap's own may come and go.
      expect(mappingCount()).to.be.below(mappings + 200)
    })
  })

  describe('lost pages', () => {
    it('read as zeros and are counted when the file is cut under the map', async () => {
      const path = scratchFile()
      const region = storage.openRegion(path, SHARED)
      const other = storage.openRegion(scratchFile(), SHARED)
      region.grow(8 * PAGE_BYTES)
      const view = new Uint8Array(region.window(0))
      view.fill(5, 0, 8 * PAGE_BYTES)
      fs.truncateSync(path, 2 * PAGE_BYTES)
      expect(view[2 * PAGE_BYTES - 1]).to.equal(5)
      expect(region.faultCount()).to.equal(0)
      expect(view[4 * PAGE_BYTES + 17]).to.equal(0)
      expect(region.faultCount()).to.equal(1)
      // The same page again is not another loss; another page is.
      expect(view[4 * PAGE_BYTES]).to.equal(0)
      expect(region.faultCount()).to.equal(1)
      view[6 * PAGE_BYTES] = 1
      expect(region.faultCount()).to.equal(2)
      expect(other.faultCount()).to.equal(0)
      // Lost for this process, even if the file comes back: others do not see what is stored there.
      region.grow(8 * PAGE_BYTES)
      view[4 * PAGE_BYTES] = 8
      expect(fs.readFileSync(path)[4 * PAGE_BYTES]).to.equal(0)
      expect(region.faultCount()).to.equal(2)
      other.close()
      region.close()
      const fresh = storage.openRegion(path, SHARED)
      expect(fresh.faultCount()).to.equal(0)
      expect(bytes(fresh, 4 * PAGE_BYTES, 1)).to.deep.equal([0])
      fresh.close()
    })

    it('are counted for all threads, whichever of them met the loss', async () => {
      const path = scratchFile()
      const region = storage.openRegion(path, SHARED)
      region.grow(4 * PAGE_BYTES)
      const peer = inThread(
        path,
        `const region = storage.openRegion(path, ${JSON.stringify(SHARED)})
         const view = new Uint8Array(region.window(0))
         say('open')
         await hear()
         say([view[4096], view[8192], region.faultCount()])
         region.close()`,
      )
      expect(await peer.next()).to.equal('open')
      fs.truncateSync(path, PAGE_BYTES)
      peer.tell('go')
      expect(await peer.next()).to.deep.equal([0, 0, 2])
      expect(region.faultCount()).to.equal(2)
      await peer.ended
      region.close()
    })

    it('are survived in private regions, too', () => {
      const path = scratchFile()
      fs.writeFileSync(path, Buffer.alloc(4 * PAGE_BYTES, 1))
      const region = storage.openRegion(path, PRIVATE)
      const view = new Uint8Array(region.window(0))
      view[0] = 2
      fs.truncateSync(path, 0)
      expect([view[PAGE_BYTES], region.faultCount()]).to.deep.equal([0, 1])
      region.close()
    })

    it('may be more than the kernel has mappings for', async function () {
      this.timeout(20_000)
      const path = scratchFile()
      const peer = inProcess(
        path,
        `const region = storage.openRegion(path, ${JSON.stringify(SHARED)})
         const limit = Number((await import('node:fs')).readFileSync('/proc/sys/vm/max_map_count', 'utf8'))
         if (limit > 200000) say('limit too high to reach')
         else {
           const view = new Uint8Array(region.window(0))
           let sum = 0
           // Every other page, so that no two losses can be one mapping.
           for (let page = 0; page < limit; page++) sum += view[page * 2 * 4096 % 2 ** 30]
           say([sum, region.faultCount() > 10000])
         }
         region.close()`,
      )
      const said = await peer.next()
      if (said === 'limit too high to reach') return skip(this, 'vm.max_map_count is too high to reach')
      expect(said).to.deep.equal([0, true])
      expect(await peer.ended).to.equal(0)
    })

    it('outside of regions, and a SIGBUS that was sent, still end the process', async () => {
      const path = scratchFile()
      const peer = inProcess(
        path,
        `const region = storage.openRegion(path, ${JSON.stringify(SHARED)})
         const view = new Uint8Array(region.window(0))
         say(view[0] + region.faultCount())
         process.kill(process.pid, 'SIGBUS')
         for (;;) view[0]++`,
      )
      expect(await peer.next()).to.equal(1)
      expect(await peer.ended).to.equal('SIGBUS')
    })

    it('reach the guard through another handler that was installed later and passes them on', async () => {
      // A second copy of the addon has a guard of its own, which knows nothing of the first one's.
      const path = scratchFile()
      const addon = inPackage('build/Release/mmapdb_native.node')
      const copy = join(scratchDirectory(), 'copy.node')
      fs.copyFileSync(addon, copy)
      const peer = inProcess(
        path,
        `const { createRequire } = await import('node:module')
         const second = createRequire('/')(${JSON.stringify(copy)})
         const mine = storage.openRegion(path, ${JSON.stringify(SHARED)})
         const theirs = new second.Region(0, path, 2 ** 30, true, false)
         const view = new Uint8Array(mine.window(0))
         const theirView = new Uint8Array(theirs.window(0))
         const faults = new Int32Array(theirs.faultWords())
         say([view[0], mine.faultCount(), faults[0]])
         say([theirView[0], mine.faultCount(), faults[0]])
         process.kill(process.pid, 'SIGBUS')
         for (;;) view[0]++`,
      )
      expect(await peer.next()).to.deep.equal([0, 1, 0])
      expect(await peer.next()).to.deep.equal([0, 1, 1])
      expect(await peer.ended).to.equal('SIGBUS')
    })

    it('are survived after the only thread that had loaded the addon has ended', async () => {
      const path = scratchFile()
      fs.writeFileSync(path, '')
      const peer = inBareProcess(
        path,
        `const { Worker } = await import('node:worker_threads')
         const run = () => new Promise(resolve => new Worker(\`
           const { parentPort } = require('node:worker_threads')
           import('${compiledUrl('src/storage/posix.js')}').then(({ posixStorage }) => {
             const region = posixStorage.openRegion('\${path}', { mode: 'shared', reserveBytes: 65536, windowBytes: 65536 })
             parentPort.postMessage(new Uint8Array(region.window(0))[5] + region.faultCount())
           })\`, { eval: true, execArgv: [] }).on('message', say).on('exit', resolve))
         await run()
         await run()
         process.kill(process.pid, 'SIGBUS')
         for (;;);`,
      )
      expect(await peer.next()).to.equal(1)
      expect(await peer.next()).to.equal(1)
      expect(await peer.ended).to.equal('SIGBUS')
    })
  })

  describe('waiting', () => {
    it('returns at once if the word has changed, and by the limit if nobody wakes it', () => {
      const region = storage.openRegion(scratchFile(), SHARED)
      region.grow(PAGE_BYTES)
      const words = new Int32Array(region.window(0))
      expect(region.wait(8, 1, 10_000)).to.equal('changed')
      const start = storage.monotonicMs()
      expect(region.wait(8, 0, 30)).to.equal('timed-out')
      expect(storage.monotonicMs() - start).to.be.within(29, 2000)
      expect(region.wait(8, 0, 0)).to.equal('timed-out')
      words[2] = -1
      expect(region.wait(8, 0xffffffff, 0)).to.equal('timed-out')
      expect(region.wait(8, -1, 0)).to.equal('timed-out')
      region.wakeAll(8)
      region.close()
    })

    it('is ended by a wake-up from another thread and from another process, and only on that word', async () => {
      const path = scratchFile()
      const region = storage.openRegion(path, SHARED)
      region.grow(2 * PAGE_BYTES)
      const words = new Int32Array(region.window(0))
      const body = (index: number): string => `
        const region = storage.openRegion(path, ${JSON.stringify(SHARED)})
        const words = new Int32Array(region.window(0))
        Atomics.store(words, ${index}, 1)
        say(region.wait(4100, 0, 10000))
        region.close()`
      const peers = [inThread(path, body(1)), inThread(path, body(2)), inProcess(path, body(3))]
      await until(() => [1, 2, 3].every((index) => Atomics.load(words, index) === 1))
      // They may still be on their way from the store into the wait: wake until all have said so.
      let woken = 0
      for (const peer of peers) {
        void peer.next().then((result) => {
          expect(result).to.equal('woken')
          woken++
        })
      }
      region.wakeAll(4096)
      storage.sleep(50)
      expect(woken).to.equal(0)
      await until(() => {
        region.wakeAll(4100)
        return woken === 3
      })
      await Promise.all(peers.map((peer) => peer.ended))
      region.close()
    })

    it('wakes the waiter when the word of a private or anonymous region is woken', async () => {
      // Only threads of one region could share it, and there are none: that it neither hangs nor fails is all.
      const region = storage.openRegion('', ANONYMOUS)
      region.grow(PAGE_BYTES)
      region.wakeAll(0)
      expect(region.wait(0, 0, 1)).to.equal('timed-out')
      region.close()
    })

    it('refuses words that are misaligned or not there', () => {
      const path = scratchFile()
      const region = storage.openRegion(path, SHARED)
      region.grow(PAGE_BYTES)
      for (const offset of [2, -4, PAGE_BYTES, RESERVE_BYTES, 1.5, NaN]) {
        expect(() => region.wait(offset, 0, 0), `wait ${offset}`).to.throw(RangeError)
        expect(() => region.wakeAll(offset), `wakeAll ${offset}`).to.throw(RangeError)
      }
      fs.truncateSync(path, 0)
      expect(thrownBy(() => region.wait(PAGE_BYTES - 4, 0, 0)).code).to.equal('EFAULT')
      region.close()
    })
  })
})
