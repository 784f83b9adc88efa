// Transactions and updates of threads and processes that are killed at any moment. If this failed, money would come
// from nowhere, or counts would be lost, where many change what they have read.
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import { open, type Database } from '../../src/index.js'
import { compiledUrl } from '../../src/package-root.js'
import { cleanUp, rounds, scratchDirectory } from '../support/engine.js'
import { startProcess, startThread, type Peer } from '../support/peers.js'

const ACCOUNTS = 6
const EACH = 1000
const COUNTERS = 3
const WAYS = ['add', 'update', 'transaction', 'ifVersion'] as const

/**
 * Transfers between accounts, which open and close on the way: an account without money is no entry. In each
 * transaction all accounts together must have what they had at first. And counters, which it raises in every way there
 * is. It says each count before it is called and after it has returned.
 */
const linesOf = (path: string, workers: number): string => `
  const { open } = await import(${JSON.stringify(compiledUrl('src/index.js'))})
  const db = await open(${JSON.stringify(path)}, { workers: ${workers}, checkpointBytes: 262144, segmentBytes: 65536 })
  const any = n => Math.floor(Math.random() * n)
  const total = tx => { let sum = 0; for (const value of tx.values({ prefix: 'account' })) sum += value; return sum }
  let goesOn = true
  hear().then(() => (goesOn = false))
  const transfer = () => db.transaction(async tx => {
    const from = 'account ' + any(${ACCOUNTS}), to = 'account ' + any(${ACCOUNTS})
    const has = tx.get(from) ?? 0
    const amount = Math.min(has, any(400))
    if (Math.random() < 0.2) await new Promise(setImmediate)
    if (amount === has) tx.del(from)
    else tx.put(from, has - amount)
    tx.put(to, (tx.get(to) ?? 0) + amount)
    if (tx.get(to) === 0) tx.del(to)
    const sum = total(tx)
    if (sum !== ${ACCOUNTS * EACH}) throw new Error('in a transaction there is ' + sum)
  }, { retries: 1000 })
  const ways = {
    add: key => db.add(key, 1),
    update: key => db.update(key, n => (n ?? 0) + 1),
    transaction: key => db.transaction(tx => { tx.put(key, (tx.get(key) ?? 0) + 1) }, { retries: 1000 }),
    ifVersion: async key => {
      for (;;) {
        const entry = db.getEntry(key)
        if (await db.put(key, (entry?.value ?? 0) + 1, { ifVersion: entry?.version ?? 0 })) return
      }
    },
  }
  const names = Object.keys(ways)
  say('ready')
  await Promise.all(Array.from({ length: 4 }, async () => {
    while (goesOn) {
      if (Math.random() < 0.5) await transfer()
      const name = names[any(names.length)], key = name + ' ' + any(${COUNTERS})
      say({ calls: key })
      await ways[name](key)
      say({ has: key })
    }
  }))
  await db.close()
  say('done')`

/** What a peer has counted: for each counter how often it has begun, and how often it was told that it is done. */
class Counts {
  readonly begun = new Map<string, number>()
  readonly done = new Map<string, number>()
  note(message: { calls?: string; has?: string }): void {
    const [to, key] = message.calls === undefined ? [this.done, message.has!] : [this.begun, message.calls]
    to.set(key, (to.get(key) ?? 0) + 1)
  }
}

async function follow(peer: Peer, counts: Counts): Promise<string> {
  for (;;) {
    let message: unknown
    try {
      message = await peer.next()
    } catch (error) {
      return (error as Error).message
    }
    if (typeof message === 'string') return message
    counts.note(message as { calls?: string; has?: string })
  }
}

describe('transactions of threads and processes', function () {
  this.timeout(240_000)
  let path: string
  let db: Database

  beforeEach(async () => {
    path = join(scratchDirectory(), 'db')
    db = await open(path, { workers: 1 })
    await db.batch(Array.from({ length: ACCOUNTS }, (_, n) => ({ type: 'put', key: `account ${n}`, value: EACH })))
  })
  afterEach(async () => {
    await db.close()
    rmSync(path, { recursive: true, force: true })
    cleanUp()
  })

  it('keep every sum, however many of them are killed', async () => {
    const counts = new Counts()
    const begin = async (isThread: boolean): Promise<{ peer: Peer; end: Promise<string> }> => {
      const peer = isThread ? startThread(linesOf(path, 0)) : startProcess(linesOf(path, 1))
      expect(await peer.next()).to.equal('ready')
      return { peer, end: follow(peer, counts) }
    }
    let peers = await Promise.all([true, true, false, false].map(begin))
    for (let round = 0; round < rounds(6); round++) {
      await delay(300 + Math.random() * 300)
      const at = Math.floor(Math.random() * peers.length)
      const { peer, end } = peers[at]!
      await peer.kill()
      expect(await end).to.match(/ended with/)
      const others = peers.filter((_, i) => i !== at)
      peers = [...others, await begin(round % 2 === 0)]
      expect(await totalOf(db)).to.equal(ACCOUNTS * EACH)
    }
    for (const { peer } of peers) peer.tell('stop')
    expect(await Promise.all(peers.map(({ end }) => end))).to.deep.equal(peers.map(() => 'done'))
    expect(await totalOf(db)).to.equal(ACCOUNTS * EACH)
    for (const way of WAYS) {
      for (let n = 0; n < COUNTERS; n++) {
        const key = `${way} ${n}`
        // A kill may cost what was under way there, and nothing else.
        expect((db.get(key) as number | undefined) ?? 0, key).to.be.within(
          counts.done.get(key) ?? 0,
          counts.begun.get(key) ?? 0,
        )
      }
    }
    expect(
      [...counts.done.values()].reduce((a, b) => a + b, 0),
      'counts',
    ).to.be.above(20)
    const locked = db.tryLock([...db.keys()])
    expect(locked, 'the dead have no locks').to.not.equal(undefined)
    locked!.release()
    expect((await db.verify()).ok).to.equal(true)
  })
})

const totalOf = (db: Database): Promise<number> =>
  db.transaction((tx) => [...tx.values({ prefix: 'account' })].reduce((a: number, b) => a + (b as number), 0))
