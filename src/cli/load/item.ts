// A record of an input, or a stretch of it that cannot be read as a record.
export type InputFormat = 'ndjson' | 'json' | 'csv' | 'tsv'

export interface Good {
  /** Position among all records of the input, bad ones included, from 1. */
  readonly number: number
  /** Line that it begins in, from 1. */
  readonly line: number
  readonly value: unknown
}

export interface Bad {
  readonly number: number
  /** Where and why, for people: "line 3, column 7: ...". */
  readonly why: string
  /** Nothing after it can be read. */
  readonly final?: boolean
}

export type Item = Good | Bad

/** True if nothing after `item` can be read. */
export const isFinal = (item: Item | undefined): boolean => item !== undefined && 'why' in item && item.final === true
