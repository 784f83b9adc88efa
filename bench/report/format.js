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

/** How many times as much: `2.4 x`. */
export const times = (x) => `${x >= 10 ? Math.round(x) : x.toFixed(x >= 2 ? 1 : 2)} x`
