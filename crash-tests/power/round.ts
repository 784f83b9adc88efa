// One round of power cuts: the lives of a database on one file system, the cut at the end of each, and
// the check of what is left, on the image alone.
import { spawn, type ChildProcess } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { open } from '../../src/index.js'
import { checkDatabase, type Contents, type Written } from '../lib/check.js'
import { acknowledgedBy, WriterFleet, written, type WriterProcess } from '../lib/writer-fleet.js'
import { monotonicMs } from '../lib/journal.js'
import { Child, sleep, type Armed } from '../lib/processes.js'
import { mix } from '../lib/random.js'
import { add, armedWith, END_MS, RoundFailure } from '../kill/round.js'
import type { CutReport, Disk } from './disk.js'
import { describeCut, type Cut, type LifePlan, type RoundPlan } from './plan.js'
import { run, type Tools } from './tools.js'

/** What a run adds up. */
export interface Tally {
  rounds: number
  lives: number
  cuts: number
  cutsOfRecoveries: number
  cutsByEvent: Map<string, number>
  cutsByMode: Map<string, number>
  cutsAtPoints: Map<string, number>
  /** Cuts at which there was something to lose; sectors of these, and what became of them. */
  cutsWithLosses: number
  sectors: number
  sectorsLost: number
  sectorsOlder: number
  reopenings: number
  kills: number
  recoveries: number
  checks: number
  acknowledged: number
  /** What the file system's own checker said, as information. */
  complaints: string[]
}

export const newTally = (): Tally => ({
  rounds: 0,
  lives: 0,
  cuts: 0,
  cutsOfRecoveries: 0,
  cutsByEvent: new Map(),
  cutsByMode: new Map(),
  cutsAtPoints: new Map(),
  cutsWithLosses: 0,
  sectors: 0,
  sectorsLost: 0,
  sectorsOlder: 0,
  reopenings: 0,
  kills: 0,
  recoveries: 0,
  checks: 0,
  acknowledged: 0,
  complaints: [],
})

/** The environment of a program under test, for instance with a system that lies about flushes. */
export type Environment = Readonly<Record<string, string>>

interface RoundOptions {
  readonly directory: string
  readonly disk: Disk
  readonly tools: Tools
  readonly tally: Tally
  readonly environment?: Environment
}

/** An event that does not happen in this time is given up: the power goes off all the same. */
const REACH_MS = 2500
/** Between arriving at a point and the cut, others may still do something, and pages are written back. */
const POINT_DELAY_MS = 50

export class PowerRound {
  readonly #plan: RoundPlan
  readonly #options: RoundOptions
  readonly #fleet: WriterFleet
  #contents: Contents = new Map()
  #unchecked: Written[] = []
  readonly #story: string[] = []

  constructor(plan: RoundPlan, options: RoundOptions) {
    this.#plan = plan
    this.#options = options
    this.#fleet = new WriterFleet(
      join(options.disk.root, 'db'),
      plan.options,
      this.#journals,
      mix(plan.seed, plan.round),
    )
    rmSync(this.#journals, { recursive: true, force: true })
    mkdirSync(this.#journals)
  }

  get #journals(): string {
    return join(this.#options.directory, 'journals')
  }

  /** What happened so far, a line for each life. */
  get story(): string {
    return this.#story.join('\n  ')
  }

  async run(): Promise<void> {
    const { disk, tally } = this.#options
    const { lives } = this.#plan
    await disk.format()
    for (const [i, life] of lives.entries()) {
      await this.#live(life)
      tally.lives++
      for (const cut of life.recoveries) await this.#cutRecovery(cut)
      if (life.unchecked && i < lives.length - 1) continue
      await this.#check()
    }
    tally.rounds++
  }

  #note(what: string): void {
    this.#story.push(what)
  }

  // ---- a life ----------------------------------------------------------------------------------

