// A short turn of the crash tests; the long one is `npm run prove:kill`. If it failed, a write that
// was acknowledged would be lost, or half of one be there, once a process has been killed.
import { expect } from 'chai'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Campaign } from '../../crash-tests/kill/campaign.js'
import { planCampaign } from '../../crash-tests/kill/campaign-plan.js'
import { LoadRound } from '../../crash-tests/kill/load-round.js'
import { planRound } from '../../crash-tests/kill/plan.js'
import { killsOf, newTally, Round } from '../../crash-tests/kill/round.js'
import { selfTest } from '../../crash-tests/kill/self-test.js'
import { rounds } from '../support/engine.js'

describe('crashes', function () {
  this.timeout(180_000)
  const seed =
    process.env['MMAPDB_TEST_SEED'] === undefined
      ? Math.floor(Math.random() * 2 ** 31)
      : Number(process.env['MMAPDB_TEST_SEED'])
  let directory: string
  before(() => (directory = mkdtempSync(join(tmpdir(), 'mmapdb-crash-'))))
  after(function () {
    // What a failed round left is kept, to look into it.
    if (this.test?.parent?.tests.every((t) => t.state !== 'failed')) rmSync(directory, { recursive: true, force: true })
    else console.error(`What is left to look at: ${directory}. Repeat this with MMAPDB_TEST_SEED=${seed}`)
  })
  const options = (name: string) => ({ directory: join(directory, name), stallLimitMs: 10_000, tally: newTally() })

  it('the checker notices lost, stale, half-done and invented values', async () => {
    const said: string[] = []
    expect(await selfTest(join(directory, 'self-test'), seed, (line) => said.push(line)), said.join('\n')).to.equal(0)
  })

  for (let n = 0; n < rounds(3); n++) {
    it(`nothing acknowledged is lost and nothing else appears, round ${n}`, async () => {
      await new Round(planRound(seed, n), options(`round-${n}`)).run()
    })
  }

  it('nothing is lost when one after another is killed while others go on', async () => {
    const { tally, ...rest } = options('campaign')
    await new Campaign(planCampaign(seed, 0), { ...rest, tally, isEnough: () => killsOf(tally) > 0 }).run()
    expect(killsOf(tally)).to.be.greaterThan(15)
    expect(tally.checksOfDead).to.be.greaterThan(5)
  })

  it('mmapdb recover brings back what mmapdb load had acknowledged when it was killed', async () => {
    await new LoadRound(seed, 0, options('load')).run()
  })
})
