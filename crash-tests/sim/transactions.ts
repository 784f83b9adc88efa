// Transactions of simulated processes. Each reads keys and ranges between its own writes, while others act, and all of
// that must be what its snapshot and its writes say. If it is told that it took effect, all that it has read must be so
// at its place in the log, too: it could as well have run there, alone. That does not rely on how checks are made.
import type { KeySpace } from '../../src/encoding/key-space.js'
import { boundsOf, endsOf, type Range } from '../../src/engine/read/bounds.js'
import type { EngineTransaction } from '../../src/engine/transactions/engine-transaction.js'
import type { Context } from './context.js'
import { stateAt } from './frames.js'
import type { Processes, SimProcess } from './processes.js'
import type { NamedStores } from './stores.js'
import { counterOf, COUNTERS, keyOf, type Writes } from './writes.js'

/** What a transaction has written by some moment, by the keys of the tree; undefined: removed. */
type Own = Map<string, Written | undefined>
/** A value as text, or what is added to what is there. */
type Written = string | number

/** One read: what came out, and what should come out of a state, as text. */
interface Seen {
  readonly what: string
  readonly found: string
  readonly expectedOf: (state: ReadonlyMap<string, string>) => string
}

/** Keys are few, so that transactions meet. */
const MOST_KEYS = 12

export class Transactions {
  readonly #context: Context
  readonly #processes: Processes
  readonly #writes: Writes
  readonly #stores: NamedStores
  /** Keys that the transaction under way has read: some of them it reads and writes again, and others write to them. */
  #read: string[] = []

  constructor(context: Context, processes: Processes, writes: Writes, stores: NamedStores) {
    this.#context = context
    this.#processes = processes
    this.#writes = writes
    this.#stores = stores
  }

  transact(actor: SimProcess): void {
    const engine = actor.engine!
    const { random, world } = this.#context
    let seen: readonly Seen[]
    // Mostly in the default store; else in two.
    const store = random.chance(0.25) ? this.#stores.someStore(actor) : undefined
    const spaces = store === undefined ? [engine.main] : [engine.main, store]
    const transaction = engine.beginTransaction()
    try {
      seen = this.#carryOut(actor, spaces, transaction)
    } finally {
      if (!actor.dead && world.outage === undefined) transaction.end()
    }
    const told = this.#stores.commitTo(actor, spaces, (_engine, frame) => transaction.writeTo(frame), false)
    if (told.took !== true) return
    const { model } = this.#context
    const end = this.#processes.running!.engine!.lastCommit
    const frame = model.frames.find((each) => each.end === end)
    if (frame !== undefined)
      this.#compare(`the transaction at LSN ${frame.lsn}`, seen, stateAt(model.frames, frame.lsn, frame.timeMs))
  }

  #carryOut(actor: SimProcess, spaces: readonly KeySpace[], transaction: EngineTransaction): Seen[] {
    const { random, world, model } = this.#context
    const state = stateAt(model.frames, transaction.lsn, transaction.momentMs)
    const own: Own = new Map()
    const read: string[] = (this.#read = [])
    const seen: Seen[] = []
    for (let i = random.between(1, 8); i > 0; i--) {
      if (random.chance(0.4)) world.step('in a transaction')
      if (random.chance(0.5)) {
        seen.push(
          random.chance(0.5)
            ? this.#readKey(random.pick(spaces), transaction, own)
            : this.#readRange(random.pick(spaces), transaction, own),
        )
        this.#compare(`a transaction of LSN ${transaction.lsn}`, seen.slice(-1), state)
      } else this.#write(random.pick(spaces), transaction, own)
    }
    // Others may have had transactions of their own meanwhile.
    this.#read = read
    if (random.chance(0.3)) this.#meet(actor)
    // One that writes nothing commits nothing.
    if (!transaction.hasWritten) this.#write(random.pick(spaces), transaction, own)
    return seen
  }

