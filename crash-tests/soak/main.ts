// The soak: threads and processes that come and go for as long as one likes, everything compared with a model, and
// nothing that may grow.
import { rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileSystemOf } from '../lib/evidence.js'
import { announce, prove, selfTestOutcome } from '../lib/harness.js'
import { LEAST_SAMPLES } from './resources.js'
import { selfTest } from './self-test.js'
import { Soak } from './soak.js'

const MIN_SPELL_MS = 2000
const MAX_SPELL_MS = 20_000

await prove({
  name: 'soak',
  proves:
    'that contents stay right while threads and processes come, go, are killed and stopped, and that neither memory nor ' +
    'descriptors, mappings, locks or files grow.',
  takes: `as long as it is given; growth is judged from ${LEAST_SAMPLES} spells on, so give it 10 minutes or more. Nothing but Node.js.`,
  seed: { help: 'what is done follows from it, but not the order in which threads get their turns' },
  minutes: { help: 'how long', default: 0.75 },
  options: {
    directory: {
      kind: 'path',
      value: 'DIR',
      help: "where the database is made (default: the system's temporary directory)",
    },
    'spell-ms': {
      kind: 'count',
      value: 'N',
      help: `how long all work from one check to the next, at most (default: a hundredth of the whole, from ${MIN_SPELL_MS} to ${MAX_SPELL_MS})`,
    },
    'rest-ms': {
      kind: 'number',
      value: 'N',
      help: 'how long an actor rests after every eight operations, on average',
      default: '5',
    },
    'self-test': { kind: 'flag', help: 'prove that leaks and wrong contents are noticed: a minute' },
  },
  run: async (run) => {
    const parent = run.textIfGiven('directory') ?? tmpdir()
    const fileSystem = fileSystemOf(parent)
    const directory = join(parent, `mmapdb-soak-${process.pid}`)
    if (run.flag('self-test')) {
      announce('soak', run, 'self-test')
      return selfTestOutcome(await selfTest(directory, run.seed), 'leaks and wrong contents are noticed', fileSystem)
    }
    const { seed } = run
    const durationMs = run.remainingMs
    const usualMs = Math.round(Math.min(MAX_SPELL_MS, Math.max(MIN_SPELL_MS, durationMs / 100)))
    const spellMs = run.numberIfGiven('spell-ms') ?? usualMs
    announce('soak', run, `spells of at most ${spellMs} ms`)
    const restMs = run.number('rest-ms')
    const { problems, counts } = await new Soak({
      directory,
      durationMs,
      seed,
      spellMs,
      restMs,
      print: console.log,
    }).run()
    if (problems.length === 0) rmSync(directory, { recursive: true, force: true })
    const growth = Number(counts['spells']) < LEAST_SAMPLES ? 'too few spells to judge growth' : 'nothing grows'
    return {
      problems,
      result: problems.length === 0 ? `nothing was lost, nothing was wrong; ${growth}` : 'a check failed',
      counts,
      fileSystem,
      leftIn: directory,
    }
  },
})
