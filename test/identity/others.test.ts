// A problem that only one process has (its path, its limits, a bug, its version) ends the writing of that process
// and of no other; and which files belong together. If this failed, one careless opener would stop all processes,
// or the locks of one database would guard the log of another.
import { expect } from 'chai'
import {
  copyFileSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { Engine } from '../../src/engine/engine.js'
import { resolveOptions, type OpenOptions } from '../../src/engine/options.js'
import { TreeWriter } from '../../src/engine/tree/writer.js'
import { posixStorage } from '../../src/storage/posix.js'
import {
  cleanUp,
  contents,
  crashCopy,
  dataFile,
  expectError,
  expectSound,
  heard,
  inProcess,
  openEngine,
  scratchDirectory,
  scratchPath,
  TINY,
  writeBytes,
} from '../support/engine.js'

const OPTIONS: OpenOptions = { ...TINY, timeoutMs: 500 }
const value = Buffer.alloc(120, 1)

const BYSTANDER = `const db = open()
  for (let n = 0;; n++) {
    say('ready')
    if (await hear() === 'close') break
    try { db.put(['theirs', n], Buffer.alloc(120, 1)); say('ok') } catch (error) { say(error.code + ' ' + error.message) }
  }
  db.close(); say('closed')`

/** Another process that has the database open, and writes when it is told to. */
async function bystander(path: string, options = OPTIONS) {
  const peer = inProcess(path, BYSTANDER, options)
  await heard(peer, 'ready')
  return {
    writes: async (): Promise<unknown> => {
      peer.tell('put')
      const answer = await peer.next()
      await heard(peer, 'ready')
      return answer
    },
    closes: async (): Promise<void> => {
      peer.tell('close')
      await heard(peer, 'closed')
    },
  }
}

/** Runs `act` while applying a group throws an unforeseen error in this thread. */
function withBug<T>(error: Error, act: () => T): T {
  const { put } = TreeWriter.prototype
  TreeWriter.prototype.put = () => {
    throw error
  }
  try {
    return act()
  } finally {
    TreeWriter.prototype.put = put
  }
}

describe('what only one process meets', function () {
  this.timeout(60_000)
  afterEach(cleanUp)

  for (const error of [
    new RangeError('Array buffer allocation failed'),
    new TypeError('a bug'),
    new RangeError('Maximum call stack size exceeded'),
  ]) {
    it(`${error.name}, ${error.message}: it writes no more, and others lead`, async () => {
      const path = scratchPath()
      const engine = openEngine(path, OPTIONS)
      engine.put('before', value)
      const other = await bystander(path)
      const unknown = withBug(error, () =>
        expectError(() => engine.put('mine', value), 'ERR_MMAPDB_OUTCOME_UNKNOWN', /unexpected error/),
      )
      expect(unknown.message).to.include(error.message)
      expectError(() => engine.put('later', value), 'ERR_MMAPDB_IO', /can no longer write.*Nothing was written/s)
      expect(engine.get('before')).to.deep.equal(value)
      for (let i = 0; i < 5; i++) expect(await other.writes()).to.equal('ok')
      expect(engine.stats().failure).to.equal(undefined)
      // The next leader applies the frame that it had put in the log.
      expect(engine.get('mine')).to.deep.equal(value)
      expect(engine.get('later')).to.equal(undefined)
      engine.close()
      expect(await other.writes()).to.equal('ok')
      await other.closes()
      const again = openEngine(path, OPTIONS)
      expect(contents(again).length).to.equal(8)
      expectSound(again)
      again.put('afterwards', value)
    })
  }

  it('the last to close may be one that writes no more: nothing is lost', () => {
    const path = scratchPath()
    // Long enough that waiting for another leader would show.
    const engine = openEngine(path, { ...OPTIONS, timeoutMs: 600_000 })
    engine.put('before', value)
    withBug(new Error('a bug'), () => expectError(() => engine.put('mine', value), 'ERR_MMAPDB_OUTCOME_UNKNOWN'))
    engine.close()
    const again = openEngine(path, OPTIONS)
    expect(again.get('before')).to.deep.equal(value)
    expectSound(again)
  })

  it('an address range or windows of another size: all read and write what any of them has made', async () => {
    const path = scratchPath()
    const MiB = 2 ** 20
    const sizes: OpenOptions[] = [
      { reserveBytes: MiB, windowBytes: 65536 },
      { reserveBytes: 2 * MiB, windowBytes: MiB },
      { reserveBytes: 64 * MiB, windowBytes: 65536 },
      { reserveBytes: 1024 * MiB, windowBytes: 256 * MiB },
    ]
    const engines = sizes.map((size) => openEngine(path, { ...OPTIONS, ...size }))
    const largest = engines.at(-1)!
    const others = await Promise.all(sizes.slice(0, 2).map((size) => bystander(path, { ...OPTIONS, ...size })))
    // Six times the file size that the smallest of them allows.
    for (let i = 0; i < 1500; i++) largest.put(i, Buffer.alloc(i % 10 === 3 ? 9000 : 3000, i))
    for (const [i, engine] of [...engines, openEngine(path, { ...OPTIONS, ...sizes[0] })].entries()) {
      expect(engine.get(1499)).to.deep.equal(Buffer.alloc(3000, 1499))
      expect(engine.range({ lt: 1500 }, 'keys').count()).to.equal(1500)
      // There may be no room left; but no engine is stopped, and no engine stops another.
      try {
        engine.put(`mine ${i}`, value)
      } catch (error) {
        expect(error).to.have.property('code', 'ERR_MMAPDB_FULL')
      }
      expect(engine.stats().failure).to.equal(undefined)
    }
    for (const other of others) expect(String(await other.writes())).to.match(/^(ok|ERR_MMAPDB_FULL)/)
    largest.put('still', value)
    expectSound(largest)
  })

  it('files that are not where it looks for them, and are where others look', async () => {
    const base = scratchDirectory()
    const [here, there] = [join(base, 'here'), join(base, 'there')]
    const engine = openEngine(here, OPTIONS)
    engine.put('before', value)
    // The directory stays; everything in it is moved.
    mkdirSync(there)
    for (const name of readdirSync(here)) renameSync(join(here, name), join(there, name))
    const other = await bystander(there)
    expect(await other.writes()).to.equal('ok')
    const first = expectError(() => engine.put('mine', value), 'ERR_MMAPDB_OUTCOME_UNKNOWN')
    expect(first.message).to.match(/removed or replaced/)
    for (let i = 0; i < 3; i++) {
      expectError(() => engine.put('later', value), 'ERR_MMAPDB_CORRUPT', /Writes are refused/)
      expect(await other.writes()).to.equal('ok')
    }
    expectError(() => engine.checkpoint(true), 'ERR_MMAPDB_CORRUPT', /Writes are refused/)
    expect(engine.get('mine'), 'applied by the one who finds the files').to.deep.equal(value)
    engine.close()
    expect(await other.writes()).to.equal('ok')
    await other.closes()
    const again = openEngine(there, OPTIONS)
    expect(again.get('later')).to.equal(undefined)
    expect(contents(again).length).to.equal(7)
    expectSound(again)
  })

  it('files that have been put back: it goes on', () => {
    const path = scratchPath()
    const engine = openEngine(path, OPTIONS)
    renameSync(dataFile(path), `${path}.elsewhere`)
    expectError(() => engine.put('mine', value), 'ERR_MMAPDB_OUTCOME_UNKNOWN')
    expectError(() => engine.put('mine', value), 'ERR_MMAPDB_CORRUPT')
    renameSync(`${path}.elsewhere`, dataFile(path))
    engine.put('again', value)
    expect(engine.get('again')).to.deep.equal(value)
  })

  it('another version of mmapdb: the newcomer is refused, and nobody else notices', async () => {
    const path = scratchPath()
    const engine = openEngine(path, OPTIONS)
    const other = await bystander(path)
    const version = readFileSync(join(path, 'control')).readUInt32LE(4)
    for (const foreign of [version + 1, version - 1]) {
      writeBytes(join(path, 'control'), 4, Buffer.from([foreign, 0, 0, 0]))
      expectError(() => openEngine(path, OPTIONS), 'ERR_MMAPDB_LOCKED', /another version of mmapdb/)
      expect(await other.writes()).to.equal('ok')
      engine.put('k', value)
    }
    writeBytes(join(path, 'control'), 4, Buffer.from([version, 0, 0, 0]))
    openEngine(path, OPTIONS).put('l', value)
  })
})

describe('files that do not belong together', function () {
  this.timeout(60_000)
  afterEach(cleanUp)

  it('a control file of an earlier life is not joined', () => {
    const path = scratchPath()
    const killed = openEngine(path, OPTIONS)
    killed.put('k', value)
    // As a killed process leaves it: ready, and right except for the life that it belongs to.
    const old = readFileSync(join(path, 'control'))
    killed.close()
    const engine = openEngine(path, OPTIONS)
    const now = readFileSync(join(path, 'control'))
    // Changed in place, so that it is the same file.
    expect(old.subarray(220, 224).equals(now.subarray(220, 224))).to.equal(false)
    writeBytes(join(path, 'control'), 220, old.subarray(220, 224))
    expectError(() => openEngine(path, OPTIONS), 'ERR_MMAPDB_CORRUPT', /control was removed or damaged/)
    engine.put('l', value)
  })

  it('one data file under two names: neither the log nor the control file of the other is used', async () => {
    const path = scratchPath()
    const engine = openEngine(path, OPTIONS)
    engine.put('k', value)
    const twin = crashCopy(path)
    rmSync(dataFile(twin))
    linkSync(dataFile(path), dataFile(twin))
    // While it is open by its other name: first with a control file of its own, a copy; then with no control file.
    expectError(() => openEngine(twin, OPTIONS), 'ERR_MMAPDB_CORRUPT', /control/)
    rmSync(join(twin, 'control'))
    expectError(() => openEngine(twin, OPTIONS), 'ERR_MMAPDB_CORRUPT', /control/)
    engine.put('l', value)
    expect((await bystander(path)) !== undefined, 'an opener by the first name is not kept out').to.equal(true)
    cleanUp()
  })

  it('one data file under two names, open nowhere: refused until there is one name', () => {
    const path = scratchPath()
    const engine = openEngine(path, OPTIONS)
    engine.put('k', value)
    engine.close()
    linkSync(dataFile(path), `${path}.link`)
    expectError(() => openEngine(path, OPTIONS), 'ERR_MMAPDB_UNSUPPORTED', /2 names \(hard links\)/)
    rmSync(`${path}.link`)
    expect(openEngine(path, OPTIONS).get('k')).to.deep.equal(value)
  })

  for (const [what, source] of Object.entries({
    'another database': (): string => {
      const other = scratchPath()
      const engine = openEngine(other, OPTIONS)
      engine.put('other', value)
      engine.close()
      return dataFile(other)
    },
    'an older copy of it': (path: string): string => dataFile(crashCopy(path)),
  })) {
    it(`${what} written over the data file while it is open: nobody writes to it, and it opens as what it is`, () => {
      const path = scratchPath()
      let engine = openEngine(path, OPTIONS)
      engine.put('k', value)
      engine.close()
      const from = source(path)
      engine = openEngine(path, OPTIONS)
      for (let i = 0; i < 50; i++) engine.put(i, value)
      engine.checkpoint(true)
      // In place, the longer one first, so that no page of the map is lost.
      const bytes = Buffer.alloc(readFileSync(dataFile(path)).length)
      readFileSync(from).copy(bytes)
      writeFileSync(dataFile(path), bytes, { flag: 'r+' })
      expectError(() => engine.put('mine', value), 'ERR_MMAPDB_OUTCOME_UNKNOWN', /written over/)
      expectError(() => engine.put('mine', value), 'ERR_MMAPDB_CORRUPT', /written over/)
      expectError(() => engine.checkpoint(true), 'ERR_MMAPDB_CORRUPT', /written over/)
      if (what.startsWith('another')) expectError(() => openEngine(path, OPTIONS), 'ERR_MMAPDB_CORRUPT', /written over/)
      engine.close()
      expect(readFileSync(dataFile(path)).equals(bytes), 'left as it was put there').to.equal(true)
    })
  }

  it('data file and control file on another device, or replaced between two looks: found out by device and inode', () => {
    const path = scratchPath()
    openEngine(path, OPTIONS).close()
    // Replaced each time after it has been mapped.
    let times = 0
    const swapping = Object.assign(Object.create(posixStorage) as typeof posixStorage, {
      openDirectory: (...args: Parameters<typeof posixStorage.openDirectory>) => {
        const held = posixStorage.openDirectory(...args)
        const storage = new Proxy(held.storage, {
          get: (target, name) => {
            if (name === 'openLocks' && times++ < most) {
              renameSync(dataFile(path), `${path}.first`)
              copyFileSync(`${path}.first`, dataFile(path))
            } else if (name === 'leadsTo' && isPutBack && times <= most) renameSync(`${path}.first`, dataFile(path))
            return (Reflect.get(target, name, target) as () => unknown).bind(target)
          },
        })
        return { storage, identity: held.identity, close: () => held.close() }
      },
    })
    let most = 2
    let isPutBack = false
    const engine = Engine.open(resolveOptions(path, OPTIONS), swapping)
    engine.put('k', value)
    engine.close()
    expect(times).to.equal(3)
    times = 0
    most = Infinity
    expectError(
      () => Engine.open(resolveOptions(path, OPTIONS), swapping),
      'ERR_MMAPDB_LOCKED',
      /replaced again and again/,
    )
    // The mapping is of the file that is in place, and the locks are on another file.
    times = 0
    most = 1
    isPutBack = true
    const locked = Engine.open(resolveOptions(path, OPTIONS), swapping)
    const data = openEngine(path, OPTIONS)
    expect(data.recovery, 'it is open already').to.equal(undefined)
    data.put('l', value)
    expect(locked.get('l')).to.deep.equal(value)
    locked.close()
  })
})
