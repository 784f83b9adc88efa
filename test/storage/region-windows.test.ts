// Windows of a region: where they lie, when they are mapped, and what they are where address space is limited.
import { expect } from 'chai'
import { spawnSync } from 'node:child_process'
import { posixStorage as storage } from '../../src/storage/posix.js'
import { compiledUrl } from '../../src/package-root.js'
import {
  ANONYMOUS,
  firstBytes,
  mappingsOf,
  MIB,
  PAGE_BYTES,
  removeScratch,
  RESERVE_BYTES,
  scratchFile,
  SHARED,
  skip,
  WINDOW_BYTES,
} from '../support/storage.js'

describe('storage: regions, windows', () => {
  afterEach(removeScratch)

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
    expect(firstBytes(wide, 2 * PAGE_BYTES - 1, 2)).to.deep.equal([1, 2])
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

  it('become smaller where address space is limited', function () {
    if ((process.env['LD_PRELOAD'] ?? '').includes('asan')) return skip(this, 'AddressSanitizer takes all of it')
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
