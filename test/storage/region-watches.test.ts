// Watches on words of mapped files, with the real system: who may change the word, and how watches end. If one of these
// failed, a process would not end, or would crash as a thread ends, or a change would be missed.
import { expect } from 'chai'
import { readdirSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { posixStorage as storage } from '../../src/storage/posix.js'
import {
  collectGarbage,
  inProcess,
  inThread,
  PAGE_BYTES,
  removeScratch,
  scratchFile,
  SHARED,
  until,
} from '../support/storage.js'

const threads = (): number => readdirSync('/proc/self/task').length
const OPEN = `const region = storage.openRegion(path, ${JSON.stringify(SHARED)}), words = new Int32Array(region.window(0))`

describe('storage: watches', function () {
  this.timeout(30_000)
  afterEach(removeScratch)

  for (const [name, peerIn] of [
    ['thread', inThread],
    ['process', inProcess],
  ] as const) {
    it(`tell of what another ${name} changes`, async () => {
      const path = scratchFile()
      const region = storage.openRegion(path, SHARED)
      region.grow(PAGE_BYTES)
      const words = new Int32Array(region.window(0))
      let seen = 0
      const watch = region.watch(16, () => (seen = Atomics.load(words, 4)))
      const peer = peerIn(
        path,
        `${OPEN}
         for (let i = 1; i <= 50; i++) {
           Atomics.store(words, 4, i)
           region.wakeAll(16)
           if (i % 10 === 0) { say(i); await hear() }
         }
         region.close()`,
      )
      for (let i = 10; i <= 50; i += 10) {
        expect(await peer.next()).to.equal(i)
        await until(() => seen === i)
        peer.tell('go on')
      }
      expect(await peer.ended).to.equal(0)
      watch.close()
      region.close()
    })
  }

  it('have one thread each, which is gone when they are closed or collected', async () => {
    const region = storage.openRegion(scratchFile(), SHARED)
    region.grow(PAGE_BYTES)
    const before = threads()
    const some = [0, 4, 4].map((at) => region.watch(at, () => undefined))
    expect(threads() - before).to.equal(3)
    for (const watch of some) watch.close()
    expect(threads() - before).to.equal(0)
    region.watch(8, () => undefined)
    region.close()
    expect(threads() - before).to.equal(0)
    ;(() => {
      const forgotten = storage.openRegion(scratchFile(), SHARED)
      forgotten.grow(PAGE_BYTES)
      forgotten.watch(0, () => undefined)
    })()
    expect(threads() - before).to.equal(1)
    for (let i = 0; i < 100 && threads() > before; i++) await collectGarbage()
    expect(threads() - before).to.equal(0)
  })

  it('do not keep a process alive, and end with it in the middle of many changes', async () => {
    const path = scratchFile()
    const region = storage.openRegion(path, SHARED)
    region.grow(PAGE_BYTES)
    const words = new Int32Array(region.window(0))
    const peer = inProcess(path, `${OPEN}; let told = 0; region.watch(0, () => told++); say('watches')`)
    expect(await peer.next()).to.equal('watches')
    expect(await peer.ended).to.equal(0)
    const busy = inProcess(
      path,
      `${OPEN}; region.watch(0, () => { if (words[1]++ > 200) process.exit(7) }); say('watches'); setTimeout(() => {}, 20000)`,
    )
    expect(await busy.next()).to.equal('watches')
    let isOver = false
    void busy.ended.then(() => (isOver = true))
    while (!isOver) {
      for (let i = 0; i < 20; i++) {
        Atomics.add(words, 0, 1)
        region.wakeAll(0)
      }
      await delay(0)
    }
    expect(await busy.ended).to.equal(7)
    region.close()
  })

  it('end with a thread that is terminated, whatever it was doing', async () => {
    const path = scratchFile()
    const region = storage.openRegion(path, SHARED)
    region.grow(PAGE_BYTES)
    const words = new Int32Array(region.window(0))
    const changes = setInterval(() => {
      for (let i = 0; i < 50; i++) {
        Atomics.add(words, 0, 1)
        region.wakeAll(0)
      }
    }, 1)
    for (let round = 0; round < 15; round++) {
      const busy = round % 3 === 0 ? 'for (;;) {}' : round % 3 === 1 ? 'await hear()' : 'setInterval(() => {}, 0)'
      const peer = inThread(
        path,
        `${OPEN}
         for (let i = 0; i < 4; i++) region.watch(0, () => { Atomics.add(words, 1, 1) })
         say('watches')
         await new Promise(setImmediate)
         ${busy}`,
      )
      expect(await peer.next()).to.equal('watches')
      await delay(round)
      await peer.kill()
    }
    clearInterval(changes)
    expect(Atomics.load(words, 1)).to.be.above(0)
    region.close()
  })

  it('pass on what their function throws as an uncaught exception, and go on', async () => {
    const path = scratchFile()
    const region = storage.openRegion(path, SHARED)
    region.grow(PAGE_BYTES)
    const words = new Int32Array(region.window(0))
    const peer = inProcess(
      path,
      `${OPEN}
       process.on('uncaughtException', (error) => say(error.message))
       region.watch(0, () => { throw new Error('from the watch ' + words[0]) })
       say('watches'); await hear(); region.close()`,
    )
    try {
      expect(await peer.next()).to.equal('watches')
      for (let i = 1; i <= 2; i++) {
        Atomics.add(words, 0, 1)
        region.wakeAll(0)
        const said = await Promise.race([peer.next(), delay(10_000, 'nothing', { ref: false })])
        expect(said).to.equal(`from the watch ${i}`)
      }
      peer.tell('over')
      expect(await peer.ended).to.equal(0)
    } finally {
      await peer.kill()
    }
    region.close()
  })
})
