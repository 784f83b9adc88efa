// What a key-value store may answer: the state of some keys, and what an operation can do to it.
//
// The version of an entry is a part of the state, although writes do not tell it: it is unknown after a write until
// somebody has read it. What is known of it by then: it is above all versions that this key had before (`bound`), and
// not one that a failed `ifVersion` asked for (`not`). So an operation may have two outcomes, one for each answer to
// "was it this version?"; the search tries both. Most versions are known at once, though: where a value was put by one
// operation only and read with its version, this is the version of what that operation put.
//
// Conditions are decided before the first step of an operation changes anything.
import { mix } from '../lib/random.js'
import {
  keysOf,
  plus,
  zeroLike,
  type Conditions,
  type History,
  type Operation,
  type Step,
  type Value,
} from './operations.js'

const ABSENT = 0
/** Any value that no operation reads: so states that nobody could tell apart are one state. */
const UNREAD = 1

/** One key. Never changed: a step that changes a key makes another. */
export interface Entry {
  /** A number that stands for the value; ABSENT. */
  readonly value: number
  /** 0: not known. */
  readonly version: number
  /** The version is above it, and so are those of later writes. */
  readonly bound: number
  readonly not: readonly number[]
  readonly hash: readonly [number, number, number]
}

export interface Change {
  readonly key: number
  readonly entry: Entry
}

const NONE: readonly number[] = []
const HIGH = 2 ** 32

export const hashOf = (...parts: number[]): readonly [number, number, number] => [
  mix(0x51ed, ...parts),
  mix(0xc2b2, ...parts),
  mix(0x27d4, ...parts),
]

/** A step with numbers in place of keys and values. */
interface Compiled {
  readonly step: Step
  /** Of the first key. */
  readonly key: number
  readonly keys: readonly number[]
  /** Read, put, or the sum; ABSENT for what was not there; -1 if it is not known. */
  readonly value: number
  /** Of what it puts, if that is known from those who read it. */
  readonly version: number
  readonly conditions: Conditions | undefined
}

/** A possible way in which the conditions of an operation came out. */
interface Way {
  readonly changes: Change[]
  holds: boolean
}

/** The keys of some operations, and what these did to them. */
export class Model {
  readonly keys: readonly string[]
  readonly initial: readonly Entry[]
  readonly #steps: readonly (readonly Compiled[])[]
  readonly #operations: readonly Operation[]
  readonly #values: (Value | undefined)[] = [undefined, undefined]
  readonly #numbers = new Map<Value, number>()
  /** By key: which value a version was read with. */
  readonly #owners: Map<number, number>[]
  readonly #known: KnownVersions[]

  constructor(operations: readonly Operation[], initial: History['initial']) {
    this.#operations = operations
    this.keys = [...new Set(operations.flatMap(({ steps }) => steps.flatMap(keysOf)))]
    const keyNumbers = new Map(this.keys.map((key, i) => [key, i]))
    this.#known = this.keys.map((key) => new KnownVersions(initial[key]))
    for (const { steps, end } of operations)
      for (const step of steps)
        for (const key of keysOf(step)) this.#known[keyNumbers.get(key)!]!.note(step, end < Infinity)
    this.#owners = this.#known.map(
      ({ owners }) =>
        new Map([...owners].flatMap(([version, value]) => (value === null ? [] : [[version, this.#number(value)]]))),
    )
    this.#steps = operations.map(({ steps }) => steps.map((step) => this.#compiled(step, keyNumbers)))
    this.initial = this.keys.map((key, i) => {
      const held = initial[key]
      return held === undefined
        ? this.#entry(i, ABSENT, 0, 0)
        : this.#entry(i, this.#number(held.value), held.version ?? 0, 0)
    })
  }

  #number(value: Value): number {
    const known = this.#numbers.get(value)
    if (known !== undefined) return known
    this.#numbers.set(value, this.#values.length)
    return this.#values.push(value) - 1
  }

  #compiled(step: Step, keyNumbers: ReadonlyMap<string, number>): Compiled {
    const keys = keysOf(step).map((key) => keyNumbers.get(key)!)
    const key = keys[0] ?? -1
    let value = -1
    let version = 0
    if (step.do === 'get' && step.was !== undefined) value = step.was === null ? ABSENT : this.#number(step.was)
    if (step.do === 'put') {
      const known = this.#known[key]!
      value = known.isRead(step.value) ? this.#number(step.value) : UNREAD
      version = known.versionOf(step.value)
    }
    if (step.do === 'add' && step.sum !== undefined && step.sum !== null) {
      value = this.#number(step.sum)
      version = this.#known[key]!.versionOf(step.sum)
    }
    const isConditional =
      'ifVersion' in step || 'ifAbsent' in step || 'ifPresent' in step ? (step as Conditions) : undefined
    return { step, key, keys, value, version, conditions: isConditional }
  }

  #entry(key: number, value: number, version: number, bound: number, not: readonly number[] = NONE): Entry {
    if (version > 0) {
      bound = version
      not = NONE
    }
    const hash = hashOf(
      key,
      value,
      version % HIGH,
      version / HIGH,
      bound % HIGH,
      bound / HIGH,
      ...not.map((v) => v % HIGH),
    )
    return { value, version, bound, not, hash }
  }

  /** The version that the operation gave to something it put, as far as that is known; 0 if it is not. */
  versionPut(operation: number): number {
    return this.#steps[operation]!.reduce((found, { version }) => (found > 0 ? found : version), 0)
  }

  /** What operations that look at nothing and have the same text do to any state is the same. */
  classOf(operation: number): string {
    const { took, aborted } = this.#operations[operation]!
    const steps = this.#steps[operation]!.map(({ step, value, version }) =>
      step.do === 'put' ? { ...step, value: value === UNREAD ? null : step.value, version } : step,
    )
    return JSON.stringify([took, aborted, steps])
  }

