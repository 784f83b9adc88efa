// Flushes on another thread, with the real system. If one of these failed, a write would never be answered, or a
// process would end before its writes are done, or crash as a thread ends.
import { expect } from 'chai'
import { openSync, closeSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { native } from '../../src/storage/native.js'
import { posixStorage as storage } from '../../src/storage/posix.js'
import { inProcess, inThread, PAGE_BYTES, removeScratch, scratchFile, SHARED } from '../support/storage.js'

const OPEN = `const region = storage.openRegion(path, ${JSON.stringify(SHARED)}), file = storage.openFile(path, 'write')
  region.grow(4096)`

describe('storage: flushes on another thread', function () {
  this.timeout(30_000)
  afterEach(removeScratch)

  it('keep a process alive until they are told, and no longer', async () => {
    const told = '() => { process.exitCode = 7 }'
    const peer = inProcess(scratchFile(), `${OPEN}; region.flushLater(file, 0, 7, ${told})`)
    expect(await peer.ended).to.equal(7)
  })

  it('go on with a file that is closed meanwhile', async () => {
    const path = scratchFile()
    const region = storage.openRegion(path, SHARED)
    region.grow(PAGE_BYTES)
    for (let i = 0; i < 20; i++) {
      const file = storage.openFile(path, 'write')
      file.write(Buffer.from('bytes'), 0, 5, 0)
      const isDone = new Promise<unknown>((resolve) => region.flushLater(file, 0, 7, resolve))
      file.close()
      expect(await isDone).to.equal(undefined)
    }
    region.close()
  })

  it('say at once in the region that they failed, and then which error it was', async () => {
    const region = new native.Region(0, scratchFile(), 65536, true, false)
    region.grow(4096)
    const words = new Int32Array(region.window(0))
    // A pipe cannot be flushed.
    const fd = openSync('/dev/stdin', 'r')
    const told = new Promise<number>((resolve) => region.startFlusher(resolve))
    region.flushLater(8, 7, fd)
    const until = performance.now() + 5000
    while (Atomics.load(words, 2) === 0 && performance.now() < until);
    expect(words[2], 'while this event loop is busy').to.equal(7)
    expect(await told).to.be.above(0)
    closeSync(fd)
    region.close()
  })

  it('are not told of any more once the region is closed, even if that was on its way', async () => {
    const path = scratchFile()
    const fd = openSync('/dev/stdin', 'r')
    for (let round = 0; round < 20; round++) {
      const region = new native.Region(0, path, 65536, true, false)
      region.grow(4096)
      const words = new Int32Array(region.window(0))
      let told = 0
      region.startFlusher(() => told++)
      region.flushLater(8, 7, fd)
      while (Atomics.load(words, 2) === 0);
      // The call is queued after the word has changed.
      const until = performance.now() + 2
      while (performance.now() < until);
      words[2] = 0
      region.close()
      await delay(1)
      expect(told).to.equal(0)
    }
    closeSync(fd)
  })

  it('end with a thread that is terminated, whatever it was doing', async () => {
    const path = scratchFile()
    storage.openRegion(path, SHARED).close()
    for (let round = 0; round < 15; round++) {
      const busy = round % 3 === 0 ? 'for (;;) {}' : round % 3 === 1 ? 'await hear()' : 'setInterval(() => {}, 0)'
      const peer = inThread(
        path,
        `${OPEN}
         const again = () => region.flushLater(file, 0, 7, again)
         again()
         say('flushes')
         await new Promise(setImmediate)
         ${busy}`,
      )
      expect(await peer.next()).to.equal('flushes')
      await delay(round)
      await peer.kill()
    }
  })
})
