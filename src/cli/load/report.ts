// The result of a load.
import type { Percentiles } from './latency.js'
import { printable } from '../../encoding/notation.js'
import { number, plural } from '../shared/output.js'
import { GLUE, labelled, showsUnicode } from '../shared/terminal.js'

export interface LoadReport {
  /** Acknowledged. */
  readonly operations: number
  /** These may or may not take effect: their outcome is not known. */
  readonly unknown: number
  /** Entries that were not there before. Undefined if other processes wrote at the same time. */
  readonly created: number | undefined
  /** Operations that took the place of an entry, of this load or from before. */
  readonly replaced: number | undefined
  /** Bad records left out; undefined for a synthetic load. */
  readonly skipped: number | undefined
  readonly seconds: number
  readonly operationsPerSecond: number
  readonly workers: number
  /** 0: the threads belonged to this process. */
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

/** Instead of a table of zeros. */
export function nothingLine(r: LoadReport, input: string | undefined): string {
  if (r.interrupted) return 'Interrupted before anything was written.'
  const skipped = r.skipped ? `, besides ${plural(r.skipped, 'bad one')}` : ''
  return `There are no records in ${input === '-' ? 'stdin' : printable(input!)}${skipped}: nothing was written.`
}

export function reportLines(r: LoadReport, columns: number | undefined): string[] {
  const micro = columns === undefined || showsUnicode() ? 'µs' : 'us'
  const us = (n: number): string =>
    n < 1000 ? `${n}${GLUE}${micro}` : n < 1e6 ? `${(n / 1000).toFixed(2)}${GLUE}ms` : `${(n / 1e6).toFixed(2)}${GLUE}s`
  const { p50, p90, p99, p999, max } = r.latencyUs
  const where = r.processes > 0 ? `${r.processes} processes of ${r.workers} workers` : `${r.workers} workers`
  const lines: [string, string][] = [
    ['operations', `${number(r.operations)}${r.interrupted ? ' (interrupted)' : ''}`],
    ['seconds', r.seconds.toFixed(3)],
    ['operations/s', number(Math.round(r.operationsPerSecond))],
    ['by', `${where}, ${r.batch === 1 ? '1 record' : `${number(r.batch)} records`} per commit`],
    [
      'commit latency',
      `p50${GLUE}${us(p50)}   p90${GLUE}${us(p90)}   p99${GLUE}${us(p99)}   p99.9${GLUE}${us(p999)}   max${GLUE}${us(max)}`,
    ],
    ['flushes', number(r.flushes)],
    ['operations/flush', r.operationsPerFlush.toFixed(1)],
  ]
  if (r.replaced)
    lines.push([
      'new entries',
      `${number(r.created!)}; ${number(r.replaced)} took the place of entries with the same key`,
    ])
  if (r.unknown > 0)
    lines.push(['outcome unknown', `${number(r.unknown)}: check whether they are there, or load them again`])
  if (r.skipped !== undefined) lines.push(['bad records skipped', number(r.skipped)])
  lines.push(
    r.lost === undefined
      ? ['lost records', 'not checked']
      : [
          'lost records',
          `${number(r.lost)} (of ${number(r.checked ?? 0)} read back)${r.lost > 0 ? `, such as ${r.examples.join(', ')}` : ''}`,
        ],
  )
  return labelled(lines, columns)
}
