// One soak: spells of work with a check after each, until the time is up.
//
// Two processes live throughout: one whose actors share an open database and its pool, which it keeps
// open over several spells, and one in which threads come and go. Visitors come beside them, are
// killed, stopped and replaced. After each spell all pause: the database is compared with the
// model completely, and what long-lived processes and files take is sampled. How a spell ends is drawn:
// all close; some close and the rest are killed, so that the next opener recovers; or the
// database stays open and is checked beside its users.
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Counts } from '../lib/evidence.js'
import { sleep } from '../lib/processes.js'
import { mix, Random } from '../lib/random.js'
import { open, type OpenOptions } from '../../src/index.js'
import { decide, LANES, Watcher, type Workload } from './actor.js'
import { checkChanging, makeBank } from './changing.js'
import { Child } from './children.js'
import { Lane, WrongContents } from './lane.js'
import { accountKey, checkLastWriter, checkShared, firstOperations } from './operations.js'
import { add, type SpellReport, type Spell } from './orders.js'
import {
  fileBytes,
  judge,
  LEAST_SAMPLES,
  locksOn,
  sampleSelf,
  type Judgement,
  type Leak,
  type Sample,
  type Series,
} from './resources.js'

interface SoakOptions {
  readonly directory: string
  readonly durationMs: number
  readonly seed: number
  /** How long a spell lasts, at most. */
  readonly spellMs: number
  /** Milliseconds that actors rest between operations, on average: how hard the machine is worked. */
  readonly restMs: number
  readonly print: (line: string) => void
  /** Ends after that many spells, whatever the time. */
  readonly spells?: number
  /** For the self-test: lost in every spell by the process with a pool, which closes its database each time. */
  readonly leaks?: readonly Leak[]
  /** For the self-test: changes a key without telling the model after that many spells. */
  readonly tamperAfter?: number
}

interface SoakOutcome {
  readonly problems: string[]
  readonly counts: Counts
  readonly judgements: { readonly series: Series; readonly judgement: Judgement }[]
}

const KiB = 1024
const MiB = 1024 * KiB
/** One window size for all would do; that it differs between users of one database is part of the soak. */
const WINDOW_BYTES = [64 * KiB, 256 * KiB, 1 * MiB] as const
const RESERVE_BYTES = 1024 * MiB
const PRINT_EVERY_MS = 60_000
/** A spell that does not end in this time is stuck. */
const STUCK_MS = 60_000
/** A process that waits for one that is stopped must not give up. */
const TIMEOUT_MS = 30_000
const LONGEST_STOP_MS = 1500
/** From one strike to the next. */
const LONGEST_PAUSE_MS = 1200
/** What a database of slots may take beside what its values need: leaves half full, branches, headers. */
const SPACE_FACTOR = 3
const SPACE_BYTES = 1 * MiB
/** What a clean close leaves of the log, so that a full disk has room for deletes. */
const CLOSED_LOG_BYTES = 16 * KiB

const LANES_OF = { pool: [0, 1], threads: [2, 3], visitorPool: [4], visitorThreads: [5] } as const

const BOUNDS: Record<keyof Sample, { unit: string; slack: number; most: number }> = {
  heapMiB: { unit: 'MiB', slack: 3, most: 150 },
  externalMiB: { unit: 'MiB', slack: 4, most: 64 },
  rssMiB: { unit: 'MiB', slack: 40, most: 1024 },
  threads: { unit: 'threads', slack: 1, most: 30 },
  descriptors: { unit: 'descriptors', slack: 3, most: 100 },
  mappings: { unit: 'mappings', slack: 60, most: 3000 },
  databaseDescriptors: { unit: 'descriptors of the database', slack: 0, most: 0 },
  databaseMappings: { unit: 'mappings of the database', slack: 0, most: 0 },
}
/**
 * With mappings for the windows onto data, which are not counted here, and onto control; and up to eight threads, by
 * what they are needed for, which keep locks and up to eight segments of the log each, as they come.
 */
const BOUNDS_OPEN: typeof BOUNDS = {
  ...BOUNDS,
  externalMiB: { unit: 'MiB', slack: 24, most: 2048 },
  databaseDescriptors: { unit: 'descriptors of the database', slack: 60, most: 80 },
  databaseMappings: { unit: 'mappings of the database, but for the windows that there can be', slack: 0, most: 3 },
}

