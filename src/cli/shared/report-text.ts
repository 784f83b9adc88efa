// The reports of a recovery and a verification, in words.
import type { RecoveryReport } from '../../engine/lifecycle/recovery.js'
import type { VerifyReport } from '../../maintenance/verify.js'
import { number, plural } from './output.js'

export function recoveryLines(report: RecoveryReport, dry: boolean): string[] {
  const lines = whatWasDone(report, dry)
  if (!report.copiedWhileOpen) return lines
  return [
    ...lines,
    'WARNING: the directory is a copy that was made while the database was open, or of what a crash had left. If it was',
    'written to meanwhile, the copy is not to be relied on. Make backups with "mmapdb backup".',
  ]
}

function whatWasDone(report: RecoveryReport, dry: boolean): string[] {
  const healed = report.headersDamaged > 0 || report.freeListDamage !== undefined
  if (!report.needed && !healed)
    return ['There is nothing to recover: the database was closed cleanly, or nothing has been written since it was.']
  const rows: [string, number][] = [
    ['frames replayed', report.framesReplayed],
    ['operations replayed', report.operationsReplayed],
    ['torn bytes dropped', report.tornTailBytes],
    ['slots partially written', report.slotsPartiallyWritten],
    ['slots rebuilt', report.slotsRebuilt],
    ['damaged headers replaced', report.headersDamaged],
  ]
  return [
    `${dry ? 'Recovery would go' : 'Recovered'} from checkpoint ${report.checkpointNumber}, LSN ${report.fromLsn}, to LSN ${report.toLsn}` +
      `${dry ? '' : ` in ${report.durationMs.toFixed(1)} ms`}.`,
    ...rows.map(([name, n]) => `  ${name.padEnd(25)} ${number(n).padStart(12)}`),
    ...(report.freeListDamage === undefined
      ? []
      : [
          `  The free list was damaged and has been derived from the tree again. The damage: ${report.freeListDamage.why}`,
        ]),
  ]
}

export function verifyLines(report: VerifyReport): string[] {
  const { branch, leaf, overflow, free } = report.slots
  const looked = `${plural(report.entries, 'entry')} in ${plural(leaf, 'leaf slot')}, ${plural(branch, 'branch slot')} and ${plural(overflow, 'overflow slot')}; ${plural(free, 'free slot')}`
  if (report.ok) return [`Verified: ${looked}. No damage.`]
  return [
    `DAMAGE FOUND. Intact: ${looked}.`,
    ...report.damage.map(({ slotNo, why }) => `  slot ${slotNo}: ${why}`),
    'What to do: docs/operations.md; "mmapdb recover --salvage OUT" brings out what is intact.',
  ]
}