  /** Each way in which the operation can have gone in this state, as what it changes; none if it cannot be next. */
  outcomes(operation: number, state: readonly Entry[]): Change[][] {
    const { took, aborted } = this.#operations[operation]!
    const steps = this.#steps[operation]!
    const found: Change[][] = []
    for (const { changes, holds } of this.#ways(steps, state)) {
      if (took !== undefined && aborted !== true && took !== holds) continue
      if (this.#run(steps, state, changes, holds && aborted !== true)) found.push(changes)
    }
    return found
  }

  #ways(steps: readonly Compiled[], state: readonly Entry[]): Way[] {
    let ways: Way[] = [{ changes: [], holds: true }]
    for (const { key, conditions } of steps) {
      if (conditions === undefined) continue
      ways = ways.flatMap(({ changes, holds }) => {
        const now = latest(changes, key) ?? state[key]!
        return this.#decided(key, now, conditions).map(({ entry, holds: also }) => ({
          changes: entry === now ? changes : [...changes, { key, entry }],
          holds: holds && also,
        }))
      })
    }
    // Each is changed further.
    return ways.length === 1 ? ways : ways.map(({ changes, holds }) => ({ changes: [...changes], holds }))
  }

  #decided(
    key: number,
    entry: Entry,
    { ifVersion, ifAbsent, ifPresent }: Conditions,
  ): { entry: Entry; holds: boolean }[] {
    const isThere = entry.value !== ABSENT
    if ((ifAbsent === true && isThere) || (ifPresent === true && !isThere)) return [{ entry, holds: false }]
    if (ifVersion === undefined) return [{ entry, holds: true }]
    // No entry has the version 0: it stands for none.
    if (ifVersion === 0) return [{ entry, holds: !isThere }]
    if (!isThere) return [{ entry, holds: false }]
    if (entry.version > 0) return [{ entry, holds: entry.version === ifVersion }]
    const owner = this.#owners[key]!.get(ifVersion)
    if (ifVersion <= entry.bound || entry.not.includes(ifVersion) || (owner !== undefined && owner !== entry.value))
      return [{ entry, holds: false }]
    return [
      { entry: this.#entry(key, entry.value, ifVersion, entry.bound), holds: true },
      {
        entry: this.#entry(
          key,
          entry.value,
          0,
          entry.bound,
          [...entry.not, ifVersion].sort((a, b) => a - b),
        ),
        holds: false,
      },
    ]
  }

  /** Does the steps, those that write only if it takes effect. False if one of them was answered otherwise. */
  #run(steps: readonly Compiled[], state: readonly Entry[], changes: Change[], takes: boolean): boolean {
    for (const compiled of steps) {
      const { step, key, value } = compiled
      const now = latest(changes, key) ?? state[key]!
      let next: Entry | undefined = now
      switch (step.do) {
        case 'get':
          next = this.#read(key, now, value, step.version)
          break
        case 'has':
          if (step.there !== undefined && step.there !== (now.value !== ABSENT)) next = undefined
          break
        case 'count': {
          const there = compiled.keys.filter((k) => (latest(changes, k) ?? state[k]!).value !== ABSENT).length
          if (step.count !== undefined && step.count !== there) return false
          continue
        }
        case 'put':
          if (takes) next = this.#written(key, now, value, compiled.version)
          break
        case 'del': {
          const removes = takes && now.value !== ABSENT
          if (step.removed !== undefined && step.removed !== removes) next = undefined
          else if (removes) next = this.#written(key, now, ABSENT, 0)
          break
        }
        case 'check':
          break
        case 'add':
          if (takes) next = this.#added(key, now, step, compiled)
          break
        case 'lock':
          if (takes) next = this.#locked(key, now, step.owner, step.shared)
          break
        case 'unlock':
          if (takes) next = this.#unlocked(key, now, step.owner)
          break
      }
      if (next === undefined) return false
      if (next !== now) changes.push({ key, entry: next })
    }
    return true
  }

  #read(key: number, now: Entry, value: number, version: number | undefined): Entry | undefined {
    if (value < 0) return now
    if (now.value !== value) return undefined
    if (version === undefined || value === ABSENT) return now
    if (now.version > 0) return now.version === version ? now : undefined
    if (version <= now.bound || now.not.includes(version)) return undefined
    return this.#entry(key, now.value, version, now.bound)
  }

  #written(key: number, now: Entry, value: number, version: number): Entry | undefined {
    if (version > 0 && version <= now.bound) return undefined
    return this.#entry(key, value, version, now.bound)
  }

  #added(key: number, now: Entry, { delta, sum }: Step & { do: 'add' }, { version }: Compiled): Entry | undefined {
    const before = now.value === ABSENT ? zeroLike(delta) : this.#values[now.value]!
    const after = plus(before, delta)
    if (after === undefined) return sum === null ? now : undefined
    if (sum !== undefined && sum !== after) return undefined
    return this.#written(key, now, this.#number(after), version)
  }

  // A lock's value: `x owner`, or `s owner owner ...` in order.

  #locked(key: number, now: Entry, owner: string, shared: boolean): Entry | undefined {
    const [kind, ...owners] = now.value === ABSENT ? [] : String(this.#values[now.value]).split(' ')
    if (kind !== undefined && (!shared || kind === 'x')) return undefined
    const text = shared ? ['s', ...[...owners, owner].sort()].join(' ') : `x ${owner}`
    return this.#entry(key, this.#number(text), 0, 0)
  }

  #unlocked(key: number, now: Entry, owner: string): Entry | undefined {
    const [kind, ...owners] = now.value === ABSENT ? [] : String(this.#values[now.value]).split(' ')
    const at = owners.indexOf(owner)
    if (at < 0) return undefined
    owners.splice(at, 1)
    return this.#entry(key, owners.length === 0 ? ABSENT : this.#number([kind, ...owners].join(' ')), 0, 0)
  }

  /** For people. */
  describe(state: readonly Entry[]): string[] {
    return this.keys.map((key, i) => {
      const { value, version, bound } = state[i]!
      if (value === ABSENT) return `${key}: nothing${bound > 0 ? ` (its last version was ${bound})` : ''}`
      const text = value === UNREAD ? 'a value that nobody reads' : String(this.#values[value])
      return `${key}: ${text} (version ${version > 0 ? version : `above ${bound}`})`
    })
  }
}

