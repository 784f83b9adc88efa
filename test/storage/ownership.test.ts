// Files that join others take their owner, group and permissions. Were it not so, one command run by root
// would lock the owner of a database out, and what was made private would become readable again.
import { expect } from 'chai'
import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { posixStorage as storage } from '../../src/storage/posix.js'
import { inProcess, removeScratch, scratchDirectory, skip, thrownBy } from '../support/storage.js'

const NOBODY = 65534
const OTHERS = 65533
const isRoot = process.geteuid?.() === 0

const modeOf = (path: string): string => (fs.statSync(path).mode & 0o7777).toString(8)
const whose = (path: string): string => `${fs.statSync(path).uid}:${fs.statSync(path).gid} ${modeOf(path)}`

/** An access control list that lets user 12345 read and write, and the group nothing; false if it cannot be set. */
function setList(path: string): boolean {
  const entries = [
    [1, 6, -1],
    [2, 6, 12345],
    [4, 0, -1],
    [16, 6, -1],
    [32, 0, -1],
  ]
  const bytes = `import os, struct, sys
acl = struct.pack('<I', 2) + b''.join(struct.pack('<HHI', t, p, i & 0xffffffff) for t, p, i in ${JSON.stringify(entries)})
os.setxattr(sys.argv[1], 'system.posix_acl_access', acl)`
  return spawnSync('python3', ['-c', bytes, path]).status === 0
}
const listOf = (path: string): string =>
  spawnSync(
    'python3',
    ['-c', `import os, sys; sys.stdout.write(os.getxattr(sys.argv[1], 'system.posix_acl_access').hex())`, path],
    { encoding: 'utf8' },
  ).stdout

