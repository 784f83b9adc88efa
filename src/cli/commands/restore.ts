// mmapdb restore: a new database of a backup, as of its moment or of a later one, by the log of its source.
import { Command, InvalidArgumentError, Option } from 'commander'
import type { RestoreOptions } from '../../database/restore.js'
import { requestOf } from '../../database/restore-request.js'
import { restore } from '../../maintenance/restore.js'
import { posixStorage } from '../../storage/posix.js'
import { everywhereOptions, globalsOf, whole } from '../shared/context.js'
import { doLongWork } from '../shared/long-work.js'
import { printable } from '../../encoding/notation.js'
import { plural, print } from '../shared/output.js'
import { belowHelp } from '../shared/terminal.js'

interface RestoreCommandOptions extends Pick<RestoreOptions, 'lsn' | 'time' | 'latest'> {
  readonly to: string
}

export const restoreCommand = (): Command =>
  new Command('restore')
    .description('Make a new database of a backup, as of its moment, or of a later one.')
    .argument('<backup>', 'the directory of the backup')
    .requiredOption('--to <dir>', 'the directory to make; nothing may be there')
    .addOption(
      new Option('--lsn <n>', 'what the source held at this LSN: all that was written before it')
        .argParser(whole(1))
        .conflicts(['time', 'latest']),
    )
    .addOption(
      new Option('--time <time>', 'what it held at this time: 2026-03-01T12:00:00Z, or milliseconds since 1970')
        .argParser(timeOf)
        .conflicts('latest'),
    )
    .option('--latest', 'everything that its log has')
    .addHelpText(
      'after',
      belowHelp(`
For --lsn, --time and --latest the log of the database is replayed that the backup was made of: the one that
--db or $MMAPDB_PATH names. It may be in use, and all but its log may be damaged. It must still have its log
from the backup on. Versions of entries are LSNs: --lsn takes the version of the first write that is not wanted.
A time without a zone is local time.

The new database is verified, flushed, and gets its name at the end: <dir> is whole or absent. It goes its own
way from there.

  mmapdb restore /backups/monday --to restored.db
  mmapdb restore /backups/monday --to restored.db --db my.db --time 2026-03-01T12:00:00Z`),
    )
    .action(async (backup: string, options: RestoreCommandOptions, command: Command) => {
      const globals = globalsOf(command)
      const { to, lsn, time, latest } = options
      const needsLog = lsn !== undefined || time !== undefined || latest === true
      const request = requestOf(backup, to, { lsn, time, latest, log: needsLog ? globals.db : undefined })
      const report = await doLongWork(restore(posixStorage, { ...request, options: everywhereOptions() }), globals)
      if (globals.json) await print(JSON.stringify(report))
      else if (!globals.quiet) {
        const replayed =
          report.framesReplayed === 0 ? '' : `, with ${plural(report.framesReplayed, 'frame')} of the log`
        await print(
          `${printable(report.path)}: ${plural(report.entries, 'entry')} as of LSN ${report.lsn}${replayed}, ` +
            `in ${(report.durationMs / 1000).toFixed(1)} s.`,
        )
      }
    })

function timeOf(text: string): number {
  const timeMs = /^\d{10,}$/.test(text) ? Number(text) : /^\d{4}-\d/.test(text) ? Date.parse(text) : NaN
  // Of fewer digits nobody knows what they are: a year, seconds, ...
  if (Number.isNaN(timeMs))
    throw new InvalidArgumentError(
      'It must be a time such as 2026-03-01T12:00:00Z, or milliseconds since 1970, which have ten digits or more.',
    )
  return timeMs
}
