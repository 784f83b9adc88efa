// What a soak tells its processes, and what they answer.
import type { OpenOptions } from '../../src/index.js'
import type { Workload } from './actor.js'
import type { Leak, Sample } from './resources.js'

/** What a process does from one check to the next. */
export interface Spell {
  readonly path: string
  readonly lanesDirectory: string
  readonly seed: number
  readonly mode: 'pool' | 'threads'
  readonly lanes: readonly number[]
  readonly options: OpenOptions
  /** Operations of one actor that are under way at a time (`pool` only). */
  readonly depth: number
  readonly workload: Workload
  /** Close the database at the end of it (`pool` only; threads always do). */
  readonly closes: boolean
  /** What to lose on purpose. */
  readonly leaks?: readonly Leak[]
}

export type Order = { readonly do: 'spell'; readonly spell: Spell } | { readonly do: 'end spell' | 'sample' | 'exit' }

export interface SpellReport {
  operations: Record<string, number>
  opened: number
  terminated: number
}

export type Report =
  | { readonly ready: true }
  | { readonly spellDone: SpellReport }
  | { readonly sample: Sample }
  | { readonly failure: string }

export function add(all: SpellReport, report: SpellReport): void {
  for (const [name, count] of Object.entries(report.operations))
    all.operations[name] = (all.operations[name] ?? 0) + count
  all.opened += report.opened
  all.terminated += report.terminated
}