  async #live(life: LifePlan): Promise<void> {
    const { disk, tally } = this.#options
    const dead: Written[] = []
    const all: WriterProcess[] = []
    let writeBack: ChildProcess | undefined
    await disk.powerOn()
    try {
      if (life.writeBackMs > 0) writeBack = this.#writeBack(life.writeBackMs, life.cut.seed)
      for (const afterMs of life.reopeningsAfterMs) {
        const running = this.#start(life, {})
        all.push(...running)
        await this.#allReady(running)
        await sleep(afterMs)
        for (const { child } of running) child.stop()
        await this.#allGone(running)
        tally.reopenings++
      }
      const running = this.#start(life, life.cut.at === 'point' ? armedWith(life.cut, 'stop') : {})
      all.push(...running)
      const report = await this.#bringAboutCut(life, running)
      for (const { child } of running) child.kill()
      await this.#allGone(running)
      for (const started of all) {
        const { child } = started
        const journals = written(started)
        dead.push(...journals)
        expectNoErrorBefore(child, journals, report.atMs)
      }
      const acknowledged = acknowledgedBy(dead)
      tally.acknowledged += acknowledged
      this.#unchecked.push(...dead)
      this.#note(
        `${life.profile.mode} ${life.writers.join('+')}${life.profile.depth > 1 ? ` deep ${life.profile.depth}` : ''}` +
          `${life.reopeningsAfterMs.length > 0 ? ', reopened' : ''}, cut ${describeCut(life.cut)} from ${life.from}` +
          `: ${describeReport(report)}, ${acknowledged} acknowledged`,
      )
    } finally {
      for (const { child } of all) child.kill()
      for (const { child } of all) await child.within(END_MS)
      await ended(writeBack)
      await disk.takeAway()
    }
  }

  #writeBack(pauseMs: number, seed: number): ChildProcess {
    return spawn(this.#options.tools.writeBack, [this.#options.disk.root, String(pauseMs), String(seed)], {
      stdio: 'ignore',
    })
  }

  #start(life: LifePlan, armed: Armed): WriterProcess[] {
    let lane = 0
    return life.writers.map((count, p) =>
      this.#fleet.start(
        life.profile,
        Array.from({ length: count }, () => lane++),
        { ...this.#options.environment, ...(p === 0 ? armed : {}) },
      ),
    )
  }

  async #allReady(running: readonly WriterProcess[]): Promise<void> {
    for (const { child } of running) {
      if (!(await child.readyWithin(END_MS)))
        throw new RoundFailure(`a process did not open the database in time:\n${child.threadStates()}`)
      if (child.code !== null) throw new RoundFailure(`a process could not open the database: ${child.errorOutput}`)
    }
  }

  async #allGone(running: readonly WriterProcess[]): Promise<void> {
    for (const { child } of running) {
      if (!(await child.within(END_MS)))
        throw new RoundFailure(`a process did not end in time:\n${child.threadStates()}`)
    }
  }

  /** Brings about the cut; the workload goes on until the power is off. */
  async #bringAboutCut(life: LifePlan, running: readonly WriterProcess[]): Promise<CutReport> {
    const { tally } = this.#options
    const first = running[0]!.child
    if (life.from !== 'start') {
      // A process that stands still at a point may keep others from opening.
      const untilMs = monotonicMs() + END_MS
      while (
        running.some(({ child }) => child.readyMs === Infinity && child.isAlive) &&
        !first.isStopped &&
        monotonicMs() < untilMs
      )
        await sleep(3)
      await sleep(life.fromMs)
    }
    if (life.killAfterMs !== undefined && running.length > 1) {
      await sleep(life.killAfterMs)
      first.kill()
      tally.kills++
    }
    if (life.from === 'closing') for (const { child } of running) child.stop()
    return this.#cut(life.cut, first, running)
  }

  /** Cuts the power as planned, or when that does not happen in time, or when all processes have ended. */
  async #cut(cut: Cut, armed: Child, running: readonly WriterProcess[]): Promise<CutReport> {
    const { disk, tally } = this.#options
    const done = Promise.all(running.map(({ child }) => child.exited))
    const isOver = { value: false }
    void done.then(() => (isOver.value = true))
    if (cut.at === 'moment') {
      await sleep(cut.afterMs)
    } else if (cut.at === 'point') {
      const untilMs = monotonicMs() + REACH_MS
      while (!armed.isStopped && armed.isAlive && !isOver.value && monotonicMs() < untilMs) await sleep(2)
      if (armed.isStopped) {
        add(tally.cutsAtPoints, cut.point)
        await sleep(cut.seed % POINT_DELAY_MS)
        if (cut.then !== undefined) {
          disk.arm(cut.seed, cut.mode, cut.then.event, cut.then.n)
          // Each thread stops there on its own account.
          void armed.keepGoing(0)
          await Promise.race([disk.off, sleep(REACH_MS), done])
        }
      }
    } else {
      disk.arm(cut.seed, cut.mode, cut.at, cut.n)
      await Promise.race([disk.off, sleep(REACH_MS), done])
    }
    const report = await disk.cut(cut.seed, cut.mode)
    tally.cuts++
    add(tally.cutsByEvent, report.cut !== 'now' ? report.cut : cut.at === 'point' ? 'point' : 'moment')
    add(tally.cutsByMode, report.mode)
    if (report.lost + report.keptOlder > 0) tally.cutsWithLosses++
    tally.sectors += report.sectors
    tally.sectorsLost += report.lost
    tally.sectorsOlder += report.keptOlder
    return report
  }

  // ---- recoveries ------------------------------------------------------------------------------

  async #cutRecovery(cut: Cut): Promise<void> {
    const { disk, tally, environment } = this.#options
    await this.#keepFiles()
    await disk.powerOn()
    let child: Child | undefined
    try {
      child = this.#fleet.recover({ ...environment, ...(cut.at === 'point' ? armedWith(cut, 'stop') : {}) })
      const report = await this.#cut(cut, child, [{ child, writers: [] }])
      const isThrough = child.deadMs < report.atMs
      child.kill()
      if (!(await child.within(END_MS)))
        throw new RoundFailure(`a recovery did not end in time:\n${child.threadStates()}`)
      if (isThrough && child.code !== 0)
        throw new RoundFailure(`a recovery ended with ${child.signal ?? child.code}: ${child.errorOutput}`)
      tally.cutsOfRecoveries++
      this.#note(`  recovery ${isThrough ? 'through, then ' : ''}cut ${describeCut(cut)}: ${describeReport(report)}`)
    } finally {
      child?.kill()
      await child?.within(END_MS)
      await disk.takeAway()
    }
  }

  // ---- the check -------------------------------------------------------------------------------

  /** Keeps what a cut left, and the plan, for looking into a failure. */
  async #keepFiles(): Promise<void> {
    const { directory, disk } = this.#options
    await run('cp', ['--sparse=always', disk.image, join(directory, 'image-after-cut')])
    writeFileSync(join(directory, 'plan.json'), JSON.stringify(this.#plan, undefined, 2))
  }

  async #check(): Promise<void> {
    const { disk, tally } = this.#options
    await this.#keepFiles()
    await disk.mountPlainly()
    try {
      const child = this.#fleet.recover({})
      if (!(await child.within(END_MS))) {
        const where = child.threadStates()
        child.kill()
        throw new RoundFailure(`recovery did not end in time:\n${where}`)
      }
      if (child.code !== 0)
        throw new RoundFailure(`recovery ended with ${child.signal ?? child.code}: ${child.errorOutput}`)
      tally.recoveries++
      const db = await open<'binary', Buffer>(this.#fleet.path, {
        ...this.#plan.options,
        workers: 0,
        valueEncoding: 'binary',
      })
      try {
        const { found, problems } = await checkDatabase(db, this.#contents, this.#unchecked)
        if (problems.length > 0) throw new RoundFailure(problems.join('\n    '))
        this.#contents = found
      } finally {
        await db.close()
      }
      tally.checks++
      this.#unchecked = []
    } finally {
      await disk.takeAway()
    }
    const damage = await disk.findDamage()
    if (damage !== undefined) tally.complaints.push(`round ${this.#plan.round}: ${damage}`)
  }
}

const describeReport = (r: CutReport): string =>
  `${r.cut} ${r.mode}, ${r.sectors} sectors unflushed in ${r.versions} versions: ${r.keptNewest} kept, ${r.keptOlder} older, ${r.lost} lost`

/** While the power was on no process may have met an error. */
function expectNoErrorBefore(child: Child, written: readonly Written[], cutMs: number): void {
  const hasFailed = child.errorAtMs < cutMs || written.some(({ journal }) => journal.failedAtMs < cutMs)
  const hasDied = child.deadMs < cutMs && !child.killed && child.code !== 0
  if (!hasFailed && !hasDied) return
  throw new RoundFailure(
    `a process had an error before the power was cut (${child.signal ?? child.code}): ${child.errorOutput}`,
  )
}

async function ended(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
  const exited = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGKILL')
  await exited
}
