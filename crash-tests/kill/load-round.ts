// A round with the command line: `mmapdb load` is killed, `mmapdb recover` brings the database back,
// and what the load had put on its acknowledgement log must be there. Several loads on the same
// database write the same keys, each with values of its own.
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { CRASH_POINTS } from '../../src/crash-points.js'
import { Permutation, syntheticKey, syntheticValue } from '../../src/cli/load/synthetic-records.js'
import { open } from '../../src/index.js'
import { atPoint, type Strike } from './plan.js'
import { Child, sleep } from '../lib/processes.js'
import { mix, Random } from '../lib/random.js'
import { add, armedWith, describeStrike, END_MS, RoundFailure, type RoundOptions } from './round.js'
import { BIN } from '../../src/package-root.js'

interface Load {
  readonly seed: number
  readonly workers: number
  readonly processes: number
  readonly batch: number
  readonly strike: Strike
}

const REACH_MS = 1500

/** Processes of a group that still run; zombies do not count. */
function running(group: number): number {
  let count = 0
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'latin1')
      const [state, , pgrp] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      if (Number(pgrp) === group && state !== 'Z' && state !== 'X') count++
    } catch {
      // It has just ended.
    }
  }
  return count
}

export class LoadRound {
  readonly #options: RoundOptions
  readonly #db: string
  readonly #random: Random
  readonly #ops: number
  readonly #valueSize: number
  readonly #logOptions: string[]
  readonly #loads: { load: Load; acknowledged: Set<string> }[] = []
  readonly #story: string[] = []

  constructor(seed: number, round: number, options: RoundOptions) {
    this.#options = options
    this.#db = join(options.directory, 'db')
    const random = (this.#random = new Random(mix(seed, round, 1)))
    this.#ops = random.between(2000, 20_000)
    this.#valueSize = random.pick([20, 100, 1000, 5000])
    this.#logOptions = [
      '--checkpoint-bytes',
      String(random.pick([65_536, 1 << 20, 1 << 26])),
      '--segment-bytes',
      String(random.pick([16_384, 1 << 20, 1 << 26])),
    ]
    rmSync(options.directory, { recursive: true, force: true })
    mkdirSync(options.directory, { recursive: true })
  }

  get story(): string {
    return this.#story.join(' | ')
  }

  async run(): Promise<void> {
    const { tally } = this.#options
    const lives = this.#random.between(1, 3)
    for (let life = 0; life < lives; life++) {
      await this.#live(life)
      tally.lives++
      for (const command of ['recover', 'verify']) await this.#command(command)
      await this.#check()
    }
    tally.rounds++
    tally.loads++
    this.#options.tell?.(`round of the command line: ${this.story}`)
  }