describe('storage: owners and permissions', () => {
  let directory: string
  let model: string
  let path: string

  beforeEach(() => {
    directory = scratchDirectory()
    model = join(directory, 'model')
    path = join(directory, 'new')
    fs.writeFileSync(model, '')
  })
  afterEach(removeScratch)

  /** The ways in which a file or directory comes to be. */
  const makers: Record<string, () => void> = {
    file: () => storage.openFile(path, 'create', model).close(),
    region: () =>
      storage
        .openRegion(path, { mode: 'shared', reserveBytes: 65536, windowBytes: 65536, create: true, like: model })
        .close(),
    directory: () => storage.makeDirectory(path, directory),
  }

  for (const mode of [0o600, 0o640, 0o644, 0o660, 0o666, 0o400]) {
    it(`gives a new file mode ${mode.toString(8)}, whatever the umask`, () => {
      fs.chmodSync(model, mode)
      for (const umask of [0, 0o022, 0o077, 0o777]) {
        const before = process.umask(umask)
        try {
          for (const kind of ['file', 'region']) {
            makers[kind]!()
            expect(modeOf(path), `${kind}, umask ${umask.toString(8)}`).to.equal(mode.toString(8))
            fs.unlinkSync(path)
          }
        } finally {
          process.umask(before)
        }
      }
    })
  }

  it('gives a new directory the mode of the one it is made like', () => {
    for (const mode of [0o700, 0o750, 0o2775, 0o1777]) {
      fs.chmodSync(directory, mode)
      makers['directory']!()
      expect(modeOf(path)).to.equal(mode.toString(8))
      makers['directory']!()
      fs.rmdirSync(path)
    }
    // As a creation leaves it that was cut short.
    fs.mkdirSync(`${path}.new`)
    makers['directory']!()
    expect(fs.readdirSync(directory)).to.have.members(['model', 'new'])
  })

  it('leaves what is there already as it is', () => {
    fs.writeFileSync(path, 'kept')
    fs.chmodSync(path, 0o604)
    fs.chmodSync(model, 0o640)
    makers['file']!()
    makers['region']!()
    expect([modeOf(path), fs.readFileSync(path, 'utf8')]).to.deep.equal(['604', 'kept'])
    fs.unlinkSync(path)
    fs.writeFileSync(join(directory, 'elsewhere'), '')
    fs.chmodSync(join(directory, 'elsewhere'), 0o611)
    fs.symlinkSync('elsewhere', path)
    makers['file']!()
    expect(modeOf(path), 'at the end of a link').to.equal('611')
  })

  it('makes a file that no other user can read before it has its permissions', () => {
    expect(thrownBy(() => storage.openFile(path, 'create', join(directory, 'none'))).code).to.equal('ENOENT')
    expect(modeOf(path)).to.equal('600')
  })

  it('says whether a file may stand for one made so', () => {
    fs.chmodSync(model, 0o640)
    makers['file']!()
    expect(storage.fitsIn(path, model)).to.equal(true)
    fs.chmodSync(path, 0o644)
    expect(storage.fitsIn(path, model)).to.equal(false)
    fs.unlinkSync(path)
    fs.symlinkSync('model', path)
    expect(storage.fitsIn(path, model)).to.equal(false)
  })

  it("passes access control lists on, and never the group's share of a list as the group's own", function () {
    fs.chmodSync(model, 0o600)
    if (!setList(model)) return skip(this, 'no access control lists here')
    for (const kind of ['file', 'region']) {
      makers[kind]!()
      expect(listOf(path), kind).to.equal(listOf(model)).and.not.equal('')
      fs.unlinkSync(path)
    }
  })

  describe('as root', () => {
    before(function () {
      if (!isRoot) skip(this as unknown as Mocha.Context, 'it takes root')
    })

    it('gives what it makes to the owner of what it is made like', () => {
      fs.chownSync(model, NOBODY, OTHERS)
      fs.chmodSync(model, 0o640)
      fs.chownSync(directory, OTHERS, NOBODY)
      fs.chmodSync(directory, 0o2770)
      const expected = {
        file: `${NOBODY}:${OTHERS} 640`,
        region: `${NOBODY}:${OTHERS} 640`,
        directory: `${OTHERS}:${NOBODY} 2770`,
      }
      for (const [kind, owner] of Object.entries(expected)) {
        makers[kind]!()
        expect(whose(path), kind).to.equal(owner)
        fs.rmSync(path, { recursive: true })
      }
      fs.writeFileSync(path, '')
      expect(storage.fitsIn(path, model)).to.equal(false)
    })

    it("gives the first file in another user's directory to that user", () => {
      fs.chownSync(directory, NOBODY, OTHERS)
      storage.openRegion(path, { mode: 'shared', reserveBytes: 65536, windowBytes: 65536, create: true }).close()
      expect(whose(path)).to.equal(`${NOBODY}:${OTHERS} ${(0o666 & ~process.umask()).toString(8)}`)
    })

    it('is not needed: others give what they make to a group that they are in, and no group too much', async () => {
      const result = async (mode: number, gid: number, groups: number[]): Promise<string> => {
        fs.chownSync(directory, NOBODY, NOBODY)
        fs.chownSync(model, NOBODY, gid)
        fs.chmodSync(model, mode)
        const peer = inProcess(
          path,
          `process.setgroups(${JSON.stringify(groups)}); process.setgid(${NOBODY}); process.setuid(${NOBODY})
           storage.openFile(path, 'create', ${JSON.stringify(model)}).close(); say('done')`,
        )
        expect(await peer.next()).to.equal('done')
        await peer.ended
        const made = whose(path)
        fs.unlinkSync(path)
        return made
      }
      expect(await result(0o640, OTHERS, [OTHERS])).to.equal(`${NOBODY}:${OTHERS} 640`)
      expect(await result(0o640, OTHERS, [])).to.equal(`${NOBODY}:${NOBODY} 600`)
      expect(await result(0o664, OTHERS, [])).to.equal(`${NOBODY}:${NOBODY} 644`)
    })
  })
})
