// What the documents and comments say, in a form that can be compared with the code: the rows of a table, the files
// and scripts that are named, the fields of an interface.
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import ts from 'typescript'
import { inPackage } from '../../src/package-root.js'

const ROOT = inPackage('.')
/** Made by tools, or of others. */
const NOT_OURS = /^(?:node_modules|dist|build|dist-mutant-.*|\.git|api|found)$/

/** Every file and folder of the project, relative to its root, with `/`. */
export const everyPath = (folder = ''): string[] =>
  readdirSync(join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
    if (NOT_OURS.test(entry.name)) return []
    const path = join(folder, entry.name)
    return entry.isDirectory() ? [path, ...everyPath(path)] : [path]
  })

export const textOf = (path: string): string => readFileSync(join(ROOT, path), 'utf8')

/** The rows of the Markdown table that begins with `| title |`, cell by cell. */
export function tableRows(markdown: string, title: string): string[][] {
  const lines = markdown.split('\n')
  const start = lines.findIndex((line) => cellsOf(line)[0] === title)
  if (start < 0) return []
  const end = lines.findIndex((line, i) => i > start && !line.startsWith('|'))
  return lines.slice(start + 2, end < 0 ? undefined : end).map(cellsOf)
}

/** What stands below a heading, up to the next one. */
export function section(markdown: string, heading: string): string {
  const after = markdown.split(new RegExp(`^#+ ${heading}$`, 'm'))[1] ?? ''
  return after.split(/^#+ /m)[0]!
}

/** All rows of all tables of a text. */
export const rowsOf = (markdown: string): string[][] =>
  markdown
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .map(cellsOf)

const cellsOf = (line: string): string[] =>
  line
    .split('|')
    .slice(1, -1)
    .map((cell) => cell.trim())

const UNITS = { KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40, PiB: 2 ** 50 } as const

/** The numbers of a text, in bytes if they have a unit: `64 MiB`, `30,000`. */
export const quantitiesOf = (text: string): number[] =>
  [...text.matchAll(/(\d[\d,]*)(?: (KiB|MiB|GiB|TiB|PiB))?/g)].map(
    ([, digits, unit]) =>
      Number(digits!.replaceAll(',', '')) * (unit === undefined ? 1 : UNITS[unit as keyof typeof UNITS]),
  )

/** Names of scripts of package.json in a text: `npm run lint`, `npm test`, `test:serial`. */
export const scriptsNamedIn = (text: string): string[] =>
  [...text.matchAll(/npm (?:run )?(test)(?![\w:-])|npm run ([\w:-]+)|\b((?:test|prove):[a-z-]+)/g)].map(
    ([, test, run, bare]) => test ?? run ?? bare!,
  )

/** The comments of a source text. */
export const commentsOf = (source: string): string => (source.match(/\/\/.*|\/\*[^]*?\*\//g) ?? []).join('\n')

/** Where links of a Markdown text lead, but for those that leave the project or stay in the document. */
export const linksOf = (markdown: string): string[] =>
  [...markdown.matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)].map(([, to]) => to!).filter((to) => !/^[a-z]+:/.test(to))

const FOLDERS = 'src|native|test|docs|crash-tests|bench|bin|examples'
const WHOLE_PATH = new RegExp(`(?<![\\w./@-])(?:${FOLDERS})/[\\w.*/-]*`, 'g')
const FILE_NAME = /(?<![\w./@*-])(?:\.{1,2}\/)*[\w-]+(?:[/.][\w-]+)*\.(?:ts|md|cc|h)\b/g

/** Files and folders of the project that a text names: `src/wal/log.ts`, `log.ts`, `lifecycle/open.ts`. */
export const pathsNamedIn = (text: string): string[] => [
  ...new Set(
    [...(text.match(WHOLE_PATH) ?? []), ...(text.match(FILE_NAME) ?? [])].map((path) => path.replace(/[./]+$/, '')),
  ),
]

/** Git does not have these: benchmarks and fuzzing make them. */
const MADE_BY_RUNS = ['bench/data', 'bench/results', 'bench/node_modules', 'crash-tests/fuzz/found']

/** Says of a path that the file `from` names whether there is such a file. */
export function pathFinder(paths: readonly string[]): (from: string, path: string) => boolean {
  const known = new Set([...paths, ...MADE_BY_RUNS])
  return (from, path) =>
    known.has(path) ||
    known.has(normalize(join(dirname(from), path))) ||
    (!path.startsWith('.') && paths.some((each) => each.endsWith(`/${path}`))) ||
    (path.includes('*') && globMatches(paths, path))
}

function globMatches(paths: readonly string[], glob: string): boolean {
  const regex = new RegExp(`^${glob.replace(/[.+]/g, '\\$&').replace(/\*+\/?/g, '.*')}$`)
  return paths.some((path) => regex.test(path))
}

interface Field {
  readonly name: string
  readonly isDocumented: boolean
}

/** The fields of an interface that a file declares, and the strings of a `new Set([...])` that it does. */
export function declaredIn(path: string): { fields(of: string): Field[]; strings(of: string): string[] } {
  const source = ts.createSourceFile(path, textOf(path), ts.ScriptTarget.Latest, true)
  const fields = (of: string): Field[] =>
    source.statements
      .filter(ts.isInterfaceDeclaration)
      .filter(({ name }) => name.text === of)
      .flatMap(({ members }) => members)
      .map((member) => ({ name: member.name!.getText(), isDocumented: ts.getJSDocCommentsAndTags(member).length > 0 }))
  const strings = (of: string): string[] => {
    const found: string[] = []
    const visit = (node: ts.Node): void => {
      if (ts.isStringLiteral(node)) found.push(node.text)
      ts.forEachChild(node, visit)
    }
    for (const statement of source.statements.filter(ts.isVariableStatement))
      for (const declaration of statement.declarationList.declarations)
        if (declaration.name.getText() === of) visit(declaration)
    return found
  }
  return { fields, strings }
}
