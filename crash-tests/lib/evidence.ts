// Evidence: one line of JSON for each run of a harness, which says what was run, on what, and what came of it. Lines
// are collected in crash-tests/evidence.ndjson; evidence-page.ts makes the tables of docs/evidence.md out of them.
//
// A machine is described by what matters to a run and never by its name.
import { spawnSync } from 'node:child_process'
import { appendFileSync, readFileSync, realpathSync } from 'node:fs'
import { availableParallelism, cpus, release, totalmem, type } from 'node:os'
import { inPackage } from '../../src/package-root.js'
import { posixStorage } from '../../src/storage/posix.js'

/** What was counted, by what it is called in the summary; a group has counts of its own. */
export type Counts = Readonly<Record<string, number | Readonly<Record<string, number>>>>

interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly memoryGiB: number
  readonly kernel: string
  /** Where the databases of the run were. */
  readonly fileSystem: string
  readonly node: string
}

export interface Evidence {
  /** As in `npm run prove:NAME`. */
  readonly harness: string
  readonly version: string
  /** What was checked out, if this is a clone; `changed`: and then edited. */
  readonly commit?: string
  readonly changed?: boolean
  /** Git's hash of src/ at that commit: the same code has the same one, whatever became of the commit. */
  readonly sourceTree?: string
  /** Of the end of the run, UTC. */
  readonly date: string
  readonly options: Readonly<Record<string, string | number | boolean>>
  readonly seed: number
  readonly seconds: number
  readonly machine: Machine
  readonly counts: Counts
  readonly passed: boolean
  readonly result: string
}

const GIB = 2 ** 30

/** Options as they are typed, each with a blank before it. */
export const typed = (options: Evidence['options']): string =>
  Object.entries(options)
    .map(([name, value]) => {
      if (value === true) return ` --${name}`
      const text = String(value)
      return ` --${name} ${/^[\w.,/:-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`}`
    })
    .join('')

/** The file system that a directory lies on, as the kernel calls it. */
export const fileSystemOf = (directory: string): string => posixStorage.fileSystem(directory).name

const git = (...args: string[]): string | undefined => {
  const { status, stdout } = spawnSync('git', args, { cwd: inPackage('.'), encoding: 'utf8' })
  return status === 0 ? stdout.trim() : undefined
}

/** Which code this is. Only a clone knows: an installed package may lie inside a repository that is not its own. */
function codeOf(): Pick<Evidence, 'version' | 'commit' | 'changed' | 'sourceTree'> {
  const { version } = JSON.parse(readFileSync(inPackage('package.json'), 'utf8')) as { version: string }
  const commit = git('rev-parse', 'HEAD')
  if (commit === undefined || git('rev-parse', '--show-toplevel') !== realpathSync(inPackage('.'))) return { version }
  const sourceTree = git('rev-parse', 'HEAD:src')
  const changed = git('status', '--porcelain', '--', 'src', 'native', 'test', 'crash-tests/*.ts') !== ''
  return { version, commit, ...(changed ? { changed } : {}), ...(sourceTree === undefined ? {} : { sourceTree }) }
}

export function machineWith(fileSystem: string): Machine {
  const limitBytes = process.constrainedMemory()
  const memoryBytes = limitBytes > 0 ? Math.min(limitBytes, totalmem()) : totalmem()
  return {
    cpu: `${cpus()[0]?.model ?? 'unknown'}, ${process.arch}`,
    cores: availableParallelism(),
    memoryGiB: Math.round((memoryBytes / GIB) * 10) / 10,
    // Without what a distribution or a host adds to it.
    kernel: `${type()} ${/^[\d.]*\d/.exec(release())?.[0] ?? release()}`,
    fileSystem,
    node: process.version,
  }
}

/** Appends the line of a run that has ended. */
export function appendEvidence(
  file: string,
  run: Pick<Evidence, 'harness' | 'options' | 'seed' | 'seconds' | 'machine' | 'counts' | 'passed' | 'result'>,
): void {
  const { harness, ...rest } = run
  const evidence: Evidence = { harness, ...codeOf(), date: new Date().toISOString(), ...rest }
  appendFileSync(file, `${JSON.stringify(evidence)}\n`)
}

/** The lines of a file. Throws if one of them is no evidence. */
export function readEvidence(file: string): Evidence[] {
  return readFileSync(file, 'utf8')
    .split('\n')
    .map((line, i) => ({ line, where: `${file}, line ${i + 1}` }))
    .filter(({ line }) => line.trim() !== '')
    .map(({ line, where }) => {
      const { harness, date, seed, machine, counts, ...rest } = parsed(line, where) as Partial<Evidence>
      if (harness === undefined || date === undefined || seed === undefined || !machine || !counts)
        throw new Error(`${where}: it lacks harness, date, seed, machine or counts`)
      return { ...rest, harness, date, seed, machine, counts } as Evidence
    })
}

function parsed(line: string, where: string): object {
  try {
    return JSON.parse(line) as object
  } catch (error) {
    throw new Error(`${where}: it is not JSON: ${(error as Error).message}`, { cause: error })
  }
}
