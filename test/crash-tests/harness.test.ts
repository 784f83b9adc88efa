// What all harnesses share. If one of these failed, `npm run prove:...` would not take the options that are documented,
// a failed run could pass for a good one, or its evidence be lost.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { MARKERS, tablesOf, withTables } from '../../crash-tests/lib/evidence-page.js'
import { readEvidence, type Evidence } from '../../crash-tests/lib/evidence.js'
import { inPackage } from '../../src/package-root.js'

const { scripts } = JSON.parse(readFileSync(inPackage('package.json'), 'utf8')) as { scripts: Record<string, string> }
/** The main file of each harness, by its name. */
const MAINS = Object.entries(scripts)
  .filter(([name]) => name.startsWith('prove:'))
  .map(([name, script]) => [name, inPackage(/node (\S+)$/.exec(script)![1]!)] as const)

const run = (main: string, ...args: string[]): { status: number | null; stdout: string; stderr: string } =>
  spawnSync(process.execPath, [main, ...args], { encoding: 'utf8' })
const mainOf = (wanted: string): string => MAINS.find(([name]) => name === wanted)![1]

describe('a harness', () => {
  let directory: string
  beforeEach(() => (directory = mkdtempSync(join(tmpdir(), 'mmapdb-harness-'))))
  afterEach(() => rmSync(directory, { recursive: true, force: true }))

  for (const [name, main] of MAINS) {
    it(`${name} says what it proves, what it takes, and that it has the options of all`, () => {
      const { status, stdout } = run(main, '--help')
      expect(status).to.equal(0)
      expect(stdout).to.match(/^Usage: npm run (\S+) -- /)
      expect(/npm run (\S+)/.exec(stdout)![1]).to.equal(name)
      for (const part of ['\nProves: ', '\nTakes: ', '--seed N', '--minutes M', '--evidence FILE'])
        expect(stdout).to.include(part)
    })
  }

  it('refuses what it does not know, and numbers that are none, with exit code 2', () => {
    for (const args of [['--sed', '1'], ['--seed', 'x'], ['--seeds', '0'], ['--minutes', '-1'], ['word']]) {
      const { status, stderr } = run(mainOf('prove:sim'), ...args)
      expect(status, args.join(' ')).to.equal(2)
      expect(stderr).to.include('--help')
    }
  })

  it('appends a line for each run, from which the page is made', () => {
    const file = join(directory, 'evidence.ndjson')
    for (const seed of ['1', '2']) {
      const { status } = run(mainOf('prove:sim'), '--seed', seed, '--lives', '1', '--evidence', file)
      expect(status).to.equal(0)
    }
    const all = readEvidence(file)
    expect(all.map(({ seed, passed, options }) => ({ seed, passed, options }))).to.deep.equal([
      { seed: 1, passed: true, options: { lives: 1 } },
      { seed: 2, passed: true, options: { lives: 1 } },
    ])
    expect(all[0]!.counts).to.include({ seeds: 1, lives: 1 })
    const tables = tablesOf(all)
    expect(tables).to.include('### prove:sim').and.include('`--seed 2 --lives 1`')
    expect(withTables(`a\n${MARKERS.join('\nold\n')}\nb\n`, tables)).to.equal(
      `a\n${MARKERS[0]}\n\n${tables}\n\n${MARKERS[1]}\nb\n`,
    )
    expect(() => withTables('a page without them', tables)).to.throw(/no place/)
  })

  it('shows a failed run as one', () => {
    const failed = {
      harness: 'kill',
      version: '1.0.0',
      date: '2000-01-01T00:00:00.000Z',
      options: {},
      seed: 1,
      seconds: 1,
      machine: { cpu: 'c', cores: 1, memoryGiB: 1, kernel: 'k', fileSystem: 'f', node: 'n' },
      counts: {},
      passed: false,
      result: 'a check failed',
    } satisfies Evidence
    expect(tablesOf([failed])).to.include('**FAILED**: a check failed')
  })

  it('does not read what is no evidence', () => {
    const file = join(directory, 'evidence.ndjson')
    writeFileSync(file, '{"harness":"sim"}\n')
    expect(() => readEvidence(file)).to.throw(/line 1: it lacks/)
    writeFileSync(file, '\nno JSON\n')
    expect(() => readEvidence(file)).to.throw(/line 2: it is not JSON/)
  })
})
