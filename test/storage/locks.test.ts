import { expect } from 'chai'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { posixStorage as storage } from '../../src/storage/posix.js'
import { StorageError, type LockTable } from '../../src/storage/storage.js'
import {
  collectGarbage,
  inProcess,
  inThread,
  mountScratch,
  remountReadOnly,
  removeScratch,
  scratchDirectory,
  scratchFile,
  skip,
  thrownBy,
  until,
  type Peer,
} from '../support/storage.js'

const BYTE = 7

describe('storage: locks', () => {
  let path: string
  let mine: LockTable

  beforeEach(() => {
    path = scratchFile()
    fs.writeFileSync(path, '')
    mine = storage.openLocks(path)
  })

  afterEach(() => {
    mine.close()
    removeScratch()
  })

  describe('between objects of one thread', () => {
    it('let one exclusive holder or any number of shared ones have a byte', () => {
      const other = storage.openLocks(path)
      const third = storage.openLocks(path)
      expect(mine.tryLock(BYTE, 'exclusive')).to.equal(true)
      expect(other.tryLock(BYTE, 'exclusive')).to.equal(false)
      expect(other.tryLock(BYTE, 'shared')).to.equal(false)
      mine.unlock(BYTE)
      expect(mine.tryLock(BYTE, 'shared')).to.equal(true)
      expect(other.tryLock(BYTE, 'shared')).to.equal(true)
      expect(third.tryLock(BYTE, 'exclusive')).to.equal(false)
      mine.unlock(BYTE)
      expect(third.tryLock(BYTE, 'exclusive')).to.equal(false)
      other.unlock(BYTE)
      expect(third.tryLock(BYTE, 'exclusive')).to.equal(true)
      other.close()
      third.close()
    })

    it('convert, and a conversion that fails keeps what was held', () => {
      const other = storage.openLocks(path)
      mine.tryLock(BYTE, 'exclusive')
      expect(mine.tryLock(BYTE, 'shared')).to.equal(true)
      expect(other.tryLock(BYTE, 'shared')).to.equal(true)
      expect(mine.tryLock(BYTE, 'exclusive')).to.equal(false)
      expect(mine.lock(BYTE, 'exclusive', 5)).to.equal(false)
      expect(other.isHeldByOther(BYTE, 'exclusive')).to.equal(true)
      other.unlock(BYTE)
      expect(mine.tryLock(BYTE, 'exclusive')).to.equal(true)
      expect(other.tryLock(BYTE, 'shared')).to.equal(false)
      other.close()
    })

    it('hold bytes apart from their neighbours, up to the largest', () => {
      const other = storage.openLocks(path)
      for (const byte of [0, 1, 2 ** 32, Number.MAX_SAFE_INTEGER - 1]) {
        expect(mine.tryLock(byte, 'exclusive')).to.equal(true)
      }
      for (const byte of [2, 2 ** 32 - 1, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER]) {
        expect(other.tryLock(byte, 'exclusive'), String(byte)).to.equal(true)
      }
      expect(other.tryLock(1, 'shared')).to.equal(false)
      mine.unlock(1)
      expect(other.tryLock(1, 'shared')).to.equal(true)
      expect(other.tryLock(0, 'shared')).to.equal(false)
      other.close()
    })

    it('tell who is in the way, and never name the asker itself', () => {
      const other = storage.openLocks(path)
      mine.tryLock(BYTE, 'shared')
      expect(mine.isHeldByOther(BYTE, 'exclusive')).to.equal(false)
      expect(other.isHeldByOther(BYTE, 'exclusive')).to.equal(true)
      expect(other.isHeldByOther(BYTE, 'shared')).to.equal(false)
      mine.tryLock(BYTE, 'exclusive')
      expect(other.isHeldByOther(BYTE, 'shared')).to.equal(true)
      expect(other.isHeldByOther(BYTE + 1, 'exclusive')).to.equal(false)
      mine.unlock(BYTE)
      expect(other.isHeldByOther(BYTE, 'exclusive')).to.equal(false)
      other.close()
    })

    it('survive the closing of another descriptor of the same file', () => {
      const other = storage.openLocks(path)
      mine.tryLock(BYTE, 'exclusive')
      fs.closeSync(fs.openSync(path, 'r+'))
      storage.openLocks(path).close()
      expect(other.tryLock(BYTE, 'shared')).to.equal(false)
      other.close()
    })

    it('are dropped by close, which is idempotent; everything else says EBADF afterwards', () => {
      const other = storage.openLocks(path)
      mine.tryLock(BYTE, 'exclusive')
      mine.close()
      mine.close()
      expect(other.tryLock(BYTE, 'exclusive')).to.equal(true)
      other.close()
      const calls = [
        () => mine.tryLock(BYTE, 'shared'),
        () => mine.lock(BYTE, 'shared', 1),
        () => mine.heldByOther(0, 1),
        () => mine.isHeldByOther(BYTE, 'shared'),
        () => mine.unlock(BYTE),
      ]
      for (const call of calls) {
        const error = thrownBy(call)
        expect(error).to.be.instanceOf(StorageError)
        expect(error.code).to.equal('EBADF')
      }
    })
  })

  describe('in time', () => {
    it('are waited for until the limit and not much longer', () => {
      const other = storage.openLocks(path)
      other.tryLock(BYTE, 'exclusive')
      for (const timeoutMs of [0, 1, 40]) {
        const start = storage.monotonicMs()
        expect(mine.lock(BYTE, 'exclusive', timeoutMs)).to.equal(false)
        expect(storage.monotonicMs() - start).to.be.within(timeoutMs, timeoutMs + 1000)
      }
      other.unlock(BYTE)
      expect(mine.lock(BYTE, 'exclusive', 0)).to.equal(true)
      other.close()
    })

    it('are acquired by a waiter soon after their holder releases them', async () => {
      const peer = inThread(
        path,
        `const locks = storage.openLocks(path)
         locks.tryLock(${BYTE}, 'exclusive')
         say('held')
         await hear()
         storage.sleep(50)
         locks.unlock(${BYTE})
         await hear()`,
      )
      await peer.next()
      peer.tell('go')
      const start = storage.monotonicMs()
      expect(mine.lock(BYTE, 'exclusive', Infinity)).to.equal(true)
      expect(storage.monotonicMs() - start).to.be.below(2000)
      peer.tell('end')
      await peer.ended
    })
  })

  describe('between threads and processes', () => {
    const holding = `
      const locks = storage.openLocks(path)
      locks.tryLock(${BYTE}, 'exclusive')
      say('held')`

    async function expectHeld(peer: Peer): Promise<void> {
      expect(await peer.next()).to.equal('held')
      expect(mine.tryLock(BYTE, 'shared')).to.equal(false)
      expect(mine.isHeldByOther(BYTE, 'shared')).to.equal(true)
    }

    for (const [what, run] of [
      ['thread', inThread],
      ['process', inProcess],
    ] as const) {
      it(`exclude another ${what}, and are given back by it`, async () => {
        const peer = run(path, `${holding}; await hear(); locks.unlock(${BYTE}); say('free'); await hear()`)
        await expectHeld(peer)
        peer.tell('unlock')
        expect(await peer.next()).to.equal('free')
        expect(mine.tryLock(BYTE, 'exclusive')).to.equal(true)
        peer.tell('end')
        await peer.ended
      })

      it(`are released when a ${what} ends without a word`, async () => {
        const peer = run(path, `${holding}; await hear()`)
        await expectHeld(peer)
        peer.tell('end')
        await peer.ended
        expect(mine.tryLock(BYTE, 'exclusive')).to.equal(true)
      })

      it(`are released when a ${what} calls process.exit`, async () => {
        const peer = run(path, `${holding}; await hear(); process.exit(5)`)
        await expectHeld(peer)
        peer.tell('exit')
        expect(await peer.ended).to.equal(5)
        expect(mine.tryLock(BYTE, 'exclusive')).to.equal(true)
      })

      it(`are released when a ${what} is killed in the middle of a busy loop`, async () => {
        const peer = run(path, `${holding}; for (;;);`)
        await expectHeld(peer)
        await peer.kill()
        expect(mine.tryLock(BYTE, 'exclusive')).to.equal(true)
      })
    }

    it('are released when a thread is terminated while it waits for another lock', async () => {
      mine.tryLock(BYTE + 1, 'exclusive')
      const peer = inThread(path, `${holding}; for (;;) locks.lock(${BYTE + 1}, 'exclusive', 20)`)
      await expectHeld(peer)
      await peer.kill()
      expect(mine.tryLock(BYTE, 'exclusive')).to.equal(true)
    })

    it('are released when an uncaught error ends a thread', async () => {
      const peer = inThread(path, `${holding}; await hear(); setImmediate(() => { throw new Error('planned') })`)
      await expectHeld(peer)
      peer.tell('throw')
      expect(await peer.ended).to.equal(1)
      expect(mine.tryLock(BYTE, 'exclusive')).to.equal(true)
    })

    it('let only one of them in at a time', async () => {
      // Each adds 1 to a plain word many times, with a look in between: a lost update would show.
      const rounds = 2000
      const shared = `{ mode: 'shared', reserveBytes: 65536, windowBytes: 65536, create: true }`
      const body = `
        const region = storage.openRegion(path + '.count', ${shared})
        region.grow(4096)
        const words = new Int32Array(region.window(0))
        const locks = storage.openLocks(path)
        say('ready')
        await hear()
        for (let round = 0; round < ${rounds}; round++) {
          if (!locks.lock(${BYTE}, 'exclusive', 20000)) throw new Error('not acquired')
          const seen = words[0]
          for (let i = 0; i < 50; i++) Atomics.load(words, 1)
          words[0] = seen + 1
          locks.unlock(${BYTE})
        }
        say(Atomics.load(words, 0))`
      const peers = [inThread(path, body), inThread(path, body), inProcess(path, body)]
      for (const peer of peers) expect(await peer.next()).to.equal('ready')
      for (const peer of peers) peer.tell('go')
      const last = (await Promise.all(peers.map((peer) => peer.next()))) as number[]
      expect(Math.max(...last)).to.equal(3 * rounds)
      await Promise.all(peers.map((peer) => peer.ended))
    })
  })

  it('are released when a forgotten object is collected', async () => {
    void (() => storage.openLocks(path).tryLock(BYTE, 'exclusive'))()
    expect(mine.tryLock(BYTE, 'shared')).to.equal(false)
    await collectGarbage()
    await until(() => {
      void collectGarbage()
      return mine.tryLock(BYTE, 'shared')
    })
  })

  it('make no file, and refuse a directory or a path that leads nowhere', () => {
    const directory = scratchDirectory()
    expect(thrownBy(() => storage.openLocks(join(directory, 'file'))).code).to.equal('ENOENT')
    expect(fs.readdirSync(directory)).to.deep.equal([])
    expect(thrownBy(() => storage.openLocks(directory)).code).to.equal('EISDIR')
    const error = thrownBy(() => storage.openLocks(join(directory, 'none', 'file')))
    expect(error).to.be.instanceOf(StorageError)
    expect(error.code).to.equal('ENOENT')
  })

  it("are found in a range, whichever object holds them, but not the asker's own", () => {
    const other = storage.openLocks(path)
    const far = 2 ** 52
    expect(mine.heldByOther(0, Number.MAX_SAFE_INTEGER)).to.equal(-1)
    mine.tryLock(far + 5, 'shared')
    other.tryLock(far + 10, 'shared')
    other.tryLock(far + 2 ** 51, 'exclusive')
    expect(mine.heldByOther(far, far + 10)).to.equal(-1)
    expect(mine.heldByOther(far, far + 11)).to.equal(far + 10)
    expect(mine.heldByOther(far + 10, far + 11)).to.equal(far + 10)
    expect(mine.heldByOther(far + 11, Number.MAX_SAFE_INTEGER)).to.equal(far + 2 ** 51)
    expect(mine.heldByOther(far + 10, far + 10)).to.equal(-1)
    expect(other.heldByOther(far, far + 100)).to.equal(far + 5)
    expect(thrownBy(() => mine.heldByOther(5, 4))).to.be.instanceOf(RangeError)
    other.close()
    expect(mine.heldByOther(0, Number.MAX_SAFE_INTEGER)).to.equal(-1)
  })

  it('work in shared mode where the file can only be read', function () {
    const mount = mountScratch('tmpfs', 'size=1m')
    if (mount === undefined) return skip(this, 'mounting takes root')
    const file = join(mount, 'file')
    fs.writeFileSync(file, '')
    const writer = storage.openLocks(file)
    writer.close()
    remountReadOnly(mount)
    const reader = storage.openLocks(file)
    const other = storage.openLocks(file)
    expect(reader.tryLock(BYTE, 'shared')).to.equal(true)
    expect(other.tryLock(BYTE, 'shared')).to.equal(true)
    expect(other.isHeldByOther(BYTE, 'exclusive')).to.equal(true)
    const error = thrownBy(() => reader.tryLock(BYTE, 'exclusive'))
    expect(error).to.be.instanceOf(StorageError)
    expect(error.code).to.equal('EROFS')
    reader.close()
    other.close()
  })
})
