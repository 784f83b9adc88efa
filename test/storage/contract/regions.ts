// Regions: growth, windows, private and in memory, cuts, and what is closed.
import { expect } from 'chai'
import { setTimeout as delay } from 'node:timers/promises'
import type { Region, RegionOptions } from '../../../src/storage/storage.js'
import { expectCode, MAPPED, PAGE_BYTES, SHARED, WINDOW_BYTES, type Test, type TestWith } from './setting.js'

const EXISTING: RegionOptions = { ...MAPPED, mode: 'shared' }
const PRIVATE: RegionOptions = { ...MAPPED, mode: 'private' }
const ANONYMOUS: RegionOptions = { ...MAPPED, mode: 'anonymous' }
const PROCESS: RegionOptions = { ...MAPPED, mode: 'process' }

const view = (region: Region, window = 0): Uint8Array => new Uint8Array(region.window(window))

export function regions(test: Test, testWith: TestWith): void {
  regionsGrow(test)
  regionsHaveWindows(test, testWith)
  regionsMayBePrivate(test)
  regionsMayBeMemory(test, testWith)
  regionsAreCut(test)
  regionsAreWatched(test)
  regionsAreClosed(test)
}

function regionsGrow(test: Test): void {
  test('create their file only when they are asked to', (place) => {
    const { storage, directory } = place
    const path = place.at('file')
    expectCode(() => storage.openRegion(path, EXISTING), 'ENOENT')
    expectCode(() => storage.openRegion(path, PRIVATE), 'ENOENT')
    expect(storage.list(directory)).to.deep.equal([])
    const region = storage.openRegion(path, SHARED)
    expect(region.sizeBytes()).to.equal(0)
    region.close()
    expect(storage.list(directory)).to.deep.equal(['file'])
    expectCode(() => storage.openRegion(directory, SHARED), 'EISDIR')
    expectCode(() => storage.openRegion(place.at('none', 'file'), SHARED), 'ENOENT')
  })

  test('keep what is there when they grow, add zeros, and never shrink', (place) => {
    const path = place.at('file')
    place.write(path, 'kept')
    const region = place.storage.openRegion(path, EXISTING)
    expect(region.sizeBytes()).to.equal(4)
    region.grow(3 * WINDOW_BYTES)
    expect(Buffer.from(region.window(0), 0, 6).toString('latin1')).to.equal('kept\0\0')
    expect(view(region, 2).every((byte) => byte === 0)).to.equal(true)
    region.grow(PAGE_BYTES)
    region.grow(0)
    expect(region.sizeBytes()).to.equal(3 * WINDOW_BYTES)
    expect(place.storage.info(path).sizeBytes).to.equal(3 * WINDOW_BYTES)
    region.close()
  })

  test('show at once what another let grow and stored, also beyond what they reserved', (place) => {
    const path = place.at('file')
    const region = place.storage.openRegion(path, { ...SHARED, reserveBytes: WINDOW_BYTES })
    const other = place.storage.openRegion(path, EXISTING)
    region.grow(PAGE_BYTES)
    other.grow(2 * WINDOW_BYTES)
    expect(region.sizeBytes()).to.equal(2 * WINDOW_BYTES)
    view(other)[PAGE_BYTES] = 1
    view(other, 1)[WINDOW_BYTES - 1] = 2
    expect(view(region)[PAGE_BYTES]).to.equal(1)
    expect(view(region, 1)[WINDOW_BYTES - 1]).to.equal(2)
    expect(region.faultCount()).to.equal(0)
    for (const each of [region, other]) each.close()
  })

  test('read ahead until their file is longer than was said', (place) => {
    const region = place.storage.openRegion(place.at('file'), { ...SHARED, readAheadBytes: WINDOW_BYTES })
    region.grow(WINDOW_BYTES)
    expect(region.readsAhead).to.equal(true)
    region.grow(WINDOW_BYTES + PAGE_BYTES)
    expect(region.readsAhead).to.equal(false)
    region.close()
    const always = place.storage.openRegion(place.at('file'), EXISTING)
    expect(always.readsAhead).to.equal(true)
    always.close()
  })
}

