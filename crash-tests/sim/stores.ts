// Named stores, and clearing, of simulated processes: each opens stores, or creates them, keeps them open while others
// drop them, writes to them, clears ranges and drops stores. A store that a process is told of is there at that
// moment; a write to one that is gone is refused and is not in the log; and what a clear has cut out is freed a part
// at a time, while readers of older trees still read it.
import type { KeySpace } from '../../src/encoding/key-space.js'
import { boundsOf, endsOf, type Range } from '../../src/engine/read/bounds.js'
import type { Engine } from '../../src/engine/engine.js'
import { StoreDroppedError } from '../../src/errors.js'
import type { FrameBuilder } from '../../src/wal/frame-builder.js'
import type { Context } from './context.js'
import { modelAt } from './frames.js'
import type { SimProcess } from './processes.js'
import { keyOf, type Writes } from './writes.js'

/** Few, so that processes meet. */
const NAMES = ['a', 'b']
const MOST_OPERATIONS = 12

export class NamedStores {
  readonly #context: Context
  readonly #writes: Writes

  constructor(context: Context, writes: Writes) {
    this.#context = context
    this.#writes = writes
  }

  /** Something that has to do with stores, or with clearing. */
  act(actor: SimProcess): void {
    const roll = this.#context.random.next()
    if (roll < 0.15) this.#open(actor, this.#someName())
    else if (roll < 0.55) this.#write(actor)
    else if (roll < 0.75) this.#clear(actor)
    else if (roll < 0.9) this.#drop(actor, this.#someName())
    else actor.engine!.emptyTrash(1)
  }

  #someName(): string {
    return this.#context.random.pick(NAMES)
  }

  // ---- what stores there are -------------------------------------------------------------------

  #open(actor: SimProcess, name: string): KeySpace {
    const engine = actor.engine!
    const before = visibleLsn(engine)
    const space = engine.stores.open(name, this.#context.random.pick([undefined, 'json']))
    this.#writes.acknowledge()
    if (!this.#wasThere(name, space.number, before, visibleLsn(engine)))
      throw this.#context.failure(`${actor.name} is given store ${space.number} for "${name}", and there was none such`)
    actor.openStores.set(name, space)
    return space
  }

  /** Whether a name had that number, or none if it is undefined, at some moment between two. */
  #wasThere(name: string, number: number | undefined, from: number, to: number): boolean {
    const { frames } = this.#context.model
    const moments = [from, ...frames.map(({ end }) => end).filter((end) => end > from && end <= to)]
    return moments.some((lsn) => modelAt(frames, lsn).stores.get(name) === number)
  }

  /** As `Database.dropStore` does it. */
  #drop(actor: SimProcess, name: string): void {
    for (;;) {
      let isThere = false
      const before = visibleLsn(actor.engine!)
      const { took } = this.#writes.commit(actor, (engine) => {
        const result = engine.write((frame) => {
          isThere = engine.stores.drop(frame, name)
          this.#letOthersAct()
        })
        return isThere ? { took: result.took } : {}
      })
      if (isThere && took === false) continue
      if (!isThere && !this.#wasThere(name, undefined, before, visibleLsn(actor.engine!)))
        throw this.#context.failure(`${actor.name} is told that there is no store "${name}", and there was one`)
      return
    }
  }

  /** A write is built, and not yet in the log. */
  #letOthersAct(): void {
    if (this.#context.random.chance(0.3)) this.#context.world.step('between building and appending')
  }

  /** One that it has open, mostly, and that may be gone by now. */
  someStore(actor: SimProcess): KeySpace {
    const { random } = this.#context
    const known = [...actor.openStores.values()]
    return known.length > 0 && random.chance(0.8) ? random.pick(known) : this.#open(actor, this.#someName())
  }

  // ---- what is in them -------------------------------------------------------------------------

  #write(actor: SimProcess): void {
    const { random } = this.#context
    const space = this.someStore(actor)
    const isMuch = random.chance(0.25)
    const count = random.between(1, MOST_OPERATIONS)
    const decides = random.chance(0.4)
    const isInMain = random.chance(0.2)
    this.commitTo(actor, [space], (engine, frame) => {
      const operations = isMuch ? this.#writes.manyOperations() : this.#writes.operations(engine, space, count, decides)
      engine.operations.batch(frame, operations, space)
      if (isInMain) engine.operations.batch(frame, this.#writes.operations(engine, engine.main, 1, false))
    })
  }

  #clear(actor: SimProcess): void {
    const { random } = this.#context
    const space = random.chance(0.5) ? actor.engine!.main : this.someStore(actor)
    const from = random.between(0, 300)
    const to = random.skewed(1, 300)
    const range: Range = random.pick([
      {},
      { gte: keyOf(from) },
      { lt: keyOf(from) },
      { gte: keyOf(from), lt: keyOf(from + to) },
      { gt: keyOf(from), lte: keyOf(from + to) },
      { prefix: keyOf(from).slice(0, 3) },
    ])
    const ends = endsOf(boundsOf(space, range))!
    this.commitTo(actor, [space], (_engine, frame) => {
      frame.clear(ends.from, ends.to)
      if (space.number > 0) frame.touchStores(space.generation)
    })
  }

  /**
   * A write to stores that may be gone: if it is told so, they are, and nothing was written. `isRenewed`: they are
   * looked for before; a transaction has their generations from when it wrote to them.
   */
  commitTo(
    actor: SimProcess,
    spaces: readonly KeySpace[],
    build: (engine: Engine, frame: FrameBuilder) => void,
    isRenewed = true,
  ): { took?: boolean } {
    try {
      return this.#writes.commit(actor, (engine) => {
        const { took } = engine.write((frame) => {
          if (isRenewed) for (const space of spaces) engine.stores.renew(space)
          build(engine, frame)
          this.#letOthersAct()
        })
        return { took }
      })
    } catch (error) {
      if (!(error instanceof StoreDroppedError)) throw error
      this.#forgetGone(actor, spaces)
      return {}
    }
  }

  /** It is told that one of these stores is gone. */
  #forgetGone(actor: SimProcess, spaces: readonly KeySpace[]): void {
    const { model, report } = this.#context
    const { stores } = modelAt(model.frames, visibleLsn(actor.engine!))
    const gone = spaces.filter(({ name, number }) => number > 0 && stores.get(name!) !== number)
    if (gone.length === 0)
      throw this.#context.failure(`${actor.name} is told that a store has been dropped, and none of its stores was`)
    report.dropped++
    for (const { name } of gone) actor.openStores.delete(name!)
  }
}

const visibleLsn = ({ parts: { control } }: Engine): number => control.visibleLsn()
