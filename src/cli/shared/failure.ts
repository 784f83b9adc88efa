// How a command fails: one clear line on stderr and an exit code that scripts can rely on.
import { type Command, CommanderError } from 'commander'
import { EXIT_CODES, MmapdbError } from '../../errors.js'
import { StorageError } from '../../storage/storage.js'
import { printable } from '../../encoding/notation.js'

export const EXIT = { DONE: 0, ABSENT: 1, INVALID: 2, CORRUPT: 3, BUSY: 4, INTERRUPTED: 130 } as const

/** Ends a command with an exit code, without a message: the command has printed everything itself. */
export class Ended extends Error {
  constructor(readonly exitCode: number) {
    super('')
  }
}

/** The key is not in the database. */
export class AbsentError extends Error {
  readonly code = 'ERR_MMAPDB_ABSENT'
}

/** A helper process of a load has ended before its work was done. */
export class ProcessError extends Error {
  readonly code = 'ERR_MMAPDB_PROCESS'
}

/** stdout cannot be written. */
export class OutputError extends Error {
  readonly code = 'ERR_MMAPDB_IO'
}

interface Failure {
  readonly code: string
  readonly message: string
  readonly exitCode: number
}

/** Error codes of the system, as codes of ours. */
const SYSTEM_CODES: Record<string, keyof typeof EXIT_CODES> = {
  ENOSPC: 'ERR_MMAPDB_FULL',
  EDQUOT: 'ERR_MMAPDB_FULL',
  EACCES: 'ERR_MMAPDB_PERMISSION',
  EPERM: 'ERR_MMAPDB_PERMISSION',
  EROFS: 'ERR_MMAPDB_READ_ONLY',
  ENOENT: 'ERR_MMAPDB_NOT_FOUND',
  ENOTDIR: 'ERR_MMAPDB_NOT_FOUND',
  EISDIR: 'ERR_MMAPDB_INVALID',
}

/** What commander says of wrong use, and where to look. */
function usageFailure(error: CommanderError, command: Command | undefined): Failure {
  const message = error.message.replace(/^error: /, '').replace(/\n/g, ' ')
  const end = /[.?!)]$/.test(message) ? '' : '.'
  const takesText = (command?.registeredArguments.length ?? 0) > 0
  const dash =
    error.code === 'commander.unknownOption' && takesText
      ? ' If it is no option but an argument, put -- before it.'
      : ''
  const help = command?.parent ? `mmapdb ${command.name()} --help` : 'mmapdb --help'
  return {
    code: 'ERR_MMAPDB_INVALID',
    message: `${message}${end}${dash} See "${help}".`,
    exitCode: EXIT.INVALID,
  }
}

/** Options that a message of the library names, by what they are called here. */
const asOnTheLine = (message: string): string =>
  message.replace(/\btimeoutMs\b/g, '--timeout').replace(/\breserveBytes\b/g, '--reserve-bytes')

function failureOf(error: unknown, command: Command | undefined): Failure {
  if (error instanceof Ended) return { code: '', message: '', exitCode: error.exitCode }
  if (error instanceof AbsentError) return { code: error.code, message: error.message, exitCode: EXIT.ABSENT }
  if (error instanceof ProcessError || error instanceof OutputError)
    return { code: error.code, message: error.message, exitCode: EXIT.INVALID }
  if (error instanceof MmapdbError)
    return { code: error.code, message: asOnTheLine(error.message), exitCode: EXIT_CODES[error.code] }
  if (error instanceof CommanderError) return usageFailure(error, command)
  const system = error instanceof StorageError || (error instanceof Error && 'syscall' in error && 'code' in error)
  if (system) {
    const { code, message } = error as Error & { code: string }
    const ours = SYSTEM_CODES[code] ?? 'ERR_MMAPDB_IO'
    return { code: ours, message: `A system call failed: ${message}.`, exitCode: EXIT_CODES[ours] }
  }
  const message = error instanceof Error ? error.message : String(error)
  return {
    code: 'ERR_MMAPDB_INTERNAL',
    message: `Something went wrong inside mmapdb: ${message}. Please report it with the output of --verbose.`,
    exitCode: EXIT.INVALID,
  }
}

/**
 * Prints what went wrong and sets the exit code. Never throws. `command`: the one whose arguments were refused, if
 * that is what went wrong.
 */
export function reportFailure(
  error: unknown,
  globals: { json?: boolean; verbose?: boolean; command?: Command | undefined },
): void {
  const { code, message, exitCode } = failureOf(error, globals.command)
  process.exitCode = exitCode
  if (error instanceof Ended) return
  const stack = globals.verbose && error instanceof Error ? error.stack : undefined
  if (globals.json)
    process.stderr.write(`${JSON.stringify({ error: { code, message, ...(stack ? { stack } : {}) } })}\n`)
  else process.stderr.write(`mmapdb: ${printable(message.replace(/\s*\n\s*/g, ' '))}\n${stack ? `${stack}\n` : ''}`)
}
