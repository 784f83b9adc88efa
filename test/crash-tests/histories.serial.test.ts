// Histories of real threads and processes: that rounds run, that a database with something wrong is noticed, and that a
// history which was kept can be checked again. The long runs are `npm run prove:linearizable`.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { explain } from '../../crash-tests/histories/explain.js'
import type { StoreFault } from '../../crash-tests/histories/faulty-store.js'
import { someLayout } from '../../crash-tests/histories/keys.js'
import { check } from '../../crash-tests/histories/linearizability.js'
import { writeHistory } from '../../crash-tests/histories/recorder.js'
import { runRound, type RoundReport } from '../../crash-tests/histories/round.js'
import { Random } from '../../crash-tests/lib/random.js'
import { compiledFile } from '../../src/package-root.js'
import { rounds } from '../support/engine.js'

const MAIN = compiledFile('crash-tests/histories/main.js')
const ROUNDS = rounds(3)
/** A fault shows where the right thing is read at the right moment: mostly in the first round. */
const MAX_FAULTY_ROUNDS = 12

describe('histories of threads and processes', function () {
  this.timeout(240_000)
  let directory: string
  beforeEach(() => (directory = mkdtempSync(join(realpathSync(tmpdir()), 'mmapdb-histories-'))))
  afterEach(() => rmSync(directory, { recursive: true, force: true }))

  const seed = Number(process.env['MMAPDB_TEST_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
  const round = (number: number, initial: RoundReport['final'], fault?: StoreFault): Promise<RoundReport> =>
    runRound({
      path: join(directory, 'db'),
      folder: join(directory, `round-${number}`),
      layout: someLayout(new Random(seed)),
      seed: seed + number,
      durationMs: 1500,
      initial,
      ...(fault === undefined ? {} : { fault }),
    })

  it('are linearizable, whoever is killed, round after round', async () => {
    let initial = {}
    for (let number = 1; number <= ROUNDS; number++) {
      const { history, final, problems } = await round(number, initial)
      expect(problems, `MMAPDB_TEST_SEED=${seed}`).to.deep.equal([])
      expect(history.operations).to.not.be.empty
      const found = check(history)
      if (found.verdict === 'not linearizable') {
        const { text } = explain(found.operations, history.initial, 20_000)
        expect.fail(`MMAPDB_TEST_SEED=${seed}\n${text}`)
      }
      expect(found.verdict).to.equal('linearizable')
      initial = final
    }
  })

  it('are not if writes are lost, and a history that was kept can be checked again', async () => {
    let initial = {}
    for (let number = 1; number <= MAX_FAULTY_ROUNDS; number++) {
      const { history, final } = await round(number, initial, 'loses a write')
      const file = join(directory, 'history.ndjson')
      writeHistory(file, history)
      const isWrong = check(history).verdict === 'not linearizable'
      const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, '--input', file], { encoding: 'utf8' })
      expect(status, stdout).to.equal(isWrong ? 1 : 0)
      if (isWrong) {
        expect(stderr).to.include('none fits').and.include(`--input ${file}`)
        return
      }
      initial = final
    }
    expect.fail(`nothing was noticed; MMAPDB_TEST_SEED=${seed}`)
  })

  it('that cannot be read are refused with exit code 2', () => {
    const { status, stderr } = spawnSync(process.execPath, [MAIN, '--input', join(directory, 'none')], {
      encoding: 'utf8',
    })
    expect(status).to.equal(2)
    expect(stderr).to.include('cannot be read')
  })
})
