// Writes histories down while they happen, and reads them again. One file for each client, lines of JSON: one before an
// operation is called, one after it has returned. Each line is one write(2) at the end of the file, and the kernel
// keeps it whatever becomes of the process: a client that is killed loses its last line at most, and an operation that
// was called and did not return has an unknown outcome.
//
//   {"initial":{KEY:{"value":V,"version":N}}}                      what was there at first
//   {"client":C,"id":N,"at":NS,"call":NAME,"steps":[...]}          before; without steps if what it reads decides them
//   {"client":C,"id":N,"intends":[...]}                            a transaction is about to commit this
//   {"client":C,"id":N,"at":NS,"answers":[...],"took":BOOLEAN}     after; with what was answered
//   {"client":C,"id":N,"refused":MESSAGE}                          nothing was done, says the error
//   {"client":C,"id":N,"unknown":MESSAGE}                          nobody knows, says the error
//   {"died":C,"at":NS}                                             its locks are given back at some time after this
import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs'
import type { Held, History, Operation, Step } from './operations.js'

/** A clock that all threads and processes of a machine share (CLOCK_MONOTONIC). */
export const nowNs = (): number => Number(process.hrtime.bigint())

/** What came of an operation. */
export interface Answers {
  /** The steps again, with what was answered. */
  readonly steps: readonly Step[]
  readonly took?: boolean | undefined
  readonly aborted?: boolean | undefined
}

/** Of one client: a thread, or one of several that take turns on one event loop. */
export class Recorder {
  readonly client: string
  readonly #fd: number
  #id = 0

  constructor(path: string, client: string) {
    this.client = client
    this.#fd = openSync(path, 'a')
  }

