// mmapdb lock: runs a command while it has the lock on a record.
import { isatty } from 'node:tty'
import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import { Command } from 'commander'
import type { Key } from '../../encoding/keys.js'
import { open } from '../../database/open.js'
import { InvalidError } from '../../errors.js'
import { engineOptions, globalsOf, jsonKeyOption, type Globals } from '../shared/context.js'
import { Ended } from '../shared/failure.js'
import { parseKey } from '../../encoding/notation.js'
import { belowHelp } from '../shared/terminal.js'

interface LockCommandOptions {
  readonly jsonKey?: boolean
  readonly shared?: boolean
  readonly wait: boolean
  readonly timeout?: number
}

/** What shells say of a command that is not there, and of one that cannot be run. */
const NOT_FOUND = 127
const NOT_EXECUTABLE = 126
/** And, with the number of the signal added, of one that a signal ended. */
const BY_SIGNAL = 128

/** What somebody sends to this process in order to reach the command. */
const PASSED_ON = ['SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGCONT', 'SIGWINCH'] as const
/** What a terminal sends to this process and to the command alike. */
const FROM_TERMINAL = ['SIGINT', 'SIGQUIT'] as const

export const lockCommand = (): Command =>
  new Command('lock')
    .description(
      'Run a command while holding the lock on a record, and pass on its exit code. Locks are advisory: others are kept out if they lock the record, too.',
    )
    .argument('<key>', 'a string, or JSON with --json-key; the record need not exist')
    .argument('<command...>', 'the command and its arguments, after --')
    .addOption(jsonKeyOption())
    .option('--shared', 'let others hold the lock, too, if theirs is shared')
    .option('--no-wait', 'do not wait for the lock')
    .addHelpText(
      'after',
      belowHelp(`
Waits for up to --timeout milliseconds. Exit code 4 if the lock could not be acquired in time; the command has not run
then. 126 or 127 if the command cannot be run, and 128 plus its number if a signal ended it. The lock is released when
the command ends, or when this process does: a command that goes on after "kill -9" of this process has no lock.

  mmapdb lock nightly --no-wait -- ./report.sh`),
    )
    .action(async (keyText: string, args: string[], options: LockCommandOptions, command: Command) => {
      const globals = globalsOf(command)
      const key = parseKey(keyText, options.jsonKey ?? false)
      throw new Ended(await runLocked(globals, key, args, { ...options, ...command.optsWithGlobals() }))
    })

async function runLocked(
  { db: path }: Globals,
  key: Key,
  args: readonly string[],
  { shared = false, wait, timeout }: LockCommandOptions,
): Promise<number> {
  const { workers, reserveBytes, timeoutMs } = engineOptions(path)
  const db = await open(path, { workers, reserveBytes, timeoutMs, createIfMissing: false })
  try {
    const lock = await db.lock([key], {
      mode: shared ? 'shared' : 'exclusive',
      timeoutMs: wait ? (timeout ?? timeoutMs) : 0,
    })
    const exitCode = await run(args)
    lock.release()
    return exitCode
  } finally {
    await db.close()
  }
}

/** Runs the command with this process's own input and output; resolves to its exit code. */
function run(line: readonly string[]): Promise<number> {
  // A key that begins with a dash has a -- before it, and then the one before the command is no option any more.
  const [name, ...args] = line[0] === '--' ? line.slice(1) : line
  if (name === undefined || name === '') throw new InvalidError('The command is empty. Give it after --.')
  return new Promise((resolve, reject) => {
    // From before the command begins: a signal that ended this process would release the lock under the command. One
    // that comes while it is being started is handled after that.
    const stopPassing = passSignals((signal) => void child.kill(signal))
    const child = spawn(name, args, { stdio: 'inherit' })
    child.on('error', (error: NodeJS.ErrnoException) => {
      // A signal that the command may not get, since it has become another user, is no reason to let go of the lock.
      if (!error.syscall?.startsWith('spawn')) return
      stopPassing()
      const isThere = error.code === 'EACCES' || error.code === 'EPERM' || error.code === 'ENOEXEC'
      if (!isThere && error.code !== 'ENOENT') reject(error)
      else {
        process.stderr.write(
          isThere ? `mmapdb: ${name} cannot be executed.\n` : `mmapdb: there is no command ${name}.\n`,
        )
        resolve(isThere ? NOT_EXECUTABLE : NOT_FOUND)
      }
    })
    child.on('exit', (code, signal) => {
      stopPassing()
      resolve(signal === null ? (code ?? 0) : BY_SIGNAL + constants.signals[signal])
    })
  })
}

/** The command gets the signals that this process gets, which goes on until the command has ended. */
function passSignals(pass: (signal: NodeJS.Signals) => void): () => void {
  // In a terminal the command gets these from there: twice would be once too often.
  // Asked by number: to look at process.stdin would open it, and change how the command reads it.
  const isFromTerminal = [0, 1, 2].some((fd) => isatty(fd))
  const fromTerminal = isFromTerminal ? (): void => undefined : pass
  for (const signal of PASSED_ON) process.on(signal, pass)
  for (const signal of FROM_TERMINAL) process.on(signal, fromTerminal)
  return () => {
    for (const signal of PASSED_ON) process.off(signal, pass)
    for (const signal of FROM_TERMINAL) process.off(signal, fromTerminal)
  }
}
