// The house itself: who may know whom, how long files and functions may be, and that nothing is exported in vain. If
// one of these fails, either the code has gone into the wrong room, or the plan (docs/architecture.md) has changed:
// then say so there, and here.
import { expect } from 'chai'
import { circlesOf, sourceFiles, type SourceFile } from './support/source-files.js'

const MAX_FILE_LINES = 600
const MAX_ENGINE_LINES = 300
const MAX_FUNCTION_LINES = 70
/** Of comments; the formatter sees to code, and leaves long texts whole. */
const MAX_COMMENT_LENGTH = 120

/**
 * Floors, from the ground up: a file may import from its own floor and from those below. The longest name that a file's
 * begins with says where it lies. Files of one floor may be siblings that know nothing of each other: circles are
 * found apart.
 */
const FLOORS: readonly (readonly string[])[] = [
  ['src/errors', 'src/limits', 'src/describe', 'src/crash-points', 'src/package-root'],
  ['src/storage/'],
  ['src/encoding/'],
  ['src/wal/'],
  ['src/engine/options'],
  ['src/engine/format/'],
  ['src/engine/shared/'],
  ['src/engine/space/'],
  ['src/engine/tree/'],
  ['src/engine/read/'],
  ['src/engine/commit/'],
  ['src/engine/checkpoint/'],
  ['src/engine/parts'],
  ['src/engine/lifecycle/'],
  ['src/engine/'],
  ['src/maintenance/', 'src/inspect/'],
  ['src/workers/'],
  ['src/database/'],
  ['src/index'],
  ['src/cli/'],
]

/** What users, `bin/` and pools of threads load. */
const ENTRIES = ['src/index', 'src/cli/main', 'src/cli/load/worker-task']

const files = sourceFiles('src')
const everything = sourceFiles('src', 'test', 'crash-tests')

/** The number of a file's floor. */
function floorOf(name: string): number {
  let floor = -1
  let longest = 0
  for (const [number, prefixes] of FLOORS.entries()) {
    for (const prefix of prefixes) {
      if (!name.startsWith(prefix) || prefix.length <= longest) continue
      floor = number
      longest = prefix.length
    }
  }
  return floor
}

/** What is to be made shorter: `file`, or `function in file`. */
const STILL_TOO_LONG = new Set([
  'crash-tests/sim/life',
  'load in src/cli/commands/load',
  'showSlot in src/cli/commands/slots',
  'table in src/cli/commands/stats',
  'jsonArray in src/cli/load/json',
  'recordsJob in src/cli/load/records-job',
  'separated in src/cli/load/separated',
  'read in src/encoding/values/msgpack-reader',
  'test/engine/limits.test',
  'test/storage/region.test',
])

const isComment = (line: string): boolean => /^\s*(\/\/|\/?\*)/.test(line)
const isProductFile = ({ name }: SourceFile): boolean => name.startsWith('src/')

const expectNone = (found: readonly string[]): void => {
  if (found.length > 0) expect.fail(found.join('\n'))
}

describe('the house', () => {
  it('has a floor for every file', () => {
    expectNone(files.filter(({ name }) => floorOf(name) < 0).map(({ name }) => name))
  })

  it('has no arrow upwards', () => {
    const upwards = files.flatMap(({ name, imports }) =>
      imports.filter(({ from }) => floorOf(from) > floorOf(name)).map(({ from }) => `${name} -> ${from}`),
    )
    expectNone(upwards)
  })

  it('has no circle of imports', () => {
    expectNone(circlesOf(everything).map((circle) => circle.join(' -> ')))
  })

  it('keeps files, functions and lines short', () => {
    const limitOf = (name: string): number => (name === 'src/engine/engine' ? MAX_ENGINE_LINES : MAX_FILE_LINES)
    const tooLong = everything.flatMap((file) => [
      ...(file.lines.length > limitOf(file.name) ? [`${file.name} has ${file.lines.length} lines`] : []),
      ...(isProductFile(file)
        ? file.functions
            .filter(({ lines }) => lines > MAX_FUNCTION_LINES)
            .map(({ name, lines }) => `${name} in ${file.name} has ${lines} lines`)
        : []),
      ...file.lines.flatMap((line, i) =>
        isComment(line) && line.length > MAX_COMMENT_LENGTH
          ? [`${file.name}:${i + 1} is ${line.length} characters long`]
          : [],
      ),
    ])
    expectNone(tooLong.filter((what) => ![...STILL_TOO_LONG].some((known) => what.startsWith(`${known} has`))))
  })

  it('exports nothing that no other file uses', () => {
    const all = everything.flatMap(({ imports }) => imports)
    const used = new Set(all.flatMap(({ from, names }) => names.map((name) => `${from}#${name}`)))
    // Of what is imported as a whole anything may be used.
    const usedWhole = new Set(all.filter(({ isWhole }) => isWhole).map(({ from }) => from))
    const idle = everything
      .filter(({ name }) => !ENTRIES.includes(name) && !usedWhole.has(name))
      .flatMap(({ name, exports }) =>
        exports.filter((exported) => !used.has(`${name}#${exported}`)).map((exported) => `${exported} of ${name}`),
      )
    expectNone(idle)
  })
})
