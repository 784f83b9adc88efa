// What must hold of a database after crashes, given what the writers said before they died.
//
//   - Every value is one that some operation put, byte for byte.
//   - A writer leaves, under its own keys, the outcome of its first m operations: all up to the last
//     one that was acknowledged, and perhaps some of those in flight.
//   - Under any key, the last operation to take effect is one that no operation known to have taken
//     effect was started after. Known: it was acknowledged, or something it put is there.
//   - So a batch is there whole or not at all: what one of its steps put proves the others.
//   - What one operation put has one version, and versions grow in the order in which operations
//     followed each other.
import type { Database } from '../../src/index.js'
import type { Journal } from './journal.js'
import { identify, stepsOf, type ValueIdentity, type WriterSpec } from './workload.js'

interface Held extends ValueIdentity {
  readonly version: number
}
/** What a database holds. */
export type Contents = Map<string, Held>

/** A writer and what became of it. */
export interface Written {
  readonly spec: WriterSpec
  readonly journal: Journal
  /** When it was certainly dead (or done): it appended nothing after that. */
  readonly deadMs: number
}

interface Effect {
  readonly owner: Written
  readonly operation: number
  /** The step that put the value, or undefined for a delete. */
  readonly step: number | undefined
}

const MAX_PROBLEMS = 20

/** Reads everything; a value that no operation put is a problem. */
export function readContents(
  entries: Iterable<readonly [unknown, Uint8Array]>,
  versionOf: (key: string) => number,
  problems: string[],
): Contents {
  const contents: Contents = new Map()
  for (const [key, value] of entries) {
    const identity = identify(value)
    if (typeof key !== 'string' || identity === undefined) {
      problems.push(`the value of ${String(key)} (${value.length} bytes) was put by no operation`)
      continue
    }
    contents.set(key, { ...identity, version: versionOf(key) })
  }
  return contents
}

const same = (a: Held | undefined, b: Held | undefined): boolean =>
  a === b ||
  (a !== undefined &&
    b !== undefined &&
    a.writer === b.writer &&
    a.operation === b.operation &&
    a.step === b.step &&
    a.version === b.version)

const spanOf = (effect: Effect) => effect.owner.journal.operations[effect.operation]!
/** After this moment the operation could no longer take effect, unless it had. */
const endOf = (effect: Effect): number => Math.min(spanOf(effect).acknowledgedMs, effect.owner.deadMs)
const describe = (effect: Effect): string =>
  `operation ${effect.operation} of writer ${effect.owner.spec.id} (${effect.step === undefined ? 'delete' : 'put'}, started ${spanOf(effect).startedMs.toFixed(1)}, acknowledged ${spanOf(effect).acknowledgedMs.toFixed(1)})`

/**
 * Compares what is `found` with what was there `before` and what `written` did since; the writers
 * of one lane in the order in which they lived. Returns what is wrong. `byWriter` false leaves out
 * what each writer left as a whole.
 */
