// Measures mmapdb beside other stores, and writes tables, charts and every figure. See README.md; `--help` lists the
// options.
//
// The stores of a row take turns, and all rows are gone through once before any is measured again: what else the
// machine does meets all of them alike.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { cases } from './cases/index.js'
import { install } from './install.js'
import { describe, laboratory } from './laboratory.js'
import { load, machine, machineText } from './machine.js'
import { publish } from './report/pages.js'
import { amount } from './report/format.js'
import { writeReport } from './report/report.js'
import { summarize } from './report/summary.js'
import { storeNames } from './stores/index.js'

const HELP = `npm run bench -- [case ...] [options]

Without options: a selection, in twelve minutes. With names of cases: only these, with all stores.
Cases: ${Object.keys(cases).join(', ')}

  --full          every case and variant, with 1, 5 and 10 million entries: several hours
  --entries N     entries of the databases (100,000; with --full 1,000,000)
  --seconds S     length of the timed phase of cases that run for a time (1; with --full 4)
  --warm-up S     seconds of the same before that, which do not count (3; with --full 4)
  --rounds N      how often each store is measured; the median counts (3; with --full 5)
  --minutes M     begins no further round if it would not end within this time (14; with --full no limit)
  --stores A,B    only these stores of each case; a path of a module, or mmapdb=PATH/dist/bundle/index.js, adds one.
                  Stores: ${storeNames.join(', ')}
  --dir DIR       where the databases are made (bench/data): on the disk that is to be measured, never on tmpfs
  --out DIR       where results.json, tables.md and the charts are written (bench/results)
  --publish       also writes the results into docs/benchmarks.md, its charts, and README.md
  --from FILE     measures nothing, and takes the results.json of an earlier run`

const refuse = (message) => {
  console.error(`${message}\n--help lists cases and options.`)
  process.exit(2)
}

const { values: options, positionals } = parsed()

function parsed() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        full: { type: 'boolean', default: false },
        entries: { type: 'string' },
        seconds: { type: 'string' },
        'warm-up': { type: 'string' },
        rounds: { type: 'string' },
        minutes: { type: 'string' },
        stores: { type: 'string' },
        dir: { type: 'string', default: fileURLToPath(new URL('data', import.meta.url)) },
        out: { type: 'string', default: fileURLToPath(new URL('results', import.meta.url)) },
        publish: { type: 'boolean', default: false },
        from: { type: 'string' },
        help: { type: 'boolean', default: false },
      },
    })
  } catch (error) {
    return refuse(error.message)
  }
}

if (options.help) {
  console.log(HELP)
  process.exit()
}

const defaults = options.full
  ? { entries: 1_000_000, seconds: 4, 'warm-up': 4, rounds: 5, minutes: Infinity }
  : { entries: 100_000, seconds: 1, 'warm-up': 3, rounds: 3, minutes: 14 }
/** A number that is given, or the default. */
const number = (name) => {
  const value = options[name] === undefined ? defaults[name] : Number(options[name])
  if (!(value > 0)) refuse(`--${name} must be a positive number`)
  return value
}

const results = options.from === undefined ? await measureAll() : JSON.parse(readFileSync(options.from, 'utf8'))
mkdirSync(options.out, { recursive: true })
if (options.from === undefined) writeFileSync(join(options.out, 'results.json'), JSON.stringify(results, null, 1))
console.log(`\n${writeReport(results, options.out)}\nIn ${options.out}: tables.md, results.json, charts.`)
if (options.publish) publish(results, fileURLToPath(new URL('..', import.meta.url)))
if (results.rows.some(({ cells }) => cells.some(({ error }) => error !== undefined))) process.exitCode = 1

async function measureAll() {
  const [entries, seconds, warmUpSeconds, rounds, minutes] = ['entries', 'seconds', 'warm-up', 'rounds', 'minutes'].map(
    number,
  )
  const rows = chosenRows(entries)
  // Before anything is installed: that is compiled here.
  const loadBefore = load()
  const others = rows.flatMap(({ stores }) => stores.filter((store) => !/^mmapdb|\.js$/.test(store)))
  if (others.length > 0) install(others)
  const root = resolve(options.dir)
  const lab = laboratory(root)
  const about = machine(root)
  console.log(machineText(about))
  if (loadBefore > 0.5) console.log(`The machine has other work (load ${loadBefore}): only ratios count.`)

  const started = performance.now()
  let done = 0
  for (; done < rounds; done++) {
    const elapsed = (performance.now() - started) / 60_000
    if (done > 0 && (elapsed * (done + 1)) / done > minutes) break
    console.log(`\nround ${done + 1} of ${rounds}`)
    for (const row of rows) await measureRow(lab, row, { seconds, warmUpSeconds })
  }
  return {
    date: new Date().toISOString().slice(0, 10),
    minutes: Math.round((performance.now() - started) / 60_000),
    machine: about,
    loadBefore,
    full: options.full,
    entries,
    seconds,
    warmUpSeconds,
    rounds: done,
    rows: await Promise.all(rows.map((row) => summarize(row, describe))),
  }
}

/** Each variant of each case that is asked for. */
function chosenRows(entries) {
  const names = positionals.length > 0 ? positionals : Object.keys(cases)
  return names.flatMap((name) => {
    const of = cases[name]
    if (of === undefined) refuse(`There is no case "${name}": ${Object.keys(cases).join(', ')}`)
    // A case that is named is measured also if only a full run has it.
    const named = positionals.length > 0 ? of.variants.full : []
    return (options.full ? of.variants.full : (of.variants.quick ?? named)).map(({ scale = 1, ...variant }) => ({
      name,
      case: of,
      variant,
      entries: entries * scale,
      stores: storesOf(of).filter((store) => !of.skips?.(variant, store)),
      measurements: new Map(),
    }))
  })
}

function storesOf({ stores, selected = stores }) {
  if (options.stores === undefined) return options.full || positionals.length > 0 ? stores : selected
  const asked = options.stores.split(',')
  const unknown = asked.find((store) => !/[=/]/.test(store) && !storeNames.includes(store))
  if (unknown !== undefined) refuse(`There is no store "${unknown}": ${storeNames.join(', ')}`)
  return asked.filter((store) => stores.includes(store) || /[=/]/.test(store))
}

/** Measures each store of a row once, and says so; one that failed is not tried again. */
async function measureRow(lab, row, times) {
  const { unit, per } = row.case
  console.log(row.case.title({ ...row.variant, entries: row.entries }))
  for (const store of row.stores) {
    const before = row.measurements.get(store) ?? []
    if (before.some(({ error, unavailable }) => error ?? unavailable)) continue
    const { stderr, ...result } = await lab.measure(row, store, times)
    row.measurements.set(store, [...before, result])
    const said = result.error ?? result.unavailable
    console.log(`  ${store.padEnd(14)} ${said ?? `${amount(result.figure, unit)} per ${per}`}`)
    if (result.error !== undefined) console.error(stderr)
  }
}
