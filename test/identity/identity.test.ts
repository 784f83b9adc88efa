// Which database a path stands for after it is open. If this failed, a write would be acknowledged into another
// database than the one that was opened, or a process that opens a database by another path would spoil it.
import { expect } from 'chai'
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync, symlinkSync, unlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { open, type Database } from '../../src/index.js'
import { MmapdbError } from '../../src/errors.js'
import { Engine } from '../../src/engine/engine.js'
import { resolveOptions } from '../../src/engine/options.js'
import { posixStorage } from '../../src/storage/posix.js'
import type { Storage } from '../../src/storage/storage.js'
import {
  cleanUp,
  expectError,
  heard,
  inProcess,
  openEngine,
  scratchDirectory,
  scratchPath,
  TINY,
} from '../support/engine.js'

const OPTIONS = { ...TINY, valueEncoding: 'utf8', workers: 2 } as const

const startedIn = process.cwd()
const databases: Database[] = []

async function opened(path: string, options = OPTIONS as object): Promise<Database> {
  const db = await open(path, { ...OPTIONS, ...options })
  databases.push(db)
  return db
}

/** The outcome of a promise or call: its value, or the code of its error. */
async function outcome(act: () => unknown): Promise<unknown> {
  try {
    return (await act()) ?? 'done'
  } catch (error) {
    expect(error, String((error as Error).stack)).to.be.instanceOf(MmapdbError)
    return (error as MmapdbError).code
  }
}

/** The value of `key` as a later opener of the database at `path` finds it. */
async function found(path: string, key: string): Promise<unknown> {
  const db = await open(path, { ...OPTIONS, workers: 0, createIfMissing: false })
  const value = db.get(key) ?? null
  await db.close()
  return value
}

describe('a database on a network file system', () => {
  afterEach(cleanUp)

  it('is neither created nor opened, unless that is allowed', () => {
    const path = scratchPath()
    const asked: string[] = []
    const networked = Object.assign(Object.create(posixStorage) as Storage, {
      fileSystem: (at: string) => (asked.push(at), { name: 'fuse.sshfs', networked: true, readOnly: false }),
    })
    const attempt = (more = {}): Engine =>
      Engine.open(resolveOptions(path, { ...OPTIONS, workers: 0, ...more }), networked)
    expectError(() => attempt(), 'ERR_MMAPDB_UNSUPPORTED', /network file system \(fuse.sshfs\)/)
    expect(asked).to.deep.equal([dirname(path)])
    expect(existsSync(path)).to.equal(false)
    attempt({ allowNetworkFileSystem: true }).close()
    expectError(() => attempt(), 'ERR_MMAPDB_UNSUPPORTED')
    expectError(() => attempt({ readOnly: true }), 'ERR_MMAPDB_UNSUPPORTED')
    attempt({ allowNetworkFileSystem: true }).close()
  })
})

