// Makes the tables of docs/evidence.md out of lines of evidence: `npm run evidence`, or with other files
//   node dist/crash-tests/lib/evidence-page.js [--page FILE] [FILE ...]
// What stands between the two markers of the page is replaced, the rest is left alone. A missing page is made.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { pathToFileURL } from 'node:url'
import { inPackage } from '../../src/package-root.js'
import { readEvidence, typed, type Evidence } from './evidence.js'

const EVIDENCE = inPackage('crash-tests/evidence.ndjson')
const PAGE = inPackage('docs/evidence.md')
export const MARKERS = ['<!-- evidence:begin -->', '<!-- evidence:end -->'] as const

const row = (...cells: readonly string[]): string =>
  `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |`
const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [row(...head), row(...head.map(() => '---')), ...rows.map((cells) => row(...cells))].join('\n')

const machineOf = ({ machine: { cpu, cores, memoryGiB, kernel, node } }: Evidence): string =>
  `${cpu}, ${cores} cores, ${memoryGiB} GiB, ${kernel}, Node.js ${node}`

const codeOf = ({ version, commit, changed }: Evidence): string =>
  commit === undefined ? version : `${version}, \`${commit.slice(0, 8)}\`${changed === true ? ' and changes' : ''}`

const optionsOf = ({ options, seed }: Evidence): string => `\`--seed ${seed}${typed(options)}\``

const timeOf = ({ seconds }: Evidence): string =>
  seconds < 120 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`

/** Groups of counts are left to the file. */
const countsOf = ({ counts }: Evidence): string =>
  Object.entries(counts)
    .filter(([, count]) => typeof count === 'number' && count > 0)
    .map(([name, count]) => `${name} ${count.toLocaleString('en')}`)
    .join(', ')

/** What stands between the markers. */
export function tablesOf(all: readonly Evidence[]): string {
  const machines = [...new Set(all.map(machineOf))]
  const nameOf = (evidence: Evidence): string => `M${machines.indexOf(machineOf(evidence)) + 1}`
  const harnesses = [...new Set(all.map(({ harness }) => harness))].sort()
  const sections = harnesses.map((harness) => {
    const runs = all.filter((evidence) => evidence.harness === harness).sort((a, b) => (a.date < b.date ? -1 : 1))
    const rows = runs.map((evidence) => [
      evidence.date.slice(0, 10),
      codeOf(evidence),
      optionsOf(evidence),
      timeOf(evidence),
      `${evidence.passed ? 'passed' : '**FAILED**'}: ${evidence.result}`,
      countsOf(evidence),
      `${nameOf(evidence)}, ${evidence.machine.fileSystem}`,
    ])
    const head = ['date', 'code', 'options', 'took', 'result', 'counts', 'machine, file system']
    return `### prove:${harness}\n\n${table(head, rows)}`
  })
  const list = table(
    ['machine', ''],
    machines.map((machine, i) => [`M${i + 1}`, machine]),
  )
  return [...sections, `### Machines\n\n${list}`].join('\n\n')
}

/** The page with new tables. Throws if it has no place for them. */
export function withTables(page: string, tables: string): string {
  const [begin, end] = MARKERS
  const [from, to] = [page.indexOf(begin), page.indexOf(end)]
  if (from < 0 || to < from)
    throw new Error(`The page has no place for the tables. Put these two lines where they belong:\n${begin}\n${end}`)
  return `${page.slice(0, from + begin.length)}\n\n${tables}\n\n${page.slice(to)}`
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { values, positionals } = parseArgs({ options: { page: { type: 'string' } }, allowPositionals: true })
  const page = values.page ?? PAGE
  const files = positionals.length > 0 ? positionals : [EVIDENCE]
  const before = existsSync(page) ? readFileSync(page, 'utf8') : `# Evidence\n\n${MARKERS.join('\n')}\n`
  const all = files.flatMap(readEvidence)
  writeFileSync(page, withTables(before, tablesOf(all)))
  console.log(`${page}: ${all.length} runs`)
}