  /** Another process writes to what this one may have read. */
  #meet(actor: SimProcess): void {
    const other = this.#processes.idle.find((each) => each !== actor)
    if (other === undefined) return
    const key = this.#someKey()
    this.#processes.as(other, () =>
      this.#writes.commit(other, (engine) =>
        isCounter(key) ? { sum: engine.add(key, 1) as number } : { took: engine.put(key, this.#writes.usualValue()) },
      ),
    )
  }

  #someKey(): string {
    const { random } = this.#context
    if (this.#read.length > 0 && random.chance(0.4)) return random.pick(this.#read)
    return random.chance(0.2) ? counterOf(random.between(1, COUNTERS)) : keyOf(random.between(1, MOST_KEYS))
  }

  #write(space: KeySpace, transaction: EngineTransaction, own: Own): void {
    const { random } = this.#context
    const key = this.#someKey()
    const roll = random.next()
    if (isCounter(key)) {
      const delta = random.between(-3, 9)
      transaction.add(space, key, delta)
      own.set(encoded(space, key), ((own.get(encoded(space, key)) as number | undefined) ?? 0) + delta)
    } else if (roll < 0.7) {
      const value = this.#writes.usualValue()
      transaction.put(space, key, value)
      own.set(encoded(space, key), JSON.stringify(value))
    } else {
      transaction.del(space, key)
      own.set(encoded(space, key), undefined)
    }
  }

  #readKey(space: KeySpace, transaction: EngineTransaction, own: Own): Seen {
    const key = this.#someKey()
    this.#read.push(key)
    const name = encoded(space, key)
    const then = new Map(own)
    if (this.#context.random.chance(0.3))
      return {
        what: `has of ${key}`,
        found: String(transaction.has(space, key)),
        expectedOf: (state) => String(withOwn(state, then).has(name)),
      }
    return {
      what: `get of ${key}`,
      found: JSON.stringify(transaction.find(space, key)?.value) ?? 'nothing',
      expectedOf: (state) => withOwn(state, then).get(name) ?? 'nothing',
    }
  }

  #readRange(space: KeySpace, transaction: EngineTransaction, own: Own): Seen {
    const { random, world } = this.#context
    const from = random.between(1, MOST_KEYS)
    const to = random.between(from, MOST_KEYS)
    const range: Range = random.pick([
      {},
      { gte: keyOf(from), lt: keyOf(to) },
      { gt: keyOf(from), lte: keyOf(to) },
      { prefix: keyOf(from).slice(0, 3) },
    ])
    const reverse = random.chance(0.3)
    const limit = random.chance(0.3) ? random.between(1, 5) : Infinity
    const leaveAfter = random.chance(0.3) ? random.between(1, 5) : Infinity
    const then = new Map(own)
    const entries = transaction.range(space, { ...range, reverse, limit }, 'entries')
    const found: string[] = []
    while (found.length < leaveAfter) {
      const entry = entries.next()
      if (entry === undefined) break
      found.push(`${entry.key.toString('latin1')}=${entry.value!.toString()}`)
      if (random.chance(0.1)) world.step('in a range of a transaction')
    }
    const most = Math.min(limit, leaveAfter)
    const isIn = within(space, range)
    return {
      what: `range ${JSON.stringify({ ...range, reverse, most })}`,
      found: found.join(),
      expectedOf: (state) => {
        const all = [...withOwn(state, then)].filter(([key]) => isIn(key)).sort(([a], [b]) => (a < b ? -1 : 1))
        const inOrder = reverse ? all.reverse() : all
        return inOrder
          .slice(0, most)
          .map(([key, value]) => `${key}=${value}`)
          .join()
      },
    }
  }

  #compare(whose: string, seen: readonly Seen[], state: ReadonlyMap<string, string>): void {
    for (const { what, found, expectedOf } of seen) {
      const expected = expectedOf(state)
      if (found !== expected)
        throw this.#context.failure(`${whose}: ${what} was ${brief(found)}, and should have been ${brief(expected)}`)
    }
  }
}

const isCounter = (key: string): boolean => key.startsWith('n')

const encoded = (space: KeySpace, key: string): string => space.encoded(key).toString('latin1')

function within(space: KeySpace, range: Range): (key: string) => boolean {
  const ends = endsOf(boundsOf(space, range))
  const from = ends?.from.toString('latin1') ?? ''
  const to = ends?.to?.toString('latin1')
  return (key) => ends !== undefined && key >= from && (to === undefined || key < to)
}

function withOwn(state: ReadonlyMap<string, string>, own: Own): Map<string, string> {
  const all = new Map(state)
  for (const [key, written] of own) {
    if (written === undefined) all.delete(key)
    else if (typeof written === 'string') all.set(key, written)
    else all.set(key, JSON.stringify((JSON.parse(all.get(key) ?? '0') as number) + written))
  }
  return all
}

const brief = (text: string): string => (text.length <= 120 ? text : `${text.slice(0, 117)}...`)