function latest(changes: readonly Change[], key: number): Entry | undefined {
  for (let i = changes.length - 1; i >= 0; i--) if (changes[i]!.key === key) return changes[i]!.entry
  return undefined
}

/** What those who read a key say about the versions of what was put there. */
class KnownVersions {
  /** The value that each version was read with; null if there were several. */
  readonly owners = new Map<number, Value | null>()
  readonly #versions = new Map<Value, number>()
  readonly #writers = new Map<Value, number>()
  readonly #read = new Set<Value>()
  /** Something may have put a value that is not known. */
  #isOpen = false
  /** Additions look at every value. */
  #isAddedTo = false

  constructor(initial: { readonly value: Value; readonly version?: number | undefined } | undefined) {
    if (initial === undefined) return
    this.#putBy(initial.value)
    this.#read.add(initial.value)
    if (initial.version !== undefined) this.#readAs(initial.value, initial.version)
  }

  #putBy(value: Value): void {
    this.#writers.set(value, (this.#writers.get(value) ?? 0) + 1)
  }
  #readAs(value: Value, version: number): void {
    const owner = this.owners.get(version)
    this.owners.set(version, owner === undefined || owner === value ? value : null)
    // Two versions of one value: it was put twice, or something is wrong.
    this.#versions.set(value, (this.#versions.get(value) ?? version) === version ? version : 0)
  }

  /** `isSure`: it has returned. What did not return may never have read what it says. */
  note(step: Step, isSure: boolean): void {
    switch (step.do) {
      case 'get':
        if (step.was === undefined || step.was === null) return
        this.#read.add(step.was)
        if (step.version !== undefined && isSure) this.#readAs(step.was, step.version)
        return
      case 'put':
        this.#putBy(step.value)
        return
      case 'add':
        this.#isAddedTo = true
        if (step.sum === undefined) this.#isOpen = true
        else if (step.sum !== null) this.#putBy(step.sum)
        return
      default:
    }
  }

  isRead(value: Value): boolean {
    return this.#isAddedTo || this.#read.has(value)
  }
  /** 0 if it is not known. */
  versionOf(value: Value): number {
    return this.#isOpen || this.#writers.get(value) !== 1 ? 0 : (this.#versions.get(value) ?? 0)
  }
}
