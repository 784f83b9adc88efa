// Regions whose stores stay in memory: private ones over a file, and anonymous ones. If one of these failed, a
// read-only opening would change the files of a database.
import { expect } from 'chai'
import * as fs from 'node:fs'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { posixStorage as storage } from '../../src/storage/posix.js'
import {
  ANONYMOUS,
  descriptorCount,
  firstBytes,
  MIB,
  mountScratch,
  PAGE_BYTES,
  PRIVATE,
  removeScratch,
  scratchFile,
  SHARED,
  skip,
  thrownBy,
} from '../support/storage.js'

describe('storage: regions', () => {
  afterEach(removeScratch)

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
      expect(firstBytes(first, 4999, 2)).to.deep.equal([7, 0])
      expect(firstBytes(first, 2 * PAGE_BYTES, 1)).to.deep.equal([0])
      const view = new Uint8Array(first.window(0))
      for (const at of [5000, 2 * PAGE_BYTES, 3 * PAGE_BYTES - 1]) view[at] = 2
      first.grow(5 * PAGE_BYTES)
      expect(view[3 * PAGE_BYTES - 1]).to.equal(2)
      expect(view[3 * PAGE_BYTES]).to.equal(0)
      view[4 * PAGE_BYTES] = 3
      first.flush()
      expect(first.faultCount()).to.equal(0)
      expect(second.sizeBytes()).to.equal(5000)
      expect(firstBytes(second, 0, 1)).to.deep.equal([7])
      expect(firstBytes(shared, 0, 1)).to.deep.equal([7])
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
      expect(firstBytes(region, PAGE_BYTES, 1)).to.deep.equal([4])
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
      expect(firstBytes(onReadOnly, 0, 3)).to.deep.equal([0x7a, 0x62, 0x63])
      onReadOnly.close()
      expect(fs.readFileSync(join(mount, 'file'), 'utf8')).to.equal('abc')
    })

    it('cuts no file and creates no file', () => {
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
      expect(firstBytes(other, MIB - 1, 1)).to.deep.equal([0])
      region.flush()
      expect(descriptorCount()).to.equal(before)
      region.close()
      other.close()
    })
  })
})
