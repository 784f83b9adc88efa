// The simulation itself: what it reports could not be trusted if it came out differently each time,
// or if it called a database sound that is not. The many seeds run in `npm run prove:sim`, and the
// versions of the engine without its safeguards in `npm run prove:mutants`.
import { expect } from 'chai'
import { readFileSync } from 'node:fs'
import { Context } from '../../crash-tests/sim/context.js'
import { Processes } from '../../crash-tests/sim/processes.js'
import { Killed, Outage } from '../../crash-tests/sim/world.js'
import { Simulation } from '../../crash-tests/sim/simulation.js'
import { MUTANTS } from '../../crash-tests/sim/mutants.js'
import { TESTED_MUTANTS } from '../../crash-tests/sim/tested-mutants.js'
import { shrink } from '../../crash-tests/sim/shrink.js'
import { compiledFile } from '../../src/package-root.js'

const SEEDS = [1, 2, 3, 4, 5, 6]

describe('simulated lives', function () {
  this.timeout(60_000)

  it('go well, whatever is cut, killed and refused in them', () => {
    for (const seed of SEEDS) new Simulation(seed).run(3)
  })

  it('are the same again from the same seed, step by step', () => {
    for (const seed of SEEDS.slice(0, 3)) {
      const [first, second] = [new Simulation(seed), new Simulation(seed)]
      expect(second.run(3)).to.deep.equal(first.run(3))
      expect(second.trace).to.deep.equal(first.trace)
    }
  })

  it('are the same when only what happened in them may happen, and less when something is left out', () => {
    const whole = new Simulation(SEEDS[0]!)
    whole.run(3)
    const again = new Simulation(SEEDS[0]!, new Set(whole.events))
    again.run(3)
    expect(again.trace).to.deep.equal(whole.trace)
    const shorter = new Simulation(SEEDS[0]!, new Set(whole.events.filter((event) => !event.startsWith('life 2'))))
    shorter.run(3)
    expect(shorter.report.lives).to.equal(2)
  })
})

describe('a simulated process', () => {
  it('does not go on after the end of all, or its own, whatever its code makes of that', () => {
    const context = new Context(1)
    const processes = new Processes(context)
    const { world } = context
    const dying = processes.spawn()
    processes.as(dying, () => void expect(() => world.kill(dying)).to.throw(Killed))
    expect(processes.living).to.not.include(dying)
    const ending = processes.spawn()
    const end = (): void => void expect(() => world.end('power cut')).to.throw(Outage)
    expect(() => processes.as(ending, end)).to.throw(Outage)
  })
})

describe('a failure', () => {
  const events = Array.from({ length: 200 }, (_, i) => `${i}`)

  it('is made as small as it can be', () => {
    const needed = ['3', '77', '78', '199']
    let runs = 0
    const fails = (kept: readonly string[]): boolean => (runs++, needed.every((event) => kept.includes(event)))
    expect(shrink(events, fails, 10_000)).to.deep.equal(needed)
    expect(runs).to.be.lessThan(200)
  })

  it('is given as found when there is no time to make it smaller', () => {
    expect(shrink(events, () => true, 0)).to.deep.equal(events)
  })
})

/** Names that a change may bring with it: those of the language, and of other files. */
const NEW_NAMES = new Set(
  'true false next tailLsn ERR_MMAPDB_CORRUPT LEAVES BRANCHES OVERFLOWS FREE_LIST_SLOTS keyLength findEncoded rangeWithin args shared lsn'.split(
    ' ',
  ),
)

describe('versions of the engine without a safeguard', () => {
  it('can all be made of this one', () => {
    for (const { name, changes } of [...MUTANTS, ...TESTED_MUTANTS]) {
      for (const { file, from, to } of changes) {
        const text = readFileSync(compiledFile(`src/${file}`), 'utf8')
        expect(text.split(from).length - 1, `${name}: "${from}" in ${file}`).to.equal(1)
        // A name that was changed since would leave a version that does nothing wrong.
        const code = text.replaceAll(/^\s*(\/\/|\/?\*).*$/gm, '')
        for (const [word] of to.matchAll(/[A-Za-z_$][\w$]*/g)) {
          expect(code.includes(word) || NEW_NAMES.has(word), `${name}: "${word}" in ${file}`).to.equal(true)
        }
      }
    }
  })
})
