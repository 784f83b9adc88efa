// The benchmark itself: its units, medians, losses, tables and charts are right, and it notices a store that answers
// wrongly. What is known beforehand comes from stores with a clock of their own; nothing here depends on real time.
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { expect } from 'chai'
import { inPackage } from '../../src/package-root.js'

interface Latency {
  p50: number
  p99: number
  p999: number
  max: number
}

interface Cell {
  store: string
  error?: string
  figures: number[]
  median: number
  low: number
  high: number
  latencies: Record<string, Latency>
  cpuUs: number
  peakMiB: number
  anonymousMiB: number
  diskMiB: number
  notes: Record<string, number>
}

interface Results {
  rounds: number
  rows: { name: string; title: string; unit: string; cells: Cell[] }[]
}

/** A store in which each call takes so long by the clock of its own, and half as much of the processor. */
const withClock = (title: string, readMs: number, openMs: number): string => `
import { mkdirSync } from 'node:fs'
let now = 1
performance.now = () => now
process.cpuUsage = (since) => ({ user: now * 300 - (since?.user ?? 0), system: now * 200 - (since?.system ?? 0) })
export const store = {
  title: '${title}',
  kind: '${title}',
  async open(path) {
    mkdirSync(path, { recursive: true })
    now += ${openMs}
    return {
      batch: () => undefined,
      read() { now += ${readMs}; return 100 },
      close: () => undefined,
    }
  },
}
`

