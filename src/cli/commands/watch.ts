// mmapdb watch: prints changes as they happen, until it is told to end.
import { Command, Option } from 'commander'
import { open } from '../../database/open.js'
import type { Change } from '../../database/change-feed.js'
import type { Database } from '../../database/database.js'
import { InvalidError } from '../../errors.js'
import { engineOptions, globalsOf, jsonKeyOption, whole, type Globals } from '../shared/context.js'
import { Ended, EXIT } from '../shared/failure.js'
import { jsonText, parseKey, plain, plainKey, printable, showKey, toJson } from '../../encoding/notation.js'
import { printLine } from '../shared/output.js'
import { belowHelp } from '../shared/terminal.js'

interface WatchCommandOptions {
  readonly since?: string
  readonly store?: string
  readonly prefix?: string
  readonly limit?: number
  readonly jsonKey?: boolean
}

const ENDS_IT = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

export const watchCommand = (): Command =>
  new Command('watch')
    .description(
      'Print changes as they happen, whichever thread or process makes them: put or del, key and value, with tabs between; clear and drop; at the end the store, if it is a named one. With --json one object per line.',
    )
    .option(
      '--since <where>',
      'a cursor that was printed: goes on right after that change; or an LSN: what came after it, 0 for all that the log still has (default: from now on)',
    )
    .addOption(new Option('--store <name>', 'only changes of this named store'))
    .option('--prefix <key>', 'only keys that begin with it, as for scan')
    .option('--limit <n>', 'end after that many changes', whole(1))
    .addOption(jsonKeyOption())
    .addHelpText(
      'after',
      belowHelp(`
Each change is one line, written at once. --json and --verbose print LSN and cursor, too. Ends with exit code 0 on SIGINT
(Ctrl-C), SIGTERM and SIGHUP, and when the reader of its output has gone; with 2 and ERR_MMAPDB_LSN_GONE if the log does
not go back as far as --since, or is recycled faster than lines are read: see the option retain of open.

  mmapdb watch --prefix user: --json | ./index.sh`),
    )
    .action(async (options: WatchCommandOptions, command: Command) => {
      const globals = globalsOf(command)
      const { since, store, prefix, jsonKey = false, limit } = options
      const ended = new AbortController()
      const end = (): void => ended.abort(new Ended(EXIT.DONE))
      for (const signal of ENDS_IT) process.on(signal, end)
      const { workers, reserveBytes, timeoutMs } = engineOptions(globals.db)
      const db = await open(globals.db, { workers, reserveBytes, timeoutMs, readOnly: true })
      try {
        const changes = db.changes({
          since: sinceOf(since),
          store,
          ...(prefix !== undefined && { prefix: parseKey(prefix, jsonKey) as string }),
          signal: ended.signal,
        })
        await printAll(changes, globals, limit ?? Infinity)
      } finally {
        await db.close()
        for (const signal of ENDS_IT) process.off(signal, end)
      }
    })

async function printAll(changes: ReturnType<Database['changes']>, globals: Globals, limit: number): Promise<void> {
  let left = limit
  for await (const change of changes) {
    await printLine(lineOf(change, globals))
    if (--left === 0) return
  }
}

/** A number is an LSN, anything else a cursor. */
function sinceOf(text: string | undefined): string | number | undefined {
  if (text === undefined || !/^\d+$/.test(text)) return text
  const lsn = Number(text)
  if (!Number.isSafeInteger(lsn)) throw new InvalidError(`--since ${text} is not an LSN: it is too large.`)
  return lsn
}

function lineOf(change: Change<unknown>, { json, verbose }: Globals): string {
  const { lsn, cursor, timeMs, store, type, key, value } = change
  const hasKey = type === 'put' || type === 'del'
  if (json) {
    const head = {
      lsn,
      cursor,
      timeMs,
      ...(store !== undefined && { store }),
      type,
      ...(hasKey && { key: plainKey(key) }),
      ...(type === 'clear' && { all: change.all }),
    }
    return jsonText(type === 'put' ? { ...head, value: plain(value) } : head)
  }
  const line =
    type === 'put'
      ? `put\t${showKey(key)}\t${toJson(value)}`
      : type === 'del'
        ? `del\t${showKey(key)}`
        : type === 'clear'
          ? `clear\t${change.all ? 'all' : 'a range'}`
          : 'drop'
  const placed = store === undefined ? line : `${line}\tin ${printable(store)}`
  return verbose ? `${cursor}\t${new Date(timeMs).toISOString()}\t${placed}` : placed
}
