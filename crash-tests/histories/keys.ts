// The keys of the database that a history is about, and the values that are put there. Keys come in groups, and an
// operation on several keys stays within one: so the check can look at one group after the other. A value names the
// operation that put it, and says how long it is; so one that was cut, mixed or invented is a value that nobody put.
import type { Held, Step, Value } from './operations.js'
import type { Random } from '../lib/random.js'

export interface Layout {
  /** How many keys each group has. */
  readonly groups: readonly number[]
}

const nameOf = (group: number, i: number): string => `g${group}/${String(i).padStart(2, '0')}`

/** What the keys of the group of this key have in common. */
export const prefixOf = (key: string): string => key.slice(0, key.indexOf('/') + 1)

export const keysOfGroup = ({ groups }: Layout, group: number): string[] =>
  Array.from({ length: groups[group]! }, (_, i) => nameOf(group, i))

/** Keys of numbers that are added to, each a group of its own. */
const COUNTERS = 3
export const counterKeys = (): string[] => Array.from({ length: COUNTERS }, (_, i) => `n${i}/`)

export const allKeys = (layout: Layout): string[] => [
  ...layout.groups.flatMap((_, group) => keysOfGroup(layout, group)),
  ...counterKeys(),
]

/** A hot key, some small groups, and a wide one. */
export const someLayout = (random: Random): Layout => ({
  groups: [
    1,
    2,
    4,
    4,
    random.between(5, 12),
    ...Array.from({ length: random.skewed(1, 40) }, () => random.between(1, 4)),
  ],
})

const FILLER = '.'

/** What is put: the name, and more up to a length. */
export const longValue = (name: string, lengthChars: number): string => {
  const head = `${name} ${lengthChars} `
  return head + FILLER.repeat(Math.max(0, lengthChars - head.length))
}

const HEAD = /^(\S+ (\d+)) (\.*)$/

/** What a value is called in a history: short if it is whole. */
function shortValue(value: unknown): Value {
  if (typeof value === 'number') return value
  if (typeof value === 'bigint') return `${value}n`
  if (typeof value !== 'string') return `a value of another kind: ${JSON.stringify(value)}`
  const [, head, length] = HEAD.exec(value) ?? []
  if (head === undefined || value.length !== Math.max(Number(length), head.length + 1))
    return `a broken value of ${value.length} characters: ${value.slice(0, 100)}`
  return head
}

/** A read of one key, with its answer. */
export const readOf = (key: string, entry: { readonly value: unknown; readonly version?: number } | undefined): Step =>
  entry === undefined
    ? { do: 'get', key, was: null }
    : { do: 'get', key, was: shortValue(entry.value), version: entry.version }

/** What was there, as the beginning of the next history. */
export const heldOf = (reads: readonly Step[]): Record<string, Held> =>
  Object.fromEntries(
    reads.flatMap((step) =>
      step.do === 'get' && step.was !== undefined && step.was !== null
        ? [[step.key, { value: step.was, version: step.version }]]
        : [],
    ),
  )
