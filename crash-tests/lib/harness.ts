// What all harnesses share: their options, what they print when they end, and their line of evidence.
//
//   --seed N --minutes M --evidence FILE --help     every harness has these
//   exit code                                       0 all is well, 1 something is wrong, 2 wrong use, or the machine
//                                                   lacks something
//
// A failure is printed to stderr: what is wrong, what is left to look at, and the command that repeats it. The summary
// goes to stdout, whatever the result.
import { parseArgs } from 'node:util'
import { appendEvidence, machineWith, typed, type Counts } from './evidence.js'

/** `count`: a whole number from 1 on; `number`: from 0 on, fractions too; `path`: not written into evidence. */
type Kind = 'count' | 'whole' | 'number' | 'text' | 'path' | 'flag'

interface Option {
  readonly kind: Kind
  /** What stands for its value in the help. */
  readonly value?: string
  readonly help: string
  readonly default?: string
}

type Options = Readonly<Record<string, Option>>

export interface Outcome {
  /** What is wrong. Nothing, if all is well. */
  readonly problems: readonly string[]
  /** How it came to that, printed below the problems. */
  readonly story?: string | undefined
  /** What the run shows, in a few words. */
  readonly result: string
  readonly counts: Counts
  /** Where the databases were. */
  readonly fileSystem: string
  /** Options that repeat a failure, beside the seed; left out: those that were given. */
  readonly repeatWith?: string | undefined
  /** What is left of a failure to look at. */
  readonly leftIn?: string | undefined
}

interface Harness<O extends Options> {
  /** As in `npm run prove:NAME`. */
  readonly name: string
  /** What a run that passes shows. */
  readonly proves: string
  /** Time, and what it needs of the machine. */
  readonly takes: string
  readonly seed: { readonly help: string; readonly default?: number }
  readonly minutes: { readonly help: string; readonly default?: number }
  readonly options: O
  /** Returns how it went; or an exit code, if another process has said all that. */
  readonly run: (run: Run<O>) => Promise<Outcome | number>
}

/** The machine lacks something, or an option is wrong; the message says what, and what to do. */
export class CannotRun extends Error {}

const COMMON: Options = {
  evidence: {
    kind: 'path',
    value: 'FILE',
    help: 'append a line of JSON to this file: what was run, and what came of it',
  },
  help: { kind: 'flag', help: 'print this' },
}

type Values = Readonly<Record<string, string | boolean | undefined>>

/** One run: what was asked for, and how much time is left. */
class Run<O extends Options> {
  readonly seed: number
  /** Undefined: no limit was given, and the harness has none by itself. */
  readonly minutes: number | undefined
  readonly startedMs = Date.now()
  /** By the wall clock; Infinity without a limit. */
  readonly endMs: number
  readonly #harness: Harness<O>
  readonly #values: Values

  constructor(harness: Harness<O>, values: Values) {
    this.#harness = harness
    this.#values = values
    this.seed =
      values['seed'] === undefined
        ? (harness.seed.default ?? Math.floor(Math.random() * 2 ** 31))
        : numberOf('seed', values['seed'], 'whole')
    const minutes = values['minutes']
    this.minutes = minutes === undefined ? harness.minutes.default : numberOf('minutes', minutes, 'number')
    this.endMs = this.minutes === undefined ? Infinity : this.startedMs + this.minutes * 60_000
  }

  get elapsedMs(): number {
    return Date.now() - this.startedMs
  }
  get remainingMs(): number {
    return Math.max(0, this.endMs - Date.now())
  }
  get isTimeUp(): boolean {
    return Date.now() >= this.endMs
  }

