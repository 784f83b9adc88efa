// Waiting on a word of a region. If one of these failed, a waiter would sleep through its wake-up, or wake up for
// another word.
import { expect } from 'chai'
import * as fs from 'node:fs'
import { posixStorage as storage } from '../../src/storage/posix.js'
import {
  ANONYMOUS,
  inProcess,
  inThread,
  PAGE_BYTES,
  removeScratch,
  RESERVE_BYTES,
  scratchFile,
  SHARED,
  thrownBy,
  until,
} from '../support/storage.js'

describe('storage: regions, waiting', () => {
  afterEach(removeScratch)

  it('returns at once if the word has changed, and after the limit if no thread wakes it', () => {
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
    // No other thread can share it, so this only checks that it neither hangs nor fails.
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
