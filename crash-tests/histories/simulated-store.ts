// Histories without a database: clients of a store that does one thing at a time, on a clock that is only counted. Each
// operation is called, takes effect somewhat later, and returns later still; some clients are killed, and what they had
// under way takes effect later, or never. So the history is right by the way in which it is made, and wrong if the
// store has one of the faults below. That is how the checker is tried.
import { Random } from '../lib/random.js'
import {
  plus,
  zeroLike,
  type Conditions,
  type Held,
  type History,
  type Operation,
  type Step,
  type Value,
} from './operations.js'

/** What a store could do wrong, each for a moment now and then. */
export const FAULTS = {
  'a write is acknowledged and lost': true,
  'a read shows what was there before': true,
  'a read of several keys shows half of a batch': true,
  'half of a batch takes effect': true,
  'a batch takes effect a second time, later': true,
  'what a killed client wrote is seen, and then gone': true,
  'a write takes effect after it has returned': true,
  'a condition is not looked at': true,
  'a condition that holds is refused': true,
  'two additions get one sum': true,
  'an addition is made twice': true,
  'a delete says that it removed what was not there': true,
  'a version goes back': true,
  'a transaction does not see what changed since it read': true,
  'a transaction that gave up has written': true,
  'a lock is given twice': true,
} as const
export type Fault = keyof typeof FAULTS

interface SimulationOptions {
  readonly seed: number
  readonly operations: number
  readonly clients: number
  /** Plain keys, in groups: an operation on several keys stays within a group. */
  readonly groups: number
  readonly keysPerGroup: number
  readonly counters: number
  readonly locks: number
  /** How often a client is killed during an operation. */
  readonly killed?: number
  readonly fault?: Fault
  /** How often the fault shows where it could. */
  readonly faultChance?: number
}

interface Planned {
  readonly client: string
  readonly id: number
  readonly name: string
  readonly start: number
  /** When it is done; Infinity if never. */
  readonly effect: number
  readonly end: number
  readonly lane: number
}

/** What is to be done at a moment. */
type Ask = { readonly steps: readonly Step[]; readonly aborted?: boolean }

const KINDS = [
  'put',
  'del',
  'get',
  'get',
  'has',
  'put if',
  'del if',
  'batch',
  'snapshot',
  'count',
  'add',
  'add',
  'transaction',
  'lock',
] as const
type Kind = (typeof KINDS)[number]

interface Simulated {
  readonly history: History
  /** How often the fault showed. */
  readonly faults: number
}

export function simulate(options: SimulationOptions): Simulated {
  return new Simulator(options).run()
}

class Simulator {
  readonly #options: SimulationOptions
  readonly #random: Random
  readonly #entries = new Map<string, Held>()
  readonly #holders = new Map<string, { shared: boolean; owners: string[] }>()
  /** What each key held before its last change. */
  readonly #before = new Map<string, Held | undefined>()
  /** By lane: the entry that its client read last. */
  readonly #lastRead = new Map<number, { key: string; version: number }>()
  readonly #held = new Map<number, { key: string; owner: string }>()
  readonly #later: { at: number; act: () => void }[] = []
  readonly #finished: Operation[] = []
  #lsn = 8
  #values = 0
  #faults = 0

  constructor(options: SimulationOptions) {
    this.#options = options
    this.#random = new Random(options.seed)
  }