function regionsHaveWindows(test: Test, testWith: TestWith): void {
  test('have windows that follow each other, and are the same buffers each time', (place) => {
    const path = place.at('file')
    const region = place.storage.openRegion(path, SHARED)
    expect(region.windowBytes).to.equal(WINDOW_BYTES)
    region.grow(2 * WINDOW_BYTES + 1)
    for (let index = 0; index < 3; index++) {
      const window = region.window(index)
      expect(window).to.equal(region.window(index))
      expect(window.byteLength, 'also where the file is shorter').to.equal(WINDOW_BYTES)
      new Uint8Array(window)[0] = index + 1
    }
    expect(() => region.window(-1)).to.throw(RangeError)
    const file = place.storage.openFile(path, 'read')
    for (let index = 0; index < 3; index++) {
      const byte = Buffer.alloc(1)
      file.read(byte, 0, 1, index * WINDOW_BYTES)
      expect(byte[0], `window ${index}`).to.equal(index + 1)
    }
    for (const each of [file, region]) each.close()
  })

  test('show what is written to their file, and the file what is stored in them', (place) => {
    const path = place.at('file')
    const region = place.storage.openRegion(path, SHARED)
    region.grow(WINDOW_BYTES)
    const bytes = view(region)
    const file = place.storage.openFile(path, 'write')
    file.write(Buffer.from('written'), 0, 7, 100)
    expect(Buffer.from(bytes.subarray(100, 107)).toString()).to.equal('written')
    bytes.set(Buffer.from('stored!'), 100)
    const into = Buffer.alloc(7)
    file.read(into, 0, 7, 100)
    expect(into.toString()).to.equal('stored!')
    region.flush()
    for (const each of [file, region]) each.close()
  })

  testWith('windows of any length')('see the same bytes whatever the length of their windows', (place) => {
    const path = place.at('file')
    const narrow = place.storage.openRegion(path, { ...SHARED, windowBytes: PAGE_BYTES })
    const wide = place.storage.openRegion(path, EXISTING)
    narrow.grow(3 * PAGE_BYTES)
    view(narrow, 2)[1] = 7
    expect(view(wide)[2 * PAGE_BYTES + 1]).to.equal(7)
    for (const each of [narrow, wide]) each.close()
  })

  test('lose of a page that will be overwritten no more than that page', (place) => {
    const region = place.storage.openRegion(place.at('file'), SHARED)
    region.grow(2 * WINDOW_BYTES)
    for (const index of [0, 1]) view(region, index).fill(5)
    const page = WINDOW_BYTES / PAGE_BYTES + 1
    region.willNeed(Uint32Array.of(page, 0, page, 1_000_000))
    expect(region.areInMemory(Uint32Array.of(page, 0, page))).to.equal(true)
    region.willOverwrite(page)
    view(region, 1).fill(6, PAGE_BYTES, 2 * PAGE_BYTES)
    const found = new Set(view(region, 1).subarray(PAGE_BYTES, 2 * PAGE_BYTES))
    expect([...found]).to.deep.equal([6])
    view(region, 1).fill(5, PAGE_BYTES, 2 * PAGE_BYTES)
    for (const index of [0, 1]) expect(view(region, index).every((byte) => byte === 5)).to.equal(true)
    expect(region.sizeBytes()).to.equal(2 * WINDOW_BYTES)
    region.close()
  })

  test('do not wait for a word that has changed, and wait for one that has not until the time is over', (place) => {
    const { storage } = place
    const region = storage.openRegion(place.at('file'), SHARED)
    region.grow(PAGE_BYTES)
    new Int32Array(region.window(0))[2] = -1
    expect(region.wait(8, 1, 10_000)).to.equal('changed')
    expect(region.wait(8, -1, 1)).to.equal('timed-out')
    for (const wake of [() => region.wakeAll(8), () => region.wakeOne(8)]) wake()
    region.close()
  })
}

function regionsMayBePrivate(test: Test): void {
  test('that are private keep stores and growth to themselves', (place) => {
    const path = place.at('file')
    place.write(path, 'kept')
    const first = place.storage.openRegion(path, PRIVATE)
    const second = place.storage.openRegion(path, PRIVATE)
    const shared = place.storage.openRegion(path, EXISTING)
    expect(first.sizeBytes()).to.equal(4)
    expect(first.identity()).to.deep.equal(shared.identity())
    view(first)[0] = 1
    first.grow(2 * WINDOW_BYTES)
    expect(view(first, 1)[5]).to.equal(0)
    view(first, 1)[5] = 1
    first.flush()
    expect(view(first)[0]).to.equal(1)
    expect(first.sizeBytes()).to.equal(2 * WINDOW_BYTES)
    for (const each of [second, shared]) {
      expect(each.sizeBytes()).to.equal(4)
      expect(Buffer.from(each.window(0), 0, 4).toString()).to.equal('kept')
    }
    for (const each of [first, second, shared]) each.close()
    expect(place.read(path)).to.equal('kept')
  })

  test('that are private cut nothing and create nothing', (place) => {
    const path = place.at('file')
    place.write(path, 'kept')
    const region = place.storage.openRegion(path, PRIVATE)
    expectCode(() => region.truncate(0), 'EINVAL')
    region.close()
    expect(() => place.storage.openRegion(place.at('other'), { ...PRIVATE, create: true })).to.throw(RangeError)
    expect(place.kindOf(place.at('other'))).to.equal('missing')
  })

  test('that are read-only do not grow and cut their file', (place) => {
    const path = place.at('file')
    place.write(path, 'kept')
    const region = place.storage.openRegion(path, { ...EXISTING, readOnly: true })
    expect(Buffer.from(region.window(0), 0, 4).toString()).to.equal('kept')
    expectCode(() => region.grow(PAGE_BYTES), 'EBADF')
    expectCode(() => region.truncate(0), 'EINVAL')
    region.close()
    expect(place.read(path)).to.equal('kept')
  })
}

