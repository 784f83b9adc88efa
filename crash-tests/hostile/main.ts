// The tests of hostile files, whole: every byte, slot and segment of a database is damaged in turn. `npm test` runs a
// sample of the same (test/hostile).
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import Mocha from 'mocha'
import { fileSystemOf } from '../lib/evidence.js'
import { announce, prove } from '../lib/harness.js'
import { tmpdir } from 'node:os'
import { compiledFile } from '../../src/package-root.js'

const TEST_TIMEOUT_MS = 3_600_000

interface Tally {
  passed: number
  failed: number
  skipped: number
  tests: number
  readonly problems: string[]
}

/** Runs the tests until the time is up; the one that is under way is finished. */
function runTests(mocha: Mocha, isTimeUp: () => boolean): Promise<Tally> {
  const tally: Tally = { passed: 0, failed: 0, skipped: 0, tests: 0, problems: [] }
  return new Promise((resolve) => {
    const runner = mocha.run(() => resolve(tally))
    tally.tests = runner.total
    runner.on('pass', () => tally.passed++)
    runner.on('pending', () => tally.skipped++)
    runner.on('fail', (test, error: Error) => {
      tally.failed++
      tally.problems.push(`${test.fullTitle()}: ${error.message}`)
    })
    runner.on('test end', () => {
      if (isTimeUp()) runner.abort()
    })
  })
}

await prove({
  name: 'hostile',
  proves:
    'that a database any byte, slot or segment of which is damaged, exchanged or missing gives the right answer or ' +
    'ERR_MMAPDB_CORRUPT, and that verify reports whatever a read could meet.',
  takes: 'half an hour to an hour; nothing but Node.js. Databases lie in memory.',
  seed: {
    help: 'recorded, and given to tests that draw their numbers; the sweeps are the same with every seed',
    default: 1,
  },
  minutes: { help: 'no further test after that time; one of them may take ten minutes' },
  options: {
    only: { kind: 'text', value: 'TEXT', help: 'only tests whose name holds this' },
    sample: { kind: 'flag', help: 'only a sample of each sweep, as in npm test: seconds' },
  },
  run: async (run) => {
    if (!run.flag('sample')) process.env['MMAPDB_HOSTILE'] = 'full'
    if (run.isGiven('seed')) process.env['MMAPDB_TEST_SEED'] = String(run.seed)
    announce('hostile', run, run.flag('sample') ? 'a sample of the sweeps' : 'the whole of the sweeps')
    const directory = compiledFile('test/hostile')
    const only = run.textIfGiven('only')
    const mocha = new Mocha({ timeout: TEST_TIMEOUT_MS, ...(only === undefined ? {} : { fgrep: only }) })
    for (const name of readdirSync(directory).sort())
      if (name.endsWith('.test.js')) mocha.addFile(join(directory, name))
    await mocha.loadFilesAsync()
    const { passed, failed, skipped, tests, problems } = await runTests(mocha, () => run.isTimeUp)
    const left = tests - passed - failed - skipped
    return {
      problems: passed + failed === 0 && problems.length === 0 ? ['no test was run'] : problems,
      result: `${passed} of ${tests} tests passed${left > 0 ? `, for ${left} there was no time` : ''}`,
      counts: { tests, passed, failed, skipped, 'not run': left },
      fileSystem: `in memory, and ${fileSystemOf(tmpdir())}`,
    }
  },
})
