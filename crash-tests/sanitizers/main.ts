// The native code under a sanitizer: what `run` does, with the options of all harnesses.
import { spawn } from 'node:child_process'
import { tmpdir } from 'node:os'
import { fileSystemOf } from '../lib/evidence.js'
import { announce, CannotRun, prove } from '../lib/harness.js'
import { inPackage } from '../../src/package-root.js'

const DEFAULT_SECONDS = 20
/** What stresses the native code in each: stress.cc alone; beside it stress.ts within Node.js. */
const STRESSES = { tsan: 1, asan: 2, valgrind: 2 } as const

type Tool = keyof typeof STRESSES
const isTool = (name: string | undefined): name is Tool => name !== undefined && name in STRESSES

await prove({
  name: 'sanitizers',
  proves:
    'that the native code has no data race (tsan), no access outside of what it owns, no leak and no undefined ' +
    'behaviour (asan, valgrind), while threads open, map, grow, lock, wait and are terminated.',
  takes:
    'a minute for tsan, several minutes for asan and valgrind, which also build the addon again (asan runs the tests of the ' +
    'storage layer, too). A C++17 compiler with its sanitizers; valgrind needs the package valgrind.',
  seed: { help: 'what the threads do follows from it, but not when', default: 1 },
  minutes: { help: 'how long the stress runs in all; building, and the tests of asan, come on top' },
  options: {
    tool: { kind: 'text', value: 'T', help: `${Object.keys(STRESSES).join(', ')}; one of them must be given` },
    seconds: {
      kind: 'count',
      value: 'N',
      help: `how long each stress runs, instead of --minutes (default: ${DEFAULT_SECONDS})`,
    },
  },
  run: async (run) => {
    const tool = run.textIfGiven('tool')
    if (!isTool(tool)) throw new CannotRun(`--tool must be given: ${Object.keys(STRESSES).join(', ')}.`)
    const stresses = STRESSES[tool]
    const share = run.minutes === undefined ? DEFAULT_SECONDS : Math.max(1, Math.round((run.minutes * 60) / stresses))
    const seconds = run.numberIfGiven('seconds') ?? share
    announce('sanitizers', run, `${tool}, ${seconds} seconds for each of ${stresses} stresses`, stresses * seconds)
    const args = ['--tool', tool, '--seconds', String(seconds), '--seed', String(run.seed)]
    const child = spawn(inPackage('crash-tests/sanitizers/run'), args, { stdio: 'inherit' })
    const code = await new Promise<number>((resolve) => child.on('exit', (status) => resolve(status ?? 1)))
    if (code === 2) return 2
    return {
      problems: code === 0 ? [] : [`${tool} found something: see above`],
      result: code === 0 ? `${tool} found nothing` : `${tool} found something`,
      counts: { stresses, 'seconds of each': seconds },
      fileSystem: fileSystemOf(tmpdir()),
    }
  },
})
