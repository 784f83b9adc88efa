// What is published is whole: the files that npm would pack, and nothing else, in a folder of their own. The
// dependencies and the addon, which are installed and compiled on the user's machine, are those of the checkout.
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { inPackage } from '../src/package-root.js'

const USE = `
  import { open, NotFoundError } from 'mmapdb'
  const db = await open(process.argv[1])
  await db.batch(Array.from({ length: 5000 }, (_, n) => ({ type: 'put', key: n, value: 'v'.repeat(500) })))
  await db.backup(process.argv[1] + '-copy')
  await db.close()
  const missing = await open(process.argv[1] + '-none', { createIfMissing: false }).catch((error) => error)
  const copy = await open(process.argv[1] + '-copy')
  console.log(missing instanceof NotFoundError, copy.count())
  await copy.close()`

describe('the package, as it is published', function () {
  this.timeout(60_000)

  const root = mkdtempSync(join(tmpdir(), 'mmapdb-package-'))
  const home = join(root, 'node_modules', 'mmapdb')
  after(() => rmSync(root, { recursive: true, force: true }))

  const run = (...args: string[]): string => {
    const { stdout, stderr, status } = spawnSync(process.execPath, args, { cwd: root, encoding: 'utf8' })
    expect({ status, stderr: status === 0 ? '' : stderr }, args.join(' ')).to.deep.equal({ status: 0, stderr: '' })
    return stdout
  }

  before(() => {
    const packed = spawnSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
      cwd: inPackage('.'),
      encoding: 'utf8',
    })
    const [{ files }] = JSON.parse(packed.stdout) as [{ files: { path: string }[] }]
    for (const { path } of files) cpSync(inPackage(path), join(home, path))
    expect(existsSync(join(home, 'dist/src/index.js')), 'each module is in the bundle, and need not be there twice').to
      .be.false
    mkdirSync(join(home, 'build'))
    symlinkSync(inPackage('build/Release'), join(home, 'build/Release'))
    symlinkSync(inPackage('node_modules'), join(home, 'node_modules'))
  })

  it('is imported, and does its work in threads of its own', () => {
    expect(run('--input-type=module', '-e', USE, join(root, 'db'))).to.equal('true 5000\n')
  })

  it('has a command line', () => {
    const bin = join(home, 'bin/mmapdb')
    const db = ['--db', join(root, 'cli')]
    const report = JSON.parse(run(bin, ...db, '--json', 'load', '--ops', '200', '--workers', '2')) as object
    expect(report).to.include({ operations: 200, lost: 0 })
    run(bin, ...db, '--json', 'load', '--ops', '200', '--workers', '2', '--processes', '2')
    run(bin, ...db, 'put', 'a', 'b')
    run(bin, ...db, 'stats')
    run(bin, ...db, 'dump', '--output', join(root, 'dump'))
    run(bin, '--db', join(root, 'loaded'), 'load', '--input', join(root, 'dump'))
    expect(run(bin, '--db', join(root, 'loaded'), 'get', 'a').trim()).to.equal('b')
  })

  it('has declarations for programs in TypeScript', () => {
    writeFileSync(join(root, 'package.json'), '{"type":"module"}')
    writeFileSync(
      join(root, 'program.ts'),
      "import { open, type Database } from 'mmapdb'\nexport const db: Promise<Database> = open('x')\n",
    )
    const tsc = inPackage('node_modules/typescript/bin/tsc')
    const types = ['--typeRoots', inPackage('node_modules/@types'), '--types', 'node']
    run(tsc, '--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2022', ...types, 'program.ts')
  })
})
