// One phase of larger-than-memory.js, in a process of its own. Prints one line: RESULT and what came out.
import { createHistogram, monitorEventLoopDelay } from 'node:perf_hooks'
import { readFileSync } from 'node:fs'
import { random, values } from './data.js'
import { openStore } from './stores/index.js'

const { phase, store, directory, entries, seconds, valueBytes, acknowledged, warm } = JSON.parse(process.argv[2])
/** Lists of this many keys, that many at a time, of an asynchronous reader. */
const LIST = 10
const AT_A_TIME = 8
const WORKERS = 4
const SCAN = 1000

const keyOf = (i) => `user:${String(i).padStart(10, '0')}`
const next = random(Number(process.hrtime.bigint() % 1_000_000_007n) + 1)
const anyKey = () => keyOf(next() % entries)
const value = values(next(), 256, valueBytes)

const openMs = performance.now()
const db = await openStore(store, directory, { workers: phase === 'get' || phase === 'scan' ? 0 : WORKERS })
const opened = performance.now() - openMs

/** How late a timer of 1 ms is. */
const delay = monitorEventLoopDelay({ resolution: 1 })
const ioBefore = ioBytes()
function loop() {
  const ms = (x) => Math.max(0, x / 1e6 - 1)
  return { loopP50Ms: ms(delay.percentile(50)), loopP99Ms: ms(delay.percentile(99)), loopMaxMs: ms(delay.max) }
}
/** Bytes this process has had read from and written to the disk; page faults count. */
function ioBytes() {
  const text = readFileSync('/proc/self/io', 'utf8')
  const of = (name) => Number(new RegExp(`^${name}: (\\d+)`, 'm').exec(text)[1])
  return { read: of('read_bytes'), written: of('write_bytes') }
}

/** Does `act` for a time; returns how often in a second, and how long single ones took. */
async function timed(act, lanes = 1, perAct = 1) {
  const histogram = createHistogram()
  const ioAtStart = ioBytes()
  delay.enable()
  const start = performance.now()
  let acts = 0
  await Promise.all(
    Array.from({ length: lanes }, async () => {
      for (let now = performance.now(); now - start < seconds * 1000;) {
        await act()
        const then = performance.now()
        histogram.record(Math.max(1, Math.round((then - now) * 1000)))
        now = then
        acts++
        // A calling thread that never lets the event loop run would say nothing about its delay.
        if (lanes === 1 && acts % 16 === 0) await new Promise((done) => setTimeout(done))
      }
    }),
  )
  const elapsed = (performance.now() - start) / 1000
  delay.disable()
  const io = ioBytes()
  return {
    perSecond: (acts * perAct) / elapsed,
    p50Us: histogram.percentile(50),
    p99Us: histogram.percentile(99),
    maxMs: histogram.max / 1000,
    readKiBEach: (io.read - ioAtStart.read) / 1024 / (acts * perAct),
    writtenKiBEach: (io.written - ioAtStart.written) / 1024 / (acts * perAct),
    ...loop(),
  }
}

function mustBe(found) {
  if (found === undefined || found === null || found.length !== valueBytes) throw new Error('a value is missing')
}

/** One range of keys from anywhere. */
function scanOnce() {
  const from = keyOf(next() % (entries - SCAN))
  let bytes = 0
  let count = 0
  const found = store.startsWith('mmapdb')
    ? db.db.values({ gte: from, limit: SCAN })
    : db.db.getRange({ start: from, limit: SCAN }).map((entry) => entry.value)
  for (const v of found) {
    bytes += v.length
    count++
  }
  if (count !== SCAN || bytes !== SCAN * valueBytes) throw new Error(`a range has ${count} entries of ${bytes} bytes`)
}

const PHASES = {
  async load() {
    delay.enable()
    const start = performance.now()
    for (let i = 0; i < entries; i += 1000) {
      const pairs = []
      for (let n = i; n < Math.min(entries, i + 1000); n++) pairs.push([keyOf(n), Buffer.from(value())])
      await db.batch(pairs)
    }
    const written = performance.now()
    await db.close()
    const io = ioBytes()
    return {
      perSecond: entries / ((performance.now() - start) / 1000),
      closeMs: performance.now() - written,
      readKiBEach: (io.read - ioBefore.read) / 1024 / entries,
      writtenKiBEach: (io.written - ioBefore.written) / 1024 / entries,
      ...loop(),
    }
  },
  get: () => timed(() => mustBe(db.db.get(anyKey()))),
  'get-async': () =>
    timed(
      async () => {
        for (const found of await db.db.getMany(Array.from({ length: LIST }, anyKey))) mustBe(found)
      },
      AT_A_TIME,
      LIST,
    ),
  scan: () => timed(scanOnce, 1, SCAN),
  put: () => timed(() => db.put(anyKey(), Buffer.from(value())), AT_A_TIME),
  /** Overwrites at random and counts up, saying how far it is known to have got, until it is killed. */
  async killed() {
    for (let n = 1; ; n++) {
      await Promise.all([
        db.put(`count:${n}`, Buffer.from(value())),
        ...Array.from({ length: AT_A_TIME - 1 }, () => db.put(anyKey(), Buffer.from(value()))),
      ])
      process.stdout.write(`${n}\n`)
    }
  },
  async recover() {
    for (let n = 1; n <= acknowledged; n++) mustBe(db.db.get(`count:${n}`))
    for (let n = 0; n < 1000; n++) mustBe(db.db.get(anyKey()))
    const report = db.db.recovery
    const io = ioBytes()
    return {
      openMs: opened,
      acknowledged,
      ...(report === undefined ? {} : { replayedMiB: ((report.toLsn - report.fromLsn) * 8) / 2 ** 20 }),
      readMiB: io.read / 2 ** 20,
      writtenMiB: io.written / 2 ** 20,
    }
  },
}

if (warm) db.scan()
const result = await PHASES[phase]()
process.stdout.write(`RESULT ${JSON.stringify(result)}\n`)
if (phase !== 'load') await db.close()
process.exit(0)
