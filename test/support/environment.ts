// Rows of the table of environments, and how one is carried out.
//
// A row is a place and steps. A step is something that a user does there in a process of its own, and the result that
// it must have: a value, or the code of an error. A step with `goesOn` runs beside the steps after it, and must reach
// its result undisturbed when the row ends. To add a row, add one object to a table in test/environments.
import { expect } from 'chai'
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { OpenOptions } from '../../src/engine/options.js'
import { BIN } from '../../src/package-root.js'

/** User and group numbers; the system need not know them. */
export interface User {
  readonly uid: number
  readonly gid: number
  /** Further groups. */
  readonly groups?: readonly number[]
}
const SERVICE_GROUP = 64001
export const ROOT: User = { uid: 0, gid: 0 }
/** The owner of the database. */
export const OWNER: User = { uid: 64001, gid: SERVICE_GROUP }
/** A user in the owner's group. */
export const MEMBER: User = { uid: 64002, gid: 64002, groups: [SERVICE_GROUP] }
export const OTHER: User = { uid: 65534, gid: 65534 }

export interface Step {
  /** Default: the user that runs the tests. */
  readonly as?: User
  readonly umask?: number
  /** As `ulimit` takes them, by their letters: { n: 128 } allows 128 descriptors. */
  readonly limits?: Readonly<Record<string, number>>
  /** Working directory, relative to the place. Default: the place itself. */
  readonly in?: string
  /** Of `open`, on top of `{ workers: 0 }`: a user may not be able to read the files of the checkout. */
  readonly options?: OpenOptions
  /**
   * Lines of an async function. They have `path` (of the database), `place`, `open(options?)`, `fs`, `sleep(ms)`,
   * `entry` (URL of the package), and, if the step goes on, `ready()` (now the next step may start) and `isOver()`
   * (true when this step should end).
   */
  readonly does: string
  /** What the lines return, or the code of the error that they throw. */
  readonly gives: unknown
  readonly goesOn?: boolean
}

/** Commands for the shell, with $DB and $PLACE; the user that runs the tests runs them, too. */
interface Preparation {
  readonly sh: string
}

/** The command line, run by a user in the place; skipped where that user cannot read the checkout. */
export interface CommandStep {
  readonly as?: User
  readonly command: readonly string[]
  readonly status: number
  readonly prints?: string | RegExp
}

export interface Row {
  /** What the steps do, and what is expected. */
  readonly what: string
  readonly needsRoot?: boolean
  /** Options of a tmpfs to run in, such as `size=16m`. Default: a directory that is open to all. */
  readonly tmpfs?: string
  readonly steps: readonly (Step | Preparation | CommandStep)[]
}

const STEP = new URL('./environment-step.js', import.meta.url).pathname
const STEP_LIMIT_MS = 60_000
const isRoot = process.geteuid?.() === 0

export interface Instruction {
  readonly user: User | undefined
  readonly umask: number | undefined
  readonly directory: string
  readonly place: string
  readonly path: string
  readonly options: OpenOptions
  readonly does: string
}

interface Running {
  readonly child: ChildProcess
  readonly result: Promise<unknown>
  /** Resolves when the step says that it is ready, or has ended. */
  readonly ready: Promise<unknown>
}

function start(place: string, path: string, step: Step): Running {
  const instruction: Instruction = {
    user: isRoot ? step.as : undefined,
    umask: step.umask,
    directory: join(place, step.in ?? '.'),
    place,
    path,
    options: { workers: 0, timeoutMs: 5000, ...step.options },
    does: step.does,
  }
  const limits = Object.entries(step.limits ?? {}).map(([letter, limit]) => `ulimit -${letter} ${limit} && `)
  const child = spawn('sh', ['-c', `${limits.join('')}exec "$0" "$@"`, process.execPath, STEP], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    env: { ...process.env, MMAPDB_STEP: JSON.stringify(instruction) },
  })
  let isReady!: (value?: unknown) => void
  const ready = new Promise((resolve) => (isReady = resolve))
  // A step that hangs fails its row, and is killed with it.
  const limit = setTimeout(() => child.kill('SIGKILL'), STEP_LIMIT_MS)
  const result = new Promise((resolve) => {
    let outcome: unknown = 'nothing'
    child.on('message', (message: { ready?: boolean; gives?: unknown }) => {
      if (message.ready) isReady()
      else outcome = message.gives
    })
    child.on('exit', (code, signal) => {
      const end = code === 0 ? outcome : `ended with ${signal ?? code}`
      clearTimeout(limit)
      isReady()
      resolve(end)
    })
  })
  return { child, result, ready }
}

