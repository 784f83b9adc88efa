// What a Database and its Snapshots read by worker threads, or on this thread if there are none: lists of keys, and
// ranges chunk by chunk. A short list is also read on this thread if it need not wait for a disk. A worker reads the
// newest tree, or that of a snapshot, under the pin of this thread (engine/shared/lent-pin.ts).
import type { KeySpace } from '../encoding/key-space.js'
import type { Encoded } from '../encoding/packed-list.js'
import { decodedValue } from '../encoding/undecodable.js'
import type { Engine } from '../engine/engine.js'
import type { Bounds } from '../engine/read/bounds.js'
import type { RangeChunk } from '../engine/read/range-chunk.js'
import type { EngineSnapshot, WantedOfMany } from '../engine/read/snapshot.js'
import type { Lanes } from '../workers/attachment.js'
import type { ChunkTask, LookUpTask } from '../workers/worker.js'
import { Lookups } from './lookups.js'
import { fairTurn, nextTurn } from './turns.js'

/**
 * A list of that many keys that are in memory is looked up on this thread: to send it to a worker would take longer. It
 * breaks even at 20 keys where a system call takes 2 µs.
 */
const MOST_KEYS_HERE = 16

/** What a Database gives for it. */
interface Source {
  readonly engine: Engine
  readonly lanes: Lanes | undefined
  readonly workers: number
  readonly timeoutMs: number
  /** Throws if the user has closed the database. */
  assertOpen(): void
  /** Makes `close` wait for a task. */
  track<T>(task: Promise<T>): Promise<T>
}

export class BackgroundReads {
  readonly #source: Source
  /** True if workers read, so that this thread can do something else meanwhile. */
  readonly hasWorkers: boolean

  constructor(source: Source) {
    this.#source = source
    this.hasWorkers = source.lanes !== undefined
  }

  /** Throws if the user has closed the database. */
  assertOpen(): void {
    this.#source.assertOpen()
  }

  /** Makes `close` wait for a task. */
  track<T>(task: Promise<T>): Promise<T> {
    return this.#source.track(task)
  }

  /** For lists of keys, to be looked up in a snapshot, or each time in the newest tree. */
  lookups(space: KeySpace, snapshot?: EngineSnapshot): Lookups {
    const { workers, timeoutMs } = this.#source
    return new Lookups({
      run: (keys, wanted) => this.#lookUp(keys, wanted, snapshot),
      decode: (value, key) => decodedValue(space, value, key),
      maxTasks: Math.max(1, workers),
      timeoutMs,
    })
  }

  async #lookUp(keys: Encoded, wanted: WantedOfMany, snapshot: EngineSnapshot | undefined): Promise<Encoded> {
    const here = this.#lookUpHere(keys, wanted, snapshot)
    if (here !== undefined) {
      await fairTurn()
      return here
    }
    const task: LookUpTask = { keys, wanted, tree: snapshot?.lend() }
    return this.track(this.#source.lanes!.lists.run<Encoded>('lookUp', task, [keys.bytes.buffer]))
  }

  /** All lists if there are no workers; else short ones, if what they ask for is in memory. */
  #lookUpHere(keys: Encoded, wanted: WantedOfMany, snapshot: EngineSnapshot | undefined): Encoded | undefined {
    const { engine, lanes } = this.#source
    if (lanes === undefined) return (snapshot ?? engine).getManyEncoded(keys, wanted)
    const isShort = snapshot === undefined && keys.lengths.length <= MOST_KEYS_HERE
    return isShort ? engine.getManyInMemory(keys, wanted) : undefined
  }

  /**
   * The first entries of a range of a snapshot. Without workers they are read on this thread, in a turn of the event
   * loop of their own.
   */
  async readChunk(snapshot: EngineSnapshot, bounds: Bounds, selection: ChunkTask['selection']): Promise<RangeChunk> {
    const { lanes } = this.#source
    if (lanes === undefined) {
      await nextTurn()
      return snapshot.readChunk(bounds, selection)
    }
    const task: ChunkTask = { tree: snapshot.lend(), bounds, selection }
    return this.track(lanes.lists.run<RangeChunk>('readChunk', task))
  }
}
