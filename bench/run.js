// Runs the cases named on the command line (all of them if none is) and prints a table for each.
//   node run.js [case ...] [--reps N] [--seconds S] [--entries N] [--stores a,b,...] [--dir DIR] [--json FILE]
// Stores take turns; a figure is the median of the repetitions. See README.md.
import { execFileSync, spawnSync } from 'node:child_process'
import { appendFileSync, existsSync, mkdirSync, renameSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { fileURLToPath } from 'node:url'
import { cases } from './cases/index.js'
import { machine } from './machine.js'
import { values, texts } from './data.js'
import { loadStore } from './stores.js'
import { load } from './cases/load.js'

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    reps: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '5' },
    entries: { type: 'string', default: '1000000' },
    stores: { type: 'string' },
    dir: { type: 'string', default: fileURLToPath(new URL('data', import.meta.url)) },
    json: { type: 'string' },
  },
})
const reps = Number(options.reps)
const seconds = Number(options.seconds)
const entries = Number(options.entries)
const root = resolve(options.dir)
mkdirSync(root, { recursive: true })

const names = positionals.length > 0 ? positionals : Object.keys(cases)
for (const name of names)
  if (cases[name] === undefined) throw new Error(`There is no case "${name}": ${Object.keys(cases).join(', ')}`)

console.log(machine(root))
for (const name of names) {
  const { variants = [{}] } = cases[name]
  for (const variant of variants) await compare(name, variant)
}

/** Measures every store of a case in turn, several times over, and prints medians and ratios. */
async function compare(name, variant) {
  const { title, unit, better, once = false } = cases[name]
  const stores = options.stores?.split(',') ?? cases[name].stores
  const results = new Map(stores.map((store) => [store, []]))
  for (let rep = 0; rep < (once ? 1 : reps); rep++) {
    for (const store of stores) {
      const result = await measure(name, store, variant)
      if (result !== undefined) results.get(store).push(result)
    }
  }
  const label = Object.entries(variant)
    .map(([key, value]) => `, ${key} ${value}`)
    .join('')
  console.log(`\n## ${title}${label}`)
  const first = median(results.get(stores[0]).map((r) => r.figure))
  for (const [store, list] of results) {
    if (list.length === 0) {
      console.log(`${store.padEnd(16)} could not be measured`)
      continue
    }
    const figures = list.map((r) => r.figure)
    const middle = median(figures)
    const ratio = better === 'more' ? first / middle : middle / first
    const spread = `${format(Math.min(...figures))} to ${format(Math.max(...figures))}`
    const notes = Object.entries(list[0].notes ?? {})
      .map(
        ([key, value]) => `${key} ${format(typeof value === 'number' ? median(list.map((r) => r.notes[key])) : value)}`,
      )
      .join(', ')
    console.log(
      `${store.split('/').slice(0, 3).join('/').padEnd(16)} ${format(middle).padStart(12)} ${unit}   (${spread})` +
        (store === stores[0] ? '' : `   ${stores[0].split('=')[0]} is ${ratio.toFixed(2)}x as good`) +
        (notes === '' ? '' : `   ${notes}`),
    )
  }
  if (options.json)
    appendFileSync(options.json, `${JSON.stringify({ name, variant, results: Object.fromEntries(results) })}\n`)
}

async function measure(name, store, variant) {
  const { fresh = false, prepared } = cases[name]
  let directory = join(root, `fresh-${store.split('=')[0]}`)
  if (prepared !== undefined) directory = await prepare(prepared, store)
  else rmSync(directory, { recursive: true, force: true })
  settle()
  const parameters = { name, store, directory, entries, seconds, seed: freshSeed(), ...variant }
  const child = spawnSync(
    process.execPath,
    ['--expose-gc', fileURLToPath(new URL('child.js', import.meta.url)), JSON.stringify(parameters)],
    {
      encoding: 'utf8',
      maxBuffer: 2 ** 26,
      timeout: 300_000,
    },
  )
  if (fresh) rmSync(directory, { recursive: true, force: true })
  const line = child.stdout.split('\n').find((text) => text.startsWith('RESULT '))
  if (line === undefined) {
    console.error(`${name} of ${store}: ${child.stderr.trim().split('\n').slice(-6).join('\n')}`)
    return undefined
  }
  return JSON.parse(line.slice(7))
}

/** A database of `entries` entries, loaded in random order by this store; kept for the next run. */
async function prepare(what, store) {
  // The files of the same kind of store serve all its variants.
  const kind = store.split(/[=-]/)[0]
  const directory = join(root, `${what}-${entries}-${kind}`)
  if (existsSync(directory)) return directory
  const making = `${directory}.making`
  rmSync(making, { recursive: true, force: true })
  const text = what === 'text'
  const db = await (await loadStore(store)).open(making, { text })
  await load(db, { entries, value: text ? texts(1) : values(1) })
  await db.close()
  renameSync(making, directory)
  return directory
}

/** What earlier runs have left to be written must not be on this one's bill. */
function settle() {
  execFileSync('sync')
}

/** Another one for each measurement: SQLite writes nothing where a value is what is stored already. */
function freshSeed() {
  return Number(process.hrtime.bigint() % 2_000_000_000n) + 10_000
}

function median(list) {
  const sorted = [...list].sort((a, b) => a - b)
  return sorted.length === 0 ? Number.NaN : sorted[sorted.length >> 1]
}

function format(x) {
  if (typeof x !== 'number') return String(x)
  return Math.abs(x) >= 100 ? Math.round(x).toLocaleString('en-US') : x.toFixed(2)
}
