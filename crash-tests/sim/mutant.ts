// A version of the engine without a safeguard.

export interface Mutant {
  /** What is left out. */
  readonly name: string
  /** Compiled file below dist/src, a text that occurs there exactly once, and what takes its place. */
  readonly changes: readonly { readonly file: string; readonly from: string; readonly to: string }[]
}

/** A version with one change. */
export const one = (name: string, file: string, from: string, to: string): Mutant => ({
  name,
  changes: [{ file, from, to }],
})