  isGiven(name: (keyof O & string) | 'seed' | 'minutes'): boolean {
    return this.#values[name] !== undefined
  }
  #text(name: keyof O & string): string | undefined {
    return (this.#values[name] as string | undefined) ?? this.#harness.options[name]!.default
  }
  /** An option that has a default. */
  text(name: keyof O & string): string {
    return this.#text(name)!
  }
  textIfGiven(name: keyof O & string): string | undefined {
    return this.#text(name)
  }
  number(name: keyof O & string): number {
    return this.numberIfGiven(name)!
  }
  numberIfGiven(name: keyof O & string): number | undefined {
    const text = this.#text(name)
    return text === undefined ? undefined : numberOf(name, text, this.#harness.options[name]!.kind)
  }
  flag(name: keyof O & string): boolean {
    return this.#values[name] === true
  }

  /** What was given, as evidence and the command that repeats a run have it. */
  get given(): Record<string, string | number | boolean> {
    const given: Record<string, string | number | boolean> = {}
    for (const [name, value] of Object.entries(this.#values)) {
      const kind = name === 'minutes' ? 'number' : { ...this.#harness.options, ...COMMON }[name]?.kind
      if (value === undefined || kind === undefined || kind === 'path' || name === 'help') continue
      given[name] = kind === 'text' || kind === 'flag' ? value : Number(value)
    }
    return given
  }
}

function numberOf(name: string, value: string | boolean, kind: Kind): number {
  const number = Number(value)
  const isWhole = Number.isSafeInteger(number)
  const isFine =
    value !== '' &&
    number >= 0 &&
    (kind === 'number' || (isWhole && (kind === 'whole' || (kind === 'count' && number > 0))))
  if (isFine) return number
  const wanted = { count: 'a whole number from 1 on', whole: 'a whole number', number: 'a number' }[kind as 'count']
  throw new CannotRun(`--${name} takes ${wanted}, not "${String(value)}".`)
}

function parse<O extends Options>(harness: Harness<O>): Values {
  const own = Object.entries({ ...harness.options, ...COMMON }).map(
    ([name, { kind }]) => [name, { type: kind === 'flag' ? 'boolean' : 'string' }] as const,
  )
  try {
    const { values } = parseArgs({
      options: Object.fromEntries([...own, ['seed', { type: 'string' }], ['minutes', { type: 'string' }]]),
    })
    return values as Values
  } catch (error) {
    throw new CannotRun((error as Error).message)
  }
}

// ---- what is printed ---------------------------------------------------------------------------

const WIDTH = 110
const OPTION_COLUMNS = 22
const LABEL_COLUMNS = 30

/** Lines of at most `WIDTH` characters; those after the first start with `indent` blanks. */
function wrapped(text: string, indent: number): string {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(/[ \n]+/)) {
    if (line !== '' && indent + line.length + 1 + word.length > WIDTH) {
      lines.push(line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, line].join(`\n${' '.repeat(indent)}`)
}

function usage<O extends Options>({ name, proves, takes, seed, minutes, options }: Harness<O>): string {
  const chosen = seed.default === undefined ? 'default: chosen and printed' : `default: ${seed.default}`
  const limit = minutes.default === undefined ? '' : ` (default: ${minutes.default})`
  const all: Options = {
    seed: { kind: 'whole', value: 'N', help: `${seed.help} (${chosen})` },
    minutes: { kind: 'number', value: 'M', help: `${minutes.help}; a fraction will do${limit}` },
    ...options,
    ...COMMON,
  }
  const lines = Object.entries(all).map(([option, { value, help, default: preset }]) => {
    const head = `  --${option}${value === undefined ? '' : ` ${value}`}`
    const text = `${help}${preset === undefined || help.includes('default') ? '' : ` (default: ${preset})`}`
    return `${head.padEnd(OPTION_COLUMNS)}${wrapped(text, OPTION_COLUMNS)}`
  })
  return [
    `Usage: npm run prove:${name} -- [options]`,
    '',
    `Proves: ${wrapped(proves, 8)}`,
    `Takes:  ${wrapped(takes, 8)}`,
    '',
    ...lines,
    '',
    'Exit codes: 0 all is well, 1 something is wrong, 2 wrong use, or the machine lacks something.',
  ].join('\n')
}

const line = (label: string, value: string): string =>
  `  ${label.padEnd(LABEL_COLUMNS)} ${wrapped(value, LABEL_COLUMNS + 3)}`

/** A count with its name stays on one line. */
const JOINT = '\u00a0'

function countText(count: number | Readonly<Record<string, number>>): string {
  if (typeof count === 'number') return String(count)
  const parts = Object.entries(count).map(([part, n]) => `${part} ${n}`.replaceAll(' ', JOINT))
  return parts.join(', ') || 'none'
}

function summary(name: string, seed: number, seconds: number, { problems, result, counts }: Outcome): string {
  return [
    `prove:${name}: ${problems.length === 0 ? 'passed' : 'FAILED'}: ${result}`,
    line('seed', String(seed)),
    line('seconds', seconds.toFixed(1)),
    ...Object.entries(counts).map(([what, count]) => line(what, countText(count)).replaceAll(JOINT, ' ')),
  ].join('\n')
}

function explanation<O extends Options>(name: string, run: Run<O>, outcome: Outcome): string {
  const { problems, story, leftIn, repeatWith } = outcome
  return [
    ...problems.map((problem) => `FAILED: ${problem}`),
    ...(story === undefined ? [] : [story]),
    ...(leftIn === undefined ? [] : [`What is left to look at: ${leftIn}`]),
    `Repeat with: npm run prove:${name} -- ${repeatWith ?? `--seed ${run.seed}${typed(run.given)}`}`,
  ].join('\n')
}

/** Runs a harness with the options of the command line, and sets the exit code. */
export async function prove<O extends Options>(harness: Harness<O>): Promise<void> {
  try {
    const values = parse(harness)
    if (values['help'] === true) {
      console.log(usage(harness))
      return
    }
    const run = new Run(harness, values)
    for (const [name, { kind }] of Object.entries(harness.options))
      if (kind !== 'text' && kind !== 'path' && kind !== 'flag') run.numberIfGiven(name)
    const outcome = await harness.run(run)
    process.exitCode = typeof outcome === 'number' ? outcome : conclude(harness.name, run, values, outcome)
  } catch (error) {
    if (!(error instanceof CannotRun)) throw error
    console.error(`${error.message}\nSee: npm run prove:${harness.name} -- --help`)
    process.exitCode = 2
  }
}

function conclude<O extends Options>(name: string, run: Run<O>, values: Values, outcome: Outcome): number {
  const seconds = Math.round(run.elapsedMs / 100) / 10
  const passed = outcome.problems.length === 0
  if (!passed) console.error(explanation(name, run, outcome))
  console.log(summary(name, run.seed, seconds, outcome))
  const file = values['evidence'] as string | undefined
  if (file !== undefined) {
    const { counts, result, fileSystem } = outcome
    const { seed } = run
    const options = run.given
    appendEvidence(file, {
      harness: name,
      options,
      seed,
      seconds,
      machine: machineWith(fileSystem),
      counts,
      passed,
      result,
    })
  }
  return passed ? 0 : 1
}

/** The outcome of a self-test, which prints what it finds and returns an exit code. */
export const selfTestOutcome = (code: number, whatItShows: string, fileSystem: string): Outcome => ({
  problems: code === 0 ? [] : ['the self-test missed something: see above'],
  result: code === 0 ? whatItShows : 'the self-test failed',
  counts: {},
  fileSystem,
})

/** The first line of a run, before anything else can go wrong. */
export function announce<O extends Options>(name: string, run: Run<O>, what: string, seconds?: number): void {
  const limit =
    seconds !== undefined ? `, ${seconds} seconds` : run.minutes === undefined ? '' : `, ${run.minutes} minutes`
  console.log(`prove:${name}: seed ${run.seed}, ${what}${limit}`)
}
