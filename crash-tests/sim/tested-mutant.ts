// A version of the engine without a safeguard, and the test that must find it wrong.
import type { Mutant } from './mutant.js'

export interface TestedMutant extends Mutant {
  /** Compiled file below dist/test, and a part of the name of a test in it. */
  readonly test: readonly [file: string, name: string]
}

export type Test = TestedMutant['test']

/** A version with one change. */
export const one = (name: string, test: Test, file: string, from: string, to: string): TestedMutant => ({
  name,
  test,
  changes: [{ file, from, to }],
})
