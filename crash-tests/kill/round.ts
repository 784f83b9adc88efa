// One round: its lives, its recoveries, and the check after each.
import { cpSync, existsSync, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { CrashPoint } from '../../src/crash-points.js'
import { open } from '../../src/index.js'
import { checkDatabase, type Contents, type Written } from '../lib/check.js'
import { acknowledgedBy, WriterFleet, written, type WriterProcess } from '../lib/writer-fleet.js'
import { monotonicMs } from '../lib/journal.js'
import type { Strike, LifePlan, RoundPlan } from './plan.js'
import { Child, sleep, type Armed } from '../lib/processes.js'
import { mix } from '../lib/random.js'
import { BIN } from '../../src/package-root.js'

/** What a run adds up. */
export interface Tally {
  rounds: number
  lives: number
  /** Rounds with the command line. */
  loads: number
  /** Campaigns, and their waves. */
  campaigns: number
  waves: number
  recoveries: number
  checks: number
  /** Checks of what writers that had just died had written, while others went on. */
  checksOfDead: number
  acknowledged: number
  killsAtPoints: Map<string, number>
  stopsAtPoints: Map<string, number>
  killsAtMoments: number
  /** Of these, at points and at moments. */
  killsOfRecoveries: number
  stops: number
  terminations: number
  /** Times that a process or thread died or stood still while others went on. */
  survivals: number
  longestStallMs: number
}

export const newTally = (): Tally => ({
  rounds: 0,
  lives: 0,
  loads: 0,
  campaigns: 0,
  waves: 0,
  recoveries: 0,
  checks: 0,
  checksOfDead: 0,
  acknowledged: 0,
  killsAtPoints: new Map(),
  stopsAtPoints: new Map(),
  killsAtMoments: 0,
  killsOfRecoveries: 0,
  stops: 0,
  terminations: 0,
  survivals: 0,
  longestStallMs: 0,
})

export const killsAtPoints = (tally: Tally): number => [...tally.killsAtPoints.values()].reduce((a, b) => a + b, 0)
export const killsOf = (tally: Tally): number => killsAtPoints(tally) + tally.killsAtMoments

/** A check failed. */
export class RoundFailure extends Error {}

export interface RoundOptions {
  readonly directory: string
  readonly stallLimitMs: number
  readonly tally: Tally
  /** Where a line goes about what has happened. */
  readonly tell?: (line: string) => void
}

/** A point that is not reached in this time is given up. */
const REACH_MS = 1500
const reachMs = (point: CrashPoint): number =>
  // Reached when closing; or after a megabyte was written.
  point === 'before-truncate' ? 500 : point === 'growing-data' ? 4 * REACH_MS : REACH_MS
/** No process takes longer to stop or to recover, however slow the machine. */
export const END_MS = 60_000

export const add = (counts: Map<string, number>, name: string): void =>
  void counts.set(name, (counts.get(name) ?? 0) + 1)
export const describeStrike = (strike: Strike): string =>
  strike.at === 'point' ? `${strike.point}:${strike.n}` : `${strike.afterMs} ms`

export function armedWith(strike: Strike, signal: 'kill' | 'stop'): Armed {
  if (strike.at !== 'point') return {}
  const where = `${strike.point}:${strike.n}`
  return signal === 'kill' ? { MMAPDB_CRASH_AT: where } : { MMAPDB_STOP_AT: where }
}

export class Round {
  readonly #plan: RoundPlan
  readonly #options: RoundOptions
  #contents: Contents = new Map()
  #unchecked: Written[] = []
  readonly #fleet: WriterFleet
  #everAcknowledged = false
  #story: string[] = []

  constructor(plan: RoundPlan, options: RoundOptions) {
    this.#plan = plan
    this.#options = options
    this.#fleet = new WriterFleet(
      join(options.directory, 'db'),
      plan.options,
      options.directory,
      mix(plan.seed, plan.round),
    )
    rmSync(options.directory, { recursive: true, force: true })
    mkdirSync(options.directory, { recursive: true })
  }

  /** What happened so far, in one line. */
  get story(): string {
    return this.#story.join(' | ')
  }

  async run(): Promise<void> {
    const { lives } = this.#plan
    for (const [i, life] of lives.entries()) {
      await this.#live(i, life)
      this.#options.tally.lives++
      this.#keepFiles()
      this.#story.push(...(await breakRecoveries(this.#fleet, life.brokenRecoveries, this.#options.tally)))
      const isLast = i === lives.length - 1
      if (life.recoverer === 'writers' && !isLast) continue
      if (life.recoverer === 'cli' || life.recoverer === 'process') await this.#recover(life.recoverer)
      await this.#check()
    }
    this.#options.tally.rounds++
    this.#options.tell?.(`round ${this.#plan.round}: ${this.story}`)
  }

  // ---- a life ----------------------------------------------------------------------------------

  async #live(index: number, life: LifePlan): Promise<void> {
    const { tally, stallLimitMs } = this.#options
    const running: WriterProcess[] = []
    let lane = 0
    const start = (count: number, isVictim: boolean): WriterProcess => {
      const { strike, how } = life
      const terminate =
        isVictim && how === 'terminate' && strike.at === 'moment'
          ? Array.from({ length: Math.ceil(count / 2) }, (_, i) => ({
              index: i,
              afterMs: i === 0 ? strike.afterMs : 60,
            }))
          : []
      const armed = isVictim && (how === 'kill' || how === 'stop') ? armedWith(strike, how) : {}
      const started = this.#fleet.start(
        life.profile,
        Array.from({ length: count }, () => lane++),
        armed,
        terminate,
      )
      running.push(started)
      return started
    }
    const victim = start(life.writers[0]!, true)
    for (const count of life.writers.slice(1)) start(count, false)

    const told = await this.#hit(victim, life)
    const struckMs = monotonicMs()
    let newcomer: WriterProcess | undefined
    if (life.newcomer && life.goOnMs > 0) newcomer = start(1, false)
    if (life.goOnMs > 0) {
      await Promise.all(running.filter(({ child }) => child.isAlive).map(({ child }) => child.readyWithin(END_MS)))
      await sleep(life.goOnMs)
    }
    const goneOnMs = monotonicMs()
    if (life.end === 'stop') for (const { child } of running) child.stop()
    else for (const { child } of running) child.kill()
    for (const { child } of running) {
      if (await child.within(END_MS)) continue
      const where = child.threadStates()
      for (const other of running) other.child.kill()
      throw new RoundFailure(`a process did not end within ${END_MS} ms after it was told to:\n${where}`)
    }
    this.#countKillAtPoint(victim, life, told)

    // A process that was not hit must have met no error, and must have gone on in time.
    for (const { child } of running) expectNoError(child)
    const all = running.flatMap((started) =>
      written(started).map((w, i) => ({
        ...w,
        readyMs: started.child.readyMs,
        isTerminated: started.child.terminated.some((t) => t.index === i),
      })),
    )
    let stallMs = 0
    if (life.goOnMs > 0 && life.how !== 'none') {
      const others =
        life.how === 'terminate'
          ? all.filter((w) => !w.isTerminated)
          : all.filter((w) => !victim.writers.some((v) => v.spec === w.spec))
      if (others.length > 0) tally.survivals++
      for (const w of others) {
        if (newcomer?.writers.some(({ spec }) => spec === w.spec)) continue
        stallMs = Math.max(stallMs, longestStall(w.journal.acknowledgedAtMs, Math.max(struckMs, w.readyMs), goneOnMs))
      }
      if (life.how !== 'stop') {
        tally.longestStallMs = Math.max(tally.longestStallMs, stallMs)
        if (stallMs > stallLimitMs) {
          throw new RoundFailure(
            `a writer that was not hit stood still for ${stallMs.toFixed(0)} ms (life ${index}: ${this.story} ${told})`,
          )
        }
      }
    }
    const acknowledged = acknowledgedBy(all)
    tally.acknowledged += acknowledged
    if (acknowledged > 0) this.#everAcknowledged = true
    this.#unchecked.push(...all)
    this.#story.push(
      `${life.profile.mode} ${life.writers.join('+')}${newcomer ? '+1' : ''}${life.profile.depth > 1 ? ` deep ${life.profile.depth}` : ''} ${told}` +
        (life.goOnMs > 0 ? `, others ${life.goOnMs} ms (stall ${stallMs.toFixed(0)})` : '') +
        `, ${life.end}, ${acknowledged} acknowledged`,
    )
  }

  /** Waits until the process is hit at its point, or hits it at its moment. Returns what happened. */
  async #hit(victim: WriterProcess, life: LifePlan): Promise<string> {
    const { tally } = this.#options
    const { strike, how } = life
    const { child } = victim
    if (how === 'none' || how === 'terminate') {
      await child.readyWithin(END_MS)
      await sleep(
        strike.at === 'moment' ? strike.afterMs + (how === 'terminate' ? 60 * victim.writers.length : 0) : 300,
      )
      if (how === 'terminate') tally.terminations += child.terminated.length
      return how === 'none' ? 'not hit' : `${child.terminated.length} threads terminated`
    }
    if (how === 'stop') {
      const untilMs = monotonicMs() + REACH_MS
      if (strike.at === 'moment') {
        await sleep(strike.afterMs)
        child.pause()
      } else {
        while (!child.isStopped && child.isAlive && monotonicMs() < untilMs) await sleep(3)
        const isStopped = child.isStopped
        // It may get there later. And each thread counts for itself: another one may stop the process again.
        void child.keepGoing(life.stoppedMs)
        if (!isStopped) return `not stopped at ${describeStrike(strike)}`
        add(tally.stopsAtPoints, strike.point)
      }
      await sleep(life.stoppedMs)
      child.goOn()
      tally.stops++
      return `stopped at ${describeStrike(strike)} for ${life.stoppedMs} ms`
    }
    if (strike.at === 'moment') {
      await sleep(strike.afterMs)
      child.kill()
      tally.killsAtMoments++
      await child.exited
      return `killed at ${describeStrike(strike)}`
    }
    if (await child.within(reachMs(strike.point))) return `killed at ${describeStrike(strike)}`
    if (life.end === 'kill') {
      child.kill()
      tally.killsAtMoments++
      return `killed without reaching ${describeStrike(strike)}`
    }
    return `armed for ${describeStrike(strike)}`
  }

  #countKillAtPoint({ child }: WriterProcess, { strike, how }: LifePlan, told: string): void {
    if (how !== 'kill' || strike.at !== 'point' || child.killed || child.signal !== 'SIGKILL') return
    add(this.#options.tally.killsAtPoints, strike.point)
    if (told.startsWith('armed')) this.#story.push('(while closing)')
  }

  // ---- recoveries ------------------------------------------------------------------------------

  /** Keeps the files that a life left, for looking into a failure. */
  #keepFiles(): void {
    const copy = join(this.#options.directory, 'before-recovery')
    rmSync(copy, { recursive: true, force: true })
    if (existsSync(this.#fleet.path)) cpSync(this.#fleet.path, copy, { recursive: true })
  }

  async #recover(by: 'cli' | 'process'): Promise<void> {
    this.#options.tally.recoveries++
    if (by === 'process') {
      await expectRecovered(this.#fleet.recover({}))
      return
    }
    for (const command of ['recover', 'verify']) {
      const child = new Child(BIN, [command, '--db', this.#fleet.path, '--quiet'], {})
      if (!(await child.within(END_MS))) {
        child.kill()
        throw new RoundFailure(`mmapdb ${command} took longer than ${END_MS} ms`)
      }
      if (child.code === 0) continue
      // Killed while it was being made: there is nothing to recover yet.
      if (!this.#everAcknowledged && child.code === 2 && /no database/.test(child.errorOutput)) return
      throw new RoundFailure(`mmapdb ${command} ended with ${child.signal ?? child.code}: ${child.errorOutput}`)
    }
  }

  // ---- the check -------------------------------------------------------------------------------

  async #check(): Promise<void> {
    const { tally } = this.#options
    const db = await open<'binary', Buffer>(this.#fleet.path, {
      ...this.#plan.options,
      workers: 0,
      valueEncoding: 'binary',
    })
    try {
      if (db.recovery?.needed === true) tally.recoveries++
      const { found, problems } = await checkDatabase(db, this.#contents, this.#unchecked)
      if (problems.length > 0) throw new RoundFailure(problems.join('\n    '))
      this.#contents = found
    } finally {
      await db.close()
    }
    tally.checks++
    this.#unchecked = []
  }
}

/** The longest time without an acknowledgement between two moments. */
function longestStall(acknowledgedAtMs: readonly number[], fromMs: number, toMs: number): number {
  if (fromMs >= toMs) return 0
  let longest = 0
  let last = fromMs
  for (const ms of acknowledgedAtMs) {
    if (ms <= fromMs) continue
    if (ms >= toMs) break
    longest = Math.max(longest, ms - last)
    last = ms
  }
  return Math.max(longest, toMs - last)
}

export function expectNoError(child: Child): void {
  if (child.signal === 'SIGKILL') {
    if (child.errorOutput !== '')
      throw new RoundFailure(`a process had an error before it was killed: ${child.errorOutput}`)
    return
  }
  if (child.code === 0 && child.errorOutput === '') return
  throw new RoundFailure(`a process that was not hit ended with ${child.signal ?? child.code}: ${child.errorOutput}`)
}

/** Recoveries that are killed, one after another; says how each ended. */
export async function breakRecoveries(fleet: WriterFleet, strikes: readonly Strike[], tally: Tally): Promise<string[]> {
  const story: string[] = []
  for (const strike of strikes) {
    const child = fleet.recover(armedWith(strike, 'kill'))
    if (strike.at === 'moment') {
      await Promise.race([sleep(strike.afterMs), child.exited])
      child.kill()
    }
    await expectRecovered(child)
    const isKilled = child.signal === 'SIGKILL'
    if (isKilled) {
      tally.killsOfRecoveries++
      if (strike.at === 'point') add(tally.killsAtPoints, strike.point)
      else tally.killsAtMoments++
    }
    story.push(`recovery ${isKilled ? 'killed' : 'through'} at ${describeStrike(strike)}`)
  }
  return story
}

async function expectRecovered(child: Child): Promise<void> {
  if (!(await child.within(END_MS))) {
    child.kill()
    throw new RoundFailure(`a recovery took longer than ${END_MS} ms`)
  }
  if (child.signal === 'SIGKILL' || child.code === 0) return
  throw new RoundFailure(`a recovery ended with ${child.signal ?? child.code}: ${child.errorOutput}`)
}
