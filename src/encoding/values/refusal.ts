// Why a value is refused, and where in it. The place is put together while the refusal is on its way out,
// so that it costs nothing for values that are taken.
import { InvalidError } from '../../errors.js'
import { reason, isInstance } from '../../describe.js'

/** How many containers of a value may lie within one another. */
export const MAX_DEPTH = 1000

/** A field by its name, an element by its number, or another way to reach it: `.get("x")`. */
export type Step = string | number | { readonly text: string }

class Refusal extends Error {
  /** From the outside in. */
  readonly steps: Step[] = []

  constructor(
    /** What is wrong at the place: "is a function". */
    readonly what: string,
    readonly advice: string,
    /** The container that lies too deep. If it comes up once more on the way out, it contains itself. */
    readonly deepest?: object,
    readonly thrown?: { readonly error: unknown },
  ) {
    super(what)
  }

  isCircular = false
}

export const refuse = (what: string, advice: string): never => {
  throw new Refusal(what, advice)
}

export const tooDeep = (value: object): never => {
  throw new Refusal(`lies more than ${MAX_DEPTH} levels deep`, 'Store parts of it under keys of their own.', value)
}

/** `error` as a refusal, on its way out of `holder`, where it came from `step`. */
export function at(error: unknown, holder: object, step: Step | undefined): Refusal {
  const refusal = isInstance(error, Refusal) ? error : new Refusal('cannot be read', '', undefined, { error })
  if (step !== undefined) refusal.steps.unshift(step)
  if (refusal.deepest === holder) {
    refusal.isCircular = true
    refusal.steps.length = 0
  }
  return refusal
}

/** How many steps of a place a message names. */
const SHOWN_STEPS = 12
const SHOWN_NAME = 40

const isPlainName = (name: string): boolean => /^[\p{ID_Start}$_][\p{ID_Continue}$]{0,39}$/u.test(name)

export const shortened = (text: string): string =>
  JSON.stringify(text.length > SHOWN_NAME ? `${text.slice(0, SHOWN_NAME)}…` : text)

const textOf = (step: Step): string => {
  if (typeof step === 'object') return step.text
  if (typeof step === 'number') return `[${step}]`
  return isPlainName(step) ? `.${step}` : `[${shortened(step)}]`
}

function placeOf(steps: readonly Step[]): string {
  if (steps.length <= SHOWN_STEPS) return `value${steps.map(textOf).join('')}`
  const half = SHOWN_STEPS / 2
  return `value${steps.slice(0, half).map(textOf).join('')} … ${steps.slice(-half).map(textOf).join('')}`
}

/** The error that the user sees. `encoding`: what the value was to be stored as. */
export function invalid(encoding: string, error: unknown): InvalidError {
  const refusal = at(error, NOTHING, undefined)
  const place = placeOf(refusal.steps)
  const cause = refusal.thrown?.error
  if (refusal.thrown !== undefined) {
    return new InvalidError(`This value cannot be stored: reading ${place} failed: ${reason(cause)}`, { cause })
  }
  if (refusal.isCircular)
    return new InvalidError(
      `This value cannot be stored: ${place} contains itself. Store what it refers to under a key of its own.`,
    )
  return new InvalidError(
    `This value cannot be stored as ${encoding}: ${place} ${refusal.what}. ${refusal.advice}`.trimEnd(),
  )
}
const NOTHING = {}
