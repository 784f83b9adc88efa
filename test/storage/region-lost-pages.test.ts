// Pages that cannot be read, after an I/O error or because the file was cut under the map. If one of these failed,
// such a page would end the process, or read as zeros without being counted.
import { expect } from 'chai'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { posixStorage as storage } from '../../src/storage/posix.js'
import { compiledUrl, inPackage } from '../../src/package-root.js'
import {
  firstBytes,
  inBareProcess,
  inProcess,
  inThread,
  PAGE_BYTES,
  PRIVATE,
  removeScratch,
  scratchDirectory,
  scratchFile,
  SHARED,
  skip,
} from '../support/storage.js'

describe('storage: regions, lost pages', () => {
  afterEach(removeScratch)

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
    expect(firstBytes(fresh, 4 * PAGE_BYTES, 1)).to.deep.equal([0])
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
