// mmapdb recover: opens a database, which recovers it, says what that took, and verifies the result.
import { Command, Option } from 'commander'
import { verify } from '../engine/verify.js'
import { globalsOf, openToInspect, openToWrite, using } from './common.js'
import { Ended, EXIT } from './failure.js'
import { print } from './output.js'
import { recoveryLines, verifyLines } from './recovery-text.js'

interface RecoverOptions {
  readonly dryRun?: boolean
}

export const recoverCommand = (): Command =>
  new Command('recover')
    .description('Bring a database back after a crash, say what that took, and verify it. Opening it does the same.')
    .addOption(new Option('--dry-run', 'change nothing; say what would be done'))
    .action(async (options: RecoverOptions, command: Command) => {
      const { db, json, quiet } = globalsOf(command)
      const dry = options.dryRun ?? false
      const engine = dry ? openToInspect(db) : openToWrite(db, { createIfMissing: false })
      const { recovery, verified } = await using(engine, (it) => ({ recovery: it.recovery, verified: verify(it) }))
      if (json) print(JSON.stringify({ dryRun: dry, recovery: recovery ?? null, verify: verified }))
      else if (!quiet) {
        const lines = recovery ? recoveryLines(recovery, dry) : ['The database is open elsewhere: whoever opened it first has recovered it.']
        print([...lines, ...verifyLines(verified)].join('\n'))
      }
      if (!verified.ok) throw new Ended(EXIT.CORRUPT)
    })
