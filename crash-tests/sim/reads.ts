// The reads of simulated processes: whole snapshots, forwards and backwards, point reads and counts, each compared with
// the model; and readers that are overtaken while they read.
import { AREA, storeOf, type KeySpace } from '../../src/encoding/key-space.js'
import { encodeStore, storeKey } from '../../src/engine/stores/catalog.js'
import type { Engine } from '../../src/engine/engine.js'
import type { EngineSnapshot } from '../../src/engine/read/snapshot.js'
import { verify } from '../../src/maintenance/verify.js'
import type { Context } from './context.js'
import type { Processes, SimProcess } from './processes.js'
import { wrongOutcome } from './outcomes.js'
import { CALM, READING } from './world.js'
import { keyOf } from './writes.js'

/** Before the keys of all named stores. */
const NAMED = Buffer.from([AREA.STORES])
const bytesOf = (key: string): Buffer => Buffer.from(key, 'latin1')

/** A value as the model has it. */
const textOf = (value: unknown): string | undefined => (value === undefined ? undefined : JSON.stringify(value))

/** The named stores at the moment of a snapshot, each with its entry in the list of stores. */
function storesIn({ stores }: Engine, snapshot: EngineSnapshot): { space: KeySpace; key: string; entry: string }[] {
  return stores.list(snapshot).map(({ name, number, encoding }) => ({
    space: stores.openIn(snapshot, name),
    key: storeKey(name).toString('latin1'),
    entry: encodeStore(number, encoding).toString('latin1'),
  }))
}

/** All that there is at the moment of a snapshot, as the model has it. */
export function entriesOf(engine: Engine, snapshot: EngineSnapshot, reverse = false): Map<string, string> {
  const found: [string, string][] = []
  const read = (space: KeySpace): void => {
    const prefix = space.bytes.toString('latin1', 0, space.prefixBytes)
    const entries = snapshot.range({ reverse }, 'entries', space) as Iterable<[string, unknown]>
    for (const [key, value] of entries) found.push([prefix + key, textOf(value)!])
  }
  read(engine.main)
  for (const { space, key, entry } of storesIn(engine, snapshot)) {
    found.push([key, entry])
    read(space)
  }
  return new Map(found)
}

export class Reads {
  readonly #context: Context
  readonly #processes: Processes
  #stepsUntilOvertaken = 0

  constructor(context: Context, processes: Processes) {
    this.#context = context
    this.#processes = processes
  }