  #write(line: object): void {
    writeSync(this.#fd, `${JSON.stringify(line)}\n`)
  }
  initial(initial: Readonly<Record<string, Held>>): void {
    this.#write({ initial })
  }
  /** Directly before the operation. Returns what to call it by afterwards. */
  called(name: string, steps?: readonly Step[]): number {
    const id = ++this.#id
    this.#write({ client: this.client, id, at: nowNs(), call: name, steps })
    return id
  }
  /** A transaction is about to commit these steps. If it runs again, it says so again. */
  intends(id: number, intends: readonly Step[]): void {
    this.#write({ client: this.client, id, intends })
  }
  /** Directly after the operation. */
  returned(id: number, { steps, took, aborted }: Answers, at = nowNs()): void {
    this.#write({ client: this.client, id, at, answers: steps, took, aborted })
  }
  /** It failed with an error that means that nothing was done. */
  refused(id: number, error: unknown): void {
    this.#write({ client: this.client, id, refused: String(error) })
  }
  /** It failed, and may have been done, or may still be. */
  unknown(id: number, error: unknown): void {
    this.#write({ client: this.client, id, unknown: String(error) })
  }
  /** Somebody else has killed this client, not before `at`. */
  died(client: string, at: number): void {
    this.#write({ died: client, at })
  }
  close(): void {
    closeSync(this.#fd)
  }
}

interface Line {
  readonly initial?: Record<string, Held>
  readonly client?: string
  readonly id?: number
  readonly at?: number
  readonly call?: string
  readonly steps?: readonly Step[]
  readonly intends?: readonly Step[]
  readonly answers?: readonly Step[]
  readonly took?: boolean
  readonly aborted?: boolean
  readonly refused?: string
  readonly unknown?: string
  readonly died?: string
}

interface Draft {
  readonly client: string
  readonly id: number
  readonly name: string
  readonly start: number
  end: number
  steps: readonly Step[] | undefined
  took?: boolean | undefined
  aborted?: boolean | undefined
  isRefused: boolean
}

export interface Recorded {
  readonly history: History
  /** Operations that failed, and did nothing: how often with which message. */
  readonly refused: Readonly<Record<string, number>>
  readonly unknown: Readonly<Record<string, number>>
}

/** The history that these files tell of together. Throws if a line, other than a last one that was cut, is not one. */
export function readHistory(files: readonly string[]): Recorded {
  let initial: Record<string, Held> = {}
  const drafts = new Map<string, Draft>()
  const deaths: { client: string; at: number }[] = []
  const refused: Record<string, number> = {}
  const unknown: Record<string, number> = {}
  for (const file of files)
    for (const { line, where } of linesOf(file)) {
      if (line.initial !== undefined) initial = { ...initial, ...line.initial }
      else if (line.died !== undefined) deaths.push({ client: line.died, at: line.at! })
      else note(drafts, line, where)
      if (line.refused !== undefined) refused[line.refused] = (refused[line.refused] ?? 0) + 1
      if (line.unknown !== undefined) unknown[line.unknown] = (unknown[line.unknown] ?? 0) + 1
    }
  const operations = [...drafts.values()].flatMap(({ steps, isRefused, ...rest }): Operation[] =>
    // A transaction that had not come to its end wrote nothing.
    isRefused || steps === undefined || steps.length === 0 ? [] : [{ ...rest, steps }],
  )
  const history = { initial, operations: [...operations, ...releases(operations, deaths)] }
  return { history, refused, unknown }
}

function note(drafts: Map<string, Draft>, line: Line, where: string): void {
  const { client, id, at, call, intends, answers } = line
  const name = `${client} ${id}`
  if (client === undefined || id === undefined) throw new Error(`${where}: it names no client, or no operation`)
  if (call !== undefined) {
    if (drafts.has(name)) throw new Error(`${where}: ${client} has two operations with the number ${id}`)
    drafts.set(name, { client, id, name: call, start: at!, end: Infinity, steps: line.steps, isRefused: false })
    return
  }
  const draft = drafts.get(name)
  if (draft === undefined) throw new Error(`${where}: ${client} has not called operation ${id}`)
  if (intends !== undefined) draft.steps = intends
  else if (answers !== undefined) {
    draft.end = at!
    draft.steps = answers
    if (line.took !== undefined) draft.took = line.took
    if (line.aborted !== undefined) draft.aborted = line.aborted
  } else if (line.refused !== undefined) draft.isRefused = true
  else if (line.unknown === undefined) throw new Error(`${where}: it does not say what happened`)
}

function* linesOf(file: string): Generator<{ line: Line; where: string }> {
  const lines = readFileSync(file, 'utf8').split('\n')
  // Whatever follows the last line break was cut.
  lines.pop()
  for (const [i, text] of lines.entries()) {
    const where = `${file}, line ${i + 1}`
    let line: Line
    try {
      line = JSON.parse(text) as Line
    } catch (error) {
      throw new Error(`${where}: it is not JSON: ${(error as Error).message}`, { cause: error })
    }
    yield { line, where }
  }
}

/** Locks that the dead held, or may have held, are given back some time after their death. */
function releases(operations: readonly Operation[], deaths: readonly { client: string; at: number }[]): Operation[] {
  return deaths.flatMap(({ client, at }) => {
    const own = operations.filter((operation) => operation.client === client)
    const steps = own.flatMap((operation) => operation.steps.map((step) => ({ step, operation })))
    const given = new Map<string, Step & { do: 'lock' }>()
    for (const { step, operation } of steps) {
      if (step.do === 'lock') given.set(`${step.key} ${step.owner}`, step)
      else if (step.do === 'unlock' && operation.end < Infinity) given.delete(`${step.key} ${step.owner}`)
    }
    let id = Math.max(0, ...own.map((operation) => operation.id))
    return [...given.values()].map(({ key, owner }): Operation => {
      const unlock: Step = { do: 'unlock', key, owner }
      return { client, id: ++id, name: 'died', start: at, end: Infinity, steps: [unlock] }
    })
  })
}

/** Writes a history down, so that `readHistory` reads the same. */
export function writeHistory(file: string, { initial, operations }: History): void {
  const lines = operations.flatMap(({ client, id, name, start, end, steps, took, aborted }) => [
    { at: start, line: { client, id, at: start, call: name, steps } },
    ...(end === Infinity ? [] : [{ at: end, line: { client, id, at: end, answers: steps, took, aborted } }]),
  ])
  const sorted = lines.sort((a, b) => a.at - b.at).map(({ line }) => line)
  writeFileSync(file, [{ initial }, ...sorted].map((line) => `${JSON.stringify(line)}\n`).join(''))
}
