// An actor of a soak: the owner of a lane for a while, with the database open, and what it may do.
import { mix, Random } from '../lib/random.js'
import { valueLength, type Operation } from '../lib/workload.js'
import type { Database, OpenOptions, Snapshot } from '../../src/index.js'
import { LANE_KEYS, WrongContents, type Change, type Held, type Lane } from './lane.js'

export const LANES = 6

export const counterKey = (lane: number): string => `counter/${lane}`

export const word = (n: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32LE(n)
  return bytes
}
export const numberOf = (value: Uint8Array | undefined): number | undefined =>
  value === undefined ? undefined : Buffer.from(value.buffer, value.byteOffset, value.byteLength).readInt32LE()

export interface Workload {
  /** Share of values longer than 100 KB. */
  readonly largeShare: number
  /** Share of writes that delete. */
  readonly deleteShare: number
  /** How long snapshots and iterators stay open, at most. */
  readonly longReaderMs: number
  /** Milliseconds of rest after every few operations. */
  readonly restMs: number
}

/** A snapshot that is kept open, and what it must hold. */
interface HeldSnapshot {
  readonly snapshot: Snapshot<Buffer>
  readonly untilMs: number
  readonly may: (readonly Held[])[]
  readonly sum: number
}

/**
 * What a process had appended when it was killed is neither acknowledged nor refused; the next leader applies it.
 * After a write of this process nothing before it is undecided any more.
 */
export const decide = (db: Database<Buffer>): void => void db.putSync('fence', word(0))

/** What a process has read of the keys that all share: kept as long as it lives, for all its actors. */
export class Watcher {
  readonly counters = new Map<number, number>()
  readonly versions = new Map<number, number>()
}

/** One owner of a lane, with the database open. */
export class Actor {
  readonly db: Database<Buffer>
  readonly lane: Lane
  readonly random: Random
  readonly workload: Workload
  readonly options: OpenOptions
  readonly watcher: Watcher
  readonly held: HeldSnapshot[] = []
  /** What is under way that must not be twice at a time: what is read and written back. */
  readonly underWay = new Set<string>()

  constructor(
    db: Database<Buffer>,
    lane: Lane,
    seed: number,
    workload: Workload,
    options: OpenOptions,
    watcher: Watcher,
  ) {
    this.db = db
    this.lane = lane
    this.random = new Random(mix(seed, lane.number))
    this.workload = workload
    this.options = options
    this.watcher = watcher
    decide(db)
    lane.resolve((key) => db.get(key))
    const counted = numberOf(db.get(counterKey(lane.number))) ?? 0
    if (counted !== lane.counted && counted !== lane.counted + 1) {
      throw new WrongContents(
        `the counter of lane ${lane.number} is ${counted} after ${lane.counted} had been acknowledged`,
      )
    }
    lane.counted = counted
  }

  /** A key of the lane that no write in flight touches. */
  index(): number | undefined {
    for (let tries = 0; tries < 8; tries++) {
      const index = this.random.between(0, LANE_KEYS - 1)
      if (!this.lane.isBusy(index)) return index
    }
    return undefined
  }

  change(index: number): Change {
    const { random, workload } = this
    if (random.chance(workload.deleteShare)) return { index, lengthBytes: undefined }
    return { index, lengthBytes: valueLength(random, this.lane.key(index).length, workload.largeShare) }
  }

  changes(most: number): Change[] {
    const indexes = new Set<number>()
    for (let n = this.random.between(1, most); n > 0; n--) {
      const index = this.index()
      if (index !== undefined) indexes.add(index)
    }
    return [...indexes].map((index) => this.change(index))
  }

  /** Changes the lane's own keys; `ordered` if the database promises the order among such writes. */
  async write(
    changes: readonly Change[],
    ordered: boolean,
    perform: (operations: Operation[]) => unknown,
  ): Promise<void> {
    if (changes.length === 0) return
    const flight = this.lane.begin(changes, ordered)
    await perform(this.lane.operationsOf(flight))
    this.lane.settle(flight)
  }

  /** One at a time in this actor; while it runs, others are left out. */
  async alone(what: string, act: () => unknown): Promise<void> {
    if (this.underWay.has(what)) return
    this.underWay.add(what)
    try {
      await act()
    } finally {
      this.underWay.delete(what)
    }
  }

  closeSnapshots(): void {
    for (const { snapshot } of this.held.splice(0)) snapshot.close()
  }
}

/** Something that an actor may do. */
export interface Entry {
  readonly name: string
  /** How often, relative to the others. */
  readonly weight: number
  run(actor: Actor): unknown
}