  run(): Simulated {
    const initial: Record<string, Held> = {}
    for (const key of this.#groupKeys(0)) {
      const held = { value: `at first ${key}`, version: this.#lsn++ }
      initial[key] = held
      this.#entries.set(key, held)
    }
    // In the order in which things happen.
    const planned = this.#plan().sort((a, b) => Math.min(a.effect, a.end) - Math.min(b.effect, b.end))
    for (const one of planned) {
      this.#doUntil(one.effect)
      this.#do(one)
    }
    return { history: { initial, operations: this.#finished }, faults: this.#faults }
  }

  #plan(): Planned[] {
    const { clients, operations, killed = 0 } = this.#options
    const random = this.#random
    const lanes = Array.from({ length: clients }, (_, i) => ({ time: random.between(0, 100), life: 0, lane: i }))
    return Array.from({ length: operations }, (_, id): Planned => {
      const at = id % clients
      const { time, life, lane } = lanes[at]!
      const start = time + random.between(1, 60)
      const effect = start + random.between(1, 100)
      const end = effect + random.between(1, 100)
      lanes[at]!.time = end
      const dies = random.chance(killed)
      if (dies) lanes[at]!.life++
      const after = random.pick([effect, effect + 1000, Infinity])
      const client = `c${lane}${life === 0 ? '' : `.${life}`}`
      const name = random.pick(KINDS)
      return { client, id, name, start, lane, effect: dies ? after : effect, end: dies ? Infinity : end }
    })
  }

  #doUntil(time: number): void {
    this.#later.sort((a, b) => a.at - b.at)
    while (this.#later.length > 0 && this.#later[0]!.at <= time) this.#later.shift()!.act()
  }

  #has(fault: Fault): boolean {
    if (this.#options.fault !== fault || !this.#random.chance(this.#options.faultChance ?? 0.2)) return false
    this.#faults++
    return true
  }

  // ---- what is asked -----------------------------------------------------------------------------

  #groupKeys(group: number): string[] {
    return Array.from({ length: this.#options.keysPerGroup }, (_, i) => `k${group}.${i}`)
  }
  #someKey(): string {
    const { groups, keysPerGroup } = this.#options
    return `k${this.#random.between(0, groups - 1)}.${this.#random.between(0, keysPerGroup - 1)}`
  }
  #newValue(): string {
    return `v${++this.#values}`
  }
  #someConditions(lane: number, key: string): Conditions {
    const seen = this.#lastRead.get(lane)
    if (seen?.key === key) return { ifVersion: seen.version }
    return this.#random.chance(0.5) ? { ifAbsent: true } : { ifPresent: true }
  }
  #someGroup(): string[] {
    return this.#groupKeys(this.#random.between(0, this.#options.groups - 1))
  }

  #ask({ name, lane, client }: Planned): Ask {
    const random = this.#random
    const key = this.#someKey()
    // Often the one that was read before.
    const seenKey = random.chance(0.8) ? (this.#lastRead.get(lane)?.key ?? key) : key
    switch (name as Kind) {
      case 'put':
        return { steps: [{ do: 'put', key, value: this.#newValue() }] }
      case 'del':
        return { steps: [{ do: 'del', key }] }
      case 'get':
        return { steps: [{ do: 'get', key }] }
      case 'has':
        return { steps: [{ do: 'has', key }] }
      case 'put if':
        return { steps: [{ do: 'put', key: seenKey, value: this.#newValue(), ...this.#someConditions(lane, seenKey) }] }
      case 'del if':
        return { steps: [{ do: 'del', key: seenKey, ...this.#someConditions(lane, seenKey) }] }
      case 'batch':
        return {
          steps: this.#someGroup().map((k): Step => {
            const conditions = random.chance(0.1) ? { ifPresent: true } : {}
            if (random.chance(0.2)) return { do: 'del', key: k, ...conditions }
            return random.chance(0.1)
              ? { do: 'check', key: k, ifPresent: true }
              : { do: 'put', key: k, value: this.#newValue(), ...conditions }
          }),
        }
      case 'snapshot':
        return { steps: this.#someGroup().map((k) => ({ do: 'get', key: k })) }
      case 'count':
        return { steps: [{ do: 'count', keys: this.#someGroup() }] }
      case 'add':
        return {
          steps: [{ do: 'add', key: `n${random.between(0, this.#options.counters - 1)}`, delta: random.between(1, 3) }],
        }
      case 'transaction': {
        const keys = this.#someGroup()
        const written = random.pick(keys)
        const reads = keys.map((k): Step => ({ do: 'get', key: k }))
        return { steps: [...reads, { do: 'put', key: written, value: this.#newValue() }], aborted: random.chance(0.2) }
      }
      case 'lock': {
        const held = this.#held.get(lane)
        if (held !== undefined && held.owner === client)
          return { steps: [{ do: 'unlock', key: held.key, owner: client }] }
        const free = `l${random.between(0, this.#options.locks - 1)}`
        return { steps: [{ do: 'lock', key: free, owner: client, shared: random.chance(0.3) }] }
      }
    }
  }

  // ---- what is done ------------------------------------------------------------------------------

  #do(planned: Planned): void {
    const { client, id, name, start, effect, end } = planned
    const { steps, aborted } = this.#ask(planned)
    const operation = { client, id, name, start, end, ...(aborted === true && end < Infinity ? { aborted } : {}) }
    if (end === Infinity) this.#release(planned)
    if (effect === Infinity) return void this.#finished.push({ ...operation, steps })
    // A lock that is not free is not waited for; as if nobody had asked.
    if (steps.some((step) => step.do === 'lock' && !this.#lockable(step))) return
    const isConditional = steps.length > 1 || name === 'put if'
    const holds = steps.every((step) => this.#holds(step))
    const takes =
      (holds || (!holds && this.#has('a condition is not looked at'))) &&
      !(isConditional && hasCondition(steps) && this.#has('a condition that holds is refused'))
    const told = steps.map((step) => this.#looked(step, planned))
    if (takes && (aborted !== true || this.#has('a transaction that gave up has written')))
      this.#write(planned, steps, told)
    for (const [i, step] of told.entries()) if (step.do === 'del' && !takes) told[i] = { ...step, removed: false }
    if (end === Infinity) this.#finished.push({ ...operation, steps })
    else this.#finished.push({ ...operation, steps: told, ...(isConditional ? { took: takes } : {}) })
  }

  #lockable({ key, shared }: Step & { do: 'lock' }): boolean {
    const holder = this.#holders.get(key)
    if (holder === undefined || (shared && holder.shared)) return true
    return this.#has('a lock is given twice')
  }

  /** The lock of a client that was killed is given back some time later. */
  #release({ client, id, lane, start }: Planned): void {
    const held = this.#held.get(lane)
    if (held?.owner !== client) return
    this.#held.delete(lane)
    const unlock: Step = { do: 'unlock', key: held.key, owner: client }
    this.#finished.push({
      client,
      id: id + this.#options.operations,
      name: 'died',
      start,
      end: Infinity,
      steps: [unlock],
    })
    this.#later.push({ at: start + 300, act: () => this.#unlock(unlock.key, client) })
  }

  #unlock(key: string, owner: string): void {
    const holder = this.#holders.get(key)
    // Who was killed while unlocking may have done so.
    if (holder === undefined) return
    const owners = holder.owners.filter((other) => other !== owner)
    if (owners.length === 0) this.#holders.delete(key)
    else this.#holders.set(key, { ...holder, owners })
  }

  #holds(step: Step): boolean {
    if (!('ifVersion' in step || 'ifAbsent' in step || 'ifPresent' in step)) return true
    const { ifVersion, ifAbsent, ifPresent } = step as Conditions
    const entry = this.#entries.get((step as { key: string }).key)
    return (
      (ifVersion === undefined || entry?.version === ifVersion) &&
      (ifAbsent !== true || entry === undefined) &&
      (ifPresent !== true || entry !== undefined)
    )
  }

  /** The step with its answer, as far as it looks at what is there. */
  #looked(step: Step, { lane, name }: Planned): Step {
    switch (step.do) {
      case 'get': {
        const isOld =
          (name === 'snapshot' && this.#has('a read of several keys shows half of a batch')) ||
          (name === 'get' && this.#has('a read shows what was there before')) ||
          (name === 'transaction' && this.#has('a transaction does not see what changed since it read'))
        const entry = isOld ? this.#before.get(step.key) : this.#entries.get(step.key)
        if (entry === undefined) return { ...step, was: null }
        const version = entry.version! - (this.#has('a version goes back') ? 100 : 0)
        this.#lastRead.set(lane, { key: step.key, version })
        return { ...step, was: entry.value, ...(name === 'get' ? { version } : {}) }
      }
      case 'has':
        return { ...step, there: this.#entries.has(step.key) }
      case 'count':
        return { ...step, count: step.keys.filter((key) => this.#entries.has(key)).length }
      case 'del': {
        const isThere = this.#entries.has(step.key)
        return { ...step, removed: isThere || this.#has('a delete says that it removed what was not there') }
      }
      default:
        return step
    }
  }

  #write(planned: Planned, steps: readonly Step[], told: Step[]): void {
    const { end, effect, lane } = planned
    const writes = steps.filter(({ do: what }) => what === 'put' || what === 'del')
    if (writes.length > 0) {
      if (this.#has('a write is acknowledged and lost')) return
      const isBatch = writes.length > 1
      const isHalf = isBatch && this.#has('half of a batch takes effect')
      const put = (): void => this.#apply(isHalf ? writes.slice(0, -1) : writes)
      if (end < Infinity && this.#has('a write takes effect after it has returned')) {
        this.#later.push({ at: end + 200, act: put })
        return
      }
      const before = writes.map(
        (step) => [(step as { key: string }).key, this.#entries.get((step as { key: string }).key)] as const,
      )
      put()
      if (isBatch && this.#has('a batch takes effect a second time, later'))
        this.#later.push({ at: effect + 400, act: put })
      if (end === Infinity && this.#has('what a killed client wrote is seen, and then gone'))
        this.#later.push({ at: effect + 400, act: () => before.forEach(([key, held]) => this.#set(key, held)) })
    }
    for (const [i, step] of steps.entries()) {
      if (step.do === 'add') told[i] = { ...step, sum: this.#add(step) }
      if (step.do === 'lock') {
        const owners = this.#holders.get(step.key)?.owners ?? []
        this.#holders.set(step.key, { shared: step.shared, owners: [...owners, step.owner] })
        if (end < Infinity) this.#held.set(lane, step)
        else this.#later.push({ at: effect + 300, act: () => this.#unlock(step.key, step.owner) })
      }
      if (step.do === 'unlock') {
        this.#unlock(step.key, step.owner)
        if (this.#held.get(lane)?.owner === step.owner) this.#held.delete(lane)
      }
    }
  }

  #apply(writes: readonly Step[]): void {
    const version = (this.#lsn += 8)
    for (const step of writes) {
      if (step.do === 'put') this.#set(step.key, { value: step.value, version })
      else if (step.do === 'del' && this.#entries.has(step.key)) this.#set(step.key, undefined)
    }
  }

  #set(key: string, held: Held | undefined): void {
    this.#before.set(key, this.#entries.get(key))
    if (held === undefined) this.#entries.delete(key)
    else this.#entries.set(key, held)
  }

  #add({ key, delta }: Step & { do: 'add' }): Value {
    const before = this.#entries.get(key)?.value ?? zeroLike(delta)
    const sum = plus(before, delta)!
    const version = (this.#lsn += 8)
    if (this.#has('two additions get one sum')) return sum
    const isTwice = this.#has('an addition is made twice')
    this.#set(key, { value: isTwice ? plus(sum, delta)! : sum, version })
    return sum
  }
}

const hasCondition = (steps: readonly Step[]): boolean =>
  steps.some((step) => 'ifVersion' in step || 'ifAbsent' in step || 'ifPresent' in step)