function regionsMayBeMemory(test: Test, testWith: TestWith): void {
  test('that are anonymous are zeroed memory of their own, and no file', (place) => {
    const region = place.storage.openRegion(place.at('file'), ANONYMOUS)
    const other = place.storage.openRegion(place.at('file'), ANONYMOUS)
    expect(region.sizeBytes()).to.equal(0)
    for (const each of [region, other]) each.grow(2 * WINDOW_BYTES)
    expect(region.sizeBytes()).to.equal(2 * WINDOW_BYTES)
    view(region, 1)[1] = 1
    expect(view(region, 1)[1]).to.equal(1)
    expect(view(other, 1)[1]).to.equal(0)
    region.flush()
    expectCode(() => region.identity(), 'EBADF')
    expectCode(() => region.truncate(0), 'EINVAL')
    for (const each of [region, other]) each.close()
    expect(place.storage.list(place.directory)).to.deep.equal([])
  })

  testWith('process memory')('that are memory of the process are found under their file', (place) => {
    const path = place.at('file')
    place.write(path, 'kept')
    expectCode(() => place.storage.openRegion(path, PROCESS), 'ENOENT')
    const region = place.storage.openRegion(path, { ...PROCESS, create: true })
    region.grow(PAGE_BYTES)
    view(region)[0] = 1
    const again = place.storage.openRegion(path, PROCESS)
    expect(again.sizeBytes()).to.equal(PAGE_BYTES)
    expect(view(again)[0]).to.equal(1)
    for (const each of [region, again]) each.close()
    expect(place.read(path)).to.equal('kept')
  })

  testWith('process memory is renewed')('that are memory of the process keep it when it is created again', (place) => {
    const path = place.at('file')
    place.write(path, 'kept')
    const old = place.storage.openRegion(path, { ...PROCESS, create: true })
    old.grow(PAGE_BYTES)
    view(old)[0] = 1
    const next = place.storage.openRegion(path, { ...PROCESS, create: true })
    expect(next.sizeBytes()).to.equal(0)
    next.grow(PAGE_BYTES)
    expect(view(next)[0]).to.equal(0)
    expect(view(old)[0]).to.equal(1)
    for (const each of [old, next]) each.close()
    expectCode(() => place.storage.openRegion(path, PROCESS), 'ENOENT')
  })
}

function regionsAreCut(test: Test): void {
  test('cut their file, and have zeros where it grows again', (place) => {
    const path = place.at('file')
    const region = place.storage.openRegion(path, SHARED)
    region.grow(2 * WINDOW_BYTES)
    for (const index of [0, 1]) view(region, index).fill(9)
    region.truncate(PAGE_BYTES)
    expect(region.sizeBytes()).to.equal(PAGE_BYTES)
    expect(place.storage.info(path).sizeBytes).to.equal(PAGE_BYTES)
    region.grow(2 * WINDOW_BYTES)
    expect([...view(region).subarray(PAGE_BYTES - 1, PAGE_BYTES + 1)]).to.deep.equal([9, 0])
    expect(view(region, 1).every((byte) => byte === 0)).to.equal(true)
    expect(region.faultCount()).to.equal(0)
    region.close()
  })

  test('refuse to be made longer by a cut: that would be a hole', (place) => {
    const region = place.storage.openRegion(place.at('file'), SHARED)
    region.grow(PAGE_BYTES)
    expect(() => region.truncate(2 * PAGE_BYTES)).to.throw(RangeError)
    expect(region.sizeBytes()).to.equal(PAGE_BYTES)
    region.close()
  })
}

const turn = (ms = 0): Promise<unknown> => delay(ms)
const until = async (holds: () => boolean): Promise<void> => {
  for (const giveUpMs = performance.now() + 5000; !holds() && performance.now() < giveUpMs;) await turn(1)
  expect(holds(), String(holds)).to.equal(true)
}

