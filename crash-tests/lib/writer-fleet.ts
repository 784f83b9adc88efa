// A process with its writers, and what became of them.
import { join } from 'node:path'
import type { OpenOptions } from '../../src/index.js'
import type { Written } from './check.js'
import { readJournal } from './journal.js'
import { Child } from './processes.js'
import { mix } from './random.js'
import type { WriterSpec } from './workload.js'
import type { ProcessSpec } from './writer.js'

/** How the writers of a process go about it. */
export interface WorkloadProfile
  extends Pick<ProcessSpec, 'poolThreads'>, Pick<WriterSpec, 'depth' | 'ownKeys' | 'sharedKeys' | 'largeShare'> {
  readonly mode: 'threads' | 'pool'
}

export interface WriterProcess {
  readonly child: Child
  readonly writers: { readonly spec: WriterSpec; readonly journal: string }[]
}

/** Starts processes on one database; each writer gets a number of its own. */
export class WriterFleet {
  readonly path: string
  readonly #options: OpenOptions
  readonly #journals: string
  readonly #seed: number
  #writers = 0

  /** `journals` is the directory where each writer has its journal. */
  constructor(path: string, options: OpenOptions, journals: string, seed: number) {
    this.path = path
    this.#options = options
    this.#journals = journals
    this.#seed = seed
  }

  /** A process with a writer for each of `lanes`. */
  start(
    profile: WorkloadProfile,
    lanes: readonly number[],
    environment: Readonly<Record<string, string>> = {},
    terminate: ProcessSpec['terminate'] = [],
  ): WriterProcess {
    const { mode, poolThreads, depth, ownKeys, sharedKeys, largeShare } = profile
    const writers = lanes.map((lane) => {
      const id = ++this.#writers
      return {
        spec: { id, lane, seed: mix(this.#seed, id), depth, ownKeys, sharedKeys, largeShare },
        journal: join(this.#journals, `writer${id}`),
      }
    })
    return {
      child: Child.writing(
        { path: this.path, options: this.#options, mode, poolThreads, writers, terminate },
        environment,
      ),
      writers,
    }
  }

  /** A process that opens the database, verifies and closes it. */
  recover(environment: Readonly<Record<string, string>>): Child {
    return Child.writing(
      { path: this.path, options: this.#options, mode: 'recover', poolThreads: 0, writers: [], terminate: [] },
      environment,
    )
  }
}

export const written = ({ child, writers }: WriterProcess): Written[] =>
  writers.map(({ spec, journal }) => ({ spec, journal: readJournal(journal), deadMs: child.deadMs }))

export const acknowledgedBy = (all: readonly Written[]): number =>
  all.reduce((sum, w) => sum + w.journal.acknowledgedAtMs.length, 0)
