// From single measurements to what is said of a store in a row, and of stores beside each other.
import { median } from '../meter.js'

/** What tables and charts show of a row; `describe` tells what is known of a store. */
export async function summarize(row, describe) {
  const { group, unit, per, isCold = false, title } = row.case
  const cells = []
  for (const store of row.stores) {
    const { title: storeTitle, isFloor = false, against } = await describe(store)
    const measurements = row.measurements.get(store) ?? []
    const failed = measurements.find(({ error, unavailable }) => error ?? unavailable)
    cells.push({
      store,
      title: storeTitle,
      isFloor,
      against,
      ...(failed === undefined ? cellOf(measurements) : { error: failed.error, unavailable: failed.unavailable }),
    })
  }
  return {
    name: row.name,
    title: title({ ...row.variant, entries: row.entries }),
    group,
    unit,
    per,
    isCold,
    cells,
  }
}

function cellOf(measurements) {
  const figures = measurements.map(({ figure }) => figure)
  const of = (name) => medianOf(measurements.map((each) => each[name]))
  const notes = Object.keys(measurements[0].notes ?? {})
  return {
    figures,
    median: median(figures),
    low: Math.min(...figures),
    high: Math.max(...figures),
    latencies: latenciesOf(measurements),
    cpuUs: of('cpuUs'),
    peakMiB: of('peakMiB'),
    anonymousMiB: of('anonymousMiB'),
    diskMiB: of('diskMiB'),
    notes: Object.fromEntries(notes.map((name) => [name, medianOf(measurements.map((each) => each.notes[name]))])),
  }
}

function latenciesOf(measurements) {
  const kinds = Object.keys(measurements[0].latencies ?? {})
  return Object.fromEntries(
    kinds.map((kind) => {
      const of = (name) => medianOf(measurements.map(({ latencies }) => latencies[kind]?.[name]))
      return [kind, { p50: of('p50'), p99: of('p99'), p999: of('p999'), max: of('max') }]
    }),
  )
}

const medianOf = (list) => {
  const numbers = list.filter((x) => typeof x === 'number')
  return numbers.length === 0 ? undefined : median(numbers)
}

/** The cell of mmapdb that a store is measured against: the variant that does the same, or else the first. */
export function rivalOf(row, cell) {
  const measured = row.cells.filter(({ store, median }) => store.startsWith('mmapdb') && median !== undefined)
  return measured.find(({ store }) => store === cell.against) ?? measured[0]
}

export const isPeer = ({ store, isFloor }) => !isFloor && !store.startsWith('mmapdb')

/** How many times the cost of mmapdb a store has: below 1, it is better. */
export function ratioOf(row, cell) {
  const rival = rivalOf(row, cell)
  return rival === undefined || rival === cell || cell.median === undefined ? undefined : cell.median / rival.median
}

/** Every row where a peer costs less than mmapdb, the worst first. */
export function lossesOf({ rows }) {
  return rows
    .flatMap((row) =>
      row.cells.filter(isPeer).flatMap((cell) => {
        const ratio = ratioOf(row, cell)
        if (ratio === undefined || ratio >= 1) return []
        const rival = rivalOf(row, cell)
        return [{ row, cell, rival, ratio, isWithinSpread: cell.high >= rival.low }]
      }),
    )
    .sort((a, b) => a.ratio - b.ratio)
}
