// What a history consists of: operations of clients, each with the time at which it was called, the time at which it
// returned, and what it was told. An operation is a list of steps that happen at one moment, all or none.
//
//   put, del, get, has        one step
//   batch                     several writes
//   snapshot, range, getMany  several reads; a key that was not there is read as `null`. So a range is recorded with
//                             all keys that it could have shown, and a phantom is a wrong read.
//   transaction, update       what was read, then what was written
//   lock, unlock              a lock is a key of its own, whose value says who holds it
//
// An operation whose outcome nobody was told (its client was killed, or got OutcomeUnknownError) returns at Infinity:
// it may take effect at any moment after its call, or never.

/** Plain, so that it can be written down: numbers, strings, and bigints as strings such as `12n`. */
export type Value = string | number

export interface Conditions {
  readonly ifVersion?: number | undefined
  readonly ifAbsent?: boolean | undefined
  readonly ifPresent?: boolean | undefined
}

/** What is asked, and what was answered. An answer that is left out is not known, and nothing is concluded from it. */
export type Step =
  /** `was`: null where there was nothing. `version`: of the entry, as `getEntry` tells it. */
  | {
      readonly do: 'get'
      readonly key: string
      readonly was?: Value | null | undefined
      readonly version?: number | undefined
    }
  | { readonly do: 'has'; readonly key: string; readonly there?: boolean | undefined }
  /** How many of these keys were there. */
  | { readonly do: 'count'; readonly keys: readonly string[]; readonly count?: number | undefined }
  | ({ readonly do: 'put'; readonly key: string; readonly value: Value } & Conditions)
  /** `removed`: whether there was something, and the conditions held. */
  | ({ readonly do: 'del'; readonly key: string; readonly removed?: boolean | undefined } & Conditions)
  | ({ readonly do: 'check'; readonly key: string } & Conditions)
  /**
   * An absent key counts as 0. `sum`: null if it was refused, since the value was not a number of this kind; then it is
   * the only step.
   */
  | { readonly do: 'add'; readonly key: string; readonly delta: Value; readonly sum?: Value | null | undefined }
  /** Held by `owner` from then on; several owners may share a key. */
  | { readonly do: 'lock'; readonly key: string; readonly owner: string; readonly shared: boolean }
  | { readonly do: 'unlock'; readonly key: string; readonly owner: string }

export interface Operation {
  readonly client: string
  /** Unique among the operations of this client. */
  readonly id: number
  /** What the client called it. */
  readonly name: string
  /** Nanoseconds of a clock that all clients share. */
  readonly start: number
  /** Infinity: the outcome is not known. */
  readonly end: number
  readonly steps: readonly Step[]
  /** Whether it took effect, if that was told. False: a condition did not hold, and nothing was changed. */
  readonly took?: boolean | undefined
  /** A transaction that gave up: it wrote nothing, but what it read was there at one moment. */
  readonly aborted?: boolean | undefined
}

export interface Held {
  readonly value: Value
  readonly version?: number | undefined
}

export interface History {
  /** What was there before the first operation. */
  readonly initial: Readonly<Record<string, Held>>
  readonly operations: readonly Operation[]
}

export const keysOf = (step: Step): readonly string[] => (step.do === 'count' ? step.keys : [step.key])

/** It changes nothing, whatever it met: that is clear from what it asks, or from its answer. */
export const onlyLooks = ({ steps, took, aborted }: Operation): boolean =>
  aborted === true ||
  took === false ||
  steps.every(
    (step) =>
      step.do === 'get' ||
      step.do === 'has' ||
      step.do === 'count' ||
      step.do === 'check' ||
      (step.do === 'del' && step.removed === false) ||
      (step.do === 'add' && step.sum === null),
  )

/** The same with its answers forgotten: it may take effect at any moment after its call, or never. */
const withoutOutcome = ({ client, id, name, start, steps }: Operation): Operation => ({
  client,
  id,
  name,
  start,
  end: Infinity,
  steps: steps.map(withoutAnswer),
})

function withoutAnswer(step: Step): Step {
  switch (step.do) {
    case 'get':
      return { do: step.do, key: step.key }
    case 'has':
      return { do: step.do, key: step.key }
    case 'count':
      return { do: step.do, keys: step.keys }
    case 'del':
      return { ...step, removed: undefined }
    case 'add':
      return { ...step, sum: undefined }
    default:
      return step
  }
}

/** What had happened by that time: what returned later counts as not answered yet. */
export const until = (operations: readonly Operation[], time: number): Operation[] =>
  operations
    .filter((operation) => operation.start <= time && (operation.end <= time || !onlyLooks(operation)))
    .map((operation) => (operation.end <= time || operation.end === Infinity ? operation : withoutOutcome(operation)))

const BIG = /^-?\d+n$/

/** The sum of two numbers, or two bigints; undefined if they are not of one kind. */
export function plus(a: Value, b: Value): Value | undefined {
  if (typeof a === 'number' && typeof b === 'number') return a + b
  if (typeof a !== 'string' || typeof b !== 'string' || !BIG.test(a) || !BIG.test(b)) return undefined
  return `${BigInt(a.slice(0, -1)) + BigInt(b.slice(0, -1))}n`
}

/** What a key without an entry counts as. */
export const zeroLike = (delta: Value): Value => (typeof delta === 'number' ? 0 : '0n')

// ---- for people --------------------------------------------------------------------------------

const NS_PER_MS = 1e6

function conditionsText({ ifVersion, ifAbsent, ifPresent }: Conditions): string {
  const parts = [
    ...(ifVersion === undefined ? [] : [`version ${ifVersion}`]),
    ...(ifAbsent === true ? ['absent'] : []),
    ...(ifPresent === true ? ['present'] : []),
  ]
  return parts.length === 0 ? '' : ` if ${parts.join(' and ')}`
}

const answer = (value: unknown): string => (value === undefined ? '' : ` -> ${value === null ? 'nothing' : value}`)

function stepText(step: Step): string {
  switch (step.do) {
    case 'get':
      return `get ${step.key}${answer(step.was)}${step.version === undefined ? '' : ` (version ${step.version})`}`
    case 'has':
      return `has ${step.key}${answer(step.there)}`
    case 'count':
      return `count ${step.keys.join(' ')}${answer(step.count)}`
    case 'put':
      return `put ${step.key} = ${step.value}${conditionsText(step)}`
    case 'del':
      return `del ${step.key}${conditionsText(step)}${answer(step.removed)}`
    case 'check':
      return `check ${step.key}${conditionsText(step)}`
    case 'add':
      return `add ${step.key} + ${step.delta}${answer(step.sum === null ? 'refused' : step.sum)}`
    case 'lock':
      return `lock ${step.key}${step.shared ? ' shared' : ''}`
    case 'unlock':
      return `unlock ${step.key}`
  }
}

/** One line: when, who, what, and what was answered. Times are in milliseconds after `zero`. */
export function operationText({ client, id, name, start, end, steps, took, aborted }: Operation, zero = 0): string {
  const ms = (at: number): string => (at === Infinity ? '?' : ((at - zero) / NS_PER_MS).toFixed(3)).padStart(9)
  const outcome =
    end === Infinity
      ? '; outcome unknown'
      : aborted === true
        ? '; aborted'
        : took === undefined
          ? ''
          : `; ${took ? 'took effect' : 'did not take effect'}`
  return `${ms(start)} -${ms(end)}  ${client} #${id} ${name}: ${steps.map(stepText).join('; ')}${outcome}`
}
