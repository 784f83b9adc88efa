// What a run leaves in its folder: tables.md, and a chart for each group of rows.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { GROUPS } from '../cases/index.js'
import { machineText } from '../machine.js'
import { chart } from './chart.js'
import { longTable, losses, shortTable } from './tables.js'
import { unitOf } from './format.js'

/** Writes them, and returns the text for the terminal. */
export function writeReport(results, directory) {
  writeCharts(results, directory)
  const text = [conditions(results), shortTable(results.rows), '## Where peers win', losses(results)].join('\n\n')
  writeFileSync(join(directory, 'tables.md'), `${text}\n\n${details(results, '')}\n`)
  return text
}

/** Of each group with rows: its name, its title, its rows. */
const groupsOf = ({ rows }) =>
  Object.entries(GROUPS)
    .map(([name, title]) => ({ name, title, rows: rows.filter(({ group }) => group === name) }))
    .filter((group) => group.rows.length > 0)

export function writeCharts(results, directory) {
  for (const { name, title, rows } of groupsOf(results))
    writeFileSync(join(directory, `${name}.svg`), chart(title, rows))
}

export const conditions = ({ date, minutes, machine, loadBefore, full, entries, seconds, warmUpSeconds, rounds }) =>
  `Measured on ${date} in ${minutes} minutes${full ? ', all rows' : ', a selection of rows'}: ` +
  `${machineText(machine)}. ${rounds === 1 ? 'One round, so that nothing is known of the spread' : `Medians of ${rounds} rounds`}; ${entries.toLocaleString('en-US')} entries where a row names ` +
  `no other number, ${seconds} s of timed work after ${warmUpSeconds} s of warm-up. ` +
  (loadBefore > 0.5
    ? `**The machine had other work (load ${loadBefore} at the beginning): the figures are too high, and only ratios count.**`
    : 'Nothing else was running.')

/** Each group with its chart and its tables; `charts` is where the charts are, from the page. */
export const details = (results, charts) =>
  groupsOf(results)
    .map(({ name, title, rows }) =>
      [
        `## ${title}`,
        `![${title}](${charts}${name}.svg)`,
        ...rows.map(
          (row) =>
            `**${row.title}**, ${unitOf(row.unit)} per ${row.per}${row.isCold ? '; cold' : ''}\n\n${longTable(row)}`,
        ),
      ].join('\n\n'),
    )
    .join('\n\n')
