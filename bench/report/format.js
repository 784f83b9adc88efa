// Numbers and units for people.

const SHOWN = { us: 'µs', x: 'bytes' }

export const unitOf = (unit) => SHOWN[unit] ?? unit

/** Three digits, as far as a figure has them. */
export function figure(x) {
  if (x === undefined || x === null || Number.isNaN(x)) return ''
  if (Math.abs(x) >= 1000) return Math.round(x).toLocaleString('en-US')
  return x.toFixed(Math.abs(x) >= 100 ? 0 : Math.abs(x) >= 10 ? 1 : 2)
}

export const amount = (x, unit) => `${figure(x)} ${unitOf(unit)}`

/** How many times as much: `2.4 x`, `0.005 x`. */
export const times = (x) =>
  `${x >= 10 ? Math.round(x) : x >= 2 ? x.toFixed(1) : x >= 0.1 ? x.toFixed(2) : +x.toPrecision(1)} x`