function regionsAreWatched(test: Test): void {
  test('tell of a word that has changed, in a later turn, whichever region over the file changed it', async (place) => {
    const region = place.storage.openRegion(place.at('file'), SHARED)
    const other = place.storage.openRegion(place.at('file'), EXISTING)
    region.grow(2 * WINDOW_BYTES)
    const at = WINDOW_BYTES + 8
    const words = new Int32Array(other.window(1))
    let told = 0
    let toldOfAnother = 0
    const watch = region.watch(at, () => told++)
    region.watch(at + 4, () => toldOfAnother++)
    for (let i = 1; i <= 3; i++) {
      Atomics.add(words, 2, 1)
      other.wakeAll(at)
      expect(told, 'in this turn').to.equal(i - 1)
      await until(() => told === i)
    }
    other.wakeAll(at)
    await turn(20)
    expect(told, 'without a change').to.equal(3)
    watch.close()
    watch.close()
    Atomics.add(words, 2, 1)
    other.wakeAll(at)
    await turn(20)
    expect([told, toldOfAnother], 'after it was closed').to.deep.equal([3, 0])
    for (const each of [region, other]) each.close()
  })

  test('tell of many changes at least once after the last one', async (place) => {
    const region = place.storage.openRegion(place.at('file'), SHARED)
    region.grow(PAGE_BYTES)
    const words = new Int32Array(region.window(0))
    let seen = -1
    let told = 0
    region.watch(0, () => {
      seen = Atomics.load(words, 0)
      told++
    })
    for (let i = 0; i < 1000; i++) {
      Atomics.add(words, 0, 1)
      region.wakeAll(0)
    }
    await until(() => seen === 1000)
    expect(told).to.be.within(1, 1000)
    region.close()
  })

  test('end their watches when they are closed, and have none beyond their file', async (place) => {
    const region = place.storage.openRegion(place.at('file'), SHARED)
    const other = place.storage.openRegion(place.at('file'), EXISTING)
    region.grow(PAGE_BYTES)
    let told = 0
    const watch = region.watch(4, () => told++)
    expect(() => region.watch(PAGE_BYTES, () => undefined)).to.throw(RangeError)
    Atomics.add(new Int32Array(region.window(0)), 1, 1)
    region.wakeAll(4)
    region.close()
    watch.close()
    Atomics.add(new Int32Array(other.window(0)), 1, 1)
    other.wakeAll(4)
    await turn(20)
    expect(told).to.equal(0)
    expectCode(() => region.watch(4, () => undefined), 'EBADF')
    other.close()
  })
}

function regionsAreClosed(test: Test): void {
  test('are closed once, and say EBADF afterwards', (place) => {
    const region = place.storage.openRegion(place.at('file'), SHARED)
    region.grow(PAGE_BYTES)
    region.window(0)
    region.close()
    region.close()
    for (const call of [
      () => region.sizeBytes(),
      () => region.identity(),
      () => region.window(0),
      () => region.grow(2 * PAGE_BYTES),
      () => region.truncate(0),
      () => region.flush(),
      () => region.faultCount(),
      () => region.wait(0, 0, 1),
      () => region.wakeAll(0),
      () => region.wakeOne(0),
    ])
      expectCode(call, 'EBADF')
    expect(place.storage.info(place.at('file')).sizeBytes).to.equal(PAGE_BYTES)
  })

  test('that are closed leave others over the same file alone', (place) => {
    const region = place.storage.openRegion(place.at('file'), SHARED)
    const other = place.storage.openRegion(place.at('file'), EXISTING)
    region.grow(PAGE_BYTES)
    view(region)[3] = 3
    region.close()
    expect(view(other)[3]).to.equal(3)
    expect(other.sizeBytes()).to.equal(PAGE_BYTES)
    other.close()
  })

  test('have files flushed for them, and tell so in a later turn, once each', async (place) => {
    const region = place.storage.openRegion(place.at('file'), SHARED)
    region.grow(PAGE_BYTES)
    const file = place.storage.openFile(place.at('other'), 'create')
    file.write(Buffer.from('bytes'), 0, 5, 0)
    const told: unknown[] = []
    for (let i = 1; i <= 3; i++) {
      region.flushLater(file, 8, 7, (error) => told.push(error ?? i))
      expectCode(() => region.flushLater(file, 8, 7, () => told.push('twice')), 'EBUSY')
      expect(told.length, 'in this turn').to.equal(i - 1)
      await until(() => told.length === i)
    }
    expect(told).to.deep.equal([1, 2, 3])
    expect(new Int32Array(region.window(0))[2], 'none has failed').to.equal(0)
    region.flushLater(file, 8, 7, () => told.push('closed'))
    region.close()
    await turn(20)
    expect(told.length).to.equal(3)
    file.close()
  })
}
