// The command line: the options that every command takes, and one file per command. What a command throws becomes a
// message and an exit code in shared/failure.ts.
import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { InvalidError } from '../errors.js'
import { backupCommand } from './commands/backup.js'
import { checkArguments } from './shared/arguments.js'
import { delCommand } from './commands/del.js'
import { demoCommand } from './commands/demo.js'
import { EXIT, reportFailure } from './shared/failure.js'
import { compactCommand } from './commands/compact.js'
import { dumpCommand } from './commands/dump.js'
import { getCommand } from './commands/get.js'
import { lockCommand } from './commands/lock.js'
import { loadCommand } from './commands/load.js'
import { checkOutput, print, watchOutput } from './shared/output.js'
import { putCommand } from './commands/put.js'
import { whole } from './shared/context.js'
import { recoverCommand } from './commands/recover.js'
import { restoreCommand } from './commands/restore.js'
import { scanCommand } from './commands/scan.js'
import { slotsCommand } from './commands/slots.js'
import { statsCommand } from './commands/stats.js'
import { verifyCommand } from './commands/verify.js'
import { walCommand } from './commands/wal.js'
import { watchCommand } from './commands/watch.js'
import { inPackage } from '../package-root.js'
import { belowHelp } from './shared/terminal.js'

const { version } = JSON.parse(readFileSync(inPackage('package.json'), 'utf8')) as { version: string }

/** The text of --help and --version: printed at the end, like any other output. */
let helpText = ''

export function program(): Command {
  const root = new Command('mmapdb')
    .description('An embedded, durable, memory-mapped key-value store: any number of threads and processes at once.')
    .version(version)
    .option('--db <dir>', 'the directory of the database (default: $MMAPDB_PATH, then ./mmapdb-data)')
    .option(
      '--reserve-bytes <n>',
      'largest size that the data file may grow to, such as 512MiB (default: 1TiB)',
      whole(1024 * 1024, 16 * 1024 ** 4),
    )
    .option(
      '--timeout <ms>',
      'how long to wait for a lock that another thread or process holds (default: 30000)',
      whole(1, 3_600_000),
    )
    .option('--json', 'print JSON, errors included')
    .option('--verbose', 'print more; for errors the stack')
    .option('--quiet', 'print only what was asked for')
    .showSuggestionAfterError()
    .helpCommand(false)
    .addHelpText(
      'after',
      belowHelp(`
Exit codes:
  0    done, also if the reader of the output has closed the pipe, or a watch was ended by a signal
  1    the key is absent (get, del)
  2    invalid input, or something is unavailable: no such database, no permission, disk full, output that
       cannot be written; or a bug in mmapdb itself
  3    damage was found, or records were lost
  4    busy: another thread or process held a lock for longer than --timeout, or has the database open
       when the command needs it closed
  130  a load, backup, restore, dump or compaction was interrupted`),
    )
  const commands = [
    putCommand(),
    getCommand(),
    delCommand(),
    scanCommand(),
    loadCommand(),
    lockCommand(),
    watchCommand(),
    backupCommand(),
    restoreCommand(),
    dumpCommand(),
    compactCommand(),
    recoverCommand(),
    verifyCommand(),
    statsCommand(),
    walCommand(),
    slotsCommand(),
    demoCommand(),
    helpCommand(root),
  ]
  for (const command of commands) root.addCommand(command)
  for (const command of [root, ...commands]) {
    command
      .configureHelp({ showGlobalOptions: true, minWidthToWrap: 20 })
      .exitOverride((error) => {
        failedIn = command
        throw error
      })
      .configureOutput({ outputError: () => undefined, writeOut: (text) => void (helpText += text), writeErr })
  }
  return root
}

/** The help for a line without a command. With --json there is an error instead, like any other. */
const writeErr = (text: string): void => {
  if (!inJson) process.stderr.write(text)
}

/** Like commander's own, except that an unknown command is an error. */
const helpCommand = (root: Command): Command =>
  new Command('help')
    .description('display help for command')
    .argument('[command]')
    .action((name?: string) => {
      const command = name === undefined ? root : root.commands.find((each) => each.name() === name)
      if (command === undefined) throw new InvalidError(`unknown command '${name}'. See "mmapdb --help".`)
      command.outputHelp()
    })

const inJson = process.argv.includes('--json')
const verbose = process.argv.includes('--verbose')
/** The command whose arguments were refused: the one whose help is of use. */
let failedIn: Command | undefined
const fail = (error: unknown): void => reportFailure(error, { json: inJson, verbose, command: failedIn })

watchOutput()
// No error should come here. One that does is reported like the others, not with the exit code of "absent".
for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
  process.removeAllListeners(event).on(event, (error: unknown) => {
    fail(error)
    process.exit()
  })
}
try {
  checkArguments()
  checkOutput()
  await program().parseAsync()
} catch (error) {
  // --help and --version end this way too, with exit code 0.
  const isHelp = error instanceof CommanderError && error.exitCode === 0
  const isWithoutCommand = error instanceof CommanderError && error.code === 'commander.help'
  if (isWithoutCommand && inJson) fail(new InvalidError('A command is missing. See "mmapdb --help".'))
  else if (isWithoutCommand) process.exitCode = EXIT.INVALID
  else if (!isHelp) fail(error)
}
if (helpText !== '') await print(helpText.replace(/\n$/, '')).catch(fail)
