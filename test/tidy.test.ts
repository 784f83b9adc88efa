// The house itself: who may know whom, how long files and functions may be, and that nothing is exported in vain. If one
// of these fails, either the code has gone into the wrong room, or the plan (docs/architecture.md) has changed: then say
// so there, and here.
import { expect } from 'chai'
import { circlesOf, sourceFiles, type SourceFile } from './support/source-files.js'

const MAX_FILE_LINES = 600
const MAX_ENGINE_LINES = 300
const MAX_FUNCTION_LINES = 70
const MAX_LINE_LENGTH = 160

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

const isProductFile = ({ name }: SourceFile): boolean => name.startsWith('src/')

describe('the house', () => {
  it('has a floor for every file', () => {
    expect(files.filter(({ name }) => floorOf(name) < 0).map(({ name }) => name)).to.deep.equal([])
  })

  it('has no arrow upwards', () => {
    const upwards = files.flatMap(({ name, imports }) =>
      imports.filter(({ from }) => floorOf(from) > floorOf(name)).map(({ from }) => `${name} -> ${from}`),
    )
    expect(upwards).to.deep.equal([])
  })

  it('has no circle of imports', () => {
    expect(circlesOf(everything).map((circle) => circle.join(' -> '))).to.deep.equal([])
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
        line.length > MAX_LINE_LENGTH ? [`${file.name}:${i + 1} is ${line.length} characters long`] : [],
      ),
    ])
    expect(tooLong).to.deep.equal([])
  })

  it('exports nothing that no other file uses', () => {
    const used = new Set(
      everything.flatMap(({ imports }) => imports.flatMap(({ from, names }) => names.map((name) => `${from}#${name}`))),
    )
    const idle = everything
      .filter(({ name }) => name !== 'src/index')
      .flatMap(({ name, exports }) =>
        exports.filter((exported) => !used.has(`${name}#${exported}`)).map((exported) => `${exported} of ${name}`),
      )
    expect(idle).to.deep.equal([])
  })
})
