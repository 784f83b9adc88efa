// mmapdb demo: a small scenario, printed line by line. Its output is the same every time, so that it can
// be compared: it has no times, paths or identifiers.
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command, Option } from 'commander'
import { MmapdbError } from '../../errors.js'
import type { Database } from '../../database/database.js'
import type { OpenOptions } from '../../engine/options.js'
import { Ended, EXIT } from '../shared/failure.js'
import { toJson } from '../../encoding/notation.js'
import { plural, print } from '../shared/output.js'
import { BIN } from '../../package-root.js'

type Mode = 'golden' | 'failure'

/** Loaded when needed: no other command uses the pool. */
const open = async (path: string, options?: OpenOptions): Promise<Database> =>
  (await import('../../database/open.js')).open(path, options)

export const demoCommand = (): Command =>
  new Command('demo')
    .description('Walk through a small scenario in a temporary directory; the output is the same every time.')
    .addOption(
      new Option(
        '--mode <mode>',
        'golden: everything works, also after a crash; failure: what errors look like (exit code 2)',
      )
        .choices(['golden', 'failure'])
        .default('golden'),
    )
    .addOption(new Option('--victim <dir>').hideHelp())
    .action(async ({ mode, victim }: { mode: Mode; victim?: string }) => {
      if (victim !== undefined) {
        await writeUntilKilled(victim)
        return
      }
      const directory = mkdtempSync(join(tmpdir(), 'mmapdb-demo-'))
      try {
        await (mode === 'golden' ? golden(join(directory, 'db')) : failures(directory))
      } finally {
        rmSync(directory, { recursive: true, force: true })
      }
      if (mode === 'failure') throw new Ended(EXIT.INVALID)
    })

// ---- golden ------------------------------------------------------------------------------------

/** The victim is killed when this write is on disk, and before it is acknowledged. */
const KILLED_AT_WRITE = 6

async function golden(path: string): Promise<void> {
  let db = await open(path, { workers: 2 })
  await print('open: a new database, with two workers')
  await db.put('user:1', { name: 'Ada', born: 1815 })
  await db.put('user:2', { name: 'Grace', born: 1906 })
  await print(`put: ${plural(db.count(), 'entry')} on disk and visible`)
  await print(`get user:1: ${toJson(db.get('user:1'))}`)
  await print(`get user:9: ${String(db.get('user:9'))}`)

  await Promise.all(Array.from({ length: 100 }, (_, i) => db.put(['event', i], `number ${i}`)))
  await print(`put: 100 more at once, ${plural(db.count(), 'entry')} now`)
  await db.batch([
    { type: 'put', key: 'user:3', value: { name: 'Edsger', born: 1930 } },
    { type: 'del', key: 'user:2' },
  ])
  await print(
    `batch: one put and one delete, all or nothing: user:2 is ${db.has('user:2') ? 'there' : 'gone'}, user:3 is ${db.has('user:3') ? 'there' : 'missing'}`,
  )

  const snapshot = db.snapshot()
  await db.put('user:1', { name: 'Ada', born: 1815, died: 1852 })
  await print(`snapshot: sees ${toJson(snapshot.get('user:1'))}`)
  await print(`          now  ${toJson(db.get('user:1'))}`)
  snapshot.close()

  await print(`range: users are ${[...db.keys({ prefix: 'user:' })].join(', ')}`)
  await print(
    `range: the last two events are ${[...db.values({ prefix: ['event'], reverse: true, limit: 2 })].join(', ')}`,
  )
  const before = db.count()
  await db.close()
  await print('close: everything is in the data file, the log is empty')

  const victim = spawnSync(process.execPath, [BIN, 'demo', '--victim', path], {
    env: { ...process.env, MMAPDB_CRASH_AT: `after-flush:${KILLED_AT_WRITE}` },
    encoding: 'utf8',
  })
  await print(
    `crash: another process acknowledged ${plural(victim.stdout.split('\n').length - 1, 'write')}; ${victim.signal} ended it in the middle of the next`,
  )

  db = await open(path, { workers: 2 })
  const { recovery } = db
  if (recovery === undefined || !recovery.needed) throw new Error('there was nothing to recover')
  await print(
    `recovery: ${plural(recovery.framesReplayed, 'frame')} with ${plural(recovery.operationsReplayed, 'operation')} replayed, ${plural(recovery.tornTailBytes, 'torn byte')} dropped`,
  )
  await print(
    `recovery: ${plural(db.count() - before, 'entry')} more than before the crash: ${[...db.keys({ prefix: 'crash:' })].join(', ')}`,
  )
  await report(db)
  await db.close()
  await print('OK: golden scenario completed')
}

async function report(db: Database): Promise<void> {
  const verified = await db.verify()
  if (!verified.ok) throw new Error('verification found damage')
  await print(`verify: ${plural(verified.entries, 'entry')}, no damage`)
}

/** Runs in a process of its own, which a crash point kills while it writes. */
async function writeUntilKilled(path: string): Promise<void> {
  const db = await open(path, { workers: 0 })
  for (let i = 1; ; i++) {
    db.putSync(`crash:${i}`, i)
    await print(`crash:${i}`)
  }
}

// ---- failure -----------------------------------------------------------------------------------

async function failures(directory: string): Promise<void> {
  const path = join(directory, 'db')
  const told = async (what: string, error: unknown): Promise<void> => {
    if (!(error instanceof MmapdbError)) throw error
    await print(`${what}: ${error.name} ${error.code}`)
    await print(`  ${error.message.replaceAll(directory, 'DIR')}`)
  }
  const fails = async (what: string, act: () => unknown): Promise<void> => {
    try {
      await act()
    } catch (error) {
      await told(what, error)
      return
    }
    throw new Error(`${what}: this should have failed`)
  }

  await fails('open a database that does not exist', () => open(path, { createIfMissing: false }))
  await fails('open with a bad option', () => open(path, { workers: -1 }))
  const file = join(directory, 'file')
  writeFileSync(file, 'not a database')
  await fails('open a file', () => open(file))
  const others = join(directory, 'others')
  mkdirSync(others)
  writeFileSync(join(others, 'letter.txt'), 'not a database either')
  await fails('open a directory of other files', () => open(others))

  const db = await open(path, { workers: 0 })
  await fails('put under NaN', () => db.put(Number.NaN, 1))
  await fails('put undefined', () => db.put('key', undefined))
  await fails('put under a key that is too long', () => db.put('k'.repeat(2000), 1))
  await fails('a range with a negative limit', () => db.count({ limit: -1 }))
  await print(`nothing of that was stored: ${plural(db.count(), 'entry')}`)
  await db.close()
  await fails('get from a closed database', () => db.get('key'))
  const reader = await open(path, { workers: 0, readOnly: true })
  await fails('put into a database opened to read', () => reader.put('key', 1))
  await reader.close()
  await print('ERROR: invalid input or unavailable IPC resource')
}
