// Change feeds among processes that write, are killed, and recover. If this failed, a consumer would miss a change, get
// one twice or in the wrong order, or be told of one that never took effect.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import { open, type Change, type OpenOptions } from '../../src/index.js'
import { compiledUrl } from '../../src/package-root.js'
import { cleanUp, randomFrom, rounds, scratchDirectory, TINY } from '../support/engine.js'
import { startProcess, type ProcessPeer } from '../support/peers.js'

const OPTIONS: OpenOptions = { ...TINY, valueEncoding: 'json', retain: { bytes: 2 ** 40 }, timeoutMs: 20_000 }
const KEYS = 6

const PRELUDE = (directory: string): string => `
  const { open } = await import(${JSON.stringify(compiledUrl('src/index.js'))})
  const { appendFileSync, existsSync, readFileSync, truncateSync } = await import('node:fs')
  const note = (file, entry) => appendFileSync(${JSON.stringify(directory)} + '/' + file, JSON.stringify(entry) + '\\n')
  const db = await open(${JSON.stringify(join(directory, 'db'))}, ${JSON.stringify(OPTIONS)})
`

/** Writes until it is killed or told to end; notes each write before and after. */
const writer = (directory: string, name: string, seed: number): string => `
  ${PRELUDE(directory)}
  let a = ${seed}
  const random = n => ((a = (Math.imul(a, 1103515245) + 12345) >>> 0) >>> 8) % n
  let isOver = false
  Promise.resolve(hear()).then(() => { isOver = true })
  for (let n = 0; !isOver; n++) {
    const id = '${name}:' + n
    const value = [id, 'x'.repeat(random(10) === 0 ? 3000 : random(60))]
    const key = 'k' + random(${KEYS})
    const conditions = [{}, {}, { ifAbsent: true }, { ifPresent: true }][random(4)]
    const kind = ['put', 'put', 'del', 'batch', 'add', 'checkpoint'][random(6)]
    // Without workers nothing else lets the event loop have its turn.
    await new Promise(setImmediate)
    note('journal-${name}', { id, kind, begins: true })
    let result
    if (kind === 'put') result = await db.put(key, value, conditions)
    else if (kind === 'del') result = await db.del(key, conditions)
    else if (kind === 'add') result = await db.add('counter', 1)
    else if (kind === 'checkpoint') await db.checkpoint()
    else
      result = await db.batch([
        { type: 'put', key, value: [id + ':0'], ...conditions },
        { type: 'del', key: 'k' + random(${KEYS}) },
        { type: 'put', key: 'k' + random(${KEYS}), value: [id + ':1'] },
      ])
    note('journal-${name}', { id, kind, result })
  }
  await db.close()
`

/** Notes each change, and goes on where the one before it was killed. */
const follower = (directory: string): string => `
  ${PRELUDE(directory)}
  const path = ${JSON.stringify(join(directory, 'followed'))}
  const text = existsSync(path) ? readFileSync(path, 'utf8') : ''
  // The last line may be half written.
  const whole = text.slice(0, text.lastIndexOf('\\n') + 1)
  if (whole.length < text.length) truncateSync(path, Buffer.byteLength(whole))
  const last = whole === '' ? undefined : JSON.parse(whole.trimEnd().split('\\n').at(-1))
  for await (const change of db.changes({ since: last?.cursor ?? 0 })) {
    note('followed', change)
    if (change.key === 'the end') break
  }
  await db.close()
`

const linesOf = <T>(path: string): T[] =>
  existsSync(path)
    ? readFileSync(path, 'utf8')
        .split('\n')
        .slice(0, -1)
        .map((line) => JSON.parse(line) as T)
    : []

interface Noted {
  readonly id: string
  readonly kind: 'put' | 'del' | 'add' | 'batch' | 'checkpoint'
  readonly begins?: boolean
  readonly result?: boolean | number
}

/** Compares what was told with what the writers were told. */
function compare(changes: readonly Change[], journals: readonly Noted[][], place: string): void {
  const told = new Map<string, Change[]>()
  for (const change of changes) {
    const id = Array.isArray(change.value) ? (change.value as string[])[0]! : ''
    told.set(id, [...(told.get(id) ?? []), change])
  }
  const sums = changes.filter(({ key }) => key === 'counter').map(({ value }) => value as number)
  expect(sums, `${place}: the sums`).to.deep.equal(sums.map((_, i) => i + 1))
  let acknowledged = 0
  for (const { id, kind, begins, result } of journals.flat()) {
    if (begins === true || kind === 'checkpoint' || kind === 'del') continue
    acknowledged++
    if (kind === 'add') expect(sums.length, `${place}: ${id}`).to.be.at.least(result as number)
    const of = kind === 'put' ? [id] : kind === 'batch' ? [`${id}:0`, `${id}:1`] : []
    for (const each of of)
      expect(told.get(each)?.length ?? 0, `${place}: how often ${each} was told`).to.equal(result === true ? 1 : 0)
    if (kind === 'batch' && result === true)
      expect(told.get(`${id}:0`)![0]!.lsn, `${place}: ${id}`).to.equal(told.get(`${id}:1`)![0]!.lsn)
  }
  expect(acknowledged, place).to.be.above(50)
  // A write that nobody was answered may be there, once and whole.
  for (const [id, { length }] of told) if (id !== '') expect(length, `${place}: ${id}`).to.equal(1)
}

