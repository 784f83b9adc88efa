import { expect } from 'chai'
import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { native } from '../../src/storage/native.js'
import { mappingsOf, PAGE_BYTES, removeScratch, scratchDirectory, scratchFile, thrownBy } from '../support/storage.js'
import { compiledFile } from '../../src/package-root.js'

/** Calls with arguments that TypeScript would not let through. */
type Loose = Record<string, (...args: unknown[]) => unknown>
const Region = native.Region as unknown as new (...args: unknown[]) => Loose
const LockFile = native.LockFile as unknown as new (...args: unknown[]) => Loose
const { allocate, identify, leadsTo } = native as unknown as Loose

/** Beyond what any file can be. */
const TOO_MANY_BYTES = 2 ** 50
const WINDOW_BYTES = 2 ** 20

describe('storage: the native addon', () => {
  afterEach(removeScratch)

  function openRegion(mode = 0): Loose {
    const region = new Region(mode, scratchFile(), WINDOW_BYTES, mode === 0, false)
    region.grow!(4 * PAGE_BYTES)
    return region
  }

  function openLocks(): Loose {
    const path = scratchFile()
    fs.writeFileSync(path, '')
    return new LockFile(path)
  }

  it('refuses every wrong argument of a Region with TypeError or RangeError', () => {
    const path = scratchFile()
    const good = [0, path, WINDOW_BYTES, true, false]
    const wrong: [number, unknown, typeof TypeError | typeof RangeError][] = [
      [0, 4, RangeError],
      [0, -1, RangeError],
      [0, 'shared', TypeError],
      [1, undefined, TypeError],
      [1, '', RangeError],
      [1, 'a\0b', RangeError],
      [2, 0, RangeError],
      [2, 4095, RangeError],
      [2, 5000, RangeError],
      [2, 2 ** 50, RangeError],
      [2, NaN, RangeError],
      [2, 2n, TypeError],
      [2, null, TypeError],
      [3, 1, TypeError],
      [4, undefined, TypeError],
    ]
    for (const [index, value, type] of wrong) {
      const args: unknown[] = [...good]
      args[index] = value
      expect(() => new Region(...args), `argument ${index}: ${String(value)}`).to.throw(type)
    }
    expect(() => new Region()).to.throw(TypeError)
    expect(() => (Region as unknown as () => void)()).to.throw(TypeError)
    expect(fs.existsSync(path)).to.equal(false)
  })

  it('refuses every wrong argument of a Region method', () => {
    const region = openRegion()
    const wrong: [string, unknown[], typeof TypeError | typeof RangeError][] = [
      ['window', [], TypeError],
      ['window', ['0'], TypeError],
      ['window', [0.5], RangeError],
      ['window', [TOO_MANY_BYTES / WINDOW_BYTES], RangeError],
      ['grow', [], TypeError],
      ['grow', [-1], RangeError],
      ['grow', [TOO_MANY_BYTES], RangeError],
      ['truncate', [{}], TypeError],
      ['truncate', [Infinity], RangeError],
      ['willNeed', [], TypeError],
      ['willNeed', [[1]], TypeError],
      ['willNeed', [new Int32Array(1)], TypeError],
      ['areInMemory', [], TypeError],
      ['areInMemory', [new Int32Array(1)], TypeError],
      ['willOverwrite', ['1'], TypeError],
      ['willOverwrite', [-1], RangeError],
      ['willOverwrite', [2 ** 32], RangeError],
      ['wait', [0, 0], TypeError],
      ['wait', [0, 0, -1], RangeError],
      ['wait', [0, 0, NaN], RangeError],
      ['wait', [0, 2 ** 32, 0], RangeError],
      ['wait', [0, '0', 0], TypeError],
      ['wait', [1, 0, 0], RangeError],
      ['wait', [4 * PAGE_BYTES, 0, 0], RangeError],
      ['wake', [0], TypeError],
      ['wake', [0, -1], RangeError],
      ['wake', [0, 2 ** 31], RangeError],
      ['wake', [TOO_MANY_BYTES, 1], RangeError],
    ]
    for (const [method, args, type] of wrong) {
      expect(() => region[method]!(...args), `${method}(${args.join()})`).to.throw(type)
    }
    region.close!()
  })

  it('does what the good arguments of the less used Region methods ask', () => {
    const region = openRegion()
    region.readRandomly!()
    region.willNeed!(new Uint32Array(0))
    // In any order, twice, after the end of the file, across windows and where no window is mapped.
    region.willNeed!(Uint32Array.of(3, 1, 2, 1, 255, 256, 2 ** 18 - 1, 2 ** 32 - 1))
    expect(region.areInMemory!(new Uint32Array(0))).to.equal(true)
    expect(region.areInMemory!(Uint32Array.of(0, 2 ** 32 - 1))).to.equal(false)
    expect(region.wake!(0, 1)).to.equal(0)
    const faults = new Int32Array(region.faultWords!() as ArrayBuffer)
    expect(faults[0]).to.equal(0)
    region.truncate!(PAGE_BYTES)
    expect(new Uint8Array(region.window!(0) as ArrayBuffer)[2 * PAGE_BYTES + 5]).to.equal(0)
    expect(faults[0]).to.equal(1)
    region.close!()
    for (const method of ['readRandomly', 'willNeed', 'areInMemory', 'willOverwrite', 'faultWords']) {
      expect(thrownBy(() => region[method]!(0, 0, 0)).code, method).to.equal('EBADF')
    }
  })

  it('tells pages that are in memory from those that have never been touched', () => {
    const path = scratchFile()
    // A hole, which is in the memory of no file system.
    fs.writeFileSync(path, '')
    fs.truncateSync(path, WINDOW_BYTES)
    const region = new Region(0, path, WINDOW_BYTES, false, false) as unknown as Loose
    const bytes = new Uint8Array(region.window!(0) as ArrayBuffer)
    expect(region.areInMemory!(Uint32Array.of(3))).to.equal(false)
    bytes[3 * PAGE_BYTES] = 1
    expect(region.areInMemory!(Uint32Array.of(3))).to.equal(true)
    region.close!()
  })

  it('gives up what was in a page that will be overwritten, and nothing else', () => {
    const region = openRegion()
    const bytes = new Uint8Array(region.window!(0) as ArrayBuffer)
    bytes.fill(7, 0, 4 * PAGE_BYTES)
    region.willOverwrite!(2)
    const expected = new Uint8Array(4 * PAGE_BYTES).fill(7).fill(0, 2 * PAGE_BYTES, 3 * PAGE_BYTES)
    expect(Buffer.from(bytes.buffer, 0, 4 * PAGE_BYTES).equals(expected)).to.equal(true)
    const sizeBytes = region.sizeBytes!()
    region.willOverwrite!(2 ** 18)
    expect(region.sizeBytes!(), 'the file never grows').to.equal(sizeBytes)
    region.close!()
  })

  it('refuses every wrong argument of a LockFile', () => {
    for (const args of [[], [5], [null]]) expect(() => new LockFile(...args)).to.throw(TypeError)
    for (const args of [[''], ['a\0b']]) expect(() => new LockFile(...args)).to.throw(RangeError)
    const locks = openLocks()
    for (const method of ['tryLock', 'lock', 'isHeldByOther', 'unlock']) {
      expect(() => locks[method]!('1', true, 0), method).to.throw(TypeError)
      for (const byte of [-1, 0.5, 2 ** 53, NaN]) {
        expect(() => locks[method]!(byte, true, 0), `${method}(${byte})`).to.throw(RangeError)
      }
      if (method !== 'unlock') expect(() => locks[method]!(1, 'exclusive', 0), method).to.throw(TypeError)
    }
    expect(() => locks.lock!(1, true)).to.throw(TypeError)
    expect(() => locks.lock!(1, true, -1)).to.throw(RangeError)
    locks.close!()
  })

  it('refuses methods on an object that is not theirs', () => {
    const region = openRegion()
    const locks = openLocks()
    for (const [name, thief, victim] of [
      ['sizeBytes', region, locks],
      ['close', region, locks],
      ['unlock', locks, region],
      ['close', locks, region],
      ['close', locks, {}],
      ['grow', region, undefined],
    ] as const) {
      expect(() => thief[name]!.call(victim, 0), name).to.throw()
    }
    expect(region.sizeBytes!()).to.equal(4 * PAGE_BYTES)
    region.close!()
    locks.close!()
  })

  it('tells files apart, and refuses what is no path', () => {
    for (const args of [[], ['1']]) expect(() => identify!(...args)).to.throw(TypeError)
    for (const args of [[-1], [0.5], [2 ** 31]]) expect(() => identify!(...args)).to.throw(RangeError)
    expect(thrownBy(() => identify!(2 ** 31 - 1)).code).to.equal('EBADF')
    for (const args of [[], [-100, 1], [-100, '/', '1', 1], [-100, '/', 1]])
      expect(() => leadsTo!(...args)).to.throw(TypeError)
    for (const args of [
      [-101, '/'],
      [-100, ''],
      [-100, 'a\0b'],
    ])
      expect(() => leadsTo!(...args, 1, 1)).to.throw(RangeError)
    const error = thrownBy(() => leadsTo!(-100, 'x'.repeat(5000), 1, 1))
    expect(error.code).to.equal('ENAMETOOLONG')
    expect(error.syscall).to.equal('statx')
    const fd = fs.openSync('/', 'r')
    const [device, inode] = identify!(fd) as [number, number]
    expect(inode).to.equal(fs.statSync('/').ino)
    expect(leadsTo!(-100, '/', device, inode)).to.equal(true)
    expect(leadsTo!(fd, '.', device, inode)).to.equal(true)
    expect(leadsTo!(-100, '/', device + 1, inode)).to.equal(false)
    fs.closeSync(fd)
  })

  it('allocates plain files, and refuses anything else', () => {
    for (const args of [[], ['1', 1], [1]]) expect(() => allocate!(...args)).to.throw(TypeError)
    for (const args of [
      [-1, 1],
      [0.5, 1],
      [2 ** 31, 1],
      [1, -1],
    ])
      expect(() => allocate!(...args)).to.throw(RangeError)
    const error = thrownBy(() => allocate!(2 ** 31 - 1, 4096))
    expect(error.code).to.equal('EBADF')
    expect(error.errno).to.equal(-9)
    expect(error.syscall).to.equal('fstat')
    const fd = fs.openSync(scratchFile(), 'w+')
    allocate!(fd, 12_345)
    expect(fs.fstatSync(fd).size).to.equal(12_345)
    fs.closeSync(fd)
  })

  it('maps a file that it opens read-only apart from the one that can be written', () => {
    const path = scratchFile()
    fs.writeFileSync(path, Buffer.alloc(PAGE_BYTES, 6))
    const readable = new Region(0, path, WINDOW_BYTES, false, true)
    const writable = new Region(0, path, WINDOW_BYTES, false, false)
    expect(mappingsOf(path)).to.equal(2)
    new Uint8Array(writable.window!(0) as ArrayBuffer)[1] = 7
    expect([...new Uint8Array(readable.window!(0) as ArrayBuffer, 0, 2)]).to.deep.equal([6, 7])
    expect(thrownBy(() => readable.grow!(2 * PAGE_BYTES)).code).to.equal('EBADF')
    expect(() => readable.truncate!(0)).to.throw()
    expect(fs.statSync(path).size).to.equal(PAGE_BYTES)
    readable.close!()
    writable.close!()
  })

  it('says what to do where it is not built, not loadable, or not on Linux', () => {
    const root = scratchDirectory()
    const copied = ['src/storage/native.js', 'src/package-root.js']
    const copy = join(root, 'dist', copied[0]!)
    const addon = join(root, 'build', 'Release', 'mmapdb_native.node')
    for (const path of [copy, addon]) fs.mkdirSync(dirname(path), { recursive: true })
    for (const file of copied) fs.copyFileSync(compiledFile(file), join(root, 'dist', file))
    fs.writeFileSync(join(root, 'package.json'), '{"type":"module"}')
    const load = (before: string): string =>
      spawnSync(
        process.execPath,
        [
          '-e',
          `${before}; import(${JSON.stringify(pathToFileURL(copy).href)}).then(() => console.log('loaded'), error => console.log(error.message))`,
        ],
        { encoding: 'utf8' },
      ).stdout
    expect(load('')).to.match(/not built.*npm rebuild mmapdb/)
    expect(load(`Object.defineProperty(process, 'platform', { value: 'darwin' })`)).to.match(/Linux only.*darwin/)
    fs.writeFileSync(addon, 'no such thing')
    expect(load('')).to.match(/could not be loaded.*npm rebuild mmapdb/)
  })
})
