// mmapdb recover: opens a database, which recovers it, reports what the recovery did, and verifies the result.
import { Command, Option } from 'commander'
import { decodedKey } from '../../inspect/decoded.js'
import { salvage, type SalvageReport } from '../../maintenance/salvage.js'
import { VALUE_ENCODINGS, type ValueEncoding } from '../../encoding/values/codec.js'
import { verify } from '../../maintenance/verify.js'
import { posixStorage } from '../../storage/posix.js'
import {
  encodingOf,
  engineOptions,
  globalsOf,
  openToInspect,
  openToRead,
  openToWrite,
  using,
  type Globals,
} from '../shared/context.js'
import { Ended, EXIT } from '../shared/failure.js'
import { plainKey, showKey } from '../../encoding/notation.js'
import { number, plural, print } from '../shared/output.js'
import { recoveryLines, verifyLines } from '../shared/report-text.js'
import { belowHelp } from '../shared/terminal.js'

interface RecoverOptions {
  readonly dryRun?: boolean
  readonly salvage?: string
  readonly valueEncoding?: ValueEncoding
}

export const recoverCommand = (): Command =>
  new Command('recover')
    .description('Recover a database after a crash, report what was done, and verify it. Opening it recovers it, too.')
    .addOption(
      new Option(
        '--dry-run',
        'change nothing; report what would be done. The database must be closed in all processes',
      ).conflicts('salvage'),
    )
    .option(
      '--salvage <out>',
      'change nothing; copy everything that can be read from damaged files into a new database at <out>. The damaged one must be closed in all processes',
    )
    .addOption(
      new Option(
        '--value-encoding <name>',
        'with --salvage: how values are stored, if no header is left that records it',
      ).choices(VALUE_ENCODINGS),
    )
    .addHelpText(
      'after',
      belowHelp(`
Exit code 3 if the database is damaged, or if --salvage could not bring out everything. --salvage works
if nothing else does: headers, branches, leaves or stretches of the log may be gone, but not the data
file itself. What is missing is listed. Versions of entries start again.`),
    )
    .action(async (options: RecoverOptions, command: Command) => {
      const { db, json, quiet } = globalsOf(command)
      if (options.salvage !== undefined) {
        await salvageInto(options.salvage, options, globalsOf(command))
        return
      }
      const dry = options.dryRun ?? false
      const engine = dry ? openToInspect(db) : openToWrite(db, { createIfMissing: false })
      const { recovery, verified } = await using(engine, (it) => ({ recovery: it.recovery, verified: verify(it) }))
      if (json) await print(JSON.stringify({ dryRun: dry, recovery: recovery ?? null, verify: verified }))
      else if (!quiet) {
        const lines = recovery
          ? recoveryLines(recovery, dry)
          : ['The database is open in another process: the first process that opened it has recovered it.']
        await print([...lines, ...verifyLines(verified)].join('\n'))
      }
      if (!verified.ok) throw new Ended(EXIT.CORRUPT)
    })

async function salvageInto(out: string, options: RecoverOptions, { db, json, quiet }: Globals): Promise<void> {
  const report = salvage(engineOptions(db), engineOptions(out, encodingOf(options)), posixStorage)
  const verified = await using(openToRead(out), verify)
  if (json) {
    const { lostRanges, lostValues, ...rest } = report
    const ranges = lostRanges.map(({ from, to }) => ({ from: jsonKey(from), to: jsonKey(to) }))
    await print(JSON.stringify({ ...rest, lostRanges: ranges, lostValues: lostValues.map(jsonKey), verify: verified }))
  } else if (!quiet) await print([...salvageLines(report), ...verifyLines(verified)].join('\n'))
  if (!report.complete || !verified.ok) throw new Ended(EXIT.CORRUPT)
}

function salvageLines(report: SalvageReport): string[] {
  const lines = [
    `Salvaged ${plural(report.entries, 'entry')} of the tree; replayed ${plural(report.framesReplayed, 'frame')} of the log with ${plural(report.operationsReplayed, 'operation')}.`,
  ]
  if (!report.headerFound)
    lines.push(
      'No header was intact: leaves were gathered from all over the file. Values are assumed to be msgpack unless --value-encoding says otherwise.',
    )
  else if (report.entriesFromLostLeaves > 0)
    lines.push(
      `${plural(report.entriesFromLostLeaves, 'entry')} of them came from leaves that no branch led to any more.`,
    )
  if (report.mayBeStale)
    lines.push('It is not known which slots were free: deleted keys and old values may be among the entries.')
  for (const { slotNo, why } of report.damage) lines.push(`  slot ${slotNo}: ${why}`)
  if (report.damagedSlots > report.damage.length)
    lines.push(`  and ${number(report.damagedSlots - report.damage.length)} more damaged slots`)
  if (report.headerFound) {
    for (const { from, to } of report.lostRanges) {
      lines.push(
        `  keys ${from ? `from ${textKey(from)}` : 'from the first'} ${to ? `to below ${textKey(to)}` : 'to the last'}: missing, except for those recovered from other slots or the log`,
      )
    }
  }
  for (const key of report.lostValues) lines.push(`  value of ${textKey(key)}: missing, except for what the log has`)
  for (const { fromLsn, toLsn, why } of report.logGaps)
    lines.push(`  log from LSN ${fromLsn} to ${toLsn ?? 'its end'}: ${why}`)
  lines.push(report.complete ? 'Nothing is missing.' : 'SOMETHING IS MISSING: see above.')
  return lines
}

// The keys of branches are shortened, and need not be whole keys.
const textKey = (bytes: Uint8Array): string => {
  const { bytes: raw, decoded } = decodedKey(Buffer.from(bytes))
  return decoded ? showKey(decoded.value) : `0x${raw.toString('hex')}`
}
const jsonKey = (bytes: Uint8Array | undefined): unknown => {
  if (bytes === undefined) return null
  const { bytes: raw, decoded } = decodedKey(Buffer.from(bytes))
  return decoded ? { key: plainKey(decoded.value) } : { hex: raw.toString('hex') }
}
