// The project's TypeScript as the compiler parses it: what each file imports from which file, what it exports, and how
// long its functions are.
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import ts from 'typescript'
import { inPackage } from '../../src/package-root.js'

export interface SourceFile {
  /** Relative to the root, without extension: `src/engine/engine`. */
  readonly name: string
  readonly lines: readonly string[]
  readonly imports: readonly Import[]
  /** Names that it declares and exports. */
  readonly exports: readonly string[]
  readonly functions: readonly { readonly name: string; readonly lines: number }[]
}

interface Import {
  /** As `SourceFile.name`. */
  readonly from: string
  readonly names: readonly string[]
  /** By `import * as` or `import()`, as the file of a worker, or only for its effects. */
  readonly isWhole: boolean
}

const ROOT = inPackage('.')

/** All files below these folders. */
export function sourceFiles(...folders: string[]): SourceFile[] {
  const paths = folders.flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ts'))
      .map((path) => join(folder, path)),
  )
  return paths.sort().map(parse)
}

function parse(path: string): SourceFile {
  const text = readFileSync(join(ROOT, path), 'utf8')
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true)
  const imports: Import[] = []
  const exports: string[] = []
  const functions: { name: string; lines: number }[] = []
  const target = (specifier: string): string =>
    relative(ROOT, join(ROOT, dirname(path), specifier)).replace(/\.js$/, '')
  const imported = (specifier: string, names: readonly string[]): Import => ({
    from: target(specifier),
    names,
    isWhole: names.length === 0,
  })
  const lineOf = (at: number): number => source.getLineAndCharacterOfPosition(at).line

  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) || (ts.isExportDeclaration(node) && node.moduleSpecifier !== undefined)) {
      const { text: specifier } = node.moduleSpecifier as ts.StringLiteral
      if (specifier.startsWith('.')) imports.push(imported(specifier, namesOf(node)))
    } else if (
      ts.isCallExpression(node) &&
      node.expression.kind === ts.SyntaxKind.ImportKeyword &&
      ts.isStringLiteral(node.arguments[0]!)
    ) {
      if (node.arguments[0].text.startsWith('.')) imports.push(imported(node.arguments[0].text, []))
    }
    if (ts.canHaveModifiers(node) && ts.getModifiers(node)?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword))
      exports.push(...declared(node))
    if (isNamedFunction(node) && node.body !== undefined) {
      functions.push({ name: node.name!.getText(), lines: lineOf(node.end) - lineOf(node.getStart()) + 1 })
    }
    ts.forEachChild(node, visit)
  }
  visit(source)
  return { name: path.replace(/\.ts$/, ''), lines: text.split('\n'), imports, exports, functions }
}

function namesOf(node: ts.ImportDeclaration | ts.ExportDeclaration): string[] {
  const bindings = ts.isImportDeclaration(node) ? node.importClause?.namedBindings : node.exportClause
  if (bindings === undefined || !('elements' in bindings)) return []
  return bindings.elements.map((element) => (element.propertyName ?? element.name).getText())
}

function declared(node: ts.Node): string[] {
  if (ts.isVariableStatement(node))
    return node.declarationList.declarations
      .map(({ name }) => name)
      .filter(ts.isIdentifier)
      .map(({ text }) => text)
  const { name } = node as ts.DeclarationStatement
  return name === undefined ? [] : [name.getText()]
}

type NamedFunction = ts.FunctionDeclaration | ts.MethodDeclaration
const isNamedFunction = (node: ts.Node): node is NamedFunction =>
  (ts.isFunctionDeclaration(node) || ts.isMethodDeclaration(node)) && node.name !== undefined

/** Circles of imports, each as the names of its files; the shortest through each file that is in one. */
export function circlesOf(files: readonly SourceFile[]): string[][] {
  const byName = new Map(files.map((file) => [file.name, file]))
  const circles = new Map<string, string[]>()
  for (const { name } of files) {
    const way = shortestWay(byName, name)
    if (way !== undefined) circles.set([...way].sort().join(), way)
  }
  return [...circles.values()]
}

/** From a file back to itself. */
function shortestWay(files: ReadonlyMap<string, SourceFile>, start: string): string[] | undefined {
  const ways: string[][] = [[start]]
  const seen = new Set<string>()
  for (let way; (way = ways.shift()) !== undefined;) {
    for (const { from } of files.get(way.at(-1)!)?.imports ?? []) {
      if (from === start) return way
      if (seen.has(from)) continue
      seen.add(from)
      ways.push([...way, from])
    }
  }
  return undefined
}
