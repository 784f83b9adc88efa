// The house itself: which file may import which, how long files and functions may be, that every export is used, and
// that the documents say what the code does. If the first part fails, either the code is in the wrong room, or the
// plan (docs/architecture.md) has changed: then change the plan there, and here. If the second part fails, the text is
// wrong, or the code.
import { expect } from 'chai'
import { encodeKey, KEY_BUFFER_BYTES } from '../src/encoding/keys.js'
import { VALUE_ENCODINGS } from '../src/encoding/values/codec.js'
import { resolveOptions } from '../src/engine/options.js'
import { MAX_PINS } from '../src/engine/shared/control.js'
import { InvalidError } from '../src/errors.js'
import { MAX_FRAME_ADDS, MAX_FRAME_BYTES, MAX_KEY_BYTES, MAX_VALUE_BYTES } from '../src/limits.js'
import { FrameBuilder } from '../src/wal/frame-builder.js'
import { bytesBetween, MAX_LSN } from '../src/wal/lsn.js'
import {
  commentsOf,
  declaredIn,
  everyPath,
  linksOf,
  pathFinder,
  pathsNamedIn,
  quantitiesOf,
  rowsOf,
  scriptsNamedIn,
  section,
  tableRows,
  textOf,
} from './support/documents.js'
import { circlesOf, sourceFiles, type SourceFile } from './support/source-files.js'
import { wordsIn } from './support/words.js'

const MAX_FILE_LINES = 600
const MAX_ENGINE_LINES = 300
const MAX_FUNCTION_LINES = 70
/** For comments only. The formatter keeps lines of code short, and leaves long texts whole. */
const MAX_COMMENT_LENGTH = 120

/**
 * Floors, from the ground up: a file may import from its own floor and from those below. The longest entry that a
 * file's name starts with says on which floor the file lies. Files of one floor may be siblings that know nothing of
 * each other: another test looks for circles.
 */
const FLOORS: readonly (readonly string[])[] = [
  ['src/errors', 'src/limits', 'src/describe', 'src/soon', 'src/crash-points', 'src/package-root'],
  ['src/storage/'],
  ['src/encoding/'],
  ['src/wal/'],
  ['src/engine/options'],
  ['src/engine/format/'],
  ['src/engine/shared/'],
  ['src/engine/locks/'],
  ['src/engine/space/'],
  ['src/engine/tree/'],
  ['src/engine/read/'],
  ['src/engine/commit/'],
  ['src/engine/transactions/'],
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
    expectNone(tooLong)
  })

  it('exports nothing that no other file uses', () => {
    const all = everything.flatMap(({ imports }) => imports)
    const used = new Set(all.flatMap(({ from, names }) => names.map((name) => `${from}#${name}`)))
    // Any export of a file that is imported as a whole may be used.
    const usedWhole = new Set(all.filter(({ isWhole }) => isWhole).map(({ from }) => from))
    const idle = everything
      .filter(({ name }) => !ENTRIES.includes(name) && !usedWhole.has(name))
      .flatMap(({ name, exports }) =>
        exports.filter((exported) => !used.has(`${name}#${exported}`)).map((exported) => `${exported} of ${name}`),
      )
    expectNone(idle)
  })
})

const README = textOf('README.md')
const paths = everyPath()
const documents = paths.filter((path) => /^(README|CONTRIBUTING)\.md$|^(docs|crash-tests|bench)\/.*\.md$/.test(path))
const isFileOfCode = (path: string): boolean => /\.(ts|cc|h|c|js)$/.test(path)

/** Options that only tests set. Their comment says so; the README does not list them. */
const NOT_IN_README = new Set(['windowBytes'])

/** Scripts that npm runs by itself. */
const RUN_BY_NPM = new Set(['install', 'prepare', 'prepack', 'prepublishOnly'])

