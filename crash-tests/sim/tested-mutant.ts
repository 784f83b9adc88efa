// A safeguard that a test sees, and not the simulation.
import type { Mutant } from './mutants.js'

export interface TestedMutant extends Mutant {
  /** Compiled file below dist/test, and a part of the name of a test in it. */
  readonly test: readonly [file: string, name: string]
}

export type Test = TestedMutant['test']

export const one = (name: string, test: Test, file: string, from: string, to: string): TestedMutant => ({
  name,
  test,
  changes: [{ file, from, to }],
})
