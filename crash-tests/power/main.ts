// Power cuts: databases on ext4 and xfs, on a disk whose unflushed writes get lost, torn and reordered; see README.md.
import { existsSync, mkdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileSystemOf, type Counts } from '../lib/evidence.js'
import { announce, CannotRun, prove, selfTestOutcome } from '../lib/harness.js'
import { MUTANTS, runMutants } from './mutants.js'
import { endWithOutside, insideDirectory, isInside, keepDirectory, runInside } from './namespace.js'
import type { Tally } from './round.js'
import { runRounds } from './rounds.js'
import { selfTest } from './self-test.js'
import { FILE_SYSTEMS, prepareTools } from './tools.js'

const DEFAULT_CUTS = 50

/** In the order of names. */
const sorted = (of: Map<string, number>): Record<string, number> =>
  Object.fromEntries([...of].sort(([a], [b]) => (a < b ? -1 : 1)))

const countsOf = (tally: Tally): Counts => ({
  cuts: tally.cuts,
  databases: tally.rounds,
  lives: tally.lives,
  'cuts by moment': sorted(tally.cutsByEvent),
  'cuts by point': sorted(tally.cutsAtPoints),
  'cuts by what survived': sorted(tally.cutsByMode),
  'cuts of recoveries': tally.cutsOfRecoveries,
  'cuts that lost writes': tally.cutsWithLosses,
  'sectors not flushed': tally.sectors,
  'sectors lost': tally.sectorsLost,
  'sectors of an older version': tally.sectorsOlder,
  'closed and reopened': tally.reopenings,
  'processes killed beforehand': tally.kills,
  recoveries: tally.recoveries,
  'checks of everything': tally.checks,
  'acknowledged operations': tally.acknowledged,
  'complaints of the file system': tally.complaints.length,
})

await prove({
  name: 'power',
  proves:
    'that an acknowledged write survives the power going off, on a real file system over a disk that forgets, tears and ' +
    'reorders what was not flushed, at any moment, recovery included.',
  takes:
    'two to seven seconds for a cut. Linux, root, /dev/fuse, loop devices, 1 GiB of room, and the packages libfuse3-dev ' +
    'fuse3 xfsprogs e2fsprogs pkg-config gcc.',
  seed: { help: 'all plans follow from it; at which instruction the power goes off does not' },
  minutes: { help: 'no further database after that time' },
  options: {
    'file-system': { kind: 'text', value: 'FS', help: `${FILE_SYSTEMS.join(' or ')}; this one must be given` },
    cuts: { kind: 'count', value: 'N', help: `power cuts (default: ${DEFAULT_CUTS}; no limit with --minutes)` },
    round: { kind: 'whole', value: 'R', help: 'only this round of the seed' },
    directory: {
      kind: 'path',
      value: 'DIR',
      help: "where the image lies (default: in /dev/shm, or the system's temporary directory)",
    },
    keep: { kind: 'flag', help: 'leave image and journals even if all is well' },
    verbose: { kind: 'flag', help: 'print the story of every round' },
    'self-test': { kind: 'flag', help: 'prove that the disk loses what it may lose, and nothing else' },
    mutant: {
      kind: 'text',
      value: 'NAME',
      help: `leave flushes out, until the cuts detect it: ${MUTANTS.map((m) => m.name).join(', ')}, or all`,
    },
  },
  run: async (run) => {
    const fileSystem = FILE_SYSTEMS.find((name) => name === run.textIfGiven('file-system'))
    if (fileSystem === undefined) throw new CannotRun(`--file-system must be given: ${FILE_SYSTEMS.join(' or ')}.`)
    const tools = prepareTools()
    const parent = run.textIfGiven('directory') ?? (existsSync('/dev/shm') ? '/dev/shm' : tmpdir())
    if (!isInside()) {
      const directory = join(parent, `mmapdb-power-${fileSystem}-${process.pid}`)
      mkdirSync(directory, { recursive: true })
      return runInside(directory, [join(directory, 'image'), join(directory, 'layer', 'disk')])
    }
    endWithOutside()
    const { seed } = run
    const directory = insideDirectory()
    const where = `${fileSystem}, its image on ${fileSystemOf(directory)}`
    if (run.flag('self-test')) {
      announce('power', run, `self-test of the disk, ${fileSystem}`)
      const code = await selfTest(fileSystem, directory, tools, seed)
      return selfTestOutcome(code, 'the disk loses what it may lose, and nothing else', where)
    }
    const cuts = run.numberIfGiven('cuts') ?? (run.minutes === undefined ? DEFAULT_CUTS : Infinity)
    const isTimeUp = (): boolean => run.isTimeUp
    const settings = { fileSystem, seed, cuts, directory, tools, isTimeUp }
    const mutant = run.textIfGiven('mutant')
    if (mutant !== undefined) {
      announce('power', run, `${fileSystem}, mutant ${mutant}`)
      return { ...(await runMutants(mutant, settings)), fileSystem: where }
    }
    const round = run.numberIfGiven('round')
    const amount = cuts === Infinity ? 'cuts' : `${cuts} cuts`
    announce('power', run, `${fileSystem}, ${round === undefined ? amount : `round ${round}`}`)
    const { tally, failure } = await runRounds({
      ...settings,
      onlyRound: round,
      onRound: (n, story, { cuts: done }) => {
        if (run.flag('verbose')) console.log(`round ${n}:\n  ${story}`)
        else console.log(`  ${done} cuts after ${(run.elapsedMs / 1000).toFixed(0)} s`)
      },
    })
    for (const complaint of tally.complaints.slice(0, 3)) console.log(complaint.split('\n').slice(0, 6).join('\n  '))
    if (run.flag('keep') || failure !== undefined) {
      await keepDirectory()
      console.log(`${directory} holds plan.json; journals/ of the writers; image-after-cut, as the last cut left it;`)
      console.log('and image, as it is now. Look into one with: mount -o loop IMAGE DIRECTORY')
    }
    const counts = countsOf(tally)
    if (failure === undefined)
      return { problems: [], result: 'nothing was lost, nothing was wrong', counts, fileSystem: where }
    const { error } = failure
    const { name, message, stack } = error instanceof Error ? error : new Error(String(error))
    return {
      problems: [name === 'Error' ? message : (stack ?? message)],
      story: `round ${failure.round}:\n  ${failure.story}`,
      result: 'a check failed',
      counts,
      fileSystem: where,
      repeatWith: `--file-system ${fileSystem} --seed ${seed} --round ${failure.round} --verbose`,
      leftIn: directory,
    }
  },
})