// Which error classes there are, their codes and exit codes, and that the README has them: errors.test.ts.
describe('what the documents say', () => {
  it('is true of the options: the README and the comments describe all of them, and no others', () => {
    const { fields, strings } = declaredIn('src/engine/options.ts')
    const declared = fields('OpenOptions')
    const names = declared.map(({ name }) => name)
    expect(names).to.not.be.empty
    expect(strings('KNOWN'), 'KNOWN').to.have.members(names)
    expectNone(declared.filter(({ isDocumented }) => !isDocumented).map(({ name }) => `${name} has no comment`))
    expect(
      tableRows(README, 'option').map(([name]) => name!.replaceAll('`', '')),
      'the table in the README',
    ).to.have.members(names.filter((name) => !NOT_IN_README.has(name)))
  })

  it('is true of the default of each option', () => {
    const defaults: Record<string, unknown> = {
      ...resolveOptions('/path'),
      valueEncoding: `'${VALUE_ENCODINGS[0]}'`,
      maxHeldBytes: 'no limit',
      retain: 'nothing',
      readAheadBytes: 'half the memory',
    }
    for (const [name, said] of tableRows(README, 'option')) {
      const actual = defaults[name!.replaceAll('`', '')]
      if (typeof actual === 'number') expect(quantitiesOf(said!), name).to.deep.equal([actual])
      else expect(said!.replaceAll('`', ''), name).to.equal(String(actual))
    }
  })

  it('is true of the limits: the README has the figures that the code enforces', () => {
    const rows = rowsOf(section(README, 'Limits'))
    const stated = (what: RegExp): number[] => {
      const found = rows.filter(([name]) => what.test(name!))
      expect(found, `rows of the README that match ${what}`).to.have.lengthOf(1)
      return quantitiesOf(found[0]![1]!)
    }
    const defaultReserve = resolveOptions('/path').reserveBytes
    const maxReserve = 16 * 2 ** 40
    expect(stated(/^key/)).to.include(MAX_KEY_BYTES)
    expect(stated(/^value/)).to.include(MAX_VALUE_BYTES)
    expect(stated(/^batch/)).to.include.members([MAX_FRAME_BYTES, MAX_FRAME_ADDS])
    expect(stated(/^log/)).to.include(2 ** 56)
    expect(bytesBetween(0, MAX_LSN)).to.be.within(0.999 * 2 ** 56, 2 ** 56)
    expect(stated(/^data file/)).to.include.members([defaultReserve, maxReserve])
    expect(stated(/snapshots/)).to.include.members([MAX_PINS - 1, MAX_PINS])

    const isRefused = (act: () => unknown): void => void expect(act).to.throw(InvalidError)
    const into = Buffer.alloc(KEY_BUFFER_BYTES)
    expect(encodeKey('k'.repeat(MAX_KEY_BYTES), into)).to.equal(MAX_KEY_BYTES)
    isRefused(() => encodeKey('k'.repeat(MAX_KEY_BYTES + 1), into))
    expect(resolveOptions('/path', { reserveBytes: maxReserve }).reserveBytes).to.equal(maxReserve)
    isRefused(() => resolveOptions('/path', { reserveBytes: maxReserve + 1 }))
    // Never touched, so it takes no memory. Too long values and snapshots: bad-input.test.ts and closed.test.ts.
    const tooMuch = new Uint8Array(MAX_FRAME_BYTES)
    isRefused(() => new FrameBuilder().put(into, 1, tooMuch))
  })

  it('is true of the versions of the files', () => {
    const versions = tableRows(textOf('docs/decisions/format-versions.md'), 'file').map(([file, version, where]) => {
      const [, constant, path] = /^`(\w+)` in `(.+)`$/.exec(where!)!
      const [, inCode] = new RegExp(`^export const ${constant} = (\\d+)$|^const ${constant} = (\\d+)$`, 'm')
        .exec(textOf(path!))!
        .filter((part) => part !== undefined)
      expect(version, file).to.equal(inCode)
      return version
    })
    const [, ...inFormat] =
      /data file \((\d+)\), of a segment \((\d+)\), of `control` \((\d+)\)\s+and\s+of `locks` \((\d+)\)/.exec(
        textOf('docs/format.md'),
      )!
    expect(inFormat).to.deep.equal(versions)
  })

  it('names every script of package.json, and no script that is missing', () => {
    const { scripts } = JSON.parse(textOf('package.json')) as { scripts: Record<string, string> }
    const named = documents.flatMap((path) => scriptsNamedIn(textOf(path)).map((name) => ({ path, name })))
    const isNamed = new Set(named.map(({ name }) => name))
    expectNone([
      ...Object.keys(scripts)
        .filter((name) => !isNamed.has(name) && !RUN_BY_NPM.has(name))
        .map((name) => `no document names the script ${name}`),
      ...named.filter(({ name }) => !(name in scripts)).map(({ path, name }) => `${path}: npm run ${name}`),
    ])
  })

  it('names files that exist, in documents and in comments', () => {
    const exists = pathFinder(paths)
    const named = [
      ...documents.flatMap((path) => {
        const text = textOf(path)
        return [...linksOf(text), ...pathsNamedIn(text)].map((to) => ({ path, to }))
      }),
      ...paths
        .filter((path) => isFileOfCode(path) && /^(src|native)\//.test(path))
        .flatMap((path) => pathsNamedIn(commentsOf(textOf(path))).map((to) => ({ path, to }))),
    ]
    const missing = named.filter(({ path, to }) => !exists(path, to)).map(({ path, to }) => `${path}: ${to}`)
    expectNone([...new Set(missing)])
  })
})

describe('plain English', () => {
  it('has no word that readers stumble over', () => {
    const texts = paths.filter((path) => /\.(ts|cc|h|c|js|md)$/.test(path) && path !== 'test/support/words.ts')
    expectNone(
      texts.flatMap((path) =>
        wordsIn(textOf(path)).map(({ line, word, better }) => `${path}:${line}: "${word}"; better: ${better}`),
      ),
    )
  })
})