describe('a database, once it is open,', function () {
  this.timeout(60_000)
  afterEach(async () => {
    process.chdir(startedIn)
    for (const db of databases.splice(0)) await db.close().catch(() => undefined)
    cleanUp()
  })

  /** Ways to change what the path leads to. Each returns where the database is afterwards. */
  const changes: Record<
    string,
    { readonly given: (base: string) => string; readonly change: (base: string) => string }
  > = {
    'by a relative path, and the working directory changes': {
      given: (base) => (process.chdir(base), './db'),
      change: (base) => {
        mkdirSync(join(base, 'elsewhere'))
        process.chdir(join(base, 'elsewhere'))
        return join(base, 'db')
      },
    },
    'by a relative path, and the working directory is removed': {
      given: (base) => {
        mkdirSync(join(base, 'work'))
        process.chdir(join(base, 'work'))
        return '../db'
      },
      change: (base) => (rmSync(join(base, 'work'), { recursive: true }), join(base, 'db')),
    },
    'by a symbolic link, and the link is turned to another database': {
      given: (base) => {
        mkdirSync(join(base, 'one'))
        symlinkSync('one', join(base, 'link'))
        return join(base, 'link')
      },
      change: (base) => {
        openEngine(join(base, 'other'), { ...OPTIONS, workers: 0 }).close()
        unlinkSync(join(base, 'link'))
        symlinkSync('other', join(base, 'link'))
        return join(base, 'one')
      },
    },
    'by a symbolic link, and the link is turned to nothing': {
      given: (base) => {
        mkdirSync(join(base, 'one'))
        symlinkSync('one', join(base, 'link'))
        return `${join(base, 'link')}/`
      },
      change: (base) => {
        unlinkSync(join(base, 'link'))
        symlinkSync('nothing', join(base, 'link'))
        return join(base, 'one')
      },
    },
    'below a symbolic link, and the link is turned': {
      given: (base) => {
        mkdirSync(join(base, 'one'))
        symlinkSync('one', join(base, 'link'))
        return join(base, 'link', 'db')
      },
      change: (base) => {
        mkdirSync(join(base, 'other'))
        unlinkSync(join(base, 'link'))
        symlinkSync('other', join(base, 'link'))
        return join(base, 'one', 'db')
      },
    },
    'and its directory is renamed': {
      given: (base) => join(base, 'db'),
      change: (base) => (renameSync(join(base, 'db'), join(base, 'moved')), join(base, 'moved')),
    },
    'and its directory is renamed, and another database is put in its place': {
      given: (base) => join(base, 'db'),
      change: (base) => {
        renameSync(join(base, 'db'), join(base, 'moved'))
        openEngine(join(base, 'db'), { ...OPTIONS, workers: 0 }).close()
        return join(base, 'moved')
      },
    },
    'and the directory above it is renamed': {
      given: (base) => (mkdirSync(join(base, 'above')), join(base, 'above', 'db')),
      change: (base) => (renameSync(join(base, 'above'), join(base, 'moved')), join(base, 'moved', 'db')),
    },
  }
  for (const [how, { given, change }] of Object.entries(changes)) {
    for (const workers of [0, 2]) {
      for (const isUsedBefore of [false, true]) {
        // Node.js starts no thread if the working directory has been removed.
        if (how.endsWith('is removed') && workers > 0 && !isUsedBefore) continue
        it(`${how}: stays the one that it is (${workers} workers${isUsedBefore ? ', used before' : ''})`, async () => {
          const base = scratchDirectory()
          const db = await opened(given(base), { workers })
          if (isUsedBefore) await db.put('before', '1')
          const place = change(base)
          const written: string[] = []
          for (const [key, act] of [
            ['put', () => db.put('put', '1')],
            ['putSync', () => db.putSync('putSync', '1')],
            ['batch', () => db.batch([{ type: 'put', key: 'batch', value: '1' }])],
          ] as const) {
            expect(await outcome(act), key).to.be.oneOf(['done', true])
            written.push(key)
          }
          await db.checkpoint()
          // Enough for several segments of the log.
          for (let i = 0; i < 60; i++) await db.put(`more ${i}`, 'x'.repeat(300))
          expect(await db.getMany(written)).to.deep.equal(written.map(() => '1'))
          expect(await db.countAsync()).to.equal(63 + Number(isUsedBefore))
          expect((await db.verify()).damage).to.deep.equal([])
          await db.close()
          process.chdir(startedIn)
          for (const key of [...written, 'more 59']) expect(await found(place, key), key).to.not.equal(null)
          const strays = readdirSync(base).filter((name) => existsSync(join(base, name, 'data')))
          for (const stray of strays) {
            if (join(base, stray) !== place && !place.startsWith(join(base, stray)))
              expect(await found(join(base, stray), 'put')).to.equal(null)
          }
        })
      }
    }
  }

  it('is called by the absolute path that it was given by', async () => {
    const base = scratchDirectory()
    process.chdir(base)
    mkdirSync('real')
    mkdirSync('other')
    symlinkSync('../other', 'real/link')
    for (const [given, absolute, place] of [
      ['a', join(base, 'a'), join(base, 'a')],
      ['./b/', join(base, 'b'), join(base, 'b')],
      ['real/../c', join(base, 'c'), join(base, 'c')],
      ['..' + base.slice(base.lastIndexOf('/')) + '/d', join(base, 'd'), join(base, 'd')],
      // As the system resolves it: up from where the link leads.
      ['real/link/../e', join(base, 'e'), join(base, 'e')],
      ['real/link/f', join(base, 'real/link/f'), join(base, 'other/f')],
      [`${base}//g/.`, join(base, 'g'), join(base, 'g')],
      ['..h', join(base, '..h'), join(base, '..h')],
    ] as const) {
      const db = await opened(given, { workers: 0 })
      expect(db.path, given).to.equal(absolute)
      expect(db.stats().path, given).to.equal(absolute)
      await db.close()
      expect(existsSync(join(place, 'data')), given).to.equal(true)
    }
  })

  it('is named in messages as it was given, not by how it is reached', async () => {
    const path = scratchPath()
    const db = await opened(path, { workers: 0 })
    rmSync(join(path, 'wal'), { recursive: true })
    let message = ''
    try {
      for (let i = 0; i < 100; i++) db.putSync(i, 'x'.repeat(300))
    } catch (error) {
      message = (error as Error).message
    }
    expect(message).to.include(path).and.not.include('/proc/')
  })

  it('cannot be looked for from a working directory that has been removed', async () => {
    const base = scratchDirectory()
    mkdirSync(join(base, 'gone'))
    process.chdir(join(base, 'gone'))
    rmSync(join(base, 'gone'), { recursive: true })
    expect(await outcome(() => open('db'))).to.equal('ERR_MMAPDB_NOT_FOUND')
  })

  it('whose data file is replaced is not mixed with the other: its workers create, recover and write nothing', async () => {
    const path = scratchPath()
    const other = scratchPath()
    openEngine(other, { ...OPTIONS, workers: 0 }).close()
    const db = await opened(path)
    for (const name of ['data', 'control', 'wal']) renameSync(join(path, name), join(path, `old-${name}`))
    // A thread that has it open detects this when the write is in the log already; any other thread, before.
    expect(await outcome(() => db.put('k', '1'))).to.be.oneOf(['ERR_MMAPDB_CORRUPT', 'ERR_MMAPDB_OUTCOME_UNKNOWN'])
    expect(readdirSync(path).sort(), 'nothing is made in its place').to.deep.equal([
      'old-control',
      'old-data',
      'old-wal',
    ])
    cpSync(other, path, { recursive: true })
    const before = readdirSync(join(path, 'wal'))
    for (const act of [() => db.put('k', '1'), () => db.putSync('k', '1'), () => db.checkpoint()]) {
      expect(await outcome(act)).to.be.oneOf(['ERR_MMAPDB_CORRUPT', 'ERR_MMAPDB_OUTCOME_UNKNOWN'])
    }
    expect(readdirSync(join(path, 'wal'))).to.deep.equal(before)
    await db.close().catch(() => undefined)
    expect(await found(path, 'k')).to.equal(null)
  })

  it('is one and the same by every path that leads to it', async () => {
    const base = scratchDirectory()
    const path = join(base, 'db')
    symlinkSync('db', join(base, 'link'))
    mkdirSync(join(base, 'bound'))
    const db = await opened(path)
    const byLink = await opened(join(base, 'link'))
    const others = [byLink]
    const isBound = spawnSync('mount', ['--bind', path, join(base, 'bound')]).status === 0
    try {
      if (isBound) others.push(await opened(join(base, 'bound')))
      for (const [i, other] of others.entries()) {
        await other.put(i, 'theirs')
        expect(db.get(i)).to.equal('theirs')
        await db.put(i, 'mine')
        expect(other.get(i)).to.equal('mine')
      }
      const peer = inProcess(
        isBound ? join(base, 'bound') : join(base, 'link'),
        `const db = open(); db.put('p', 'peer'); say(db.get(0)); await hear(); db.close()`,
        { ...OPTIONS, workers: 0 },
      )
      await heard(peer, 'mine')
      expect(db.get('p')).to.equal('peer')
      await peer.kill()
    } finally {
      for (const other of others) await other.close()
      if (isBound) spawnSync('umount', [join(base, 'bound')])
    }
  })

  it('and a copy of it are two, whatever their UUID', async () => {
    const path = scratchPath()
    const db = await opened(path)
    await db.put('k', 'original')
    await db.close()
    const copy = join(dirname(path), 'copy')
    cpSync(path, copy, { recursive: true })
    const [a, b] = [await opened(path), await opened(copy)]
    expect(a.stats().uuid).to.equal(b.stats().uuid)
    await Promise.all([a.put('a', '1'), b.put('b', '2'), a.put('k', 'a'), b.put('k', 'b')])
    expect([a.get('k'), a.get('b'), b.get('k'), b.get('a')]).to.deep.equal(['a', undefined, 'b', undefined])
  })
})