/** Carries out a row in a place of its own, and leaves nothing behind. */
async function carryOut(row: Row): Promise<void> {
  const base = mkdtempSync(join(realpathSync(tmpdir()), 'mmapdb-place-'))
  chmodSync(base, 0o755)
  const place = join(base, 'place')
  mkdirSync(place)
  const path = join(place, 'db')
  const running: { step: Step; it: Running }[] = []
  if (row.tmpfs !== undefined)
    expect(spawnSync('mount', ['-t', 'tmpfs', '-o', row.tmpfs, 'mmapdb-test', place]).status, 'mount').to.equal(0)
  try {
    chmodSync(place, 0o777)
    for (const [i, step] of row.steps.entries()) {
      const which = `step ${i + 1}`
      if ('sh' in step) runShell(step.sh, place, path, which)
      else if ('command' in step) runCommand(step, place, path, which)
      else {
        const it = start(place, path, step)
        if (step.goesOn) {
          running.push({ step, it })
          await it.ready
        } else expect(await it.result, `${which}: ${step.does}`).to.deep.equal(step.gives)
      }
    }
    for (const { step, it } of running.splice(0)) {
      if (it.child.connected) it.child.send('over')
      expect(await it.result, `undisturbed: ${step.does}`).to.deep.equal(step.gives)
    }
  } finally {
    for (const { it } of running) it.child.kill('SIGKILL')
    // Mounts made by steps lie below the place.
    spawnSync('sh', [
      '-c',
      'for m in $(grep -F " $0/" /proc/self/mounts | cut -d" " -f2 | tac); do umount -l "$m"; done',
      base,
    ])
    rmSync(base, { recursive: true, force: true })
  }
}

function runShell(lines: string, place: string, path: string, which: string): void {
  const { status, stderr } = spawnSync('sh', ['-ec', lines], {
    cwd: place,
    encoding: 'utf8',
    env: { ...process.env, DB: path, PLACE: place },
  })
  expect(status, `${which}: ${lines}: ${stderr}`).to.equal(0)
}

function runCommand({ as, command, status, prints }: CommandStep, place: string, path: string, which: string): void {
  const user = isRoot && as !== undefined ? { uid: as.uid, gid: as.gid } : {}
  const options = {
    cwd: place,
    encoding: 'utf8',
    env: { PATH: process.env['PATH'], HOME: place, MMAPDB_PATH: path },
    ...user,
  } as const
  if (spawnSync(process.execPath, ['-e', `require('fs').readFileSync(${JSON.stringify(BIN)})`], options).status !== 0)
    return
  const result = spawnSync(process.execPath, [BIN, ...command], options)
  expect(result.status, `${which}: ${command.join(' ')}: ${result.stdout}${result.stderr}`).to.equal(status)
  if (typeof prints === 'string') expect(result.stdout.trim(), which).to.equal(prints)
  else if (prints !== undefined) expect(result.stdout + result.stderr, which).to.match(prints)
}

/** A test for each row. */
export function describeRows(title: string, rows: readonly Row[]): void {
  describe(title, function () {
    this.timeout(120_000)
    for (const row of rows) {
      const needsRoot =
        row.needsRoot ?? (row.tmpfs !== undefined || row.steps.some((step) => 'as' in step && step.as !== undefined))
      if (needsRoot && !isRoot) it.skip(`${row.what} (skipped: it takes root)`)
      else it(row.what, () => carryOut(row))
    }
  })
}