export function check(before: Contents, found: Contents, written: readonly Written[], byWriter = true): string[] {
  const problems: string[] = []
  const note = (problem: string): void => {
    if (problems.length < MAX_PROBLEMS) problems.push(problem)
  }
  const byId = new Map(written.map((w) => [w.spec.id, w]))

  // What each operation does to each key; within a batch the last step on a key counts.
  const effects = new Map<string, Effect[]>()
  for (const owner of written) {
    for (let operation = 0; operation < owner.journal.operations.length; operation++) {
      const last = new Map<string, Effect>()
      stepsOf(owner.spec, operation).forEach(({ key, lengthBytes }, i) => {
        last.set(key, { owner, operation, step: lengthBytes === undefined ? undefined : i })
      })
      for (const [key, effect] of last) {
        const list = effects.get(key)
        if (list === undefined) effects.set(key, [effect])
        else list.push(effect)
      }
    }
  }

  // Which operations certainly took effect, beyond those acknowledged; and versions.
  const versions = new Map<string, { version: number; effect: Effect }>()
  const nameOf = (effect: Effect): string => `${effect.owner.spec.id}:${effect.operation}`
  const visible = new Map<string, Effect | 'before'>()
  let newestBefore = 0
  for (const held of before.values()) newestBefore = Math.max(newestBefore, held.version)
  for (const [key, held] of found) {
    if (same(before.get(key), held)) {
      visible.set(key, 'before')
      continue
    }
    const effect = effects
      .get(key)
      ?.find((e) => e.owner.spec.id === held.writer && e.operation === held.operation && e.step === held.step)
    if (effect === undefined) {
      const owner = byId.get(held.writer)
      note(
        `${key} holds what step ${held.step} of operation ${held.operation} of writer ${held.writer} put, ` +
          (owner === undefined
            ? 'which had been overwritten or deleted before'
            : 'which that operation did not leave there or which was never started'),
      )
      continue
    }
    visible.set(key, effect)
    const known = versions.get(nameOf(effect))
    if (known === undefined) versions.set(nameOf(effect), { version: held.version, effect })
    else if (known.version !== held.version)
      note(`${describe(effect)} has versions ${known.version} and ${held.version}: half of a batch was applied twice`)
    if (held.version <= newestBefore)
      note(`${key} has version ${held.version}, and there were versions up to ${newestBefore} before`)
  }

  // Later operations have later versions.
  let startedLast: { startedMs: number; effect: Effect } | undefined
  for (const { effect } of [...versions.values()].sort((a, b) => a.version - b.version)) {
    if (startedLast !== undefined && endOf(effect) < startedLast.startedMs) {
      note(`${describe(startedLast.effect)} has an older version than ${describe(effect)}`)
    }
    const { startedMs } = spanOf(effect)
    if (startedLast === undefined || startedMs > startedLast.startedMs) startedLast = { startedMs, effect }
  }

  const inFlight = byWriter ? checkLanes(before, found, written, note) : new Map<string, boolean>()
  const tookEffect = (effect: Effect): boolean => {
    const name = nameOf(effect)
    return spanOf(effect).acknowledgedMs < Infinity || versions.has(name) || inFlight.get(name) === true
  }
  for (const [name, took] of inFlight) {
    if (!took && versions.has(name))
      note(`${describe(versions.get(name)!.effect)} is there in part: not under its writer's own keys`)
  }

  // Nothing older than what certainly came after it.
  for (const key of new Set([...before.keys(), ...effects.keys()])) {
    const list = effects.get(key) ?? []
    const held = visible.get(key)
    if (held === undefined && found.has(key)) continue
    let overwriter: Effect | undefined
    const isLast = (candidate: Effect | 'before'): boolean => {
      const end = candidate === 'before' ? -Infinity : endOf(candidate)
      overwriter = list.find((w) => w !== candidate && spanOf(w).startedMs > end && tookEffect(w))
      return overwriter === undefined
    }
    if (held !== undefined) {
      if (!isLast(held)) {
        note(
          `${key} holds what ${held === 'before' ? 'was there before' : describe(held)} put, although ${describe(overwriter!)} came after it`,
        )
      }
      continue
    }
    const deletes: (Effect | 'before')[] = list.filter((e) => e.step === undefined)
    if (!before.has(key)) deletes.push('before')
    if (deletes.some(isLast)) continue
    note(
      `${key} is gone, although ${overwriter === undefined ? 'no operation deleted it' : `${describe(overwriter)} put it`}`,
    )
  }
  return problems
}

/** Looks at every slot of a database, and compares what it holds as `check` does. */
export async function checkDatabase(
  db: Database<Buffer>,
  before: Contents,
  written: readonly Written[],
): Promise<{ found: Contents; problems: string[] }> {
  const report = await db.verify()
  const problems = report.damage.slice(0, 10).map((d) => `slot ${d.slotNo}: ${d.why}`)
  using snapshot = db.snapshot()
  const found = readContents(snapshot.range(), (key) => snapshot.getEntry(key)!.version, problems)
  problems.push(...check(before, found, written))
  return { found, problems }
}

