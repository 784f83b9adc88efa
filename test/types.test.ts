// What TypeScript makes of the package in a user's program. If this failed, a program that is right would not compile,
// one that is wrong would, or the declarations would lead into what is internal.
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { expect } from 'chai'
import ts from 'typescript'
import * as mmapdb from '../src/index.js'
import { inPackage } from '../src/package-root.js'

const INDEX = inPackage('dist/src/index.d.ts')

const parsed = (file: string): ts.SourceFile =>
  ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.Latest, true)

/** The names that a file of declarations exports. */
function exportsOf(file: string): string[] {
  const names: string[] = []
  for (const node of parsed(file).statements) {
    if (ts.isExportDeclaration(node) && node.exportClause && ts.isNamedExports(node.exportClause))
      names.push(...node.exportClause.elements.map(({ name }) => name.text))
    else if (
      ts.canHaveModifiers(node) &&
      ts.getModifiers(node)?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword)
    ) {
      if (ts.isVariableStatement(node))
        names.push(...node.declarationList.declarations.map((one) => one.name.getText()))
      else names.push((node as ts.DeclarationStatement).name!.getText())
    }
  }
  return [...new Set(names)]
}

/** Every file of declarations that the index leads to. */
function reached(): string[] {
  const files = new Set<string>()
  const visit = (file: string): void => {
    if (files.has(file)) return
    files.add(file)
    for (const { fileName } of ts.preProcessFile(readFileSync(file, 'utf8')).importedFiles)
      if (fileName.startsWith('.')) visit(join(dirname(file), fileName.replace(/\.js$/, '.d.ts')))
  }
  visit(INDEX)
  return [...files]
}

/** What lies beside public types without being public: an alias of `any`, and a function without types of its own. */
const HARMLESS = new Set(['Anything'])

describe('the types of the package', function () {
  this.timeout(120_000)

  it('take the programs that are right, and refuse those that are wrong (type-tests)', () => {
    const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc')
    const { stdout, status } = spawnSync(process.execPath, [tsc, '-p', inPackage('type-tests')], { encoding: 'utf8' })
    expect(stdout).to.equal('')
    expect(status).to.equal(0)
  })

  it('lead to nothing that is internal', () => {
    const isPublic = new Set(exportsOf(INDEX))
    const files = reached()
    expect(files).to.have.lengthOf.above(5)
    const found = files.flatMap((file) => {
      expect(existsSync(file), file).to.equal(true)
      return exportsOf(file)
        .filter((name) => !isPublic.has(name) && !HARMLESS.has(name))
        .map(
          (name) => `${file.slice(dirname(INDEX).length + 1)}: ${name} is neither exported by the index nor @internal`,
        )
    })
    expect(found).to.deep.equal([])
  })

  it('are the same for programs that are CommonJS', async () => {
    const forRequire = exportsOf(inPackage('types/require.d.cts'))
    expect(forRequire).to.have.members(exportsOf(INDEX))
    expect(forRequire).to.include.members(Object.keys(mmapdb))
    const required = createRequire(import.meta.url)('mmapdb') as typeof mmapdb
    expect(Object.keys(required)).to.include.members(Object.keys(mmapdb))
    expect(required.open).to.equal(((await import('mmapdb' as string)) as typeof mmapdb).open)
  })
})