  async #live(life: number): Promise<void> {
    const { tally } = this.#options
    const random = this.#random
    const processes = random.pick([1, 1, 3])
    const load: Load = {
      seed: random.between(1, 1_000_000),
      workers: processes === 1 ? 8 : random.between(1, 3),
      processes,
      batch: random.pick([1, 1, 10, 100]),
      strike: random.chance(0.6)
        ? atPoint(random, random.pick(CRASH_POINTS.filter((p) => p !== 'mid-recovery' && p !== 'segment-moved')))
        : { at: 'moment', afterMs: random.skewed(400, 2500) },
    }
    const ackLog = join(this.#options.directory, `acknowledged-${life}`)
    const child = spawn(
      process.execPath,
      [
        BIN,
        'load',
        '--db',
        this.#db,
        '--quiet',
        '--ack-log',
        ackLog,
        '--ops',
        String(this.#ops),
        '--workers',
        String(load.workers),
        '--seed',
        String(load.seed),
        '--batch',
        String(load.batch),
        '--value-size',
        String(this.#valueSize),
        ...this.#logOptions,
        ...(processes > 1 ? ['--processes', String(processes)] : []),
      ],
      { stdio: 'ignore', detached: true, env: { ...process.env, ...armedWith(load.strike, 'kill') } },
    )
    let signal: NodeJS.Signals | null | undefined
    const exited = new Promise<void>((resolve) => child.on('exit', (_code, s) => resolve(void (signal = s))))
    const limitMs = load.strike.at === 'moment' ? load.strike.afterMs : REACH_MS + random.between(0, 500)
    await Promise.race([exited, sleep(limitMs)])
    const byItself = signal
    // One process of several may be dead already; now the others go, too.
    try {
      process.kill(-child.pid!, 'SIGKILL')
    } catch {
      // All of it has ended.
    }
    await exited
    for (let waitedMs = 0; running(child.pid!) > 0; waitedMs += 10) {
      if (waitedMs > END_MS) throw new RoundFailure('processes of a load outlive a SIGKILL')
      await sleep(10)
    }
    const how =
      byItself === 'SIGKILL' && load.strike.at === 'point'
        ? `killed at ${describeStrike(load.strike)}`
        : byItself === null
          ? 'done'
          : `killed after ${limitMs} ms`
    if (byItself === 'SIGKILL' && load.strike.at === 'point') add(tally.killsAtPoints, load.strike.point)
    else if (byItself !== null) tally.killsAtMoments++

    const acknowledged = new Set<string>()
    for (const line of existsSync(ackLog) ? readFileSync(ackLog, 'utf8').split('\n') : []) {
      if (line !== '') for (const key of line.split('\t')) acknowledged.add(key)
    }
    this.#loads.push({ load, acknowledged })
    tally.acknowledged += acknowledged.size
    this.#story.push(
      `load of ${this.#ops} x ${this.#valueSize} B by ${processes}x${load.workers} in batches of ${load.batch} ${how}, ${acknowledged.size} acknowledged`,
    )
  }

  async #command(command: string): Promise<void> {
    const child = new Child(BIN, [command, '--db', this.#db, '--quiet'], {})
    if (!(await child.within(END_MS))) {
      child.kill()
      throw new RoundFailure(`mmapdb ${command} took longer than ${END_MS} ms`)
    }
    if (child.code === 0) return
    // Killed while it was being made: there is nothing to recover yet.
    if (
      this.#loads.every(({ acknowledged }) => acknowledged.size === 0) &&
      child.code === 2 &&
      /no database/.test(child.errorOutput)
    )
      return
    throw new RoundFailure(`mmapdb ${command} ended with ${child.signal ?? child.code}: ${child.errorOutput}`)
  }

  async #check(): Promise<void> {
    this.#options.tally.recoveries++
    const problems: string[] = []
    const db = await open(this.#db, { workers: 0 })
    try {
      const report = await db.verify()
      problems.push(...report.damage.slice(0, 10).map((d) => `slot ${d.slotNo}: ${d.why}`))
      const newest = this.#loads.at(-1)!
      const groups = new Map<number, number[]>()
      const numbers = new Map<string, number>()
      const permutation = new Permutation(this.#ops, newest.load.seed)
      for (let n = 0; n < this.#ops; n++) numbers.set(syntheticKey(permutation.at(n)), n)
      for (const key of numbers.keys()) {
        const entry = db.getEntry(key)
        // The last load that acknowledged the key, or one after it.
        const sure = this.#loads.findLastIndex(({ acknowledged }) => acknowledged.has(key))
        if (entry === undefined) {
          if (sure >= 0) problems.push(`${key} is gone, and load ${sure} had it acknowledged`)
          continue
        }
        const from = this.#loads.findLastIndex(
          ({ load }) => entry.value === syntheticValue(key, load.seed, this.#valueSize, false),
        )
        if (from < 0 || from < sure)
          problems.push(
            `${key} holds ${from < 0 ? 'what no load wrote' : `the value of load ${from}`}, and load ${sure} had acknowledged its own`,
          )
        if (from === this.#loads.length - 1)
          groups.set(entry.version, [...(groups.get(entry.version) ?? []), numbers.get(key)!])
      }
      let entries = 0
      for (const key of db.keys()) {
        entries++
        if (!numbers.has(String(key))) problems.push(`there is a key that no load wrote: ${String(key)}`)
      }
      if (entries !== report.entries) problems.push(`a scan finds ${entries} entries and verify ${report.entries}`)
      // What has one version is one batch: neighbours in the order of the load; only the last of a lane is short.
      const { batch, workers, processes } = newest.load
      let short = 0
      for (const [version, members] of groups) {
        members.sort((a, b) => a - b)
        const isRun = members.at(-1)! - members[0]! === members.length - 1
        if (members.length < batch) short++
        if (!isRun || members.length > batch || short > workers * processes)
          problems.push(`version ${version} is not a whole batch: ${members.length} of ${batch}`)
      }
    } finally {
      await db.close()
    }
    this.#options.tally.checks++
    if (problems.length > 0) throw new RoundFailure(problems.slice(0, 20).join('\n    '))
  }
}
