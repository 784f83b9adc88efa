// Threads and processes, each with an engine of its own on one directory. They write at the same time, and
// read meanwhile.
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'chai'
import { setTimeout as delay } from 'node:timers/promises'
import { Engine } from '../../src/engine/engine.js'
import { resolveOptions } from '../../src/engine/options.js'
import { posixStorage } from '../../src/storage/posix.js'
import {
  cleanUp,
  contents,
  crashCopy,
  expectSound,
  heard,
  inProcess,
  inThread,
  interrupted,
  openEngine,
  scratchPath,
  TINY,
} from '../support/engine.js'

/** Writes `count` keys of its own, each acknowledged by itself, and reports that it has. */
const writeOwn = (name: string, count: number): string => `
  const db = open()
  say('open')
  await hear()
  for (let i = 0; i < ${count}; i++) {
    db.put(['${name}', i], Buffer.alloc(i % 17 === 0 ? 3000 : 30, i + 1))
    if (i % 10 === 0) db.batch([{ type: 'put', key: ['${name}', 'pair', 0], value: Buffer.from(String(i)) }, { type: 'put', key: ['${name}', 'pair', 1], value: Buffer.from(String(i)) }])
    if (i % 3 === 2) db.del(['${name}', i - 1])
  }
  say('done')
  await hear()
  db.close()
  say('closed')`

function expectOwn(engine: Pick<Engine, 'get' | 'range'>, name: string, count: number): void {
  for (let i = 0; i < count; i++) {
    const value = engine.get([name, i]) as Buffer | undefined
    if (i % 3 === 1 && i + 1 < count) expect(value, `${name} ${i}`).to.equal(undefined)
    else expect(value!.equals(Buffer.alloc(i % 17 === 0 ? 3000 : 30, i + 1)), `${name} ${i}`).to.equal(true)
  }
}

