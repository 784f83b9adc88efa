// How long a mapping lives: one for each file and process, shared by threads, gone with the last region that uses it.
// If one of these failed, address space or descriptors would leak, or a closed region would reach unmapped memory.
import { expect } from 'chai'
import * as fs from 'node:fs'
import { link } from 'node:fs/promises'
import { posixStorage as storage } from '../../src/storage/posix.js'
import { StorageError } from '../../src/storage/storage.js'
import {
  collectGarbage,
  descriptorCount,
  firstBytes,
  inThread,
  mappingCount,
  mappingsOf,
  MIB,
  PAGE_BYTES,
  removeScratch,
  scratchFile,
  SHARED,
  skip,
  thrownBy,
} from '../support/storage.js'

describe('storage: regions', () => {
  afterEach(removeScratch)

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

    it('is released by threads that end, are terminated or exit without closing it', async () => {
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
      expect(firstBytes(wider, 0, 1)).to.deep.equal([1])
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
})