/** What is wrong with the keys of `written`'s own, as far as these alone can tell. */
export function checkOwnKeys(before: Contents, found: Contents, written: readonly Written[]): string[] {
  const problems: string[] = []
  checkLanes(before, found, written, (problem) => problems.push(problem))
  return problems
}

/**
 * Own keys of writers. Says, of each operation that was in flight when
 * its writer died, whether its writer's own keys show that it took effect; nothing if they do not tell.
 */
function checkLanes(
  before: Contents,
  found: Contents,
  written: readonly Written[],
  note: (problem: string) => void,
): Map<string, boolean> {
  const told = new Map<string, boolean>()
  const lanes = new Map<number, Written[]>()
  for (const w of written) lanes.set(w.spec.lane, [...(lanes.get(w.spec.lane) ?? []), w])
  for (const [lane, writers] of lanes) {
    const prefix = `lane${lane}/`
    const isOwn = (key: string): boolean => key.startsWith(prefix)
    const start = new Map(
      [...before].filter(([key]) => isOwn(key)).map(([key, h]) => [key, `${h.writer}:${h.operation}:${h.step}`]),
    )
    // Each way in which the operations in flight may have come out.
    let outcomes: { state: Map<string, string>; took: Map<string, boolean> }[] = [{ state: start, took: new Map() }]
    for (const { spec, journal } of writers) {
      const apply = (state: Map<string, string>, n: number): void => {
        stepsOf(spec, n).forEach(({ key, lengthBytes }, i) => {
          if (!isOwn(key)) return
          if (lengthBytes === undefined) state.delete(key)
          else state.set(key, `${spec.id}:${n}:${i}`)
        })
      }
      // Operations of one writer are appended in its order: what is acknowledged proves all before it.
      const sure = journal.operations.findLastIndex((o) => o.acknowledgedMs < Infinity) + 1
      const started = journal.operations.length
      for (const { state } of outcomes) for (let n = 0; n < sure; n++) apply(state, n)
      outcomes = outcomes.flatMap(({ state, took }) => {
        const ends = []
        const now = new Map(state)
        for (let end = sure; ; end++) {
          const tookNow = new Map(took)
          for (let n = sure; n < started; n++) tookNow.set(`${spec.id}:${n}`, n < end)
          ends.push({ state: new Map(now), took: tookNow })
          if (end === started) return ends
          apply(now, end)
        }
      })
    }
    const actual = new Map(
      [...found].filter(([key]) => isOwn(key)).map(([key, h]) => [key, `${h.writer}:${h.operation}:${h.step}`]),
    )
    const matching = outcomes.filter(
      ({ state }) => state.size === actual.size && [...state].every(([key, held]) => actual.get(key) === held),
    )
    if (matching.length === 0) {
      const { state } = outcomes[0]!
      const wrong = [...new Set([...state.keys(), ...actual.keys()])].filter(
        (key) => state.get(key) !== actual.get(key),
      )
      const shown = wrong
        .slice(0, 4)
        .map((key) => `${key}: ${actual.get(key) ?? 'absent'} instead of ${state.get(key) ?? 'absent'}`)
      const operations = writers.map(
        (w) =>
          `${w.spec.id} (${w.journal.operations.length} started, ${w.journal.acknowledgedAtMs.length} acknowledged)`,
      )
      note(
        `lane ${lane} is not the outcome of any prefix of writer ${operations.join(', then ')}: ${shown.join('; ')}${wrong.length > 4 ? `; and ${wrong.length - 4} more` : ''}`,
      )
      continue
    }
    for (const name of matching[0]!.took.keys()) {
      const answers = new Set(matching.map(({ took }) => took.get(name)!))
      if (answers.size === 1) told.set(name, [...answers][0]!)
    }
  }
  return told
}
