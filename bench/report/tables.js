// Tables in Markdown.
import { figure, times, unitOf } from './format.js'
import { isPeer, lossesOf, ratioOf, rivalOf } from './summary.js'

const line = (cells) => `| ${cells.join(' | ')} |`
export const table = (head, rows) => [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')

const heading = ({ title, unit, per, isCold }) => `${title}: ${unitOf(unit)} per ${per}${isCold ? '; cold' : ''}`

/** One row for each case: mmapdb at its best, each peer at its best, and the floor. */
export function shortTable(rows) {
  const kinds = ['mmapdb', 'lmdb', 'sqlite', 'node-sqlite', 'level', 'rocksdb']
  const kindOf = ({ store }) => kinds.findLast((kind) => store === kind || store.startsWith(`${kind}-`))
  const cellText = (row, cell) => {
    if (cell === undefined) return ''
    const ratio = ratioOf(row, cell)
    if (ratio === undefined || !isPeer(cell)) return figure(cell.median)
    // What does the same may not be the best that mmapdb has.
    const rival = rivalOf(row, cell)
    const of = rival === best(row, isOurs) ? '' : ` of ${figure(rival.median)}`
    return `${figure(cell.median)} (${times(ratio)}${of})`
  }
  const best = (row, of) => {
    const cells = row.cells.filter((cell) => cell.median !== undefined && of(cell))
    return cells.sort((a, b) => a.median - b.median)[0]
  }
  const isOurs = (cell) => kindOf(cell) === 'mmapdb'
  // What waits for its flush stands beside what waits for it.
  const durable = ({ store }) => store !== 'lmdb'
  return table(
    ['what it costs', 'mmapdb', 'lmdb', 'better-sqlite3', 'node:sqlite', 'classic-level', 'RocksDB', 'floor'],
    rows.map((row) => [
      heading(row),
      ...kinds.map((kind) => {
        const hasDurable = row.cells.some((cell) => cell.store === 'lmdb-durable')
        return cellText(
          row,
          best(row, (cell) => !cell.isFloor && kindOf(cell) === kind && (!hasDurable || durable(cell))),
        )
      }),
      cellText(
        row,
        best(row, ({ isFloor }) => isFloor),
      ),
    ]),
  )
}

/** All that is known of a row. */
export function longTable(row) {
  const kinds = [...new Set(row.cells.flatMap(({ latencies = {} }) => Object.keys(latencies)))]
  const has = (name) => row.cells.some((cell) => cell[name] !== undefined)
  const columns = [
    ['', (cell) => (cell.isFloor ? `*${cell.title}*` : cell.title)],
    [`median, ${unitOf(row.unit)}`, (cell) => figure(cell.median)],
    ['least to most', (cell) => `${figure(cell.low)} to ${figure(cell.high)}`],
    ['beside mmapdb', (cell) => (ratioOf(row, cell) === undefined ? '' : times(ratioOf(row, cell)))],
    ...kinds.map((kind) => [
      `${kind}, µs: p50, p99, p99.9`,
      ({ latencies: { [kind]: of } = {} }) =>
        of === undefined ? '' : [of.p50, of.p99, of.p999].map(figure).join(', '),
    ]),
    ...(has('cpuUs') ? [[`CPU, µs per ${row.per}`, (cell) => figure(cell.cpuUs)]] : []),
    [
      'memory at most (anonymous), MiB',
      ({ peakMiB, anonymousMiB }) =>
        `${figure(peakMiB)}${anonymousMiB === undefined ? '' : ` (${figure(anonymousMiB)})`}`,
    ],
    ...(has('diskMiB') ? [['disk, MiB', (cell) => figure(cell.diskMiB)]] : []),
    ...[...new Set(row.cells.flatMap(({ notes = {} }) => Object.keys(notes)))].map((name) => [
      NOTES[name] ?? name,
      ({ notes = {} }) => figure(notes[name]),
    ]),
  ]
  return table(
    columns.map(([head]) => head),
    row.cells.map((cell) => {
      const reason = cell.unavailable ?? (cell.error && `failed: ${cell.error}`)
      return columns.map(([, of], i) => (reason === undefined || i === 0 ? of(cell) : i === 1 ? reason : ''))
    }),
  )
}

const NOTES = {
  loopP99Ms: 'event loop late, ms: p99',
  loopMaxMs: 'event loop late, ms: most',
  slowestThread: 'slowest thread beside the fastest',
  slowestProcess: 'slowest process beside the fastest',
}

/** Every row that mmapdb loses, from the figures alone, with all who win it; the row that it loses worst comes first. */
export function losses(results) {
  const lost = lossesOf(results)
  if (lost.length === 0) return 'In no row of this run was a peer measured that costs less.'
  return [...new Set(lost.map(({ row }) => row))]
    .map((row) => {
      const winners = lost.filter((each) => each.row === row).map((each) => winnerText(each))
      return `- ${row.title}, ${unitOf(row.unit)} per ${row.per}: ${winners.join('; ')}`
    })
    .join('\n')
}

function winnerText({ row, cell, rival, ratio, isWithinSpread }) {
  const remarks = [
    times(ratio),
    ...(cell.store === 'lmdb' && row.cells.some(({ store }) => store === 'lmdb-durable')
      ? ['does not wait for its flush']
      : []),
    ...(isWithinSpread ? ['the spreads overlap'] : []),
  ]
  return `${cell.title} ${figure(cell.median)} beside ${figure(rival.median)} of ${rival.title} (${remarks.join(', ')})`
}
