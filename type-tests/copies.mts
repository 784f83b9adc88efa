// Backups, dumps and what else is done with whole databases: lines that must compile, and lines that must not.
import {
  compact,
  dump,
  load,
  open,
  restore,
  type BackupReport,
  type CompactReport,
  type DumpOptions,
  type LoadReport,
  type LongWorkOptions,
  type Progress,
  type RestoreOptions,
  type RestoreReport,
} from 'mmapdb'

interface User {
  name: string
}

const db = await open<User, string>('db')
const { signal } = new AbortController()
const onProgress = ({ phase, done, total }: Progress): void => void [phase === 'copying', done / total]

const report: BackupReport = await db.backup('backup', { onProgress, signal })
await db.backup('backup')
await db.backup('backup', {})
await db.backup('backup', undefined)
await db.backup('backup', { onProgress: undefined, signal: undefined })
void [report.path, report.lsn + report.entries + report.bytes + report.durationMs]
// @ts-expect-error a path is text
await db.backup(5)
// @ts-expect-error there is no such option
await db.backup('backup', { progress: onProgress })

const options: RestoreOptions = { log: 'db', lsn: 5, onProgress, signal }
const restored: RestoreReport = await restore('backup', 'to', options)
await restore('backup', 'to')
await restore('backup', 'to', { log: 'db', time: new Date() })
await restore('backup', 'to', { log: 'db', time: Date.now() })
await restore('backup', 'to', { log: 'db', latest: true, lsn: undefined })
void [restored.lsn + restored.backupLsn + restored.framesReplayed]
// @ts-expect-error an LSN is a number
await restore('backup', 'to', { log: 'db', lsn: '5' })
// @ts-expect-error a time is a Date or a number
await restore('backup', 'to', { log: 'db', time: 'noon' })

const lines: string[] = []
for await (const line of dump(db, { signal })) lines.push(line)
const dumpOptions: DumpOptions = {}
for await (const line of dump(db.snapshot(), dumpOptions)) lines.push(line)
const loaded: LoadReport = await load(db, lines, { onProgress, signal })
await load(db, dump(db))
void loaded.entries
// @ts-expect-error a dump is of a database or a snapshot
dump('db')
// @ts-expect-error lines are text
await load(db, [5])

const work: LongWorkOptions = { onProgress }
const compacted: CompactReport = await compact('db', work)
void [compacted.bytesBefore - compacted.bytesAfter]
const copied: boolean | undefined = db.recovery?.copiedWhileOpen
void copied