describe('an engine among others', function () {
  this.timeout(60_000)
  afterEach(cleanUp)

  it('sees every acknowledged write of threads and processes, and so does everybody else', async () => {
    const path = scratchPath()
    const engine = openEngine(path)
    const count = 150
    const names = ['t0', 't1', 't2', 'p0', 'p1', 'p2']
    const peers = names.map((name) => (name.startsWith('t') ? inThread : inProcess)(path, writeOwn(name, count)))
    for (const peer of peers) await heard(peer, 'open')
    for (const peer of peers) peer.tell('go')
    for (let i = 0; i < 50; i++) {
      engine.put(['main', i], Buffer.from(`${i}`))
      // Both halves of a batch, or neither, in one tree.
      const snapshot = engine.snapshot()
      for (const name of names) {
        expect(snapshot.get([name, 'pair', 0])).to.deep.equal(snapshot.get([name, 'pair', 1]))
      }
      snapshot.close()
      await delay(1)
    }
    for (const peer of peers) await heard(peer, 'done')
    for (const name of names) expectOwn(engine, name, count)
    const expected = contents(engine)
    expectSound(engine)
    const third = inProcess(
      path,
      `const db = open(); say([...db.range(undefined, 'keys')].length); say(verify(db).damage); db.close()`,
    )
    await heard(third, expected.length)
    await heard(third, [])
    const versions = expected.map(([key]) => engine.getEntry(key as string)!.version)
    expect(new Set(versions).size).to.be.greaterThan(count * 4)
    for (const peer of peers) peer.tell('close')
    for (const peer of peers) await heard(peer, 'closed')
    engine.close()
    const again = openEngine(path)
    expect(again.recovery!.needed).to.equal(false)
    expect(contents(again)).to.deep.equal(expected)
    expectSound(again)
  })

  it('keeps its snapshots and iterators as they were, whatever others write, free and reuse', async () => {
    const path = scratchPath()
    const engine = openEngine(path)
    for (let i = 0; i < 400; i++)
      engine.put(`key ${String(i).padStart(4, '0')}`, Buffer.alloc(i % 40 === 0 ? 5000 : 50, i))
    const expected = contents(engine)
    const snapshot = engine.snapshot()
    const forwards = engine.range(undefined, 'entries')
    const backwards = engine.range({ reverse: true }, 'entries')
    const seen: unknown[] = [forwards.next().value]
    const seenBackwards: unknown[] = [backwards.next().value]
    const body = (n: number): string => `
      const db = open()
      for (let round = 0; round < 4; round++) {
        for (let i = ${n}; i < 400; i += 3) {
          const key = 'key ' + String(i).padStart(4, '0')
          if ((i + round) % 5 === 0) db.del(key)
          else db.put(key, Buffer.alloc((i + round) % 30 === 0 ? 9000 : 10 + round * 20, round + 100))
        }
        db.checkpoint(true)
      }
      say('done')
      await hear()`
    const peers = [inThread(path, body(0)), inProcess(path, body(1)), inThread(path, body(2))]
    const done = Promise.all(peers.map((peer) => heard(peer, 'done')))
    let finished = false
    void done.then(() => (finished = true))
    let looks = 0
    do {
      for (let i = 0; i < 5; i++) {
        const [a, b] = [forwards.next(), backwards.next()]
        if (!a.done) seen.push(a.value)
        if (!b.done) seenBackwards.push(b.value)
      }
      if (looks++ % 10 === 0) expect([...snapshot.range(undefined, 'entries')]).to.deep.equal(expected)
      await delay(1)
    } while (!finished)
    await done
    for (const entry of forwards) seen.push(entry)
    for (const entry of backwards) seenBackwards.push(entry)
    expect(seen).to.deep.equal(expected)
    expect(seenBackwards).to.deep.equal([...expected].reverse())
    expect([...snapshot.range(undefined, 'entries')]).to.deep.equal(expected)
    for (const [key, value] of expected)
      expect((snapshot.get(key as string) as Buffer).equals(value as Buffer)).to.equal(true)
    expect(contents(engine)).to.not.deep.equal(expected)
    expectSound(engine)
    snapshot.close()
    for (const peer of peers) peer.tell('end')
    await Promise.all(peers.map((peer) => peer.ended))
    // The slots that the snapshot held back are reused.
    const before = engine.stats().slots.total
    for (let i = 0; i < 300; i++) engine.put('key 0000', Buffer.alloc(500, i))
    expect(engine.stats().slots.total).to.equal(before)
    expectSound(engine)
  })

  it('stays out of the way of others that open, create and recover at the same time', async () => {
    const created = scratchPath()
    const writer = openEngine(scratchPath())
    for (let i = 0; i < 50; i++) writer.put(i, Buffer.alloc(3000, i))
    const crashed = crashCopy(writer.options.path)
    for (const path of [created, crashed]) {
      const body = (name: string): string => `
        say('ready'); await hear()
        const db = open()
        db.put('${name}', Buffer.from('${name}'))
        say(db.recovery !== undefined)
        await hear()
        say([...db.range({ prefix: 'o' }, 'keys')])
        db.close(); say('closed')`
      const names = ['o1', 'o2', 'o3', 'o4']
      const peers = names.map((name, i) => (i < 2 ? inProcess : inThread)(path, body(name)))
      for (const peer of peers) await heard(peer, 'ready')
      for (const peer of peers) peer.tell('go')
      const firsts = await Promise.all(peers.map((peer) => peer.next()))
      expect(
        firsts.filter((first) => typeof first !== 'boolean'),
        'what failed',
      ).to.deep.equal([])
      expect(firsts.filter((first) => first === true).length, 'first openers').to.equal(1)
      for (const peer of peers) peer.tell('read')
      for (const peer of peers) await heard(peer, names)
      // All close at once: the last closer leaves nothing to recover.
      for (const peer of peers) await heard(peer, 'closed')
      await Promise.all(peers.map((peer) => peer.ended))
      const engine = openEngine(path)
      expect(engine.recovery!.needed).to.equal(false)
      expect([...engine.range({ prefix: 'o' }, 'keys')]).to.deep.equal(names)
      expectSound(engine)
      engine.close()
    }
  })

  it('opens what another creates between any two looks that opening takes', () => {
    let others = 0
    for (let before = 0, looks = Infinity; before < looks; before++) {
      const path = scratchPath()
      let other: Engine | undefined
      const { storage, calls } = interrupted(posixStorage, before, () => {
        try {
          other = openEngine(path, { ...TINY, timeoutMs: 1 })
          others++
        } catch (error) {
          expect(error, 'while the first opener holds the locks').to.have.property('code', 'ERR_MMAPDB_LOCKED')
        }
      })
      const engine = Engine.open(resolveOptions(path, TINY), storage)
      looks = calls()
      engine.put('k', Buffer.from('v'))
      if (other !== undefined) expect(other.get('k'), `created before look ${before}`).to.deep.equal(Buffer.from('v'))
      other?.close()
      engine.close()
    }
    expect(others, 'times that the other got in').to.be.greaterThan(10)
  })

  it('opens what another closes between any two looks that opening takes, and its control with it', () => {
    for (let before = 0, looks = Infinity; before < looks; before++) {
      const path = scratchPath()
      const other = openEngine(path, { ...TINY, timeoutMs: 1 })
      other.put('k', Buffer.from('v'))
      const { storage, calls } = interrupted(posixStorage, before, () => {
        other.close()
        // As if it had been in the memory of a process that is gone.
        rmSync(join(path, 'control'))
      })
      const engine = Engine.open(resolveOptions(path, TINY), storage)
      looks = calls()
      expect(engine.get('k'), `closed before look ${before}`).to.deep.equal(Buffer.from('v'))
      engine.put('l', Buffer.from('w'))
      engine.close()
      const again = openEngine(path)
      expect(again.get('l')).to.deep.equal(Buffer.from('w'))
      again.close()
    }
  })

  it('leaves a clean database however many close it in the same moment, round after round', async () => {
    const path = scratchPath()
    const body = `
      for (let round = 0; ; round++) {
        if ((await hear()) === 'end') break
        const db = open()
        db.put(Math.random(), Buffer.alloc(100))
        say('open'); await hear()
        db.close(); say('closed')
      }`
    const peers = [inProcess(path, body), inProcess(path, body), inThread(path, body), inThread(path, body)]
    for (let round = 0; round < 8; round++) {
      for (const step of ['open', 'closed']) {
        for (const peer of peers) peer.tell(step)
        for (const peer of peers) await heard(peer, step)
      }
      const engine = openEngine(path)
      expect(engine.recovery!.needed, `recovery after round ${round}`).to.equal(false)
      expect(engine.stats().entries).to.equal(4 * (round + 1))
      engine.close()
    }
    for (const peer of peers) peer.tell('end')
    await Promise.all(peers.map((peer) => peer.ended))
  })

  it('reads rightly while checkpoints run beside readers and writers', async () => {
    const path = scratchPath()
    const engine = openEngine(path)
    for (let i = 0; i < 200; i++) engine.put(i, Buffer.from('0'))
    const until = 1000
    const peers = [
      inThread(
        path,
        `const db = open(), end = Date.now() + ${until}; let n = 0; while (Date.now() < end) { db.checkpoint(true); n++ } say(n); db.close()`,
      ),
      ...[1, 2].map((w) =>
        inThread(
          path,
          `const db = open(), end = Date.now() + ${until}; let n = 0
           while (Date.now() < end) { n++; db.batch(Array.from({ length: 100 }, (_, i) => ({ type: 'put', key: i * 2 + ${w - 1}, value: Buffer.from(String(n)) }))) }
           say(n); db.close()`,
        ),
      ),
      inProcess(
        path,
        `const db = open(), end = Date.now() + ${until}; let n = 0
         while (Date.now() < end) {
           const seen = [...db.range({ gte: 0, lt: 200 }, 'entries')]
           for (const w of [0, 1]) { const values = new Set(seen.filter(([k]) => k % 2 === w).map(([, v]) => String(v))); if (values.size !== 1 || seen.length !== 200) throw new Error('torn: ' + [...values]) }
           n++
         }
         say(n); db.close()`,
      ),
    ]
    const end = Date.now() + until - 200
    let last = 0
    while (Date.now() < end) {
      const now = Number(String(engine.get(0)))
      expect(now).to.be.at.least(last)
      last = now
      const values = new Set(
        [...engine.range({ reverse: true }, 'entries')]
          .filter((e) => (e as [number])[0] % 2 === 1)
          .map((e) => String((e as [number, Buffer])[1])),
      )
      expect(values.size).to.equal(1)
      expectSound(engine)
      await delay(1)
    }
    for (const peer of peers)
      expect(await peer.next())
        .to.be.a('number')
        .greaterThan(3)
    await Promise.all(peers.map((peer) => peer.ended))
    expectSound(engine)
    // A reader that gets no processor time for a while holds slots back, and the file grows by doubling.
    expect(engine.stats().slots.total).to.be.at.most(4096)
  })
})
