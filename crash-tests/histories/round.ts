// One round: some processes with clients work on a database for some seconds; some are killed, at any moment or at a
// named point of the protocol, and others come in their place; some are stopped for a while. Then all end, in order or
// by SIGKILL, the database is opened again, which recovers it if need be, and what is there is the last read of the
// history. The next round starts from that.
import { mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { CRASH_POINTS } from '../../src/crash-points.js'
import { open, type OpenOptions } from '../../src/index.js'
import { compiledFile } from '../../src/package-root.js'
import { Child, sleep, type Armed } from '../lib/processes.js'
import { mix, Random } from '../lib/random.js'
import type { ClientProcess, ClientSpec } from './client.js'
import type { StoreFault } from './faulty-store.js'
import { allKeys, heldOf, readOf, type Layout } from './keys.js'
import type { Held, Step } from './operations.js'
import { nowNs, readHistory, Recorder, type Recorded } from './recorder.js'

interface RoundOptions {
  readonly path: string
  /** Where the files of the history go: a folder that does not exist yet. */
  readonly folder: string
  readonly layout: Layout
  readonly seed: number
  readonly durationMs: number
  readonly initial: Readonly<Record<string, Held>>
  readonly fault?: StoreFault
}

export interface RoundReport extends Recorded {
  /** What is there now. */
  readonly final: Record<string, Held>
  readonly problems: string[]
  readonly kills: number
}

/** Beyond that something hangs. */
const PATIENCE_MS = 60_000
const PROCESSES = 3
const CLIENT = compiledFile('crash-tests/histories/client.js')

interface Life {
  readonly child: Child
  readonly clients: readonly ClientSpec[]
  /** It kills itself at a named point. */
  readonly isArmed: boolean
  diedNs: number
}

export async function runRound(options: RoundOptions): Promise<RoundReport> {
  return new Round(options).run()
}

class Round {
  readonly #options: RoundOptions
  readonly #random: Random
  readonly #database: OpenOptions
  readonly #lives: Life[] = []
  readonly #problems: string[] = []
  #kills = 0

  constructor(options: RoundOptions) {
    this.#options = options
    this.#random = new Random(mix(options.seed, 1))
    this.#database = {
      workers: this.#random.between(0, 3),
      reserveBytes: 2 ** 32,
      segmentBytes: this.#random.pick([16_384, 65_536, 262_144, 4 * 1024 * 1024]),
      checkpointBytes: this.#random.pick([65_536, 262_144, 1024 * 1024, 16 * 1024 * 1024]),
      timeoutMs: 20_000,
    }
  }

  async run(): Promise<RoundReport> {
    const { folder, durationMs, initial } = this.#options
    mkdirSync(folder)
    const checker = new Recorder(join(folder, 'checker.ndjson'), 'checker')
    checker.initial(initial)
    const endMs = performance.now() + durationMs
    let places = await this.#startAll()
    while (performance.now() < endMs && this.#problems.length === 0) {
      await sleep(this.#random.between(20, 400))
      places = await Promise.all(places.map((life) => this.#strike(life)))
    }
    await this.#endAll()
    for (const { clients, diedNs } of this.#lives)
      if (diedNs < Infinity) for (const { name } of clients) checker.died(name, diedNs)
    const reads = await this.#readAll(checker)
    checker.close()
    const files = readdirSync(folder).map((name) => join(folder, name))
    return { ...readHistory(files), final: heldOf(reads), problems: this.#problems, kills: this.#kills }
  }

  async #startAll(): Promise<Life[]> {
    const places = Array.from({ length: PROCESSES }, () => this.#start())
    // The first seconds of a process are those in which it does nothing but load.
    await Promise.all(places.map(({ child }) => child.readyWithin(PATIENCE_MS)))
    return places
  }

  #start(): Life {
    const { path, folder, layout, seed, fault } = this.#options
    const random = this.#random
    const number = this.#lives.length
    const mode = number % 3 === 1 ? 'pool' : 'threads'
    const clients = Array.from({ length: random.between(1, mode === 'pool' ? 5 : 3) }, (_, i): ClientSpec => {
      const name = `${seed.toString(36)}.${number}.${i}`
      return { name, file: join(folder, `${name}.ndjson`), seed: mix(seed, number, i) }
    })
    const spec: ClientProcess = {
      path,
      options: mode === 'threads' ? { ...this.#database, workers: 0 } : this.#database,
      mode,
      layout,
      clients,
      restMs: random.pick([0, 1, 5]),
      fault,
    }
    const isArmed = number >= PROCESSES && random.chance(0.5)
    const armed: Armed = isArmed ? { MMAPDB_CRASH_AT: `${random.pick(CRASH_POINTS)}:${random.skewed(1, 60)}` } : {}
    const life: Life = {
      child: new Child(CLIENT, [JSON.stringify(spec)], armed),
      clients,
      isArmed,
      diedNs: Infinity,
    }
    this.#lives.push(life)
    return life
  }

  /** Now and then kills or stops a process; gives the one that takes its place. */
  async #strike(life: Life): Promise<Life> {
    const { child } = life
    const random = this.#random
    if (!child.isAlive) return this.#start()
    if (child.readyMs === Infinity) return life
    if (random.chance(0.12)) {
      await this.#kill(life)
      return this.#start()
    }
    if (random.chance(0.08)) {
      child.pause()
      await sleep(random.skewed(5, 300))
      child.goOn()
    }
    return life
  }

  async #kill(life: Life): Promise<void> {
    const { child } = life
    if (!child.isAlive) return
    life.diedNs = nowNs()
    child.kill()
    await child.exited
  }

  async #endAll(): Promise<void> {
    const isKilled = this.#random.chance(0.4)
    const ends = this.#lives.map(async (life) => {
      const { child, isArmed } = life
      if (isKilled) await this.#kill(life)
      else child.stop()
      if (!(await child.within(PATIENCE_MS))) {
        this.#problems.push(`a process does not end:\n${child.threadStates()}`)
        child.kill()
        await child.exited
      }
      const wasArmed = isArmed && child.signal === 'SIGKILL' && !child.killed
      if (wasArmed) life.diedNs = this.#startNs
      if (child.killed || wasArmed) this.#kills++
      else if (child.code !== 0)
        this.#problems.push(`a process failed (${child.signal ?? child.code}): ${child.errorOutput}`)
    })
    await Promise.all(ends)
  }

  /** Of those that kill themselves, nobody knows the time. */
  readonly #startNs = nowNs()

  /** All keys, as of one moment, when nobody else is there. */
  async #readAll(checker: Recorder): Promise<Step[]> {
    const keys = allKeys(this.#options.layout)
    const db = await open<'msgpack', string>(this.#options.path, {
      ...this.#database,
      workers: 0,
      valueEncoding: 'msgpack',
    })
    const id = keys.map((key) => checker.called('last look', [{ do: 'get', key }]))
    const snapshot = db.snapshot()
    const reads = keys.map((key) => readOf(key, snapshot.getEntry(key)))
    const strangers = [...snapshot.keys()].filter((key) => !keys.includes(String(key)))
    if (strangers.length > 0) this.#problems.push(`there are keys that nobody put: ${strangers.map(String).join(' ')}`)
    snapshot.close()
    for (const [i, read] of reads.entries()) checker.returned(id[i]!, { steps: [read] })
    const { ok, damage } = await db.verify()
    if (!ok) this.#problems.push(`verify found damage: ${JSON.stringify(damage.slice(0, 3))}`)
    await db.close()
    return reads
  }
}
