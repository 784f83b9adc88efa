// The result of a load.
import type { Percentiles } from './latency.js'
import { number } from './output.js'

export interface LoadReport {
  readonly operations: number
  /** Bad records left out; undefined for a synthetic load. */
  readonly skipped: number | undefined
  readonly seconds: number
  readonly operationsPerSecond: number
  readonly workers: number
  /** 0: the threads were of this process. */
  readonly processes: number
  readonly batch: number
  readonly commits: number
  readonly latencyUs: Percentiles
  readonly flushes: number
  readonly operationsPerFlush: number
  /** Undefined if nothing was read back. */
  readonly checked: number | undefined
  readonly lost: number | undefined
  readonly examples: string[]
  readonly interrupted: boolean
}

export function reportLines(r: LoadReport): string[] {
  const us = (n: number): string => (n < 1000 ? `${n} µs` : n < 1e6 ? `${(n / 1000).toFixed(2)} ms` : `${(n / 1e6).toFixed(2)} s`)
  const { p50, p90, p99, p999, max } = r.latencyUs
  const where = r.processes > 0 ? `${r.processes} processes of ${r.workers} workers` : `${r.workers} workers`
  const lines: [string, string][] = [
    ['operations', `${number(r.operations)}${r.interrupted ? ' (interrupted)' : ''}`],
    ['seconds', r.seconds.toFixed(3)],
    ['operations/s', number(Math.round(r.operationsPerSecond))],
    ['by', `${where}, ${r.batch === 1 ? '1 record' : `${number(r.batch)} records`} to a commit`],
    ['commit latency', `p50 ${us(p50)}   p90 ${us(p90)}   p99 ${us(p99)}   p99.9 ${us(p999)}   max ${us(max)}`],
    ['flushes', number(r.flushes)],
    ['operations/flush', r.operationsPerFlush.toFixed(1)],
  ]
  if (r.skipped !== undefined) lines.push(['bad records skipped', number(r.skipped)])
  lines.push(
    r.lost === undefined
      ? ['lost records', 'not checked']
      : ['lost records', `${number(r.lost)} (of ${number(r.checked ?? 0)} read back)${r.lost > 0 ? `, such as ${r.examples.join(', ')}` : ''}`],
  )
  return lines.map(([name, text]) => `${name.padEnd(20)} ${text}`)
}
