// mmapdb stats: figures about a database.
import { Command } from 'commander'
import type { Engine } from '../../engine/engine.js'
import type { LockInfo } from '../../engine/locks/lock-list.js'
import type { Stats } from '../../engine/stats.js'
import { globalsOf, openToRead, using } from '../shared/context.js'
import { jsonText, plainKey, printable, showKey } from '../../encoding/notation.js'
import { bytes, number, print } from '../shared/output.js'
import { belowHelp, columnsOf, labelled, showsUnicode } from '../shared/terminal.js'

export const statsCommand = (): Command =>
  new Command('stats')
    .description(
      'Print figures about the database: entries, named stores, slots, log, checkpoints, commits, readers, record locks.',
    )
    .addHelpText(
      'after',
      belowHelp(`
Commits are counted since the database was opened after it was last closed in all processes.
Of record locks, the first 100 in the order of their keys are shown one by one.`),
    )
    .action(async (_options: unknown, command: Command) => {
      const { db, json } = globalsOf(command)
      const seen = await using(openToRead(db), (engine) => ({
        stats: engine.stats(),
        locks: engine.listLocks().slice(0, SHOWN_LOCKS),
        stores: engine.stores
          .list()
          .map(({ name, encoding }) => ({ name, valueEncoding: encoding, entries: entriesOf(engine, name) })),
      }))
      const { stats, locks, stores } = seen
      const list = locks.map((lock) => ({ ...lock, key: plainKey(lock.key) }))
      await print(json ? jsonText({ ...stats, stores, locks: { ...stats.locks, list } }) : await table(seen))
    })

/** How many record locks are shown one by one. */
const SHOWN_LOCKS = 100

type Row = [label: string, value: string, extra?: string]
type Section = [name: string, rows: Row[]]

interface Seen {
  readonly stats: Stats
  readonly locks: readonly LockInfo[]
  readonly stores: readonly { readonly name: string; readonly valueEncoding: string; readonly entries: number }[]
}

/** One step for each of its leaves. */
const entriesOf = (engine: Engine, store: string): number =>
  engine.count(undefined, engine.stores.open(store, undefined))

function sectionsOf({ stats: s, locks, stores }: Seen): Section[] {
  const used = s.slots.total - s.slots.unused
  const share = (n: number): string => (used === 0 ? '' : `${((n / used) * 100).toFixed(1)} %`)
  const perFlush = s.commits.flushes > 0 ? (s.commits.operations / s.commits.flushes).toFixed(1) : '-'
  return [
    [
      'database',
      [
        ['path', printable(s.path)],
        ['uuid', s.uuid],
        ['format', String(s.formatVersion)],
        ['value encoding', s.valueEncoding],
        ['entries', number(s.entries)],
        ['of these, expiring', number(s.expiring)],
        ['height of the tree', String(s.height)],
      ],
    ],
    ...(stores.length === 0 ? [] : [['named stores', stores.map(storeRow)] satisfies Section]),
    [
      'data file',
      [
        ['size', bytes(s.dataBytes)],
        ['header slots', number(s.slots.header), share(s.slots.header)],
        ['branch slots', number(s.slots.branch), share(s.slots.branch)],
        ['leaf slots', number(s.slots.leaf), share(s.slots.leaf)],
        ['overflow slots', number(s.slots.overflow), share(s.slots.overflow)],
        ['free-list slots', number(s.slots.freeList), share(s.slots.freeList)],
        ['free slots', number(s.slots.free), share(s.slots.free)],
        ['never used', number(s.slots.unused)],
      ],
    ],
    [
      'log',
      [
        ['size', `${bytes(s.log.bytes)} in ${number(s.log.segments)}`, s.log.segments === 1 ? 'segment' : 'segments'],
        ['LSN on disk', number(s.log.durableLsn)],
        ['LSN visible', number(s.log.visibleLsn)],
        ['LSN of the end', number(s.log.tailLsn)],
        ['all changes are there since', number(s.log.oldestLsn)],
        ['a recovery would replay', bytes(s.log.replayBytes)],
      ],
    ],
    [
      'checkpoint',
      [
        ['number', number(s.checkpoint.number)],
        ['LSN', number(s.checkpoint.lsn)],
      ],
    ],
    [
      'commits',
      [
        ['operations', number(s.commits.operations)],
        ['frames', number(s.commits.frames)],
        ['flushes', number(s.commits.flushes)],
        ['operations per flush', perFlush],
      ],
    ],
    [
      'readers',
      [
        ['pinned', number(s.readers.pinned)],
        ['log since the oldest', bytes(s.readers.lagBytes)],
        ['oldest open for', `${(s.readers.oldestMs / 1000).toFixed(1)} s`],
        ['held back', bytes(s.readers.heldBytes)],
      ],
    ],
    ['record locks', [['held', number(s.locks.held)], ['waited for', number(s.locks.waiting)], ...locks.map(lockRow)]],
  ]
}

const storeRow = ({ name, valueEncoding, entries }: Seen['stores'][number]): Row => [
  printable(name),
  number(entries),
  valueEncoding,
]

const lockRow = ({ key, store, mode, state, processId, sinceMs }: LockInfo): Row => [
  store === undefined ? showKey(key) : `${printable(store)}: ${showKey(key)}`,
  `${state === 'held' ? 'held' : 'waited for'}${mode === 'shared' ? ', shared' : ''}`,
  `by process ${processId} for ${(Math.max(0, Date.now() - sinceMs) / 1000).toFixed(1)} s`,
]

async function table(seen: Seen): Promise<string> {
  const { default: Table } = await import('cli-table3')
  const sections = sectionsOf(seen)
  const lines = new Table({
    style: { head: [], border: [], compact: true },
    colAligns: ['left', 'left', 'right', 'right'],
  })
  for (const [name, rows] of sections) {
    rows.forEach(([label, value, extra], i) => lines.push([i === 0 ? name : '', label, value, extra ?? '']))
  }
  const drawn = lines.toString()
  const columns = columnsOf(process.stdout)
  const fits = columns === undefined || (showsUnicode() && drawn.indexOf('\n') <= columns)
  const text = fits
    ? drawn
    : sections.flatMap(([name, rows]) => [`${name}:`, ...labelled(rows.map(plainRow), columns)]).join('\n')
  return `${text}${seen.stats.failure === undefined ? '' : `\nWRITES ARE REFUSED: ${seen.stats.failure}`}`
}

/** A row for terminals that are too narrow for the table. */
const plainRow = ([label, value, extra]: Row): [string, string] => [
  `  ${label}`,
  extra ? `${value} ${/%$/.test(extra) ? `(${extra.replace(' ', '')})` : extra}` : value,
]
