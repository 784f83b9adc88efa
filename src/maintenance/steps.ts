// Long work in steps of some milliseconds: a generator that yields after each. Its driver decides what happens in
// between: it tells how far the work is, waits, or ends it with `return`, which makes the generator take back what it
// has done.

import { typedError } from '../storage/errors.js'
import type { Progress } from './reports.js'

/** Long work, and what it comes to. */
export type Steps<T> = Generator<Progress, T, void>

/** The same work, whatever its steps tell. An error of the system comes out typed. */
export function* guardedSteps<T, Told = Progress>(
  doing: string,
  steps: Generator<Told, T, void>,
): Generator<Told, T, void> {
  try {
    return yield* steps
  } catch (error) {
    throw typedError(error, doing)
  }
}