  #compare(what: string, found: Map<string, string>, { lsn, momentMs }: EngineSnapshot): void {
    const wrong = this.#context.model.differenceAt(lsn, found, momentMs)
    if (wrong !== undefined) throw this.#context.failure(`${what} at LSN ${lsn}, time ${momentMs}: ${wrong}`)
  }

  /** A new snapshot. */
  #taken(actor: SimProcess): EngineSnapshot {
    const { model, world } = this.#context
    const snapshot = actor.engine!.snapshot()
    const wrong = model.wrongMoment(snapshot, world.clocks, actor.engine!.parts.control.life)
    if (wrong !== undefined) throw this.#context.failure(wrong)
    return snapshot
  }

  read(actor: SimProcess, mayBeOvertaken = true): void {
    const { world } = this.#context
    const snapshot = this.#taken(actor)
    if (mayBeOvertaken) this.#beginRead()
    try {
      const entries = entriesOf(actor.engine!, snapshot)
      // Others may write before it is read again.
      world.step('between reads')
      const again = entriesOf(actor.engine!, snapshot, true)
      this.#compare('a snapshot', entries, snapshot)
      this.#compare('the same snapshot, backwards', again, snapshot)
      this.#lookUp(actor.engine!, snapshot, entries)
    } finally {
      this.#stepsUntilOvertaken = 0
      if (!actor.dead && world.outage === undefined) snapshot.close()
    }
  }

  /** Some reads are overtaken at one of their steps: others write until what is read has become something else. */
  #beginRead(): void {
    const { world, random, readersExpire } = this.#context
    const isOvertaken = readersExpire && world.depth === 0 && random.chance(0.8)
    this.#stepsUntilOvertaken = isOvertaken ? random.skewed(1, 200) : 0
  }

  /** Called between two loads of a reader that can be ended. */
  stepOfReader(): void {
    if (this.#stepsUntilOvertaken > 0 && --this.#stepsUntilOvertaken === 0) this.#context.world.step(READING)
  }

  /** The other ways to read a snapshot, whose entries are known. */
  #lookUp(engine: Engine, snapshot: EngineSnapshot, entries: Map<string, string>): void {
    const { random } = this.#context
    const is = (what: string, found: unknown, expected: unknown): void => {
      if (found !== expected)
        throw this.#context.failure(
          `${what} at LSN ${snapshot.lsn}: ${String(found)} and should be ${String(expected)}`,
        )
    }
    const stores = random.chance(0.5) ? storesIn(engine, snapshot) : []
    const space = stores.length > 0 ? random.pick(stores).space : engine.main
    const own = [...entries.keys()].filter((key) => (storeOf(bytesOf(key)) ?? -1) === space.number)
    for (let i = 0; i < 8; i++) {
      const key = keyOf(random.skewed(1, 300))
      const value = entries.get(space.encoded(key).toString('latin1'))
      if (random.chance(0.5)) is(`get of ${key}`, textOf(snapshot.get(key, space)), value)
      else is(`getEntry of ${key}`, textOf(snapshot.getEntry(key, space)?.value), value)
      is(`has of ${key}`, snapshot.has(key, space), value !== undefined)
    }
    const from = keyOf(random.skewed(1, 300))
    const first = space.encoded(from).toString('latin1')
    const range = { gte: from, reverse: random.chance(0.5) }
    is('the count', snapshot.range(range, 'keys', space).count(), own.filter((key) => key >= first).length)
    is('the count of all', snapshot.range({}, 'keys', space).count(), own.length)
    if (stores.length === 0) return
    // Also of stores that are not in the list any more.
    const bounds = { from: NAMED, fromAfter: false, to: engine.main.from, toInclusive: false, reverse: false }
    const inStores = [...entries.keys()].filter((key) => (storeOf(bytesOf(key)) ?? 0) > 0)
    is(
      'the count of all in stores',
      snapshot.rangeWithin({ ...bounds, limit: Infinity }, 'keys').count(),
      inStores.length,
    )
  }

  /** Keeps a snapshot open while others write, and slots that it reaches are freed. */
  keepSnapshot(actor: SimProcess): void {
    actor.openSnapshots.push(this.#taken(actor))
  }

  readKeptSnapshot(actor: SimProcess): void {
    const { world, random } = this.#context
    const snapshot = actor.openSnapshots.shift()
    if (snapshot === undefined) return
    let isKept = false
    this.#beginRead()
    try {
      const entries = entriesOf(actor.engine!, snapshot)
      this.#compare('a snapshot held for long', entries, snapshot)
      this.#lookUp(actor.engine!, snapshot, entries)
      isKept = random.chance(0.5)
      if (isKept) actor.openSnapshots.push(snapshot)
    } finally {
      this.#stepsUntilOvertaken = 0
      if (!isKept && !actor.dead && world.outage === undefined) snapshot.close()
    }
  }

  /** Nothing else happens meanwhile. */
  #checkOutcomes(actor: SimProcess): void {
    const { world, model } = this.#context
    const { rates } = world
    world.rates = CALM
    const wrong = wrongOutcome(actor.engine!, model.frames)
    world.rates = rates
    if (wrong !== undefined) throw this.#context.failure(wrong)
  }

  /** Verifies the whole database and reads it. */
  checkAll(actor: SimProcess): void {
    const report = verify(actor.engine!)
    this.#processes.deathsUnverified = false
    if (!report.ok) throw this.#context.failure(`verification: ${JSON.stringify(report.damage.slice(0, 3))}`)
    this.#checkOutcomes(actor)
    this.read(actor, false)
  }
}