describe('the benchmark', () => {
  const folder = mkdtempSync(join(tmpdir(), 'mmapdb-bench-'))
  after(() => rmSync(folder, { recursive: true, force: true }))

  const run = (out: string, ...args: string[]): { status: number | null; text: string; results: Results } => {
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [inPackage('bench/run.js'), ...args, '--dir', join(folder, 'data'), '--out', join(folder, out)],
      { encoding: 'utf8' },
    )
    expect(stdout, stderr).to.include('results.json')
    const results = JSON.parse(readFileSync(join(folder, out, 'results.json'), 'utf8')) as Results
    return { status, text: stdout + stderr, results }
  }
  const module = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text)
    return join(folder, name)
  }
  const ofBench = async (path: string): Promise<Record<string, (...args: never[]) => unknown>> =>
    (await import(pathToFileURL(inPackage(path)).href)) as Record<string, (...args: never[]) => unknown>

  it('says of stores whose costs are known what they are, in the right units, and who wins', async () => {
    const fast = module('fast.js', withClock('fast', 1e-6, 1e-3))
    const slow = module('slow.js', withClock('slow', 2000, 50_000))
    const { status, text, results } = run(
      'known',
      ...['get', 'opening', '--entries', '500', '--rounds', '2'],
      ...['--stores', `mmapdb,${fast},${slow}`],
    )
    expect(status, text).to.equal(0)
    expect(results.rounds).to.equal(2)
    const cellOf = (title: RegExp, store: string): Cell =>
      results.rows.find((row) => title.test(row.title))!.cells.find((cell) => cell.store === store)!

    const get = cellOf(/random get among 500 keys/, slow)
    expect(get.figures).to.have.lengthOf(2)
    for (const us of [...get.figures, get.median, get.low, get.high]) expect(us).to.be.closeTo(2_000_000, 1)
    for (const us of Object.values(get.latencies.get!)) expect(us).to.be.closeTo(2_000_000, 2_000)
    expect(get.cpuUs).to.be.closeTo(1_000_000, 1)
    const opening = cellOf(/^open after/, slow)
    expect(opening.median).to.be.closeTo(50_000, 1)
    expect(opening.cpuUs).to.be.closeTo(25_000_000, 1)
    expect(results.rows.map(({ unit }) => unit)).to.deep.equal(['us', 'ms', 'ms'])

    const tables = readFileSync(join(folder, 'known/tables.md'), 'utf8')
    expect(tables).to.match(/\| slow \| 2,000,000 \| 2,000,000 to 2,000,000 \|/)
    const lost = tables.slice(tables.indexOf('## Where peers win'), tables.indexOf('## Reads'))
    expect(lost).to.match(/- random get among 500 keys, µs per get: fast \S+ beside \S+ of mmapdb \(\S+ x\)/)
    expect(lost).to.not.include('slow')

    const chart = readFileSync(join(folder, 'known/reads.svg'), 'utf8')
    expect(chart).to.not.match(/NaN|undefined|Infinity/)
    const bars = [...chart.matchAll(/<rect class="(\w+)" x="[\d.]+" y="[\d.]+" width="([\d.]+)"/g)]
    const widths = bars.map(([, kind, width]) => ({ kind, width: Number(width) }))
    expect(widths.map(({ kind }) => kind)).to.deep.equal(['ours', 'peer', 'peer'])
    // The slowest fills the room that there is, on a scale that begins at 0.
    expect(widths[1]!.width).to.be.below(widths[2]!.width / 100)
    expect(widths[2]!.width).to.equal(Math.max(...widths.map(({ width }) => width)))

    const page = join(folder, 'page')
    mkdirSync(join(page, 'docs'), { recursive: true })
    writeFileSync(
      join(page, 'docs/benchmarks.md'),
      'before\n<!-- results: begin -->replaced<!-- results: end -->\nafter\n',
    )
    writeFileSync(join(page, 'README.md'), '<!-- benchmarks: begin -->\n<!-- benchmarks: end -->\n')
    const { publish } = await ofBench('bench/report/pages.js')
    publish!(results as never, page as never)
    const written = readFileSync(join(page, 'docs/benchmarks.md'), 'utf8')
    expect(written).to.match(/^before\n[^]*\| slow \| 2,000,000 [^]*\nafter\n$/)
    expect(written).to.not.include('replaced')
    expect(readFileSync(join(page, 'README.md'), 'utf8')).to.include('random get among 500 keys')
    expect(readFileSync(join(page, 'docs/benchmarks/reads.svg'), 'utf8')).to.equal(chart)
  })

  it('says that a store failed which does not find what it was given', () => {
    const wrong = module('wrong.js', withClock('wrong', 1, 1).replace('return 100', 'return -1'))
    const { status, results } = run('wrong', 'get', '--entries', '10', '--rounds', '2', '--stores', wrong)
    expect(status).to.equal(1)
    expect(results.rows[0]!.cells.find(({ store }) => store === wrong)!.error).to.include('values are missing')
  })

  it('measures mmapdb in threads and processes, with everything that a table shows', () => {
    const { status, text, results } = run(
      'mmapdb',
      ...['processes', 'ycsb', '--full', '--entries', '300'],
      ...['--seconds', '0.05', '--warm-up', '0.05', '--rounds', '1', '--stores', 'mmapdb'],
    )
    expect(status, text).to.equal(0)
    const cells = results.rows.map(({ name, cells: [cell] }) => ({ name, ...cell! }))
    expect(cells).to.have.lengthOf(7)
    for (const { name, median, latencies, peakMiB, diskMiB } of cells) {
      expect(median, name).to.be.above(0)
      expect(peakMiB, name).to.be.above(10)
      expect(diskMiB, name).to.be.above(0.1)
      for (const { p50, p99, p999, max } of Object.values(latencies)) {
        expect(p50, name).to.be.above(0)
        expect(p99, name).to.be.at.least(p50)
        expect(p999, name).to.be.at.least(p99)
        expect(max, name).to.be.at.least(p999)
      }
    }
    const kinds = (name: string): string[][] =>
      cells.filter((cell) => cell.name === name).map(({ latencies }) => Object.keys(latencies).sort())
    expect(kinds('processes')).to.deep.equal([['put']])
    // Of rare operations there may be none in so short a time, but none of another kind.
    const allowedKinds = 'read update, read update, read, read insert, scan insert, read read-modify-write'
    for (const [i, allowed] of allowedKinds.split(', ').entries()) {
      expect(allowed.split(' ')).to.include.members(kinds('ycsb')[i]!)
    }
    for (const { name, notes } of cells) if (name === 'puts') expect(notes).to.have.all.keys('loopP99Ms', 'loopMaxMs')
  })

  it('draws zipfian keys as often as their ranks say', async () => {
    const { zipfian } = (await ofBench('bench/zipfian.js')) as {
      zipfian: (items: number, uniform: () => number) => () => number
    }
    const items = 1000
    const draws = 100_000
    let x = 0
    // Evenly spread, so that the frequencies are those of the distribution itself.
    const rank = zipfian(items, () => (x++ % draws) / draws)
    const times = new Uint32Array(items)
    for (let i = 0; i < draws; i++) times[rank()]!++
    const zeta = Array.from({ length: items }, (_, i) => (i + 1) ** -0.99).reduce((sum, each) => sum + each)
    expect(times[0]! / draws).to.be.closeTo(1 / zeta, 0.001)
    expect(times[1]! / draws).to.be.closeTo(2 ** -0.99 / zeta, 0.001)
    const half = times.subarray(0, 30).reduce((sum, n) => sum + n)
    const expected = Array.from({ length: 30 }, (_, i) => (i + 1) ** -0.99).reduce((sum, each) => sum + each) / zeta
    expect(half / draws).to.be.closeTo(expected, 0.03)
  })
})