describe('a change feed among processes that are killed', function () {
  this.timeout(180_000)
  const peers: ProcessPeer[] = []
  const failures: unknown[] = []
  afterEach(async () => {
    for (const peer of peers.splice(0)) await peer.kill()
    cleanUp()
    expect(failures.splice(0)).to.deep.equal([])
  })
  const start = (lines: string): ProcessPeer => {
    const peer = startProcess(lines)
    peers.push(peer)
    // What a peer says is what it failed with.
    peer.next().then(
      (said) => failures.push(said),
      () => undefined,
    )
    return peer
  }

  it('tells each change once, in order, whoever is killed and whenever all are', async () => {
    const seed = Math.floor(Math.random() * 2 ** 31)
    const place = `seed ${seed}`
    const random = randomFrom(seed)
    const directory = scratchDirectory()
    const names: string[] = []
    const startWriter = (): ProcessPeer => {
      names.push(`w${names.length}`)
      return start(writer(directory, names.at(-1)!, Math.floor(random() * 2 ** 31)))
    }
    const writers = [startWriter(), startWriter(), startWriter()]
    let following = start(follower(directory))
    for (let round = 0; round < rounds(12); round++) {
      await delay(300 + random() * 500)
      const roll = random()
      const victim = Math.floor(random() * writers.length)
      if (roll < 0.4 || roll > 0.8) {
        await following.kill()
        following = start(follower(directory))
      }
      if (roll > 0.3) {
        // Now and then everybody: then the next opener recovers.
        for (const [i, peer] of writers.entries()) if (i === victim || roll > 0.8) await peer.kill()
        for (const i of writers.keys()) if (i === victim || roll > 0.8) writers[i] = startWriter()
      }
    }
    await delay(500)
    expect(failures, place).to.deep.equal([])
    for (const peer of writers) peer.tell('end')
    for (const peer of writers) await peer.ended
    const db = await open(join(directory, 'db'), OPTIONS)
    try {
      await db.put('the end', 0)
      await following.ended
      const live = linesOf<Change>(join(directory, 'followed'))
      const all: Change[] = []
      for await (const change of db.changes({ since: 0 })) {
        // As it comes back from JSON.
        all.push(JSON.parse(JSON.stringify(change)) as Change)
        if (change.key === 'the end') break
      }
      expect(live.length, place).to.be.above(100)
      expect(live, place).to.deep.equal(all)
      const versions = all.map(({ lsn }) => lsn)
      expect(versions, place).to.deep.equal([...versions].sort((a, b) => a - b))
      compare(
        all,
        names.map((name) => linesOf<Noted>(join(directory, `journal-${name}`))),
        place,
      )
      const state = new Map<unknown, readonly [unknown, number]>()
      for (const { type, key, value, lsn } of all) {
        if (type === 'put') state.set(key, [value, lsn])
        else expect(state.delete(key), `${place}: a del of nothing was told`).to.equal(true)
      }
      for (const [key, value] of db.range())
        expect(state.get(key), `${place}: ${String(key)}`).to.deep.equal([value, db.getEntry(key)!.version])
      expect(state.size, place).to.equal(db.count())
    } finally {
      await db.close()
    }
  })

  it('has what another process commits within some milliseconds', async () => {
    const directory = scratchDirectory()
    const db = await open(join(directory, 'db'), { ...OPTIONS, retain: undefined })
    try {
      const feed = db.changes()
      start(`
        ${PRELUDE(directory)}
        for (let i = 0; i < 100; i++) {
          await new Promise(resolve => setTimeout(resolve, 5))
          db.putSync('a', i)
          db.putSync('done', performance.timeOrigin + performance.now())
        }
        await db.close()
      `)
      const delays: number[] = []
      let seenMs = 0
      for await (const { key, value } of feed) {
        if (key !== 'a') continue
        seenMs = performance.timeOrigin + performance.now()
        const next = await feed.next()
        delays.push(seenMs - (next.value!.value as number))
        if (value === 99) break
      }
      // Of one write it is told when the next begins, which is after it was committed. A busy machine takes longer.
      expect(delays.sort((a, b) => a - b)[50]).to.be.below(20)
    } finally {
      await db.close()
    }
  })

  it('keeps its process alive while it waits, and no longer', async () => {
    const directory = scratchDirectory()
    const waiting = start(`${PRELUDE(directory)}
      process.channel.unref()
      for await (const { key } of db.changes()) if (key === 'go') process.exit(7)`)
    await delay(1500)
    const db = await open(join(directory, 'db'), OPTIONS)
    await db.put('go', 1)
    expect(await waiting.ended).to.equal(7)
    const idle = start(`${PRELUDE(directory)}
      process.channel.unref()
      const feed = db.changes({ since: 0 })
      await feed.next()
      await db.watch('go').next()`)
    expect(await idle.ended).to.equal(0)
    await db.close()
  })
})
