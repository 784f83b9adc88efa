// mmapdb verify: checks everything that a read could meet. If no other process has the database open, it
// changes nothing; if one has, it verifies beside that process, as a reader.
import { Command } from 'commander'
import { LockedError } from '../../errors.js'
import type { Engine } from '../../engine/engine.js'
import { verify, type VerifyReport } from '../../maintenance/verify.js'
import { globalsOf, openToInspect, openToRead, using, engineOptions } from '../shared/context.js'
import { Ended, EXIT } from '../shared/failure.js'
import { headerDamage, isInUse, withFile } from '../../inspect/offline-files.js'
import { print } from '../shared/output.js'
import { verifyLines } from '../shared/report-text.js'
import { belowHelp } from '../shared/terminal.js'

export const verifyCommand = (): Command =>
  new Command('verify')
    .description('Check every slot, key and value that a read could meet. Exit code 3 if anything is damaged.')
    .addHelpText(
      'after',
      belowHelp(`
After a crash, the database is verified as recovery would leave it, in memory; a torn end of the log is
not damage. Nothing is changed on disk: "mmapdb recover" does that.`),
    )
    .action(async (_options: unknown, command: Command) => {
      const { db, json, quiet } = globalsOf(command)
      const tree = (await verifyAlone(db)) ?? (await using(openToRead(db), verify))
      // All copies of the header: one is enough to open, but the loss of another one is damage, too.
      const headers = withFile(engineOptions(db), headerDamage)
      const report: VerifyReport = {
        ...tree,
        ok: tree.ok && headers.length === 0,
        damage: [...headers, ...tree.damage],
      }
      if (json) await print(JSON.stringify(report))
      else if (!quiet || !report.ok) await print(verifyLines(report).join('\n'))
      if (!report.ok) throw new Ended(EXIT.CORRUPT)
    })

/** Undefined if another process has the database open, or opened it while it was verified. */
async function verifyAlone(db: string): Promise<VerifyReport | undefined> {
  const open = (): Engine | undefined => {
    try {
      return openToInspect(db)
    } catch (error) {
      if (error instanceof LockedError) return undefined
      throw error
    }
  }
  const engine = open()
  if (engine === undefined) return undefined
  return using(engine, (it) => {
    const report = verify(it)
    return isInUse(db) ? undefined : report
  })
}