type Ending = 'open' | 'closed' | 'killed'

export class Soak {
  readonly #options: SoakOptions
  readonly #random: Random
  readonly #path: string
  readonly #lanesDirectory: string
  readonly #problems: string[] = []
  readonly #series = new Map<string, Series>()
  readonly #done: SpellReport = { operations: {}, opened: 0, terminated: 0 }
  readonly #counts = {
    spells: 0,
    kills: 0,
    killedSpells: 0,
    stops: 0,
    visitors: 0,
    recoveries: 0,
    framesReplayed: 0,
    resolved: 0,
    keysCompared: 0,
  }
  readonly #peaks = { dataMiB: 0, walMiB: 0, controlMiB: 0, rssMiB: 0 }
  readonly #watcher = new Watcher()

  constructor(options: SoakOptions) {
    this.#options = options
    this.#random = new Random(mix(options.seed, 1))
    this.#path = join(options.directory, 'db')
    this.#lanesDirectory = join(options.directory, 'lanes')
  }

  async run(): Promise<SoakOutcome> {
    const { directory, durationMs, spells = Infinity } = this.#options
    rmSync(directory, { recursive: true, force: true })
    mkdirSync(this.#lanesDirectory, { recursive: true })
    const first = await open<'binary', Buffer>(this.#path, {
      ...this.#drawOptions(),
      workers: 0,
      valueEncoding: 'binary',
    })
    await first.batch(firstOperations())
    await makeBank(first)
    await first.close()
    const startedMs = Date.now()
    const residents = { pool: new Child('the process with a pool'), threads: new Child('the process with threads') }
    let printedMs = startedMs
    try {
      while (Date.now() - startedMs < durationMs && this.#counts.spells < spells && this.#problems.length === 0) {
        await this.#spell(residents)
        if (Date.now() - printedMs < PRINT_EVERY_MS) continue
        printedMs = Date.now()
        this.#options.print(this.#line((printedMs - startedMs) / 60_000))
      }
    } finally {
      await Promise.all(Object.values(residents).map((child) => child.kill()))
    }
    const judgements = [...this.#series.values()].map((series) => ({ series, judgement: judge(series) }))
    for (const { judgement } of judgements) if (judgement.problem !== undefined) this.#problems.push(judgement.problem)
    this.#printResources(judgements)
    return { problems: this.#problems, counts: this.#allCounts(), judgements }
  }

  // ---- one spell -------------------------------------------------------------------------------

  #isPoolOpen = false
  #spellsOpen = 0

  async #spell(residents: { pool: Child; threads: Child }): Promise<void> {
    const random = this.#random
    const n = this.#counts.spells++
    const ending = this.#drawEnding()
    const options = this.#isPoolOpen ? this.#poolOptions : this.#drawOptions()
    this.#poolOptions = options
    const workload: Workload = {
      largeShare: random.pick([0, 0.005, 0.02, 0.1]),
      deleteShare: random.pick([0.1, 0.3, 0.6]),
      longReaderMs: this.#options.spellMs,
      restMs: this.#options.restMs,
    }
    const spell = (mode: Spell['mode'], lanes: readonly number[], own: OpenOptions): Spell => ({
      path: this.#path,
      lanesDirectory: this.#lanesDirectory,
      seed: mix(this.#options.seed, n, lanes[0]!, random.between(0, 2 ** 30)),
      mode,
      lanes,
      options: own,
      depth: 3,
      workload,
      closes: ending !== 'open',
    })
    const poolOptions = { ...options, workers: 2 }
    await residents.pool.start({ ...spell('pool', LANES_OF.pool, poolOptions), leaks: this.#options.leaks ?? [] })
    await residents.threads.start(spell('threads', LANES_OF.threads, this.#drawOptions()))
    this.#isPoolOpen = true

    const visitors: (Child | undefined)[] = [undefined, undefined]
    const visit = (i: number): Promise<void> => {
      this.#counts.visitors++
      visitors[i] = new Child(`visitor ${this.#counts.visitors}`)
      const [mode, lanes] =
        i === 0 ? (['pool', LANES_OF.visitorPool] as const) : (['threads', LANES_OF.visitorThreads] as const)
      return visitors[i]!.start({
        ...spell(mode, lanes, { ...this.#drawOptions(), workers: random.between(1, 2) }),
        closes: true,
      })
    }
    const all = (): Child[] => [residents.pool, residents.threads, ...visitors.filter((v) => v !== undefined)]
    const endMs = performance.now() + random.between(Math.ceil(this.#options.spellMs / 4), this.#options.spellMs)
    await visit(n % 2)
    while (performance.now() < endMs && !this.#hasFailed(all())) {
      await sleep(Math.min(random.between(50, LONGEST_PAUSE_MS), Math.max(1, endMs - performance.now())))
      this.#look(all())
      const what = random.next()
      const i = random.between(0, 1)
      const visitor = visitors[i]
      if (visitor === undefined) await visit(i)
      else if (what < 0.45) {
        visitors[i] = undefined
        this.#counts.kills++
        await visitor.kill()
        if (random.chance(0.7)) await visit(i)
      } else if (what < 0.6) {
        visitors[i] = undefined
        await this.#endSpell(visitor)
        await visitor.leave()
      } else if (what < 0.9) {
        const stopped = random.pick(all())
        this.#counts.stops++
        stopped.pause()
        await sleep(random.skewed(20, LONGEST_STOP_MS))
        stopped.goOn()
      }
    }

    if (ending === 'killed' && !this.#hasFailed(all()))
      for (const i of [0, 1]) if (visitors[i] === undefined) await visit(i)
    await Promise.all([residents.pool, residents.threads].map((child) => this.#endSpell(child)))
    if (ending === 'killed') await sleep(random.between(100, 600))
    for (const visitor of visitors) {
      if (visitor === undefined) continue
      if (ending === 'killed') {
        this.#counts.kills++
        await visitor.kill()
      } else {
        await this.#endSpell(visitor)
        await visitor.leave()
      }
    }
    if (this.#hasFailed(all())) return
    this.#isPoolOpen = ending === 'open'
    if (ending === 'killed') this.#counts.killedSpells++
    await this.#checkEverything(ending)
    await this.#sample(residents, ending)
  }

  #poolOptions: OpenOptions = {}

  /** The pool's database stays open for several spells, then is closed for some. */
  #drawEnding(): Ending {
    if (this.#options.leaks !== undefined) return 'closed'
    this.#spellsOpen++
    if (this.#random.chance(0.8) && this.#spellsOpen % 16 < 8) return 'open'
    return this.#random.chance(0.5) ? 'closed' : 'killed'
  }

  #drawOptions(): OpenOptions {
    const pick = <T>(from: readonly T[]): T => this.#random.pick(from)
    return {
      windowBytes: pick(WINDOW_BYTES),
      reserveBytes: RESERVE_BYTES,
      segmentBytes: pick([4 * KiB, 16 * KiB, 256 * KiB]),
      checkpointBytes: pick([64 * KiB, 256 * KiB, 1 * MiB]),
      maxInFlightBytes: pick([64 * KiB, 16 * MiB]),
      timeoutMs: TIMEOUT_MS,
    }
  }

  async #endSpell(child: Child): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<'stuck'>((resolve) => (timer = setTimeout(() => resolve('stuck'), STUCK_MS)))
    const report = await Promise.race([child.endSpell(), late])
    clearTimeout(timer)
    if (report === 'stuck') this.#problems.push(`${child.name} did not end within ${STUCK_MS} ms`)
    else if (report !== undefined) add(this.#done, report)
    this.#hasFailed([child])
  }

  #hasFailed(children: readonly Child[]): boolean {
    for (const { failure } of children)
      if (failure !== undefined && !this.#problems.includes(failure)) this.#problems.push(failure)
    return this.#problems.length > 0
  }

  /** What files and processes take while all are at work. */
  #look(children: readonly Child[]): void {
    const { data, wal, control } = fileBytes(this.#path)
    const peaks = this.#peaks
    peaks.dataMiB = Math.max(peaks.dataMiB, data / MiB)
    peaks.walMiB = Math.max(peaks.walMiB, wal / MiB)
    peaks.controlMiB = Math.max(peaks.controlMiB, control / MiB)
    peaks.rssMiB = Math.max(peaks.rssMiB, ...children.map((child) => child.rssMiB()))
  }

  // ---- the check after a spell -----------------------------------------------------------------

  async #checkEverything(ending: Ending): Promise<void> {
    const data = join(this.#path, 'data')
    if (ending !== 'open')
      this.#expect(locksOn(data) === 0, `${locksOn(data)} locks are left after all have closed or died`)
    const db = await open<'binary', Buffer>(this.#path, { ...this.#drawOptions(), workers: 0, valueEncoding: 'binary' })
    const lanes = Array.from(
      { length: LANES },
      (_, number) => new Lane(join(this.#lanesDirectory, `lane-${number}`), number),
    )
    let leastBytes = 0
    try {
      if (db.recovery?.needed === true) {
        this.#counts.recoveries++
        this.#counts.framesReplayed += db.recovery.framesReplayed
      }
      if (this.#counts.spells === this.#options.tamperAfter)
        db.batchSync([
          { type: 'del', key: lanes[0]!.key(lanes[0]!.mayAll().findIndex(([held]) => held!.number !== 0)) },
        ])
      decide(db)
      const report = await db.verify()
      this.#expect(report.ok, `verify finds ${JSON.stringify(report.damage.slice(0, 3))}`)
      using snapshot = db.snapshot()
      let entries = 0
      for (const lane of lanes) {
        this.#counts.resolved += lane.resolve((key) => snapshot.get(key))
        const may = lane.mayAll()
        may.forEach((held, index) => lane.expect(index, snapshot.get(lane.key(index)), held, 'the check'))
        this.#counts.keysCompared += may.length
        this.#expect(
          snapshot.count({ prefix: lane.prefix }) === lane.present,
          `lane ${lane.number} has keys that no owner put`,
        )
        entries += lane.present
        leastBytes += lane.leastBytes()
      }
      for (const prefix of ['counter/', 'twin/', 'shared/', 'fence']) entries += snapshot.count({ prefix })
      entries += snapshot.count({ prefix: accountKey(0, 0).slice(0, 1) })
      this.#expect(snapshot.count() === entries, `there are ${snapshot.count()} entries and not ${entries}`)
      checkShared(snapshot, this.#watcher, 'the check')
      checkChanging(snapshot, 'the check')
      for (let n = 0; n < 12; n++) checkLastWriter(db, this.#watcher, n, 'the check')
    } catch (error) {
      if (!(error instanceof WrongContents)) throw error
      this.#problems.push(error.message)
    } finally {
      for (const lane of lanes) lane.close()
      if (ending !== 'open')
        this.#expect(
          db.stats().readers.pinned === 0,
          `${db.stats().readers.pinned} pins are left after all have closed or died`,
        )
      this.#note('slots in use', 'MiB', this.#usedMiB(db.stats()), ending)
      await db.close()
    }
    const after = fileBytes(this.#path)
    if (ending === 'open') {
      this.#note('log files while open', 'MiB', after.wal / MiB, ending)
      return
    }
    const most = SPACE_FACTOR * leastBytes + SPACE_BYTES
    this.#expect(
      after.data <= most,
      `the data file has ${after.data} bytes after a clean close, where ${most} would do`,
    )
    this.#expect(after.control === 0, `control has ${after.control} bytes after a clean close`)
    this.#expect(
      after.segments === 1 && after.spares === 0 && after.wal <= CLOSED_LOG_BYTES,
      `the log has ${after.segments} segments, ${after.spares} spares and ${after.wal} bytes after a clean close`,
    )
    this.#expect(locksOn(data) === 0, `${locksOn(data)} locks are left after a clean close`)
    this.#note(
      'data file by what its values need',
      'times',
      (after.data - SPACE_BYTES / 4) / Math.max(leastBytes, SPACE_BYTES / 4),
      ending,
    )
  }

  #usedMiB({ slots }: { slots: { leaf: number; branch: number; overflow: number; freeList: number } }): number {
    return ((slots.leaf + slots.branch + slots.overflow + slots.freeList) * 4096) / MiB
  }

  #expect(holds: boolean, otherwise: string): void {
    if (!holds) this.#problems.push(otherwise)
  }

  // ---- resources -------------------------------------------------------------------------------

  async #sample(residents: { pool: Child; threads: Child }, ending: Ending): Promise<void> {
    const samples = [
      [
        `${residents.pool.name}, database ${ending === 'open' ? 'open' : 'closed'}`,
        await residents.pool.sample(),
        ending === 'open',
      ],
      [residents.threads.name, await residents.threads.sample(), false],
      ['the checking process', await sampleSelf(), false],
    ] as const
    for (const [name, sample, isOpen] of samples) {
      if (sample === undefined) continue
      for (const [what, bound] of Object.entries(isOpen ? BOUNDS_OPEN : BOUNDS) as [
        keyof Sample,
        (typeof BOUNDS)[keyof Sample],
      ][]) {
        const expected = isOpen && what === 'databaseMappings' ? this.#mostWindows() : 0
        this.#add({ name: `${name}: ${what}`, ...bound, values: [] }, Math.max(0, sample[what] - expected))
      }
    }
  }

  /** Windows onto the data file that a process can have mapped which has it open with every size of window. */
  #mostWindows(): number {
    const { data } = fileBytes(this.#path)
    return WINDOW_BYTES.reduce((sum, bytes) => sum + Math.ceil(data / bytes), 0)
  }

  #note(name: string, unit: string, value: number, ending: Ending): void {
    const slack = unit === 'times' ? 0.5 : 24
    this.#add(
      {
        name: `${name}${ending === 'open' ? '' : ', at the end of a spell that closes'}`,
        unit,
        slack,
        most: Infinity,
        values: [],
      },
      value,
    )
  }

  #add(series: Series, value: number): void {
    const known = this.#series.get(series.name) ?? series
    this.#series.set(series.name, known)
    known.values.push(value)
  }

  // ---- what is said ----------------------------------------------------------------------------

  #total(): number {
    return Object.values(this.#done.operations).reduce((a, b) => a + b, 0)
  }

  #line(minutes: number): string {
    const { spells, kills, stops, recoveries } = this.#counts
    const last = (name: string): string => this.#series.get(name)?.values.at(-1)?.toFixed(1) ?? '-'
    return (
      `${minutes.toFixed(0).padStart(4)} min  ${spells} spells, ${this.#total()} operations, ${kills} kills, ${this.#done.terminated} threads terminated, ` +
      `${stops} stops, ${recoveries} recoveries; data at most ${this.#peaks.dataMiB.toFixed(0)} MiB, log ${this.#peaks.walMiB.toFixed(1)} MiB; ` +
      `closed pool process: RSS ${last('the process with a pool, database closed: rssMiB')} MiB, heap ${last('the process with a pool, database closed: heapMiB')} MiB`
    )
  }

  #allCounts(): Counts {
    const c = this.#counts
    const { dataMiB, walMiB, controlMiB, rssMiB } = this.#peaks
    const byFrequency = Object.entries(this.#done.operations).sort(([, a], [, b]) => b - a)
    return {
      spells: c.spells,
      'spells ended by SIGKILL of all': c.killedSpells,
      'operations of survivors': this.#total(),
      'operations by kind': Object.fromEntries(byFrequency),
      'databases opened by survivors': this.#done.opened,
      'threads terminated': this.#done.terminated,
      visitors: c.visitors,
      'visitors killed': c.kills,
      'processes stopped': c.stops,
      recoveries: c.recoveries,
      'frames replayed': c.framesReplayed,
      'writes in flight decided': c.resolved,
      'keys compared': c.keysCompared,
      'peaks, MiB': {
        data: Math.round(dataMiB),
        log: Math.round(walMiB),
        control: Math.round(controlMiB),
        'RSS of a process': Math.round(rssMiB),
      },
    }
  }

  #printResources(judgements: SoakOutcome['judgements']): void {
    const { print } = this.#options
    print(`  what is taken; growth is looked for from ${LEAST_SAMPLES} samples on`)
    print('  samples      highest   lowest of 2nd third  of the last')
    for (const { series, judgement: j } of judgements) {
      const f = (x: number): string => (Number.isFinite(x) ? x.toFixed(1) : '-')
      print(
        `  ${String(j.samples).padStart(7)} ${f(j.highest).padStart(12)} ${f(j.lowestOfMiddle).padStart(22)} ${f(j.lowestOfLast).padStart(12)}  ` +
          `${series.name}${j.problem === undefined ? '' : '   NOT FLAT'}`,
      )
    }
  }
}
