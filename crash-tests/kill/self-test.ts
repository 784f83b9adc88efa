// Proves that the checker can fail. A database is written through the public door; then what a store
// with a certain fault would have left is made of it through the same door, or of its files. The
// checker must pass the one and notice each of the others.
import { closeSync, cpSync, fstatSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { open, type Database, type OpenOptions } from '../../src/index.js'
import { Campaign, type CampaignOptions } from './campaign.js'
import type { CampaignPlan } from './campaign-plan.js'
import { check, readContents, type Contents, type Written } from '../lib/check.js'
import { JournalWriter, monotonicMs, readJournal } from '../lib/journal.js'
import { newTally } from './round.js'
import { operationsOf, valueOf, type Operation, type WriterSpec } from '../lib/workload.js'

const OPTIONS: OpenOptions & { valueEncoding: 'binary' } = { workers: 0, valueEncoding: 'binary' }
const OPERATIONS = 200

/** A fault, and how the checker is expected to put it. */
interface Fault {
  readonly name: string
  readonly notice: RegExp
  /** Makes the fault; returns false if this database offers no place for it. */
  readonly make: (db: Database<Buffer>, world: World) => boolean
}

interface World {
  readonly spec: WriterSpec
  /**
   * Of each key that no operation in flight touches: which operation wrote it last, and which step of that; undefined:
   * a delete.
   */
  readonly last: Map<string, { operation: number; step: number | undefined }>
}

const FAULTS: Fault[] = [
  {
    name: 'an acknowledged key is lost',
    notice: /is gone/,
    make: (db, { last }) => {
      const [key] = [...last].find(([, l]) => l.step !== undefined)!
      db.delSync(key)
      return true
    },
  },
  {
    name: 'a deleted key is back with its old value',
    notice: /although|not the outcome|did not leave there/,
    make: (db, { spec, last }) => {
      for (const [key, { step }] of last) {
        if (step !== undefined) continue
        for (let n = 0; n < OPERATIONS; n++) {
          for (const [i, o] of operationsOf(spec, n).entries()) {
            if (o.type !== 'put' || o.key !== key) continue
            db.putSync(key, valueOf(spec.id, n, i, o.value.length))
            return true
          }
        }
      }
      return false
    },
  },
  {
    name: 'an older acknowledged value is back',
    notice: /although .* came after it|not the outcome|did not leave there/,
    make: (db, { spec, last }) => {
      for (let n = 0; n < OPERATIONS; n++) {
        for (const [i, o] of operationsOf(spec, n).entries()) {
          const newest = last.get(String(o.key))
          if (o.type !== 'put' || newest === undefined || newest.operation === n || newest.step === undefined) continue
          db.putSync(o.key, valueOf(spec.id, n, i, o.value.length))
          return true
        }
      }
      return false
    },
  },
  {
    name: 'half of a batch in flight took effect',
    notice: /not the outcome|came after it/,
    make: (db, { spec }) => {
      const batch = operationsOf(spec, OPERATIONS)
      // Only what is there afterwards shows, key by key, that a batch took effect, or that it did not.
      const isThere = (o: Operation, i: number): boolean =>
        o.type === 'put' && !batch.slice(i + 1).some((later) => later.key === o.key)
      const [put, other] = batch.filter(isThere)
      if (put === undefined || other === undefined) return false
      db.batchSync(batch.filter((o) => o.key === put.key))
      return true
    },
  },
  {
    name: 'a value that no operation wrote',
    notice: /was put by no operation/,
    make: (db, { last }) => {
      const [key] = [...last].find(([, l]) => l.step !== undefined)!
      const value = Buffer.from(db.get(key)!)
      value[value.length - 1]! ^= 1
      db.putSync(key, value)
      return true
    },
  },
  {
    name: 'a value under another key than it was written to',
    notice: /did not leave there/,
    make: (db, { last }) => {
      const [from, to] = [...last].filter(([, l]) => l.step !== undefined).map(([key]) => key)
      db.putSync(to!, db.get(from!)!)
      return true
    },
  },
  {
    name: 'a value of an operation that was never started',
    notice: /never started/,
    make: (db, { spec, last }) => {
      db.putSync([...last.keys()][0]!, valueOf(spec.id, OPERATIONS + 50, 0, 100))
      return true
    },
  },
]

async function contentsOf(path: string): Promise<{ found: Contents; problems: string[] }> {
  const problems: string[] = []
  const db = await open<'binary', Buffer>(path, OPTIONS)
  try {
    const report = await db.verify()
    problems.push(...report.damage.map((d) => `slot ${d.slotNo}: ${d.why}`))
    const found = readContents(db.range(), (key) => db.getEntry(key)!.version, problems)
    return { found, problems }
  } finally {
    await db.close()
  }
}

/** One writer's life, with operation `OPERATIONS` started and never acknowledged. */
async function live(directory: string, spec: WriterSpec): Promise<{ db: string; written: Written; world: World }> {
  const path = join(directory, 'db')
  const journalPath = join(directory, `journal-${spec.id}`)
  const db = await open<'binary', Buffer>(path, OPTIONS)
  const journal = new JournalWriter(journalPath)
  const last: World['last'] = new Map()
  for (let n = 0; n < OPERATIONS; n++) {
    const operations = operationsOf(spec, n)
    journal.started(n)
    db.batchSync(operations)
    journal.acknowledged(n)
    operations.forEach((o, i) => last.set(String(o.key), { operation: n, step: o.type === 'put' ? i : undefined }))
  }
  journal.started(OPERATIONS)
  // What is in flight may have taken effect or not: no fault there could be told.
  for (const { key } of operationsOf(spec, OPERATIONS)) last.delete(key)
  await db.close()
  return {
    db: path,
    written: { spec, journal: readJournal(journalPath), deadMs: monotonicMs() },
    world: { spec, last },
  }
}

/** Changes two bytes of every slot after the headers, without the store's knowledge. */
function rot(path: string): void {
  const fd = openSync(join(path, 'data'), 'r+')
  try {
    const { size } = fstatSync(fd)
    for (let at = 4 * 4096; at < size; at += 4096) writeSync(fd, Buffer.from([0xa5, 0x5a]), 0, 2, at + 4000)
  } finally {
    closeSync(fd)
  }
}

// ---- a campaign -----------------------------------------------------------------------------------

const PLAN: CampaignPlan = {
  seed: 1,
  campaign: 0,
  options: { reserveBytes: 2 ** 30, segmentBytes: 16_384, checkpointBytes: 65_536, timeoutMs: 20_000 },
  waves: [
    {
      victims: Array.from({ length: 4 }, (_, i) => ({
        profile: { mode: 'pool', poolThreads: 0, depth: 1, ownKeys: 30, sharedKeys: 12, largeShare: 0 },
        writers: 1,
        strike: { at: 'moment', afterMs: 300 + 50 * i },
        from: 'writing',
      })),
      atOnce: 2,
      together: false,
      brokenRecoveries: [],
    },
  ],
}

/** Loses a few keys; one could be what a write in flight deletes. */
function lose(db: Database<Buffer>, prefix: string): void {
  for (const key of [...db.keys({ prefix, limit: 4 })]) db.delSync(key)
}

/** What is said of a campaign in which this happens before its checks. */
function campaignWith(directory: string, seed: number, tamper?: CampaignOptions['tamper']): Promise<string> {
  const options = {
    directory,
    stallLimitMs: Infinity,
    tally: newTally(),
    isEnough: () => false,
    ...(tamper === undefined ? {} : { tamper }),
  }
  return new Campaign({ ...PLAN, seed }, options).run().then(
    () => 'nothing',
    (error: Error) => error.message,
  )
}

// ---- all of it ------------------------------------------------------------------------------------

export async function selfTest(
  directory: string,
  seed: number,
  print: (line: string) => void = console.log,
): Promise<number> {
  rmSync(directory, { recursive: true, force: true })
  mkdirSync(directory, { recursive: true })
  let failures = 0
  const say = (ok: boolean, what: string): void => {
    if (!ok) failures++
    print(`  ${ok ? 'noticed' : 'MISSED '}  ${what}`)
  }
  // A batch in flight, so that half of it can be made to take effect.
  let spec: WriterSpec
  for (let id = 1; ; id++) {
    spec = { id, lane: 0, seed: seed + id, ownKeys: 30, sharedKeys: 4, largeShare: 0.01, depth: 1 }
    const batch = operationsOf(spec, OPERATIONS)
    if (new Set(batch.map((o) => String(o.key))).size > 2 && batch.some((o) => o.type === 'put')) break
  }
  const { db, written, world } = await live(directory, spec)
  const nothing: Contents = new Map()

  const sound = await contentsOf(db)
  const soundProblems = [...sound.problems, ...check(nothing, sound.found, [written])]
  if (soundProblems.length > 0) {
    print(`  a sound database does not pass: ${soundProblems.join('; ')}`)
    return 1
  }
  for (const fault of FAULTS) {
    const copy = join(directory, 'faulty')
    rmSync(copy, { recursive: true, force: true })
    cpSync(db, copy, { recursive: true })
    const opened = await open<'binary', Buffer>(copy, OPTIONS)
    const made = fault.make(opened, world)
    await opened.close()
    if (!made) continue
    const { found, problems } = await contentsOf(copy)
    // Each of the two ways of telling must do: by what a writer left as a whole, and key by key.
    for (const whole of [true, false]) {
      const said = [...problems, ...check(nothing, found, [written], whole)]
      const noticed = said.find((problem) => fault.notice.test(problem))
      say(noticed !== undefined, `${fault.name}${whole ? '' : ', key by key'}: ${noticed ?? said[0] ?? 'nothing'}`)
    }
  }
  const copy = join(directory, 'faulty')
  rmSync(copy, { recursive: true, force: true })
  cpSync(db, copy, { recursive: true })
  rot(copy)
  const said = await contentsOf(copy).then(
    ({ problems }) => problems.join('; '),
    (error: Error) => error.message,
  )
  say(/damaged|CRC/.test(said), `a damaged slot: ${said.slice(0, 120)}`)

  const campaign = join(directory, 'campaign')
  const untouched = await campaignWith(campaign, seed)
  if (untouched !== 'nothing') {
    print(`  a sound campaign does not pass: ${untouched}`)
    return 1
  }
  const ofDead = await campaignWith(
    campaign,
    seed,
    (opened, lane) => lane !== undefined && lose(opened, `lane${lane}/`),
  )
  say(/not the outcome/.test(ofDead), `keys of a writer that has just died are lost: ${ofDead.slice(0, 120)}`)
  const ofAll = await campaignWith(campaign, seed, (opened, lane) => lane === undefined && lose(opened, 'lane'))
  say(/is gone|not the outcome/.test(ofAll), `keys are lost when all have died: ${ofAll.slice(0, 120)}`)
  const shared = await campaignWith(campaign, seed, (opened, lane) => lane === undefined && lose(opened, 'shared/'))
  say(/is gone/.test(shared), `keys that several write are lost when all have died: ${shared.slice(0, 120)}`)
  rmSync(directory, { recursive: true, force: true })
  print(failures === 0 ? 'self-test: the checker notices every fault' : `self-test: ${failures} faults were missed`)
  return failures === 0 ? 0 : 1
}
