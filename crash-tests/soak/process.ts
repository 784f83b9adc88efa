// A process of a soak: it runs the actors that it is told to, spell by spell, until it is told to
// exit, or dies. Its actors share the event loop and one open database (`pool`), or come and go as
// threads with a database of their own each, some of them terminated in the middle (`threads`).
import { openSync } from 'node:fs'
import { join } from 'node:path'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { mix, Random } from '../lib/random.js'
import { open, type Database } from '../../src/index.js'
import { posixStorage } from '../../src/storage/posix.js'
import { Actor, Watcher } from './actor.js'
import { Lane } from './lane.js'
import { pickOperation } from './operations.js'
import { add, type SpellReport, type Order, type Report, type Spell } from './orders.js'
import { sampleSelf, type Leak } from './resources.js'

const REST_AFTER_OPERATIONS = 8
/** How long a thread lives before it ends or is terminated, at most. */
const THREAD_LIFE_MS = 2500

/** A thread's modules are there. */
const LOADED = 'loaded'

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
const lanePath = (spell: Spell, lane: number): string => join(spell.lanesDirectory, `lane-${lane}`)
const openDatabase = (spell: Spell): Promise<Database<Buffer>> =>
  open<'binary', Buffer>(spell.path, { ...spell.options, valueEncoding: 'binary' })

async function act(actor: Actor, report: SpellReport, isOver: () => boolean): Promise<void> {
  for (let n = 1; !isOver(); n++) {
    const operation = pickOperation(actor.random)
    try {
      await operation.run(actor)
    } catch (error) {
      throw new Error(`${operation.name}, lane ${actor.lane.number}`, { cause: error })
    }
    report.operations[operation.name] = (report.operations[operation.name] ?? 0) + 1
    if (n % REST_AFTER_OPERATIONS === 0) await sleep(actor.random.next() * 2 * actor.workload.restMs)
  }
}

// ---- actors on one event loop --------------------------------------------------------------------

let kept: Database<Buffer> | undefined

async function runPool(spell: Spell, watcher: Watcher, isOver: () => boolean): Promise<SpellReport> {
  const report: SpellReport = { operations: {}, opened: kept === undefined ? 1 : 0, terminated: 0 }
  const db = (kept ??= await openDatabase(spell))
  const lanes = spell.lanes.map((lane) => new Lane(lanePath(spell, lane), lane))
  const actors = lanes.map((lane) => new Actor(db, lane, spell.seed, spell.workload, spell.options, watcher))
  await Promise.all(actors.flatMap((actor) => Array.from({ length: spell.depth }, () => act(actor, report, isOver))))
  for (const actor of actors) actor.closeSnapshots()
  for (const lane of lanes) lane.close()
  if (spell.closes) {
    kept = undefined
    await db.close()
  }
  return report
}

// ---- actors that are threads ---------------------------------------------------------------------

interface ThreadData {
  readonly spell: Spell
  readonly lane: number
  readonly seed: number
  readonly lifeMs: number
  readonly stop: Int32Array
}

async function runThread({ spell, lane: number, seed, lifeMs, stop }: ThreadData): Promise<void> {
  parentPort!.postMessage(LOADED)
  const report: SpellReport = { operations: {}, opened: 1, terminated: 0 }
  const endMs = performance.now() + lifeMs
  const lane = new Lane(lanePath(spell, number), number)
  const db = await openDatabase({ ...spell, options: { ...spell.options, workers: 0 } })
  const actor = new Actor(db, lane, seed, spell.workload, spell.options, new Watcher())
  await act(actor, report, () => performance.now() > endMs || Atomics.load(stop, 0) !== 0)
  await db.close()
  lane.close()
  parentPort!.postMessage(report)
}

async function runThreads(spell: Spell, stop: Int32Array): Promise<SpellReport> {
  const all: SpellReport = { operations: {}, opened: 0, terminated: 0 }
  const random = new Random(mix(spell.seed, 77))
  const live = async (lane: number, n: number): Promise<void> => {
    const terminated = random.chance(0.4)
    const lifeMs = random.skewed(1, THREAD_LIFE_MS)
    const data: ThreadData = {
      spell,
      lane,
      seed: mix(spell.seed, lane, n),
      lifeMs: terminated ? Infinity : lifeMs,
      stop,
    }
    const worker = new Worker(new URL(import.meta.url), { workerData: data })
    let failure: unknown
    const loaded = new Promise<void>((resolve) =>
      worker.on('message', (said: SpellReport | typeof LOADED) => {
        if (said === LOADED) resolve()
        else add(all, said)
      }),
    )
    worker.on('error', (error) => (failure = error))
    const gone = new Promise<number>((resolve) => worker.on('exit', resolve))
    if (terminated) {
      // Not before: Node.js leaves the files open that a terminated thread was loading modules from.
      await Promise.race([loaded.then(() => sleep(lifeMs)), gone])
      if (failure === undefined) {
        await worker.terminate()
        all.terminated++
      }
    }
    const code = await gone
    if (failure !== undefined) throw failure as Error
    if (code !== 0 && !terminated) throw new Error(`a thread ended with ${code}`)
  }
  await Promise.all(
    spell.lanes.map(async (lane) => {
      for (let n = 0; Atomics.load(stop, 0) === 0; n++) await live(lane, n)
    }),
  )
  return all
}

// ---- losing things on purpose --------------------------------------------------------------------

const lost: unknown[] = []

/** What the self-test has to notice. */
function leak(what: Leak, spell: Spell): void {
  if (what === 'heap') lost.push(Array.from({ length: 50_000 }, (_, i) => ({ i })))
  else if (what === 'external') lost.push(Buffer.alloc(2 * 2 ** 20, 1))
  else if (what === 'descriptors') openSync(process.execPath, 'r')
  else if (what === 'files') openSync(join(spell.path, 'data'), 'r')
  else if (what === 'mappings') {
    const region = posixStorage.openRegion(join(spell.path, 'control'), {
      mode: 'private',
      reserveBytes: 2 ** 20,
      windowBytes: 2 ** 16,
    })
    lost.push(region)
  }
}

// ---- the process ---------------------------------------------------------------------------------

const say = (report: Report): Promise<void> => new Promise((resolve) => process.send!(report, () => resolve()))

function storyOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.cause === undefined ? (error.stack ?? error.message) : `${error.message}: ${storyOf(error.cause)}`
}

async function fail(error: unknown): Promise<never> {
  await say({ failure: storyOf(error) })
  process.exit(70)
}

if (isMainThread) {
  const watcher = new Watcher()
  const stop = new Int32Array(new SharedArrayBuffer(4))
  const spellOf = async (spell: Spell): Promise<void> => {
    for (const what of spell.leaks ?? []) leak(what, spell)
    const report =
      spell.mode === 'pool'
        ? await runPool(spell, watcher, () => Atomics.load(stop, 0) !== 0)
        : await runThreads(spell, stop)
    await say({ spellDone: report })
  }
  process.on('disconnect', () => process.exit(71))
  process.on('message', (order: Order) => {
    if (order.do === 'exit') process.exit(0)
    if (order.do === 'end spell') Atomics.store(stop, 0, 1)
    if (order.do === 'sample') sampleSelf().then((sample) => say({ sample }), fail)
    if (order.do !== 'spell') return
    Atomics.store(stop, 0, 0)
    spellOf(order.spell).catch(fail)
  })
  await say({ ready: true })
} else {
  await runThread(workerData as ThreadData)
}
