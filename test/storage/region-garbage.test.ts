// Windows are address space and no memory of the program: however many there are, V8 collects no garbage for them.
import { expect } from 'chai'
import { execFileSync } from 'node:child_process'
import { compiledUrl } from '../../src/package-root.js'
import { removeScratch, scratchFile } from '../support/storage.js'

/** What a process of its own sees while it touches windows, beside a heap that takes a while to be marked. */
interface Seen {
  readonly collections: number
  readonly externalBytes: number
  readonly arrayBufferBytes: number
  readonly afterCloseBytes: number
}

/** Maps that many windows, one in each turn of the event loop, and then closes them. */
function touch(windows: number): Seen {
  const script = `
    import { PerformanceObserver } from 'node:perf_hooks'
    import { setImmediate as turn, setTimeout as delay } from 'node:timers/promises'
    const { posixStorage: storage } = await import(${JSON.stringify(compiledUrl('src/storage/posix.js'))})
    const region = storage.openRegion(${JSON.stringify(scratchFile())},
      { mode: 'shared', reserveBytes: 2 ** 44, windowBytes: 2 ** 30, create: true })
    region.grow(4096)
    globalThis.live = Array.from({ length: 200_000 }, (_, i) => ({ i, list: [i] }))
    gc()
    let collections = 0
    const MINOR = 1
    new PerformanceObserver((list) => {
      for (const { detail } of list.getEntries()) if (detail.kind !== MINOR) collections++
    }).observe({ entryTypes: ['gc'] })
    await delay(50)
    collections = 0
    const before = process.memoryUsage()
    for (let i = 0; i < ${windows}; i++) { region.window(i); await turn() }
    await delay(50)
    const after = process.memoryUsage()
    const seen = {
      collections,
      externalBytes: after.external - before.external,
      arrayBufferBytes: after.arrayBuffers - before.arrayBuffers,
    }
    region.close()
    gc()
    await delay(50)
    console.log(JSON.stringify({ ...seen, afterCloseBytes: process.memoryUsage().external - before.external }))`
  return JSON.parse(
    execFileSync(process.execPath, ['--expose-gc', '--input-type=module', '-e', script], { encoding: 'utf8' }),
  ) as Seen
}

describe('storage: regions, garbage collection', function () {
  this.timeout(30_000)
  afterEach(removeScratch)

  it('is not driven by hundreds of windows, and memory is counted right again when they are closed', () => {
    const few = touch(2)
    const many = touch(400)
    for (const seen of [few, many]) {
      expect(Math.abs(seen.externalBytes)).to.be.below(2 ** 20)
      expect(Math.abs(seen.arrayBufferBytes)).to.be.below(2 ** 20)
      expect(Math.abs(seen.afterCloseBytes)).to.be.below(2 ** 20)
    }
    // One may be due anyway.
    expect(many.collections).to.be.at.most(few.collections + 2)
  })
})
