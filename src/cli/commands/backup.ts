// mmapdb backup: a copy of one moment of a database, made beside those that have it open.
import { Command } from 'commander'
import { backup } from '../../maintenance/backup.js'
import { pathOption } from '../../database/read-options.js'
import { globalsOf, openToRead, using } from '../shared/context.js'
import { doLongWork } from '../shared/long-work.js'
import { printable } from '../../encoding/notation.js'
import { bytes, plural, print } from '../shared/output.js'
import { belowHelp } from '../shared/terminal.js'

export const backupCommand = (): Command =>
  new Command('backup')
    .description(
      'Make a backup: a copy of one moment, while others go on reading and writing. It is a database itself.',
    )
    .argument('<path>', 'the directory to make; nothing may be there')
    .addHelpText(
      'after',
      belowHelp(`
The copy is compacted, read back, flushed, and gets its name at the end: <path> is whole or absent. Until then
it is made in <path>.unfinished, which the next backup to <path> removes if a crash leaves it. While others
write, it rests for most of the time.

  mmapdb backup /backups/monday
  mmapdb restore /backups/monday --to restored.db`),
    )
    .action(async (path: string, _options: unknown, command: Command) => {
      const globals = globalsOf(command)
      const { json, quiet } = globals
      const report = await using(openToRead(globals.db), (engine) =>
        doLongWork(backup(engine, pathOption(path, 'the backup')), globals, () => engine.tailLsn),
      )
      if (json) await print(JSON.stringify(report))
      else if (!quiet) {
        await print(
          `${printable(report.path)}: ${plural(report.entries, 'entry')} as of LSN ${report.lsn}, ` +
            `${bytes(report.bytes)}, in ${(report.durationMs / 1000).toFixed(1)} s.`,
        )
      }
    })
