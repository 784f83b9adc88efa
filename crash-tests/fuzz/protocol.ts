// What the process that watches tells the one that runs inputs, and hears from it.

/** What the process that runs inputs is to do. */
export interface FuzzJob {
  readonly targets: readonly string[]
  readonly seed: number
  /** By the wall clock. */
  readonly endMs: number
  /** Targets are changed this often, each keeping its corpus. */
  readonly turnMs: number
  /** Where the input that is being run is kept: what it was, if the process dies of it. */
  readonly currentPath: string
}

export interface TargetReport {
  readonly executions: number
  readonly corpus: number
  readonly blocks: number
}

export type FuzzMessage =
  | { readonly alive: true }
  | { readonly found: string; readonly input: string; readonly error: string }
  | { readonly report: Record<string, TargetReport> }

/** The name of the target stands before the input in the file of the current one. */
export const NAME_BYTES = 16
