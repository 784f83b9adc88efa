// Files of a database that are missing, empty, or something else than a file: each is refused with a typed error or
// made again, and nothing waits for ever. On a real file system, and through the real commands.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'chai'
import { Engine } from '../../src/engine/engine.js'
import { resolveOptions } from '../../src/engine/options.js'
import { MmapdbError } from '../../src/errors.js'
import { posixStorage } from '../../src/storage/posix.js'
import { BIN, cleanEnv } from '../support/cli.js'
import { cleanUp, scratchPath } from '../support/engine.js'
import {
  agreesWithItself,
  DATA,
  freeSlots,
  FULL,
  makeFixture,
  openIn,
  examineOpen,
  slotIn,
  SLOT_BYTES,
  TINY,
  writeOut,
  type Fixture,
} from '../support/hostile.js'

const LIMIT_MS = 20_000

/** How a command ends. It must not end by a signal, by running out of time, or without a message. */
function mmapdb(...args: string[]): { status: number; stderr: string; stdout: string } {
  const { status, signal, stderr, stdout } = spawnSync(process.execPath, [BIN, ...args], {
    timeout: LIMIT_MS,
    encoding: 'utf8',
    env: cleanEnv(),
    input: '',
  })
  expect(signal, `mmapdb ${args.join(' ')}`).to.equal(null)
  expect(stderr, `mmapdb ${args.join(' ')}`).to.not.match(/INTERNAL|inside mmapdb/)
  return { status: status!, stderr, stdout }
}

describe('a file of a database', function () {
  this.timeout(120_000)
  let fixture: Fixture
  before(() => {
    fixture = makeFixture()
  })
  afterEach(cleanUp)

  function written(): string {
    const path = scratchPath()
    writeOut(fixture.storage, path)
    return path
  }

  const fifo = (path: string): boolean => spawnSync('mkfifo', [path]).status === 0

  const replacements: [string, (path: string) => boolean][] = [
    ['missing', () => true],
    ['empty', (path) => (writeFileSync(path, ''), true)],
    ['a directory', (path) => (mkdirSync(path), true)],
    ['a FIFO', fifo],
    ['a symbolic link to nowhere', (path) => (symlinkSync('/nowhere/at/all', path), true)],
    ['a symbolic link to itself', (path) => (symlinkSync(path, path), true)],
  ]

  for (const file of ['data', 'wal', 'control', 'segment', 'spare'] as const) {
    for (const [what, replace] of replacements) {
      it(`that is ${what}, ${file}, is refused or made again`, () => {
        const path = written()
        const at =
          file === 'segment'
            ? join(path, 'wal', readdirSync(join(path, 'wal')).sort().at(-2)!)
            : file === 'spare'
              ? join(path, 'wal', 'spare-0000000000000008')
              : join(path, file)
        rmSync(at, { recursive: true, force: true })
        if (!replace(at)) return
        const names = readdirSync(path)
        for (const open of [
          () => Engine.inspect(resolveOptions(path, TINY), posixStorage),
          () => Engine.open(resolveOptions(path, { ...TINY, createIfMissing: false }), posixStorage),
        ]) {
          try {
            const engine = open()
            try {
              agreesWithItself(engine)
              expect(engine.parts.space.region.faultCount()).to.equal(0)
              if (!engine.isPrivate) engine.put('written', Buffer.alloc(3000, 1))
            } finally {
              engine.close()
            }
          } catch (error) {
            if (!(error instanceof MmapdbError)) throw error
          }
        }
        if (names.includes('data')) expect(readdirSync(path)).to.include('data')
      })
    }
  }

  it('that is a FIFO keeps no command waiting', () => {
    for (const file of ['data', 'wal', 'wal/00000000000f0000.wal', 'control']) {
      const path = written()
      rmSync(join(path, file), { recursive: true, force: true })
      if (!fifo(join(path, file))) continue
      for (const args of [
        ['verify'],
        ['recover', '--salvage', scratchPath()],
        ...(FULL ? [['recover', '--dry-run'], ['wal'], ['slots']] : []),
      ])
        mmapdb('--db', path, ...args)
    }
  })

  it('that is damaged makes verify end with exit code 3, and salvage bring out the rest', () => {
    const path = written()
    expect(mmapdb('--db', path, 'verify').status).to.equal(0)
    const data = fixture.storage.bytes(DATA)
    for (const slotNo of FULL ? [0, 3, 20, 40, 50] : [0, 20]) {
      if (freeSlots(fixture.storage).has(slotNo)) continue
      const damaged = Buffer.from(data)
      damaged[slotNo * SLOT_BYTES + 99]! ^= 1
      writeFileSync(join(path, 'data'), damaged)
      const { status, stdout } = mmapdb('--db', path, 'verify')
      expect({ slotNo, status }).to.deep.equal({ slotNo, status: 3 })
      expect(stdout).to.match(/slot \d+/)
      const out = scratchPath()
      mmapdb('--db', path, 'recover', '--salvage', out)
      expect(existsSync(out)).to.equal(true)
    }
  })
})

describe('a damaged free list', () => {
  it('is made again from the tree: the database opens, says so, is written, and is sound from then on', () => {
    const fixture = makeFixture()
    const { storage } = fixture
    const chain = Array.from({ length: storage.bytes(DATA).length / SLOT_BYTES }, (_, slotNo) => slotNo).filter(
      (slotNo) => slotIn(storage, slotNo)[4] === 5,
    )
    for (const slotNo of chain) storage.poke(DATA, slotNo * SLOT_BYTES + 33, Buffer.of(0xee))
    const engine = openIn(storage)
    expect(engine.recovery!.freeListDamage).to.include.keys('slotNo', 'why')
    expect(examineOpen(engine, fixture)).to.deep.include({ refused: 0 })
    for (let i = 0; i < 200; i++) engine.put(`more ${i}`, Buffer.alloc(50, i))
    engine.close()
    const again = openIn(storage)
    expect(again.recovery).to.deep.include({ freeListDamage: undefined, needed: false })
    expect(agreesWithItself(again)).to.equal(true)
    expect(again.stats().entries).to.equal(fixture.model.size + 200)
    again.close()
  })
})
