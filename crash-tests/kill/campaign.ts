// One campaign: its waves. When a process has died and others go on, what its writers had acknowledged
// under their own keys must be there at once; when all have died, everything is compared.
import { cpSync, existsSync, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { open, type Database } from '../../src/index.js'
import type { CampaignPlan, VictimPlan, WavePlan } from './campaign-plan.js'
import { checkDatabase, checkOwnKeys, readContents, type Contents, type Written } from '../lib/check.js'
import { acknowledgedBy, WriterFleet, written, type WriterProcess } from '../lib/writer-fleet.js'
import { sleep } from '../lib/processes.js'
import { mix } from '../lib/random.js'
import {
  add,
  armedWith,
  breakRecoveries,
  describeStrike,
  END_MS,
  expectNoError,
  RoundFailure,
  type RoundOptions,
} from './round.js'

export interface CampaignOptions extends RoundOptions {
  /** True: no further wave is started. */
  readonly isEnough: () => boolean
  /**
   * For the self-test: called before a check, with the lane that it is about or, if it is about everything,
   * undefined.
   */
  readonly tamper?: (db: Database<Buffer>, lane: number | undefined) => unknown
}

/** A point that a writing process has not reached in this time is given up. */
const REACH_MS = 1000

export class Campaign {
  readonly #plan: CampaignPlan
  readonly #options: CampaignOptions
  readonly #journals: string
  readonly #fleet: WriterFleet
  #contents: Contents = new Map()
  #story: string[] = []

  constructor(plan: CampaignPlan, options: CampaignOptions) {
    this.#plan = plan
    this.#options = options
    this.#journals = join(options.directory, 'journals')
    rmSync(options.directory, { recursive: true, force: true })
    mkdirSync(options.directory, { recursive: true })
    this.#fleet = new WriterFleet(
      join(options.directory, 'db'),
      plan.options,
      this.#journals,
      mix(plan.seed, plan.campaign, 0xca),
    )
  }

  /** What happened in the last wave, in one line. */
  get story(): string {
    return this.#story.join(' | ')
  }

  async run(): Promise<void> {
    const { tally, isEnough, tell } = this.#options
    for (const [n, wave] of this.#plan.waves.entries()) {
      if (isEnough()) break
      this.#story = []
      rmSync(this.#journals, { recursive: true, force: true })
      mkdirSync(this.#journals)
      const dead = await this.#wave(wave)
      this.#keepFiles()
      this.#story.push(...(await breakRecoveries(this.#fleet, wave.brokenRecoveries, tally)))
      await this.#checkEverything(dead)
      tally.waves++
      tell?.(`campaign ${this.#plan.campaign}, wave ${n}: ${this.story}`)
    }
    tally.campaigns++
  }

  // ---- a wave ----------------------------------------------------------------------------------

  /** Ends when all have died; says what they had written. */
  async #wave({ victims, atOnce, together }: WavePlan): Promise<Written[]> {
    const running = new Set<WriterProcess>()
    const dead: Written[] = []
    let next = 0
    let lanes = 0
    let failure: Error | undefined
    const post = async (): Promise<void> => {
      while (next < victims.length && failure === undefined) {
        const victim = victims[next++]!
        const started = this.#fleet.start(
          victim.profile,
          Array.from({ length: victim.writers }, () => lanes++),
          armedWith(victim.strike, 'kill'),
        )
        running.add(started)
        try {
          const how = await hit(started, victim)
          running.delete(started)
          const done = this.#noteDeath(started, victim, how)
          dead.push(...done)
          if (together && next === victims.length) for (const { child } of running) child.kill()
          // After the last death come recoveries, and everything is checked then.
          if (running.size > 0 && !(together && next === victims.length)) await this.#checkDead(done)
        } catch (error) {
          running.delete(started)
          started.child.kill()
          failure ??= error as Error
        }
      }
    }
    await Promise.all(Array.from({ length: atOnce }, post))
    if (failure !== undefined) throw failure
    return dead
  }

  #noteDeath(started: WriterProcess, { profile, strike }: VictimPlan, how: string): Written[] {
    const { tally } = this.#options
    expectNoError(started.child)
    if (started.child.signal !== 'SIGKILL')
      throw new RoundFailure(`a process ended with ${started.child.code} and was not told to`)
    if (!started.child.killed && strike.at === 'point') add(tally.killsAtPoints, strike.point)
    else tally.killsAtMoments++
    const done = written(started)
    const acknowledged = acknowledgedBy(done)
    tally.acknowledged += acknowledged
    this.#story.push(
      `${profile.mode} ${started.writers.map(({ spec }) => spec.id).join('+')} ${how}, ${acknowledged} acknowledged`,
    )
    return done
  }

  // ---- checks ----------------------------------------------------------------------------------

  #open(): Promise<Database<Buffer>> {
    return open<'binary', Buffer>(this.#fleet.path, { ...this.#plan.options, workers: 0, valueEncoding: 'binary' })
  }

  async #checkDead(dead: readonly Written[]): Promise<void> {
    const problems: string[] = []
    const db = await this.#open()
    try {
      if (db.recovery?.needed === true) this.#options.tally.recoveries++
      for (const { spec } of dead) this.#options.tamper?.(db, spec.lane)
      using snapshot = db.snapshot()
      for (const one of dead) {
        const found = readContents(
          snapshot.range({ prefix: `lane${one.spec.lane}/` }),
          (key) => snapshot.getEntry(key)!.version,
          problems,
        )
        problems.push(...checkOwnKeys(this.#contents, found, [one]))
      }
    } finally {
      await db.close()
    }
    this.#options.tally.checksOfDead++
    if (problems.length > 0) throw new RoundFailure(problems.join('\n    '))
  }

  /** Keeps the files that a wave left, for looking into a failure. */
  #keepFiles(): void {
    const copy = join(this.#options.directory, 'before-recovery')
    rmSync(copy, { recursive: true, force: true })
    if (existsSync(this.#fleet.path)) cpSync(this.#fleet.path, copy, { recursive: true })
  }

  async #checkEverything(dead: readonly Written[]): Promise<void> {
    const { tally, tamper } = this.#options
    const db = await this.#open()
    try {
      if (db.recovery?.needed === true) tally.recoveries++
      tamper?.(db, undefined)
      const { found, problems } = await checkDatabase(db, this.#contents, dead)
      if (problems.length > 0) throw new RoundFailure(problems.join('\n    '))
      this.#contents = found
    } finally {
      await db.close()
    }
    tally.checks++
  }
}

/** Waits until the process is hit at its point, or hits it at its moment, and until it is dead. */
async function hit({ child }: WriterProcess, { strike, from }: VictimPlan): Promise<string> {
  if (from === 'writing' && !(await child.readyWithin(END_MS)))
    throw new RoundFailure(`a process did not open the database in time:\n${child.threadStates()}`)
  if (strike.at === 'moment') await Promise.race([sleep(strike.afterMs), child.exited])
  else if ((await child.within(REACH_MS)) && !child.killed) return `killed at ${describeStrike(strike)}`
  child.kill()
  if (!(await child.within(END_MS))) throw new RoundFailure(`a process outlives a SIGKILL:\n${child.threadStates()}`)
  return strike.at === 'moment'
    ? `killed after ${strike.afterMs} ms`
    : `killed without reaching ${describeStrike(strike)}`
}
