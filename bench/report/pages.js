// Writes the results into the project's pages, between the marks that they have.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { conditions, details, writeCharts } from './report.js'
import { losses, shortTable } from './tables.js'

/** `root`: the project. */
export function publish(results, root) {
  const charts = join(root, 'docs/benchmarks')
  mkdirSync(charts, { recursive: true })
  writeCharts(results, charts)
  writeFileSync(join(charts, 'results.json'), `${JSON.stringify(results)}\n`)
  fill(join(root, 'docs/benchmarks.md'), 'results', [
    conditions(results),
    shortTable(results.rows),
    '## Where peers win',
    losses(results),
    details(results, 'benchmarks/'),
  ])
  fill(join(root, 'README.md'), 'benchmarks', [conditions(results), shortTable(results.rows)])
}

function fill(path, name, parts) {
  const text = readFileSync(path, 'utf8')
  const marks = new RegExp(`(<!-- ${name}: begin -->)[^]*(<!-- ${name}: end -->)`)
  if (!marks.test(text)) throw new Error(`${path} has no marks "${name}: begin" and "${name}: end"`)
  writeFileSync(
    path,
    text.replace(marks, (_, begin, end) => `${begin}\n\n${parts.join('\n\n')}\n\n${end}`),
  )
}
