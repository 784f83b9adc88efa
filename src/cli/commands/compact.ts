// mmapdb compact: writes the data file of a closed database again, as short as it can be.
import { Command } from 'commander'
import { compact } from '../../maintenance/compact.js'
import { posixStorage } from '../../storage/posix.js'
import { everywhereOptions, globalsOf } from '../shared/context.js'
import { doLongWork } from '../shared/long-work.js'
import { bytes, plural, print } from '../shared/output.js'
import { belowHelp } from '../shared/terminal.js'

export const compactCommand = (): Command =>
  new Command('compact')
    .description('Write the data file again, as short as it can be. The database must be closed in all processes.')
    .addHelpText(
      'after',
      belowHelp(`
Exit code 4 if the database is open anywhere. It needs as much room as the new file takes. The new file takes
the place of the old one when it is whole and on disk: a crash leaves one or the other. Entries and versions
stay. A clean close gives free slots back, too, and is faster; this also fills leaves that are half empty.`),
    )
    .action(async (_options: unknown, command: Command) => {
      const globals = globalsOf(command)
      const report = await doLongWork(compact(posixStorage, globals.db, everywhereOptions()), globals)
      if (globals.json) await print(JSON.stringify(report))
      else if (!globals.quiet) {
        await print(
          `${plural(report.entries, 'entry')}: ${bytes(report.bytesBefore)} before, ${bytes(report.bytesAfter)} now, ` +
            `in ${(report.durationMs / 1000).toFixed(1)} s.`,
        )
      }
    })
