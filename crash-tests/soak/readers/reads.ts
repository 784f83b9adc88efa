// Every way to read, each checked against itself: what one moment holds under `a` it holds under `b`.
import type { Random } from '../../lib/random.js'
import type { Database, Snapshot } from '../../../src/index.js'
import { KEYS, versionOf, WrongRead, type ReaderKey, type Side } from './entries.js'

type Db = Database<Buffer>
type Moment = Snapshot<Buffer>

const assert = (holds: boolean, what: string): void => {
  if (!holds) throw new WrongRead(what)
}

function pointReads(db: Db, random: Random): void {
  for (let i = 0; i < 200; i++) {
    const n = random.between(0, KEYS + 10)
    const side = random.pick(['a', 'b'] as const)
    const value = db.get([side, n])
    if (value !== undefined) versionOf(value, n)
    const entry = db.getEntry([side, n])
    if (entry !== undefined) versionOf(entry.value, n)
    db.has([side, n])
  }
}

/** Versions by key of what an iterator hands out, which must be in order. */
function versions(
  entries: Iterable<[unknown, unknown]>,
  reverse: boolean,
  between: () => void = () => undefined,
): Map<number, number> {
  const found = new Map<number, number>()
  let before = reverse ? Infinity : -1
  for (const [key, value] of entries) {
    const [, n] = key as ReaderKey
    assert(reverse ? n < before : n > before, `key ${n} comes after ${before}`)
    before = n
    found.set(n, versionOf(value, n))
    between()
  }
  return found
}

function alike(a: Map<number, number>, b: Map<number, number>): void {
  assert(a.size === b.size, `there are ${a.size} keys under a, and ${b.size} under b`)
  for (const [n, version] of a)
    assert(b.get(n) === version, `key ${n} has version ${version} under a, and ${b.get(n)} under b`)
}

function lookUps(moment: Moment, random: Random): void {
  for (let i = 0; i < 400; i++) {
    const n = random.between(0, KEYS + 10)
    const [a, b] = (['a', 'b'] as Side[]).map((side) => moment.get([side, n])) as [
      Buffer | undefined,
      Buffer | undefined,
    ]
    assert((a === undefined) === (b === undefined), `key ${n} is there on one side only`)
    assert(moment.has(['a', n]) === (a !== undefined), `has and get of key ${n} disagree`)
    if (a === undefined) continue
    assert(versionOf(a, n) === versionOf(b, n), `key ${n} has two versions in one moment`)
    const [one, two] = [moment.getEntry(['a', n])!, moment.getEntry(['b', n])!]
    assert(one.version === two.version, `the entries of key ${n} are of two frames`)
    versionOf(one.value, n)
  }
}

function scans(moment: Moment, random: Random): void {
  const forwards = versions(moment.range({ prefix: ['a'] }), false)
  alike(forwards, versions(moment.range({ prefix: ['b'], reverse: true }), true))
  assert([...moment.keys({ prefix: ['a'] })].length === forwards.size, 'keys and entries disagree')
  let i = 0
  const numbers = [...forwards.keys()]
  for (const value of moment.values({ prefix: ['b'] })) versionOf(value, numbers[i++]!)
  assert(moment.count({ prefix: ['b'] }) === forwards.size, 'count and entries disagree')
  assert(moment.count() === 2 * forwards.size, 'the count of all is another')
  const from = random.between(0, KEYS)
  assert(
    moment.count({ gte: ['a', from], lt: ['b'] }) === numbers.filter((n) => n >= from).length,
    'the count of a part is another',
  )
}

function counts(moment: Moment): void {
  for (let i = 0; i < 20; i++)
    assert(
      moment.count({ prefix: ['a'] }) === moment.count({ prefix: ['b'], reverse: i % 2 === 0 }),
      'there are more under one side',
    )
}

function nested(db: Db, random: Random): void {
  let i = 0
  const inside = (): void => {
    if (i++ % 100 !== 0) return
    pointReads(db, random)
    const moment = db.snapshot()
    lookUps(moment, random)
    moment.close()
    for (const _ of db.keys({ gt: ['a', random.between(0, KEYS)], limit: 3 })) continue
  }
  versions(db.range({ prefix: ['a'] }), false, inside)
}

/** Opens some and never closes them. */
function forgets(db: Db, random: Random): void {
  for (let i = 0; i < 5; i++) {
    db.range({ gte: ['b', random.between(0, KEYS)] }).next()
    db.snapshot().keys().next()
    db.values({ limit: 1, reverse: true }).next()
  }
}

/** What a worker reads in the moment of this thread, which may end under it. */
async function offTheEventLoop(db: Db, random: Random): Promise<void> {
  const moment = db.snapshot()
  try {
    const found = new Map<number, number>()
    for await (const [key, value] of moment.rangeAsync({ prefix: ['a'] })) {
      const [, n] = key as ReaderKey
      found.set(n, versionOf(value, n))
    }
    alike(found, versions(moment.range({ prefix: ['b'], reverse: true }), true))
    const numbers = [...found.keys()]
    const values = await moment.getMany(numbers.map((n) => ['b', n]))
    for (const [i, value] of values.entries())
      assert(versionOf(value!, numbers[i]!) === found.get(numbers[i]!), `key ${numbers[i]} is of another moment`)
    assert((await moment.hasMany(numbers.map((n) => ['a', n]))).every(Boolean), 'a key that is there is not found')
  } finally {
    moment.close()
  }
  // Left at any point, while a worker reads on.
  let left = random.between(1, KEYS)
  for await (const [key, value] of db.rangeAsync({ prefix: ['b'], reverse: true })) {
    versionOf(value, (key as ReaderKey)[1])
    if (--left === 0) break
  }
}

const withMoment =
  (act: (moment: Moment, random: Random) => void) =>
  (db: Db, random: Random): void => {
    const moment = db.snapshot()
    try {
      act(moment, random)
    } finally {
      moment.close()
    }
  }

interface Read {
  readonly name: string
  readonly run: (db: Db, random: Random) => void | Promise<void>
}

export const READS: readonly Read[] = [
  { name: 'point reads', run: pointReads },
  { name: 'lookups in a snapshot', run: withMoment(lookUps) },
  {
    name: 'lookups in a snapshot for long',
    run: withMoment((moment, random) => {
      for (let i = 0; i < 10; i++) lookUps(moment, random)
    }),
  },
  { name: 'scans of a snapshot', run: withMoment(scans) },
  { name: 'counts of a snapshot', run: withMoment(counts) },
  { name: 'reads inside a scan', run: nested },
  { name: 'a scan', run: (db) => void versions(db.range({ prefix: ['b'] }), false) },
  { name: 'a scan backwards', run: (db) => void versions(db.range({ prefix: ['a'], reverse: true }), true) },
  { name: 'reads off the event loop', run: offTheEventLoop },
  { name: 'readers that are forgotten', run: forgets },
]
