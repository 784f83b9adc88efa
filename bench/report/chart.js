// Bar charts as SVG text, for light and dark pages. There is no browser and no library: the well-kept ones that draw
// without a DOM bring tens of megabytes.
import { amount } from './format.js'

const WIDTH = 720
const LABEL = 190
const VALUE = 110
const BAR = 16
const STEP = 21
const HEAD = 26
const GAP = 16
const PADDING = 14

const STYLE = `
  text { font: 12px system-ui, sans-serif; fill: #1f2328 }
  .title { font-weight: 600; font-size: 13px }
  .ours { fill: #0969da } .peer { fill: #8c959f } .floor { fill: none; stroke: #8c959f; stroke-dasharray: 3 2 }
  .spread { stroke: #1f2328; stroke-width: 1.5 }
  .page { fill: #ffffff }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .ours { fill: #4493f8 } .peer { fill: #6e7681 } .floor { stroke: #8b949e }
    .spread { stroke: #e6edf3 } .page { fill: #0d1117 }
  }`

const escape = (text) => text.replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c])
const round = (x) => Math.round(x * 10) / 10

/** Rows below each other, each with a bar for each store on a scale of its own; shorter is better. */
export function chart(title, rows) {
  let y = PADDING
  const parts = []
  const text = (x, at, content, rest = '') =>
    parts.push(`<text x="${round(x)}" y="${round(at)}"${rest}>${escape(content)}</text>`)
  for (const row of rows) {
    const cells = row.cells.filter(({ median }) => median !== undefined)
    if (cells.length === 0) continue
    text(PADDING, y + 14, `${row.title} (less is better)`, ' class="title"')
    y += HEAD
    const scale = (WIDTH - LABEL - VALUE - 2 * PADDING) / (Math.max(...cells.map(({ high }) => high)) || 1)
    const left = PADDING + LABEL
    for (const cell of cells) {
      const kind = cell.isFloor ? 'floor' : cell.store.startsWith('mmapdb') ? 'ours' : 'peer'
      const middle = round(y + BAR / 2)
      text(left - 8, y + 12, cell.title, ' text-anchor="end"')
      parts.push(
        `<rect class="${kind}" x="${left}" y="${y}" width="${round(Math.max(1, cell.median * scale))}" height="${BAR}"/>`,
        `<line class="spread" x1="${round(left + cell.low * scale)}" x2="${round(left + cell.high * scale)}" y1="${middle}" y2="${middle}"/>`,
      )
      text(left + cell.high * scale + 8, y + 12, amount(cell.median, row.unit))
      y += STEP
    }
    y += GAP
  }
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y}" width="${WIDTH}" height="${y}" role="img">`,
    `<title>${escape(title)}</title>`,
    `<style>${STYLE}\n</style>`,
    `<rect class="page" width="${WIDTH}" height="${y}" rx="6"/>`,
    ...parts,
    '</svg>\n',
  ].join('\n')
}
